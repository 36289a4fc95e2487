//! The thread that compiles.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};
use translate::{CpuLevel, Layout, Source};
use wasmtime::{Engine, Module};

/// Most regions in one module: fewer modules to instantiate against an earlier answer.
const BATCH: usize = 16;
/// Blocks in one module after which no more regions are added.
const BATCH_BLOCKS: usize = 200;

struct Job {
    source: Source,
    level: CpuLevel,
    layout: Layout,
}

/// A module to put in place.
#[derive(Default)]
pub struct Finished {
    /// Functions are exported by number.
    pub module: Option<Module>,
    /// Ids of their requests.
    pub ids: Vec<u32>,
    /// Ids of requests that cannot be had.
    pub failed: Vec<u32>,
}

#[derive(Default)]
struct Effort {
    bytes: AtomicU64,
    nanoseconds: AtomicU64,
}

/// The thread's other end. It ends when this is dropped, after what it is doing.
pub struct Worker {
    jobs: Sender<Job>,
    finished: Receiver<Finished>,
    effort: Arc<Effort>,
}

impl Worker {
    /// Starts the thread.
    pub fn start(engine: &Engine) -> std::io::Result<Worker> {
        let (jobs, waiting) = channel();
        let (done, finished) = channel();
        let effort = Arc::new(Effort::default());
        let (engine, effort_there) = (engine.clone(), Arc::clone(&effort));
        std::thread::Builder::new()
            .name("translator".to_owned())
            .spawn(move || work(&engine, &waiting, &done, &effort_there))?;
        Ok(Worker { jobs, finished, effort })
    }

    /// Hands a region over; false if the thread is gone.
    pub fn ask(&self, source: Source, level: CpuLevel, layout: Layout) -> bool {
        self.jobs.send(Job { source, level, layout }).is_ok()
    }

    /// What has been finished, if there is something; or waits for it.
    pub fn finished(&self, wait: bool) -> Option<Finished> {
        if wait { self.finished.recv().ok() } else { self.finished.try_recv().ok() }
    }

    /// Bytes of Wasm that were compiled, and how long that took.
    pub fn effort(&self) -> (u64, Duration) {
        let Effort { bytes, nanoseconds } = &*self.effort;
        (bytes.load(Relaxed), Duration::from_nanos(nanoseconds.load(Relaxed)))
    }
}

fn work(engine: &Engine, jobs: &Receiver<Job>, done: &Sender<Finished>, effort: &Effort) {
    let mut first = None;
    while let Some(job) = first.take().or_else(|| jobs.recv().ok()) {
        let (level, layout) = (job.level, job.layout);
        let mut blocks = job.source.request.blocks.len();
        let mut batch = vec![job.source];
        while batch.len() < BATCH
            && blocks < BATCH_BLOCKS
            && let Ok(job) = jobs.try_recv()
        {
            if (job.level, job.layout) != (level, layout) {
                first = Some(job);
                break;
            }
            blocks += job.source.request.blocks.len();
            batch.push(job.source);
        }
        let start = Instant::now();
        let mut all = vec![compile(engine, &batch, level, &layout, effort)];
        if batch.len() > 1 && all[0].module.is_none() {
            // Some of them may be sound.
            let each = batch.iter().map(|source| {
                compile(engine, std::slice::from_ref(source), level, &layout, effort)
            });
            all = each.collect();
        }
        let time = start.elapsed().as_nanos();
        effort.nanoseconds.fetch_add(u64::try_from(time).unwrap_or(u64::MAX), Relaxed);
        for finished in all {
            if done.send(finished).is_err() {
                return;
            }
        }
    }
}

fn compile(
    engine: &Engine,
    sources: &[Source],
    level: CpuLevel,
    layout: &Layout,
    effort: &Effort,
) -> Finished {
    let translate::Module { wasm, ids } = translate::module(sources, level, layout);
    effort.bytes.fetch_add(wasm.len() as u64, Relaxed);
    let module = (!ids.is_empty()).then(|| Module::new(engine, &wasm).ok()).flatten();
    let asked = sources.iter().map(|source| source.request.id);
    let failed = match module {
        Some(_) => asked.filter(|id| !ids.contains(id)).collect(),
        None => asked.collect(),
    };
    Finished { ids: if module.is_some() { ids } else { Vec::new() }, module, failed }
}
