//! The life of a box before its snapshot: its programs run while it is linked, with nothing of this system but clocks, entropy and
//! a place for their output.

use crate::error::{RunError, start_error};
use crate::interrupt::Interrupt;
use crate::options::RunOptions;
use crate::preview1::{self, State};
use crate::run::{Sinks, module_store};
use link::{CodeCache, LinkError};
use std::time::{Duration, Instant};
use wasmtime::{Instance, Module, Store, TypedFunc, WasmParams, WasmResults};

/// When the snapshot is taken. Whatever it is, a program may ask for it earlier (`/dev/boxer/snapshot`).
pub enum Until<'a> {
    /// All programs wait, one of them for the outside: for input, or for somebody who connects.
    Waits,
    /// The first program has ended, with status 0. What it wrote stays, no program does.
    Ends,
    /// This becomes true; it is asked now and then.
    True(&'a dyn Fn() -> bool),
    /// There is such a file in the box.
    File(&'a str),
    /// A server inside answers a request of HTTP so, and then waits for another: one at this port, or the first that waits.
    Answers {
        /// Its port.
        port: Option<u16>,
        /// What is asked for.
        path: &'a str,
        /// The status.
        status: u16,
    },
}

/// Why a life did not come to its snapshot.
#[derive(Debug, thiserror::Error)]
pub enum LifeError {
    /// The guest could not be started, or was ended from outside, or failed.
    #[error(transparent)]
    Run(#[from] RunError),
    /// The first program could not be started.
    #[error("the program could not be started")]
    Start,
    /// The first program ended.
    #[error("the program ended with exit code {0} before it came to the snapshot")]
    Ended(u16),
    /// The command failed.
    #[error("the command did not complete successfully: exit code: {0}")]
    Failed(u16),
    /// Every process waits for something that cannot come.
    #[error("every process waits, and none for input or for somebody who connects")]
    Stuck,
    /// The same, or for the outside, while something else was to happen.
    #[error("every process waits, and what the snapshot is to be taken at has not come")]
    Missed,
    /// The time was over.
    #[error("it took longer than {} s", .0.as_secs_f64())]
    Slow(Duration),
    /// The guest says why on the program's standard error.
    #[error("no snapshot can be taken of it")]
    Unfit,
}

/// A life of a box before its snapshot, for [`link::Linker::link_after`].
pub struct FirstLife<'a> {
    options: Option<RunOptions>,
    until: Until<'a>,
    timeout: Duration,
    interrupt: Option<Interrupt>,
    /// Output goes there as long as this lives.
    sinks: Option<Sinks>,
}

impl<'a> FirstLife<'a> {
    /// One that must come to its snapshot within `timeout`.
    pub fn new(options: RunOptions, until: Until<'a>, timeout: Duration) -> FirstLife<'a> {
        let interrupt = options.interrupt.clone();
        FirstLife { options: Some(options), until, timeout, interrupt, sinks: None }
    }

    fn run(&self, store: &mut Store<State>, instance: Instance) -> Result<(), LifeError> {
        let end = Instant::now() + self.timeout;
        let begin: TypedFunc<(), i32> = export(store, instance, "boxer-life-begin")?;
        if call(store, &begin, ())? != 0 {
            return Err(LifeError::Start);
        }
        let mut answered = false;
        let step: TypedFunc<(), u64> = export(store, instance, "boxer-life-step")?;
        let keep = loop {
            let Answer { state, detail, left } = Answer::from(call(store, &step, ())?);
            match (&self.until, state) {
                (_, ASKED) => break true,
                (Until::Ends, ENDED) if detail == 0 => break false,
                (Until::Ends, ENDED) => return Err(LifeError::Failed(detail)),
                (_, ENDED) => return Err(LifeError::Ended(detail)),
                (Until::Waits, INPUT | CLIENT) => break true,
                (Until::True(holds), _) if holds() => break true,
                (Until::File(path), _) if has_file(store, instance, path)? => break true,
                (Until::Answers { .. }, INPUT | CLIENT | WAITS) if answered => break true,
                (&Until::Answers { port, path, status }, INPUT | CLIENT | WAITS) => {
                    match ask(store, instance, port, path)? {
                        // The server has it, and can go on.
                        Said::Nothing if state == CLIENT => self.pause(end, LET_ANSWER)?,
                        Said::Nothing => self.pause(end, left.ok_or(LifeError::Missed)?)?,
                        Said::Status(found) if found == status => answered = true,
                        Said::Status(_) | Said::Wrong => self.pause(end, ASK_AGAIN)?,
                    }
                }
                (_, RUNS) => self.pause(end, Duration::ZERO)?,
                (Until::Waits, _) => self.pause(end, left.ok_or(LifeError::Stuck)?)?,
                _ => self.pause(end, left.ok_or(LifeError::Missed)?)?,
            }
        };
        let finish: TypedFunc<i32, i32> = export(store, instance, "boxer-life-end")?;
        match call(store, &finish, i32::from(keep))? {
            0 => Ok(()),
            _ => Err(LifeError::Unfit),
        }
    }

    /// Lets time pass, but not more than there is.
    fn pause(&self, end: Instant, time: Duration) -> Result<(), LifeError> {
        const LOOK_EVERY: Duration = Duration::from_millis(50);
        let until = Instant::now() + time;
        loop {
            if self.interrupt.as_ref().is_some_and(Interrupt::is_given) {
                return Err(RunError::Interrupted.into());
            }
            let now = Instant::now();
            if now >= end {
                return Err(LifeError::Slow(self.timeout));
            }
            if now >= until {
                return Ok(());
            }
            std::thread::sleep((until - now).min(end - now).min(LOOK_EVERY));
        }
    }
}

/// What the guest says after each step; `guest::life` has the same numbers.
struct Answer {
    state: u8,
    /// A status or a port.
    detail: u16,
    /// Until somebody goes on without the outside.
    left: Option<Duration>,
}

const RUNS: u8 = 0;
const ENDED: u8 = 1;
const ASKED: u8 = 2;
const WAITS: u8 = 3;
const INPUT: u8 = 4;
const CLIENT: u8 = 5;
const NEVER: u64 = (1 << 40) - 1;

impl From<u64> for Answer {
    fn from(answer: u64) -> Answer {
        let micros = answer >> 24;
        let left = (micros != NEVER).then(|| Duration::from_micros(micros));
        Answer { state: answer as u8, detail: (answer >> 8) as u16, left }
    }
}

/// For a server that waits, of its own accord, before it answers.
const LET_ANSWER: Duration = Duration::from_millis(1);
/// Between two requests that were not answered as they should be.
const ASK_AGAIN: Duration = Duration::from_millis(100);

/// What a server says.
enum Said {
    Nothing,
    Wrong,
    Status(u16),
}

fn ask(
    store: &mut Store<State>,
    instance: Instance,
    port: Option<u16>,
    path: &str,
) -> Result<Said, LifeError> {
    let ask: TypedFunc<i32, i32> = export(store, instance, "boxer-life-ask")?;
    write_text(store, instance, path)?;
    Ok(match call(store, &ask, i32::from(port.unwrap_or(0)))? {
        0 => Said::Nothing,
        status => u16::try_from(status).map_or(Said::Wrong, Said::Status),
    })
}

fn has_file(store: &mut Store<State>, instance: Instance, path: &str) -> Result<bool, LifeError> {
    let ask: TypedFunc<(), i32> = export(store, instance, "boxer-life-file")?;
    write_text(store, instance, path)?;
    Ok(call(store, &ask, ())? != 0)
}

/// Gives the guest a text for the next call.
fn write_text(store: &mut Store<State>, instance: Instance, text: &str) -> Result<(), LifeError> {
    let room: TypedFunc<u32, u32> = export(store, instance, "boxer-life-text")?;
    let len = u32::try_from(text.len()).map_err(|_| LifeError::Missed)?;
    let start = call(store, &room, len)? as usize;
    let memory = instance.get_memory(&mut *store, link::MEMORY);
    let place = memory
        .and_then(|memory| memory.data_mut(&mut *store).get_mut(start..start + text.len()))
        .ok_or_else(|| RunError::Start("it has no memory".to_owned()))?;
    place.copy_from_slice(text.as_bytes());
    Ok(())
}

fn export<P: WasmParams, R: WasmResults>(
    store: &mut Store<State>,
    instance: Instance,
    name: &'static str,
) -> Result<TypedFunc<P, R>, LifeError> {
    Ok(instance.get_typed_func(store, name).map_err(start_error)?)
}

fn call<P: WasmParams, R: WasmResults>(
    store: &mut Store<State>,
    function: &TypedFunc<P, R>,
    params: P,
) -> Result<R, LifeError> {
    function.call(store, params).map_err(|error| {
        match error.is::<preview1::Interrupted>() {
            true => RunError::Interrupted,
            false => RunError::Trap(format!("{error:#}")),
        }
        .into()
    })
}

impl link::Life for FirstLife<'_> {
    type Host = State;

    fn happens(&self) -> bool {
        true
    }

    fn instantiate(
        &mut self,
        cache: &CodeCache,
        module: &Module,
    ) -> Result<(Store<State>, Instance), LinkError> {
        let failed = |error: RunError| LinkError::Life(Box::new(LifeError::from(error)));
        let (mut store, sinks) =
            module_store(cache, self.options.take().unwrap_or_default()).map_err(failed)?;
        self.sinks = Some(sinks);
        let mut linker = preview1::linker(cache).map_err(failed)?;
        // What a component has beside preview 1 is a way out.
        let traps = linker.define_unknown_imports_as_traps(module);
        traps.map_err(|error| failed(start_error(error)))?;
        let instance = linker.instantiate(&mut store, module);
        Ok((store, instance.map_err(|error| failed(start_error(error)))?))
    }

    fn messages<'a>(&self, _: &'a Store<State>) -> &'a [u8] {
        &[]
    }

    fn live(&mut self, store: &mut Store<State>, instance: Instance) -> Result<(), LinkError> {
        self.run(store, instance).map_err(|error| LinkError::Life(Box::new(error)))
    }
}
