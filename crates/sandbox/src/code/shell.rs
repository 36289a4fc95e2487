//! A bash that keeps its variables and directory: code goes in by its input, ended by a zero byte, and marks that nobody can guess end what
//! it puts out.

use super::{Code, Event, GRACE, Progress};
use crate::error::Error;
use crate::id;
use crate::limit::{Limit, SIGINT, SIGKILL};
use crate::running::Running;
use crate::streams::{Chunk, Pumped};
use runtime::{Command, Process, Stdin};
use std::io::Write;
use std::time::Instant;

/// Random bytes of what ends the output of a piece of code.
const MARK: usize = 16;

const LOOP: &str = r#"trap : INT
while IFS= read -r -d '' __boxer_code <&9; do
eval "$__boxer_code"
__boxer_status=$?
printf '\0%s%d\n' "$0" "$__boxer_status"
printf '\0%s\n' "$0" >&2
done 9<&0 </dev/null"#;

/// One that runs.
pub struct Shell {
    process: Process,
    stdin: Stdin,
    outputs: Pumped,
    mark: Vec<u8>,
    count: u64,
}

impl Shell {
    /// Starts one.
    ///
    /// # Errors
    /// There is no bash.
    pub fn start(running: &Running) -> Result<Shell, Error> {
        let mark = id::secret::<MARK>()?;
        let command = Command::new("bash").args(["-c", LOOP, &mark]).stdin(true);
        let mut process = running.attach().exec(&command)?;
        let gone = || Error::Ended("the shell has no streams".to_owned());
        let stdin = process.stdin.take().ok_or_else(gone)?;
        let outputs = Pumped::start(&mut process)?;
        Ok(Shell { process, stdin, outputs, mark: mark.into_bytes(), count: 0 })
    }

    /// Its process in the sandbox.
    pub fn pid(&self) -> u32 {
        self.process.id()
    }

    /// Runs code; whether the shell is still good.
    pub fn run(&mut self, running: &Running, code: &Code<'_>, progress: &mut Progress<'_>) -> bool {
        let mut text = String::new();
        for (name, value) in &code.env {
            text.push_str(&format!("export {name}={}\n", quoted(value)));
        }
        if let Some(cwd) = &code.cwd {
            text.push_str(&format!("cd -- {}\n", quoted(cwd)));
        }
        text.push_str(&code.code.replace('\0', ""));
        let mut bytes = text.into_bytes();
        bytes.push(0);
        if self.stdin.write_all(&bytes).is_err() {
            return false;
        }
        self.count += 1;
        progress.execution.execution_count = self.count;
        let mut until = Instant::now() + code.timeout;
        let mut told_to_stop = false;
        let mut rest = [Vec::new(), Vec::new()];
        let mut ended = [false; 2];
        while ended.contains(&false) {
            match self.outputs.next(until) {
                Some(Chunk::Bytes(stream, bytes)) => {
                    let Some(rest) = rest.get_mut(stream) else { continue };
                    rest.extend(bytes);
                    let (text, status) = cut(rest, &self.mark);
                    if let Some(status) = status {
                        if let Some(place) = ended.get_mut(stream) {
                            *place = true;
                        }
                        if stream == 0 && status != "0" {
                            progress.fail("ExitStatus", status);
                        }
                    }
                    let len = text.len();
                    let event = match stream {
                        0 => Event::Stdout { text },
                        _ => Event::Stderr { text },
                    };
                    if len > 0 && !progress.take(&event, len) && !told_to_stop {
                        told_to_stop = true;
                        until = Instant::now() + GRACE;
                        let _ = running.attach().kill(self.process.id(), true, SIGINT);
                    }
                }
                Some(Chunk::End) => return false,
                None if !told_to_stop => {
                    progress.execution.limit.get_or_insert(Limit::Time);
                    told_to_stop = true;
                    until = Instant::now() + GRACE;
                    let _ = running.attach().kill(self.process.id(), true, SIGINT);
                }
                None => {
                    let _ = running.attach().kill(self.process.id(), true, SIGKILL);
                    return false;
                }
            }
        }
        true
    }
}

/// Takes the text before the mark, and what stands behind the mark, once it has come. What may be the beginning of a mark or of a letter stays.
fn cut(rest: &mut Vec<u8>, mark: &[u8]) -> (String, Option<String>) {
    let zero = rest.iter().position(|byte| *byte == 0);
    if let Some(zero) = zero {
        let after = rest.get(zero + 1..).unwrap_or_default();
        if let Some(tail) = after.strip_prefix(mark)
            && let Some(end) = tail.iter().position(|byte| *byte == b'\n')
        {
            let status = String::from_utf8_lossy(tail.get(..end).unwrap_or_default()).into_owned();
            let text = String::from_utf8_lossy(rest.get(..zero).unwrap_or_default()).into_owned();
            rest.clear();
            return (text, Some(status));
        }
        if after.len() > mark.len() + 8 {
            // A zero byte of the program's own.
            let text = String::from_utf8_lossy(rest.get(..=zero).unwrap_or_default()).into_owned();
            rest.drain(..=zero);
            let (more, status) = cut(rest, mark);
            return (text + &more, status);
        }
    }
    let most = zero.unwrap_or(rest.len());
    let whole = match std::str::from_utf8(rest.get(..most).unwrap_or_default()) {
        Err(error) if error.error_len().is_none() => error.valid_up_to(),
        _ => most,
    };
    let text = String::from_utf8_lossy(rest.get(..whole).unwrap_or_default()).into_owned();
    rest.drain(..whole);
    (text, None)
}

/// A word of a shell.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::{cut, quoted};

    #[test]
    fn output_is_cut_at_the_mark_alone() {
        let mut rest = b"a\0b".to_vec();
        assert_eq!(cut(&mut rest, b"m"), ("a".to_owned(), None));
        rest.extend(b"cdefghijklmnop \0m7\n");
        assert_eq!(cut(&mut rest, b"m"), ("\0bcdefghijklmnop ".to_owned(), Some("7".to_owned())));
        let mut rest = "é".as_bytes()[..1].to_vec();
        assert_eq!(cut(&mut rest, b"m"), (String::new(), None));
        rest.extend(&"é".as_bytes()[1..]);
        assert_eq!(cut(&mut rest, b"m"), ("é".to_owned(), None));
        assert_eq!(quoted("it's"), r"'it'\''s'");
    }
}
