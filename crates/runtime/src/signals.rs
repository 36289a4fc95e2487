//! Signals that this process gets: they end it, or go to the box that it runs.

use crate::freeze::Freezer;
use crate::terminal::{self, RawTerminal};
use mux::control::Control;
use std::io::Write;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::signal::unix::{Signal, SignalKind, signal};

const SIGHUP: u16 = 1;
const SIGINT: u16 = 2;
const SIGTERM: u16 = 15;
const SIGWINCH: u16 = 28;

/// What a box is told beside SIGINT and SIGWINCH: names and Linux's numbers.
pub const FORWARDED: [(&str, u16); 6] =
    [("HUP", 1), ("QUIT", 3), ("USR1", 10), ("USR2", 12), ("ALRM", 14), ("TERM", 15)];

/// A second interrupt within this time ends the box whatever it does.
const IMPATIENCE: Duration = Duration::from_secs(3);

/// Watches the signals of this process.
pub struct Signals {
    target: Arc<Mutex<Target>>,
}

#[derive(Default)]
struct Target {
    /// This process's end of the box's control stream.
    control: Option<UnixStream>,
    /// The box's terminal is this process's.
    terminal: Option<RawTerminal>,
    interrupted: Option<Instant>,
    hook: Option<Hook>,
    /// A signal that freezes the box instead.
    freeze: Option<(u16, Freezer)>,
}

/// Hears of a signal.
type Hook = Box<dyn FnMut(u16) + Send>;

impl Signals {
    /// From now on an interrupt (SIGINT) ends this process with status 130, until a box takes it.
    pub fn watch() -> std::io::Result<Signals> {
        let target = Arc::new(Mutex::new(Target::default()));
        watch(&target, "interrupt", &[SIGINT])?;
        Ok(Signals { target })
    }

    /// Once signals go to a box, this one freezes it instead ([`Freezer::fire`]).
    pub fn freeze_on(&self, number: u16, freezer: Freezer) {
        lock(&self.target).freeze = Some((number, freezer));
    }

    /// From now on SIGHUP, SIGINT and SIGTERM are told to `hook`, on a thread of its own, and do not end this process.
    pub fn intercept(&self, hook: impl FnMut(u16) + Send + 'static) -> std::io::Result<()> {
        lock(&self.target).hook = Some(Box::new(hook));
        watch(&self.target, "signals", &[SIGHUP, SIGTERM])
    }

    /// From now on signals go to the box at the other end of `control`. With `terminal` the terminal on standard input is in
    /// raw mode until the result is dropped or this process ends by a signal it can notice.
    pub fn forward(
        &self,
        control: UnixStream,
        terminal: Option<RawTerminal>,
    ) -> std::io::Result<Forwarding> {
        // A box that does not listen must not hold the watcher up.
        control.set_nonblocking(true)?;
        {
            let mut target = lock(&self.target);
            target.control = Some(control);
            target.terminal = terminal;
        }
        let forwarding = Forwarding { target: Arc::clone(&self.target) };
        let numbers: Vec<u16> = FORWARDED.iter().map(|(_, number)| *number).collect();
        watch(&self.target, "signals", &[numbers, vec![SIGWINCH]].concat())?;
        Ok(forwarding)
    }
}

/// A box that gets the signals; dropped, they end this process again, and the terminal is as it was.
pub struct Forwarding {
    target: Arc<Mutex<Target>>,
}

impl Drop for Forwarding {
    fn drop(&mut self) {
        *lock(&self.target) = Target::default();
    }
}

fn lock(target: &Mutex<Target>) -> MutexGuard<'_, Target> {
    target.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A thread that waits for `numbers`. They are caught when this returns.
fn watch(target: &Arc<Mutex<Target>>, name: &str, numbers: &[u16]) -> std::io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    let listening = {
        let _inside = runtime.enter();
        let listen =
            |number: &u16| Ok((*number, signal(SignalKind::from_raw(i32::from(*number)))?));
        numbers.iter().map(listen).collect::<std::io::Result<Vec<(u16, Signal)>>>()?
    };
    let target = Arc::clone(target);
    let run = move || {
        let tasks = tokio::task::LocalSet::new();
        for (number, mut signal) in listening {
            let target = Arc::clone(&target);
            tasks.spawn_local(async move {
                while signal.recv().await.is_some() {
                    lock(&target).take(number);
                }
            });
        }
        runtime.block_on(tasks);
    };
    std::thread::Builder::new().name(name.to_owned()).spawn(run)?;
    Ok(())
}

impl Target {
    fn take(&mut self, number: u16) {
        if let Some(hook) = &mut self.hook {
            return hook(number);
        }
        if let Some((_, freezer)) = self.freeze.as_ref().filter(|(freezes, _)| *freezes == number) {
            return freezer.fire();
        }
        if number == SIGINT {
            let now = Instant::now();
            let before = self.interrupted.replace(now);
            if before.is_some_and(|before| now.duration_since(before) < IMPATIENCE) {
                self.end(number);
            }
        }
        let message = match number {
            SIGWINCH if self.terminal.is_some() => match terminal::size() {
                Some((rows, columns)) => Control::Window { rows, columns },
                None => return,
            },
            _ => Control::Signal(number),
        };
        let told = self.control.as_mut().is_some_and(|control| {
            // Far fewer bytes than the stream holds: they are taken as a whole or not at all.
            control.write_all(&message.encode()).is_ok()
        });
        if !told && number != SIGWINCH {
            self.end(number);
        }
    }

    /// Ends this process as the signal does.
    fn end(&mut self, number: u16) {
        self.terminal = None;
        std::process::exit(128 + i32::from(number));
    }
}
