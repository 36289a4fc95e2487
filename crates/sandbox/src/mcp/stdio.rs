//! The protocol on two streams: a message on each line, for one client.

use super::Config;
use super::protocol::{Heard, Protocol, Waited};
use crate::running::lock;
use serde_json::Value;
use std::io::{self, BufRead, Read, Write};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Bytes of the longest message.
const LONGEST: u64 = 64 << 20;
/// How long is waited for the end of a call before it is waited for again.
const LONG: Duration = Duration::from_secs(3600);

/// Serves a client until its messages end.
///
/// # Errors
/// The streams fail.
pub fn serve(
    config: Config,
    input: impl BufRead,
    output: impl Write + Send + 'static,
) -> io::Result<()> {
    let protocol = Protocol::new(&config);
    let output = Arc::new(Mutex::new(output));
    let mut input = input;
    let result = loop {
        let mut line = Vec::new();
        match input.by_ref().take(LONGEST).read_until(b'\n', &mut line) {
            Ok(0) => break Ok(()),
            Ok(_) if line.last() != Some(&b'\n') && line.len() as u64 >= LONGEST => {
                break Err(io::Error::other("a message is too long"));
            }
            Ok(_) if line.trim_ascii().is_empty() => {}
            Ok(_) => match protocol.hear(&line) {
                Heard::Nothing => {}
                Heard::Answer(answer) => say(&output, &answer)?,
                Heard::Call(call) => {
                    let output = output.clone();
                    let tell = move || loop {
                        match call.wait(LONG) {
                            // A client that is gone hears nothing.
                            Waited::Answer(answer) => return drop(say(&output, &answer)),
                            Waited::Cancelled => return,
                            Waited::GoesOn => {}
                        }
                    };
                    std::thread::Builder::new().name("answer".to_owned()).spawn(tell)?;
                }
            },
            Err(error) => break Err(error),
        }
    };
    config.host.kill_all();
    result
}

fn say(output: &Mutex<impl Write>, message: &Value) -> io::Result<()> {
    let mut line = message.to_string();
    line.push('\n');
    let mut output = lock(output);
    output.write_all(line.as_bytes())?;
    output.flush()
}
