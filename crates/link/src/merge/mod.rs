//! Makes one module of a box and a program that is a WASI module itself.
//!
//! Both have their addresses in one memory: `[0, BASE)` is the box's own, and the program's begins at `BASE`. So `BASE` is added to the constant
//! offset of each of the program's accesses, which leaves effective addresses exact (they are computed in more than 32 bits) and traps
//! what lay outside; `memory.size` and `memory.grow` of the program count from `BASE` on, and those of the box end there. Pointers that
//! the program passes in calls stay as they are: whoever answers them knows `BASE`. All of the program's data are copied by its start, so
//! that what lies in memory when an instance is made stays dense, and hosts can map it.
//!
//! The box's side of it are exports of the guest program (`crates/guest`, feature `program`): `preview1:NAME` for each import of the program,
//! `boxer-program-begin(BASE)` before its start and `boxer-program-end()` after it; and the import `boxer.program-pages`, the size of the program's memory.

mod code;
mod instructions;
mod parts;

use crate::program::{PREVIEW1, Program, ProgramError, START};
use crate::section::{damaged, section_bytes};
use crate::split::WASM_PAGE as PAGE;
use crate::{LinkError, PROGRAM_SECTION};
use code::{Addresses, Moved};
use instructions::Instructions;
use parts::Parts;
use std::borrow::Cow;
use std::io::Write;
use wasm_encoder::reencode::Reencode;
use wasm_encoder::{
    CodeSection, CustomSection, DataCountSection, DataSection, ElementSection, EntityType,
    ExportKind, ExportSection, FunctionSection, GlobalSection, GlobalType, ImportSection,
    MemorySection, MemoryType, Module, TableSection, TagSection, TypeSection, ValType,
};
use wasmparser::DataKind;

/// Memory beside what the box has when its state is taken, in bytes: for files that are written, and the kernel's records. It is at the low
/// end of memory, so it costs address space as long as nobody uses it.
pub const ARENA: u32 = 256 << 20;

/// Pages of all addresses.
const PAGES: u64 = (1 << 32) / PAGE;

/// Module of what the guest program imports from here.
const OWN: &str = "boxer";

/// The guest program's `snapshot` and the `program` as one module.
pub fn merge(snapshot: &[u8], program: &Program<'_>) -> Result<Vec<u8>, LinkError> {
    let own = Parts::read(snapshot).map_err(damaged)?;
    let theirs = Parts::read(program.bytes)
        .map_err(|error| LinkError::Program(ProgramError::Invalid(error.to_string())))?;
    Merge::new(own, theirs)?.module()
}

/// Writes the section that tells such a box from others, for a component, whose own sections are those around the module.
pub fn mark(out: &mut dyn Write) -> Result<(), LinkError> {
    let section = section_bytes(&MARK);
    let written = out.write_all(&section).and_then(|()| out.flush());
    written.map_err(|source| LinkError::Io { what: "write the component", source })
}

const MARK: CustomSection<'static> =
    CustomSection { name: Cow::Borrowed(PROGRAM_SECTION), data: Cow::Borrowed(&[]) };

struct Merge<'a> {
    own: Parts<'a>,
    theirs: Parts<'a>,
    /// First page of the program's memory.
    base: u32,
    /// Imported functions that are left.
    imported: u32,
}

impl<'a> Merge<'a> {
    fn new(own: Parts<'a>, theirs: Parts<'a>) -> Result<Merge<'a>, LinkError> {
        let pages = own.memory.map_or(0, |memory| memory.initial);
        let base = pages + u64::from(ARENA) / PAGE;
        let asked = theirs.memory.map_or(0, |memory| memory.initial);
        let room = PAGES.saturating_sub(base);
        if asked > room {
            return Err(ProgramError::TooLarge { pages: asked, room }.into());
        }
        let imported = own.imports.iter().filter(|import| import.module != OWN).count();
        Ok(Merge { own, theirs, base: base as u32, imported: imported as u32 })
    }

    /// Number of the first function of the program, and that of the first one made here.
    fn first(&self) -> (u32, u32) {
        let theirs = self.imported + self.own.functions.len() as u32;
        (theirs, theirs + self.theirs.functions.len() as u32)
    }

    /// Numbers that the box's functions get.
    fn own_functions(&self, instructions: &Instructions) -> Result<Vec<u32>, LinkError> {
        let mut all = Vec::new();
        let mut kept = 0;
        for import in &self.own.imports {
            if import.module != OWN {
                all.push(kept);
                kept += 1;
            } else if import.name == instructions::PROGRAM_PAGES {
                all.push(instructions.program_pages());
            } else {
                return Err(damaged(format!("the guest program imports {OWN}.{}", import.name)));
            }
        }
        all.extend((0..self.own.functions.len() as u32).map(|n| kept + n));
        Ok(all)
    }

    /// Numbers that the program's functions get: its imports are the box's functions.
    fn their_functions(&self, own: &[u32]) -> Result<Vec<u32>, LinkError> {
        let mut all = Vec::new();
        for import in &self.theirs.imports {
            let name = format!("preview1:{}", import.name);
            let Some(number) = self.own.exported(&name) else {
                let (module, name) = (PREVIEW1.to_owned(), import.name.to_owned());
                return Err(ProgramError::Import { module, name }.into());
            };
            if self.own.type_of(number) != self.theirs.type_at(import.ty) {
                return Err(ProgramError::Signature(import.name.to_owned()).into());
            }
            all.push(*own.get(number as usize).ok_or_else(|| damaged("an export"))?);
        }
        let first = self.first().0;
        all.extend((0..self.theirs.functions.len() as u32).map(|n| first + n));
        Ok(all)
    }

    fn module(&self) -> Result<Vec<u8>, LinkError> {
        let (own, theirs) = (&self.own, &self.theirs);
        let mut instructions = Instructions::new(self.first().1, self.base, own.globals());
        let passive = own.passive();
        let mut moved = Moved {
            functions: self.own_functions(&instructions)?,
            data: passive.clone(),
            ..Moved::default()
        };
        let mut moved_theirs = Moved {
            functions: self.their_functions(&moved.functions)?,
            types: own.types_len,
            tables: own.tables_len(),
            globals: own.globals() + 1,
            elements: own.elements_len(),
            data: (0..theirs.data_len())
                .map(|n| Some(passive.iter().flatten().count() as u32 + n))
                .collect(),
            overflowed: false,
            base: 0,
        };
        let mut code = CodeSection::new();
        for body in &own.bodies {
            let how = Addresses::Below { pages: instructions.own_pages() };
            code.function(&code::body(&mut moved, how, &mut instructions, body).map_err(damaged)?);
        }
        moved_theirs.base = u64::from(self.base) * PAGE;
        for body in &theirs.bodies {
            let how = Addresses::From { base: self.base };
            code.function(
                &code::body(&mut moved_theirs, how, &mut instructions, body).map_err(damaged)?,
            );
        }
        // Addresses of constant expressions are no accesses.
        moved_theirs.base = 0;
        let start = self.start(&mut instructions, &mut moved_theirs, &moved.functions)?;
        let first_type = own.types_len + theirs.types_len;
        let made = instructions.finish(start);

        let mut module = Module::new();
        module.section(&self.types(&mut moved, &mut moved_theirs, &made)?);
        module.section(&self.imports(&mut moved)?);
        let mut functions = FunctionSection::new();
        own.functions.iter().for_each(|ty| _ = functions.function(*ty));
        theirs.functions.iter().for_each(|ty| _ = functions.function(own.types_len + ty));
        (0..made.len() as u32).for_each(|n| _ = functions.function(first_type + n));
        module.section(&functions);
        self.tables_to_globals(&mut module, &mut moved, &mut moved_theirs)?;
        module.section(&self.exports(&moved.functions, self.first().1 + made.len() as u32 - 1));
        let mut elements = ElementSection::new();
        for (parts, moved) in [(own, &mut moved), (theirs, &mut moved_theirs)] {
            if let Some(section) = &parts.elements {
                moved.parse_element_section(&mut elements, section.clone()).map_err(damaged)?;
            }
        }
        module.section(&elements);
        let data = self.data(&passive)?;
        module.section(&DataCountSection { count: data.len() });
        made.iter().for_each(|(_, body)| _ = code.function(body));
        module.section(&code);
        module.section(&data);
        module.section(&MARK);
        Ok(module.finish())
    }

    /// The types of both, and those of the functions made here.
    fn types(
        &self,
        moved: &mut Moved,
        moved_theirs: &mut Moved,
        made: &[instructions::Made],
    ) -> Result<TypeSection, LinkError> {
        let mut types = TypeSection::new();
        for (parts, moved) in [(&self.own, moved), (&self.theirs, moved_theirs)] {
            if let Some(section) = &parts.types {
                moved.parse_type_section(&mut types, section.clone()).map_err(damaged)?;
            }
        }
        for ((params, results), _) in made {
            types.ty().function(params.iter().copied(), results.iter().copied());
        }
        Ok(types)
    }

    fn imports(&self, moved: &mut Moved) -> Result<ImportSection, LinkError> {
        let mut imports = ImportSection::new();
        for import in self.own.imports.iter().filter(|import| import.module != OWN) {
            let ty = moved.type_index(import.ty).map_err(damaged)?;
            imports.import(import.module, import.name, EntityType::Function(ty));
        }
        Ok(imports)
    }

    fn tables_to_globals(
        &self,
        module: &mut Module,
        moved: &mut Moved,
        moved_theirs: &mut Moved,
    ) -> Result<(), LinkError> {
        let (own, theirs) = (&self.own, &self.theirs);
        let mut tables = TableSection::new();
        let mut tags = TagSection::new();
        let mut globals = GlobalSection::new();
        for (parts, moved) in [(own, moved), (theirs, moved_theirs)] {
            if let Some(section) = &parts.tables {
                moved.parse_table_section(&mut tables, section.clone()).map_err(damaged)?;
            }
            if let Some(section) = &parts.tags {
                moved.parse_tag_section(&mut tags, section.clone()).map_err(damaged)?;
            }
            if let Some(section) = &parts.globals {
                moved.parse_global_section(&mut globals, section.clone()).map_err(damaged)?;
            }
            if std::ptr::eq(parts, own) {
                // How many pages the box has taken of its own.
                let pages = own.memory.map_or(0, |memory| memory.initial);
                let ty = GlobalType { val_type: ValType::I32, mutable: true, shared: false };
                globals.global(ty, &wasm_encoder::ConstExpr::i32_const(pages as i32));
            }
        }
        let memory = theirs.memory;
        let mut memories = MemorySection::new();
        let base = u64::from(self.base);
        memories.memory(MemoryType {
            minimum: base + memory.map_or(0, |memory| memory.initial),
            maximum: memory.and_then(|memory| memory.maximum).map(|most| PAGES.min(base + most)),
            memory64: false,
            shared: false,
            page_size_log2: None,
        });
        module.section(&tables).section(&memories);
        if !tags.is_empty() {
            module.section(&tags);
        }
        module.section(&globals);
        Ok(())
    }

    /// What hosts of WASI look for, and what an adapter takes memory from.
    fn exports(&self, own: &[u32], start: u32) -> ExportSection {
        let mut exports = ExportSection::new();
        exports.export("memory", ExportKind::Memory, 0);
        exports.export(START, ExportKind::Func, start);
        const REALLOC: &str = "cabi_realloc";
        let realloc = self.own.exported(REALLOC).and_then(|number| own.get(number as usize));
        if let Some(number) = realloc {
            exports.export(REALLOC, ExportKind::Func, *number);
        }
        exports
    }

    /// The box's data as they are, but passive ones first, as [`crate::data`] writes them; and the program's, none of which is active.
    fn data(&self, passive: &[Option<u32>]) -> Result<DataSection, LinkError> {
        let mut data = DataSection::new();
        let mut segments = Vec::new();
        for (n, segment) in self.own.data()?.into_iter().enumerate() {
            match segment.kind {
                DataKind::Passive if passive.get(n).copied().flatten().is_some() => {
                    data.passive(segment.data.iter().copied());
                }
                DataKind::Passive => {}
                DataKind::Active { .. } => segments.push(segment),
            }
        }
        for segment in self.theirs.data()? {
            data.passive(segment.data.iter().copied());
        }
        for segment in segments {
            Moved::default().parse_data(&mut data, segment).map_err(damaged)?;
        }
        Ok(data)
    }

    /// What `_start` does: the program's data, the box, the program.
    fn start(
        &self,
        instructions: &mut Instructions,
        moved: &mut Moved,
        own: &[u32],
    ) -> Result<wasm_encoder::Function, LinkError> {
        let of_box = |name: &str| {
            let number = self.own.exported(name).and_then(|number| own.get(number as usize));
            number.copied().ok_or_else(|| damaged(format!("the guest program has no {name}")))
        };
        let mut start = wasm_encoder::Function::new([]);
        for (n, segment) in (0..).zip(self.theirs.data()?) {
            let DataKind::Active { offset_expr, .. } = segment.kind else { continue };
            let mut reader = offset_expr.get_operators_reader();
            while !reader.is_end_then_eof() {
                let op = reader.read().map_err(damaged)?;
                start.instruction(&moved.instruction(op).map_err(damaged)?);
            }
            let number = moved.data_index(n).map_err(damaged)?;
            let mut sink = start.instructions();
            sink.i32_const(0).i32_const(segment.data.len() as i32);
            sink.call(instructions.init(number)).data_drop(number);
        }
        let theirs = |function: u32| moved.functions.get(function as usize).copied();
        let program = self.theirs.exported(START).and_then(theirs);
        let program = program.ok_or(LinkError::Program(ProgramError::NoStart))?;
        let mut sink = start.instructions();
        sink.i32_const((u64::from(self.base) * PAGE) as u32 as i32)
            .call(of_box("boxer-program-begin")?);
        if let Some(first) = self.theirs.start.and_then(theirs) {
            sink.call(first);
        }
        sink.call(program).call(of_box("boxer-program-end")?).end();
        Ok(start)
    }
}
