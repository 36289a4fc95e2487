//! Hot code to a host that can compile it, and back: the guest's end of [`mem::desk`].

use crate::Machine;
use interp::Listening;
use mem::desk::{Desk, Install};
use mem::frozen::Frozen;
use rootfs::config::CpuLevel;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::Relaxed;

/// Answers that the host can give at a time.
const INSTALLS: usize = 256;

/// What the host writes answers to: words of [`Install`]s.
pub struct Answers {
    words: Box<[AtomicU32]>,
}

impl Default for Answers {
    fn default() -> Self {
        Answers { words: (0..2 * INSTALLS).map(|_| AtomicU32::new(0)).collect() }
    }
}

impl Answers {
    fn get(&self, n: usize) -> Option<Install> {
        let word = |at: usize| self.words.get(at).map(|word| word.load(Relaxed));
        Some(Install { id: word(2 * n)?, slot: word(2 * n + 1)? })
    }
}

/// The address of something in linear memory; none where addresses are longer.
fn address<T>(thing: *const T) -> Option<u32> {
    u32::try_from(thing as usize).ok().filter(|_| cfg!(target_arch = "wasm32"))
}

impl Machine {
    /// If the host listens, tells it where things lie and begins to look for what is hot. After the first program was
    /// started; the machine is not moved from then on.
    pub fn listen(&mut self, desk: &Desk) {
        if desk.listening.load(Relaxed) == 0 {
            return;
        }
        self.engine.listen(Listening {
            threshold: desk.threshold.load(Relaxed),
            sample: desk.sample.load(Relaxed),
        });
        if desk.tally.load(Relaxed) != 0 {
            self.engine.keep_tally();
        }
        if self.debug {
            self.engine.profile_regions();
        }
        self.lay_out(desk);
    }

    /// Says on the desk where regions find things that become part of the box. Their table ([`mem::frozen`]) will be in
    /// `table` when the first program is started.
    pub fn adopt(&mut self, table: &'static [u8], desk: &Desk) {
        self.frozen = table;
        self.engine.expect_regions();
        self.lay_out(desk);
    }

    /// Takes over the regions that are part of the box, if they are for the processor that programs see (the same bytes mean something else for
    /// another) and not all is to be interpreted; else enters none.
    pub(crate) fn thaw(&mut self, interpret: bool) {
        match self.frozen_regions().filter(|_| !interpret) {
            Some(frozen) => self.engine.thaw(frozen),
            None => self.engine.leave_frozen(),
        }
    }

    pub(crate) fn frozen_regions(&self) -> Option<Frozen> {
        Frozen::new(self.frozen).filter(|frozen| frozen.level() == self.level_number())
    }

    /// The number by which the desk and the table name the processor that programs see.
    pub(crate) fn level_number(&self) -> u32 {
        match self.level() {
            CpuLevel::V2 => 2,
            CpuLevel::V3 => 3,
        }
    }

    /// Says on the desk where things lie. They stay there.
    fn lay_out(&self, desk: &Desk) {
        let (read, write) = self.kernel.mm.look.addresses();
        let Some(shared) = self.engine.shared() else { return };
        let places = [
            (&desk.cpu, address(&raw const *self.cpu)),
            (&desk.read_table, address(read)),
            (&desk.write_table, address(write)),
            (&desk.shared, address(shared)),
            (&desk.helper, address(interp::op_helper())),
            (&desk.installs, address(self.answers.words.as_ptr())),
        ];
        for (field, place) in places {
            field.store(place.unwrap_or(0), Relaxed);
        }
        desk.installs_cap.store(INSTALLS as u32, Relaxed);
        desk.level.store(self.level_number(), Relaxed);
    }

    /// Whether the host was told.
    pub fn listens(&self) -> bool {
        self.engine.listens()
    }

    /// Whether there is something to hand to the host, or to get from it.
    pub fn has_business(&self) -> bool {
        !self.engine.requests().is_empty() || self.engine.awaits_regions()
    }

    /// Says on the desk how much was executed, and how much of it in regions.
    pub fn account(&self, desk: &Desk) {
        let (in_regions, _) = self.engine.retired_in_regions();
        let retired = self.engine.retired();
        for (n, low, high) in [
            (retired, &desk.retired, &desk.retired_high),
            (in_regions, &desk.in_regions, &desk.in_regions_high),
        ] {
            low.store(n as u32, Relaxed);
            high.store((n >> 32) as u32, Relaxed);
        }
        let tally = self.engine.tally();
        desk.tally_ptr.store(address(tally.as_ptr()).unwrap_or(0), Relaxed);
        desk.tally_len.store(tally.len() as u32, Relaxed);
    }

    /// Lays the requests on the desk, lets the host come by (`call`), and takes up its answers.
    pub fn exchange(&mut self, desk: &Desk, call: impl FnOnce()) {
        let requests = self.engine.requests();
        desk.requests.store(address(requests.as_ptr()).unwrap_or(0), Relaxed);
        desk.requests_len.store(requests.len() as u32, Relaxed);
        let heat = self.engine.heat();
        desk.heat.store(address(heat.as_ptr()).unwrap_or(0), Relaxed);
        desk.heat_len.store(heat.len() as u32, Relaxed);
        call();
        desk.requests_len.store(0, Relaxed);
        desk.heat_len.store(0, Relaxed);
        self.engine.clear_requests();
        let answers = desk.installs_len.swap(0, Relaxed) as usize;
        for Install { id, slot } in (0..answers.min(INSTALLS)).map_while(|n| self.answers.get(n)) {
            self.engine.install(id, slot);
        }
    }
}
