//! A module of regions.

use crate::{Layout, Region, function};
use wasm_encoder::{
    CodeSection, EntityType, ExportKind, ExportSection, Function, FunctionSection, ImportSection,
    MemoryType, Module, RefType, TableType, TypeSection, ValType,
};

/// Type of a region's function.
pub const REGION_TYPE: u32 = 0;
/// Type of the helper's.
pub const HELPER_TYPE: u32 = 1;

/// A module with a function for each of `regions`, exported as "0", "1", … It imports memory and function table as
/// `b.memory` and `b.table`.
pub fn module(regions: &[Region], layout: &Layout) -> Vec<u8> {
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
    for (n, region) in (0..).zip(regions) {
        functions.function(REGION_TYPE);
        exports.export(&n.to_string(), ExportKind::Func, n);
        let (locals, body) = function::body(region, layout, n);
        let mut function = Function::new_with_locals_types(locals);
        function.raw(body);
        code.function(&function);
    }
    let mut module = Module::new();
    module.section(&types).section(&imports).section(&functions).section(&exports).section(&code);
    module.finish()
}
