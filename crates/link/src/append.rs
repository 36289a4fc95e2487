//! Adds the functions of frozen regions to the guest's module: each section that has to know of them, written anew.

use crate::LinkError;
use crate::frozen::FrozenCode;
use std::borrow::Cow;
use std::collections::HashMap;
use std::convert::Infallible;
use wasm_encoder::reencode::{Reencode, RoundtripReencoder};
use wasm_encoder::{
    BranchHint, BranchHints, CodeSection, ConstExpr, ElementSection, Elements, Function,
    FunctionSection, TableSection, TypeSection,
};
use wasmparser::{
    BinaryReader, CodeSectionReader, ElementSectionReader, FunctionBody, FunctionSectionReader,
    KnownCustom, Parser, Payload, TableSectionReader, TypeSectionReader,
};

/// What is added, with its place among the module's own.
pub struct Addition<'a> {
    code: &'a FrozenCode,
    /// Number of types of the module.
    types: u32,
    /// Number of its functions, imported ones too.
    functions: u32,
}

/// A region's module with its parts.
struct Parts<'a> {
    types: TypeSectionReader<'a>,
    /// Type of each function.
    functions: Vec<u32>,
    bodies: CodeSectionReader<'a>,
    /// Of each function, where in its body conditional parts begin that are hardly ever run.
    unlikely: HashMap<u32, Vec<u32>>,
    /// The exported functions in the order of their numbers.
    exported: Vec<u32>,
}

impl<'a> Addition<'a> {
    /// What is added to this module.
    pub fn new(module: &[u8], code: &'a FrozenCode) -> Result<Addition<'a>, LinkError> {
        let (mut types, mut functions) = (0, 0);
        for payload in Parser::new(0).parse_all(module) {
            match payload.map_err(damaged)? {
                Payload::TypeSection(section) => {
                    for group in section {
                        types += group.map_err(damaged)?.types().len() as u32;
                    }
                }
                Payload::ImportSection(section) => {
                    for import in section.into_imports() {
                        let is =
                            matches!(import.map_err(damaged)?.ty, wasmparser::TypeRef::Func(_));
                        functions += u32::from(is);
                    }
                }
                Payload::FunctionSection(section) => functions += section.count(),
                Payload::CodeSectionStart { .. } => break,
                _ => {}
            }
        }
        Ok(Addition { code, types, functions })
    }

    fn parts(&self) -> impl Iterator<Item = Result<Parts<'a>, LinkError>> {
        self.code.modules.iter().map(|module| parts(module))
    }

    /// The types, and those of regions, which are the same for all.
    pub fn types(&self, section: &TypeSectionReader<'_>) -> Result<TypeSection, LinkError> {
        let mut types = TypeSection::new();
        RoundtripReencoder.parse_type_section(&mut types, section.clone()).map_err(damaged)?;
        if let Some(first) = self.parts().next() {
            RoundtripReencoder.parse_type_section(&mut types, first?.types).map_err(damaged)?;
        }
        Ok(types)
    }

    /// The functions' types.
    pub fn functions(
        &self,
        section: &FunctionSectionReader<'_>,
    ) -> Result<FunctionSection, LinkError> {
        let mut functions = FunctionSection::new();
        for ty in section.clone() {
            functions.function(ty.map_err(damaged)?);
        }
        for parts in self.parts() {
            for ty in parts?.functions {
                functions.function(self.types + ty);
            }
        }
        Ok(functions)
    }

    /// The function table with room for what is added.
    pub fn tables(&self, section: &TableSectionReader<'_>) -> Result<TableSection, LinkError> {
        let mut added = 0;
        for parts in self.parts() {
            added += parts?.exported.len() as u64;
        }
        let mut tables = TableSection::new();
        for (n, table) in section.clone().into_iter().enumerate() {
            let mut table = table.map_err(damaged)?;
            if n == 0 {
                table.ty.initial = u64::from(self.code.first_slot) + added;
                table.ty.maximum = table.ty.maximum.map(|most| most + added);
            }
            RoundtripReencoder.parse_table(&mut tables, table).map_err(damaged)?;
        }
        Ok(tables)
    }

    /// What the table holds.
    pub fn elements(
        &self,
        section: &ElementSectionReader<'_>,
    ) -> Result<ElementSection, LinkError> {
        let mut elements = ElementSection::new();
        RoundtripReencoder
            .parse_element_section(&mut elements, section.clone())
            .map_err(damaged)?;
        let (mut base, mut added) = (self.functions, Vec::new());
        for parts in self.parts() {
            let parts = parts?;
            added.extend(parts.exported.iter().map(|function| base + function));
            base += parts.functions.len() as u32;
        }
        let place = ConstExpr::i32_const(self.code.first_slot as i32);
        elements.active(None, &place, Elements::Functions(Cow::Owned(added)));
        Ok(elements)
    }

    /// The function bodies, and which of their parts are hardly ever run.
    pub fn code(&self, section: &[u8]) -> Result<(BranchHints, CodeSection), LinkError> {
        let (mut hints, mut code) = (BranchHints::new(), CodeSection::new());
        let reader = CodeSectionReader::new(BinaryReader::new(section, 0)).map_err(damaged)?;
        for body in reader {
            let range = body.map_err(damaged)?.range();
            code.raw(section.get(range).ok_or_else(|| damaged("a function"))?);
        }
        let mut functions = self.functions;
        for parts in self.parts() {
            let parts = parts?;
            let mut moved = Moved { types: self.types, functions };
            for (number, body) in (0..).zip(parts.bodies) {
                let body = body.map_err(damaged)?;
                let unlikely = parts.unlikely.get(&number).map_or(&[][..], |all| all);
                let (function, unlikely) = moved.function(&body, unlikely).map_err(damaged)?;
                code.function(&function);
                if !unlikely.is_empty() {
                    hints.function_hints(functions + number, unlikely);
                }
            }
            functions += parts.functions.len() as u32;
        }
        Ok((hints, code))
    }
}

fn parts(module: &[u8]) -> Result<Parts<'_>, LinkError> {
    let (mut types, mut functions, mut bodies) = (None, Vec::new(), None);
    let (mut exported, mut unlikely) = (Vec::new(), HashMap::new());
    for payload in Parser::new(0).parse_all(module) {
        match payload.map_err(damaged)? {
            Payload::TypeSection(section) => types = Some(section),
            Payload::FunctionSection(section) => {
                functions = section.into_iter().collect::<Result<_, _>>().map_err(damaged)?;
            }
            Payload::ExportSection(section) => {
                for export in section {
                    exported.push(export.map_err(damaged)?.index);
                }
            }
            Payload::CustomSection(custom) => {
                if let KnownCustom::BranchHints(functions) = custom.as_known() {
                    for function in functions {
                        let function = function.map_err(damaged)?;
                        let hints = function.hints.into_iter().map(|hint| Ok(hint?.func_offset));
                        let hints: Result<Vec<u32>, wasmparser::BinaryReaderError> =
                            hints.collect();
                        unlikely.insert(function.func, hints.map_err(damaged)?);
                    }
                }
            }
            Payload::CodeSectionStart { range, .. } => {
                let bytes = module.get(range.clone()).ok_or_else(|| damaged("a region"))?;
                let reader = BinaryReader::new(bytes, range.start);
                bodies = Some(CodeSectionReader::new(reader).map_err(damaged)?);
            }
            _ => {}
        }
    }
    match (types, bodies) {
        (Some(types), Some(bodies)) => Ok(Parts { types, functions, bodies, unlikely, exported }),
        _ => Err(damaged("a region has no code")),
    }
}

/// Writes a region's body with the numbers of types and functions that they get.
struct Moved {
    types: u32,
    functions: u32,
}

impl Moved {
    /// A function, and its parts that are hardly ever run, which begin at the offsets `unlikely` in `body`, in rising order.
    fn function(
        &mut self,
        body: &FunctionBody<'_>,
        unlikely: &[u32],
    ) -> Result<(Function, Vec<BranchHint>), wasm_encoder::reencode::Error<Infallible>> {
        let mut function = self.new_function_with_parsed_locals(body)?;
        let mut hints = Vec::new();
        let mut unlikely = unlikely.iter().peekable();
        let mut instructions = body.get_operators_reader()?;
        while !instructions.eof() {
            let at = (instructions.original_position() - body.range().start) as u32;
            if unlikely.next_if_eq(&&at).is_some() {
                let branch_func_offset = function.byte_len() as u32;
                hints.push(BranchHint { branch_func_offset, branch_hint_value: 0 });
            }
            let instruction = self.parse_instruction(&mut instructions)?;
            function.instruction(&instruction);
        }
        Ok((function, hints))
    }
}

impl Reencode for Moved {
    type Error = Infallible;

    fn type_index(&mut self, ty: u32) -> Result<u32, wasm_encoder::reencode::Error<Self::Error>> {
        Ok(self.types + ty)
    }

    fn function_index(
        &mut self,
        function: u32,
    ) -> Result<u32, wasm_encoder::reencode::Error<Self::Error>> {
        Ok(self.functions + function)
    }
}

fn damaged(error: impl std::fmt::Display) -> LinkError {
    LinkError::Guest(format!("the functions of regions cannot be added: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::FrozenReport;
    use crate::section::section_bytes;
    use translate::Pages;

    #[test]
    fn hints_follow_what_they_are_about() {
        // So many types and functions that the numbers in what is added take more bytes than before.
        let many = |text: &str| text.repeat(200);
        let base = format!("(module {} {})", many("(type (func))"), many("(func (type 0))"));
        let base = wat::parse_str(base).unwrap();
        let region = r#"(module (type (func (param i32 i32) (result i64)))
            (func (export "0") (type 0)
                (drop (call 0 (local.get 0) (local.get 1)))
                (local.get 0)
                (@metadata.code.branch_hint "\00") (if (then (return (i64.const 1))))
                (i64.const 2)))"#;
        let modules = vec![wat::parse_str(region).unwrap(); 2];
        let report = FrozenReport::default();
        let code = FrozenCode { modules, first_slot: 1, report, pages: Pages::new() };
        let addition = Addition::new(&base, &code).unwrap();
        let mut sections = Vec::new();
        for payload in Parser::new(0).parse_all(&base) {
            match payload.unwrap() {
                Payload::TypeSection(section) => {
                    sections.extend(section_bytes(&addition.types(&section).unwrap()));
                }
                Payload::FunctionSection(section) => {
                    sections.extend(section_bytes(&addition.functions(&section).unwrap()));
                }
                Payload::CodeSectionStart { range, .. } => {
                    let (hints, code) = addition.code(&base[range]).unwrap();
                    sections.extend([section_bytes(&hints), section_bytes(&code)].concat());
                }
                _ => {}
            }
        }
        let module = [wasm_encoder::Module::HEADER.to_vec(), sections].concat();
        let (mut hinted, mut bodies) = (Vec::new(), Vec::new());
        for payload in Parser::new(0).parse_all(&module) {
            match payload.unwrap() {
                Payload::CustomSection(custom) => {
                    let KnownCustom::BranchHints(functions) = custom.as_known() else { continue };
                    for function in functions {
                        let function = function.unwrap();
                        let offsets =
                            function.hints.into_iter().map(|hint| hint.unwrap().func_offset);
                        hinted.push((function.func, offsets.collect::<Vec<u32>>()));
                    }
                }
                Payload::CodeSectionEntry(body) => bodies.push(body.range().start),
                _ => {}
            }
        }
        let functions: Vec<u32> = hinted.iter().map(|(function, _)| *function).collect();
        assert_eq!(functions, [200, 201]);
        const IF: u8 = 0x04;
        for (function, offsets) in hinted {
            assert_eq!(offsets.len(), 1);
            assert_eq!(module[bodies[function as usize] + offsets[0] as usize], IF);
        }
    }
}
