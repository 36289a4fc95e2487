//! Compiled blocks: finding, linking, dropping them.

use crate::Env;
use crate::code::{Arena, Code, Fetcher};
use crate::compile::{compile, cut, cut_after_store};
use crate::key::{FixedMap, Key};
use crate::translated::{Entry, Translated};
use ir::ops::StringOp;
use ir::{Block, Class, Mark, Op, Term};
use mem::desk::JUMP_FACTOR;
use mem::{Access, Fault, Frame, PAGE_SIZE};

/// Words of code (16 bytes each) after which everything is dropped and compiled anew: 32 MiB.
const MAX_WORDS: usize = 2 << 20;
/// Entries of the jump cache (a power of two).
const JUMPS: usize = 1 << 13;
/// Entries of the cache of pages that may be written (a power of two).
const WRITABILITIES: usize = 1 << 7;
/// Longest x86 instruction: a block that starts this close to a page's end may depend on the next page.
const MAX_INSTRUCTION: u64 = 15;

/// No guest address of a block.
const NOWHERE: u64 = u64::MAX;

struct BlockInfo {
    pc: u64,
    start: u32,
    end: u32,
    marks: Box<[Mark]>,
    /// See [`Onward::next`].
    next: [u64; 2],
    /// See [`Onward::jumps_indirectly`].
    jumps_indirectly: bool,
    /// See [`Onward::calls`].
    calls: bool,
}

/// Where a block goes on within its function.
pub(crate) struct Onward {
    /// Where it branches to and falls through; after a call, where that returns to.
    pub next: [Option<u64>; 2],
    /// It ends with an indirect jump that is neither a call nor a return.
    pub jumps_indirectly: bool,
    /// It ends with a call.
    pub calls: bool,
}

/// What [`Env::is_writable`] said of a page while the environment's epoch was this.
#[derive(Clone, Copy, Default)]
struct Writability {
    page: u64,
    epoch: u32,
    writable: bool,
}

#[derive(Clone, Copy, Default)]
struct Jump {
    pc: u64,
    ip: u32,
    epoch: u32,
}

/// The interpreter: compiled code and how to find it. Holds no guest state.
pub struct Engine {
    arena: Arena,
    /// In the order of their code.
    blocks: Vec<BlockInfo>,
    map: FixedMap<Key, u32>,
    by_frame: FixedMap<u32, Vec<Key>>,
    jumps: Box<[Jump; JUMPS]>,
    writabilities: Box<[Writability; WRITABILITIES]>,
    /// Epochs of the environment to epochs of links.
    epochs: FixedMap<u32, u32>,
    /// The environment's epoch that `epoch` stands for.
    pub(crate) env_epoch: u32,
    /// Current epoch of links; never 0.
    epoch: u32,
    next_epoch: u32,
    /// Guest instructions retired.
    pub(crate) retired: u64,
    /// Regions, if there is a host that compiles them.
    pub(crate) translated: Option<Box<Translated>>,
    /// Guest instructions of the current run beyond its next sample.
    pub(crate) beyond: i64,
}

impl Default for Engine {
    fn default() -> Self {
        Engine::new()
    }
}

impl Engine {
    /// An interpreter that has compiled nothing yet.
    pub fn new() -> Engine {
        Engine {
            arena: Arena::default(),
            blocks: Vec::new(),
            map: FixedMap::default(),
            by_frame: FixedMap::default(),
            jumps: Box::new([Jump::default(); JUMPS]),
            writabilities: Box::new([Writability::default(); WRITABILITIES]),
            epochs: FixedMap::default(),
            env_epoch: 0,
            epoch: 0,
            next_epoch: 1,
            retired: 0,
            translated: None,
            beyond: 0,
        }
    }

    /// Guest instructions retired so far. Instructions of a block that a fault or trap cut short are not counted.
    pub fn retired(&self) -> u64 {
        self.retired
    }

    /// For the run loop.
    pub(crate) fn fetcher(&self) -> Fetcher {
        self.arena.fetcher()
    }

    /// Takes note of changed mappings and stale code; returns the epoch that links must carry.
    pub(crate) fn sync<E: Env>(&mut self, env: &mut E) -> u32 {
        if env.has_stale() {
            for frame in env.take_stale() {
                self.drop_frame(frame);
            }
        }
        let now = env.epoch();
        if now != self.env_epoch || self.epoch == 0 {
            self.env_epoch = now;
            let next = &mut self.next_epoch;
            self.epoch = *self.epochs.entry(now).or_insert_with(|| {
                let fresh = *next;
                *next = next.wrapping_add(1).max(1);
                fresh
            });
            // One entry for each address-space version ever seen: start over before it grows without bound.
            if self.epochs.len() > 4096 {
                self.epochs.clear();
                self.epochs.insert(now, self.epoch);
            }
        }
        self.epoch
    }

    fn drop_frame(&mut self, frame: Frame) {
        let mut stale = false;
        if let Some(translated) = &mut self.translated {
            let (words, any) = translated.drop_frame(frame);
            for (at, word) in words {
                self.arena.set(at, word);
            }
            stale = any;
        }
        if let Some(keys) = self.by_frame.remove(&frame.addr()) {
            for key in keys {
                self.map.remove(&key);
            }
            stale = true;
        }
        if stale {
            self.forget_links();
        }
    }

    /// Makes every link stale. The words themselves stay, so that a block that is running can end.
    fn forget_links(&mut self) {
        self.epochs.clear();
        self.epoch = 0;
    }

    /// Drops all compiled code.
    pub fn clear(&mut self) {
        self.arena.clear();
        self.blocks.clear();
        self.map.clear();
        self.by_frame.clear();
        if let Some(translated) = &mut self.translated {
            translated.forget_entries();
        }
        self.forget_links();
    }

    /// Forgets the host that compiled code, and the regions that it gave: where this state goes, there are none. Those that came with the
    /// box are entered instead.
    pub fn forget_host(&mut self) {
        let Some(gone) = self.translated.as_mut().map(|translated| translated.forget_host()) else {
            return;
        };
        self.put_back(&gone);
        for (root, _) in &gone {
            if let Some(number) = self.translated.as_mut().and_then(|t| t.known(root)) {
                self.install_entry(number, root);
            }
        }
    }

    /// Enters these regions no more.
    pub(crate) fn put_back(&mut self, gone: &[(Key, Option<Entry>)]) {
        for entry in gone.iter().filter_map(|(_, entry)| *entry) {
            self.arena.set(entry.start, entry.first);
        }
    }

    /// Where the code for guest address `pc` starts, compiled if need be. [`Engine::sync`] came before.
    pub(crate) fn find<E: Env>(&mut self, env: &mut E, pc: u64) -> Result<u32, Fault> {
        let slot = jump_slot(pc);
        let entry = self.jumps[slot];
        if entry.pc == pc && entry.epoch == self.epoch {
            return Ok(entry.ip);
        }
        let key = self.key(env, pc)?;
        let ip = match self.map.get(&key) {
            Some(&ip) => ip,
            None => self.compile(env, key)?,
        };
        // Translating may have paged something in.
        self.sync(env);
        self.jumps[slot] = Jump { pc, ip, epoch: self.epoch };
        Ok(ip)
    }

    /// What makes a block at `pc` the right one.
    pub(crate) fn key<E: Env>(&mut self, env: &mut E, pc: u64) -> Result<Key, Fault> {
        let phys = env.translate(pc, Access::Fetch)?;
        let page_left = PAGE_SIZE as u64 - pc % PAGE_SIZE as u64;
        let mut writable = self.is_writable(env, pc);
        let mut next = 0;
        if page_left < MAX_INSTRUCTION {
            let there = pc.wrapping_add(page_left);
            next = env.translate(there, Access::Fetch).unwrap_or(0);
            writable |= self.is_writable(env, there);
        }
        Ok(Key { pc, phys, next, writable })
    }

    fn is_writable<E: Env>(&mut self, env: &mut E, pc: u64) -> bool {
        let (page, epoch) = (pc / PAGE_SIZE as u64, env.epoch());
        let entry = &mut self.writabilities[page as usize % WRITABILITIES];
        if entry.page != page || entry.epoch != epoch {
            *entry = Writability { page, epoch, writable: env.is_writable(pc) };
        }
        entry.writable
    }

    fn compile<E: Env>(&mut self, env: &mut E, key: Key) -> Result<u32, Fault> {
        let mut block = env.lift(key.pc)?;
        if key.writable {
            cut_after_store(&mut block);
        }
        if self.arena.len() > MAX_WORDS {
            self.clear();
            self.sync(env);
        }
        let start = self.add(&block);
        self.map.insert(key, start);
        let page = |addr: u32| Frame::containing(addr).addr();
        self.by_frame.entry(page(key.phys)).or_default().push(key);
        if key.next != 0 {
            self.by_frame.entry(page(key.next)).or_default().push(key);
        }
        if let Some(number) = self.translated.as_mut().and_then(|t| t.known(&key)) {
            self.put_entry(number, start);
        }
        Ok(start)
    }

    /// Where the block `key` goes on, if it is compiled.
    pub(crate) fn onward(&self, key: &Key) -> Option<Onward> {
        let info = self.info_at(*self.map.get(key)?)?;
        let next = info.next.map(|pc| (pc != NOWHERE).then_some(pc));
        Some(Onward { next, jumps_indirectly: info.jumps_indirectly, calls: info.calls })
    }

    /// Lets the block `root`, if it is compiled, enter the region `number`.
    pub(crate) fn install_entry(&mut self, number: u32, root: &Key) {
        if let Some(&start) = self.map.get(root) {
            self.put_entry(number, start);
        }
    }

    /// All blocks that are compiled, and where they start.
    pub(crate) fn compiled(&self) -> Vec<(Key, u32)> {
        self.map.iter().map(|(key, start)| (*key, *start)).collect()
    }

    /// Puts the word that enters the region `number` in place of the first of the block at `start`.
    pub(crate) fn put_entry(&mut self, number: u32, start: u32) {
        let Some(info) = self.info_at(start) else { return };
        let copy = BlockInfo { marks: info.marks.clone(), ..*info };
        let Some(words) = self.arena.copy(copy.start..copy.end) else { return };
        let Some(&first) = words.first() else { return };
        let shadow = self.arena.len() as u32;
        self.arena.extend(&words);
        self.blocks.push(BlockInfo { start: shadow, end: self.arena.len() as u32, ..copy });
        self.arena.set(start, Code::enter(number));
        if let Some(translated) = &mut self.translated {
            translated.set_entry(number, Entry { start, first, shadow });
        }
    }

    /// The region that the word at `at` enters, if it does.
    pub(crate) fn entered(&self, at: u32) -> Option<u32> {
        self.arena.entered(at)
    }

    /// The block whose code starts at `start`.
    fn info_at(&self, start: u32) -> Option<&BlockInfo> {
        let n = self.blocks.binary_search_by_key(&start, |block| block.start).ok()?;
        self.blocks.get(n)
    }

    /// Compiles the instruction at `pc` as a block of its own that nothing links to; true if it loads SS. Such blocks
    /// are not kept for a second time: stepping is rare.
    pub(crate) fn compile_single<E: Env>(
        &mut self,
        env: &mut E,
        pc: u64,
    ) -> Result<(u32, bool), Fault> {
        env.translate(pc, Access::Fetch)?;
        let mut block = env.lift(pc)?;
        cut(&mut block, 1);
        let mut loads_ss = false;
        for inst in &mut block.insts {
            if inst.op.class() == Class::Str {
                inst.imm |= StringOp::ONCE;
            }
            loads_ss |= inst.op == Op::Segment && inst.imm == 2;
        }
        if self.arena.len() > MAX_WORDS {
            self.clear();
        }
        Ok((self.add(&block), loads_ss))
    }

    /// Adds the code of `block` to the arena.
    fn add(&mut self, block: &Block) -> u32 {
        let compiled = compile(block);
        let start = self.arena.len() as u32;
        self.arena.extend(&compiled.words);
        self.blocks.push(BlockInfo {
            pc: block.pc,
            start,
            end: self.arena.len() as u32,
            marks: compiled.marks.into_boxed_slice(),
            next: match block.term {
                Term::Jump { target } => [target, NOWHERE],
                Term::Branch { taken, fallthrough, .. }
                | Term::BranchNz { taken, fallthrough, .. } => [taken, fallthrough],
                Term::Call { ret, .. } | Term::CallIndirect { ret, .. } => [ret, NOWHERE],
                _ => [NOWHERE; 2],
            },
            jumps_indirectly: matches!(block.term, Term::JumpIndirect { .. }),
            calls: matches!(block.term, Term::Call { .. } | Term::CallIndirect { .. }),
        });
        start
    }

    /// Guest address of the instruction that the word at `ip` belongs to.
    #[cold]
    pub(crate) fn pc_of(&self, ip: u32) -> u64 {
        let n = self.blocks.partition_point(|b| b.start <= ip);
        let Some(block) = n.checked_sub(1).and_then(|n| self.blocks.get(n)) else { return 0 };
        debug_assert!(ip < block.end);
        let word = ip - block.start;
        let n = block.marks.partition_point(|m| m.inst <= word);
        let offset = n.checked_sub(1).and_then(|n| block.marks.get(n)).map_or(0, |m| m.offset);
        block.pc.wrapping_add(u64::from(offset))
    }

    /// Enters `ip` in the link word `at`.
    pub(crate) fn link(&mut self, at: u32, ip: u32) {
        self.arena.set_imm(at, (u64::from(ip) | u64::from(self.epoch) << 32) as i64);
    }

    /// Whether links of this epoch hold.
    pub(crate) fn is_current(&self, epoch: u32) -> bool {
        self.epoch == epoch
    }

    /// The jump cache alone.
    #[inline(always)]
    pub(crate) fn jump(&self, pc: u64, epoch: u32) -> Option<u32> {
        let entry = self.jumps[jump_slot(pc)];
        (entry.pc == pc && entry.epoch == epoch).then_some(entry.ip)
    }
}

#[inline(always)]
fn jump_slot(pc: u64) -> usize {
    (pc.wrapping_mul(JUMP_FACTOR) >> (u64::BITS - JUMPS.ilog2())) as usize % JUMPS
}
