//! The threads that compile.

use super::alike::{Alike, Known};
use link::{CacheError, CodeCache, Digest, digest_of};
use rustix::time::{ClockId, clock_gettime};
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;
use translate::{CpuLevel, Layout, Made, Source};
use wasmtime::Module;

/// Most threads that compile.
const MAX_THREADS: usize = 4;
/// How long a machine counts as busy after a thread had to share its core.
const BUSY: Duration = Duration::from_secs(1);

/// A monotonic clock, in nanoseconds.
fn clock() -> u64 {
    nanoseconds(ClockId::Monotonic)
}

/// What a clock shows, in nanoseconds.
fn nanoseconds(clock: ClockId) -> u64 {
    let time = clock_gettime(clock);
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// What the threads are asked.
enum Job {
    /// Whether this is compiled already.
    Find { source: Source, level: CpuLevel, layout: Layout },
    /// To compile this.
    Compile { id: u32, waiting: Waiting },
}

/// A region's module that is not compiled.
pub struct Waiting {
    root: u64,
    wasm: Vec<u8>,
    /// What others may find it by, beside its key.
    alike: Alike,
    known: Known,
    functions: Vec<u32>,
}

impl Waiting {
    /// Bytes of Wasm.
    pub fn size(&self) -> usize {
        self.wasm.len()
    }
}

/// What became of a region.
pub struct Finished {
    /// Id of its request.
    pub id: u32,
    /// What there is.
    pub outcome: Outcome,
}

/// See [`Finished`].
pub enum Outcome {
    /// A module, under this key, and which of its exports are the functions for the root and each further entry.
    Ready(Digest, Module, Vec<u32>),
    /// It would have to be compiled.
    Waiting(Waiting),
    /// It cannot be had.
    Failed,
}

#[derive(Default)]
struct Effort {
    /// When a thread last had to share its core, by [`clock`]; 0: never.
    shared_core: AtomicU64,
    bytes: AtomicU64,
    nanoseconds: AtomicU64,
    compiled: AtomicU64,
    /// Why the first region that could not be compiled could not.
    failure: OnceLock<String>,
}

/// The threads' other end. They begin with the first job, since most programs that end soon have none, and end when this is dropped, after
/// what they are doing.
pub struct Worker {
    jobs: Sender<Job>,
    finished: Receiver<Finished>,
    effort: Arc<Effort>,
    idle: Option<Idle>,
    /// How many there are, or will be.
    threads: usize,
    /// They have cores beside that of the box.
    apart: bool,
}

/// What the threads have.
struct Idle {
    cache: CodeCache,
    jobs: Receiver<Job>,
    done: Sender<Finished>,
    box_waits: bool,
    threads: usize,
}

impl Worker {
    /// What the threads compile is kept in `cache`. If the box does not run meanwhile, its core is theirs, too.
    pub fn new(cache: CodeCache, box_waits: bool) -> Worker {
        let (jobs, waiting) = channel();
        let (done, finished) = channel();
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let threads = if box_waits { cores } else { cores.saturating_sub(1) };
        let threads = threads.clamp(1, MAX_THREADS);
        let idle = Some(Idle { cache, jobs: waiting, done, box_waits, threads });
        let apart = cores > 1 && !box_waits;
        Worker { jobs, finished, effort: Arc::default(), idle, threads, apart }
    }

    /// Whether a core has nothing to do while so many jobs are under way: neither for this box nor for anybody else, as far as the threads
    /// have seen.
    pub fn is_idle(&self, in_flight: usize) -> bool {
        let shared = self.effort.shared_core.load(Relaxed);
        let quiet = shared == 0 || clock().saturating_sub(shared) > BUSY.as_nanos() as u64;
        self.apart && in_flight < self.threads && quiet
    }

    /// Hands a region over; false if there are no threads. If the box waits, it is compiled in any case.
    pub fn find(&mut self, source: Source, level: CpuLevel, layout: Layout) -> bool {
        self.hand(Job::Find { source, level, layout })
    }

    /// Has a region compiled; false if there are no threads.
    pub fn compile(&mut self, id: u32, waiting: Waiting) -> bool {
        self.hand(Job::Compile { id, waiting })
    }

    fn hand(&mut self, job: Job) -> bool {
        let began = self.idle.take().is_none_or(|idle| idle.begin(&self.effort).is_ok());
        began && self.jobs.send(job).is_ok()
    }

    /// What has been finished, if there is something; or waits for it.
    pub fn finished(&self, wait: bool) -> Option<Finished> {
        if wait { self.finished.recv().ok() } else { self.finished.try_recv().ok() }
    }

    /// Bytes of Wasm that were compiled, of how many regions, and how long all took that the threads did.
    pub fn effort(&self) -> (u64, u64, Duration) {
        let Effort { bytes, nanoseconds, compiled, .. } = &*self.effort;
        let time = Duration::from_nanos(nanoseconds.load(Relaxed));
        (bytes.load(Relaxed), compiled.load(Relaxed), time)
    }

    /// Why the first region that could not be compiled could not: a defect of the generator.
    pub fn failure(&self) -> Option<&str> {
        self.effort.failure.get().map(String::as_str)
    }
}

impl Idle {
    fn begin(self, effort: &Arc<Effort>) -> std::io::Result<()> {
        let Idle { cache, jobs, done, box_waits, threads } = self;
        let jobs = Arc::new(Mutex::new(jobs));
        for _ in 0..threads {
            let (cache, jobs, done) = (cache.clone(), Arc::clone(&jobs), done.clone());
            let effort = Arc::clone(effort);
            std::thread::Builder::new()
                .name("translator".to_owned())
                .spawn(move || work(&cache, &jobs, &done, &effort, box_waits))?;
        }
        Ok(())
    }
}

fn work(
    cache: &CodeCache,
    jobs: &Mutex<Receiver<Job>>,
    done: &Sender<Finished>,
    effort: &Effort,
    all: bool,
) {
    // A lock that another thread's panic left is as good as any.
    let next = || jobs.lock().unwrap_or_else(PoisonError::into_inner).recv();
    while let Ok(job) = next() {
        let (start, used) = (clock(), nanoseconds(ClockId::ThreadCPUTime));
        let (id, outcome) = match job {
            Job::Compile { id, waiting } => (id, compile(cache, waiting, effort)),
            Job::Find { source, level, layout } => {
                let outcome = match find(cache, &source, level, &layout) {
                    Outcome::Waiting(waiting) if all => compile(cache, waiting, effort),
                    outcome => outcome,
                };
                (source.request.id, outcome)
            }
        };
        let time = clock().saturating_sub(start);
        let used = nanoseconds(ClockId::ThreadCPUTime).saturating_sub(used);
        effort.nanoseconds.fetch_add(time, Relaxed);
        // Waiting for the cache's files is short beside that.
        if time > used + used / 4 + 1_000_000 {
            effort.shared_core.store(clock(), Relaxed);
        }
        if done.send(Finished { id, outcome }).is_err() {
            return;
        }
    }
}

/// The key of what is kept are the bytes that are generated: they say all. What is nearly the same serves, too.
fn find(cache: &CodeCache, source: &Source, level: CpuLevel, layout: &Layout) -> Outcome {
    let Some(known) = Known::of(cache, source, level, layout) else { return Outcome::Failed };
    if let Some((key, functions)) = known.serving(source)
        && let Some(module) = cache.known(key)
    {
        return Outcome::Ready(*key, module, functions);
    }
    let Some(Made { wasm, shape }) = translate::module(source, level, layout) else {
        return Outcome::Failed;
    };
    let functions = (0..=source.request.entries.len() as u32).collect();
    let Some(alike) = Alike::new(digest_of(&wasm), source, shape) else { return Outcome::Failed };
    match cache.known(&alike.key) {
        Some(module) => {
            let key = alike.key;
            known.add(alike);
            Outcome::Ready(key, module, functions)
        }
        None => {
            let root = source.request.root;
            Outcome::Waiting(Waiting { root, wasm, alike, known, functions })
        }
    }
}

fn compile(cache: &CodeCache, waiting: Waiting, effort: &Effort) -> Outcome {
    let Waiting { root, wasm, alike, known, functions } = waiting;
    effort.bytes.fetch_add(wasm.len() as u64, Relaxed);
    effort.compiled.fetch_add(1, Relaxed);
    match cache.module(&alike.key, || Ok::<_, CacheError>(wasm)) {
        Ok(module) => {
            let key = alike.key;
            known.add(alike);
            Outcome::Ready(key, module, functions)
        }
        Err(error) => {
            // Only the first is told.
            let _ = effort.failure.set(format!("{root:#x}: {error:#}"));
            Outcome::Failed
        }
    }
}
