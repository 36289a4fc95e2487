//! Which floats are looked at where a node ends, because nodes behind it compute with them: so a loop does not look again and
//! again at what it does not change. (A look too many leaves to the interpreter at most once too often.)

use crate::emit::Emitter;
use crate::graph::Graph;
use crate::known::{Known, Width};
use crate::node::{End, Node};
use crate::vector::{float, packed_float};
use ir::{Inst, Term};

/// Where floats are looked at, by node.
pub struct Looks {
    /// In the node's end.
    pub at_end: Vec<Known>,
    /// Where it is entered from outside: what is looked at on every way from there on. (Else a region would not be entered for what
    /// lies in a register that is not a float this time.) So a loop that is an entry knows as much as one that is none.
    pub on_entry: Vec<Known>,
}

/// Where to look.
pub fn looks(graph: &Graph) -> Looks {
    let mut at_end = wanted(graph);
    let on_entry = inevitable(graph).into_iter().zip(&graph.nodes).zip(&at_end);
    let on_entry = on_entry
        .map(|((sure, node), at_end)| {
            sure.meet(node.insts.iter().rev().fold(*at_end, Known::wanted_before))
        })
        .collect();
    for (node, at_end) in graph.nodes.iter().zip(&mut at_end) {
        if place(node, &node.insts).is_none() {
            *at_end = Known::default();
        }
    }
    // Within a loop only what its nodes compute with: all else is looked at behind it, and not in each turn.
    let mut computed: Vec<Option<Known>> = vec![None; graph.nodes.len()];
    for (_, body) in graph.loops() {
        let within = || graph.nodes.iter().zip(&body).filter(|(_, within)| **within);
        let before =
            |node: &Node| node.insts.iter().rev().fold(Known::default(), Known::wanted_before);
        let all = within().fold(Known::default(), |all, (node, _)| all.join(before(node)));
        computed.iter_mut().zip(&body).filter(|(_, w)| **w).for_each(|(c, _)| *c = Some(all));
    }
    for (at_end, computed) in at_end.iter_mut().zip(computed) {
        if let Some(computed) = computed {
            *at_end = at_end.meet(computed);
        }
    }
    Looks { at_end, on_entry }
}

/// What is computed with on every way from each node on.
fn inevitable(graph: &Graph) -> Vec<Known> {
    let mut before = vec![Known::EVERYTHING; graph.nodes.len()];
    let mut changed = true;
    while changed {
        changed = false;
        for &id in graph.sequence.iter().rev() {
            let end = match graph.stays(id) {
                true => graph.onward(id).fold(Known::EVERYTHING, |all, to| all.meet(before[to])),
                false => Known::default(),
            };
            let sure = graph.nodes[id].insts.iter().rev().fold(end, Known::wanted_before);
            if before[id] != sure {
                before[id] = sure;
                changed = true;
            }
        }
    }
    before
}

/// What nodes behind each one compute with.
fn wanted(graph: &Graph) -> Vec<Known> {
    let mut wanted = vec![Known::default(); graph.nodes.len()];
    let mut changed = true;
    while changed {
        changed = false;
        for &id in graph.sequence.iter().rev() {
            if graph.settles(id) {
                continue;
            }
            let behind = graph.onward(id).fold(Known::default(), |all, to| {
                let insts = graph.nodes[to].insts.iter().rev();
                all.join(insts.fold(wanted[to], Known::wanted_before))
            });
            if wanted[id] != behind {
                wanted[id] = behind;
                changed = true;
            }
        }
    }
    wanted
}

/// What is computed with behind each place between the IR instructions `insts` of a node, in whose end `at_end` is looked at.
pub fn within(insts: &[Inst], at_end: Known) -> Vec<Known> {
    let mut wanted = vec![at_end];
    for inst in insts.iter().rev() {
        wanted.push(wanted[wanted.len() - 1].wanted_before(inst));
    }
    wanted.reverse();
    wanted
}

/// The guest address to leave at when all of the node's IR, which is `insts`, was done.
fn place(node: &Node, insts: &[Inst]) -> Option<u64> {
    let last = node.marks.last()?;
    match node.end {
        End::Term(Term::Jump { target }) if (last.inst as usize) < insts.len() => Some(target),
        _ if last.inst as usize == insts.len() => Some(node.pc_of(insts.len())),
        _ => None,
    }
}

/// Looks at what is wanted and not known yet in the end of `node`, whose IR is `insts`.
pub fn look(e: &mut Emitter, node: &Node, insts: &[Inst], wanted: Known) {
    if let Some(pc) = place(node, insts) {
        look_at(e, wanted, pc);
    }
}

/// Looks at what is wanted and not known yet; leaves at guest address `pc`.
pub fn look_at(e: &mut Emitter, wanted: Known, pc: u64) {
    for width in [Width::Single, Width::Double] {
        for slot in 0..ir::VT0 {
            if wanted.all(width, slot) {
                packed_float::tame(e, width, slot, pc);
            } else if wanted.low(width, slot) {
                float::usual(e, width, slot, pc);
            }
        }
    }
    e.known = e.known.join(wanted);
}
