//! The control-flow graph of a region: order, dominators, loops.

pub mod strips;

use crate::node::{End, Node};
use ir::Term;
use std::collections::HashMap;
use strips::Strip;

/// Targets of indirect jumps from which on there are many.
const MANY: usize = 24;

/// A node's number.
pub type Id = usize;

/// Nodes and edges of a region; only nodes that the root or an entry reaches, and only edges that structured control flow can
/// follow.
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
    /// The node that dominates all.
    pub root: Id,
    /// Of nodes that end with [`End::Enter`]: where they lead as usual, and for which entry (from 1 on) where else.
    pub ways: HashMap<Id, Ways>,
    /// Loops that are there twice.
    pub strips: Vec<Strip>,
    by_pc: HashMap<u64, Id>,
    /// Nodes that are reached through another one.
    before: HashMap<Id, Id>,
}

/// Where a node leads that is on the way to entries.
#[derive(Clone, Debug, Default)]
pub struct Ways {
    /// If no entry is wanted.
    pub usual: Id,
    /// In the order of their numbers.
    pub entries: Vec<Way>,
}

/// The next node on the way to an entry.
#[derive(Clone, Copy, Debug)]
pub struct Way {
    /// The entry's number.
    pub number: u32,
    /// The node.
    pub to: Id,
    /// It is the entry.
    pub is_last: bool,
}

impl Graph {
    /// The graph of `nodes`, the root first. `entries` are addresses of nodes.
    pub fn new(mut nodes: Vec<Node>, indirect: &[u64], entries: &[u64]) -> Graph {
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
        let wanted: Vec<(u32, Id)> =
            (1..).zip(entries).filter_map(|(number, pc)| Some((number, *by_pc.get(pc)?))).collect();
        let mut ways = HashMap::new();
        let mut root = 0;
        if !wanted.is_empty() {
            root = nodes.len();
            nodes.push(Node::enter(nodes[0].pc));
            successors.push(vec![0]);
            ways.insert(root, Ways::default());
        }
        loop {
            let (sequence, order) = reverse_postorder(&successors, root);
            let idom = dominators(&successors, &sequence, &order);
            let mut irreducible = false;
            for &from in &sequence {
                successors[from].retain(|&to| {
                    let keep = order[to] > order[from] || dominates(&idom, &order, to, from);
                    irreducible |= !keep;
                    keep
                });
            }
            // An entry to which nothing leads, at least not on an edge that can be followed: one after the other, because what is
            // reached from one may be others.
            let apart = wanted.iter().find(|(_, id)| order[*id] == usize::MAX);
            if let (false, Some((_, id))) = (irreducible, apart) {
                successors[root].push(*id);
            } else if !irreducible {
                let mut graph = Graph {
                    nodes,
                    successors,
                    order,
                    sequence,
                    children: Vec::new(),
                    is_merge: Vec::new(),
                    is_loop: Vec::new(),
                    dispatch,
                    root,
                    ways,
                    strips: Vec::new(),
                    by_pc,
                    before: HashMap::new(),
                };
                graph.enter_at(&wanted);
                if graph.mine() {
                    (graph.sequence, graph.order) =
                        reverse_postorder(&graph.successors, graph.root);
                }
                graph.finish();
                return graph;
            }
        }
    }

    /// Adds ways to `entries`: from the root through the heads of all loops that an entry lies in, outer ones first, so that
    /// loops are still entered at their heads alone.
    fn enter_at(&mut self, wanted: &[(u32, Id)]) {
        let loops = self.loops();
        for (head, body) in &loops {
            if wanted.iter().any(|(_, id)| body[*id] && id != head) {
                self.put_before(*head);
            }
        }
        for &(number, id) in wanted {
            let mut at = self.root;
            for (head, body) in &loops {
                if *head != id && body[id] {
                    let next = self.through(*head);
                    self.way(at, Way { number, to: next, is_last: false });
                    at = next;
                }
            }
            self.way(at, Way { number, to: self.through(id), is_last: true });
        }
        if !wanted.is_empty() {
            (self.sequence, self.order) = reverse_postorder(&self.successors, self.root);
        }
    }

    fn way(&mut self, from: Id, way: Way) {
        if let Some(ways) = self.ways.get_mut(&from) {
            ways.entries.push(way);
            if !self.successors[from].contains(&way.to) {
                self.successors[from].push(way.to);
            }
        }
    }

    fn add(&mut self, node: Node, usual: Id) -> Id {
        let id = self.nodes.len();
        self.nodes.push(node);
        self.successors.push(vec![usual]);
        self.ways.insert(id, Ways { usual, entries: Vec::new() });
        id
    }

    /// A node through which the loop of `head` is entered and repeated.
    fn put_before(&mut self, head: Id) {
        let id = self.add(Node::enter(self.nodes[head].pc), head);
        self.redirect(head, id);
    }

    /// Makes all that lead to `head` lead to `id`, which goes on there.
    pub fn redirect(&mut self, head: Id, id: Id) {
        for (from, successors) in self.successors.iter_mut().enumerate() {
            if from != id {
                successors.iter_mut().filter(|to| **to == head).for_each(|to| *to = id);
            }
        }
        for (from, ways) in &mut self.ways {
            if *from != id && ways.usual == head {
                ways.usual = id;
            }
            ways.entries.iter_mut().filter(|way| way.to == head).for_each(|way| way.to = id);
        }
        // If there is a node before it already, that is still what others see.
        self.before.entry(head).or_insert(id);
    }

    /// The loops, outer ones before inner ones: the head, and for each node whether it is within.
    pub fn loops(&self) -> Vec<(Id, Vec<bool>)> {
        let predecessors = self.predecessors();
        let loops = self.sequence.iter().map(|head| {
            let sources = predecessors[*head].iter().copied();
            let sources = sources.filter(|from| self.is_backward(*from, *head)).collect();
            (*head, self.natural_loop(*head, sources, &predecessors))
        });
        loops.filter_map(|(head, body)| Some((head, body?))).collect()
    }

    /// The loops without those that others lie in, as [`Graph::loops`]: of a head's backward edges only such that close no other loop around another
    /// head. And of each, if they are others, only the edges that close the smallest loops: where a region begins in an inner loop, outer ones have the
    /// same head.
    pub fn innermost_loops(&self) -> Vec<(Id, Vec<bool>)> {
        let predecessors = self.predecessors();
        let backward = |head: Id| {
            predecessors[head].iter().copied().filter(move |from| self.is_backward(*from, head))
        };
        let heads: Vec<Id> =
            self.sequence.iter().copied().filter(|id| backward(*id).next().is_some()).collect();
        let mut loops = Vec::new();
        for &head in &heads {
            let body = |sources| self.natural_loop(head, sources, &predecessors);
            let is_innermost =
                |body: &Vec<bool>| heads.iter().all(|other| *other == head || !body[*other]);
            let mut edges: Vec<(Id, Vec<bool>)> =
                backward(head).filter_map(|from| Some((from, body(vec![from])?))).collect();
            edges.retain(|(_, body)| is_innermost(body));
            let within = |one: &[bool], other: &[bool]| {
                one != other && one.iter().zip(other).all(|(one, other)| !one || *other)
            };
            let smallest =
                edges.iter().filter(|(_, of)| edges.iter().all(|(_, other)| !within(other, of)));
            let smallest: Vec<Id> = smallest.map(|(from, _)| *from).collect();
            let all: Vec<Id> = edges.iter().map(|(from, _)| *from).collect();
            let differ = smallest.len() != all.len();
            loops.extend(body(all).map(|body| (head, body)));
            loops.extend(body(smallest).filter(|_| differ).map(|body| (head, body)));
        }
        loops
    }

    fn predecessors(&self) -> Vec<Vec<Id>> {
        let mut predecessors = vec![Vec::new(); self.nodes.len()];
        for &from in &self.sequence {
            for &to in &self.successors[from] {
                predecessors[to].push(from);
            }
        }
        predecessors
    }

    /// For each node whether it is on a way from `head` to one of `sources`, from which edges lead back there. `None` without any.
    fn natural_loop(
        &self,
        head: Id,
        mut sources: Vec<Id>,
        predecessors: &[Vec<Id>],
    ) -> Option<Vec<bool>> {
        if sources.is_empty() {
            return None;
        }
        let mut body = vec![false; self.nodes.len()];
        body[head] = true;
        while let Some(id) = sources.pop() {
            if !std::mem::replace(&mut body[id], true) {
                sources.extend(&predecessors[id]);
            }
        }
        Some(body)
    }

    fn finish(&mut self) {
        let idom = dominators(&self.successors, &self.sequence, &self.order);
        let count = self.nodes.len();
        self.children = vec![Vec::new(); count];
        self.is_loop = vec![false; count];
        let mut forward = vec![0; count];
        for &id in &self.sequence {
            if id != self.root {
                self.children[idom[id]].push(id);
            }
            for &to in &self.successors[id] {
                if self.order[to] > self.order[id] {
                    forward[to] += 1;
                } else {
                    self.is_loop[to] = true;
                }
            }
        }
        self.is_merge = forward.into_iter().map(|n| n > 1).collect();
        // Several ways may lead there from one node.
        for way in self.ways.values().flat_map(|ways| &ways.entries) {
            self.is_merge[way.to] = true;
        }
    }

    /// Whether the end of `id` brings memory up to date, and what follows loads again what it needs.
    pub fn settles(&self, id: Id) -> bool {
        match self.nodes[id].end {
            End::Term(Term::Call { .. } | Term::CallIndirect { .. }) => true,
            End::Term(Term::JumpIndirect { .. }) => self.dispatch_settles(),
            _ => false,
        }
    }

    /// Whether indirect jumps do. Where many meet, as in an interpreter's loop, to hand over every register from each to each
    /// would cost more: they do not fit into those of the host.
    pub fn dispatch_settles(&self) -> bool {
        self.dispatch.is_some_and(|dispatch| self.successors[dispatch].len() > MANY)
    }

    /// Whether the region is not left in the end of `id`, and registers stay in locals.
    pub fn stays(&self, id: Id) -> bool {
        match self.nodes[id].end {
            End::Term(Term::Jump { .. } | Term::Branch { .. } | Term::BranchNz { .. }) => {
                self.nodes[id].successors().all(|pc| self.edge(id, pc).is_some())
            }
            End::Enter | End::Strip => true,
            _ => false,
        }
    }

    /// Where `id` goes on with its registers in locals.
    pub fn onward(&self, id: Id) -> impl Iterator<Item = Id> {
        let (usual, all) = match (self.ways.get(&id), self.nodes[id].end) {
            (Some(ways), _) => (Some(ways.usual), &[][..]),
            (None, End::Dispatch) if self.dispatch_settles() => (None, &[][..]),
            (None, _) => (None, &self.successors[id][..]),
        };
        usual.into_iter().chain(all.iter().copied())
    }

    /// Where `id` goes on with all registers in memory: from there on as where a region is entered.
    pub fn afresh(&self, id: Id) -> impl Iterator<Item = Id> {
        let ways = self.ways.get(&id).map_or(&[][..], |ways| &ways.entries);
        let targets = match self.nodes[id].end {
            End::Dispatch if self.dispatch_settles() => &self.successors[id][..],
            _ => &[],
        };
        ways.iter().filter(|way| way.is_last).map(|way| way.to).chain(targets.iter().copied())
    }

    /// The node at `pc`, if the edge from `from` to it is one of the graph's.
    pub fn edge(&self, from: Id, pc: u64) -> Option<Id> {
        let to = *self.by_pc.get(&pc)?;
        let copy = self.strips.iter().find_map(|strip| strip.copy_for(from, to));
        let to = copy.unwrap_or_else(|| self.through(to));
        self.successors[from].contains(&to).then_some(to)
    }

    /// The node through which `to` is reached: itself, or one on the way to entries.
    pub fn through(&self, to: Id) -> Id {
        self.before.get(&to).copied().unwrap_or(to)
    }

    /// Whether `id` is the node of indirect jumps, or the one before it.
    pub fn is_dispatch(&self, id: Id) -> bool {
        self.dispatch.is_some_and(|dispatch| id == dispatch || id == self.through(dispatch))
    }

    /// Whether the edge goes back to a loop's head.
    pub fn is_backward(&self, from: Id, to: Id) -> bool {
        self.order[to] <= self.order[from]
    }
}

/// Nodes that `root` reaches in reverse postorder, and the position of each (`usize::MAX` for the others).
fn reverse_postorder(successors: &[Vec<Id>], root: Id) -> (Vec<Id>, Vec<usize>) {
    let mut visited = vec![false; successors.len()];
    let mut post = Vec::new();
    let mut stack = vec![(root, 0)];
    visited[root] = true;
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
    let root = sequence.first().copied().unwrap_or(0);
    idom[root] = root;
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

#[cfg(test)]
mod tests {
    use super::*;
    use ir::Block;
    use std::collections::HashSet;

    /// The numbers of the entries that the root has a way to; `blocks` are addresses and where they jump (0: nowhere).
    fn entered(blocks: &[(u64, u64)], indirect: &[u64], entries: &[u64]) -> Vec<u32> {
        let starts: HashSet<u64> = blocks.iter().map(|(pc, _)| *pc).collect();
        let block = |&(pc, target): &(u64, u64)| {
            let term = match target {
                0 => Term::Ret { slot: 0 },
                1 => Term::JumpIndirect { slot: 0 },
                _ => Term::Jump { target },
            };
            Node::new(&Block { pc, len: 1, insts: Vec::new(), marks: Vec::new(), term }, &starts)
        };
        let graph = Graph::new(blocks.iter().map(block).collect(), indirect, entries);
        assert_eq!(graph.sequence.first(), Some(&graph.root));
        let ways = graph.ways.get(&graph.root).map_or(&[][..], |ways| &ways.entries);
        ways.iter().map(|way| way.number).collect()
    }

    #[test]
    fn each_entry_has_a_way_whether_the_root_reaches_it_or_not() {
        // A loop of two that nothing leads to, entered at either; and one behind a return.
        assert_eq!(entered(&[(16, 0), (32, 48), (48, 32), (64, 0)], &[], &[48, 64, 32]), [1, 2, 3]);
        // What leads into the middle of a loop from outside cannot be followed.
        let irreducible = [(16, 1), (32, 48), (48, 64), (64, 32), (80, 0)];
        assert_eq!(entered(&irreducible, &[48, 64, 80], &[64, 48, 80, 32]), [1, 2, 3, 4]);
        assert_eq!(entered(&irreducible, &[], &[]), [0; 0]);
        // An address that is no block.
        assert_eq!(entered(&[(16, 0), (32, 0)], &[], &[33, 32]), [2]);
    }
}
