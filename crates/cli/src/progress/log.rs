//! What a step has written: whole lines with their times, and what a terminal would show of the line at hand.

use std::collections::VecDeque;
use std::time::Duration;

/// Lines kept, for the failing step's output to be shown again.
pub const KEPT: usize = 2000;
/// The longest line kept while waiting for its end, in bytes.
const LONGEST: usize = 16 << 10;
/// Columns of a tab stop.
const TAB: usize = 8;

/// A line of output.
pub struct Line {
    /// Since the step began.
    pub at: Duration,
    /// Its text, without what moves a cursor.
    pub text: String,
}

/// The output of a step.
#[derive(Default)]
pub struct Log {
    lines: VecDeque<Line>,
    partial: Vec<u8>,
    /// Lines that are no longer kept.
    pub lost: u64,
    /// Bytes written so far.
    pub bytes: u64,
}

impl Log {
    /// Takes output in; gives how many lines became whole by it.
    pub fn push(&mut self, bytes: &[u8], at: Duration) -> usize {
        self.bytes += bytes.len() as u64;
        let mut whole = 0;
        for part in bytes.split_inclusive(|byte| *byte == b'\n') {
            let ended = part.ends_with(b"\n");
            self.partial.extend_from_slice(part.strip_suffix(b"\n").unwrap_or(part));
            if ended || self.partial.len() > LONGEST {
                self.end_line(at);
                whole += 1;
            }
        }
        whole
    }

    /// Takes a line without an end as a line; gives 1 if there was one.
    pub fn flush(&mut self, at: Duration) -> usize {
        if self.partial.is_empty() {
            return 0;
        }
        self.end_line(at);
        1
    }

    fn end_line(&mut self, at: Duration) {
        let bytes = std::mem::take(&mut self.partial);
        if self.lines.len() == KEPT {
            self.lines.pop_front();
            self.lost += 1;
        }
        self.lines.push_back(Line { at, text: shown(&bytes) });
    }

    /// The last `count` whole lines.
    pub fn last(&self, count: usize) -> impl Iterator<Item = &Line> {
        self.lines.iter().skip(self.lines.len().saturating_sub(count))
    }

    /// The last `count` lines that are not blank, the one at hand included.
    pub fn tail(&self, count: usize) -> Vec<String> {
        let partial = shown(&self.partial);
        let lines = self.lines.iter().rev().take(count * 4).map(|line| line.text.clone());
        let lines = std::iter::once(partial).chain(lines).filter(|line| !line.trim().is_empty());
        let mut lines: Vec<String> = lines.take(count).collect();
        lines.reverse();
        lines
    }
}

/// A line as it stands on a terminal in the end: carriage returns and backspaces go back, escape sequences are left out.
fn shown(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let mut out: Vec<char> = Vec::with_capacity(text.len());
    let mut at: usize = 0;
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\r' => at = 0,
            '\u{8}' => at = at.saturating_sub(1),
            '\t' => {
                let stop = (at / TAB + 1) * TAB;
                out.resize(out.len().max(stop), ' ');
                at = stop;
            }
            '\u{1b}' => match chars.next() {
                // ECMA-48: CSI ends with a byte of 0x40 to 0x7e; an OSC with BEL or ST.
                Some('[') => while chars.next().is_some_and(|c| !('@'..='~').contains(&c)) {},
                Some(']') => while chars.next().is_some_and(|c| c != '\u{7}' && c != '\u{1b}') {},
                Some('(' | ')') => drop(chars.next()),
                _ => {}
            },
            c if c.is_control() => {}
            c => {
                match out.get_mut(at) {
                    Some(place) => *place = c,
                    None => out.push(c),
                }
                at += 1;
            }
        }
    }
    out.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::{Log, shown};
    use std::time::Duration;

    #[test]
    fn lines_are_what_a_terminal_would_show() {
        for (bytes, text) in [
            (&b"50%\r100%"[..], "100%"),
            (b"100%\r50", "500%"),
            (b"a\tb", "a       b"),
            (b"\x1b[1;31mred\x1b[0m \x1b]0;title\x07x", "red x"),
            (b"ab\x08c", "ac"),
            (b"\xff", "\u{fffd}"),
        ] {
            assert_eq!(shown(bytes), text);
        }
    }

    #[test]
    fn the_tail_has_the_line_at_hand() {
        let mut log = Log::default();
        assert_eq!(log.push(b"one\n\ntwo\nthr", Duration::ZERO), 3);
        assert_eq!(log.tail(2), ["two", "thr"]);
        assert_eq!(log.push(b"ee", Duration::ZERO), 0);
        assert_eq!(log.flush(Duration::ZERO), 1);
        let last: Vec<&str> = log.last(2).map(|line| line.text.as_str()).collect();
        assert_eq!(last, ["two", "three"]);
    }
}
