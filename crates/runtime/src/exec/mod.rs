//! Reaching into a box that runs: further processes, and files (`docs/exec.md`).
//!
//! [`Attach`] is this end of the stream. One thread reads what comes and never waits for anybody; whoever asks for something writes on the
//! own thread. What a box can make this process keep is bounded by what was granted to it.

mod files;
mod measure;
mod process;
mod relay;

pub use files::{File, Files, Seen, Watch};
pub use measure::{Bound, Measure, Measured, Usage};
pub use process::{Command, ExecError, Exit, Process, Stdin, StreamReader};

use crate::descriptor::Descriptor;
use mux::exec::{Client, ClientEvent, FIRST, Stream};
use process::Running;
use relay::Relay;
use std::collections::{BTreeMap, VecDeque};
use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Numbers of one connection; those above are for connections that are passed on.
const NUMBERS: u32 = 1 << 24;
/// Bytes that are read at once.
const PIECE: usize = 64 << 10;
/// How long those who are served may take to read what a box has said last.
const PATIENCE: Duration = Duration::from_secs(2);
/// What watches have seen and nobody has taken, before more is lost.
const MAX_SEEN: usize = 16_384;

/// Reaches into the box whose [`RunOptions`](crate::RunOptions) have it, from any thread. Clones are the same. What is asked before the box
/// runs waits until it does.
#[derive(Clone)]
pub struct Attach(Arc<Shared>);

struct Shared {
    state: Mutex<State>,
    /// Something in the state has changed.
    changed: Condvar,
    /// Whoever writes holds it, so that packets keep their order.
    writer: Mutex<UnixStream>,
    /// The box's end, until it starts.
    descriptor: Mutex<Option<Descriptor>>,
}

struct State {
    client: Client,
    /// Why nothing comes any more.
    over: Option<String>,
    processes: BTreeMap<u32, Running>,
    /// Answers to calls that somebody waits for.
    results: BTreeMap<u32, Option<Result<Vec<u8>, u16>>>,
    watches: BTreeMap<u32, VecDeque<Seen>>,
    relays: BTreeMap<u8, Relay>,
}

impl Attach {
    /// The variable of the stream.
    pub const VARIABLE: &'static str = "BOXER_EXEC";

    /// For a box that is yet to be started.
    ///
    /// # Errors
    /// No socket or thread is to be had.
    pub fn new() -> io::Result<Attach> {
        let (descriptor, ours) = Descriptor::new(Attach::VARIABLE)?;
        Attach::begin(ours, Some(descriptor))
    }

    /// Reaches into a box at the other end of `stream`, which another process runs.
    ///
    /// # Errors
    /// No thread is to be had.
    pub fn over(stream: UnixStream) -> io::Result<Attach> {
        Attach::begin(stream, None)
    }

    fn begin(stream: UnixStream, descriptor: Option<Descriptor>) -> io::Result<Attach> {
        let reader = stream.try_clone()?;
        let state = State {
            client: Client::new(NUMBERS),
            over: None,
            processes: BTreeMap::new(),
            results: BTreeMap::new(),
            watches: BTreeMap::new(),
            relays: BTreeMap::new(),
        };
        let shared = Arc::new(Shared {
            state: Mutex::new(state),
            changed: Condvar::new(),
            writer: Mutex::new(stream),
            descriptor: Mutex::new(descriptor),
        });
        let weak = Arc::downgrade(&shared);
        let read = move || {
            let mut buffer = vec![0; PIECE];
            let mut reader = reader;
            loop {
                let read = reader.read(&mut buffer);
                let Some(shared) = weak.upgrade() else { return };
                let bytes = match read {
                    Ok(len @ 1..) => buffer.get(..len).unwrap_or_default(),
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                    _ => return shared.end("the box has ended"),
                };
                if let Err(broken) = shared.arrived(bytes) {
                    return shared.end(&broken.to_string());
                }
            }
        };
        std::thread::Builder::new().name("exec".to_owned()).spawn(read)?;
        Ok(Attach(shared))
    }

    /// The descriptor that a box is to have; none if one has it already.
    pub(crate) fn descriptor(&self) -> Option<Descriptor> {
        lock(&self.0.descriptor).take()
    }

    /// The box cannot be reached into, for this reason.
    pub(crate) fn refuse(&self, why: &str) {
        self.0.end(why);
        self.end();
    }

    /// The box is over, or will never be. Whoever was served hears what it has said last.
    pub(crate) fn end(&self) {
        drop(lock(&self.0.descriptor).take());
        self.0.wait_while(PATIENCE, |state| {
            state.over.is_none() || !state.relays.values().all(Relay::is_served)
        });
    }

    /// Files of the box, as root.
    pub fn files(&self) -> Files {
        Files::new(self.clone())
    }

    /// Sends a signal (Linux's number) to the first process of the box; none is the image's STOPSIGNAL, or SIGTERM.
    ///
    /// # Errors
    /// The box has ended.
    pub fn signal(&self, signal: Option<u8>) -> Result<(), ExecError> {
        self.tell(|client| client.signal(FIRST, signal.unwrap_or(0)))
    }

    /// Sends a signal (Linux's number; 0 finds out whether there is somebody) to a process of the box, by its number there, or to all
    /// processes of the session of that number.
    ///
    /// # Errors
    /// Linux's: nobody is there (`ESRCH`), or the box has ended.
    pub fn kill(&self, pid: u32, session: bool, signal: u8) -> io::Result<()> {
        self.call("", mux::exec::Call::Kill { session, pid, signal }).map(drop)
    }

    /// Waits until the box has said that it can be reached into; whether it has within this time. Those made before there was a way never do.
    pub fn wait_for_greeting(&self, longest: Duration) -> bool {
        let open = |state: &State| state.over.is_none();
        self.0
            .wait_while(longest, |state| open(state) && !state.client.is_greeted())
            .is_some_and(|state| open(&state))
    }

    /// Waits until the box has ended, or the connection to it; whether it has within this time.
    pub fn wait_for_end(&self, longest: Duration) -> bool {
        self.0.wait_while(longest, |state| state.over.is_none()).is_some()
    }

    /// Serves another process, at the other end of `stream`, the protocol of the box until it is gone. It has been told that the protocol
    /// follows. Returns at once.
    ///
    /// # Errors
    /// The box has ended, too many are served, or no thread is to be had.
    pub fn relay(&self, stream: UnixStream) -> io::Result<()> {
        relay::begin(self, stream)
    }

    /// Changes the state, and sends what comes of that.
    fn tell<T>(&self, work: impl FnOnce(&mut Client) -> T) -> Result<T, ExecError> {
        let mut state = self.0.state();
        if let Some(why) = &state.over {
            return Err(ExecError::Over(why.clone()));
        }
        let result = work(&mut state.client);
        drop(state);
        self.0.flush();
        Ok(result)
    }

    /// Makes a call and waits for its answer, with its number: an error is Linux's number.
    fn call(&self, user: &str, call: mux::exec::Call<'_>) -> io::Result<(u32, Vec<u8>)> {
        let mut state = self.0.state();
        if let Some(why) = &state.over {
            return Err(io::Error::new(io::ErrorKind::BrokenPipe, why.clone()));
        }
        let number = state.client.call(user.as_bytes(), call);
        let number = number.ok_or_else(|| io::Error::from_raw_os_error(libc::ENAMETOOLONG))?;
        state.results.insert(number, None);
        if matches!(call, mux::exec::Call::Watch { .. }) {
            state.watches.insert(number, VecDeque::new());
        }
        drop(state);
        self.0.flush();
        let mut state = self.0.state();
        loop {
            if let Some(Some(result)) = state.results.get_mut(&number).map(Option::take) {
                state.results.remove(&number);
                if result.is_err() {
                    state.watches.remove(&number);
                }
                let errno = |errno| io::Error::from_raw_os_error(i32::from(errno));
                return result.map(|bytes| (number, bytes)).map_err(errno);
            }
            if let Some(why) = state.over.clone() {
                state.results.remove(&number);
                return Err(io::Error::new(io::ErrorKind::BrokenPipe, why));
            }
            state = self.0.wait(state);
        }
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    fn wait<'a>(&self, state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        self.changed.wait(state).unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits as long as something is so; none if it still is after this time.
    fn wait_while(
        &self,
        longest: Duration,
        is_so: impl Fn(&State) -> bool,
    ) -> Option<MutexGuard<'_, State>> {
        let until = Instant::now().checked_add(longest);
        let mut state = self.state();
        while is_so(&state) {
            state = self.wait_until(state, until)?;
        }
        Some(state)
    }

    /// Waits for a change; none once this time has come.
    fn wait_until<'a>(
        &self,
        state: MutexGuard<'a, State>,
        until: Option<Instant>,
    ) -> Option<MutexGuard<'a, State>> {
        let Some(until) = until else { return Some(self.wait(state)) };
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return None;
        }
        let waited = self.changed.wait_timeout(state, left);
        Some(waited.unwrap_or_else(PoisonError::into_inner).0)
    }

    /// Writes what is to be sent.
    fn flush(&self) {
        let mut writer = lock(&self.writer);
        loop {
            let mut state = self.state();
            let bytes = state.client.output().to_vec();
            state.client.wrote(bytes.len());
            drop(state);
            if bytes.is_empty() {
                return;
            }
            // The reader hears of a box that is gone, too.
            if writer.write_all(&bytes).is_err() {
                return;
            }
        }
    }

    fn arrived(&self, bytes: &[u8]) -> Result<(), mux::Broken> {
        let mut state = self.state();
        let space = state.client.space(bytes.len());
        if let Some(place) = space.get_mut(..bytes.len()) {
            place.copy_from_slice(bytes);
        }
        let result = state.client.arrived(bytes.len());
        while let Some(event) = state.client.event() {
            state.take(event);
        }
        self.changed.notify_all();
        result
    }

    fn end(&self, why: &str) {
        let mut state = self.state();
        state.over.get_or_insert_with(|| why.to_owned());
        self.changed.notify_all();
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        // The thread that reads hears of it.
        let _ = lock(&self.writer).shutdown(std::net::Shutdown::Both);
    }
}

impl State {
    fn take(&mut self, event: ClientEvent) {
        match event {
            ClientEvent::Result(id, result) => {
                if let Some(place) = self.results.get_mut(&id) {
                    *place = Some(result);
                }
            }
            ClientEvent::Watched(id, mask, cookie, path) => {
                if let Some(seen) = self.watches.get_mut(&id) {
                    if seen.len() < MAX_SEEN {
                        seen.push_back(Seen { mask, cookie, path });
                    } else if seen.back().is_some_and(|last| last.mask != Seen::OVERFLOW) {
                        let path = Vec::new();
                        seen.push_back(Seen { mask: Seen::OVERFLOW, cookie: 0, path });
                    }
                }
            }
            ClientEvent::Foreign(number, packet) => {
                let slot = (number / NUMBERS) as u8;
                if let Some(relay) = self.relays.get_mut(&slot)
                    && relay.pass(number, &packet)
                {
                    self.relays.remove(&slot);
                }
            }
            ClientEvent::Started(id, _)
            | ClientEvent::Failed(id, ..)
            | ClientEvent::Output(id, ..)
            | ClientEvent::End(id, _)
            | ClientEvent::Room(id)
            | ClientEvent::InputClosed(id)
            | ClientEvent::Exited(id, ..) => {
                if let Some(process) = self.processes.get_mut(&id) {
                    process.take(event);
                }
            }
        }
    }
}

/// Bytes of a stream that were used up are granted again.
fn consumed(attach: &Attach, id: u32, stream: Stream, bytes: usize) {
    // A box that is gone needs nothing.
    let _ = attach.tell(|client| client.consumed(id, stream, bytes));
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
