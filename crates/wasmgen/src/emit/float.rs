//! The locals of floating-point ops; see [`crate::vector::float`].

use crate::emit::Emitter;
use crate::known::{Shape, Width, shape};
use ir::Inst;
use wasm_encoder::ValType;

/// Which there are so far; 0 stands for none.
#[derive(Default)]
pub struct FloatLocals {
    /// The region has floating-point ops.
    used: bool,
    /// It has packed ones, by width.
    packed: [bool; 2],
    limits: [u32; 3],
    packed_limits: [u32; 2],
    scratch: [u32; 2],
    packed_scratch: [u32; 2],
    zero: u32,
    /// Lane 0 of a slot as a scalar, by width and slot.
    lanes: Vec<(Width, u8, u32)>,
    /// Slots whose lane is up to date, by width.
    fresh: [u64; 2],
}

impl FloatLocals {
    /// Takes note of an instruction of the region.
    pub fn note(&mut self, inst: &Inst) {
        let Some(shape) = shape(inst.op) else { return };
        self.used = true;
        if let Shape::PackedBinary(width) | Shape::PackedUnary(width) = shape {
            self.packed[width as usize] = true;
        }
    }

    /// Whether the region has floating-point ops.
    pub fn are_used(&self) -> bool {
        self.used
    }

    /// The scalar of `slot` is old.
    pub fn forget(&mut self, slot: u8) {
        for fresh in &mut self.fresh {
            *fresh &= !(1 << slot);
        }
    }

    /// All scalars are.
    pub fn forget_all(&mut self) {
        self.fresh = [0; 2];
    }
}

fn value_type(width: Width) -> ValType {
    match width {
        Width::Single => ValType::F32,
        Width::Double => ValType::F64,
    }
}

impl Emitter<'_> {
    /// Whether MXCSR lets exact results raise nothing, and the limits of single and double results (`i32`).
    pub fn float_limits(&mut self) -> [u32; 3] {
        if self.float.limits[0] == 0 {
            self.float.limits = std::array::from_fn(|_| self.number());
        }
        self.float.limits
    }

    /// The limit of packed results, if the region has any of that width.
    pub fn packed_limit(&mut self, width: Width) -> Option<u32> {
        let n = width as usize;
        if !self.float.packed[n] {
            return None;
        }
        if self.float.packed_limits[n] == 0 {
            self.float.packed_limits[n] = self.local(ValType::V128);
        }
        Some(self.float.packed_limits[n])
    }

    /// For a scalar result.
    pub fn float_scratch(&mut self, width: Width) -> u32 {
        let n = width as usize;
        if self.float.scratch[n] == 0 {
            self.float.scratch[n] = self.local(value_type(width));
        }
        self.float.scratch[n]
    }

    /// Zeros: a vector that is never written.
    pub fn float_zero(&mut self) -> u32 {
        if self.float.zero == 0 {
            self.float.zero = self.local(ValType::V128);
        }
        self.float.zero
    }

    /// For the result of half `n`, 0 or 1.
    pub fn packed_scratch(&mut self, n: usize) -> u32 {
        if self.float.packed_scratch[n] == 0 {
            self.float.packed_scratch[n] = self.local(ValType::V128);
        }
        self.float.packed_scratch[n]
    }

    /// The local that holds lane 0 of a slot as well, if one does: so a chain of scalar operations need not go through vectors.
    pub fn lane(&self, width: Width, slot: u8) -> Option<u32> {
        if self.float.fresh[width as usize] >> slot & 1 == 0 {
            return None;
        }
        self.float.lanes.iter().find(|l| (l.0, l.1) == (width, slot)).map(|l| l.2)
    }

    /// Pops lane 0 of a slot, which was just written, into its local.
    pub fn set_lane(&mut self, width: Width, slot: u8) {
        let have = self.float.lanes.iter().find(|l| (l.0, l.1) == (width, slot)).map(|l| l.2);
        let local = have.unwrap_or_else(|| {
            let local = self.local(value_type(width));
            self.float.lanes.push((width, slot, local));
            local
        });
        self.wasm().local_set(local);
        self.float.fresh[width as usize] |= 1 << slot;
    }
}
