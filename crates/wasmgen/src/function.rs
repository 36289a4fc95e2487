//! The body of a region: prologue, structured control flow, the way out.

mod strip;

use crate::coverage::is_opaque;
use crate::emit::{self, DEPTH, ENTRY, ENTRY_SHIFT, Emitter, FUEL, TO};
use crate::flag_state::State;
use crate::float_flow::Looks;
use crate::graph::{Graph, Id, Way};
use crate::known::Known;
use crate::liveness::{self, Live};
use crate::node::{End, Node};
use crate::slots::Slots;
use crate::spread::Spread;
use crate::transfer::{self, Target};
use crate::vector::float;
use crate::{Layout, Region, arithmetic, flags, float_flow, home, memory, strings, vector};
use ir::{Class, Term};
use mem::desk::{INTERPRET, shared};
use std::collections::{BTreeSet, HashSet};

/// `region`'s body, the module's `number`th function, and which entries it has a way to.
pub fn body(region: &Region, layout: &Layout, number: u32) -> (emit::Body, Vec<u32>) {
    let root = region.blocks.iter().filter(|block| block.pc == region.root).take(1);
    let others = region.blocks.iter().filter(|block| block.pc != region.root);
    let starts: HashSet<u64> = region.blocks.iter().map(|block| block.pc).collect();
    let nodes: Vec<Node> = root.chain(others).map(|block| Node::new(block, &starts)).collect();
    let mut body = Body::new(nodes, region, layout, number);
    body.emit();
    let ways = body.graph.ways.get(&body.graph.root);
    let entries = ways.map(|ways| ways.entries.iter().map(|way| way.number).collect());
    (body.e.finish(), entries.unwrap_or_default())
}

/// The code of the function that enters the region whose body is the module's `number`th function at its `entry`th entry (from 1 on),
/// guest address `pc`; without fuel it returns at once. `None`: there is no such entry, all is the interpreter's.
pub fn entry(layout: &Layout, number: u32, entry: Option<u32>, pc: u64) -> Vec<u8> {
    let mut e = Emitter::new(layout, number);
    let Some(entry) = entry.filter(|entry| *entry <= u32::MAX >> ENTRY_SHIFT) else {
        let place = e.shared_place(shared::LEAVE, 2);
        e.wasm()
            .i32_const(0)
            .i32_const(INTERPRET as i32)
            .i32_store(place)
            .i64_const(pc as i64)
            .end();
        return e.finish().code;
    };
    let fuel = e.shared_place(shared::FUEL, 3);
    e.wasm().i32_const(0).i64_load(fuel).i64_const(0).i64_lt_s();
    e.begin_unlikely();
    e.wasm().i64_const(pc as i64).return_();
    e.end();
    e.wasm().local_get(0).local_get(DEPTH).i32_const((entry << ENTRY_SHIFT) as i32).i32_or();
    e.wasm().return_call(number).end();
    e.finish().code
}

/// A label that is open.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Label {
    /// Its end is where the node begins.
    Before(Id),
    /// A jump to it goes to the node, a loop's head.
    Loop(Id),
}

struct Body<'a> {
    root: u64,
    graph: Graph,
    e: Emitter<'a>,
    /// Which registers must be in their locals where.
    live: Live,
    /// Where floats are looked at.
    looks: Looks,
    /// Registers that are in locals within a node alone.
    at_home: Slots,
    /// What holds at each node's start.
    entry: Vec<Entry>,
    labels: Vec<(Label, u32)>,
    strips: strip::Locals,
}

/// What is known at a node's start.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
struct Entry {
    flags: State,
    dirty: Slots,
    known: Known,
}

impl<'a> Body<'a> {
    fn new(nodes: Vec<Node>, region: &Region, layout: &'a Layout, number: u32) -> Body<'a> {
        let graph = Graph::new(nodes, &region.indirect, &region.entries);
        let looks = float_flow::looks(&graph);
        let hold = |at_home| {
            let entry = entries(&graph, &looks, at_home);
            let dirty: Vec<Slots> = entry.iter().map(|entry| entry.dirty).collect();
            let live = Live::new(&graph, &dirty, &looks.at_end, at_home);
            (entry, dirty, live)
        };
        let (_, dirty, live) = hold(Slots::default());
        let at_home = home::choose(&graph, &looks.at_end, &dirty, &live);
        let (entry, _, live) = hold(at_home);
        let mut e = Emitter::new(layout, number);
        graph.nodes.iter().flat_map(|node| &node.insts).for_each(|inst| e.float.note(inst));
        Body {
            root: region.root,
            graph,
            e,
            live,
            looks,
            at_home,
            entry,
            labels: Vec::new(),
            strips: strip::Locals::default(),
        }
    }

    fn emit(&mut self) {
        let exits = self.dirty_sets();
        let e = &mut self.e;
        e.reload_fuel();
        e.wasm().local_get(FUEL).i64_const(0).i64_lt_s();
        e.begin_unlikely();
        e.wasm().i64_const(self.root as i64).return_();
        e.end();
        if self.graph.ways.contains_key(&self.graph.root) {
            e.wasm().local_get(DEPTH).i32_const(ENTRY_SHIFT as i32).i32_shr_u().local_set(ENTRY);
            e.wasm().local_get(DEPTH).i32_const((1 << ENTRY_SHIFT) - 1).i32_and().local_set(DEPTH);
        }
        float::settle(e);
        flags::are_in_memory(e);
        e.jump = e.labels;
        e.block();
        e.open_exits(exits);
        if !self.graph.ways.contains_key(&self.graph.root) {
            self.arrive(self.graph.root);
        }
        self.tree(self.graph.root);
        let e = &mut self.e;
        e.wasm().unreachable();
        e.close_exits();
        // The way out to the interpreter. Which flags are newer than the memory's is known at run time only.
        let place = e.shared_place(shared::LEAVE, 2);
        e.wasm().i32_const(0).i32_const(INTERPRET as i32).i32_store(place);
        e.flags = State::Mixed;
        transfer::go(e);
        e.end();
        e.flags = State::Mixed;
        transfer::tail(e);
        e.wasm().end();
    }

    /// Loads what node `id` needs where it is entered from outside, and looks at its floats. All is in memory so far.
    fn arrive(&mut self, id: Id) {
        let looks = self.looks.on_entry[id];
        let e = &mut self.e;
        (e.dirty, e.known) = (Slots::default(), Known::default());
        e.reload(self.live.at(id).or(looks.slots().and(self.at_home)));
        float_flow::look_at(e, looks, self.graph.nodes[id].pc);
    }

    /// The sets of dirty registers that there are where the region may be left.
    fn dirty_sets(&self) -> BTreeSet<Slots> {
        let mut sets = BTreeSet::new();
        for &id in &self.graph.sequence {
            let mut dirty = self.entry[id].dirty;
            sets.insert(dirty);
            for inst in &self.graph.nodes[id].insts {
                dirty = liveness::dirty_after(dirty, inst);
                sets.insert(dirty);
            }
        }
        sets
    }

    /// A node and all that it dominates.
    fn tree(&mut self, id: Id) {
        let is_loop = self.graph.is_loop[id];
        if is_loop {
            self.labels.push((Label::Loop(id), self.e.labels));
            self.e.begin_loop();
        }
        let mut followers: Vec<Id> = self.graph.children[id]
            .iter()
            .copied()
            .filter(|child| self.graph.is_merge[*child])
            .collect();
        followers.sort_by_key(|child| std::cmp::Reverse(self.graph.order[*child]));
        for &follower in &followers {
            self.labels.push((Label::Before(follower), self.e.labels));
            self.e.block();
        }
        self.node(id);
        for &follower in followers.iter().rev() {
            self.labels.pop();
            self.e.end();
            self.tree(follower);
        }
        if is_loop {
            self.labels.pop();
            self.e.end();
        }
    }

    /// A node's own code and its end.
    fn node(&mut self, id: Id) {
        let Entry { flags, dirty, known } = self.entry[id];
        self.e.known = known;
        self.e.float.forget_all();
        self.e.flags = flags;
        self.e.dirty = dirty;
        let insts = std::mem::take(&mut self.graph.nodes[id].insts);
        let of_copy = self.graph.accesses_of(id);
        let mut accesses = of_copy.unwrap_or_else(|| memory::Accesses::new(&insts));
        let node = &self.graph.nodes[id];
        let end = node.end;
        let checked = check_target(node, &insts);
        let wanted = float_flow::within(&insts, self.looks.at_end[id]);
        let live = self.live.within(&self.graph, id, &insts, self.looks.at_end[id]);
        self.e.reload(live.first().copied().unwrap_or_default().and(self.at_home));
        for (at, inst) in insts.iter().enumerate() {
            let pc = node.pc_of(at);
            if let Some((place, slot)) = checked
                && place == at
            {
                leave_unless_canonical(&mut self.e, slot, node.pc_of(insts.len()));
            }
            if node.upward.contains(&at) {
                strings::look_upward(&mut self.e, pc);
            }
            let known = memory::emit(&mut self.e, inst, at, &mut accesses, pc, wanted[at + 1]);
            if !known {
                op(&mut self.e, inst, pc, live.get(at + 1).copied().unwrap_or_default());
            }
            self.e.dirty = liveness::dirty_after(self.e.dirty, inst);
            self.e.known = self.e.known.after(inst);
            if let Some(width) = memory::float_width(inst.op) {
                // Looked at by the load.
                self.e.known = self.e.known.join(wanted[at + 1].low_of(width, inst.d));
            }
        }
        if let Some((place, slot)) = checked
            && place == insts.len()
        {
            leave_unless_canonical(&mut self.e, slot, node.pc_of(insts.len()));
        }
        float_flow::look(&mut self.e, node, &insts, self.looks.at_end[id]);
        transfer::count(&mut self.e, node.marks.len());
        self.e.spill(self.e.dirty.and(self.at_home));
        self.e.dirty = self.e.dirty.without(self.at_home);
        match end {
            End::Leave(pc) => self.e.leave(pc),
            End::Dispatch => self.dispatch(id),
            End::Enter => self.enter(id),
            End::Strip => self.strip(id),
            End::Term(term) => self.term(id, term),
        }
    }

    fn term(&mut self, id: Id, term: Term) {
        match term {
            Term::Jump { target } => self.branch(id, target),
            Term::Branch { cc, taken, fallthrough } => {
                flags::condition(&mut self.e, cc);
                self.choose(id, taken, fallthrough);
            }
            Term::BranchNz { slot, taken, fallthrough } => {
                self.e.get(slot);
                self.e.wasm().i64_eqz().i32_eqz();
                self.choose(id, taken, fallthrough);
            }
            Term::JumpIndirect { slot } => {
                self.e.get(slot);
                self.e.wasm().local_set(TO);
                let dispatch = self.graph.dispatch.map(|dispatch| self.graph.through(dispatch));
                match dispatch.filter(|dispatch| self.graph.successors[id].contains(dispatch)) {
                    Some(dispatch) => {
                        if self.graph.dispatch_settles() {
                            transfer::settle(&mut self.e);
                            flags::are_in_memory(&mut self.e);
                            self.e.dirty = Slots::default();
                        }
                        self.follow(id, dispatch);
                    }
                    None => transfer::tail(&mut self.e),
                }
            }
            Term::Call { target, ret } if target == self.root => {
                self.call(id, Target::Itself(target), ret)
            }
            Term::Call { target, ret } => self.call(id, Target::Known(target), ret),
            Term::CallIndirect { slot, ret } => {
                self.e.get(slot);
                self.e.wasm().local_set(TO);
                self.call(id, Target::Local, ret);
            }
            Term::Ret { slot } => {
                self.e.get(slot);
                self.e.wasm().local_set(TO);
                transfer::ret(&mut self.e);
            }
            // Cut off before.
            Term::Syscall { .. } | Term::Trap { .. } => self.e.leave(self.graph.nodes[id].pc),
        }
    }

    fn call(&mut self, id: Id, target: Target, ret: u64) {
        let next = self.graph.edge(id, ret);
        let live = next.map(|next| self.live.at(next));
        transfer::call(&mut self.e, target, ret, live);
        if let Some(next) = next {
            self.follow(id, next);
        }
    }

    /// The condition is on the stack.
    fn choose(&mut self, id: Id, taken: u64, fallthrough: u64) {
        if taken == fallthrough {
            self.e.wasm().drop();
            return self.branch(id, taken);
        }
        let before = (self.e.flags, self.e.dirty);
        // The way out of many turns behind each other is taken once.
        let [taken_ends, other_ends] = [taken, fallthrough].map(|pc| self.ends_strip(id, pc));
        if taken_ends != other_ends {
            if other_ends {
                self.e.wasm().i32_eqz();
            }
            self.e.begin_unlikely();
            self.branch(id, if taken_ends { taken } else { fallthrough });
            (self.e.flags, self.e.dirty) = before;
            self.e.end();
            return self.branch(id, if taken_ends { fallthrough } else { taken });
        }
        self.e.begin_if();
        self.branch(id, taken);
        (self.e.flags, self.e.dirty) = before;
        self.e.begin_else();
        self.branch(id, fallthrough);
        self.e.end();
        self.e.wasm().unreachable();
    }

    /// Goes on at guest address `pc`. Nothing follows.
    fn branch(&mut self, from: Id, pc: u64) {
        match self.graph.edge(from, pc) {
            Some(to) => self.follow(from, to),
            None => transfer::go_to(&mut self.e, pc),
        }
    }

    /// Goes on at a node of the region. Nothing follows.
    fn follow(&mut self, from: Id, to: Id) {
        if let Some(door) = self.pass(from, to) {
            return self.follow(from, door);
        }
        let label = if self.graph.is_backward(from, to) {
            if self.graph.is_dispatch(to) {
                self.pay_dispatch();
            } else {
                transfer::pay(&mut self.e, self.graph.nodes[to].pc);
            }
            Label::Loop(to)
        } else if self.graph.is_merge[to] {
            Label::Before(to)
        } else {
            self.tree(to);
            return;
        };
        let label = self.label(label);
        self.e.wasm().br(label);
    }

    /// The relative number of a label.
    fn label(&self, label: Label) -> u32 {
        let open = self.labels.iter().rev().find(|(have, _)| *have == label);
        self.e.label(open.map_or(0, |(_, open)| *open))
    }

    /// Before a backward edge to the node of indirect jumps.
    fn pay_dispatch(&mut self) {
        self.e.wasm().local_get(FUEL).i64_const(0).i64_lt_s();
        self.e.begin_unlikely();
        let before = (self.e.flags, self.e.dirty);
        transfer::go(&mut self.e);
        (self.e.flags, self.e.dirty) = before;
        self.e.end();
    }

    /// Goes on as usual, or on the way to the entry that is wanted.
    fn enter(&mut self, id: Id) {
        let Some(ways) = self.graph.ways.get(&id).cloned() else { return };
        let before = (self.e.flags, self.e.dirty);
        if !ways.entries.is_empty() {
            self.e.wasm().local_get(ENTRY);
            self.e.begin_unlikely();
            // Nodes with one way to them are made in place: each once.
            let mut groups: Vec<(Way, Way)> = Vec::new();
            for way in ways.entries {
                match groups.last_mut() {
                    Some((_, last)) if last.to == way.to && !last.is_last && !way.is_last => {
                        *last = way
                    }
                    _ => groups.push((way, way)),
                }
            }
            self.choose_way(id, &groups);
            (self.e.flags, self.e.dirty) = before;
            self.e.end();
        }
        if id == self.graph.root {
            self.arrive(ways.usual);
        }
        self.follow(id, ways.usual);
    }

    /// Goes on by the one of these ways that leads to the entry.
    fn choose_way(&mut self, id: Id, groups: &[(Way, Way)]) {
        let before = (self.e.flags, self.e.dirty);
        match groups {
            [] => {
                self.e.wasm().unreachable();
            }
            [(way, _)] => {
                if way.is_last {
                    self.e.wasm().i32_const(0).local_set(ENTRY);
                    self.arrive(way.to);
                }
                self.follow(id, way.to);
            }
            _ => {
                let (low, high) = groups.split_at(groups.len() / 2);
                let first = high.first().map_or(0, |(way, _)| way.number);
                self.e.wasm().local_get(ENTRY).i32_const(first as i32).i32_lt_u();
                self.e.begin_if();
                self.choose_way(id, low);
                (self.e.flags, self.e.dirty) = before;
                self.e.begin_else();
                self.choose_way(id, high);
                self.e.end();
                self.e.wasm().unreachable();
            }
        }
    }

    /// Goes on at the node of the address in [`TO`].
    fn dispatch(&mut self, id: Id) {
        let targets = self.graph.successors[id].iter().map(|&to| (self.graph.nodes[to].pc, to));
        let mut targets: Vec<(u64, Id)> = targets.collect();
        targets.sort_unstable();
        if self.graph.dispatch_settles() {
            self.choose_place(id, Spread::new(&targets));
        } else {
            self.halve(id, &targets);
        }
    }

    /// Few targets: found by halving.
    fn halve(&mut self, id: Id, targets: &[(u64, Id)]) {
        let before = (self.e.flags, self.e.dirty);
        match targets {
            [] => transfer::tail(&mut self.e),
            [(pc, to)] => {
                self.e.wasm().local_get(TO).i64_const(*pc as i64).i64_eq();
                self.e.begin_if();
                self.follow(id, *to);
                (self.e.flags, self.e.dirty) = before;
                self.e.end();
                transfer::tail(&mut self.e);
            }
            _ => {
                let (low, high) = targets.split_at(targets.len() / 2);
                let first = high.first().map_or(0, |(pc, _)| *pc);
                self.e.wasm().local_get(TO).i64_const(first as i64).i64_lt_u();
                self.e.begin_if();
                self.halve(id, low);
                (self.e.flags, self.e.dirty) = before;
                self.e.end();
                self.halve(id, high);
            }
        }
    }

    /// Many targets: by a table of jumps. All registers are in memory.
    fn choose_place(&mut self, id: Id, spread: Spread) {
        let before = (self.e.flags, self.e.dirty);
        let base = self.e.labels;
        // One label for each place, the last one outermost, and one for addresses that are not among the targets.
        for _ in 0..=spread.places.len() {
            self.e.block();
        }
        let depth = self.e.labels - base;
        self.e.wasm().local_get(TO).i64_const(spread.factor as i64).i64_mul();
        self.e.wasm().i64_const(i64::from(spread.shift)).i64_shr_u().i32_wrap_i64();
        let labels: Vec<u32> = (0..depth - 1).collect();
        self.e.wasm().br_table(labels, depth - 1);
        for targets in &spread.places {
            self.e.end();
            for &(pc, to) in targets {
                self.e.wasm().local_get(TO).i64_const(pc as i64).i64_eq();
                self.e.begin_if();
                self.arrive(to);
                self.follow(id, to);
                (self.e.flags, self.e.dirty) = before;
                self.e.end();
            }
            let out = self.e.label(base);
            self.e.wasm().br(out);
        }
        self.e.end();
        (self.e.flags, self.e.dirty) = before;
        transfer::tail(&mut self.e);
    }
}

/// One op, after which the registers `live` are needed.
fn op(e: &mut Emitter, inst: &ir::Inst, pc: u64, live: Slots) {
    let opaque = is_opaque(inst.op);
    if opaque {
        e.spill(e.dirty.or(temporaries(inst)));
        flags::to_memory(e);
        e.call_helper(inst);
        e.leave_if(pc);
        e.reload(live.or(temporaries(inst)));
        float::settle(e);
        e.dirty = Slots::default();
        flags::are_in_memory(e);
        return;
    }
    let known = match inst.op.class() {
        Class::Str => {
            strings::repeat(e, inst, pc);
            true
        }
        Class::R1 | Class::R2 | Class::R3 | Class::Div | Class::Li | Class::Lea => {
            arithmetic::emit(e, inst, pc)
        }
        _ => flags::emit(e, inst, pc) || vector::emit(e, inst, pc),
    };
    if !known {
        e.helper(inst, pc);
    }
}

/// The temporaries that an opaque op may name in any of its fields. (Of registers it finds in memory what it needs.)
fn temporaries(inst: &ir::Inst) -> Slots {
    let all = fields(inst);
    let lasting = all.lasting();
    Slots { ints: all.ints & !lasting.ints, vectors: all.vectors & !lasting.vectors }
}

fn fields(inst: &ir::Inst) -> Slots {
    let mut slots = Slots::default();
    for field in [inst.d, inst.a, inst.b, inst.c] {
        if usize::from(field) < ir::SLOTS && field != ir::ZERO {
            slots.ints |= 1 << field;
        }
        if usize::from(field) < ir::VSLOTS {
            slots.vectors |= 1 << field;
        }
    }
    slots
}

/// A jump to an address that is not canonical faults before anything of its instruction is done. Where to look (before
/// which IR instruction), and at which slot.
fn check_target(node: &Node, insts: &[ir::Inst]) -> Option<(usize, u8)> {
    let slot = match node.end {
        End::Term(
            Term::JumpIndirect { slot } | Term::CallIndirect { slot, .. } | Term::Ret { slot },
        ) => slot,
        _ => return None,
    };
    let start = node.marks.last().map_or(0, |mark| mark.inst as usize);
    let last =
        (start..insts.len()).rev().find(|&at| insts[at].writes().any(|written| written == slot));
    Some((last.map_or(start, |at| at + 1), slot))
}

fn leave_unless_canonical(e: &mut Emitter, slot: u8, pc: u64) {
    // Also the upper half, where no program has code.
    e.get(slot);
    e.wasm().i64_const(1 << 47).i64_ge_u();
    e.leave_if(pc);
}

/// What holds at each node's start if the registers `at_home` are written back in each node's end: a data-flow analysis over forward
/// and backward edges.
fn entries(graph: &Graph, looks: &Looks, at_home: Slots) -> Vec<Entry> {
    let start = |id: Id| Entry { known: looks.on_entry[id], ..Entry::default() };
    let mut entries: Vec<Option<Entry>> = vec![None; graph.nodes.len()];
    entries[graph.root] = Some(start(graph.root));
    let mut changed = true;
    while changed {
        changed = false;
        for &id in &graph.sequence {
            let Some(entry) = entries[id] else { continue };
            let mut after = leave(graph, id, entry);
            after.known = after.known.join(looks.at_end[id]);
            after.dirty = after.dirty.without(at_home);
            let onward = graph.onward(id).map(|to| (to, after));
            for (to, after) in onward.chain(graph.afresh(id).map(|to| (to, start(to)))) {
                let new = match entries[to] {
                    None => after,
                    Some(have) => Entry {
                        flags: have.flags.meet(after.flags),
                        known: have.known.meet(after.known),
                        dirty: have.dirty.or(after.dirty),
                    },
                };
                if entries[to] != Some(new) {
                    entries[to] = Some(new);
                    changed = true;
                }
            }
        }
    }
    entries.into_iter().map(|entry| entry.unwrap_or_default()).collect()
}

/// What holds at a node's end.
fn leave(graph: &Graph, id: Id, mut entry: Entry) -> Entry {
    let node = &graph.nodes[id];
    for inst in &node.insts {
        entry.flags = entry.flags.after(inst);
        entry.dirty = liveness::dirty_after(entry.dirty, inst);
        entry.known = entry.known.after(inst);
    }
    if graph.settles(id) { Entry::default() } else { entry }
}
