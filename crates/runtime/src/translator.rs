//! Compiles what is hot in a running box, on threads of its own, and puts it into the box's function table: the host's end
//! of [`translate::desk`].
//!
//! The box comes by in `sched_yield`, which never waits: it hands over requests and gets what is finished. The box is not
//! trusted: what it asks for can make this process work while the box runs, but only so much at a time, and what is compiled
//! can do to its memory what its own code could.

mod alike;
mod desk;
mod pending;
mod recorder;
mod worker;

use desk::{Asked, View};
use link::{CodeCache, Digest};
use pending::Pendings;
pub use recorder::{Recorded, Recorder};
use std::collections::{HashMap, VecDeque};
use translate::desk::{FORGET, Field, Install, VERSION};
use wasmtime::{AsContextMut, Caller, Extern, Instance, Memory, Module, Ref, Store, Table, Val};
use worker::{Finished, Outcome, Worker};

/// Told of lines.
type Report = std::sync::Arc<dyn Fn(&str) + Send + Sync>;

/// Whether and when hot code is compiled while a box runs.
#[derive(Clone)]
pub struct Translation {
    /// Off: everything is interpreted.
    pub on: bool,
    /// What is hot is compiled; otherwise only code that came with the box runs compiled.
    pub compiles: bool,
    /// Samples that must fall on a block, at least 1.
    pub threshold: u32,
    /// Interpreted guest instructions between two samples, at least 1.
    pub sample: u32,
    /// The box waits for what it asked for: for tests and trainings.
    pub wait: bool,
    /// Takes a line at the end about what was compiled.
    pub report: Option<Report>,
    /// Writes down what was asked for.
    pub recorder: Option<Recorder>,
}

impl std::fmt::Debug for Translation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Translation { on, compiles, threshold, sample, wait: _, report: _, recorder: _ } = self;
        write!(
            f,
            "Translation {{ on: {on}, compiles: {compiles}, threshold: {threshold}, sample: {sample} }}"
        )
    }
}

impl Default for Translation {
    fn default() -> Self {
        Translation {
            on: false,
            compiles: true,
            threshold: 8,
            sample: 20_000,
            wait: false,
            report: None,
            recorder: None,
        }
    }
}

/// Regions of one box after which no more are compiled: they are not freed while it runs, and each takes a few of the
/// mappings that a process can have.
const MAX_REGIONS: u32 = 8_000;
/// Requests that are looked at or compiled at a time.
const MAX_IN_FLIGHT: usize = 256;

/// What became of the requests.
#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    asked: u32,
    refused: u32,
    installed: u32,
}

/// The translator of one box.
pub struct Translator {
    memory: Memory,
    table: Table,
    /// Address of the desk.
    desk: u32,
    worker: Worker,
    in_flight: usize,
    pending: Pendings,
    /// Places of the regions that are in the table, and which exports lie there.
    entered: HashMap<Digest, (u32, Vec<u32>)>,
    answers: VecDeque<Install>,
    counts: Counts,
    wait: bool,
    report: Option<Report>,
    recorder: Option<Recorder>,
}

impl Translator {
    /// A translator for a box that has a desk and has not been started, which is told that somebody listens.
    pub fn attach<T>(
        store: &mut Store<T>,
        instance: Instance,
        cache: &CodeCache,
        options: &Translation,
    ) -> Option<Translator> {
        if !options.on || !options.compiles {
            return None;
        }
        let memory = instance.get_memory(&mut *store, "memory")?;
        let table = instance.get_table(&mut *store, "__indirect_function_table")?;
        let Val::I32(desk) = instance.get_global(&mut *store, "boxer-desk")?.get(&mut *store)
        else {
            return None;
        };
        let desk = desk as u32;
        let mut view = View::new(memory.data_mut(&mut *store), desk);
        if view.get(Field::Version) != Some(VERSION) {
            return None;
        }
        view.set(Field::Threshold, options.threshold.max(1))?;
        view.set(Field::Sample, options.sample.max(1))?;
        view.set(Field::Tally, u32::from(options.recorder.is_some()))?;
        view.set(Field::Listening, 1)?;
        Some(Translator {
            memory,
            table,
            desk,
            worker: Worker::new(cache.regions(), options.wait),
            in_flight: 0,
            pending: Pendings::new(options.sample.max(1)),
            entered: HashMap::new(),
            answers: VecDeque::new(),
            counts: Counts::default(),
            wait: options.wait,
            report: options.report.clone(),
            recorder: options.recorder.clone(),
        })
    }

    /// The box came by.
    pub fn visit<T: 'static>(&mut self, caller: &mut Caller<'_, T>) {
        let Asked { layout, level, sources, refused, heat } =
            desk::take(View::new(self.memory.data_mut(&mut *caller), self.desk));
        self.counts.asked += (sources.len() + refused.len()) as u32;
        for id in refused {
            self.refuse(id);
        }
        let full = self.counts.installed >= MAX_REGIONS;
        for source in sources {
            let id = source.request.id;
            if let Some(recorder) = &self.recorder {
                recorder.asked(&source);
            }
            if self.in_flight >= MAX_IN_FLIGHT {
                self.answers.push_back(Install { id, slot: FORGET });
            } else if full || !self.worker.find(source, level, layout) {
                self.refuse(id);
            } else {
                self.in_flight += 1;
            }
        }
        for (id, waiting) in self.pending.heat(&heat) {
            if full || !self.worker.compile(id, waiting) {
                self.refuse(id);
            } else {
                self.in_flight += 1;
            }
        }
        while !full && self.worker.is_idle(self.in_flight) {
            let Some((id, waiting)) = self.pending.hottest() else { break };
            if !self.worker.compile(id, waiting) {
                self.refuse(id);
                break;
            }
            self.in_flight += 1;
        }
        while let Some(finished) = self.worker.finished(self.wait && self.in_flight > 0) {
            self.install(caller, finished);
        }
        let mut view = View::new(self.memory.data_mut(&mut *caller), self.desk);
        desk::answer(&mut view, &mut self.answers);
    }

    fn refuse(&mut self, id: u32) {
        self.counts.refused += 1;
        self.answers.push_back(Install { id, slot: 0 });
    }

    fn install<T: 'static>(&mut self, caller: &mut Caller<'_, T>, finished: Finished) {
        self.in_flight = self.in_flight.saturating_sub(1);
        let Finished { id, outcome } = finished;
        let slot = match outcome {
            Outcome::Ready(key, module, functions) => {
                let known = self.entered.get(&key).filter(|(_, entered)| *entered == functions);
                match known.map(|(slot, _)| *slot) {
                    // The box has forgotten it: its state was taken meanwhile.
                    Some(slot) => {
                        self.answers.push_back(Install { id, slot });
                        return;
                    }
                    None => {
                        let slot = self.enter(caller, &module, &functions);
                        self.entered.extend(slot.map(|slot| (key, (slot, functions))));
                        slot
                    }
                }
            }
            Outcome::Waiting(waiting) => {
                let forgotten = self.pending.wait(id, waiting);
                let forgotten = forgotten.into_iter().map(|id| Install { id, slot: FORGET });
                self.answers.extend(forgotten);
                return;
            }
            Outcome::Failed => None,
        };
        match slot {
            Some(slot) => {
                self.counts.installed += 1;
                self.answers.push_back(Install { id, slot });
            }
            None => self.refuse(id),
        }
    }

    /// Puts a region's functions, one for its root and one for each further entry, into the table one behind the other; the
    /// place of the first. They are these exports of the module.
    fn enter<T: 'static>(
        &self,
        caller: &mut Caller<'_, T>,
        module: &Module,
        functions: &[u32],
    ) -> Option<u32> {
        let imports = [Extern::Memory(self.memory), Extern::Table(self.table)];
        let instance = Instance::new(caller.as_context_mut(), module, &imports).ok()?;
        let count = functions.len() as u64;
        let slot = self.table.grow(caller.as_context_mut(), count, Ref::Func(None)).ok()?;
        for (place, n) in (slot..).zip(functions) {
            let function = instance.get_func(caller.as_context_mut(), &n.to_string())?;
            let function = Ref::Func(Some(function));
            self.table.set(caller.as_context_mut(), place, function).ok()?;
        }
        u32::try_from(slot).ok()
    }

    /// The box has ended.
    pub fn finish<T>(&self, store: &mut Store<T>) {
        let mut view = View::new(self.memory.data_mut(&mut *store), self.desk);
        let mut number = |low, high| {
            let word = |word: Option<u32>| u64::from(word.unwrap_or(0));
            word(view.get(low)) | word(view.get(high)) << 32
        };
        let retired = number(Field::Retired, Field::RetiredHigh);
        let in_regions = number(Field::InRegions, Field::InRegionsHigh);
        if let Some(recorder) = &self.recorder {
            recorder.count(retired, in_regions, &view.tally().unwrap_or_default());
        }
        self.report();
    }

    /// What `--debug` tells at the end.
    fn report(&self) {
        let Some(report) = &self.report else { return };
        let Counts { asked, refused, installed } = self.counts;
        let (bytes, compiled, time) = self.worker.effort();
        report(&format!(
            "regions: {asked} asked for, {installed} installed, {refused} refused; {compiled} compiled now, {} kB of Wasm in {} ms",
            bytes / 1000,
            time.as_millis()
        ));
        if let Some(failure) = self.worker.failure() {
            report(&format!("regions: the one at {failure}"));
        }
    }
}
