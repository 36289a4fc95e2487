//! What a host tells a running box on the control stream (`BOXER_CONTROL`): signals, the size of the terminal, and that it wants to
//! freeze it ([`crate::freeze`]).
//!
//! A message has 8 bytes: kind, 0, and three little-endian 16-bit numbers. Unknown kinds are left out, so that a box
//! runs under a host that is newer than it.

/// Bytes of a message.
pub const MESSAGE: usize = 8;

const SIGNAL: u8 = 1;
const WINDOW: u8 = 2;
const FREEZE: u8 = 3;

/// One message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Control {
    /// Send this signal (Linux's number) to the first process.
    Signal(u16),
    /// The terminal has now so many rows and columns.
    Window {
        /// Rows.
        rows: u16,
        /// Columns.
        columns: u16,
    },
    /// Come to a moment in which the host can take the state.
    Freeze,
}

impl Control {
    /// The message's bytes.
    pub fn encode(self) -> [u8; MESSAGE] {
        let (kind, first, second) = match self {
            Control::Signal(signal) => (SIGNAL, signal, 0),
            Control::Window { rows, columns } => (WINDOW, rows, columns),
            Control::Freeze => (FREEZE, 0, 0),
        };
        let ([a, b], [c, d]) = (first.to_le_bytes(), second.to_le_bytes());
        [kind, 0, a, b, c, d, 0, 0]
    }

    /// Reads a message; none if its kind is unknown.
    pub fn decode(message: [u8; MESSAGE]) -> Option<Control> {
        let [kind, _, a, b, c, d, _, _] = message;
        let (first, second) = (u16::from_le_bytes([a, b]), u16::from_le_bytes([c, d]));
        match kind {
            SIGNAL => Some(Control::Signal(first)),
            WINDOW => Some(Control::Window { rows: first, columns: second }),
            FREEZE => Some(Control::Freeze),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Control;

    #[test]
    fn messages_survive() {
        for message in
            [Control::Signal(15), Control::Window { rows: 33, columns: 101 }, Control::Freeze]
        {
            assert_eq!(Control::decode(message.encode()), Some(message));
        }
        assert_eq!(Control::decode([9, 0, 1, 2, 3, 4, 5, 6]), None);
    }
}
