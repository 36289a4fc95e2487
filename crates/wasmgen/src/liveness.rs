//! Which registers must be in their locals: those that are read before they are written, and those that are newer than
//! memory, which ways out write back. The others are loaded neither after calls nor where a region is entered.

use crate::coverage::is_opaque;
use crate::graph::{Graph, Id};
use crate::known::Known;
use crate::node::{End, Node};
use crate::slots::{Slots, operands};
use ir::{Inst, Term};

/// By node: what must be in its local where the node begins.
pub struct Live(Vec<Slots>);

impl Live {
    /// A data-flow analysis against the flow. `dirty`: what may be newer than memory where each node begins; a way out stores all
    /// of it, whichever way led there. `wanted`: floats that each node looks at in its end. `at_home`: registers that each node loads itself.
    pub fn new(graph: &Graph, dirty: &[Slots], wanted: &[Known], at_home: Slots) -> Live {
        let mut live = Live(dirty.to_vec());
        let mut changed = true;
        while changed {
            changed = false;
            for &id in graph.sequence.iter().rev() {
                let insts = graph.nodes[id].insts.iter().rev();
                let before = insts.fold(live.at_end(graph, id, wanted[id]), live_before);
                let before = before.without(at_home).or(dirty[id]);
                if before != live.0[id] {
                    live.0[id] = before;
                    changed = true;
                }
            }
        }
        live
    }

    /// What must be in its local where node `id` begins.
    pub fn at(&self, id: Id) -> Slots {
        self.0[id]
    }

    /// What must be in its local before each IR instruction of node `id`, which are `insts`, and before what its end looks at,
    /// `wanted`.
    pub fn within(&self, graph: &Graph, id: Id, insts: &[Inst], wanted: Known) -> Vec<Slots> {
        let mut before = self.at_end(graph, id, wanted);
        let mut all = vec![before];
        for inst in insts.iter().rev() {
            before = live_before(before, inst);
            all.push(before);
        }
        all.reverse();
        all
    }

    /// What the end of node `id` reads itself.
    pub fn term(&self, graph: &Graph, id: Id, wanted: Known) -> Slots {
        term_slot(&graph.nodes[id])
            .map_or(Slots::default(), |slot| Slots { ints: 1 << slot, vectors: 0 })
            .or(wanted.slots())
            .lasting()
    }

    fn at_end(&self, graph: &Graph, id: Id, wanted: Known) -> Slots {
        let mut live = self.term(graph, id, wanted);
        if !graph.settles(id) {
            for to in graph.onward(id) {
                live = live.or(self.0[to]);
            }
        }
        live
    }
}

/// What may be newer than memory after `inst`, if `dirty` may before.
pub fn dirty_after(dirty: Slots, inst: &Inst) -> Slots {
    let before = if is_opaque(inst.op) { Slots::default() } else { dirty };
    before.or(operands(inst).1.lasting())
}

/// What must be in its local before `inst`, if `live` must after. An opaque op finds all in memory, and all is loaded again.
pub fn live_before(live: Slots, inst: &Inst) -> Slots {
    if is_opaque(inst.op) {
        return Slots::default();
    }
    let (reads, writes) = operands(inst);
    live.without(writes).or(reads).lasting()
}

/// Slot that a node's end reads.
fn term_slot(node: &Node) -> Option<u8> {
    match node.end {
        End::Term(
            Term::BranchNz { slot, .. }
            | Term::JumpIndirect { slot }
            | Term::CallIndirect { slot, .. }
            | Term::Ret { slot },
        ) => Some(slot),
        _ => None,
    }
}
