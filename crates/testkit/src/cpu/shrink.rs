//! Makes a diverging case as plain as it can be while it still diverges.

use super::compare::differences;
use super::emulated::Emulated;
use super::memory::Memory;
use super::native::Native;
use super::{Case, State};

/// Sets everything that does not matter for the divergence to its default.
pub fn shrink(native: &mut Native, ours: &mut Emulated, case: &Case) -> Case {
    simplify(case, |next| {
        let there = native.run(std::slice::from_ref(next));
        let here = ours.run(next);
        there.first().is_some_and(|t| !differences(next, t, &here).is_empty())
    })
}

/// Sets everything to its default that does not change what the instruction changes: for sample lines.
pub fn sample(ours: &mut Emulated, case: &Case) -> Case {
    let wanted = super::line::after(case, &ours.run(case));
    simplify(case, |next| super::line::after(next, &ours.run(next)) == wanted)
}

/// Sets one thing to its default.
type Step = Box<dyn Fn(&mut State)>;

fn simplify(case: &Case, mut keeps: impl FnMut(&Case) -> bool) -> Case {
    let plain = State::default();
    let mut best = case.clone();
    let mut steps: Vec<Step> = Vec::new();
    for i in 0..16 {
        steps.push(Box::new(move |s| s.regs[i] = 0));
        steps.push(Box::new(move |s| s.set_xmm(i, 0)));
        steps.push(Box::new(move |s| s.high[i] = 0));
    }
    for i in 0..8 {
        steps.push(Box::new(move |s| s.set_st(i, 0, 0)));
        steps.push(Box::new(move |s| s.set_tags(s.tags() & !(1 << i))));
    }
    let (rflags, mxcsr, cw) = (plain.rflags, plain.mxcsr(), plain.cw());
    steps.push(Box::new(move |s| s.rflags = rflags));
    steps.push(Box::new(move |s| s.set_mxcsr(mxcsr)));
    steps.push(Box::new(move |s| s.set_cw(cw)));
    steps.push(Box::new(|s| s.set_sw(s.sw() & 0x3800)));
    steps.push(Box::new(|s| s.set_sw(0)));
    steps.push(Box::new(|s| s.fs = 0));
    steps.push(Box::new(|s| s.gs = 0));
    steps.push(Box::new(|s| s.memory = Memory::default()));
    for (at, bytes) in best.state.memory.pieces() {
        let zero = vec![0; bytes.len()];
        steps.push(Box::new(move |s| s.memory.put(at, &zero)));
    }
    for step in steps {
        let mut next = best.clone();
        step(&mut next.state);
        if next == best {
            continue;
        }
        if keeps(&next) {
            best = next;
        }
    }
    best
}
