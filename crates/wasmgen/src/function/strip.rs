//! Loops that are there twice; see [`crate::graph::strips`].

use super::{Body, Label};
use crate::emit::{Emitter, FUEL};
use crate::graph::Id;
use crate::graph::strips::TURNS;
use crate::memory;
use crate::slots::Slots;
use wasm_encoder::ValType;

/// Locals (`i64`); 0 stands for none. One loop at a time needs them.
#[derive(Default)]
pub struct Locals {
    /// When the fuel is below this, the loop has been run often enough for many turns at once.
    below: u32,
    /// What the fuel is at least before the last of many turns, less one.
    last: u32,
}

impl Locals {
    fn below(&mut self, e: &mut Emitter) -> u32 {
        if self.below == 0 {
            self.below = e.local(ValType::I64);
        }
        self.below
    }

    fn last(&mut self, e: &mut Emitter) -> u32 {
        if self.last == 0 {
            self.last = e.local(ValType::I64);
        }
        self.last
    }

    /// The next turns of a loop, each of which takes `cost`, are run one by one.
    fn begin(&mut self, e: &mut Emitter, cost: i64) {
        let below = self.below(e);
        e.wasm().local_get(FUEL).i64_const(TURNS * cost).i64_sub().local_set(below);
    }
}

impl Body<'_> {
    /// The node `id` that chooses.
    pub(super) fn strip(&mut self, id: Id) {
        let Some(n) = self.graph.strips.iter().position(|strip| strip.chooser == id) else {
            return;
        };
        let strip = &self.graph.strips[n];
        let (head, copy, cost) = (strip.head, strip.copy(), strip.cost);
        let registers = strip.accesses.iter().flat_map(|(_, all)| all.stream_registers());
        let registers = registers.fold(0, |all, register| all | 1 << register);
        let e = &mut self.e;
        let before = (e.flags, e.dirty);
        let below = self.strips.below(e);
        e.wasm().local_get(FUEL).local_get(below).i64_lt_s();
        e.begin_if();
        let out = e.labels;
        e.block();
        e.reload(Slots { ints: registers, vectors: 0 }.and(self.at_home));
        let turns = e.number();
        let mut all = std::mem::take(&mut self.graph.strips[n].accesses);
        memory::look_ahead(e, all.iter_mut().map(|(_, accesses)| accesses), turns, out);
        self.graph.strips[n].accesses = all;
        let label = e.label(out);
        e.wasm().local_get(turns).i32_const(TURNS as i32).i32_lt_u().br_if(label);
        // A turn takes `cost` at least, and the one that uses the fuel up is the last.
        let last = self.strips.last(e);
        e.wasm().local_get(FUEL).local_get(turns).i64_extend_i32_u().i64_const(1).i64_add();
        e.wasm().i64_const(cost).i64_mul().i64_sub().local_tee(last);
        e.wasm().i64_const(-1).local_get(last).i64_const(-1).i64_gt_s().select().local_set(last);
        self.follow(id, copy);
        (self.e.flags, self.e.dirty) = before;
        self.e.end();
        self.strips.begin(&mut self.e, cost);
        self.e.end();
        self.follow(id, head);
    }

    /// On the edge from `from` to `to`. After a turn of many: goes on with the next one; if it was the last, the node to go on at is
    /// returned.
    pub(super) fn pass(&mut self, from: Id, to: Id) -> Option<Id> {
        let entered = self.graph.strips.iter().find(|strip| strip.door == to);
        if let Some(strip) = entered.filter(|strip| !strip.contains(from)) {
            self.strips.begin(&mut self.e, strip.cost);
        }
        let strip = self.graph.strips.iter().find(|strip| strip.copy() == to)?;
        if !strip.has_copy(from) {
            return None;
        }
        let door = strip.door;
        let last = self.strips.last(&mut self.e);
        let label = self.label(Label::Loop(to));
        self.e.wasm().local_get(FUEL).local_get(last).i64_gt_s().br_if(label);
        Some(door)
    }

    /// Whether node `id` is one of many turns, and goes on elsewhere at `pc`.
    pub(super) fn ends_strip(&self, id: Id, pc: u64) -> bool {
        let mut strips = self.graph.strips.iter();
        let Some(strip) = strips.find(|strip| strip.has_copy(id)) else { return false };
        self.graph.edge(id, pc).is_none_or(|to| !strip.contains(to))
    }
}
