//! A module's sections.

use crate::LinkError;
use crate::section::damaged;
use wasmparser::{
    Data, DataSectionReader, ElementSectionReader, ExternalKind, FuncType, FunctionBody,
    GlobalSectionReader, MemoryType, Parser, Payload, Result, TableSectionReader, TagSectionReader,
    TypeRef, TypeSectionReader,
};

/// An imported function.
pub struct Import<'a> {
    pub module: &'a str,
    pub name: &'a str,
    /// Number of its type.
    pub ty: u32,
}

/// A module with functions for imports, and one memory.
#[derive(Default)]
pub struct Parts<'a> {
    pub types: Option<TypeSectionReader<'a>>,
    /// How many types there are.
    pub types_len: u32,
    /// Those of functions by their numbers.
    func_types: Vec<Option<FuncType>>,
    pub imports: Vec<Import<'a>>,
    /// Types of the functions that are not imported.
    pub functions: Vec<u32>,
    pub tables: Option<TableSectionReader<'a>>,
    pub memory: Option<MemoryType>,
    pub tags: Option<TagSectionReader<'a>>,
    pub globals: Option<GlobalSectionReader<'a>>,
    exports: Vec<(&'a str, u32)>,
    /// The function that runs when an instance is made.
    pub start: Option<u32>,
    pub elements: Option<ElementSectionReader<'a>>,
    /// Whether code may name data segments.
    counted: bool,
    pub bodies: Vec<FunctionBody<'a>>,
    data: Option<DataSectionReader<'a>>,
}

impl<'a> Parts<'a> {
    /// Reads a valid module.
    pub fn read(module: &'a [u8]) -> Result<Parts<'a>> {
        let mut parts = Parts::default();
        for payload in Parser::new(0).parse_all(module) {
            parts.take(payload?)?;
        }
        Ok(parts)
    }

    fn take(&mut self, payload: Payload<'a>) -> Result<()> {
        match payload {
            Payload::TypeSection(section) => {
                for group in section.clone() {
                    for ty in group?.types() {
                        let func = match &ty.composite_type.inner {
                            wasmparser::CompositeInnerType::Func(func) => Some(func.clone()),
                            _ => None,
                        };
                        self.func_types.push(func);
                    }
                }
                self.types_len = self.func_types.len() as u32;
                self.types = Some(section);
            }
            Payload::ImportSection(section) => {
                for import in section.into_imports() {
                    let import = import?;
                    // Whoever asks has refused others.
                    if let TypeRef::Func(ty) = import.ty {
                        self.imports.push(Import { module: import.module, name: import.name, ty });
                    }
                }
            }
            Payload::FunctionSection(section) => {
                self.functions = section.into_iter().collect::<Result<_>>()?;
            }
            Payload::TableSection(section) => self.tables = Some(section),
            Payload::MemorySection(section) => {
                self.memory = section.into_iter().next().transpose()?;
            }
            Payload::TagSection(section) => self.tags = Some(section),
            Payload::GlobalSection(section) => self.globals = Some(section),
            Payload::ExportSection(section) => {
                for export in section {
                    let export = export?;
                    if export.kind == ExternalKind::Func {
                        self.exports.push((export.name, export.index));
                    }
                }
            }
            Payload::StartSection { func, .. } => self.start = Some(func),
            Payload::ElementSection(section) => self.elements = Some(section),
            Payload::DataCountSection { .. } => self.counted = true,
            Payload::CodeSectionEntry(body) => self.bodies.push(body),
            Payload::DataSection(section) => self.data = Some(section),
            _ => {}
        }
        Ok(())
    }

    /// Number of an exported function.
    pub fn exported(&self, name: &str) -> Option<u32> {
        self.exports.iter().find(|(exported, _)| *exported == name).map(|(_, number)| *number)
    }

    /// The type of a function that has a number of the module's.
    pub fn type_of(&self, function: u32) -> Option<&FuncType> {
        let function = function as usize;
        let imported = self.imports.get(function).map(|import| import.ty);
        let own = || self.functions.get(function.checked_sub(self.imports.len())?).copied();
        self.type_at(imported.or_else(own)?)
    }

    /// A type of functions.
    pub fn type_at(&self, ty: u32) -> Option<&FuncType> {
        self.func_types.get(ty as usize)?.as_ref()
    }

    pub fn tables_len(&self) -> u32 {
        self.tables.as_ref().map_or(0, |section| section.count())
    }

    pub fn globals(&self) -> u32 {
        self.globals.as_ref().map_or(0, |section| section.count())
    }

    pub fn elements_len(&self) -> u32 {
        self.elements.as_ref().map_or(0, |section| section.count())
    }

    pub fn data_len(&self) -> u32 {
        self.data.as_ref().map_or(0, |section| section.count())
    }

    pub fn data(&self) -> std::result::Result<Vec<Data<'a>>, LinkError> {
        let section = self.data.clone().into_iter().flatten();
        section.collect::<Result<_>>().map_err(damaged)
    }

    /// For each data segment its number among the passive ones, if code can name it.
    pub fn passive(&self) -> Vec<Option<u32>> {
        let mut next = 0;
        let mut all = Vec::new();
        for segment in self.data.clone().into_iter().flatten() {
            let is = segment.is_ok_and(|data| matches!(data.kind, wasmparser::DataKind::Passive));
            all.push((is && self.counted).then_some(next));
            next += u32::from(is && self.counted);
        }
        all
    }
}
