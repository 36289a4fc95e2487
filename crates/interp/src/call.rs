//! Calls into and out of compiled regions.
#![allow(unsafe_code)] // an index in the function table becomes a function; a pointer from compiled code the CPU

use crate::op::run_op;
use ir::Cpu;

/// A compiled region: `fn(cpu, how many guest calls may nest) -> guest address where to go on`.
pub type Region = extern "C" fn(*mut Cpu, i32) -> u64;

/// The regions that the host has put into the function table.
#[derive(Default)]
pub struct Regions {
    /// Where there is no table that a host could reach: tests put functions here. Number 0 is none.
    #[cfg(not(target_arch = "wasm32"))]
    native: Vec<Region>,
}

impl Regions {
    /// Calls the region in `slot`, or says that there is none.
    #[cfg(target_arch = "wasm32")]
    #[inline(always)]
    pub fn call(&self, slot: u32, cpu: &mut Cpu, depth: i32) -> Option<u64> {
        // SAFETY: a function pointer is an index in the table, and not 0. A slot that holds no function of this type, or
        // none, ends the box by a trap: the call is checked. The function changes nothing but `cpu`, what `Shared` holds,
        // and pages that the lookaside tables name, as the interpreter does.
        let region = unsafe { core::mem::transmute::<usize, Option<Region>>(slot as usize) };
        region.map(|region| region(cpu, depth))
    }

    /// Calls the region in `slot`, or says that there is none.
    #[cfg(not(target_arch = "wasm32"))]
    pub fn call(&self, slot: u32, cpu: &mut Cpu, depth: i32) -> Option<u64> {
        let region = self.native.get((slot as usize).checked_sub(1)?)?;
        Some(region(cpu, depth))
    }

    /// Adds a function in place of a host; its slot.
    #[cfg(not(target_arch = "wasm32"))]
    pub fn add(&mut self, region: Region) -> u32 {
        self.native.push(region);
        self.native.len() as u32
    }
}

/// The function `fn(cpu: *mut Cpu, fields: u64, imm: i64) -> u32` that compiled code calls for ops that it has no code of its
/// own for: [`run_op`].
pub fn op_helper() -> *const () {
    helper as *const ()
}

extern "C" fn helper(cpu: *mut Cpu, fields: u64, imm: i64) -> u32 {
    // SAFETY: compiled code passes the pointer that it got from `Regions::call`, whose `&mut Cpu` nobody uses meanwhile.
    run_op(unsafe { &mut *cpu }, fields, imm)
}
