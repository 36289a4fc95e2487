//! The register stack and the status word (SDM vol. 1, 8.1).

use crate::sem::softfloat::{DE, IE, ZE};
use crate::{F80, TrapKind, X87};

/// Condition code 0.
pub const C0: u16 = 1 << 8;
/// Condition code 1: rounded up, or stack overflow.
pub const C1: u16 = 1 << 9;
/// Condition code 2.
pub const C2: u16 = 1 << 10;
/// Condition code 3.
pub const C3: u16 = 1 << 14;
/// Stack fault.
pub const SF: u16 = 1 << 6;
/// Exception summary and busy.
pub const ES: u16 = 1 << 7 | 1 << 15;

impl X87 {
    fn index(&self, i: u8) -> usize {
        usize::from(self.top.wrapping_add(i) & 7)
    }

    /// ST(i), or `None` if empty.
    pub fn st(&self, i: u8) -> Option<F80> {
        let at = self.index(i);
        (self.valid >> at & 1 != 0).then(|| self.st[at])
    }

    /// Writes ST(i).
    pub fn set(&mut self, i: u8, value: F80) {
        let at = self.index(i);
        self.st[at] = value;
        self.valid |= 1 << at;
    }

    /// Marks ST(i) empty.
    pub fn free(&mut self, i: u8) {
        self.valid &= !(1 << self.index(i));
    }

    /// Pops.
    pub fn pop(&mut self) {
        self.free(0);
        self.top = self.top.wrapping_add(1) & 7;
    }

    /// Pushes `value`, or on overflow the masked response; nothing if that is unmasked.
    pub fn push(&mut self, value: F80) {
        if self.st(7).is_some() {
            if self.fault(true) {
                self.raw_push(F80::INDEFINITE);
            }
            return;
        }
        self.raw_push(value);
    }

    /// Pushes without a look at what is there.
    pub fn raw_push(&mut self, value: F80) {
        self.top = self.top.wrapping_sub(1) & 7;
        self.set(0, value);
    }

    /// Stack overflow or underflow; true if masked.
    pub fn fault(&mut self, overflow: bool) -> bool {
        self.raise(IE, overflow);
        self.sw |= SF;
        u32::from(self.cw) & IE != 0
    }

    /// Ors exception flags into the status word, sets C1 to `up`, and gives true if the result may be written: no
    /// unmasked invalid operation, denormal or division by zero.
    pub fn raise(&mut self, flags: u32, up: bool) -> bool {
        let go = flags & !u32::from(self.cw) & (IE | DE | ZE) == 0;
        // An unmasked exception of the operands comes before any of the result.
        let seen = if go { 0x3f } else { (IE | DE | ZE) as u16 };
        self.sw = self.sw & !C1 | flags as u16 & seen;
        if up && (go || flags & IE != 0) {
            self.sw |= C1;
        }
        self.summarize();
        go
    }

    /// Works out ES and B from flags and masks.
    pub fn summarize(&mut self) {
        if self.sw & !self.cw & 0x3f != 0 { self.sw |= ES } else { self.sw &= !ES }
    }

    /// Sets C3, C2, C0 as `bits` has them.
    pub fn set_codes(&mut self, bits: u16) {
        self.sw = self.sw & !(C0 | C2 | C3) | bits;
    }

    /// #MF if an unmasked exception is pending.
    pub fn check(&self) -> Result<(), TrapKind> {
        if self.sw & 1 << 7 != 0 { Err(TrapKind::Mf) } else { Ok(()) }
    }

    /// The status word with TOP.
    pub fn status(&self) -> u16 {
        self.sw & !(7 << 11) | u16::from(self.top & 7) << 11
    }

    /// Sets the status word with TOP.
    pub fn set_status(&mut self, sw: u16) {
        self.sw = sw & !(7 << 11);
        self.top = (sw >> 11 & 7) as u8;
        self.summarize();
    }

    /// Sets the control word; reserved bits read back as on hardware.
    pub fn set_control(&mut self, cw: u16) {
        self.cw = cw & 0x1f3f | 0x40;
        self.summarize();
    }

    /// The full tag word (two bits for each physical register).
    pub fn tags(&self) -> u16 {
        (0..8).fold(0, |tags, i| {
            let v = self.st[i];
            let tag = if self.valid >> i & 1 == 0 {
                3
            } else {
                match v.se & 0x7fff {
                    0 if v.mant == 0 => 1,
                    0 | 0x7fff => 2,
                    _ if v.mant >> 63 == 0 => 2,
                    _ => 0,
                }
            };
            tags | tag << (2 * i)
        })
    }

    /// Sets which registers are empty from a full tag word.
    pub fn set_tags(&mut self, tags: u16) {
        self.valid = (0..8).fold(0, |v, i| v | u8::from(tags >> (2 * i) & 3 != 3) << i);
    }
}
