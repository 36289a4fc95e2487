//! The threads that compile.

use link::{CacheError, CodeCache, digest_of};
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};
use translate::{CpuLevel, Layout, Source};
use wasmtime::Module;

/// Most threads that compile.
const MAX_THREADS: usize = 4;

struct Job {
    source: Source,
    level: CpuLevel,
    layout: Layout,
}

/// A region to put in place.
pub struct Finished {
    /// Id of its request.
    pub id: u32,
    /// A module that exports a function for its root, `0`, and one for each further entry; none if it cannot be had.
    pub module: Option<Module>,
}

#[derive(Default)]
struct Effort {
    bytes: AtomicU64,
    nanoseconds: AtomicU64,
    compiled: AtomicU64,
    /// Why the first region that could not be compiled could not.
    failure: OnceLock<String>,
}

/// The threads' other end. They end when this is dropped, after what they are doing.
pub struct Worker {
    jobs: Sender<Job>,
    finished: Receiver<Finished>,
    effort: Arc<Effort>,
}

impl Worker {
    /// Starts the threads. What they compile is kept in `cache`. If the box does not run meanwhile, its core is theirs, too.
    pub fn start(cache: &CodeCache, box_waits: bool) -> std::io::Result<Worker> {
        let (jobs, waiting) = channel();
        let waiting = Arc::new(Mutex::new(waiting));
        let (done, finished) = channel();
        let effort = Arc::new(Effort::default());
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let threads = if box_waits { cores } else { cores.saturating_sub(1) };
        for _ in 0..threads.clamp(1, MAX_THREADS) {
            let (cache, waiting, done) = (cache.clone(), Arc::clone(&waiting), done.clone());
            let effort = Arc::clone(&effort);
            std::thread::Builder::new()
                .name("translator".to_owned())
                .spawn(move || work(&cache, &waiting, &done, &effort))?;
        }
        Ok(Worker { jobs, finished, effort })
    }

    /// Hands a region over; false if the threads are gone.
    pub fn ask(&self, source: Source, level: CpuLevel, layout: Layout) -> bool {
        self.jobs.send(Job { source, level, layout }).is_ok()
    }

    /// What has been finished, if there is something; or waits for it.
    pub fn finished(&self, wait: bool) -> Option<Finished> {
        if wait { self.finished.recv().ok() } else { self.finished.try_recv().ok() }
    }

    /// Bytes of Wasm that were generated, how many regions had to be compiled, and how long all that took.
    pub fn effort(&self) -> (u64, u64, Duration) {
        let Effort { bytes, nanoseconds, compiled, failure: _ } = &*self.effort;
        let time = Duration::from_nanos(nanoseconds.load(Relaxed));
        (bytes.load(Relaxed), compiled.load(Relaxed), time)
    }

    /// Why the first region that could not be compiled could not: a defect of the generator.
    pub fn failure(&self) -> Option<&str> {
        self.effort.failure.get().map(String::as_str)
    }
}

fn work(cache: &CodeCache, jobs: &Mutex<Receiver<Job>>, done: &Sender<Finished>, effort: &Effort) {
    // A lock that another thread's panic left is as good as any.
    let next = || jobs.lock().unwrap_or_else(PoisonError::into_inner).recv();
    while let Ok(job) = next() {
        let id = job.source.request.id;
        let start = Instant::now();
        let module = compile(cache, &job, effort);
        let time = start.elapsed().as_nanos();
        effort.nanoseconds.fetch_add(u64::try_from(time).unwrap_or(u64::MAX), Relaxed);
        if done.send(Finished { id, module }).is_err() {
            return;
        }
    }
}

/// The key of what is kept are the bytes that are generated: they say all.
fn compile(cache: &CodeCache, job: &Job, effort: &Effort) -> Option<Module> {
    let wasm = translate::module(&job.source, job.level, &job.layout)?;
    effort.bytes.fetch_add(wasm.len() as u64, Relaxed);
    let key = digest_of(&wasm);
    let compiled = || {
        effort.compiled.fetch_add(1, Relaxed);
        Ok::<_, CacheError>(wasm.clone())
    };
    let module = cache.module(&key, compiled);
    let root = job.source.request.root;
    module.inspect_err(|error| drop(effort.failure.set(format!("{root:#x}: {error:#}")))).ok()
}
