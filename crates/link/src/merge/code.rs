//! Function bodies with the numbers and addresses that they get.

use super::instructions::{self as made, Instructions};
use wasm_encoder::reencode::{Error, Reencode, utils};
use wasm_encoder::{Function, MemArg};
use wasmparser::{FunctionBody, Operator};

type Result<T> = std::result::Result<T, Error<Missing>>;

/// A number that nothing has.
#[derive(Debug, thiserror::Error)]
#[error("there is no such {0}")]
pub struct Missing(&'static str);

/// Which part of memory code uses.
#[derive(Clone, Copy)]
pub enum Addresses {
    /// The low one: its size is what this global says.
    Below {
        /// Number of the global.
        pages: u32,
    },
    /// The high one.
    From {
        /// Its first page.
        base: u32,
    },
}

/// Numbers of one of the modules in the other's company.
#[derive(Default)]
pub struct Moved {
    /// Its functions' by their own.
    pub functions: Vec<u32>,
    /// How many come before its types, tables, globals and element segments.
    pub types: u32,
    pub tables: u32,
    pub globals: u32,
    pub elements: u32,
    /// Its data segments' by their own; none for those that code cannot name.
    pub data: Vec<Option<u32>>,
    /// What is added to the address of each access.
    pub base: u64,
    /// The last access has left the address space by that.
    pub overflowed: bool,
}

impl Reencode for Moved {
    type Error = Missing;

    fn function_index(&mut self, function: u32) -> Result<u32> {
        self.functions.get(function as usize).copied().ok_or(Error::UserError(Missing("function")))
    }

    fn type_index(&mut self, ty: u32) -> Result<u32> {
        Ok(self.types + ty)
    }

    fn table_index(&mut self, table: u32) -> Result<u32> {
        Ok(self.tables + table)
    }

    fn global_index(&mut self, global: u32) -> Result<u32> {
        Ok(self.globals + global)
    }

    fn element_index(&mut self, element: u32) -> Result<u32> {
        Ok(self.elements + element)
    }

    fn data_index(&mut self, data: u32) -> Result<u32> {
        let number = self.data.get(data as usize).copied().flatten();
        number.ok_or(Error::UserError(Missing("data segment")))
    }

    fn mem_arg(&mut self, arg: wasmparser::MemArg) -> Result<MemArg> {
        let mut arg = utils::mem_arg(self, arg)?;
        arg.offset += self.base;
        // No address is that high, so the access traps whatever is added to it.
        self.overflowed = arg.offset > u64::from(u32::MAX);
        Ok(arg)
    }
}

/// A body with its new numbers.
pub fn body(
    moved: &mut Moved,
    addresses: Addresses,
    instructions: &mut Instructions,
    body: &FunctionBody<'_>,
) -> Result<Function> {
    let mut function = moved.new_function_with_parsed_locals(body)?;
    let mut reader = body.get_operators_reader()?;
    while !reader.eof() {
        match (reader.read()?, addresses) {
            (Operator::MemorySize { .. }, Addresses::Below { pages }) => {
                function.instructions().global_get(pages);
            }
            (Operator::MemorySize { .. }, Addresses::From { base }) => {
                function.instructions().memory_size(0).i32_const(base as i32).i32_sub();
            }
            (Operator::MemoryGrow { .. }, Addresses::Below { .. }) => {
                function.instructions().call(instructions.own_grow());
            }
            (Operator::MemoryGrow { .. }, Addresses::From { .. }) => {
                function.instructions().call(instructions.program_grow());
            }
            (Operator::MemoryFill { .. }, Addresses::From { .. }) => {
                function.instructions().call(instructions.fill());
            }
            (Operator::MemoryCopy { .. }, Addresses::From { .. }) => {
                function.instructions().call(instructions.copy());
            }
            (Operator::MemoryInit { data_index, .. }, Addresses::From { .. }) => {
                let segment = moved.data_index(data_index)?;
                function.instructions().call(instructions.init(segment));
            }
            (operator, _) => {
                moved.overflowed = false;
                let instruction = moved.instruction(operator)?;
                if moved.overflowed {
                    made::trap(&mut function.instructions());
                    function.instructions().unreachable();
                } else {
                    function.instruction(&instruction);
                }
            }
        }
    }
    Ok(function)
}
