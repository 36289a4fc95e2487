//! A module of regions.

use crate::emit::REGION_TYPE;
use crate::{Layout, Region, function};
use wasm_encoder::{
    BlockType, BranchHint, BranchHints, CodeSection, EntityType, ExportKind, ExportSection,
    Function, FunctionSection, ImportSection, MemoryType, Module, RefType, TableType, TypeSection,
    ValType,
};

/// A module with a function for the root and each further entry of each of `regions`, exported as "0", "1", … It imports memory and function table as
/// `b.memory` and `b.table`.
///
/// Hosts begin each module's code on a page of its own. So that hot code of many modules does not lie at the same few offsets, and
/// thereby in the same few sets of the processor's caches, the first code is moved on by about `lines` of 64 bytes.
pub fn module(regions: &[Region], layout: &Layout, lines: u32) -> Vec<u8> {
    let mut types = TypeSection::new();
    types.ty().function([ValType::I32, ValType::I32], [ValType::I64]);
    types.ty().function([ValType::I32, ValType::I64, ValType::I64], [ValType::I32]);
    let mut imports = ImportSection::new();
    let memory = MemoryType {
        minimum: 0,
        maximum: None,
        memory64: false,
        shared: false,
        page_size_log2: None,
    };
    imports.import("b", "memory", EntityType::Memory(memory));
    let table = TableType {
        element_type: RefType::FUNCREF,
        table64: false,
        minimum: 0,
        maximum: None,
        shared: false,
    };
    imports.import("b", "table", EntityType::Table(table));
    let mut functions = FunctionSection::new();
    let mut exports = ExportSection::new();
    let mut code = CodeSection::new();
    let mut hints = BranchHints::new();
    let mut ways = Vec::new();
    let first = u32::from(lines > 0);
    if lines > 0 {
        functions.function(REGION_TYPE);
        code.function(&space(lines));
    }
    for (n, region) in (first..).zip(regions) {
        functions.function(REGION_TYPE);
        let (body, reached) = function::body(region, layout, n);
        ways.push(reached);
        let mut function = Function::new_with_locals_types(body.locals);
        let start = function.byte_len();
        let unlikely = |at: &usize| BranchHint {
            branch_func_offset: (start + at) as u32,
            branch_hint_value: 0,
        };
        hints.function_hints(n, body.unlikely.iter().map(unlikely).collect::<Vec<_>>());
        function.raw(body.code);
        code.function(&function);
    }
    let (mut next, mut exported) = (first + regions.len() as u32, 0);
    let mut export = |function| {
        exports.export(&exported.to_string(), ExportKind::Func, function);
        exported += 1;
    };
    for ((n, region), reached) in (first..).zip(regions).zip(ways) {
        // The root is the body itself.
        export(n);
        for (entry, pc) in (1..).zip(&region.entries) {
            functions.function(REGION_TYPE);
            export(next);
            next += 1;
            let mut function = Function::new([]);
            let known = reached.contains(&entry).then_some(entry);
            function.raw(function::entry(layout, n, known, *pc));
            code.function(&function);
        }
    }
    let mut module = Module::new();
    module.section(&types).section(&imports).section(&functions).section(&exports);
    module.section(&hints).section(&code);
    module.finish()
}

/// A function that nobody calls and whose code takes about so many lines of 64 bytes: nearly all of it a table of jumps, which
/// costs a compiler nothing.
fn space(lines: u32) -> Function {
    const ENTRY: u32 = 4;
    let mut function = Function::new([]);
    let targets: Vec<u32> = (0..lines * (64 / ENTRY)).map(|n| n % 2).collect();
    let mut code = function.instructions();
    code.block(BlockType::Empty).block(BlockType::Empty);
    code.local_get(0).br_table(targets, 0).end().end().i64_const(0).end();
    function
}
