//! A block as it is translated: cut before the first guest instruction that has no translation.

use crate::coverage::is_translated;
use crate::strings::{self, Unfolded};
use ir::{Block, Class, Inst, Mark, Term};
use std::collections::HashSet;

/// How a node ends.
#[derive(Clone, Copy, Debug)]
pub enum End {
    /// As the block.
    Term(Term),
    /// The instruction at this address is left to the interpreter.
    Leave(u64),
    /// The node of a region's indirect jumps: goes on at the address in the local for ways out.
    Dispatch,
    /// Where a loop begins (or the region): goes on as usual, unless an entry is on the way to which this is.
    Enter,
    /// Before each turn of a loop: that, or many of them ([`crate::graph::strips`]).
    Strip,
}

/// A basic block of a region.
#[derive(Clone)]
pub struct Node {
    /// Guest address.
    pub pc: u64,
    /// The IR that is translated.
    pub insts: Vec<Inst>,
    /// Start of each guest instruction.
    pub marks: Vec<Mark>,
    /// Before which of the IR strings must go upwards; else the guest instruction is left to the interpreter.
    pub upward: Vec<usize>,
    /// How it ends.
    pub end: End,
}

impl Node {
    /// Cuts `block` where another block of the region starts (of `starts`), so that nothing is translated twice and loops are
    /// entered at their heads, and where the interpreter must go on.
    pub fn new(block: &Block, starts: &HashSet<u64>) -> Node {
        let Unfolded { insts, marks, upward } = strings::unfold(&block.insts, &block.marks);
        let mut node = Node { pc: block.pc, insts, marks, upward, end: End::Term(block.term) };
        let start = |mark: &Mark| block.pc.wrapping_add(u64::from(mark.offset));
        let next =
            node.marks.iter().position(|mark| mark.offset > 0 && starts.contains(&start(mark)));
        if let Some(n) = next {
            let target = start(&node.marks[n]);
            node.cut(n);
            node.end = End::Term(Term::Jump { target });
        }
        let untranslated = node.insts.iter().position(|inst| !is_translated(inst));
        let torn = (0..node.insts.len()).find(|&at| node.loads_after_store(at));
        if let Some(at) = untranslated.into_iter().chain(torn).min() {
            let n = node.marks.partition_point(|m| m.inst as usize <= at).saturating_sub(1);
            node.cut(n);
        } else if next.is_none() && matches!(block.term, Term::Syscall { .. } | Term::Trap { .. }) {
            node.cut(node.marks.len().saturating_sub(1));
        }
        node
    }

    fn empty(pc: u64, end: End) -> Node {
        Node { pc, insts: Vec::new(), marks: Vec::new(), upward: Vec::new(), end }
    }

    /// The node of all indirect jumps within a region.
    pub fn dispatch() -> Node {
        Node::empty(0, End::Dispatch)
    }

    /// Whether IR instruction `at` is a load after a store of the same guest instruction (`enter`): when such an instruction
    /// is left halfway, it does not do the same once more.
    fn loads_after_store(&self, at: usize) -> bool {
        let is = |inst: &Inst, of: [Class; 3]| of.contains(&inst.op.class());
        let first = self.marks.iter().rev().find(|mark| mark.inst as usize <= at);
        let before = first.map_or(at, |mark| mark.inst as usize);
        is(&self.insts[at], [Class::Load, Class::VLoad, Class::VLoadA])
            && self.insts[before..at]
                .iter()
                .any(|inst| is(inst, [Class::Store, Class::VStore, Class::VStoreA]))
    }

    /// A node on the way to entries, before `pc`.
    pub fn enter(pc: u64) -> Node {
        Node::empty(pc, End::Enter)
    }

    /// A node before each turn of a loop that begins at `pc`.
    pub fn strip(pc: u64) -> Node {
        Node::empty(pc, End::Strip)
    }

    /// Leaves the first `n` guest instructions.
    fn cut(&mut self, n: usize) {
        let Some(&mark) = self.marks.get(n) else { return };
        self.insts.truncate(mark.inst as usize);
        self.marks.truncate(n);
        self.end = End::Leave(self.pc.wrapping_add(u64::from(mark.offset)));
    }

    /// Guest address of the instruction that IR instruction `at` belongs to (of the last one for the node's end).
    pub fn pc_of(&self, at: usize) -> u64 {
        let n = self.marks.partition_point(|m| m.inst as usize <= at);
        let offset = n.checked_sub(1).and_then(|n| self.marks.get(n)).map_or(0, |m| m.offset);
        self.pc.wrapping_add(u64::from(offset))
    }

    /// Addresses where it may go on within the region, without those of indirect jumps. After a call: where it returns to.
    pub fn successors(&self) -> impl Iterator<Item = u64> {
        let (first, second) = match self.end {
            End::Term(Term::Jump { target }) => (Some(target), None),
            End::Term(
                Term::Branch { taken, fallthrough, .. } | Term::BranchNz { taken, fallthrough, .. },
            ) => (Some(taken), Some(fallthrough)),
            End::Term(Term::Call { ret, .. } | Term::CallIndirect { ret, .. }) => (Some(ret), None),
            _ => (None, None),
        };
        first.into_iter().chain(second)
    }
}
