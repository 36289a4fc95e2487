//! Which registers stay in memory from node to node, in [`ir::Cpu`], and are in locals within a node alone.
//!
//! A local costs where regions are entered and left: it is loaded where it is read later, and written back where it was changed; and
//! where there are more of them than the host has registers, they are moved to and fro between its stack and itself at each edge. So
//! locals are for what is used in loops.

use crate::graph::{Graph, Id};
use crate::known::Known;
use crate::liveness::{self, Live, live_before};
use crate::slots::{Slots, bits, operands};

/// How much more often a node is run than the one before the loop around it.
const TURNS: u64 = 8;
/// Loops within each other that count.
const DEPTH: u32 = 4;
/// Most general registers, and most vectors, in locals: about what hosts have for them.
const MOST: (usize, usize) = (10, 12);

/// The registers that stay in memory. `wanted`: floats that each node looks at in its end; `dirty` and `live`: what is newer than
/// memory and what is in locals where each node begins if none of them does.
pub fn choose(graph: &Graph, wanted: &[Known], dirty: &[Slots], live: &Live) -> Slots {
    let mut costs = Costs::default();
    let often = often(graph);
    for &id in &graph.sequence {
        let node = &graph.nodes[id];
        let times = often[id];
        let insts = &node.insts;
        let end = live.term(graph, id, wanted[id]);
        let read = insts.iter().rev().fold(end, live_before);
        let written = insts.iter().fold(Slots::default(), |all, inst| all.or(operands(inst).1));
        costs.memory(read, times);
        costs.memory(written.lasting(), times);
        let dirty = insts.iter().fold(dirty[id], liveness::dirty_after);
        let is_left = graph.onward(id).next().is_none();
        if graph.settles(id) || is_left {
            costs.local(dirty, times);
        }
        if graph.settles(id) {
            graph.onward(id).for_each(|to| costs.local(live.at(to), times));
        }
        graph.afresh(id).for_each(|to| costs.local(live.at(to), times.min(often[to])));
    }
    costs.in_memory()
}

/// How often each node is run, next to others.
fn often(graph: &Graph) -> Vec<u64> {
    let mut depth = vec![0; graph.nodes.len()];
    for (_, body) in graph.loops() {
        (0..depth.len()).filter(|id: &Id| body[*id]).for_each(|id| depth[id] += 1);
    }
    depth.into_iter().map(|depth: u32| TURNS.pow(depth.min(DEPTH))).collect()
}

/// Moves between registers and memory: with a register in memory, less those with it in a local.
struct Costs {
    ints: [i64; 64],
    vectors: [i64; 64],
}

impl Default for Costs {
    fn default() -> Costs {
        Costs { ints: [0; 64], vectors: [0; 64] }
    }
}

impl Costs {
    fn add(&mut self, slots: Slots, times: i64) {
        bits(slots.ints).for_each(|slot| self.ints[usize::from(slot)] += times);
        bits(slots.vectors).for_each(|slot| self.vectors[usize::from(slot)] += times);
    }

    fn memory(&mut self, slots: Slots, times: u64) {
        self.add(slots, times as i64);
    }

    fn local(&mut self, slots: Slots, times: u64) {
        self.add(slots, -(times as i64));
    }

    /// All but those for which locals are better, and of these all but the best [`MOST`].
    fn in_memory(&self) -> Slots {
        let all = Slots { ints: u64::MAX, vectors: u64::MAX }.lasting();
        let rest = |costs: &[i64; 64], all: u64, most: usize| {
            let mut best: Vec<u8> =
                bits(all).filter(|slot| costs[usize::from(*slot)] > 0).collect();
            best.sort_by_key(|slot| std::cmp::Reverse(costs[usize::from(*slot)]));
            best.into_iter().take(most).fold(all, |rest, slot| rest & !(1 << slot))
        };
        Slots {
            ints: rest(&self.ints, all.ints, MOST.0),
            vectors: rest(&self.vectors, all.vectors, MOST.1),
        }
    }
}
