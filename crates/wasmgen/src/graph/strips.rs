//! Innermost loops, strip-mined: such a loop is there twice, and the second time for turns of which it is known that no access that
//! moves by a small step leaves its page, and that there is fuel for them. Neither is looked at there.
//!
//! A node before both ([`End::Strip`]) chooses. It sends the first [`TURNS`] turns to the loop as it is, so that loops of few turns cost
//! hardly more; then it looks up where the accesses will be ([`crate::memory::look_ahead`]) and lets as many turns run in the copy as lie before the end of
//! the first page that ends. (Not so loops that compute with floats: there the checks of numbers take more, and what is there twice takes registers from
//! the loop as it is.)

use super::{Graph, Id};
use crate::coverage::is_opaque;
use crate::known::shape;
use crate::memory::Accesses;
use crate::node::{End, Node};
use crate::windows::{self, Move, Moves};
use ir::{Class, Inst, Term};
use std::collections::{BTreeMap, BTreeSet};

/// Turns with all checks before others are tried, and the least number that is worth it.
pub const TURNS: i64 = 4;
/// Most nodes of a loop, and most instructions of their IR: they are there twice. (Loops of several nodes were given each other's accesses once;
/// until real programs have been run with them again, they are left as they are.)
const MOST: (usize, usize) = (1, 160);
/// Instructions of IR in a turn for each check that is spared, at most.
const WORTH: usize = 20;

/// A loop that is there twice.
pub struct Strip {
    /// The node that chooses.
    pub chooser: Id,
    /// Where the loop is entered and repeated: the chooser, or a node on the way to entries before it.
    pub door: Id,
    /// Where it begins as it was.
    pub head: Id,
    /// Each node, and its copy.
    copies: BTreeMap<Id, Id>,
    /// Fewest guest instructions of a turn.
    pub cost: i64,
    /// The accesses of the copies.
    pub accesses: Vec<(Id, Accesses)>,
}

impl Strip {
    /// Where the copy begins.
    pub fn copy(&self) -> Id {
        self.copies.get(&self.head).copied().unwrap_or(self.chooser)
    }

    /// Where the edge from `from` to `to` leads if `from` is a copy and `to` a node of the loop.
    pub fn copy_for(&self, from: Id, to: Id) -> Option<Id> {
        self.has_copy(from).then(|| self.copies.get(&to).copied()).flatten()
    }

    /// Whether it is one of the copies.
    pub fn has_copy(&self, id: Id) -> bool {
        self.copies.values().any(|copy| *copy == id)
    }

    /// Whether it is of the loop, however often that is there.
    pub fn contains(&self, id: Id) -> bool {
        id == self.chooser || id == self.door || self.copies.contains_key(&id) || self.has_copy(id)
    }
}

impl Graph {
    /// The accesses of a node that is a copy.
    pub fn accesses_of(&mut self, id: Id) -> Option<Accesses> {
        let mut all = self.strips.iter_mut().flat_map(|strip| &mut strip.accesses);
        all.find(|(copy, _)| *copy == id).map(|(_, accesses)| std::mem::take(accesses))
    }

    /// Strip-mines the loops for which it is worth it; whether there are any.
    pub fn mine(&mut self) -> bool {
        let mut mined = BTreeSet::new();
        for (door, body) in self.innermost_loops() {
            if !mined.contains(&door) && self.mine_loop(door, &body) {
                mined.insert(door);
            }
        }
        !self.strips.is_empty()
    }

    /// Whether it was worth it.
    fn mine_loop(&mut self, door: Id, body: &[bool]) -> bool {
        let enters = matches!(self.nodes[door].end, End::Enter);
        let head = match self.ways.get(&door) {
            Some(ways) if enters => ways.usual,
            _ => door,
        };
        let is_node = |id: &Id| body[*id] && (*id != door || !enters);
        let sequence: Vec<Id> = self.sequence.iter().copied().filter(is_node).collect();
        let insts: usize = sequence.iter().map(|id| self.nodes[*id].insts.len()).sum();
        let fits = |id: &Id| {
            let node = &self.nodes[*id];
            let stays = matches!(
                node.end,
                End::Term(Term::Jump { .. } | Term::Branch { .. } | Term::BranchNz { .. })
            );
            let is_apt = |inst: &Inst| {
                !is_opaque(inst.op) && shape(inst.op).is_none() && inst.op.class() != Class::Str
            };
            stays && node.upward.is_empty() && node.insts.iter().all(is_apt)
        };
        if sequence.len() > MOST.0 || insts > MOST.1 || !sequence.iter().all(fits) {
            return false;
        }
        let Some((before, turn, cost)) = self.turn(head, door, &sequence) else { return false };
        let accesses: Vec<Accesses> = sequence
            .iter()
            .map(|id| Accesses::in_loop(&self.nodes[*id].insts, &before[id], &turn))
            .collect();
        let streams: usize = accesses.iter().map(Accesses::streams).sum();
        if streams * WORTH < insts {
            return false;
        }
        let first = self.nodes.len();
        let copies: BTreeMap<Id, Id> = sequence.iter().copied().zip(first..).collect();
        let chooser = first + sequence.len();
        let door = if enters { door } else { chooser };
        for id in &sequence {
            let mut successors = Vec::new();
            for &to in &self.successors[*id] {
                match copies.get(&to) {
                    _ if to == head || to == door => successors.extend([copies[&head], door]),
                    Some(copy) => successors.push(*copy),
                    None => successors.push(to),
                }
            }
            self.nodes.push(self.nodes[*id].clone());
            self.successors.push(successors);
        }
        let pc = self.nodes[head].pc;
        self.nodes.push(Node::strip(pc));
        self.successors.push(vec![head, copies[&head]]);
        self.redirect(head, chooser);
        let accesses = sequence.iter().map(|id| copies[id]).zip(accesses).collect();
        self.strips.push(Strip { chooser, door, head, copies, cost, accesses });
        true
    }

    /// What a turn of the loop of these nodes, in reverse postorder, does to each slot before each node, what all of it does, and the fewest guest
    /// instructions of a turn.
    fn turn(
        &self,
        head: Id,
        door: Id,
        sequence: &[Id],
    ) -> Option<(BTreeMap<Id, Moves>, Moves, i64)> {
        let meet = |have: &mut Option<Moves>, new: &Moves| match have {
            None => *have = Some(*new),
            Some(have) => have.iter_mut().zip(new).for_each(|(have, new)| {
                have.take_if(|have| Some(*have) != *new);
            }),
        };
        let mut before: BTreeMap<Id, Moves> = BTreeMap::new();
        let mut arriving: BTreeMap<Id, (Option<Moves>, i64)> = BTreeMap::new();
        arriving.insert(head, (Some([Some(Move::default()); 64]), 0));
        let (mut turn, mut cost) = (None, i64::MAX);
        for &id in sequence {
            let (moves, least) = arriving.get(&id).copied()?;
            let moves = moves?;
            let node = &self.nodes[id];
            let own = windows::find(&node.insts).moves;
            // What the register that is added has when the turn begins.
            let is_still = |moved: &Move| {
                let register = moved.register.map(usize::from);
                register.is_none_or(|register| moves[register] == Some(Move::default()))
            };
            let after: Moves =
                std::array::from_fn(|slot| moves[slot]?.then(own[slot].filter(is_still)?));
            let least_after = least + node.marks.len() as i64;
            for &to in &self.successors[id] {
                if to == head || to == door {
                    meet(&mut turn, &after);
                    cost = cost.min(least_after);
                } else if sequence.contains(&to) {
                    let (have, cost) = arriving.entry(to).or_insert((None, i64::MAX));
                    meet(have, &after);
                    *cost = (*cost).min(least_after);
                }
            }
            before.insert(id, moves);
        }
        Some((before, turn?, cost.max(1)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ir::{Block, Cc, IMM, Mark, Op, ZERO};
    use std::collections::HashSet;

    /// A loop of one block at 16 of a load from where register 6 points to and of what `step` does, entered from 8, and what is behind it, at 32.
    fn looped(step: Inst) -> Graph {
        let load = Inst { op: Op::Load64, d: 0, a: 6, b: ZERO, c: 0, imm: 0 };
        let block = |pc, insts: Vec<Inst>, term| {
            let marks = (0..2.min(insts.len().max(1)) as u32).map(|n| Mark { offset: n, inst: n });
            Block { pc, len: 2, insts, marks: marks.collect(), term }
        };
        let again = Term::Branch { cc: Cc::E, taken: 16, fallthrough: 32 };
        let blocks = [
            block(8, vec![], Term::Jump { target: 16 }),
            block(16, vec![load, step], again),
            block(32, vec![], Term::Ret { slot: 0 }),
        ];
        let starts: HashSet<u64> = blocks.iter().map(|block| block.pc).collect();
        Graph::new(blocks.iter().map(|block| Node::new(block, &starts)).collect(), &[], &[])
    }

    #[test]
    fn a_loop_that_goes_on_by_small_steps_is_there_twice() {
        let step = |imm| Inst { op: Op::Add64, d: 6, a: 6, b: IMM, c: 0, imm };
        let graph = looped(step(-8));
        let [strip] = &graph.strips[..] else { panic!("{} strips", graph.strips.len()) };
        let (chooser, copy) = (strip.chooser, strip.copy());
        assert_eq!((strip.head, strip.door, strip.cost), (1, chooser, 2));
        assert_eq!(graph.successors[chooser], [1, copy]);
        // The loop as it is comes back to the choice, the copy to itself until its turns are over.
        assert_eq!([graph.edge(0, 16), graph.edge(1, 16)], [Some(chooser); 2]);
        assert_eq!(graph.edge(copy, 16), Some(copy));
        assert!(graph.successors[copy].contains(&chooser));
        assert_eq!([graph.edge(1, 32), graph.edge(copy, 32)], [Some(2); 2]);
        // A register that the loop leaves alone may be the step, one that it changes may not, nor may a step be large.
        let by = |b| Inst { op: Op::Add64, d: 6, a: 6, b, c: 0, imm: 0 };
        assert_eq!(looped(by(7)).strips.len(), 1);
        assert_eq!(looped(by(0)).strips.len(), 0);
        assert_eq!(looped(by(6)).strips.len(), 0);
        assert_eq!(looped(step(257)).strips.len(), 0);
    }

    #[test]
    fn where_a_region_begins_in_an_inner_loop_that_is_the_one() {
        let load = Inst { op: Op::Load64, d: 0, a: 6, b: ZERO, c: 0, imm: 0 };
        let step = Inst { op: Op::Add64, d: 6, a: 6, b: IMM, c: 0, imm: 8 };
        let start = Inst { op: Op::Li, d: 6, a: 0, b: 0, c: 0, imm: 0x5000 };
        let block = |pc, insts: Vec<Inst>, term| {
            let marks = (0..insts.len() as u32).map(|n| Mark { offset: n, inst: n }).collect();
            Block { pc, len: 2, insts, marks, term }
        };
        let branch = |taken, fallthrough| Term::Branch { cc: Cc::E, taken, fallthrough };
        let blocks = [
            block(16, vec![load, step], branch(16, 32)),
            block(32, vec![start], branch(16, 48)),
            block(48, vec![], Term::Ret { slot: 0 }),
        ];
        let starts: HashSet<u64> = blocks.iter().map(|block| block.pc).collect();
        let nodes = blocks.iter().map(|block| Node::new(block, &starts)).collect();
        let graph = Graph::new(nodes, &[], &[32]);
        let copies: Vec<Vec<Id>> =
            graph.strips.iter().map(|strip| strip.copies.keys().copied().collect()).collect();
        assert_eq!(copies, [[0]]);
    }
}
