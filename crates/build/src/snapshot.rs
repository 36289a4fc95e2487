//! Snapshots: what a box's programs do before it becomes a file.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use regex::bytes::Regex;
use rootfs::config::BoxConfig;
use rootfs::limits::Limits;
use runtime::{FirstLife, Input, LifeError, Output, Overrides, RunOptions, Until};

use crate::builder::Workshop;
use crate::config::shell_words;
use crate::error::{Cause, Error, Result};
use crate::events::StepId;
use crate::freeze::lines;

/// What happens before a snapshot is taken.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Life {
    /// Nothing: the box is booted.
    #[default]
    Boot,
    /// The image's own command runs until it is ready.
    Ready,
    /// This command runs to its end, and the files that it leaves stay: a JSON array of words, or text for the image's shell.
    Command(String),
}

/// When a command is ready.
#[derive(Clone, Debug, Default)]
pub enum When {
    /// It waits for input or for somebody who connects.
    #[default]
    Waits,
    /// It has written a line in which this is found, on standard output or standard error.
    Output(Regex),
    /// There is such a file.
    File(String),
    /// Its server answers a request of HTTP so.
    Answers {
        /// The server's port, or the first that waits.
        port: Option<u16>,
        /// What is asked for.
        path: String,
        /// The status of the answer.
        status: u16,
    },
}

/// How a snapshot is taken.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// What happens before.
    pub life: Life,
    /// When it is ready.
    pub when: When,
    /// The longest that may take.
    pub timeout: Duration,
    /// What the programs may use.
    pub limits: Limits,
    /// Their clock counts instructions, and their randomness is fixed, so that the box is the same each time;
    pub reproducible: bool,
    /// the clock then starts here, in seconds since the epoch, or at the time of the youngest file.
    pub source_date_epoch: Option<i64>,
}

/// [`Snapshot::timeout`] if nobody says.
pub const SNAPSHOT_TIMEOUT: Duration = Duration::from_secs(60);

impl Default for Snapshot {
    fn default() -> Snapshot {
        Snapshot {
            life: Life::default(),
            when: When::default(),
            timeout: SNAPSHOT_TIMEOUT,
            limits: Limits::default(),
            reproducible: false,
            source_date_epoch: None,
        }
    }
}

const NO_PATH: &str = "http: it is [PORT]/PATH[=STATUS]";

impl When {
    /// Reads `output:REGEX`, `file:PATH` or `http:[PORT]/PATH[=STATUS]`.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<When, String> {
        match text.split_once(':') {
            Some(("output", pattern)) => {
                let regex = Regex::new(pattern).map_err(|error| format!("output: {error}"))?;
                Ok(When::Output(regex))
            }
            Some(("file", path)) if path.starts_with('/') => Ok(When::File(path.to_owned())),
            Some(("file", _)) => Err("file: the path must be absolute".to_owned()),
            Some(("http", request)) => {
                let (address, status) = request.rsplit_once('=').unwrap_or((request, "200"));
                let (port, path) = address.split_at(address.find('/').ok_or(NO_PATH)?);
                let port = match port {
                    "" => None,
                    port => Some(port.parse().map_err(|_| format!("http: no port: {port:?}"))?),
                };
                let status = status.parse().map_err(|_| format!("http: no status: {status:?}"))?;
                if path.bytes().any(|byte| byte <= b' ' || byte == 0x7f) {
                    return Err("http: spaces in a path are written %20".to_owned());
                }
                Ok(When::Answers { port, path: path.to_owned(), status })
            }
            _ => Err("it is none of output:REGEX, file:PATH, http:[PORT]/PATH[=STATUS]".to_owned()),
        }
    }
}

impl Snapshot {
    /// What tells two boxes of an image apart. A snapshot whose clock is the real one is another each time, but made once
    /// it is as good as new.
    pub(crate) fn key(&self) -> Vec<u8> {
        match &self.life {
            Life::Boot => Vec::new(),
            life => {
                let clock = (self.reproducible, self.source_date_epoch);
                format!("{life:?} {:?} {:?} {clock:?}", self.when, self.limits).into()
            }
        }
    }

    /// Whether anything happens.
    pub fn happens(&self) -> bool {
        self.life != Life::Boot
    }

    /// What a step is called.
    pub(crate) fn title(&self, config: &BoxConfig) -> String {
        match &self.life {
            Life::Boot => String::new(),
            Life::Ready => {
                format!("snapshot {}", [&config.entrypoint[..], &config.cmd[..]].concat().join(" "))
            }
            Life::Command(command) => format!("snapshot after {command}"),
        }
    }

    /// The words that are executed instead of the image's own.
    fn words(&self, shell: Option<&[String]>) -> Result<Option<Vec<String>>> {
        let Life::Command(text) = &self.life else { return Ok(None) };
        let words = match serde_json::from_str::<Vec<String>>(text) {
            Ok(words) => words,
            Err(_) => [shell_words(shell).as_slice(), std::slice::from_ref(text)].concat(),
        };
        match words.is_empty() {
            true => Err(Cause::Snapshot { reason: "--snapshot has no words".to_owned() }.into()),
            false => Ok(Some(words)),
        }
    }

    /// Calls `link` with the life that a box has before it is written.
    pub(crate) fn with_life<T>(
        &self,
        workshop: &Workshop,
        step: StepId,
        shell: Option<&[String]>,
        newest: impl FnOnce() -> i64,
        link: impl FnOnce(&mut FirstLife<'_>) -> Result<T>,
    ) -> Result<T> {
        let seen = Arc::new(AtomicBool::new(false));
        let output = || {
            let Output::Writer(inner) = lines(step, &workshop.events) else {
                return Output::Discard;
            };
            let When::Output(pattern) = &self.when else { return Output::Writer(inner) };
            let (pattern, seen) = (pattern.clone(), Arc::clone(&seen));
            Output::Writer(Box::new(Watched { inner, pattern, seen, line: Vec::new() }))
        };
        let mut env = Vec::new();
        if self.reproducible {
            let clock = self.source_date_epoch.unwrap_or_else(newest);
            let clock = u64::try_from(clock).unwrap_or_default();
            env.push(("BOXER_CLOCK".to_owned(), clock.to_string()));
        }
        let words = self.words(shell)?;
        let mut overrides =
            Overrides { limits: self.limits, tty: Some(false), ..Overrides::default() };
        let mut args = Vec::new();
        if let Some(words) = &words {
            // An entrypoint of no words, and the command as arguments.
            overrides.entrypoint = Some(String::new());
            args.clone_from(words);
        }
        let options = RunOptions {
            args,
            env,
            stdin: Input::Silent,
            stdout: output(),
            stderr: output(),
            overrides,
            interrupt: Some(workshop.interrupt.clone()),
            ..RunOptions::default()
        };
        let is_seen = || seen.load(Ordering::SeqCst);
        let until = match (&self.life, &self.when) {
            (Life::Command(_), _) => Until::Ends,
            (_, When::Waits) => Until::Waits,
            (_, When::Output(_)) => Until::True(&is_seen),
            (_, When::File(path)) => Until::File(path),
            (_, When::Answers { port, path, status }) => {
                Until::Answers { port: *port, path, status: *status }
            }
        };
        link(&mut FirstLife::new(options, until, self.timeout)).map_err(explained)
    }
}

/// Says of a life that failed what users can do about it.
fn explained(error: Error) -> Error {
    let Cause::Link(link::LinkError::Life(life)) = &*error.cause else { return error };
    let Some(life) = life.downcast_ref::<LifeError>() else { return error };
    let hint = match life {
        LifeError::Run(runtime::RunError::Interrupted) => return Cause::Cancelled.into(),
        LifeError::Ended(_) => Some(
            "a snapshot is of a program that waits for something; --snapshot=COMMAND is for what prepares and ends",
        ),
        LifeError::Stuck => Some(
            "there is no network in a build but the box's own; --snapshot-when says when the program is ready, or the program \
             writes to /dev/boxer/snapshot",
        ),
        LifeError::Slow(_) => Some("--snapshot-timeout gives it more time"),
        _ => None,
    };
    let cause = Cause::Snapshot { reason: life.to_string() };
    let error = Error::from(cause);
    match hint {
        Some(hint) => error.hint(hint),
        None => error,
    }
}

/// Lets pass what a program writes, and looks at its lines.
struct Watched {
    inner: Box<dyn Write + Send>,
    pattern: Regex,
    seen: Arc<AtomicBool>,
    /// The line so far.
    line: Vec<u8>,
}

/// Of longer lines only the beginning is looked at, in bytes.
const LINE_MAX: usize = 64 << 10;

impl Write for Watched {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(bytes)?;
        let text = bytes.get(..written).unwrap_or_default();
        for piece in text.split_inclusive(|byte| *byte == b'\n') {
            let room = LINE_MAX.saturating_sub(self.line.len());
            self.line.extend_from_slice(&piece[..piece.len().min(room)]);
            // A prompt is a line without an end, so each is looked at as it grows.
            if self.pattern.is_match(self.line.trim_ascii_end()) {
                self.seen.store(true, Ordering::SeqCst);
            }
            if piece.ends_with(b"\n") {
                self.line.clear();
            }
        }
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::When;

    #[test]
    fn conditions() {
        for (text, expected) in [
            ("file:/run/x", "Ok(File(\"/run/x\"))"),
            ("http:/=200", "Ok(Answers { port: None, path: \"/\", status: 200 })"),
            (
                "http:8080/a?b=c=204",
                "Ok(Answers { port: Some(8080), path: \"/a?b=c\", status: 204 })",
            ),
            ("http:/up", "Ok(Answers { port: None, path: \"/up\", status: 200 })"),
            ("output:ready|up", "Ok(Output(Regex(\"ready|up\")))"),
        ] {
            assert_eq!(format!("{:?}", When::parse(text)), expected);
        }
        for text in
            ["", "ready", "file:x", "http:80", "http:x/", "http:/=", "http:/a b", "output:("]
        {
            assert!(When::parse(text).is_err(), "{text}");
        }
    }
}
