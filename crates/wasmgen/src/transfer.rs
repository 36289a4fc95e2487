//! Calls, returns, and ways out.

use crate::emit::REGION_TYPE;
use crate::emit::{DEPTH, Emitter, FUEL, TO, X};
use crate::flags;
use crate::slots::Slots;
use mem::desk::{self, JUMP_FACTOR, JUMP_SHIFT, jump_index, shared};
use wasm_encoder::MemArg;

/// Where a call goes.
#[derive(Clone, Copy)]
pub enum Target {
    /// To this guest address.
    Known(u64),
    /// To the address in [`TO`].
    Local,
    /// To this region's own root, at this guest address.
    Itself(u64),
}

/// Brings everything up to date in memory: what is changed here, the flags, the fuel.
pub fn settle(e: &mut Emitter) {
    e.spill(e.dirty);
    flags::to_memory(e);
    e.spill_fuel();
}

/// Returns from the region to its caller, to go on at the address in [`TO`]. Nothing follows.
pub fn go(e: &mut Emitter) {
    settle(e);
    e.wasm().local_get(TO).return_();
}

/// Goes on at guest address `pc`, which is not in the region. Nothing follows.
pub fn go_to(e: &mut Emitter, pc: u64) {
    e.spill(e.dirty);
    let label = e.label(e.jump);
    e.wasm().i64_const(pc as i64).local_set(TO).br(label);
}

/// A jump out of the region to the address in [`TO`]: if there is a region, in place of this one.
pub fn tail(e: &mut Emitter) {
    settle(e);
    replace(e);
}

/// The end of a guest function, which goes on at the address in [`TO`]. A region that the interpreter entered has no caller
/// to return to: what called it was left some time ago. So it goes on in the next region, if there is one.
pub fn ret(e: &mut Emitter) {
    settle(e);
    e.wasm().local_get(DEPTH).i32_const(desk::DEPTH).i32_eq();
    e.begin_unlikely();
    replace(e);
    e.end();
    e.wasm().local_get(TO).return_();
}

/// Goes on in the region at the address in [`TO`]; without one, returns to go on there.
fn replace(e: &mut Emitter) {
    let function = look_up(e, Target::Local, false);
    let cpu = e.layout.cpu as i32;
    e.wasm().i32_const(cpu).local_get(DEPTH);
    slot(e, Target::Local, function);
    e.wasm().return_call_indirect(0, REGION_TYPE);
}

/// A guest call (the return address, `ret`, is pushed already). What it returns to is compared with `ret`; then the registers
/// `live` are loaded again. With `live` = none the region ends: what is behind `ret` is another one's, and nothing follows.
pub fn call(e: &mut Emitter, target: Target, ret: u64, live: Option<Slots>) {
    settle(e);
    enter(e, target);
    e.wasm().local_tee(TO).i64_const(ret as i64).i64_ne();
    e.begin_unlikely();
    e.wasm().local_get(TO).return_();
    e.end();
    let Some(live) = live else { return replace(e) };
    e.dirty = Slots::default();
    e.reload(live);
    crate::vector::float::settle(e);
    e.reload_fuel();
    flags::are_in_memory(e);
}

/// Pushes the result of the region at the target; without one, or too deep, returns to go on there.
fn enter(e: &mut Emitter, target: Target) {
    let cpu = e.layout.cpu as i32;
    if let Target::Itself(pc) = target {
        // What holds for the caller holds for it.
        e.wasm().local_get(DEPTH).i32_eqz();
        e.begin_unlikely();
        e.wasm().i64_const(pc as i64).return_();
        e.end();
        let number = e.number_of_function;
        e.wasm().i32_const(cpu).local_get(DEPTH).i32_const(1).i32_sub().call(number);
        return;
    }
    let function = look_up(e, target, true);
    e.wasm().i32_const(cpu).local_get(DEPTH).i32_const(1).i32_sub();
    slot(e, target, function);
    e.wasm().call_indirect(0, REGION_TYPE);
}

/// Pushes where in the function table the region is that [`look_up`] found.
fn slot(e: &mut Emitter, target: Target, function: MemArg) {
    entry(e, target);
    e.wasm().i32_load(function);
}

/// Pushes the address of the target's entry in the jump cache, but for what a [`MemArg`] says.
fn entry(e: &mut Emitter, target: Target) {
    match target {
        Target::Known(_) | Target::Itself(_) => e.wasm().i32_const(0),
        Target::Local => e.wasm().local_get(X).i32_wrap_i64(),
    };
}

/// Pushes the target's guest address.
fn goal(e: &mut Emitter, target: Target) {
    match target {
        Target::Known(pc) | Target::Itself(pc) => e.wasm().i64_const(pc as i64),
        Target::Local => e.wasm().local_get(TO),
    };
}

/// Returns to go on at the target unless there is a region for it (and, if it `nests`, room for a call). The field that holds
/// its place in the function table.
fn look_up(e: &mut Emitter, target: Target, nests: bool) -> MemArg {
    let cache = u64::from(e.layout.shared) + shared::JUMPS;
    let epoch = e.shared_place(shared::EPOCH, 2);
    let base = match target {
        Target::Known(pc) => cache + shared::JUMP_SIZE * jump_index(pc) as u64,
        Target::Local | Target::Itself(_) => 0,
    };
    let place = |offset, align| MemArg { offset: base + offset, align, memory_index: 0 };
    if let Target::Local = target {
        // X: address of the entry. (As an offset from there the cache's would have its bounds checked.)
        let mut w = e.wasm();
        w.local_get(TO).i64_const(JUMP_FACTOR as i64).i64_mul();
        w.i64_const(i64::from(JUMP_SHIFT)).i64_shr_u();
        w.i64_const(i64::from(shared::JUMP_SIZE.ilog2())).i64_shl();
        w.i64_const(cache as i64).i64_add().local_set(X);
    }
    if nests {
        e.wasm().local_get(DEPTH).i32_eqz();
        e.begin_unlikely();
        goal(e, target);
        e.wasm().return_();
        e.end();
    }
    // Both at once: a difference is not 0.
    entry(e, target);
    e.wasm().i64_load(place(shared::JUMP_PC, 3));
    goal(e, target);
    e.wasm().i64_xor();
    entry(e, target);
    e.wasm().i64_load32_u(place(shared::JUMP_EPOCH, 2)).i32_const(0).i64_load32_u(epoch);
    e.wasm().i64_xor().i64_or().i64_eqz().i32_eqz();
    e.begin_unlikely();
    goal(e, target);
    e.wasm().return_();
    e.end();
    place(shared::JUMP_SLOT, 2)
}

/// Counts `n` guest instructions.
pub fn count(e: &mut Emitter, n: usize) {
    if n > 0 {
        e.wasm().local_get(FUEL).i64_const(n as i64).i64_sub().local_set(FUEL);
    }
}

/// Before a backward edge to `pc`: without fuel, goes on there some other time.
pub fn pay(e: &mut Emitter, pc: u64) {
    e.wasm().local_get(FUEL).i64_const(0).i64_lt_s();
    e.begin_unlikely();
    let before = (e.flags, e.dirty);
    go_to(e, pc);
    (e.flags, e.dirty) = before;
    e.end();
}
