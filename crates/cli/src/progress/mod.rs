//! Progress on standard error, in the views of `docker buildx build --progress`.
//!
//! [`board`] keeps what is known of each step; a [`View`] shows it: [`plain`] a line for each event, [`terminal`] the rolling
//! view, [`rawjson`] records for programs. Any number of steps may run at once.

mod board;
mod log;
mod plain;
mod rawjson;
mod terminal;

use std::io::{IsTerminal, Write};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use build::{Events, NoEvents, StepId};
use dockerfile::lint::Warning;
use oci::{Digest, Progress};

use crate::args::ProgressMode;
use crate::failure::Failure;
use board::{Board, View};

/// How often the terminal is drawn anew and waiting lines are looked at.
const TICK: Duration = Duration::from_millis(100);

/// The progress of one build. Dropping it shows the last state.
pub struct Display {
    /// None where nothing is shown.
    board: Option<Arc<Board>>,
    ticker: Mutex<Option<JoinHandle<()>>>,
    stop: Arc<AtomicBool>,
    /// Steps of the command itself, numbered from the end of the builder's numbers.
    own: AtomicU32,
}

impl Display {
    /// The view of this mode.
    pub fn new(mode: ProgressMode) -> Result<Self, Failure> {
        let view: Option<Box<dyn View>> = match mode {
            ProgressMode::Quiet => None,
            ProgressMode::Plain => Some(Box::new(plain::Plain::default())),
            ProgressMode::Rawjson => Some(Box::new(rawjson::RawJson)),
            ProgressMode::Tty if !std::io::stderr().is_terminal() => {
                return Err(Failure::usage(
                    "--progress=tty needs a terminal as standard error; plain needs none",
                ));
            }
            ProgressMode::Tty => Some(Box::new(terminal::Terminal::new())),
            ProgressMode::Auto if draws() => Some(Box::new(terminal::Terminal::new())),
            ProgressMode::Auto => Some(Box::new(plain::Plain::default())),
        };
        let board = view.map(|view| Arc::new(Board::new(view)));
        let stop = Arc::new(AtomicBool::new(false));
        let ticker = board.clone().map(|board| {
            let stop = Arc::clone(&stop);
            std::thread::spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    std::thread::park_timeout(TICK);
                    board.tick();
                }
            })
        });
        Ok(Self { board, ticker: Mutex::new(ticker), stop, own: AtomicU32::new(0) })
    }

    /// What the builder tells its events to.
    pub fn events(&self) -> Arc<dyn Events> {
        match &self.board {
            Some(board) => Arc::clone(board) as Arc<dyn Events>,
            None => Arc::new(NoEvents),
        }
    }

    /// Begins a step of the command itself.
    pub fn step(&self, name: &str) -> Step {
        let id = StepId(u32::MAX - self.own.fetch_add(1, Ordering::Relaxed));
        let events = self.events();
        events.started(id, name);
        Step { id, events, start: Instant::now(), over: AtomicBool::new(false) }
    }

    /// A finding of the checks, for who reads records.
    pub fn lint(&self, warning: &Warning, name: &str, text: &str) {
        if let Some(board) = &self.board {
            board.lint(warning, name, text);
        }
    }

    /// Shows the last state, and the output of what failed again. What is said afterwards stands below it.
    pub fn close(&self) {
        self.stop.store(true, Ordering::Relaxed);
        let ticker = self.ticker.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = ticker {
            thread.thread().unpark();
            // It ends within a tick and cannot fail.
            let _ = thread.join();
            if let Some(board) = &self.board {
                board.close();
            }
        }
    }
}

impl Drop for Display {
    fn drop(&mut self) {
        self.close();
    }
}

/// Whether standard error is a terminal that can be drawn on.
fn draws() -> bool {
    std::io::stderr().is_terminal() && std::env::var_os("TERM").is_none_or(|term| term != "dumb")
}

/// A step that the command itself carries out. It is done when it is dropped, unless it failed.
pub struct Step {
    id: StepId,
    events: Arc<dyn Events>,
    start: Instant,
    over: AtomicBool,
}

impl Step {
    /// A part of the step that is done.
    pub fn note(&self, text: &str) {
        self.events.note(self.id, text);
    }

    /// The step's end, as its result says.
    pub fn end<T>(self, result: Result<T, Failure>) -> Result<T, Failure> {
        if let Err(failure) = &result {
            self.over.store(true, Ordering::Relaxed);
            self.events.failed(self.id, &failure.message);
        }
        result
    }
}

impl Drop for Step {
    fn drop(&mut self) {
        if !self.over.load(Ordering::Relaxed) {
            self.events.done(self.id, self.start.elapsed());
        }
    }
}

impl Progress for Step {
    fn start(&self, blob: &Digest, size: u64, position: u64) {
        self.events.transfer(self.id, blob, position, size);
    }

    fn advance(&self, blob: &Digest, position: u64) {
        self.events.advance(self.id, blob, position);
    }

    fn finish(&self, blob: &Digest) {
        self.events.arrived(self.id, blob);
    }

    fn skip(&self, blob: &Digest) {
        self.note(&format!("{blob} already there"));
    }

    fn retry(&self, blob: &Digest, attempt: u32, reason: &str) {
        self.note(&format!("{blob} attempt {attempt} failed: {reason}"));
    }
}

/// Transfers outside a build: a line for each blob.
pub struct Transfers;

impl Progress for Transfers {
    fn start(&self, blob: &Digest, size: u64, position: u64) {
        let from = if position > 0 {
            format!(", resumed at {}", megabytes(position))
        } else {
            String::new()
        };
        tell!("{blob}: {}{from}", megabytes(size));
    }

    fn finish(&self, blob: &Digest) {
        tell!("{blob}: done");
    }

    fn skip(&self, blob: &Digest) {
        tell!("{blob}: already there");
    }

    fn retry(&self, blob: &Digest, attempt: u32, reason: &str) {
        tell!("{blob}: attempt {attempt} failed: {reason}");
    }
}

/// Writes at once, so that no other line comes between.
fn write(text: &str) {
    // Nobody to tell if standard error is closed.
    let _ = std::io::stderr().lock().write_all(text.as_bytes());
}

/// A size for people, in decimal units as docker shows them.
pub fn megabytes(bytes: u64) -> String {
    sized(bytes, 1)
}

/// The same with two digits, as buildx shows transfers.
fn precise(bytes: u64) -> String {
    sized(bytes, 2)
}

fn sized(bytes: u64, digits: usize) -> String {
    // A shown size needs no more than the precision of a double.
    #[allow(clippy::cast_precision_loss)]
    let size = bytes as f64;
    match bytes {
        0..1000 => format!("{bytes}B"),
        1000..1_000_000 => format!("{:.digits$}kB", size / 1e3),
        1_000_000..1_000_000_000 => format!("{:.digits$}MB", size / 1e6),
        _ => format!("{:.2}GB", size / 1e9),
    }
}

/// The output of each failed step again, at most its last `most` lines.
fn repeat_failures(vertices: &[board::Vertex], most: usize) {
    let failed = vertices.iter().filter(|vertex| vertex.error.is_some());
    for vertex in failed {
        let mut text = format!("------\n > {}:\n", vertex.name);
        if vertex.log.lost > 0 && most >= log::KEPT {
            text.push_str(&format!("({} earlier lines are left out)\n", vertex.log.lost));
        }
        for line in vertex.log.last(most) {
            let line = format!("{:.3} {}", line.at.as_secs_f64(), line.text);
            text.push_str(line.trim_end());
            text.push('\n');
        }
        text.push_str("------\n");
        write(&text);
    }
}
