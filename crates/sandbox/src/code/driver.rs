//! The connection to an interpreter that waits in a sandbox: lines of JSON over a port of the sandbox.
//!
//! What comes is the sandbox's to say: nothing of it is believed but as data, and no line is longer than what it may put out.

use crate::error::Error;
use crate::running::Running;
use runtime::Command;
use serde_json::Value;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

/// What runs Python code.
pub const PYTHON: &str = include_str!("../drivers/driver.py");
/// Where the interpreter of a template waits.
pub const PYTHON_PORT: u16 = 49_963;
/// What it runs before sandboxes start from the template.
pub const REHEARSAL: &str = include_str!("../drivers/rehearsal.py");
/// What runs JavaScript.
pub const NODE: &str = include_str!("../drivers/driver.js");

/// Bytes of the line in which an interpreter says its port.
const PORT_LINE: u64 = 16;
/// Bytes that are read at once.
const PIECE: usize = 64 << 10;
/// Bytes of the longest line that a rehearsal may give.
const LONGEST: usize = 1 << 20;
/// How long an interpreter may take to take a request.
const TAKE: Duration = Duration::from_secs(30);

/// Starts an interpreter; the port at which it waits.
///
/// # Errors
/// It is not there, or ends with what it has said.
pub fn start(running: &Running, command: &Command) -> Result<u16, Error> {
    let process = running.attach().exec(command)?;
    let said = |stream: Option<runtime::StreamReader>, most| {
        let mut line = String::new();
        let Some(stream) = stream else { return line };
        // What is no text is no port, either.
        let _ = BufReader::new(stream.take(most)).read_line(&mut line);
        line
    };
    let line = said(process.stdout, PORT_LINE);
    if let Ok(port) = line.trim().parse() {
        return Ok(port);
    }
    let mut why = String::new();
    if let Some(stderr) = process.stderr {
        let _ = stderr.own().take(PIECE as u64).read_to_string(&mut why);
    }
    let last = why.trim_end().lines().last().unwrap_or("it says nothing").to_owned();
    Err(running
        .ended()
        .unwrap_or(Error::Language(format!("the interpreter does not start: {last}"))))
}

/// How long one may take.
const REHEARSAL_TIME: Duration = Duration::from_secs(60);

/// Has the interpreter at this port be called so many times and run code as sandboxes will, without leaving anything of it behind.
///
/// # Errors
/// It is gone.
pub fn rehearse(running: &Running, port: u16, times: usize) -> Result<(), Error> {
    let failed = || Error::io("rehearse with the interpreter");
    for _ in 0..times {
        let mut driver = Driver::connect(running, port, LONGEST).map_err(failed())?;
        // With an error, too, which is the second most usual.
        for code in [REHEARSAL, "print(1)", "1 / 0"] {
            let request = serde_json::json!({"id": 0, "rehearse": true, "code": code});
            driver.say(&request).map_err(failed())?;
            let until = Instant::now() + REHEARSAL_TIME;
            loop {
                match driver.hear(until) {
                    Heard::Event(event) if event["type"] == "done" => break,
                    Heard::Event(_) => {}
                    Heard::Late | Heard::Gone => {
                        return Err(running.ended().unwrap_or_else(|| {
                            Error::Language("the interpreter does not answer".to_owned())
                        }));
                    }
                }
            }
        }
    }
    Ok(())
}

/// What came of waiting for a line.
pub enum Heard {
    Event(Value),
    /// Nothing, until it was time.
    Late,
    /// The interpreter is gone, or says what is no event.
    Gone,
}

/// A connection to one.
pub struct Driver {
    stream: UnixStream,
    buffer: Vec<u8>,
    /// Bytes at the front of the buffer that have no newline.
    searched: usize,
    longest: usize,
    /// Its process in the sandbox.
    pub pid: u32,
}

impl Driver {
    /// Connects, and waits until it has said who it is.
    ///
    /// # Errors
    /// Nobody is there.
    pub fn connect(running: &Running, port: u16, longest: usize) -> io::Result<Driver> {
        let stream = running.call(port)?;
        stream.set_write_timeout(Some(TAKE))?;
        let mut driver = Driver { stream, buffer: Vec::new(), searched: 0, longest, pid: 0 };
        match driver.hear(Instant::now() + TAKE) {
            Heard::Event(event) => {
                let pid = event["pid"].as_u64().and_then(|pid| u32::try_from(pid).ok());
                driver.pid = pid.ok_or(io::ErrorKind::InvalidData)?;
                Ok(driver)
            }
            _ => Err(io::ErrorKind::ConnectionRefused.into()),
        }
    }

    /// Asks for something.
    ///
    /// # Errors
    /// It is gone.
    pub fn say(&mut self, request: &Value) -> io::Result<()> {
        let mut line = request.to_string();
        line.push('\n');
        self.stream.write_all(line.as_bytes())
    }

    /// Waits for the next event until then.
    pub fn hear(&mut self, until: Instant) -> Heard {
        loop {
            let fresh = self.buffer.get(self.searched..).unwrap_or_default();
            if let Some(end) = fresh.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.buffer.drain(..=self.searched + end).collect();
                self.searched = 0;
                return serde_json::from_slice(&line).map_or(Heard::Gone, Heard::Event);
            }
            self.searched = self.buffer.len();
            if self.buffer.len() > self.longest {
                return Heard::Gone;
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Heard::Late;
            }
            if self.stream.set_read_timeout(Some(left)).is_err() {
                return Heard::Gone;
            }
            let at = self.buffer.len();
            self.buffer.resize(at + PIECE, 0);
            let read = self.stream.read(self.buffer.get_mut(at..).unwrap_or_default());
            self.buffer.truncate(at + read.as_ref().map_or(0, |len| *len));
            match read {
                Ok(0) => return Heard::Gone,
                Ok(_) => {}
                Err(error) => match error.kind() {
                    io::ErrorKind::Interrupted => {}
                    io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => return Heard::Late,
                    _ => return Heard::Gone,
                },
            }
        }
    }
}
