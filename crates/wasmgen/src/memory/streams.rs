//! Accesses of a loop that are checked for many turns at once: those that move by a small step each turn.

use super::{ALIGNMENT, Accesses, is_aligned, look_up, place_of};
use crate::emit::{Emitter, OFFSET, ROW, VA};
use crate::windows::{self, Move, Moves};
use ir::{Inst, ZERO};
use mem::PAGE_SIZE;

/// Largest step of a window from turn to turn that is worth a check for many of them.
const MAX_STEP: u64 = PAGE_SIZE as u64 / 16;

/// How a window moves.
#[derive(Clone, Copy)]
pub struct Course {
    /// Its address when a turn begins.
    start: windows::Course,
    /// What the first register moves by each turn, and the second one.
    steps: (Move, Move),
    /// Distance from its start at which it must be aligned.
    aligned: Option<u32>,
}

/// A window that was checked for many turns.
#[derive(Clone, Copy)]
pub struct Stream {
    /// Local with what its linear address is more than the registers that move.
    base: u32,
    /// Whether its first register moves, and its second one.
    moves: (bool, bool),
}

impl Stream {
    /// Pushes the window's linear address; `inst` is its first access.
    pub fn address(self, e: &mut Emitter, inst: &Inst) {
        e.wasm().local_get(self.base);
        if self.moves.0 {
            e.get32(inst.a);
            e.wasm().i32_add();
        }
        if self.moves.1 {
            e.get32(inst.b);
            if inst.c & 3 != 0 {
                e.wasm().i32_const(i32::from(inst.c & 3)).i32_shl();
            }
            e.wasm().i32_add();
        }
    }
}

impl Course {
    /// `before`: what a turn does to each slot before the window's node; `turn`: what all of it does.
    fn new(
        mut start: windows::Course,
        before: &Moves,
        turn: &Moves,
        aligned: &[u32],
    ) -> Option<Course> {
        let at = |moves: &Moves, slot: u8| moves[usize::from(slot)];
        let number = |slot| at(before, slot).filter(|moved| moved.register.is_none());
        let moved = (number(start.a)?.by, number(start.b)?.by << start.shift);
        start.start = start.start.wrapping_add(moved.0).wrapping_add(moved.1);
        start.moved.0 = start.moved.0.wrapping_add(moved.0);
        start.moved.1 = start.moved.1.wrapping_add(moved.1);
        let steps = (at(turn, start.a)?, at(turn, start.b)?);
        let course = Course { start, steps, aligned: aligned.first().copied() };
        let constant = |slot| at(turn, slot) == Some(Move::default());
        match course.register() {
            Some((register, _)) if !constant(register) => return None,
            Some(_) if steps.0.register.is_some() && steps.1.register.is_some() => return None,
            _ => {}
        }
        // Of what moves by a register's value it is seen later.
        let small = course.step().unsigned_abs() <= MAX_STEP;
        let is_odd = course.register().is_some() || start.index.is_some();
        let tears =
            course.aligned.is_some() && (is_odd || course.step() % i64::from(ALIGNMENT) != 0);
        let together = aligned.iter().all(|at| at % ALIGNMENT == aligned[0] % ALIGNMENT);
        (small && !tears && together).then_some(course)
    }

    /// What is added to its address each turn, beside a register's value.
    fn step(&self) -> i64 {
        self.steps.0.by.wrapping_add(self.steps.1.by << self.start.shift)
    }

    /// The register whose value is added to its address each turn, and how far it is shifted left.
    fn register(&self) -> Option<(u8, u32)> {
        let first = self.steps.0.register.map(|register| (register, 0));
        first.or(self.steps.1.register.map(|register| (register, self.start.shift)))
    }

    /// The registers that say where it is and how it moves.
    fn registers(&self) -> impl Iterator<Item = u8> {
        let step = self.register().map(|(register, _)| register);
        [self.start.a, self.start.b].into_iter().chain(step).filter(|slot| *slot != ZERO)
    }
}

impl Accesses {
    /// Those of `insts`, a node of a loop; see [`Course::new`].
    pub fn in_loop(insts: &[Inst], before: &Moves, turn: &Moves) -> Accesses {
        let mut found = windows::find(insts);
        let courses = std::mem::take(&mut found.courses);
        let mut all = Accesses::found(found);
        for (n, course) in courses.into_iter().enumerate() {
            let aligned = insts.iter().zip(&all.by_inst).filter_map(|(inst, access)| {
                access.filter(|access| access.window == n && is_aligned(inst))
            });
            let aligned: Vec<u32> = aligned.map(|access| access.offset).collect();
            let course = course.and_then(|c| Course::new(c, before, turn, &aligned));
            let fits = |course: &Course| all.len(n, *course) as usize <= PAGE_SIZE / 2;
            all.courses[n] = course.filter(fits);
        }
        all
    }

    /// How many windows may be checked for many turns.
    pub fn streams(&self) -> usize {
        self.courses.iter().flatten().count()
    }

    /// The registers that say where these lie and how they move.
    pub fn stream_registers(&self) -> impl Iterator<Item = u8> {
        self.courses.iter().flatten().flat_map(Course::registers)
    }
}

/// Before turns of a loop with these accesses: looks up those that move by small steps. From now on they are not checked, for as many turns
/// after the first one as are in local `turns` then (`i32`). Branches to the label that was opened when `out` labels were open if one of
/// them needs a check.
pub fn look_ahead<'a>(
    e: &mut Emitter,
    all: impl IntoIterator<Item = &'a mut Accesses>,
    turns: u32,
    out: u32,
) {
    let mut all: Vec<&mut Accesses> = all.into_iter().collect();
    e.wasm().i32_const(PAGE_SIZE as i32).local_set(turns);
    let courses = all.iter().flat_map(|accesses| accesses.courses.iter().flatten());
    let steps: Vec<Course> =
        courses.filter(|course| course.register().is_some()).copied().collect();
    for course in steps {
        push_step(e, &course);
        e.wasm().i64_const(1).i64_sub().i64_const(MAX_STEP as i64).i64_ge_u();
        let label = e.label(out);
        e.wasm().br_if(label);
    }
    for accesses in &mut all {
        for n in 0..accesses.windows.len() {
            if let Some(course) = accesses.courses[n] {
                let stream = accesses.look_up(e, n, course, out);
                accesses.streams[n] = Some(stream);
                accesses.count_turns(e, n, course, turns);
            }
        }
    }
}

/// Pushes the step of a window that moves by a register's value.
fn push_step(e: &mut Emitter, course: &Course) {
    let Some((register, shift)) = course.register() else { return };
    e.get(register);
    e.wasm().i64_const(shift.into()).i64_shl().i64_const(course.step()).i64_add();
}

impl Accesses {
    /// Looks up window `n`.
    fn look_up(&self, e: &mut Emitter, n: usize, course: Course, out: u32) -> Stream {
        let (window, start, len) = (self.windows[n], course.start, self.len(n, course));
        let table = if window.writes { e.layout.write } else { e.layout.read };
        e.get(start.a);
        e.get(start.b);
        e.wasm().i64_const(start.shift.into()).i64_shl().i64_add();
        e.wasm().i64_const(start.start).i64_add().local_set(VA);
        look_up(e, table);
        let stands = course.step() == 0 && course.register().is_none();
        e.wasm().i64_const(PAGE_SIZE as i64 - if stands { 1 } else { i64::from(len) }).i64_gt_u();
        if let Some(offset) = course.aligned {
            e.wasm().local_get(VA).i32_wrap_i64().i32_const(offset as i32).i32_add();
            e.wasm().i32_const(ALIGNMENT as i32 - 1).i32_and().i32_or();
        }
        let label = e.label(out);
        e.wasm().br_if(label);
        let base = e.number();
        place_of(e, table);
        e.wasm().local_set(base);
        if stands {
            // It may end in the next page if the frame of that is the one behind.
            let last = i64::from(len) - 1;
            e.wasm().local_get(VA).i64_const(last).i64_add().local_set(VA);
            look_up(e, table);
            e.wasm().i64_const(PAGE_SIZE as i64 - 1).i64_gt_u();
            place_of(e, table);
            e.wasm().local_get(base).i32_const(last as i32).i32_add().i32_ne().i32_or();
            e.wasm().br_if(label);
        }
        let moves = (course.steps.0 != Move::default(), course.steps.1 != Move::default());
        e.wasm().local_get(base);
        if moves.0 {
            e.get32(start.a);
            e.wasm().i32_sub();
        }
        if moves.1 {
            e.get32(start.b);
            e.wasm().i32_const(start.shift as i32).i32_shl().i32_sub();
        }
        let is_index = |first| start.index.is_some_and(|index| index.is_first == first);
        let moves = (moves.0 || is_index(true), moves.1 || is_index(false));
        let moved = if moves.0 { start.moved.0 } else { 0 };
        let moved = moved.wrapping_add(if moves.1 { start.moved.1 } else { 0 });
        e.wasm().i32_const(moved as i32).i32_sub();
        e.wasm().local_set(base);
        Stream { base, moves }
    }

    /// Bytes of all places where the accesses of window `n` may be in a turn.
    fn len(&self, n: usize, course: Course) -> u32 {
        self.windows[n].len + course.start.index.map_or(0, |index| index.most)
    }

    /// Makes `turns` at most the steps of window `n`, which was just looked up, to the end of its page.
    fn count_turns(&self, e: &mut Emitter, n: usize, course: Course, turns: u32) {
        let (step, register) = (course.step(), course.register());
        if step == 0 && register.is_none() {
            return;
        }
        if step > 0 || register.is_some() {
            e.wasm().i32_const(PAGE_SIZE as i32 - self.len(n, course) as i32);
            e.wasm().local_get(OFFSET).i32_wrap_i64().i32_sub();
        } else {
            e.wasm().local_get(OFFSET).i32_wrap_i64();
        }
        if register.is_some() {
            push_step(e, &course);
            e.wasm().i32_wrap_i64();
        } else {
            e.wasm().i32_const(step.unsigned_abs() as i32);
        }
        e.wasm().i32_div_u().local_tee(ROW);
        e.wasm().local_get(turns).local_get(ROW).local_get(turns).i32_lt_u().select();
        e.wasm().local_set(turns);
    }
}
