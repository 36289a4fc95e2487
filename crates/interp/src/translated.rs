//! Regions: code that the host compiles while the box runs. What was asked for, what came back, and what undoes it. How a
//! region is found and entered: [`crate::enter`].

use crate::call::Regions;
use crate::code::Code;
use crate::key::{FixedMap, Key};
use crate::profile::Profile;
use mem::desk::{FORGET, MAX_HEAT, MAX_PENDING, MAX_TALLY, Request, Shared, TALLY, jump_index};
use mem::frozen::Frozen;
use mem::{Frame, PAGE_MASK};
use std::collections::BTreeSet;
use std::rc::Rc;
use std::sync::atomic::Ordering::Relaxed;

/// Most regions at once, asked for or installed.
const MAX_REGIONS: usize = 100_000;
/// Most requests without an answer: a host that gives none is not asked on. One that waits with its answer until something is
/// hot enough lets go of what is not, before this many wait.
const MAX_OUTSTANDING: usize = 2 * MAX_PENDING;
/// Blocks with hits, and targets of indirect jumps, that are remembered before either starts over.
const MAX_NOTES: usize = 1 << 16;
/// Bits of a region's id that are its number; the rest tells it from those that had the number before.
const NUMBER_BITS: u32 = 18;
/// Mask of the number.
const NUMBERS: u32 = (1 << NUMBER_BITS) - 1;
const _: () = assert!(MAX_REGIONS < NUMBERS as usize);
/// How many times as hot a block must be that is in a region, but not as its root: regions overlap then.
const INSIDE: u32 = 8;
/// How many times a region is left to a function for each sample that it must have: as much as a sample costs.
const EXITS: u32 = 100;
/// Of how many times that a region is left one is looked at. It would cost more than the way out. (No power of two: what repeats
/// itself often does so by one.)
const NTH_EXIT: u32 = 10;
/// Longest function, in bytes.
const MAX_FUNCTION: u64 = 1 << 16;

/// When a block is asked for.
#[derive(Clone, Copy, Debug)]
pub struct Listening {
    /// Samples that must fall on it, at least 1.
    pub threshold: u32,
    /// Interpreted guest instructions between two samples, at least 1.
    pub sample: u32,
}

/// How far a region is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// No answer yet.
    Asked,
    /// In the table at this index.
    Installed(u32),
    /// The host could not.
    Refused,
}

/// The word that enters a region, in place of its root block's first.
#[derive(Clone, Copy)]
pub struct Entry {
    /// Where the block starts in the arena.
    pub start: u32,
    /// The word that stood there.
    pub first: Code,
    /// Start of a copy of the block, for when the region may not be entered.
    pub shadow: u32,
}

struct Region {
    id: u32,
    root: Key,
    /// The host owes an answer for it.
    owed: bool,
    /// It came with the box.
    frozen: bool,
    /// Numbers and ids of the regions that are this one, entered elsewhere: they come behind it in the table.
    entries: Box<[(u32, u32)]>,
    /// Guest and physical addresses of the pages that it was made from.
    pages: Rc<[(u64, u32)]>,
    state: State,
    /// The environment's epoch in which `pages` were last seen to hold.
    valid: u32,
    entry: Option<Entry>,
}

/// What a region's entry needs.
pub struct Enter {
    /// Index in the function table.
    pub slot: u32,
    /// Guest address.
    pub root: u64,
    /// Whether its pages are known to hold in this epoch of the environment.
    pub valid: bool,
}

/// All about regions.
pub struct Translated {
    /// Regions that came with the box.
    pub frozen: Option<Frozen>,
    /// Whether a host is asked for regions.
    pub listens: bool,
    /// What compiled code sees.
    pub shared: Box<Shared>,
    /// What calls it.
    pub regions: Regions,
    /// When a block is asked for.
    pub listening: Listening,
    /// Instructions to interpret until the next sample.
    pub countdown: i64,
    /// Requests that the host has not seen yet, encoded.
    pub requests: Vec<u64>,
    /// Ids of requests without an answer, one for each sample that fell on their blocks, that the host has not seen yet.
    pub heat: Vec<u32>,
    /// Guest instructions retired in regions.
    pub retired: u64,
    /// How often a region was entered from the interpreter.
    pub entered: u64,
    /// Where regions are left, if somebody wants to know.
    pub profile: Option<Profile>,
    outstanding: usize,
    /// Samples by function, where it is known, or block.
    hits: FixedMap<u64, u32>,
    table: Vec<Option<Region>>,
    free: Vec<u32>,
    /// Bits of an id above the number, for the next region.
    generation: u32,
    by_root: FixedMap<Key, u32>,
    by_frame: FixedMap<u32, Vec<u32>>,
    /// The region that was made last from the block at an address, by id.
    covered: FixedMap<u64, u32>,
    /// How often a region was left to an address where none begins, of those times that were looked at.
    exits: FixedMap<u64, u32>,
    until_exit: u32,
    indirect: BTreeSet<u64>,
    functions: BTreeSet<u64>,
    /// Ids of the regions in which every so many instructions ended, if somebody wants to know.
    pub tally: Option<Vec<u32>>,
    until_tally: i64,
}

impl Default for Translated {
    fn default() -> Self {
        Translated::new()
    }
}

impl Translated {
    /// Nothing is asked for.
    pub fn new() -> Translated {
        Translated {
            frozen: None,
            listens: false,
            shared: Shared::new(),
            regions: Regions::default(),
            // No sample is ever due.
            countdown: i64::MAX,
            listening: Listening { threshold: 1, sample: 1 },
            requests: Vec::new(),
            heat: Vec::new(),
            retired: 0,
            entered: 0,
            profile: None,
            outstanding: 0,
            hits: FixedMap::default(),
            table: Vec::new(),
            free: Vec::new(),
            generation: 0,
            by_root: FixedMap::default(),
            by_frame: FixedMap::default(),
            covered: FixedMap::default(),
            exits: FixedMap::default(),
            until_exit: NTH_EXIT,
            indirect: BTreeSet::new(),
            functions: BTreeSet::new(),
            tally: None,
            until_tally: TALLY,
        }
    }

    /// From now on regions are asked for.
    pub fn listen(&mut self, listening: Listening) {
        self.listens = true;
        self.countdown = i64::from(listening.sample);
        self.listening = listening;
    }

    /// So many instructions may run in regions until the next entry of the tally is due.
    pub fn until_tally(&self, fuel: i64) -> i64 {
        if self.tally.is_some() { fuel.min(self.until_tally) } else { fuel }
    }

    /// A region was entered at `root`, ran for `used` instructions and was left to `pc`: whether that was for an entry of the
    /// tally.
    pub fn count(&mut self, used: i64, root: u64, pc: u64) -> bool {
        let Some(tally) = &mut self.tally else { return false };
        self.until_tally -= used;
        if self.until_tally > 0 {
            return false;
        }
        self.until_tally = TALLY;
        // Where a region was left because it had to, `pc` is in another one or in none.
        let id = self.covered.get(&pc).or_else(|| self.covered.get(&root));
        if let Some(id) = id.filter(|_| tally.len() < MAX_TALLY) {
            tally.push(*id);
        }
        true
    }

    /// Whether more can be asked for.
    fn has_room(&self) -> bool {
        let regions = self.table.len() - self.free.len();
        regions < MAX_REGIONS && self.outstanding < MAX_OUTSTANDING
    }

    /// Whether this root was asked for, whatever the answer.
    pub fn is_root(&self, key: &Key) -> bool {
        self.by_root.contains_key(key)
    }

    /// How far the region is that was made last from the block at `pc`, and its id.
    fn cover(&self, pc: u64) -> Option<(State, u32)> {
        let id = *self.covered.get(&pc)?;
        let region = self.table.get((id & NUMBERS) as usize)?.as_ref()?;
        (region.id == id).then_some((region.state, id))
    }

    /// The block at `pc` is still hot, and the host has not answered: whether it was asked.
    fn heats(&mut self, pc: u64) -> bool {
        let Some((State::Asked, id)) = self.cover(pc) else { return false };
        if self.heat.len() < MAX_HEAT {
            self.heat.push(id);
        }
        true
    }

    /// Whether the block at `pc` is in a region that was compiled.
    pub fn is_inside(&self, pc: u64) -> bool {
        matches!(self.cover(pc), Some((State::Installed(_), _)))
    }

    /// A sample fell on the block `key`: whether it is to be asked for now.
    pub fn hit(&mut self, key: Key) -> bool {
        if self.heats(key.pc) {
            return false;
        }
        // Interpreted, although it is compiled: that is entered elsewhere.
        let inside = self.is_inside(key.pc);
        let enough = self.listening.threshold.saturating_mul(if inside { INSIDE } else { 1 });
        if !self.has_room() || self.is_root(&key) {
            return false;
        }
        let place = self.function_of(key.pc).filter(|_| !inside).unwrap_or(key.pc);
        if self.hits.len() >= MAX_NOTES {
            self.hits.clear();
        }
        let hits = self.hits.entry(place).or_insert(0);
        *hits += 1;
        let enough = *hits >= enough;
        if enough {
            self.hits.remove(&place);
        }
        enough
    }

    /// A region was left to `pc`, where none begins: whether one is to be asked for now.
    pub fn exit(&mut self, pc: u64) -> bool {
        self.until_exit -= 1;
        if self.until_exit > 0 {
            return false;
        }
        self.until_exit = NTH_EXIT;
        if !self.listens {
            return false;
        }
        if self.exits.len() >= MAX_NOTES {
            self.exits.clear();
        }
        let exits = self.exits.entry(pc).or_insert(0);
        *exits += 1;
        let exits = *exits;
        if let Some((State::Asked, _)) = self.cover(pc) {
            // Each time costs as much as some interpreting, although hardly a sample falls there.
            if exits >= EXITS / NTH_EXIT {
                self.exits.remove(&pc);
                self.heats(pc);
            }
            return false;
        }
        let function = if self.functions.contains(&pc) { 1 } else { INSIDE };
        let enough = self.listening.threshold.saturating_mul(EXITS / NTH_EXIT * function);
        if exits < enough || !self.has_room() {
            return false;
        }
        self.exits.remove(&pc);
        true
    }

    /// A call reached `pc`.
    pub fn note_function(&mut self, pc: u64) {
        if !self.listens {
            return;
        }
        if self.functions.len() >= MAX_NOTES {
            self.functions.clear();
        }
        self.functions.insert(pc);
    }

    /// Where the function may begin that `pc` is in.
    pub fn function_of(&self, pc: u64) -> Option<u64> {
        let start = *self.functions.range(..=pc).next_back()?;
        (pc - start < MAX_FUNCTION).then_some(start)
    }

    /// An indirect jump reached `pc`.
    pub fn note_indirect(&mut self, pc: u64) {
        if !self.listens {
            return;
        }
        if self.indirect.len() >= MAX_NOTES {
            self.indirect.clear();
        }
        self.indirect.insert(pc);
    }

    /// Addresses that indirect jumps reached, in `range`.
    pub fn indirect_in(&self, range: std::ops::Range<u64>) -> impl Iterator<Item = u64> {
        self.indirect.range(range).copied()
    }

    /// Asks for a region that can be entered at its root and at `entries` too. `request.id` and the addresses of the entries
    /// are set here.
    pub fn ask(&mut self, root: Key, entries: Vec<Key>, mut request: Request) {
        let mut pages: Vec<(u64, u32)> = Vec::new();
        for block in &request.blocks {
            pages.push((block.pc & !PAGE_MASK, block.phys & !(PAGE_MASK as u32)));
            if block.next != 0 {
                pages.push(((block.pc | PAGE_MASK).wrapping_add(1), block.next));
            }
        }
        pages.sort_unstable();
        pages.dedup();
        let pages: Rc<[(u64, u32)]> = pages.into();
        let entries: Vec<Key> = entries.into_iter().filter(|key| !self.is_root(key)).collect();
        request.entries = entries.iter().map(|key| key.pc).collect();
        let entries =
            entries.into_iter().map(|key| self.add(key, &pages, Box::default())).collect();
        let (_, id) = self.add(root, &pages, entries);
        request.id = id;
        request.encode(&mut self.requests);
        self.outstanding += 1;
        if let Some(region) = self.region(id) {
            region.owed = true;
        }
        if self.covered.len() >= MAX_NOTES {
            self.covered.clear();
        }
        self.covered.extend(request.blocks.iter().map(|block| (block.pc, request.id)));
    }

    /// Adds a region that came with the box and is in the table at `slot`; its number. None if there are too many.
    pub fn add_frozen(&mut self, root: Key, pages: Vec<(u64, u32)>, slot: u32) -> Option<u32> {
        if self.table.len() - self.free.len() >= MAX_REGIONS {
            return None;
        }
        let (number, _) = self.add(root, &pages.into(), Box::default());
        let region = self.table.get_mut(number as usize)?.as_mut()?;
        region.state = State::Installed(slot);
        region.frozen = true;
        Some(number)
    }

    /// Adds a region that is asked for; its number and id.
    fn add(
        &mut self,
        root: Key,
        pages: &Rc<[(u64, u32)]>,
        entries: Box<[(u32, u32)]>,
    ) -> (u32, u32) {
        let number = self.free.pop().unwrap_or_else(|| {
            self.table.push(None);
            self.table.len() as u32 - 1
        });
        let id = self.generation << NUMBER_BITS | number;
        self.generation = self.generation.wrapping_add(1);
        for &(_, phys) in pages.iter() {
            let numbers = self.by_frame.entry(phys).or_default();
            if !numbers.contains(&number) {
                numbers.push(number);
            }
        }
        self.by_root.insert(root, number);
        if let Some(place) = self.table.get_mut(number as usize) {
            let (pages, state) = (Rc::clone(pages), State::Asked);
            let (owed, frozen, entry) = (false, false, None);
            *place =
                Some(Region { id, root, owed, frozen, entries, pages, state, valid: 0, entry });
        }
        (number, id)
    }

    /// Whether the host owes answers.
    pub fn awaits(&self) -> bool {
        self.outstanding > 0
    }

    /// The host's answer: numbers and roots of what there is to enter.
    pub fn answered(&mut self, id: u32, slot: u32) -> Vec<(u32, Key)> {
        let Some(region) = self.region(id) else { return Vec::new() };
        let owed = std::mem::take(&mut region.owed);
        let entries = region.entries.clone();
        self.outstanding = self.outstanding.saturating_sub(owed.into());
        let all = std::iter::once(id).chain(entries.iter().map(|(_, id)| *id));
        let mut found = Vec::new();
        if slot == FORGET {
            let asked = |region: &mut Region| region.state == State::Asked;
            for id in all {
                if self.region(id).is_some_and(asked) {
                    self.remove(id & NUMBERS);
                }
            }
            return found;
        }
        for (id, behind) in all.zip(0..) {
            let Some(region) = self.region(id).filter(|region| region.state == State::Asked) else {
                continue;
            };
            match slot {
                0 => region.state = State::Refused,
                _ => {
                    region.state = State::Installed(slot.saturating_add(behind));
                    found.push((id & NUMBERS, region.root));
                }
            }
        }
        found
    }

    /// The region with this id.
    fn region(&mut self, id: u32) -> Option<&mut Region> {
        let region = self.table.get_mut((id & NUMBERS) as usize)?.as_mut()?;
        (region.id == id).then_some(region)
    }

    /// The number of the installed region with this root.
    pub fn installed(&self, root: &Key) -> Option<u32> {
        let number = *self.by_root.get(root)?;
        let region = self.table.get(number as usize)?.as_ref()?;
        matches!(region.state, State::Installed(_)).then_some(number)
    }

    /// Remembers where a region is entered.
    pub fn set_entry(&mut self, number: u32, entry: Entry) {
        if let Some(Some(region)) = self.table.get_mut(number as usize) {
            region.entry = Some(entry);
        }
    }

    /// Where a region is entered.
    pub fn entry(&self, number: u32) -> Option<Entry> {
        self.table.get(number as usize)?.as_ref()?.entry
    }

    /// All compiled blocks were dropped, and entries with them.
    pub fn forget_entries(&mut self) {
        for region in self.table.iter_mut().flatten() {
            region.entry = None;
        }
    }

    /// Forgets the host and the regions that it gave; answers that it still owes are not for those to come. Roots of the regions, and the
    /// words to put back.
    pub fn forget_host(&mut self) -> Vec<(Key, Option<Entry>)> {
        self.listens = false;
        self.countdown = i64::MAX;
        (self.requests, self.heat) = (Vec::new(), Vec::new());
        (self.hits, self.exits, self.covered) = Default::default();
        (self.indirect, self.functions) = (BTreeSet::new(), BTreeSet::new());
        self.forget(|region| !region.frozen)
    }

    /// Forgets the regions that came with the box. Their roots, and the words to put back.
    pub fn forget_frozen(&mut self) -> Vec<(Key, Option<Entry>)> {
        self.frozen = None;
        self.forget(|region| region.frozen)
    }

    fn forget(&mut self, which: impl Fn(&Region) -> bool) -> Vec<(Key, Option<Entry>)> {
        let chosen = |(region, number): (&Option<Region>, u32)| {
            region.as_ref().is_some_and(&which).then_some(number)
        };
        let numbers: Vec<u32> = self.table.iter().zip(0..).filter_map(chosen).collect();
        let gone: Vec<Region> = numbers.iter().filter_map(|n| self.remove(*n)).collect();
        let slot = |region: &Region| match region.state {
            State::Installed(slot) => Some(slot),
            _ => None,
        };
        let slots: BTreeSet<u32> = gone.iter().filter_map(slot).collect();
        for jump in &self.shared.jumps {
            if slots.contains(&jump.slot.load(Relaxed)) {
                jump.epoch.store(0, Relaxed);
            }
        }
        gone.into_iter().map(|region| (region.root, region.entry)).collect()
    }

    /// What entering a region takes, in this epoch of the environment.
    pub fn enter(&self, number: u32, epoch: u32) -> Option<Enter> {
        let region = self.table.get(number as usize)?.as_ref()?;
        let State::Installed(slot) = region.state else { return None };
        Some(Enter { slot, root: region.root.pc, valid: region.valid == epoch })
    }

    /// The pages of a region.
    pub fn pages(&self, number: u32) -> &[(u64, u32)] {
        let region = self.table.get(number as usize).and_then(Option::as_ref);
        region.map_or(&[], |region| &region.pages)
    }

    /// A region's pages were seen to hold in this epoch of the environment.
    pub fn set_valid(&mut self, number: u32, epoch: u32) {
        if let Some(Some(region)) = self.table.get_mut(number as usize) {
            region.valid = epoch;
        }
    }

    /// Lets regions call the one at `root` directly, in this epoch of links.
    pub fn publish(&self, root: u64, slot: u32, epoch: u32) {
        let Some(jump) = self.shared.jumps.get(jump_index(root)) else { return };
        jump.pc.store(root, Relaxed);
        jump.slot.store(slot, Relaxed);
        jump.epoch.store(epoch, Relaxed);
    }

    /// A frame's code changed: drops what was made from it. The words to put back, and whether there was anything.
    pub fn drop_frame(&mut self, frame: Frame) -> (Vec<(u32, Code)>, bool) {
        let Some(numbers) = self.by_frame.remove(&frame.addr()) else {
            return (Vec::new(), false);
        };
        let mut words = Vec::new();
        for number in numbers {
            let entry = self.remove(number).and_then(|region| region.entry);
            words.extend(entry.map(|entry| (entry.start, entry.first)));
        }
        (words, true)
    }

    /// Forgets a region.
    fn remove(&mut self, number: u32) -> Option<Region> {
        let region = self.table.get_mut(number as usize).and_then(Option::take)?;
        self.free.push(number);
        self.by_root.remove(&region.root);
        self.outstanding = self.outstanding.saturating_sub(region.owed.into());
        for &(_, phys) in region.pages.iter() {
            if let Some(others) = self.by_frame.get_mut(&phys) {
                others.retain(|other| *other != number);
                if others.is_empty() {
                    self.by_frame.remove(&phys);
                }
            }
        }
        Some(region)
    }
}
