//! The terminal on this process's standard input.

use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};
use std::io;
use std::sync::OnceLock;

/// Whether standard input is a terminal.
pub fn is_terminal() -> bool {
    rustix::termios::isatty(io::stdin())
}

/// Rows and columns of the terminal.
pub fn size() -> Option<(u16, u16)> {
    let size = tcgetwinsize(io::stdin()).ok()?;
    (size.ws_row > 0 && size.ws_col > 0).then_some((size.ws_row, size.ws_col))
}

/// How the terminal was before it was first put into raw mode.
static FOUND: OnceLock<Termios> = OnceLock::new();

/// Makes the terminal what it was, from a signal handler: it makes one system call.
pub fn leave_raw() {
    if let Some(found) = FOUND.get() {
        let _ = tcsetattr(io::stdin(), OptionalActions::Now, found);
    }
}

/// The terminal in raw mode: bytes pass unchanged, for the line discipline inside the box works on them. Dropped, it is as
/// it was.
pub struct RawTerminal {
    before: Termios,
}

impl RawTerminal {
    /// Puts the terminal into raw mode.
    pub fn enter() -> io::Result<RawTerminal> {
        let before = tcgetattr(io::stdin())?;
        let _ = FOUND.set(before.clone());
        let mut raw = before.clone();
        raw.make_raw();
        tcsetattr(io::stdin(), OptionalActions::Now, &raw)?;
        Ok(RawTerminal { before })
    }
}

impl Drop for RawTerminal {
    fn drop(&mut self) {
        // What the box wrote last is shown first. A terminal that has gone needs nothing.
        let _ = tcsetattr(io::stdin(), OptionalActions::Drain, &self.before);
    }
}
