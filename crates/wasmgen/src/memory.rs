//! Loads and stores through the lookaside tables.

mod streams;

use crate::coverage::size;
use crate::emit::{Emitter, OFFSET, ROW, VA};
use crate::known::{Known, Width};
use crate::vector::float;
use crate::windows::{self, Access, Window};
use ir::{Inst, Op, ZERO};
use mem::{PAGE_MASK, PAGE_SIZE};
use std::mem::offset_of;
use streams::Stream;
pub use streams::look_ahead;
use wasm_encoder::MemArg;

/// The accesses of a node: which share a check, and where the windows lie that were checked.
#[derive(Default)]
pub struct Accesses {
    windows: Vec<Window>,
    by_inst: Vec<Option<Access>>,
    /// Local with the linear address of each window's start.
    places: Vec<u32>,
    /// How each window moves in a loop, if it may be checked for many turns.
    courses: Vec<Option<streams::Course>>,
    /// Those that were.
    streams: Vec<Option<Stream>>,
}

impl Accesses {
    /// Those of `insts`.
    pub fn new(insts: &[Inst]) -> Accesses {
        Accesses::found(windows::find(insts))
    }

    fn found(found: windows::Found) -> Accesses {
        let (windows, by_inst) = (found.windows, found.accesses);
        let count = windows.len();
        Accesses {
            windows,
            by_inst,
            places: vec![0; count],
            courses: vec![None; count],
            streams: vec![None; count],
        }
    }
}

/// What [`Op::VLoadA128`] and [`Op::VStoreA128`] demand of addresses.
const ALIGNMENT: u32 = 16;

fn is_aligned(inst: &Inst) -> bool {
    matches!(inst.op, Op::VLoadA128 | Op::VStoreA128)
}

/// The width of a float that an op may load.
pub fn float_width(op: Op) -> Option<Width> {
    match op {
        Op::VLoad32 => Some(Width::Single),
        Op::VLoad64 => Some(Width::Double),
        _ => None,
    }
}

/// The access of IR instruction `at`; `pc` is its guest instruction's address, and `wanted` are floats that others will look at. False if the op is
/// none.
pub fn emit(
    e: &mut Emitter,
    inst: &Inst,
    at: usize,
    accesses: &mut Accesses,
    pc: u64,
    wanted: Known,
) -> bool {
    use Op::*;
    let Some(size) = size(inst.op) else { return false };
    let Some(Some(access)) = accesses.by_inst.get(at).copied() else { return false };
    let window = accesses.windows[access.window];
    let stream = accesses.streams[access.window];
    let aligned = is_aligned(inst) && stream.is_none();
    if (window.first == at && stream.is_none()) || aligned {
        address(e, inst);
        e.wasm().local_set(VA);
    }
    if aligned {
        e.wasm().local_get(VA).i32_wrap_i64().i32_const(ALIGNMENT as i32 - 1).i32_and();
        e.leave_if(pc);
    }
    let mut m = MemArg { offset: access.offset.into(), align: 0, memory_index: 0 };
    let table = if window.writes { e.layout.write } else { e.layout.read };
    if window.accesses > 1 {
        if window.first == at {
            let place = e.number();
            accesses.places[access.window] = place;
            match stream {
                Some(stream) => {
                    stream.address(e, inst);
                    e.wasm().local_set(place);
                }
                None => check_window(e, &window, place, pc),
            }
        }
    } else {
        m.offset = 0;
        if stream.is_none() {
            check(e, table, size, pc);
        }
    }
    if matches!(inst.op, Probe16 | Probe64 | Probe128) {
        return true;
    }
    if window.accesses > 1 {
        e.wasm().local_get(accesses.places[access.window]);
    } else if let Some(stream) = stream {
        stream.address(e, inst);
    } else {
        place_of(e, table);
    }
    if let Some(width) = float_width(inst.op).filter(|_| e.float.are_used()) {
        float::load(e, inst.d, m, width, wanted.low(width, inst.d), pc);
        return true;
    }
    match inst.op {
        Load8 => e.wasm().i64_load8_u(m),
        Load16 => e.wasm().i64_load16_u(m),
        Load32 => e.wasm().i64_load32_u(m),
        Load64 => e.wasm().i64_load(m),
        SLoad8 => e.wasm().i64_load8_s(m),
        SLoad16 => e.wasm().i64_load16_s(m),
        SLoad32 => e.wasm().i64_load32_s(m),
        SLoad8w32 => e.wasm().i32_load8_s(m).i64_extend_i32_u(),
        SLoad16w32 => e.wasm().i32_load16_s(m).i64_extend_i32_u(),
        VLoad8 => e.wasm().i64_load8_u(m).i64x2_splat().i64_const(0).i64x2_replace_lane(1),
        VLoad16 => e.wasm().i64_load16_u(m).i64x2_splat().i64_const(0).i64x2_replace_lane(1),
        VLoad32 => e.wasm().v128_load32_zero(m),
        VLoad64 => e.wasm().v128_load64_zero(m),
        VLoad128 | VLoadA128 => e.wasm().v128_load(m),
        _ => {
            store(e, inst, m);
            return true;
        }
    };
    if matches!(inst.op, VLoad8 | VLoad16 | VLoad32 | VLoad64 | VLoad128 | VLoadA128) {
        e.set_vector(inst.d);
    } else {
        e.set(inst.d);
    }
    true
}

/// Stores slot `d`; the physical address is on the stack.
fn store(e: &mut Emitter, inst: &Inst, m: MemArg) {
    use Op::*;
    // A scalar that was just computed need not become a vector first.
    let width = match inst.op {
        VStore32 => Some(Width::Single),
        VStore64 => Some(Width::Double),
        _ => None,
    };
    if let Some((width, local)) = width.and_then(|w| Some((w, e.lane(w, inst.d)?))) {
        e.wasm().local_get(local);
        match width {
            Width::Single => e.wasm().f32_store(m),
            Width::Double => e.wasm().f64_store(m),
        };
        return;
    }
    match inst.op {
        Store8 | Store16 | Store32 | Store64 => e.get(inst.d),
        _ => e.get_vector(inst.d),
    }
    match inst.op {
        Store8 => e.wasm().i64_store8(m),
        Store16 => e.wasm().i64_store16(m),
        Store32 => e.wasm().i64_store32(m),
        Store64 => e.wasm().i64_store(m),
        VStore32 => e.wasm().v128_store32_lane(m, 0),
        VStore64 => e.wasm().v128_store64_lane(m, 0),
        _ => e.wasm().v128_store(m),
    };
}

/// Pushes the guest address of a memory operand.
pub fn address(e: &mut Emitter, inst: &Inst) {
    let mut pushed = false;
    if inst.a != ZERO {
        e.get(inst.a);
        pushed = true;
    }
    if inst.b != ZERO {
        e.get(inst.b);
        if inst.c & 3 != 0 {
            e.wasm().i64_const(i64::from(inst.c & 3)).i64_shl();
        }
        if pushed {
            e.wasm().i64_add();
        }
        pushed = true;
    }
    if inst.imm != 0 || !pushed {
        e.wasm().i64_const(inst.imm);
        if pushed {
            e.wasm().i64_add();
        }
    }
}

/// Bytes of a page's entry, as a power of two.
const ROW_SHIFT: u32 = size_of::<mem::Entry>().trailing_zeros();
/// Bytes of a page's entry.
const ROW_SIZE: u64 = size_of::<mem::Entry>() as u64;
/// What an address is moved right by to be the offset of its page's entry, but for the bits that [`ROWS`] masks.
const TO_ROW: u32 = mem::PAGE_SHIFT - ROW_SHIFT;
/// See [`TO_ROW`].
const ROWS: u32 = (u32::MAX >> TO_ROW) & !((1 << ROW_SHIFT) - 1);

/// Constant offsets that hosts let an access have without a check of its bounds: what lies behind the 4 GiB that an index can
/// reach is guarded so far (32 MiB in wasmtime).
const GUARDED: u32 = (1 << 25) - (1 << 12);

/// How a table's entries are addressed: what is added to their offsets in it, and what an access to them has as its own.
fn base(table: u32) -> (u32, u64) {
    if table < GUARDED { (0, table.into()) } else { (table, 0) }
}

fn tag(table: u32) -> MemArg {
    MemArg { offset: base(table).1 + offset_of!(mem::Entry, tag) as u64, align: 3, memory_index: 0 }
}

fn frame(table: u32) -> MemArg {
    MemArg {
        offset: base(table).1 + offset_of!(mem::Entry, frame) as u64,
        align: 2,
        memory_index: 0,
    }
}

/// Makes the address on the stack (`i64`) the place of its page's entry in `table`, for [`tag`] and [`frame`].
fn row(e: &mut Emitter, table: u32) {
    // Not shifted: hosts have an instruction that rotates what is in one register into another. And all 64 bits: as half of it the address would
    // be computed a second time.
    e.wasm().i64_const(TO_ROW.into()).i64_rotr().i64_const(ROWS.into()).i64_and().i32_wrap_i64();
    if base(table).0 != 0 {
        e.wasm().i32_const(table as i32).i32_add();
    }
}

/// Looks up the address in [`VA`]: its entry is at [`ROW`], and the offset in its page is in [`OFFSET`] and pushed, which is more
/// than a page if there is no entry.
pub fn look_up(e: &mut Emitter, table: u32) {
    e.wasm().local_get(VA);
    row(e, table);
    e.wasm().local_tee(ROW).i64_load(tag(table));
    e.wasm().local_get(VA).i64_xor().local_tee(OFFSET);
}

/// Pushes the linear address of what was looked up. (By the offset, not the address: that is then no longer needed.)
pub fn place_of(e: &mut Emitter, table: u32) {
    e.wasm().local_get(OFFSET).i32_wrap_i64().local_get(ROW).i32_load(frame(table)).i32_add();
}

/// Leaves unless `table` has an entry for the page of the address in [`VA`] and `size` bytes from there on are in it.
fn check(e: &mut Emitter, table: u32, size: u32, pc: u64) {
    look_up(e, table);
    e.wasm().i64_const(PAGE_SIZE as i64 - i64::from(size)).i64_gt_u();
    e.leave_if(pc);
}

/// Leaves unless the window of the access at the address in [`VA`] lies in one piece; then its linear address is in local
/// `place`.
fn check_window(e: &mut Emitter, window: &Window, place: u32, pc: u64) {
    let table = if window.writes { e.layout.write } else { e.layout.read };
    if window.before != 0 {
        e.wasm().local_get(VA).i64_const(i64::from(window.before)).i64_sub().local_set(VA);
    }
    look_up(e, table);
    let last = i64::from(window.len) - 1;
    e.wasm().i64_const(PAGE_MASK as i64 - last).i64_gt_u();
    e.begin_unlikely();
    // It ends in the next page, whose frame must be the one behind. (One way out at the end: what followed an earlier one would
    // be in the way of what usually happens.)
    e.wasm().local_get(VA).i64_const(last).i64_add();
    row(e, table);
    e.wasm().local_tee(place).i64_load(tag(table));
    e.wasm().local_get(VA).i64_const(last).i64_add().i64_xor();
    e.wasm().i64_const(PAGE_MASK as i64).i64_gt_u();
    e.wasm().local_get(place).i32_load(frame(table));
    // The entry's place anew, by the next one's: hosts would compute what both parts need before they part.
    let mut entry = frame(table);
    let aside = if entry.offset < ROW_SIZE { -(ROW_SIZE as i64) } else { ROW_SIZE as i64 };
    entry.offset = entry.offset.wrapping_add_signed(-aside);
    e.wasm().local_get(ROW).i32_const(aside as i32).i32_add().i32_load(entry).i32_sub();
    e.wasm().i32_const(PAGE_SIZE as i32).i32_ne().i32_or();
    e.wasm().local_get(OFFSET).i64_const(PAGE_MASK as i64).i64_gt_u().i32_or();
    e.leave_if(pc);
    e.end();
    place_of(e, table);
    e.wasm().local_set(place);
}
