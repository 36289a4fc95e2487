//! The control-flow graph of a region: order, dominators, loops.

use crate::node::{End, Node};
use ir::Term;
use std::collections::HashMap;

/// A node's number. The root is 0.
pub type Id = usize;

/// Nodes and edges of a region; only nodes that the root reaches, and only edges that structured control flow can follow.
pub struct Graph {
    /// The nodes.
    pub nodes: Vec<Node>,
    /// Where each node may go on, without duplicates.
    pub successors: Vec<Vec<Id>>,
    /// Position in reverse postorder.
    pub order: Vec<usize>,
    /// Nodes in reverse postorder.
    pub sequence: Vec<Id>,
    /// Nodes that each node immediately dominates, in reverse postorder.
    pub children: Vec<Vec<Id>>,
    /// Reached by two or more forward edges.
    pub is_merge: Vec<bool>,
    /// Reached by a backward edge.
    pub is_loop: Vec<bool>,
    /// The node of indirect jumps, if there are any within the region.
    pub dispatch: Option<Id>,
    by_pc: HashMap<u64, Id>,
}

impl Graph {
    /// The graph of `nodes`, the root first.
    pub fn new(mut nodes: Vec<Node>, indirect: &[u64]) -> Graph {
        let mut by_pc = HashMap::new();
        for (id, node) in nodes.iter().enumerate() {
            by_pc.entry(node.pc).or_insert(id);
        }
        let mut targets: Vec<Id> =
            indirect.iter().filter_map(|pc| by_pc.get(pc).copied()).collect();
        targets.sort_unstable();
        targets.dedup();
        let jumps = |node: &Node| matches!(node.end, End::Term(Term::JumpIndirect { .. }));
        let dispatch = (!targets.is_empty() && nodes.iter().any(jumps)).then_some(nodes.len());
        if dispatch.is_some() {
            nodes.push(Node::dispatch());
        }
        let mut successors: Vec<Vec<Id>> = nodes
            .iter()
            .map(|node| {
                let mut all: Vec<Id> = match (dispatch, node.end) {
                    (Some(d), End::Term(Term::JumpIndirect { .. })) => vec![d],
                    (_, End::Dispatch) => targets.clone(),
                    _ => node.successors().filter_map(|pc| by_pc.get(&pc).copied()).collect(),
                };
                all.sort_unstable();
                all.dedup();
                all
            })
            .collect();
        loop {
            let (sequence, order) = reverse_postorder(&successors);
            let idom = dominators(&successors, &sequence, &order);
            let mut irreducible = false;
            for &from in &sequence {
                successors[from].retain(|&to| {
                    let keep = order[to] > order[from] || dominates(&idom, &order, to, from);
                    irreducible |= !keep;
                    keep
                });
            }
            if !irreducible {
                return Graph::finish(nodes, successors, order, sequence, &idom, dispatch, by_pc);
            }
        }
    }

    fn finish(
        nodes: Vec<Node>,
        successors: Vec<Vec<Id>>,
        order: Vec<usize>,
        sequence: Vec<Id>,
        idom: &[Id],
        dispatch: Option<Id>,
        by_pc: HashMap<u64, Id>,
    ) -> Graph {
        let mut children = vec![Vec::new(); nodes.len()];
        let mut forward = vec![0; nodes.len()];
        let mut is_loop = vec![false; nodes.len()];
        for &id in &sequence {
            if id != 0 {
                children[idom[id]].push(id);
            }
            for &to in &successors[id] {
                if order[to] > order[id] {
                    forward[to] += 1;
                } else {
                    is_loop[to] = true;
                }
            }
        }
        let is_merge = forward.into_iter().map(|n| n > 1).collect();
        Graph { nodes, successors, order, sequence, children, is_merge, is_loop, dispatch, by_pc }
    }

    /// The node at `pc`, if the edge from `from` to it is one of the graph's.
    pub fn edge(&self, from: Id, pc: u64) -> Option<Id> {
        self.by_pc.get(&pc).copied().filter(|to| self.successors[from].contains(to))
    }

    /// Whether the edge goes back to a loop's head.
    pub fn is_backward(&self, from: Id, to: Id) -> bool {
        self.order[to] <= self.order[from]
    }
}

/// Nodes that node 0 reaches in reverse postorder, and the position of each (`usize::MAX` for the others).
fn reverse_postorder(successors: &[Vec<Id>]) -> (Vec<Id>, Vec<usize>) {
    let mut visited = vec![false; successors.len()];
    let mut post = Vec::new();
    let mut stack = vec![(0, 0)];
    visited[0] = true;
    while let Some((id, next)) = stack.pop() {
        match successors[id].get(next) {
            Some(&to) => {
                stack.push((id, next + 1));
                if !visited[to] {
                    visited[to] = true;
                    stack.push((to, 0));
                }
            }
            None => post.push(id),
        }
    }
    post.reverse();
    let mut order = vec![usize::MAX; successors.len()];
    for (position, &id) in post.iter().enumerate() {
        order[id] = position;
    }
    (post, order)
}

/// Immediate dominators (Cooper, Harvey, Kennedy: A Simple, Fast Dominance Algorithm).
fn dominators(successors: &[Vec<Id>], sequence: &[Id], order: &[usize]) -> Vec<Id> {
    let mut predecessors = vec![Vec::new(); successors.len()];
    for &from in sequence {
        for &to in &successors[from] {
            predecessors[to].push(from);
        }
    }
    const NONE: Id = Id::MAX;
    let mut idom = vec![NONE; successors.len()];
    idom[0] = 0;
    let mut changed = true;
    while changed {
        changed = false;
        for &id in sequence.iter().skip(1) {
            let mut new = NONE;
            for &from in &predecessors[id] {
                if idom[from] == NONE {
                    continue;
                }
                new = if new == NONE { from } else { intersect(&idom, order, from, new) };
            }
            if new != idom[id] {
                idom[id] = new;
                changed = true;
            }
        }
    }
    idom
}

fn intersect(idom: &[Id], order: &[usize], mut a: Id, mut b: Id) -> Id {
    while a != b {
        while order[a] > order[b] {
            a = idom[a];
        }
        while order[b] > order[a] {
            b = idom[b];
        }
    }
    a
}

fn dominates(idom: &[Id], order: &[usize], a: Id, mut b: Id) -> bool {
    while order[b] > order[a] {
        b = idom[b];
    }
    a == b
}
