//! Accesses of a node that share one check: those off the same value, at distances known at translation time.
//!
//! A *window* is the range that they cover. It is checked once, at the first of them, by the entries of its first and its
//! last byte: if both are there and equal, all of it can be reached by one difference. A miss leaves before the first
//! access although only a later one may be in need of the interpreter; that is as exact, because nothing was done yet.

use crate::coverage::{is_opaque, loads, size};
use crate::slots::{bits, operands};
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

/// A window's place by registers: `a + (b << shift) + start`, with their values where the node begins.
#[derive(Clone, Copy)]
pub struct Course {
    /// First register.
    pub a: u8,
    /// Second register.
    pub b: u8,
    /// How far the second one is shifted left.
    pub shift: u32,
    /// From their sum to the window's start.
    pub start: i64,
    /// What is added to either before the window's first access.
    pub moved: (i64, i64),
    /// Beside these the accesses have an index, each turn another one.
    pub index: Option<Index>,
}

/// An index of which only a bound is known: of a table of 256 entries, say.
#[derive(Clone, Copy)]
pub struct Index {
    /// It is the first register of the accesses, or else the second one.
    pub is_first: bool,
    /// Most that it adds to the address.
    pub most: u32,
}

/// What code adds to a register.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Move {
    /// A number.
    pub by: i64,
    /// And the value that a register has where the code begins.
    pub register: Option<u8>,
}

impl Move {
    /// This, then `next`, if that is known.
    pub fn then(self, next: Move) -> Option<Move> {
        let register = match (self.register, next.register) {
            (Some(_), Some(_)) => return None,
            (one, other) => one.or(other),
        };
        Some(Move { by: self.by.wrapping_add(next.by), register })
    }
}

/// What a node does to each slot, as far as it is known.
pub type Moves = [Option<Move>; 64];

/// What [`find`] finds.
pub struct Found {
    /// The windows.
    pub windows: Vec<Window>,
    /// Which access belongs to which, by index of IR instruction.
    pub accesses: Vec<Option<Access>>,
    /// Where each window lies, if it is known where the node begins.
    pub courses: Vec<Option<Course>>,
    /// What the node does to each slot.
    pub moves: Moves,
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
    /// Symbols that are the sum of what two slots are at the node's beginning.
    sums: Vec<(u32, u8, u8)>,
    /// Symbols that are at most a number, and that.
    bounds: Vec<(u32, u32)>,
}

/// The largest bound that is of interest.
const MOST: u32 = 2047;

/// What the result of an instruction is at most, if that is little.
fn bound(inst: &Inst) -> Option<u32> {
    use Op::*;
    let is_imm = inst.b == ir::IMM;
    let most = match inst.op {
        Zx8 | Zx8h | Load8 => u8::MAX.into(),
        And32 | And64 if is_imm => u64::try_from(inst.imm).ok()?,
        Shr32 if is_imm => u64::from(u32::MAX >> (inst.imm & 31)),
        Shr64 if is_imm => u64::MAX >> (inst.imm & 63),
        _ => return None,
    };
    u32::try_from(most).ok().filter(|most| *most <= MOST)
}

impl Values {
    fn new() -> Values {
        let mut values = Values {
            slots: [Value { symbol: 0, offset: 0 }; 64],
            next: 1,
            sums: Vec::new(),
            bounds: Vec::new(),
        };
        for slot in 0..64 {
            values.forget(slot);
        }
        // The zero slot: a symbol of its own, never written.
        values
    }

    /// The slot whose value at the node's beginning has this symbol.
    fn slot(symbol: u32) -> Option<u8> {
        (symbol <= 64).then(|| (symbol - 1) as u8)
    }

    /// The slot whose value at the node's beginning this is.
    fn unmoved(&self, slot: u8) -> Option<u8> {
        let Value { symbol, offset } = self.of(slot);
        Values::slot(symbol).filter(|_| offset == 0)
    }

    /// What was done to a slot so far.
    fn moved(&self, slot: u8) -> Option<Move> {
        let Value { symbol, offset: by } = self.of(slot);
        if Values::slot(symbol) == Some(slot) {
            return Some(Move { by, register: None });
        }
        let sum = self.sums.iter().find(|sum| sum.0 == symbol && (sum.1 == slot || sum.2 == slot));
        sum.map(|sum| Move { by, register: Some(if sum.1 == slot { sum.2 } else { sum.1 }) })
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
        let sum = match inst.op {
            Op::Add64 if inst.b != ir::IMM => self.unmoved(inst.a).zip(self.unmoved(inst.b)),
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
                for slot in bits(operands(inst).1.ints) {
                    self.forget(slot);
                }
                if let Some(most) = bound(inst) {
                    self.bounds.push((self.of(inst.d).symbol, most));
                }
                if let Some((a, b)) = sum {
                    self.sums.push((self.of(inst.d).symbol, a, b));
                }
            }
        }
    }
}

/// The windows of a node's accesses.
pub fn find(insts: &[Inst]) -> Found {
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
                    let moved = (a.offset, b.offset << shift);
                    open.push(Open {
                        key,
                        first: at,
                        at: start,
                        start,
                        end,
                        writes,
                        accesses: 1,
                        moved,
                    });
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
    let courses = open.iter().map(|w| w.course(&values)).collect();
    let moves = std::array::from_fn(|slot| values.moved(slot as u8));
    Found { windows, accesses, courses, moves }
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
    moved: (i64, i64),
}

impl Open {
    fn course(&self, values: &Values) -> Option<Course> {
        let (a, b, shift) = self.key;
        let (start, moved) = (self.start, self.moved);
        let most = |symbol| values.bounds.iter().find(|(s, _)| *s == symbol).map(|(_, most)| *most);
        Some(match (Values::slot(a), Values::slot(b)) {
            (Some(a), Some(b)) => Course { a, b, shift, start, moved, index: None },
            (Some(a), None) => {
                let index = Some(Index { is_first: false, most: most(b)? << shift });
                Course { a, b: ZERO, shift: 0, start, moved, index }
            }
            (None, Some(b)) => {
                let index = Some(Index { is_first: true, most: most(a)? });
                Course { a: ZERO, b, shift, start, moved, index }
            }
            (None, None) => return None,
        })
    }
}
