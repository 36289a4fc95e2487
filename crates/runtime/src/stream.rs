//! The standard streams of a box.

use std::io::{Cursor, Write};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use tokio::io::{AsyncWrite, empty};
use wasmtime_wasi::WasiCtxBuilder;
use wasmtime_wasi::cli::{IsTerminal, StdoutStream};
use wasmtime_wasi::p2::pipe::MemoryInputPipe;

/// Standard input of a box.
#[derive(Default)]
pub enum Input {
    /// This process's.
    #[default]
    Inherit,
    /// At its end from the start.
    Empty,
    /// These bytes.
    Bytes(Vec<u8>),
    /// Open, and nothing ever comes (a component: at its end).
    Silent,
}

/// Standard output or standard error of a box.
#[derive(Default)]
pub enum Output {
    /// This process's.
    #[default]
    Inherit,
    /// Kept, and given back in the [`Outcome`](crate::Outcome).
    Capture,
    /// Thrown away.
    Discard,
    /// Written here as it comes.
    Writer(Box<dyn Write + Send>),
}

impl Input {
    pub(crate) fn apply(self, wasi: &mut WasiCtxBuilder) {
        match self {
            Input::Inherit => wasi.inherit_stdin(),
            Input::Empty | Input::Silent => wasi.stdin(empty()),
            Input::Bytes(bytes) => wasi.stdin(MemoryInputPipe::new(bytes)),
        };
    }

    /// What a module reads.
    pub(crate) fn into_source(self) -> Source {
        match self {
            Input::Inherit => Source::Host,
            Input::Empty => Source::Bytes(Cursor::default()),
            Input::Bytes(bytes) => Source::Bytes(Cursor::new(bytes)),
            Input::Silent => Source::Silent,
        }
    }
}

/// Standard input of a module.
pub enum Source {
    /// This process's.
    Host,
    /// These bytes.
    Bytes(Cursor<Vec<u8>>),
    /// Nothing, ever.
    Silent,
}

impl Output {
    /// The stream to give to WASI, or none for this process's own.
    pub(crate) fn into_sink(self) -> Option<Sink> {
        match self {
            Output::Inherit => None,
            Output::Capture => Some(Sink::new(Target::Kept(Vec::new()))),
            Output::Discard => Some(Sink::new(Target::Writer(Box::new(std::io::sink())))),
            Output::Writer(writer) => Some(Sink::new(Target::Writer(writer))),
        }
    }
}

enum Target {
    Kept(Vec<u8>),
    Writer(Box<dyn Write + Send>),
}

/// Where output goes; clones share the place.
#[derive(Clone)]
pub struct Sink(Arc<Mutex<Target>>);

impl Sink {
    fn new(target: Target) -> Self {
        Sink(Arc::new(Mutex::new(target)))
    }

    /// Writes: bytes taken.
    pub(crate) fn write(&self, bytes: &[u8]) -> std::io::Result<usize> {
        match &mut *self.0.lock().unwrap_or_else(PoisonError::into_inner) {
            Target::Kept(kept) => kept.write(bytes),
            Target::Writer(writer) => writer.write(bytes),
        }
    }

    /// What was kept.
    pub(crate) fn take(&self) -> Vec<u8> {
        match &mut *self.0.lock().unwrap_or_else(PoisonError::into_inner) {
            Target::Kept(bytes) => std::mem::take(bytes),
            Target::Writer(_) => Vec::new(),
        }
    }
}

impl IsTerminal for Sink {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for Sink {
    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        Box::new(self.clone())
    }
}

impl AsyncWrite for Sink {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        Poll::Ready(self.write(bytes))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        let mut target = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Poll::Ready(match &mut *target {
            Target::Kept(_) => Ok(()),
            Target::Writer(writer) => writer.flush(),
        })
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        self.poll_flush(context)
    }
}
