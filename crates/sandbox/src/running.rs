//! A box that runs, on a thread of its own.

use crate::error::Error;
use runtime::{
    Attach, Caller, Freezer, Frozen, Grant, Input, Interrupt, Network, Next, Output, RunError,
    RunOptions, Translation,
};
use std::collections::VecDeque;
use std::io::{self, Write};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How long a box may take until it can be reached into; the first time it is compiled before.
const GREETING: Duration = Duration::from_secs(30);
const FIRST_GREETING: Duration = Duration::from_secs(600);
/// What is kept of what a box says of itself: lines, and bytes of each.
const LINES: usize = 16;
const LINE: usize = 1 << 10;

/// Told of each line that a box says of itself.
pub type Notice = Arc<dyn Fn(&str) + Send + Sync>;

/// Told how a box has ended by itself, before anybody else hears of it: not when it was ended from here.
pub type Ended = Box<dyn FnOnce(&str) + Send>;

/// Dropped, the box ends.
pub struct Running {
    attach: Attach,
    caller: Caller,
    freezer: Freezer,
    interrupt: Interrupt,
    over: Arc<Over>,
}

/// How a box has ended, once it has.
#[derive(Default)]
struct Over {
    how: Mutex<Option<String>>,
    changed: Condvar,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.interrupt.give();
    }
}

impl Running {
    /// Starts one that goes on from `state`.
    ///
    /// # Errors
    /// This system has no threads or descriptors for it.
    pub fn fork(
        state: Frozen,
        options: RunOptions,
        grant: Grant,
        notice: Notice,
        ended: Ended,
    ) -> Result<Running, Error> {
        Running::start(options, grant, notice, ended, move |options| {
            state.start(options)?.run().map(|outcome| outcome.status)
        })
    }

    /// Starts one by `run`, which gets the options with all that is needed here, and gives the exit status.
    ///
    /// # Errors
    /// As for [`Running::fork`].
    pub fn start(
        mut options: RunOptions,
        grant: Grant,
        notice: Notice,
        ended: Ended,
        run: impl FnOnce(RunOptions) -> Result<i32, RunError> + Send + 'static,
    ) -> Result<Running, Error> {
        let start = |error| Error::io("start a sandbox")(error);
        let mut network = Network::new(grant).map_err(RunError::from)?;
        let caller = network.caller();
        let (attach, freezer) = (Attach::new().map_err(start)?, Freezer::new());
        let interrupt = Interrupt::new();
        let lines = Lines::new(notice);
        options.translation = Translation { on: true, ..Translation::default() };
        options.network = Some(network);
        options.attach = Some(attach.clone());
        options.freezer = Some(freezer.clone());
        options.interrupt = Some(interrupt.clone());
        options.stdin = Input::Silent;
        options.stdout = Output::Discard;
        options.stderr = Output::Writer(Box::new(lines.clone()));
        let over = Arc::new(Over::default());
        let told = over.clone();
        let work = move || {
            let how = match run(options) {
                Ok(status) => lines
                    .last()
                    .unwrap_or_else(|| format!("its first process ended with status {status}")),
                Err(RunError::Interrupted) => "it was killed".to_owned(),
                Err(error) => error.to_string(),
            };
            let mut known = lock(&told.how);
            if known.is_none() {
                ended(&how);
                *known = Some(how);
            }
            drop(known);
            told.changed.notify_all();
        };
        std::thread::Builder::new().name("sandbox".to_owned()).spawn(work).map_err(start)?;
        Ok(Running { attach, caller, freezer, interrupt, over })
    }

    /// Reaches into it.
    pub fn attach(&self) -> &Attach {
        &self.attach
    }

    /// Waits until it can be reached into.
    ///
    /// # Errors
    /// It has ended, or takes too long.
    pub fn wait_until_it_runs(&self) -> Result<(), Error> {
        self.wait_for_greeting(GREETING)
    }

    /// The same for one that is perhaps compiled first.
    ///
    /// # Errors
    /// As there.
    pub fn wait_until_it_runs_first(&self) -> Result<(), Error> {
        self.wait_for_greeting(FIRST_GREETING)
    }

    fn wait_for_greeting(&self, longest: Duration) -> Result<(), Error> {
        if self.attach.wait_for_greeting(longest) {
            return Ok(());
        }
        let soon = Instant::now().checked_add(Duration::from_secs(1));
        Err(Error::Ended(self.how_by(soon).unwrap_or_else(|| "it does not answer".to_owned())))
    }

    /// A connection to a port in it, from a thread that may wait.
    ///
    /// # Errors
    /// Nobody listens (`ConnectionRefused`), or it has ended (`BrokenPipe`).
    pub fn call(&self, port: u16) -> io::Result<UnixStream> {
        self.caller.call_and_wait(port)
    }

    /// Its state; it goes on or ends then.
    ///
    /// # Errors
    /// There is none to be had, and it goes on.
    pub fn freeze(&self, next: Next) -> Result<Frozen, Error> {
        let over = self.over.clone();
        let took = move |state| {
            if let Next::Ends(_) = next {
                // It does not end by itself.
                lock(&over.how).get_or_insert_with(|| "its state was taken".to_owned());
            }
            (next, state)
        };
        Ok(self.freezer.freeze(took)?)
    }

    /// Ends it, for this reason, which holds unless there was another before.
    pub fn end(&self, why: &str) {
        lock(&self.over.how).get_or_insert_with(|| why.to_owned());
        self.interrupt.give();
    }

    /// How it has ended, if it has.
    pub fn how(&self) -> Option<String> {
        lock(&self.over.how).clone()
    }

    /// The same, and waits for that until then.
    fn how_by(&self, until: Option<Instant>) -> Option<String> {
        let mut how = lock(&self.over.how);
        while how.is_none() {
            let left = until?.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return None;
            }
            let waited = self.over.changed.wait_timeout(how, left);
            how = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        how.clone()
    }

    /// Why something in it does not answer any more: an error that it has ended, if it has or is just about to.
    pub fn ended(&self) -> Option<Error> {
        const JUST: Duration = Duration::from_millis(50);
        self.how_by(Instant::now().checked_add(JUST)).map(Error::Ended)
    }
}

/// What a box says of itself, by lines.
#[derive(Clone)]
struct Lines(Arc<Mutex<Said>>);

struct Said {
    part: Vec<u8>,
    last: VecDeque<String>,
    notice: Notice,
}

impl Lines {
    fn new(notice: Notice) -> Lines {
        Lines(Arc::new(Mutex::new(Said { part: Vec::new(), last: VecDeque::new(), notice })))
    }

    /// The last one.
    fn last(&self) -> Option<String> {
        lock(&self.0).last.back().cloned()
    }
}

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut said = lock(&self.0);
        for byte in bytes {
            if *byte != b'\n' {
                if said.part.len() < LINE {
                    said.part.push(*byte);
                }
                continue;
            }
            let part = std::mem::take(&mut said.part);
            let line = String::from_utf8_lossy(&part);
            let line = line.strip_prefix("boxer: ").unwrap_or(&line).to_owned();
            (said.notice)(&line);
            said.last.push_back(line);
            if said.last.len() > LINES {
                said.last.pop_front();
            }
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
