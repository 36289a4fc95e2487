//! Accesses of a node that share one check: those off the same value, at distances known at translation time.
//!
//! A *window* is the range that they cover. It is checked once, at the first of them, by the entries of its first and its
//! last byte: if both are there and equal, all of it can be reached by one difference. A miss leaves before the first
//! access although only a later one may be in need of the interpreter; that is as exact, because nothing was done yet.

use crate::coverage::{is_opaque, loads, size};
use ir::{Inst, Op, ZERO};
use mem::PAGE_SIZE;

/// An access within a window.
#[derive(Clone, Copy)]
pub struct Access {
    /// Number of the window.
    pub window: usize,
    /// Distance from the window's start.
    pub offset: u32,
}

/// The accesses that share a check.
#[derive(Clone, Copy)]
pub struct Window {
    /// The first of them, an index of IR instructions.
    pub first: usize,
    /// From the first one's address down to the window's start.
    pub before: u32,
    /// Bytes.
    pub len: u32,
    /// Something is stored.
    pub writes: bool,
    /// How many they are.
    pub accesses: usize,
}

/// A value that is not known, and a distance from it.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Value {
    symbol: u32,
    offset: i64,
}

/// What is known of the slots.
struct Values {
    slots: [Value; 64],
    next: u32,
}

impl Values {
    fn new() -> Values {
        let mut values = Values { slots: [Value { symbol: 0, offset: 0 }; 64], next: 1 };
        for slot in 0..64 {
            values.forget(slot);
        }
        // The zero slot: a symbol of its own, never written.
        values
    }

    fn forget(&mut self, slot: u8) {
        self.slots[usize::from(slot & 63)] = Value { symbol: self.next, offset: 0 };
        self.next += 1;
    }

    fn of(&self, slot: u8) -> Value {
        self.slots[usize::from(slot & 63)]
    }

    /// Follows one instruction.
    fn step(&mut self, inst: &Inst) {
        let moved = |by: i64| {
            let value = self.of(inst.a);
            Some(Value { offset: value.offset.wrapping_add(by), ..value })
        };
        let value = match inst.op {
            Op::Mov => moved(0),
            Op::Add64 if inst.b == ir::IMM => moved(inst.imm),
            Op::Sub64 if inst.b == ir::IMM => moved(inst.imm.wrapping_neg()),
            Op::Lea if inst.b == ZERO => moved(inst.imm),
            _ => None,
        };
        match value {
            Some(value) => self.slots[usize::from(inst.d & 63)] = value,
            None if is_opaque(inst.op) => {
                for slot in 0..64 {
                    if slot != ZERO {
                        self.forget(slot);
                    }
                }
            }
            None => {
                for slot in inst.writes() {
                    self.forget(slot);
                }
            }
        }
    }
}

/// The windows of a node's accesses, and which access belongs to which, by index of IR instruction.
pub fn find(insts: &[Inst]) -> (Vec<Window>, Vec<Option<Access>>) {
    let mut values = Values::new();
    let mut open: Vec<Open> = Vec::new();
    let mut member: Vec<Option<(usize, i64)>> = vec![None; insts.len()];
    for (at, inst) in insts.iter().enumerate() {
        if let Some(size) = size(inst.op) {
            let (a, b) = (values.of(inst.a), values.of(inst.b));
            let shift = u32::from(inst.c & 3);
            let key = (a.symbol, b.symbol, if inst.b == ZERO { 0 } else { shift });
            let start = inst.imm.wrapping_add(a.offset).wrapping_add(b.offset << shift);
            let end = start.saturating_add(i64::from(size));
            let writes = !loads(inst.op);
            let fits = |w: &Open| {
                w.key == key
                    && w.end.max(end).saturating_sub(w.start.min(start)) <= PAGE_SIZE as i64 / 2
            };
            match open.iter().rposition(|w| w.key == key).filter(|n| fits(&open[*n])) {
                Some(n) => {
                    let w = &mut open[n];
                    (w.start, w.end) = (w.start.min(start), w.end.max(end));
                    w.writes |= writes;
                    w.accesses += 1;
                    member[at] = Some((n, start));
                }
                None => {
                    member[at] = Some((open.len(), start));
                    open.push(Open { key, first: at, at: start, start, end, writes, accesses: 1 });
                }
            }
        }
        values.step(inst);
    }
    let windows = open
        .iter()
        .map(|w| Window {
            first: w.first,
            before: (w.at - w.start) as u32,
            len: (w.end - w.start) as u32,
            writes: w.writes,
            accesses: w.accesses,
        })
        .collect();
    let accesses = member
        .into_iter()
        .map(|m| {
            m.map(|(window, start)| Access { window, offset: (start - open[window].start) as u32 })
        })
        .collect();
    (windows, accesses)
}

/// A window while it grows; distances are from the key's values.
struct Open {
    key: (u32, u32, u32),
    first: usize,
    at: i64,
    start: i64,
    end: i64,
    writes: bool,
    accesses: usize,
}
