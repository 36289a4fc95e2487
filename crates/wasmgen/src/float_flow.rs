//! Which floats are looked at where a node ends, because nodes behind it compute with them: so a loop does not look again and
//! again at what it does not change. (A look too many leaves to the interpreter at most once too often.)

use crate::emit::Emitter;
use crate::graph::Graph;
use crate::known::{Known, Width};
use crate::node::{End, Node};
use crate::vector::{float, packed_float};
use ir::{Inst, Term};

/// What each node looks at in its end, by node. Nothing where there is no guest instruction to leave at.
pub fn wanted(graph: &Graph) -> Vec<Known> {
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
    for (node, wanted) in graph.nodes.iter().zip(&mut wanted) {
        if place(node, &node.insts).is_none() {
            *wanted = Known::default();
        }
    }
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
    let Some(pc) = place(node, insts) else { return };
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
