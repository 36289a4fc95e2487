//! From a hot block to a request, and from the interpreter into a region and back.

use crate::Env;
use crate::cache::Engine;
use crate::key::{FixedMap, Key};
use crate::profile::{Left, Profile, Why};
use crate::translated::{Enter, Listening, Translated};
use ir::Cpu;
use mem::desk::{BlockAt, DEPTH, INTERPRET, MAX_BLOCKS, Request, Shared};
use mem::frozen::Frozen;
use mem::{Access, Fault, PAGE_MASK, PAGE_SIZE};
use std::collections::BTreeSet;
use std::sync::atomic::Ordering::Relaxed;

/// Blocks from which on a function is a large one.
const MANY: usize = 100;

/// Most blocks of a region whose root is in another one.
const MAX_INSIDE: usize = 64;

/// How the run loop goes on after the word that enters a region.
pub(crate) enum Entered {
    /// As after an indirect jump to this guest address.
    Go(u64),
    /// In the root block's copy, which is at this place.
    Shadow(u32),
    /// In the code at this place; the arena and the epoch of links may be others than before.
    Run(u32),
    /// `rip` cannot be fetched.
    Fault(Fault),
}

impl Engine {
    /// From now on asks the host for regions.
    pub fn listen(&mut self, listening: Listening) {
        let listening =
            Listening { threshold: listening.threshold.max(1), sample: listening.sample.max(1) };
        self.translated.get_or_insert_default().listen(listening);
    }

    /// Enters the regions of this table where their code is reached. Before anything ran.
    pub fn thaw(&mut self, frozen: Frozen) {
        self.translated.get_or_insert_default().frozen = Some(frozen);
    }

    /// As [`Engine::thaw`], and at once where code is compiled already, so that no start has to do that.
    pub fn thaw_here(&mut self, frozen: Frozen) {
        self.thaw(frozen);
        for (key, start) in self.compiled() {
            let is_new = self.entered(start).is_none();
            let known = self.translated.as_mut().filter(|_| is_new).and_then(|t| t.known(&key));
            if let Some(number) = known {
                self.put_entry(number, start);
            }
        }
    }

    /// Enters none of those that came with the box.
    pub fn leave_frozen(&mut self) {
        if let Some(gone) = self.translated.as_mut().map(|t| t.forget_frozen()) {
            self.put_back(&gone);
        }
    }

    /// Makes ready what regions share with the interpreter.
    pub fn expect_regions(&mut self) {
        self.translated.get_or_insert_default();
    }

    /// From now on keeps a tally of the regions in which instructions are executed.
    pub fn keep_tally(&mut self) {
        self.translated.get_or_insert_default().tally.get_or_insert_default();
    }

    /// Ids of regions, one for each [`mem::desk::TALLY`] instructions that ran in regions.
    pub fn tally(&self) -> &[u32] {
        self.translated.as_ref().and_then(|translated| translated.tally.as_deref()).unwrap_or(&[])
    }

    /// Whether a host is asked for regions.
    pub fn listens(&self) -> bool {
        self.translated.as_ref().is_some_and(|translated| translated.listens)
    }

    /// What compiled code shares with the interpreter, if there may be any. Its place does not change.
    pub fn shared(&self) -> Option<&Shared> {
        self.translated.as_ref().map(|translated| &*translated.shared)
    }

    /// Requests for the host, encoded ([`Request::encode`]).
    pub fn requests(&self) -> &[u64] {
        self.translated.as_ref().map_or(&[], |translated| &translated.requests)
    }

    /// Ids of requests without an answer, one for each sample that fell on their blocks since the host came by.
    pub fn heat(&self) -> &[u32] {
        self.translated.as_ref().map_or(&[], |translated| &translated.heat)
    }

    /// The host has seen the requests, and the heat.
    pub fn clear_requests(&mut self) {
        if let Some(translated) = &mut self.translated {
            translated.requests.clear();
            translated.heat.clear();
        }
    }

    /// Whether the host owes answers.
    pub fn awaits_regions(&self) -> bool {
        self.translated.as_ref().is_some_and(|translated| translated.awaits())
    }

    /// Guest instructions retired in regions, and how often one was entered from the interpreter.
    pub fn retired_in_regions(&self) -> (u64, u64) {
        self.translated.as_ref().map_or((0, 0), |t| (t.retired, t.entered))
    }

    /// From now on counts where regions are left.
    pub fn profile_regions(&mut self) {
        if let Some(translated) = &mut self.translated {
            translated.profile = Some(Profile::default());
        }
    }

    /// The `most` addresses that regions were left to most often, if that was counted.
    pub fn left_most(&self, most: usize) -> Vec<Left> {
        let profile = self.translated.as_ref().and_then(|translated| translated.profile.as_ref());
        profile.map_or_else(Vec::new, |profile| profile.top(most))
    }

    fn note_left<E: Env>(&mut self, env: &mut E, pc: u64, why: Why) {
        let Some(profile) = self.translated.as_mut().and_then(|t| t.profile.as_mut()) else {
            return;
        };
        profile.note(pc, why, || {
            let Ok(phys) = env.translate(pc, Access::Fetch) else { return Vec::new() };
            let in_page = PAGE_SIZE as u32 - phys % PAGE_SIZE as u32;
            (0..in_page.min(15)).map(|n| env.tables().load_phys::<u8>(phys + n)).collect()
        });
    }

    /// The host's answer to request `id`: the region is in the function table at `slot`, or nowhere if that is 0. If code
    /// that it was made from changed meanwhile, nothing happens.
    pub fn install(&mut self, id: u32, slot: u32) {
        let Some(translated) = &mut self.translated else { return };
        for (number, root) in translated.answered(id, slot) {
            self.install_entry(number, &root);
        }
    }

    /// Natively: a function in place of compiled code; its slot.
    #[cfg(not(target_arch = "wasm32"))]
    pub fn add_region(&mut self, region: crate::call::Region) -> u32 {
        self.translated.as_mut().map_or(0, |translated| translated.regions.add(region))
    }

    /// How much of `left` to run until the next sample is due.
    pub(crate) fn piece(&self, left: i64) -> i64 {
        self.translated.as_ref().map_or(left, |translated| translated.countdown.clamp(0, left))
    }

    /// So many instructions were interpreted. Whether a sample is due.
    pub(crate) fn interpreted_so_many(&mut self, n: i64) -> bool {
        let Some(translated) = &mut self.translated else { return false };
        translated.countdown -= n;
        let due = translated.countdown <= 0;
        if due {
            translated.countdown = i64::from(translated.listening.sample);
        }
        due
    }

    /// An indirect jump that is no call and no return reached `pc`.
    pub(crate) fn note_indirect(&mut self, pc: u64) {
        if let Some(translated) = &mut self.translated {
            translated.note_indirect(pc);
        }
    }

    /// A call reached `pc`.
    pub(crate) fn note_function(&mut self, pc: u64) {
        if let Some(translated) = &mut self.translated {
            translated.note_function(pc);
        }
    }

    /// A sample falls on the block at `pc`.
    pub(crate) fn sample<E: Env>(&mut self, env: &mut E, pc: u64) {
        // What changed is dropped first, or it would drop what is asked for here.
        self.sync(env);
        let Ok(key) = self.key(env, pc) else { return };
        if !self.translated.as_mut().is_some_and(|translated| translated.hit(key)) {
            return;
        }
        // Rather the whole function: its callers reach it as one.
        let function = self.translated.as_ref().and_then(|translated| translated.function_of(pc));
        if let Some(start) = function.filter(|start| *start != pc)
            && let Ok(root) = self.key(env, start)
            && self.translated.as_ref().is_some_and(|translated| !translated.is_root(&root))
        {
            let found = self.search(env, root);
            if found.blocks.contains(&key) {
                return self.ask(root, found);
            }
        }
        let found = self.search(env, key);
        self.ask(key, found);
    }

    /// A region was left to `pc`, where none begins.
    fn exit<E: Env>(&mut self, env: &mut E, pc: u64) {
        if self.translated.as_mut().is_some_and(|translated| translated.exit(pc))
            && let Ok(root) = self.key(env, pc)
            && self.translated.as_ref().is_some_and(|translated| !translated.is_root(&root))
        {
            let found = self.search(env, root);
            self.ask(root, found);
        }
    }

    /// What can be reached from `root` within its function, as far as it is compiled. Of a large function only what lies this
    /// side of where other regions begin: those need not be made again for each new way into it.
    fn search<E: Env>(&mut self, env: &mut E, root: Key) -> Found {
        let found = self.reach(env, root, false);
        if found.blocks.len() > MANY { self.reach(env, root, true) } else { found }
    }

    /// As [`Engine::search`]; up to other regions if it is `bounded`.
    fn reach<E: Env>(&mut self, env: &mut E, root: Key, bounded: bool) -> Found {
        // What overlaps another region serves to get back into it, or on to the next such: a part of it will do.
        let inside = self.translated.as_ref().is_some_and(|t| t.is_inside(root.pc));
        let most = if inside { MAX_INSIDE } else { MAX_BLOCKS };
        let mut search = Search { pages: FixedMap::default(), seen: FixedMap::default() };
        let mut found =
            Found { blocks: Vec::new(), indirect: Vec::new(), entries: BTreeSet::new() };
        let mut jumps_indirectly = false;
        search.seen.insert(root.pc, ());
        let mut todo = vec![root];
        let (mut first, mut last) = (root.pc, root.pc);
        loop {
            let mut next = 0;
            while let Some(&key) = todo.get(next) {
                next += 1;
                let Some(onward) = self.onward(&key) else { continue };
                if found.blocks.len() >= most {
                    break;
                }
                found.blocks.push(key);
                (first, last) = (first.min(key.pc), last.max(key.pc));
                jumps_indirectly |= onward.jumps_indirectly;
                for pc in onward.next.into_iter().flatten() {
                    // Backwards: the head of a loop.
                    if onward.calls || pc <= key.pc {
                        found.entries.insert(pc);
                    }
                    let key = search.new_key(self, env, pc);
                    todo.extend(key.filter(|key| !bounded || !self.begins_region(key)));
                }
            }
            todo.clear();
            if !jumps_indirectly || inside || found.blocks.len() >= most {
                return found;
            }
            // Targets of its indirect jumps: what such jumps reached nearby. They widen what is near.
            let near =
                first.saturating_sub(PAGE_SIZE as u64)..last.saturating_add(PAGE_SIZE as u64);
            let targets: Vec<u64> = match &self.translated {
                Some(translated) => translated.indirect_in(near).take(MAX_BLOCKS).collect(),
                None => Vec::new(),
            };
            for pc in targets {
                if !found.indirect.contains(&pc) && found.indirect.len() < MAX_BLOCKS {
                    found.indirect.push(pc);
                    let key = search.new_key(self, env, pc);
                    todo.extend(key.filter(|key| !bounded || !self.begins_region(key)));
                }
            }
            if todo.is_empty() {
                return found;
            }
        }
    }

    fn begins_region(&self, key: &Key) -> bool {
        self.translated.as_ref().is_some_and(|translated| translated.is_root(key))
    }

    /// Asks for a region.
    fn ask(&mut self, root: Key, found: Found) {
        let Found { blocks, mut indirect, entries } = found;
        if blocks.is_empty() {
            return;
        }
        // Where its calls return to when their frames are gone, where a loop goes on of which the interpreter had to do a
        // part, and where jumps of other regions may lead.
        let enters = |key: &&Key| entries.contains(&key.pc) || indirect.contains(&key.pc);
        let mut entries: Vec<Key> =
            blocks.iter().filter(|key| **key != root).filter(enters).copied().collect();
        entries.truncate(MAX_BLOCKS);
        let block = |key: &Key| BlockAt { pc: key.pc, phys: key.phys, next: key.next };
        let blocks: Vec<BlockAt> = blocks.iter().map(block).collect();
        indirect.retain(|pc| blocks.iter().any(|block| block.pc == *pc));
        let request = Request { root: root.pc, blocks, indirect, ..Request::default() };
        if let Some(translated) = &mut self.translated {
            translated.ask(root, entries, request);
        }
    }

    /// The word that enters the region `number` was reached with so much fuel. `epoch` is that of links, or none if there
    /// is something that has to be looked at first. The fuel that is left, and how it goes on.
    #[cold]
    #[inline(never)]
    pub(crate) fn enter<E: Env>(
        &mut self,
        cpu: &mut Cpu,
        env: &mut E,
        number: u32,
        fuel: i64,
        epoch: Option<u32>,
    ) -> (i64, Entered) {
        let (mut number, mut fuel) = (number, fuel);
        // Where to go on, once blocks were decoded here: the interpreter's own code may lie elsewhere by then.
        let mut moved = None;
        loop {
            let Some(translated) = &self.translated else { return (fuel, Entered::Shadow(0)) };
            let entry = translated.entry(number);
            let shadow = Entered::Shadow(entry.map_or(0, |entry| entry.shadow));
            let enter = translated.enter(number, self.env_epoch);
            let (Some(enter), Some(epoch)) = (enter, epoch) else {
                return (fuel, self.or_moved(cpu, env, shadow, moved));
            };
            if !enter.valid && !self.validate(env, number) {
                // Looking may have paged something in.
                cpu.rip = enter.root;
                return (fuel, self.interpreted(env, enter.root));
            }
            let Some((used, leave, pc)) = self.call(cpu, &enter, fuel, epoch) else {
                return (fuel, self.or_moved(cpu, env, shadow, moved));
            };
            let counted = |translated: &mut Box<Translated>| translated.count(used, enter.root, pc);
            let tallied = self.translated.as_mut().is_some_and(counted);
            // Samples count what is interpreted only.
            let within = used.min(self.beyond);
            self.beyond -= within;
            fuel -= used - within;
            // Without progress the interpreter has to make some, or both would wait for each other.
            if leave == INTERPRET || used == 0 && pc == enter.root {
                self.note_left(env, pc, Why::Instruction);
                cpu.rip = pc;
                return (fuel, self.interpreted(env, pc));
            }
            moved = moved.map(|_| pc);
            if fuel < 0 || tallied {
                return (fuel, self.or_moved(cpu, env, Entered::Go(pc), moved));
            }
            let at = self.jump(pc, epoch).or_else(|| {
                moved = Some(pc);
                self.find(env, pc).ok()
            });
            match at.and_then(|at| self.entered(at)).filter(|_| self.is_current(epoch)) {
                Some(next) => number = next,
                None => {
                    self.note_left(env, pc, Why::NoRegion);
                    self.exit(env, pc);
                    return (fuel, self.or_moved(cpu, env, Entered::Go(pc), moved));
                }
            }
        }
    }

    /// `how`, which goes on from the code that entered, unless that `moved`: then at this address, in the interpreter's own.
    fn or_moved<E: Env>(
        &mut self,
        cpu: &mut Cpu,
        env: &mut E,
        how: Entered,
        moved: Option<u64>,
    ) -> Entered {
        match moved {
            None => how,
            Some(pc) => {
                cpu.rip = pc;
                self.interpreted(env, pc)
            }
        }
    }

    /// Calls a region: guest instructions that it retired, how it was left, and to where.
    fn call(
        &mut self,
        cpu: &mut Cpu,
        enter: &Enter,
        fuel: i64,
        epoch: u32,
    ) -> Option<(i64, u32, u64)> {
        let translated = self.translated.as_mut()?;
        let all = translated.until_tally(fuel.saturating_add(self.beyond));
        let shared = &*translated.shared;
        shared.fuel.store(all, Relaxed);
        shared.leave.store(0, Relaxed);
        shared.epoch.store(epoch, Relaxed);
        translated.publish(enter.root, enter.slot, epoch);
        let pc = translated.regions.call(enter.slot, cpu, DEPTH)?;
        let used = all.saturating_sub(shared.fuel.load(Relaxed)).max(0);
        let leave = shared.leave.load(Relaxed);
        translated.retired += used as u64;
        translated.entered += 1;
        Some((used, leave, pc))
    }

    /// The interpreter's own code for the block at `pc`.
    fn interpreted<E: Env>(&mut self, env: &mut E, pc: u64) -> Entered {
        self.sync(env);
        match self.find(env, pc) {
            Ok(at) => {
                let entry = self.entered(at).and_then(|n| self.translated.as_ref()?.entry(n));
                Entered::Run(entry.map_or(at, |entry| entry.shadow))
            }
            Err(fault) => Entered::Fault(fault),
        }
    }

    /// Whether the region's pages hold what it was made from, at its addresses.
    fn validate<E: Env>(&mut self, env: &mut E, number: u32) -> bool {
        let Some(translated) = &mut self.translated else { return false };
        let holds = translated
            .pages(number)
            .iter()
            .all(|&(page, phys)| env.translate(page, Access::Fetch) == Ok(phys));
        if !holds || env.epoch() != self.env_epoch || env.has_stale() {
            return false;
        }
        translated.set_valid(number, self.env_epoch);
        true
    }
}

/// The blocks of a region, and those of them that indirect jumps reach.
struct Found {
    blocks: Vec<Key>,
    indirect: Vec<u64>,
    /// Where calls return to, and heads of loops.
    entries: BTreeSet<u64>,
}

/// Keys of blocks by guest address, in one address space.
struct Search {
    /// Physical address of each page, and whether the guest may write to it; none where nothing can be fetched.
    pages: FixedMap<u64, Option<(u32, bool)>>,
    seen: FixedMap<u64, ()>,
}

impl Search {
    /// The key of the block at `pc`, the first time it is asked for.
    fn new_key<E: Env>(&mut self, engine: &mut Engine, env: &mut E, pc: u64) -> Option<Key> {
        if self.seen.insert(pc, ()).is_some() {
            return None;
        }
        if pc & PAGE_MASK > PAGE_MASK - 15 {
            return engine.key(env, pc).ok();
        }
        let page = pc & !PAGE_MASK;
        let known = self
            .pages
            .entry(page)
            .or_insert_with(|| engine.key(env, page).ok().map(|key| (key.phys, key.writable)));
        let (phys, writable) = (*known)?;
        Some(Key { pc, phys: phys | (pc & PAGE_MASK) as u32, next: 0, writable })
    }
}
