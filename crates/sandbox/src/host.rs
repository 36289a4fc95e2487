//! All sandboxes of a process: what they share, which there are, and the end of their time.

use crate::alarm::Alarm;
use crate::audit::Sink;
use crate::error::Error;
use crate::policy::Policy;
use crate::running::lock;
use crate::sandbox::{Made, Sandbox};
use crate::template::{Prepare, Template};
use runtime::Runtime;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, Weak};
use std::time::{Duration, Instant};

/// How long it is known how a sandbox has ended.
const REMEMBERED: Duration = Duration::from_secs(60);
/// Between two looks at which have ended.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// Copies that are made at once.
const FORKS: usize = 1_000;

/// What sandboxes are made by. Clones are the same; when the last one is dropped all sandboxes end.
#[derive(Clone)]
pub struct Host(Arc<Inner>);

struct Inner {
    runtime: Arc<Runtime>,
    cache: PathBuf,
    sink: Option<Sink>,
    sandboxes: Mutex<BTreeMap<String, Sandbox>>,
    alarm: Alarm,
}

impl Drop for Inner {
    fn drop(&mut self) {
        for sandbox in lock(&self.sandboxes).values() {
            sandbox.end("its host has ended");
        }
        self.alarm.ring();
    }
}

impl Host {
    /// A host that keeps what it has prepared below `cache`, and passes each line of the audit trails on.
    ///
    /// # Errors
    /// There is no thread to be had.
    pub fn new(runtime: Runtime, cache: &Path, sink: Option<Sink>) -> Result<Host, Error> {
        let alarm = Alarm::default();
        let host = Host(Arc::new(Inner {
            runtime: Arc::new(runtime),
            cache: cache.join("sandboxes"),
            sink,
            sandboxes: Mutex::default(),
            alarm: alarm.clone(),
        }));
        let weak = Arc::downgrade(&host.0);
        let thread = std::thread::Builder::new().name("sandboxes".to_owned());
        thread.spawn(move || watch(&weak, &alarm)).map_err(Error::io("start a thread"))?;
        Ok(host)
    }

    /// Prepares the box in a file; see [`Template::open`].
    ///
    /// # Errors
    /// As said there.
    pub fn template(&self, path: &Path, prepare: &Prepare) -> Result<Template, Error> {
        Template::open(&self.0.runtime, path, prepare, &self.0.cache)
    }

    /// What [`Sandbox::snapshot`] has written, to start others from.
    ///
    /// # Errors
    /// It is no box, or does not start.
    pub fn resume(&self, path: &Path) -> Result<Template, Error> {
        Template::resume(&self.0.runtime, path)
    }

    /// Makes a sandbox; `metadata` is what its maker notes.
    ///
    /// # Errors
    /// The policy makes no sense, or this system has no room for it.
    pub fn create(
        &self,
        template: &Template,
        policy: Policy,
        metadata: BTreeMap<String, String>,
    ) -> Result<Sandbox, Error> {
        let sandbox = Sandbox::create(template, policy, metadata, self.made())?;
        self.add(&sandbox);
        Ok(sandbox)
    }

    /// Copies of a sandbox, which go on from where it is, as it does. Their time begins anew.
    ///
    /// # Errors
    /// It has ended, something in it cannot be put away, or this system has no room for them.
    pub fn fork(&self, sandbox: &Sandbox, count: usize) -> Result<Vec<Sandbox>, Error> {
        if count == 0 || count > FORKS {
            return Err(Error::Invalid(format!("count: {count} is not from 1 to {FORKS}")));
        }
        let state = sandbox.state()?;
        let mut copies = Vec::new();
        for _ in 0..count {
            let copy = sandbox.copy(state.clone(), self.made())?;
            self.add(&copy);
            copies.push(copy);
        }
        Ok(copies)
    }

    fn made(&self) -> Made {
        Made { sink: self.0.sink.clone(), alarm: self.0.alarm.clone() }
    }

    fn add(&self, sandbox: &Sandbox) {
        lock(&self.0.sandboxes).insert(sandbox.id().to_owned(), sandbox.clone());
        self.0.alarm.ring();
    }

    /// Those that have not been killed, the oldest first.
    pub fn list(&self) -> Vec<Sandbox> {
        let mut all: Vec<Sandbox> = lock(&self.0.sandboxes).values().cloned().collect();
        all.retain(|sandbox| !sandbox.was_killed());
        all.sort_by_key(Sandbox::started);
        all
    }

    /// The one of this number.
    ///
    /// # Errors
    /// There is none.
    pub fn get(&self, id: &str) -> Result<Sandbox, Error> {
        let found = lock(&self.0.sandboxes).get(id).cloned();
        let found = found.filter(|sandbox| !sandbox.was_killed());
        found.ok_or_else(|| Error::NotFound(format!("sandbox {id:?}")))
    }

    /// Ends all.
    pub fn kill_all(&self) {
        let all = std::mem::take(&mut *lock(&self.0.sandboxes));
        all.values().for_each(|sandbox| sandbox.end("it was killed"));
    }
}

/// Ends those whose time is over, and forgets those that have ended.
fn watch(host: &Weak<Inner>, alarm: &Alarm) {
    let mut ended: BTreeMap<String, Instant> = BTreeMap::new();
    while let Some(host) = host.upgrade() {
        let mut sandboxes = lock(&host.sandboxes);
        let now = Instant::now();
        let mut next = now + LOOK_EVERY;
        sandboxes.retain(|id, sandbox| {
            if sandbox.has_ended() {
                let since = *ended.entry(id.clone()).or_insert(now);
                return !sandbox.was_killed() && now < since + REMEMBERED;
            }
            if sandbox.deadline() <= now {
                sandbox.time_is_over();
            } else {
                next = next.min(sandbox.deadline());
            }
            true
        });
        ended.retain(|id, _| sandboxes.contains_key(id));
        drop(sandboxes);
        drop(host);
        alarm.wait(next.saturating_duration_since(Instant::now()));
    }
}
