//! Terminal attributes (termios(3)) in the kernel's layout.

use abi::tty::*;

/// `struct termios2` of the kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Termios {
    /// Input modes.
    pub iflag: u32,
    /// Output modes.
    pub oflag: u32,
    /// Control modes.
    pub cflag: u32,
    /// Local modes.
    pub lflag: u32,
    /// Line discipline.
    pub line: u8,
    /// Control characters.
    pub cc: [u8; NCCS],
    /// Input and output speed.
    pub speed: [u32; 2],
}

/// Bytes of `struct termios`.
pub const TERMIOS_LEN: usize = 36;
/// Bytes of `struct termio`.
pub const TERMIO_LEN: usize = 18;
/// Bytes of `struct termios2`.
pub const TERMIOS2_LEN: usize = 44;

impl Default for Termios {
    /// A new terminal's attributes (`tty_std_termios`).
    fn default() -> Termios {
        let mut cc = [0; NCCS];
        cc[..17].copy_from_slice(&[3, 28, 127, 21, 4, 0, 1, 0, 17, 19, 26, 0, 18, 15, 23, 22, 0]);
        Termios {
            iflag: ICRNL | IXON,
            oflag: OPOST | ONLCR,
            cflag: B38400 | CS8 | CREAD,
            lflag: ISIG | ICANON | ECHO | ECHOE | ECHOK | ECHOCTL | ECHOKE | IEXTEN,
            line: 0,
            cc,
            speed: [38400; 2],
        }
    }
}

impl Termios {
    /// Whether ^S and ^Q hold output and let it go on, for packet mode.
    pub fn stops_as_usual(&self) -> bool {
        self.input(IXON) && (self.cc[VSTOP], self.cc[VSTART]) == (0o23, 0o21)
    }

    /// Fills a `struct termios` or, if there is room, `termios2`.
    pub fn store(&self, out: &mut [u8]) {
        let mut bytes = [0; TERMIOS2_LEN];
        let flags = [self.iflag, self.oflag, self.cflag, self.lflag];
        for (chunk, flag) in bytes.chunks_exact_mut(4).zip(flags) {
            chunk.copy_from_slice(&flag.to_le_bytes());
        }
        bytes[16] = self.line;
        bytes[17..36].copy_from_slice(&self.cc);
        bytes[36..40].copy_from_slice(&self.speed[0].to_le_bytes());
        bytes[40..44].copy_from_slice(&self.speed[1].to_le_bytes());
        let n = out.len().min(bytes.len());
        out[..n].copy_from_slice(&bytes[..n]);
    }

    /// Takes the values of a `struct termios` or `termios2`.
    pub fn load(&mut self, data: &[u8]) {
        let word = |i: usize| {
            let bytes = data.get(i * 4..i * 4 + 4).and_then(|b| b.try_into().ok());
            u32::from_le_bytes(bytes.unwrap_or_default())
        };
        (self.iflag, self.oflag, self.cflag, self.lflag) = (word(0), word(1), word(2), word(3));
        if let Some(rest) = data.get(16..36) {
            self.line = rest[0];
            self.cc.copy_from_slice(&rest[1..]);
        }
        if data.len() >= TERMIOS2_LEN {
            self.speed = [word(9), word(10)];
        }
    }

    /// Fills System V's `struct termio`: the low halves of the flags and eight control characters.
    pub fn store_termio(&self, out: &mut [u8]) {
        let mut bytes = [0; TERMIO_LEN];
        let flags = [self.iflag, self.oflag, self.cflag, self.lflag];
        for (chunk, flag) in bytes.chunks_exact_mut(2).zip(flags) {
            chunk.copy_from_slice(&(flag as u16).to_le_bytes());
        }
        bytes[8] = self.line;
        bytes[9..17].copy_from_slice(&self.cc[..8]);
        let n = out.len().min(bytes.len());
        out[..n].copy_from_slice(&bytes[..n]);
    }

    /// Takes the values of a `struct termio`; what it has no room for stays.
    pub fn load_termio(&mut self, data: &[u8]) {
        let Some(data) = data.first_chunk::<TERMIO_LEN>() else { return };
        let flags = [&mut self.iflag, &mut self.oflag, &mut self.cflag, &mut self.lflag];
        for (flag, low) in flags.into_iter().zip(data.chunks_exact(2)) {
            *flag = *flag & 0xffff_0000 | u32::from(u16::from_le_bytes([low[0], low[1]]));
        }
        self.line = data[8];
        self.cc[..8].copy_from_slice(&data[9..17]);
    }

    /// Whether an input mode is on.
    pub fn input(&self, flag: u32) -> bool {
        self.iflag & flag != 0
    }

    /// Whether an output mode is on.
    pub fn output(&self, flag: u32) -> bool {
        self.oflag & flag != 0
    }

    /// Whether a local mode is on.
    pub fn local(&self, flag: u32) -> bool {
        self.lflag & flag != 0
    }

    /// Whether `byte` is the control character with index `index` (0 disables one).
    pub fn is(&self, index: usize, byte: u8) -> bool {
        byte != 0 && self.cc.get(index) == Some(&byte)
    }
}
