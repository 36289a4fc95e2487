//! The line discipline `N_TTY` (termios(3)): editing, echo, signals, output processing.

use std::collections::VecDeque;

use abi::signal::{SIGINT, SIGQUIT, SIGTSTP};
use abi::tty::*;

use super::termios::Termios;

/// Bytes of input that a terminal holds; more are dropped.
const MAX_INPUT: usize = 4096;

/// State of one terminal's line discipline.
#[derive(Default)]
pub struct Discipline {
    /// Attributes.
    pub termios: Termios,
    /// Input that can be read.
    pub input: VecDeque<u8>,
    /// Lengths of the complete lines in `input`, canonical mode; an end of file is a line that its byte is not part of.
    pub lines: VecDeque<usize>,
    /// The line being edited.
    edit: Vec<u8>,
    /// Output for the other side.
    pub output: VecDeque<u8>,
    column: usize,
    /// VLNEXT was typed: the next byte is literal.
    literal: bool,
    /// Output is stopped (VSTOP).
    pub stopped: bool,
    /// The other side is a terminal whose own line discipline edits, echoes and ends lines: none of that is done twice.
    pub is_edited: bool,
}

impl Discipline {
    /// Takes one byte of input; a signal to send to the foreground process group, if it asks for one.
    pub fn receive(&mut self, byte: u8) -> Option<u32> {
        let t = &self.termios;
        let mut byte = if t.input(ISTRIP) { byte & 0x7f } else { byte };
        if self.literal {
            self.literal = false;
            self.accept(byte);
            return None;
        }
        match byte {
            b'\r' if t.input(IGNCR) => return None,
            b'\r' if t.input(ICRNL) => byte = b'\n',
            b'\n' if t.input(INLCR) => byte = b'\r',
            _ => {}
        }
        if t.input(IXON) {
            if t.is(VSTOP, byte) {
                self.stopped = true;
                return None;
            }
            if t.is(VSTART, byte) {
                self.stopped = false;
                return None;
            }
        }
        if t.local(ISIG)
            && let Some(signal) = self.signal_of(byte)
        {
            if !self.termios.local(NOFLSH) {
                self.flush_input();
            }
            if self.termios.input(IXON) {
                self.stopped = false;
            }
            self.echo(byte);
            return Some(signal);
        }
        if self.termios.local(ICANON) {
            self.edit(byte)
        } else {
            self.accept(byte)
        }
        None
    }

    fn signal_of(&self, byte: u8) -> Option<u32> {
        let t = &self.termios;
        [(VINTR, SIGINT), (VQUIT, SIGQUIT), (VSUSP, SIGTSTP)]
            .into_iter()
            .find(|(index, _)| t.is(*index, byte))
            .map(|(_, signal)| signal)
    }

    /// Canonical mode: edits the line.
    fn edit(&mut self, byte: u8) {
        let t = &self.termios;
        if t.is(VERASE, byte) {
            self.erase();
        } else if t.is(VKILL, byte) {
            while !self.edit.is_empty() {
                self.erase();
            }
        } else if t.local(IEXTEN) && t.is(VWERASE, byte) {
            while self.edit.last().is_some_and(|b| *b == b' ' || *b == b'\t') {
                self.erase();
            }
            while self.edit.last().is_some_and(|b| *b != b' ' && *b != b'\t') {
                self.erase();
            }
        } else if t.local(IEXTEN) && t.is(VLNEXT, byte) {
            self.literal = true;
            if self.echoes() && self.termios.local(ECHOCTL) {
                self.emit(b"^\x08");
            }
        } else if t.local(IEXTEN) && t.is(VREPRINT, byte) {
            self.emit(b"\n");
            let line = self.edit.clone();
            line.iter().for_each(|b| self.echo(*b));
        } else if t.is(VEOF, byte) {
            self.finish_line();
        } else if byte == b'\n' || t.is(VEOL, byte) || t.is(VEOL2, byte) {
            self.edit.push(byte);
            let newline = byte == b'\n' && self.termios.local(ECHONL) && !self.is_edited;
            if self.echoes() || newline {
                self.emit(&[byte]);
            }
            self.finish_line();
        } else {
            self.accept(byte);
        }
    }

    fn accept(&mut self, byte: u8) {
        let canonical = self.termios.local(ICANON);
        if self.input.len() + self.edit.len() >= MAX_INPUT {
            return;
        }
        if canonical {
            self.edit.push(byte)
        } else {
            self.input.push_back(byte)
        }
        self.echo(byte);
    }

    fn finish_line(&mut self) {
        self.lines.push_back(self.edit.len());
        self.input.extend(self.edit.drain(..));
    }

    fn erase(&mut self) {
        let Some(byte) = self.edit.pop() else { return };
        // A UTF-8 character goes as a whole.
        if self.termios.input(IUTF8) {
            let mut last = byte;
            while last & 0xc0 == 0x80
                && let Some(before) = self.edit.pop()
            {
                last = before;
            }
        }
        if self.echoes() && self.termios.local(ECHOE) {
            let width = if byte < 32 && self.termios.local(ECHOCTL) { 2 } else { 1 };
            for _ in 0..width {
                self.emit(b"\x08 \x08");
            }
        }
    }

    fn echoes(&self) -> bool {
        self.termios.local(ECHO) && !self.is_edited
    }

    fn echo(&mut self, byte: u8) {
        if !self.echoes() {
            return;
        }
        let control = (byte < 32 && byte != b'\n' && byte != b'\t') || byte == 127;
        if control && self.termios.local(ECHOCTL) {
            self.emit(&[b'^', byte ^ 0x40]);
        } else {
            self.emit(&[byte]);
        }
    }

    /// Output of the terminal's programs, with output processing.
    pub fn emit(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            if !self.termios.output(OPOST) {
                self.output.push_back(byte);
                continue;
            }
            match byte {
                b'\n' if self.termios.output(ONLCR) => {
                    self.output.extend(if self.is_edited { &b"\n"[..] } else { b"\r\n" });
                    self.column = 0;
                }
                b'\r' if self.termios.output(ONOCR) && self.column == 0 => {}
                b'\r' if self.termios.output(OCRNL) => self.output.push_back(b'\n'),
                _ => {
                    self.column = if byte == b'\r' { 0 } else { self.column + 1 };
                    self.output.push_back(byte);
                }
            }
        }
    }

    /// Whether input is kept rather than dropped.
    pub fn has_room(&self) -> bool {
        self.input.len() < MAX_INPUT
    }

    /// Drops input not read yet.
    pub fn flush_input(&mut self) {
        self.input.clear();
        self.lines.clear();
        self.edit.clear();
    }

    /// Changes the attributes; a line under way becomes readable when canonical mode ends.
    pub fn set_termios(&mut self, new: Termios) {
        let was = self.termios.local(ICANON);
        self.termios = new;
        if was && !self.termios.local(ICANON) {
            self.input.extend(self.edit.drain(..));
            self.lines.clear();
        } else if !was && self.termios.local(ICANON) && !self.input.is_empty() {
            self.lines.push_back(self.input.len());
        }
    }

    /// Bytes that a read returns now; `None` = it must wait.
    pub fn readable(&self) -> Option<usize> {
        if self.termios.local(ICANON) {
            return self.lines.front().copied();
        }
        let min = usize::from(self.termios.cc[VMIN]);
        if self.input.len() >= min.max(1) {
            return Some(self.input.len());
        }
        (min == 0 && self.termios.cc[VTIME] == 0).then_some(0)
    }

    /// Reads up to one line (or what there is) into `buf`; the caller has seen that it is readable.
    pub fn take(&mut self, buf: &mut [u8]) -> usize {
        let available = match self.lines.front() {
            Some(line) if self.termios.local(ICANON) => *line,
            _ => self.input.len(),
        };
        let n = available.min(buf.len());
        for (out, byte) in buf.iter_mut().zip(self.input.drain(..n)) {
            *out = byte;
        }
        if self.termios.local(ICANON)
            && let Some(line) = self.lines.front_mut()
        {
            *line -= n;
            if *line == 0 {
                self.lines.pop_front();
            }
        }
        n
    }
}
