//! Commands in a sandbox, in the foreground and in the background.

use crate::audit::Audit;
use crate::error::Error;
use crate::limit::{Limit, SIGKILL};
use crate::running::{Running, lock};
use crate::streams::{Chunk, Pumped};
use runtime::{Attach, Exit, Process, Stdin};
use serde::Serialize;
use serde_json::json;
use std::collections::BTreeMap;
use std::io::Write;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How a command is run.
#[derive(Clone, Debug, Default)]
pub struct CommandOptions {
    /// Variables, over those of the sandbox.
    pub env: BTreeMap<String, String>,
    /// Working directory; none is that of the image.
    pub cwd: Option<String>,
    /// `USER[:GROUP]`; none is that of the image.
    pub user: Option<String>,
    /// Whether it is sent input; otherwise it has none.
    pub stdin: bool,
    /// Instructions that it and what it starts may execute, counted one by one; after the last all are killed. What leaves its session
    /// (setsid(2)) is not counted.
    pub instructions: Option<u64>,
}

/// What a command put out, on standard output or standard error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CommandOutput {
    /// On standard output.
    Stdout(Vec<u8>),
    /// On standard error.
    Stderr(Vec<u8>),
}

/// How a command has ended.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct CommandResult {
    /// What it wrote to standard output; what is no UTF-8 is replaced.
    pub stdout: String,
    /// What it wrote to standard error.
    pub stderr: String,
    /// Its exit status; 128 + n when signal n ended it.
    pub exit_code: i32,
    /// The limit that it has reached, for which it was killed.
    pub limit: Option<Limit>,
    /// Instructions that it has executed, if they had a limit.
    pub instructions: Option<u64>,
    /// Why nothing more is known of it.
    pub error: Option<String>,
}

/// A command that was started. Clones are the same; dropped, it goes on.
#[derive(Clone)]
pub struct CommandHandle(Arc<Inner>);

struct Inner {
    pid: u32,
    command: String,
    attach: Attach,
    audit: Audit,
    stdin: Mutex<Option<Stdin>>,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    log: Vec<CommandOutput>,
    bytes: u64,
    limit: Option<Limit>,
    instructions: Option<u64>,
    /// Its exit status, or why it is not known.
    end: Option<Result<i32, String>>,
}

/// Starts a command line by the shell of the sandbox.
pub(crate) fn start(
    running: &Running,
    shell: &str,
    line: &str,
    options: &CommandOptions,
    output: u64,
    audit: &Audit,
) -> Result<CommandHandle, Error> {
    let mut command = runtime::Command::new(shell).args(["-c", line]).stdin(options.stdin);
    for (name, value) in &options.env {
        command = command.env(name, value);
    }
    if let Some(cwd) = &options.cwd {
        command = command.cwd(cwd);
    }
    if let Some(user) = &options.user {
        command = command.user(user);
    }
    if let Some(most) = options.instructions {
        command = command.instructions(most);
    }
    let mut process = running.attach().exec(&command)?;
    let measure = process.measure.take();
    let pumped = Pumped::start(&mut process)?;
    let handle = CommandHandle(Arc::new(Inner {
        pid: process.id(),
        command: line.to_owned(),
        attach: running.attach().clone(),
        audit: audit.clone(),
        stdin: Mutex::new(process.stdin.take()),
        state: Mutex::default(),
        changed: Condvar::new(),
    }));
    let fields =
        json!({"pid": handle.pid(), "command": line, "user": options.user, "cwd": options.cwd});
    audit.record("command.started", fields);
    let (inner, audit) = (handle.0.clone(), audit.clone());
    let met = |attach: &Attach| attach.usage().map(|usage| usage.met).unwrap_or_default();
    let work = move || {
        let end = inner.collect(&process, &pumped, output);
        // Of a box that has ended nothing is known.
        let measured = measure.and_then(|measure| measure.end().ok());
        // Before anybody hears that it is over, so that who does finds it in the trail.
        let met = met(&inner.attach);
        let mut state = lock(&inner.state);
        if let Some(measured) = measured {
            state.instructions = Some(measured.instructions);
            if measured.reached {
                state.limit.get_or_insert(Limit::Instructions);
            }
        }
        if let Some(limit) = state.limit {
            let fields = json!({"limit": limit, "by": "command", "pid": inner.pid});
            audit.record("limit.reached", fields);
        }
        audit.record_met(met);
        let status = end.as_ref().copied().unwrap_or(-1);
        let fields = json!({
            "pid": inner.pid,
            "exit_code": status,
            "limit": state.limit,
            "bytes": state.bytes,
            "instructions": state.instructions,
        });
        audit.record("command.finished", fields);
        state.end = Some(end);
        inner.changed.notify_all();
    };
    let thread = std::thread::Builder::new().name("command".to_owned());
    thread.spawn(work).map_err(Error::io("start a thread"))?;
    Ok(handle)
}

impl Inner {
    fn collect(&self, process: &Process, pumped: &Pumped, most: u64) -> Result<i32, String> {
        loop {
            match pumped.next(Instant::now() + Duration::from_secs(3600)) {
                Some(Chunk::End) => break,
                None => {}
                Some(Chunk::Bytes(stream, bytes)) => {
                    let mut state = lock(&self.state);
                    let room = most.saturating_sub(state.bytes);
                    let fits = usize::try_from(room).unwrap_or(usize::MAX).min(bytes.len());
                    let over = fits < bytes.len();
                    let bytes = bytes.get(..fits).unwrap_or_default().to_vec();
                    state.bytes += fits as u64;
                    state.log.push(match stream {
                        0 => CommandOutput::Stdout(bytes),
                        _ => CommandOutput::Stderr(bytes),
                    });
                    self.changed.notify_all();
                    if over && state.limit.is_none() {
                        state.limit = Some(Limit::Output);
                        drop(state);
                        let _ = self.attach.kill(self.pid, true, SIGKILL);
                    }
                }
            }
        }
        match process.wait() {
            Ok(Exit::Exited(status)) => Ok(i32::from(status)),
            Ok(Exit::Signaled { signal, .. }) => Ok(128 + i32::from(signal)),
            Err(error) => Err(error.to_string()),
        }
    }
}

impl CommandHandle {
    /// Its process id in the sandbox.
    pub fn pid(&self) -> u32 {
        self.0.pid
    }

    /// The command line.
    pub fn command(&self) -> &str {
        &self.0.command
    }

    /// Whether it has not ended.
    pub fn is_running(&self) -> bool {
        lock(&self.0.state).end.is_none()
    }

    /// Waits until it has ended, and tells its output from the beginning. When the time is over it is killed, with all of its session.
    pub fn wait(
        &self,
        timeout: Option<Duration>,
        tell: &mut dyn FnMut(&CommandOutput),
    ) -> CommandResult {
        let mut until = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        let mut told = 0;
        let mut state = lock(&self.0.state);
        loop {
            while let Some(output) = state.log.get(told).cloned() {
                told += 1;
                drop(state);
                tell(&output);
                state = lock(&self.0.state);
            }
            if state.end.is_some() {
                return state.result();
            }
            state = match until {
                None => self.0.changed.wait(state).unwrap_or_else(PoisonError::into_inner),
                Some(end) => {
                    let left = end.saturating_duration_since(Instant::now());
                    if left.is_zero() {
                        until = None;
                        state.limit.get_or_insert(Limit::Time);
                        drop(state);
                        let _ = self.0.attach.kill(self.0.pid, true, SIGKILL);
                        state = lock(&self.0.state);
                        continue;
                    }
                    self.wait_for(state, left)
                }
            };
        }
    }

    fn wait_for<'a>(&self, state: MutexGuard<'a, State>, left: Duration) -> MutexGuard<'a, State> {
        self.0.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0
    }

    /// Sends it input.
    ///
    /// # Errors
    /// It takes none.
    pub fn send_stdin(&self, bytes: &[u8]) -> Result<(), Error> {
        let fields = json!({"pid": self.0.pid, "bytes": bytes.len()});
        self.0.audit.record("command.input", fields);
        match lock(&self.0.stdin).as_mut() {
            Some(stdin) => stdin.write_all(bytes).map_err(Error::io("send input")),
            None => {
                Err(Error::Invalid("the command takes no input: start it with stdin".to_owned()))
            }
        }
    }

    /// No more input comes.
    pub fn close_stdin(&self) {
        drop(lock(&self.0.stdin).take());
    }

    /// Sends a signal (Linux's number) to it and all of its session; whether there was somebody.
    pub fn signal(&self, signal: u8) -> bool {
        self.0.audit.record("command.signaled", json!({"pid": self.0.pid, "signal": signal}));
        self.0.attach.kill(self.0.pid, true, signal).is_ok()
    }

    /// Kills it; whether it ran.
    pub fn kill(&self) -> bool {
        self.is_running() && self.signal(SIGKILL)
    }
}

impl State {
    fn result(&self) -> CommandResult {
        let mut streams = [Vec::new(), Vec::new()];
        for output in &self.log {
            match output {
                CommandOutput::Stdout(bytes) => streams[0].extend(bytes),
                CommandOutput::Stderr(bytes) => streams[1].extend(bytes),
            }
        }
        let [stdout, stderr] = streams.map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
        let (exit_code, error) = match self.end.clone() {
            Some(Ok(status)) => (status, None),
            Some(Err(why)) => (-1, Some(why)),
            None => (-1, None),
        };
        let (limit, instructions) = (self.limit, self.instructions);
        CommandResult { stdout, stderr, exit_code, limit, instructions, error }
    }
}
