//! WASI preview 1 for a core module. Files, clocks and entropy are wasmtime-wasi's. The standard streams and the extra
//! descriptors are ours: wasmtime-wasi cannot wait for foreign descriptors, turns a closed pipe into `EIO`, and writes in
//! pieces of 4 KiB.

mod errno;
mod files;
mod poll;
mod streams;

pub use files::{Files, open_dir};
pub use streams::Streams;

use crate::calls::{CALLS, MODULE, for_each_call};
use crate::error::{RunError, start_error};
use crate::freeze::{Freezer, Freezing};
use crate::outside::{self, Folder};
use crate::record::Recording;
use crate::translator::Translator;
use link::CodeCache;
use rustix::time::{ClockId, clock_gettime};
use std::convert::identity;
use std::time::Duration;
use wasmtime::{AsContextMut, Caller, Extern, Linker, bail};
use wasmtime_wasi::I32Exit;
use wasmtime_wasi::WasiCtxBuilder;
use wasmtime_wasi::p1::wasi_snapshot_preview1::{self as theirs, WasiSnapshotPreview1};
use wasmtime_wasi::p1::{self, WasiP1Ctx};
use wasmtime_wasi::runtime::in_tokio;
use wiggle::GuestMemory;

/// Clocks of CPU time (`clockid`).
const PROCESS_CPUTIME: i32 = 2;
const THREAD_CPUTIME: i32 = 3;

/// What the functions of preview 1 work on.
pub struct State {
    wasi: WasiP1Ctx,
    streams: Streams,
    /// Compiles what is hot.
    pub translator: Option<Translator>,
    /// Ends the module when it has waited for so long.
    idle: Option<Duration>,
    /// What is needed to freeze it.
    freezing: Option<Freezing>,
    /// Where what it is answered is written down.
    pub recording: Option<Recording>,
    /// Where contents of files are that are kept outside.
    outside: Option<Folder>,
}

impl State {
    /// The state of one run.
    pub fn new(
        mut wasi: WasiCtxBuilder,
        streams: Streams,
        idle: Option<Duration>,
        outside: Option<Folder>,
    ) -> State {
        State {
            wasi: wasi.build_p1(),
            streams,
            translator: None,
            idle,
            freezing: None,
            recording: None,
            outside,
        }
    }
}

impl State {
    /// Lets the box be frozen, perhaps when what `freezer` expects comes to pass.
    pub fn freeze_by(&mut self, freezer: Freezer, freezing: Option<Freezing>) {
        self.freezing = freezing;
        self.streams.freezer = Some(freezer).filter(|_| self.freezing.is_some());
    }
}

/// The error that ends a run from outside.
#[derive(Debug, thiserror::Error)]
#[error("interrupted")]
pub struct Interrupted;

/// Fails once the run is to end.
fn check(caller: &Caller<'_, State>) -> wasmtime::Result<()> {
    match caller.data().streams.interrupted() {
        true => Err(Interrupted.into()),
        false => Ok(()),
    }
}

/// Calls wasmtime-wasi's own function.
macro_rules! delegate {
    ($answer:path, $caller:expr, $function:ident, $($argument:expr),*) => {{
        let fuel = $caller.as_context_mut().hostcall_fuel();
        let (bytes, state) = memory($caller)?;
        state.wasi.set_hostcall_fuel(fuel);
        let mut bytes = GuestMemory::Unshared(bytes);
        $answer(theirs::$function(&mut state.wasi, &mut bytes, $($argument),*))
    }};
}

/// A linker with WASI preview 1.
pub fn linker(cache: &CodeCache) -> Result<Linker<State>, RunError> {
    let mut linker = Linker::new(cache.engine());
    p1::add_to_linker_sync(&mut linker, |state: &mut State| &mut state.wasi)
        .map_err(start_error)?;
    linker.allow_shadowing(true);
    // wasmtime-wasi refuses statuses from 126 on; shells and docker give them a meaning.
    let exit = |status: i32| -> wasmtime::Result<()> { Err(I32Exit(status).into()) };
    linker.func_wrap(MODULE, "proc_exit", exit).map_err(start_error)?;
    shadow(&mut linker).map_err(start_error)?;
    Ok(linker)
}

/// A linker whose functions write down what they answer, if the state has a recording.
pub fn recording_linker(cache: &CodeCache) -> Result<Linker<State>, RunError> {
    let mut linker = linker(cache)?;
    record(&mut linker).map_err(start_error)?;
    Ok(linker)
}

/// Calls a function of this module, or wasmtime-wasi's.
macro_rules! call {
    (ours, $caller:expr, $name:ident, $($argument:ident),*) => { $name($caller $(, $argument)*) };
    (theirs, $caller:expr, $name:ident, $($argument:ident),*) => { delegate!(in_tokio, $caller, $name, $($argument),*) };
    (prompt, $caller:expr, $name:ident, $($argument:ident),*) => { delegate!(identity, $caller, $name, $($argument),*) };
}

macro_rules! define {
    ($($whose:ident $name:ident($($argument:ident: $type:ty),*) $plain:tt $asks:tt $answers:tt;)*) => {
        fn shadow(linker: &mut Linker<State>) -> wasmtime::Result<()> {
            $(define!(@ours $whose linker $name($($argument: $type),*));)*
            Ok(())
        }

        fn record(linker: &mut Linker<State>) -> wasmtime::Result<()> {
            let mut rows = 0..CALLS.len();
            $(
                let Some(row) = rows.next() else { bail!("fewer rows than functions") };
                let noted = move |mut caller: Caller<'_, State>, $($argument: $type),*| -> wasmtime::Result<i32> {
                    let answer: i32 = call!($whose, &mut caller, $name, $($argument),*)?;
                    note(&mut caller, row, &[$(Word::of($argument)),*], answer)?;
                    Ok(answer)
                };
                linker.func_wrap(MODULE, stringify!($name), noted)?;
            )*
            Ok(())
        }
    };
    (@ours theirs $linker:ident $name:ident($($argument:ident: $type:ty),*)) => {};
    (@ours prompt $linker:ident $name:ident($($argument:ident: $type:ty),*)) => {};
    (@ours ours $linker:ident $name:ident($($argument:ident: $type:ty),*)) => {
        $linker.func_wrap(
            MODULE,
            stringify!($name),
            |mut caller: Caller<'_, State>, $($argument: $type),*| $name(&mut caller $(, $argument)*),
        )?;
    };
}
for_each_call!(define);

/// An argument as the number that it is; an address is unsigned.
trait Word {
    fn of(self) -> u64;
}

impl Word for i32 {
    fn of(self) -> u64 {
        u64::from(self as u32)
    }
}

impl Word for i64 {
    fn of(self) -> u64 {
        self as u64
    }
}

/// Writes a call down.
fn note(
    caller: &mut Caller<'_, State>,
    row: usize,
    arguments: &[u64],
    answer: i32,
) -> wasmtime::Result<()> {
    let (bytes, state) = memory(caller)?;
    match &mut state.recording {
        Some(recording) => Ok(recording.note(row, arguments, answer, bytes)?),
        None => Ok(()),
    }
}

fn fd_read(
    caller: &mut Caller<'_, State>,
    fd: i32,
    iovs: i32,
    count: i32,
    done: i32,
) -> wasmtime::Result<i32> {
    check(caller)?;
    if !caller.data().streams.has(fd) {
        return delegate!(in_tokio, caller, fd_read, fd, iovs, count, done);
    }
    transfer(caller, iovs, count, done, |streams, bytes| streams.read(fd, bytes))
}

fn fd_write(
    caller: &mut Caller<'_, State>,
    fd: i32,
    iovs: i32,
    count: i32,
    done: i32,
) -> wasmtime::Result<i32> {
    check(caller)?;
    if !caller.data().streams.has(fd) {
        return delegate!(in_tokio, caller, fd_write, fd, iovs, count, done);
    }
    transfer(caller, iovs, count, done, |streams, bytes| streams.write(fd, bytes))
}

/// Moves bytes of a stream to or from the first buffer there, and says at `done` how many.
fn transfer(
    caller: &mut Caller<'_, State>,
    iovs: i32,
    count: i32,
    done: i32,
    moves: impl FnOnce(&mut Streams, &mut [u8]) -> Result<usize, i32>,
) -> wasmtime::Result<i32> {
    let (bytes, state) = memory(caller)?;
    Ok(errno::of(buffer(bytes, iovs, count).and_then(|buffer| {
        let moved = moves(&mut state.streams, &mut bytes[buffer])?;
        store(bytes, done, moved)
    })))
}

fn fd_pread(
    caller: &mut Caller<'_, State>,
    fd: i32,
    iovs: i32,
    count: i32,
    offset: i64,
    done: i32,
) -> wasmtime::Result<i32> {
    check(caller)?;
    if fd as u32 != outside::DESCRIPTOR || caller.data().outside.is_none() {
        return delegate!(in_tokio, caller, fd_pread, fd, iovs, count, offset, done);
    }
    let (bytes, state) = memory(caller)?;
    Ok(errno::of(buffer(bytes, iovs, count).and_then(|buffer| {
        let outside = state.outside.as_mut().ok_or(errno::BADF)?;
        let read = outside.read(offset as u64, &mut bytes[buffer]).map_err(|_| errno::IO)?;
        store(bytes, done, read)
    })))
}

fn fd_close(caller: &mut Caller<'_, State>, fd: i32) -> wasmtime::Result<i32> {
    if !caller.data().streams.has(fd) {
        return delegate!(in_tokio, caller, fd_close, fd);
    }
    caller.data_mut().streams.close(fd);
    Ok(0)
}

fn fd_fdstat_get(caller: &mut Caller<'_, State>, fd: i32, stat: i32) -> wasmtime::Result<i32> {
    if !caller.data().streams.has(fd) {
        return delegate!(in_tokio, caller, fd_fdstat_get, fd, stat);
    }
    let (bytes, state) = memory(caller)?;
    let told = state.streams.fdstat(fd);
    Ok(errno::of(put(bytes, stat, &told)))
}

fn poll_oneoff(
    caller: &mut Caller<'_, State>,
    subs: i32,
    events: i32,
    count: i32,
    done: i32,
) -> wasmtime::Result<i32> {
    check(caller)?;
    let (bytes, state) = memory(caller)?;
    let (subs_at, events_at, len) = (subs as u32, events as u32, count as u32);
    let freeze = state.streams.freezer.as_ref().and_then(Freezer::idle);
    let rest = state.streams.ends_at_rest().then_some(Duration::ZERO);
    let idle = state.idle.into_iter().chain(freeze).chain(rest).min();
    let mut polled = poll::poll(&state.streams, bytes, subs_at, events_at, len, idle);
    if rest.is_none() && idle == freeze && polled == Some(Err(errno::TIMEDOUT)) {
        // The box is told, and hears it at once.
        state.streams.freezer.iter().for_each(Freezer::fire);
        polled = poll::poll(&state.streams, bytes, subs_at, events_at, len, state.idle);
    }
    match polled {
        Some(Err(errno::TIMEDOUT)) => Err(I32Exit(0).into()),
        Some(result) => {
            let result = errno::of(result.and_then(|ready| store(bytes, done, ready)));
            check(caller)?;
            Ok(result)
        }
        None => delegate!(in_tokio, caller, poll_oneoff, subs, events, count, done),
    }
}

/// A box that only computes looks at the clock between its steps.
fn clock_time_get(
    caller: &mut Caller<'_, State>,
    id: i32,
    precision: i64,
    time: i32,
) -> wasmtime::Result<i32> {
    check(caller)?;
    let (bytes, state) = memory(caller)?;
    // The box is alone on its thread; wasmtime-wasi knows no CPU time.
    if matches!(id, PROCESS_CPUTIME | THREAD_CPUTIME) {
        let used = clock_gettime(ClockId::ThreadCPUTime);
        let used = used.tv_sec as u64 * 1_000_000_000 + used.tv_nsec as u64;
        return Ok(errno::of(put(bytes, time, &used.to_le_bytes())));
    }
    let mut bytes = GuestMemory::Unshared(bytes);
    theirs::clock_time_get(&mut state.wasi, &mut bytes, id, precision, time)
}

/// The box is alone on its thread: all it can let go on is the translator.
fn sched_yield(caller: &mut Caller<'_, State>) -> wasmtime::Result<i32> {
    check(caller)?;
    if let Some(freezing) = caller.data_mut().freezing.take() {
        freezing.visit(caller);
        caller.data_mut().freezing = Some(freezing);
    }
    if let Some(mut translator) = caller.data_mut().translator.take() {
        translator.visit(caller);
        caller.data_mut().translator = Some(translator);
    }
    Ok(0)
}

/// The module's memory, and the state.
fn memory<'a>(
    caller: &'a mut Caller<'_, State>,
) -> wasmtime::Result<(&'a mut [u8], &'a mut State)> {
    let Some(Extern::Memory(memory)) = caller.get_export("memory") else {
        bail!("the box exports no memory");
    };
    Ok(memory.data_and_store_mut(caller))
}

/// The first buffer that is not empty of a vector of buffers (`iovec`: address and length, 4 bytes each).
fn buffer(bytes: &[u8], vector: i32, count: i32) -> Result<std::ops::Range<usize>, i32> {
    for index in 0..count as u32 {
        let at = index.checked_mul(8).and_then(|offset| (vector as u32).checked_add(offset));
        let at = at.ok_or(errno::FAULT)? as usize;
        let start = load(bytes, at)? as usize;
        let end = start.checked_add(load(bytes, at + 4)? as usize).ok_or(errno::FAULT)?;
        if end > bytes.len() {
            return Err(errno::FAULT);
        }
        if start < end {
            return Ok(start..end);
        }
    }
    Ok(0..0)
}

/// A 32-bit number in the module's memory.
fn load(bytes: &[u8], at: usize) -> Result<u32, i32> {
    let bytes = at.checked_add(4).and_then(|end| bytes.get(at..end));
    bytes.and_then(|bytes| bytes.try_into().ok()).map(u32::from_le_bytes).ok_or(errno::FAULT)
}

/// Writes a `size` into the module's memory.
fn store(bytes: &mut [u8], at: i32, value: usize) -> Result<(), i32> {
    let value = u32::try_from(value).map_err(|_| errno::OVERFLOW)?;
    put(bytes, at, &value.to_le_bytes())
}

/// Writes `data` into the module's memory.
fn put(bytes: &mut [u8], at: i32, data: &[u8]) -> Result<(), i32> {
    let at = at as u32 as usize;
    let place = at.checked_add(data.len()).and_then(|end| bytes.get_mut(at..end));
    place.ok_or(errno::FAULT)?.copy_from_slice(data);
    Ok(())
}
