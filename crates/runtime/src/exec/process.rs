//! Processes in a box that runs.

use super::{Attach, Bound, Measure, consumed};
use crate::signals::{Forwarding, Signals};
use crate::terminal::RawTerminal;
use mux::control::{Control, MESSAGE};
use mux::exec::{Call, ClientEvent, Ended, Failure, Start, Stream};
use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::Arc;

/// Why a process was not started, or nothing is heard of it any more.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ExecError {
    /// The box has ended, or the connection to it.
    #[error("{0}")]
    Over(String),
    /// There is no such program.
    #[error("{0}")]
    NotFound(String),
    /// It cannot be executed, or its directory cannot be entered.
    #[error("{0}")]
    NotExecutable(String),
    /// There is no such user or group, or a limit is reached.
    #[error("{0}")]
    Other(String),
    /// Arguments and environment are longer than a packet.
    #[error("arguments and environment are too long (128 KiB in all)")]
    TooLong,
}

impl ExecError {
    /// Exit status, as docker has it.
    pub fn status(&self) -> u8 {
        match self {
            ExecError::NotFound(_) => 127,
            ExecError::NotExecutable(_) => 126,
            _ => 125,
        }
    }
}

/// How a process has ended.
pub type Exit = Ended;

/// A process to be started.
#[derive(Clone, Debug)]
pub struct Command {
    start: Start,
    /// The most instructions of its session.
    instructions: Option<u64>,
}

impl Command {
    /// A program, looked up in the PATH of the box if it has no slash. Both its outputs are taken; it has no input.
    pub fn new(program: impl AsRef<[u8]>) -> Command {
        let argv = vec![program.as_ref().to_vec()];
        let start = Start { argv, stdout: true, stderr: true, ..Start::default() };
        Command { start, instructions: None }
    }

    /// Adds an argument.
    #[must_use]
    pub fn arg(mut self, arg: impl AsRef<[u8]>) -> Command {
        self.start.argv.push(arg.as_ref().to_vec());
        self
    }

    /// Adds arguments.
    #[must_use]
    pub fn args(self, args: impl IntoIterator<Item = impl AsRef<[u8]>>) -> Command {
        args.into_iter().fold(self, Command::arg)
    }

    /// Sets a variable, over those of the box.
    #[must_use]
    pub fn env(mut self, name: &str, value: &str) -> Command {
        self.start.env.push(format!("{name}={value}").into_bytes());
        self
    }

    /// Sets the working directory; otherwise it is that of the box.
    #[must_use]
    pub fn cwd(mut self, dir: impl AsRef<[u8]>) -> Command {
        self.start.cwd = dir.as_ref().to_vec();
        self
    }

    /// Sets the user, `USER[:GROUP]`; otherwise it is that of the box.
    #[must_use]
    pub fn user(mut self, user: &str) -> Command {
        self.start.user = user.as_bytes().to_vec();
        self
    }

    /// Whether it is sent input.
    #[must_use]
    pub fn stdin(mut self, stdin: bool) -> Command {
        self.start.stdin = stdin;
        self
    }

    /// Whether its outputs are taken; what is not is lost.
    #[must_use]
    pub fn outputs(mut self, stdout: bool, stderr: bool) -> Command {
        (self.start.stdout, self.start.stderr) = (stdout, stderr);
        self
    }

    /// Gives it a terminal of its own, with so many rows and columns (0 = unknown). All its output is standard output then.
    #[must_use]
    pub fn terminal(mut self, rows: u16, columns: u16) -> Command {
        self.start.terminal = Some((rows, columns));
        self
    }

    /// Counts what its session executes, from its first instruction on ([`Process::measure`]); after so many exactly all of it is killed.
    #[must_use]
    pub fn instructions(mut self, most: u64) -> Command {
        self.instructions = Some(most);
        self
    }
}

/// What is known of a process.
#[derive(Default)]
pub(super) struct Running {
    started: Option<Result<u32, ExecError>>,
    outputs: [Output; 2],
    exit: Option<Exit>,
    input_closed: bool,
}

#[derive(Default)]
struct Output {
    bytes: VecDeque<u8>,
    ended: bool,
    /// Bytes that the process itself has written and that were not taken; known once it has ended.
    own: Option<u64>,
}

impl Running {
    pub fn take(&mut self, event: ClientEvent) {
        match event {
            ClientEvent::Started(_, pid) => self.started = Some(Ok(pid)),
            ClientEvent::Failed(_, failure, _, text) => {
                self.started = Some(Err(match failure {
                    Failure::NotFound => ExecError::NotFound(text),
                    Failure::NotExecutable | Failure::Directory => ExecError::NotExecutable(text),
                    Failure::User | Failure::Other => ExecError::Other(text),
                }));
            }
            ClientEvent::Output(_, stream, bytes) => {
                self.outputs[stream.index()].bytes.extend(bytes);
            }
            ClientEvent::End(_, stream) => self.outputs[stream.index()].ended = true,
            ClientEvent::InputClosed(_) => self.input_closed = true,
            ClientEvent::Exited(_, exit, left) => {
                self.exit = Some(exit);
                self.input_closed = true;
                for (output, left) in self.outputs.iter_mut().zip(left) {
                    output.own = Some(output.bytes.len() as u64 + u64::from(left));
                }
            }
            // Whoever waits looks again.
            _ => {}
        }
    }
}

/// The number of a process, as long as anybody cares for it.
struct Handle {
    attach: Attach,
    id: u32,
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.attach.0.state().processes.remove(&self.id);
        // A box that is gone needs nothing.
        let _ = self.attach.tell(|client| client.detach(self.id));
    }
}

/// A process in a box. When it and its streams are dropped it goes on: its input ends, what it writes is lost, a terminal hangs up.
pub struct Process {
    handle: Arc<Handle>,
    pid: u32,
    /// Its standard input, if it is sent any.
    pub stdin: Option<Stdin>,
    /// Its standard output, if that is taken.
    pub stdout: Option<StreamReader>,
    /// Its standard error, if that is taken.
    pub stderr: Option<StreamReader>,
    /// What counts its instructions, if that was asked for.
    pub measure: Option<Measure>,
}

impl Attach {
    /// Starts a process.
    ///
    /// # Errors
    /// It does not run.
    pub fn exec(&self, command: &Command) -> Result<Process, ExecError> {
        let mut state = self.0.state();
        if let Some(why) = &state.over {
            return Err(ExecError::Over(why.clone()));
        }
        let id = state.client.start(&command.start).ok_or(ExecError::TooLong)?;
        state.processes.insert(id, Running::default());
        // In one piece with the start, so that the box hears of it before the process runs.
        let most = command.instructions;
        let call =
            most.map(|most| Call::Measure { started: true, bound: Bound::Kill, process: id, most });
        let measured = call.and_then(|call| state.client.call(b"", call));
        drop(state);
        let handle = Arc::new(Handle { attach: self.clone(), id });
        self.0.flush();
        let mut state = self.0.state();
        let started = loop {
            if let Some(started) = state.processes.get(&id).and_then(|p| p.started.clone()) {
                break started;
            }
            if let Some(why) = &state.over {
                break Err(ExecError::Over(why.clone()));
            }
            state = self.0.wait(state);
        };
        drop(state);
        let pid = started?;
        let reader = |stream: Stream| {
            let taken = command.start.takes(stream);
            taken.then(|| StreamReader { handle: handle.clone(), stream, own: false })
        };
        Ok(Process {
            pid,
            stdin: command.start.stdin.then(|| Stdin(handle.clone())),
            stdout: reader(Stream::Stdout),
            stderr: reader(Stream::Stderr),
            measure: measured.map(|number| Measure::new(self, number)),
            handle,
        })
    }
}

impl Process {
    /// Its process id in the box.
    pub fn id(&self) -> u32 {
        self.pid
    }

    /// Waits for its end. Its output is to be read meanwhile: a process whose output nobody takes waits.
    ///
    /// # Errors
    /// The box has ended, or the connection to it, without a word of this process.
    pub fn wait(&self) -> Result<Exit, ExecError> {
        let shared = &self.handle.attach.0;
        let mut state = shared.state();
        loop {
            if let Some(exit) = state.processes.get(&self.handle.id).and_then(|p| p.exit) {
                return Ok(exit);
            }
            if let Some(why) = &state.over {
                return Err(ExecError::Over(why.clone()));
            }
            state = shared.wait(state);
        }
    }

    /// Sends it a signal (Linux's number); nothing to one that has ended.
    ///
    /// # Errors
    /// The box has ended.
    pub fn signal(&self, signal: u8) -> Result<(), ExecError> {
        self.handle.attach.tell(|client| client.signal(self.handle.id, signal))
    }

    /// Its terminal has another size.
    ///
    /// # Errors
    /// The box has ended.
    pub fn resize(&self, rows: u16, columns: u16) -> Result<(), ExecError> {
        self.handle.attach.tell(|client| client.resize(self.handle.id, rows, columns))
    }
}

impl Process {
    /// From now on signals of this process go to the one in the box; with `terminal` the terminal on standard input is in raw mode until the
    /// result is dropped, and its size is told.
    ///
    /// # Errors
    /// No socket or thread is to be had.
    pub fn take_signals(
        &self,
        signals: &Signals,
        terminal: Option<RawTerminal>,
    ) -> io::Result<Forwarding> {
        let (theirs, mut ours) = UnixStream::pair()?;
        let handle = self.handle.clone();
        let pass = move || {
            let mut message = [0; MESSAGE];
            while ours.read_exact(&mut message).is_ok() {
                let told = handle.attach.tell(|client| match Control::decode(message) {
                    Some(Control::Signal(signal)) => client.signal(handle.id, signal as u8),
                    Some(Control::Window { rows, columns }) => {
                        client.resize(handle.id, rows, columns);
                    }
                    Some(Control::Freeze) | None => {}
                });
                if told.is_err() {
                    return;
                }
            }
        };
        std::thread::Builder::new().name("exec-signals".to_owned()).spawn(pass)?;
        signals.forward(theirs, terminal)
    }
}

/// Standard input of a process; dropped, it ends.
pub struct Stdin(Arc<Handle>);

impl Write for Stdin {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let (shared, id) = (&self.0.attach.0, self.0.id);
        let mut state = shared.state();
        loop {
            let closed = state.processes.get(&id).is_none_or(|process| process.input_closed);
            if closed || state.over.is_some() {
                return Err(io::ErrorKind::BrokenPipe.into());
            }
            match state.client.input(id, bytes) {
                None => return Err(io::ErrorKind::BrokenPipe.into()),
                Some(0) if !bytes.is_empty() => state = shared.wait(state),
                Some(taken) => {
                    drop(state);
                    shared.flush();
                    return Ok(taken);
                }
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Stdin {
    fn drop(&mut self) {
        // A box that is gone needs nothing.
        let _ = self.0.attach.tell(|client| client.end_input(self.0.id));
    }
}

/// An output stream of a process; dropped, writing to it fails there.
pub struct StreamReader {
    handle: Arc<Handle>,
    stream: Stream,
    own: bool,
}

impl StreamReader {
    /// Reads what the process itself writes: the stream ends with it, and does not wait for others that it has left the stream to.
    #[must_use]
    pub fn own(mut self) -> StreamReader {
        self.own = true;
        self
    }
}

impl Read for StreamReader {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let shared = &self.handle.attach.0;
        let mut state = shared.state();
        loop {
            let over = state.over.is_some();
            let Some(process) = state.processes.get_mut(&self.handle.id) else { return Ok(0) };
            let output = &mut process.outputs[self.stream.index()];
            let mut most = buf.len().min(output.bytes.len());
            if let Some(own) = output.own.filter(|_| self.own) {
                most = most.min(usize::try_from(own).unwrap_or(usize::MAX));
            }
            if most > 0 {
                for (to, from) in buf.iter_mut().zip(output.bytes.drain(..most)) {
                    *to = from;
                }
                output.own = output.own.map(|own| own.saturating_sub(most as u64));
                drop(state);
                consumed(&self.handle.attach, self.handle.id, self.stream, most);
                return Ok(most);
            }
            if buf.is_empty() || output.ended || over || (self.own && output.own == Some(0)) {
                return Ok(0);
            }
            state = shared.wait(state);
        }
    }
}

impl Drop for StreamReader {
    fn drop(&mut self) {
        // A box that is gone needs nothing.
        let _ = self.handle.attach.tell(|client| client.close(self.handle.id, self.stream));
    }
}
