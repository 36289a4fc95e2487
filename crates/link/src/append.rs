//! Adds the functions of frozen regions to the guest's module: each section that has to know of them, written anew.

use crate::LinkError;
use crate::frozen::FrozenCode;
use std::borrow::Cow;
use std::convert::Infallible;
use wasm_encoder::reencode::{Reencode, RoundtripReencoder};
use wasm_encoder::{
    CodeSection, ConstExpr, ElementSection, Elements, FunctionSection, TableSection, TypeSection,
};
use wasmparser::{
    BinaryReader, CodeSectionReader, ElementSectionReader, FunctionSectionReader, Parser, Payload,
    TableSectionReader, TypeSectionReader,
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

    /// The function bodies.
    pub fn code(&self, section: &[u8]) -> Result<CodeSection, LinkError> {
        let mut code = CodeSection::new();
        let reader = CodeSectionReader::new(BinaryReader::new(section, 0)).map_err(damaged)?;
        for body in reader {
            let range = body.map_err(damaged)?.range();
            code.raw(section.get(range).ok_or_else(|| damaged("a function"))?);
        }
        let mut functions = self.functions;
        for parts in self.parts() {
            let parts = parts?;
            let mut moved = Moved { types: self.types, functions };
            for body in parts.bodies {
                moved.parse_function_body(&mut code, body.map_err(damaged)?).map_err(damaged)?;
            }
            functions += parts.functions.len() as u32;
        }
        Ok(code)
    }
}

fn parts(module: &[u8]) -> Result<Parts<'_>, LinkError> {
    let (mut types, mut functions, mut bodies) = (None, Vec::new(), None);
    let mut exported = Vec::new();
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
            Payload::CodeSectionStart { range, .. } => {
                let bytes = module.get(range.clone()).ok_or_else(|| damaged("a region"))?;
                let reader = BinaryReader::new(bytes, range.start);
                bodies = Some(CodeSectionReader::new(reader).map_err(damaged)?);
            }
            _ => {}
        }
    }
    match (types, bodies) {
        (Some(types), Some(bodies)) => Ok(Parts { types, functions, bodies, exported }),
        _ => Err(damaged("a region has no code")),
    }
}

/// Writes a region's body with the numbers of types and functions that they get.
struct Moved {
    types: u32,
    functions: u32,
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
