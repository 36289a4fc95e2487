//! The lazy flags: what was recorded, and how each flag follows from it.
//!
//! SDM vol. 1, 3.4.3.1 and appendix A. Bits that the SDM calls undefined come out as current Intel cores make them where
//! that costs nothing.

use crate::Flags;

/// Carry.
pub const CF: u64 = 1;
/// Parity of the low byte.
pub const PF: u64 = 1 << 2;
/// Carry out of bit 3.
pub const AF: u64 = 1 << 4;
/// Zero.
pub const ZF: u64 = 1 << 6;
/// Sign.
pub const SF: u64 = 1 << 7;
/// Direction of string instructions.
pub const DF: u64 = 1 << 10;
/// Overflow.
pub const OF: u64 = 1 << 11;
/// All arithmetic flags.
pub const ARITH: u64 = CF | PF | AF | ZF | SF | OF;

macro_rules! kinds {
    ($($name:ident = $n:expr),* $(,)?) => {
        /// What was recorded: an operation and its width. `number = operation * 4 + log2(width / 8)`.
        #[allow(missing_docs)]
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
        #[repr(u8)]
        pub enum FlagKind {
            /// `a` holds the bits themselves.
            #[default]
            Explicit = 0,
            $($name = $n),*
        }
    };
}
kinds! {
    Add8 = 4, Add16 = 5, Add32 = 6, Add64 = 7,
    Sub8 = 8, Sub16 = 9, Sub32 = 10, Sub64 = 11,
    Logic8 = 12, Logic16 = 13, Logic32 = 14, Logic64 = 15,
    Inc8 = 16, Inc16 = 17, Inc32 = 18, Inc64 = 19,
    Dec8 = 20, Dec16 = 21, Dec32 = 22, Dec64 = 23,
    Adc8 = 24, Adc16 = 25, Adc32 = 26, Adc64 = 27,
    Sbb8 = 28, Sbb16 = 29, Sbb32 = 30, Sbb64 = 31,
    Shl8 = 32, Shl16 = 33, Shl32 = 34, Shl64 = 35,
    Shr8 = 36, Shr16 = 37, Shr32 = 38, Shr64 = 39,
    Sar8 = 40, Sar16 = 41, Sar32 = 42, Sar64 = 43,
    SMul8 = 44, SMul16 = 45, SMul32 = 46, SMul64 = 47,
    UMul8 = 48, UMul16 = 49, UMul32 = 50, UMul64 = 51,
}

/// The operation of a [`FlagKind`].
#[allow(missing_docs)]
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    Explicit,
    Add,
    Sub,
    Logic,
    Inc,
    Dec,
    Adc,
    Sbb,
    Shl,
    Shr,
    Sar,
    SMul,
    UMul,
}

impl FlagKind {
    /// What was recorded, without its width.
    pub fn operation(self) -> Operation {
        use Operation::*;
        const TABLE: [Operation; 13] =
            [Explicit, Add, Sub, Logic, Inc, Dec, Adc, Sbb, Shl, Shr, Sar, SMul, UMul];
        TABLE[self as usize / 4]
    }
    /// Width in bits.
    #[inline]
    pub fn bits(self) -> u32 {
        8 << (self as u32 & 3)
    }
}

/// Condition codes in x86 encoding order (SDM vol. 2, appendix B.1.4.7): odd ones negate the even one before.
#[allow(missing_docs)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Cc {
    O,
    No,
    B,
    Ae,
    E,
    Ne,
    Be,
    A,
    S,
    Ns,
    P,
    Np,
    L,
    Ge,
    Le,
    G,
}

impl Cc {
    /// All sixteen, by number.
    pub const ALL: [Cc; 16] = {
        use Cc::*;
        [O, No, B, Ae, E, Ne, Be, A, S, Ns, P, Np, L, Ge, Le, G]
    };
    /// Names in the text form, by number.
    pub const TEXT: [&'static str; 16] =
        ["o", "no", "b", "ae", "e", "ne", "be", "a", "s", "ns", "p", "np", "l", "ge", "le", "g"];
    /// The code with that number (low four bits).
    #[inline(always)]
    pub fn from_number(n: u8) -> Cc {
        Cc::ALL[(n & 15) as usize]
    }
    /// The flags it looks at.
    pub fn reads(self) -> u64 {
        match self as u8 >> 1 {
            0 => OF,
            1 => CF,
            2 => ZF,
            3 => CF | ZF,
            4 => SF,
            5 => PF,
            6 => SF | OF,
            _ => SF | OF | ZF,
        }
    }
    /// Whether it holds for these RFLAGS bits.
    pub fn holds(self, flags: u64) -> bool {
        let sf_ne_of = (flags & SF != 0) != (flags & OF != 0);
        let even = match self as u8 >> 1 {
            0 => flags & OF != 0,
            1 => flags & CF != 0,
            2 => flags & ZF != 0,
            3 => flags & (CF | ZF) != 0,
            4 => flags & SF != 0,
            5 => flags & PF != 0,
            6 => sf_ne_of,
            _ => sf_ne_of || flags & ZF != 0,
        };
        even != (self as u8 & 1 != 0)
    }
}

/// SF, ZF and PF of the `bits`-wide value `r`.
#[inline]
pub(crate) fn szp(r: u64, bits: u32) -> u64 {
    let r = r << (64 - bits);
    let low = (r >> (64 - bits)) as u8;
    let mut f = if r == 0 { ZF } else { 0 };
    f |= (r >> 63) << 7;
    f | if low.count_ones() & 1 == 0 { PF } else { 0 }
}

impl Flags {
    /// Explicit bits (others than [`ARITH`] are dropped).
    #[inline(always)]
    pub fn explicit(bits: u64) -> Flags {
        Flags { kind: FlagKind::Explicit, a: bits & ARITH, b: 0, c: 0 }
    }

    /// The bits selected by `mask` come from `bits`, the others stay.
    pub fn put(&mut self, bits: u64, mask: u64) {
        let mask = mask & ARITH;
        if mask == ARITH {
            *self = Flags::explicit(bits);
        } else if mask != 0 {
            *self = Flags::explicit(self.bits() & !mask | bits & mask);
        }
    }

    /// CF, PF, AF, ZF, SF and OF at their places in RFLAGS.
    pub fn bits(&self) -> u64 {
        use Operation::*;
        let operation = self.kind.operation();
        if operation == Explicit {
            return self.a;
        }
        let bits = self.kind.bits();
        let mask = u64::MAX >> (64 - bits);
        let (a, b) = (self.a & mask, self.b & mask);
        let carries_in = matches!(operation, Adc | Sbb | Inc | Dec);
        let c = if carries_in { self.c } else { 0 };
        let msb = |v: u64| v >> (bits - 1) & 1;
        let (r, cf, of, af) = match operation {
            Explicit => return self.a,
            Add | Adc => {
                let r = a.wrapping_add(b).wrapping_add(c) & mask;
                let carries = (a & b) | ((a | b) & !r);
                (r, msb(carries), msb((a ^ r) & (b ^ r)), (a ^ b ^ r) >> 4 & 1)
            }
            Sub | Sbb => {
                let r = a.wrapping_sub(b).wrapping_sub(c) & mask;
                let borrows = (!a & b) | ((!a | b) & r);
                (r, msb(borrows), msb((a ^ b) & (a ^ r)), (a ^ b ^ r) >> 4 & 1)
            }
            Logic => (a & b, 0, 0, 0),
            Inc => {
                let r = a.wrapping_add(1) & mask;
                (r, c, msb(!a & r), (a ^ 1 ^ r) >> 4 & 1)
            }
            Dec => {
                let r = a.wrapping_sub(1) & mask;
                (r, c, msb(a & !r), (a ^ 1 ^ r) >> 4 & 1)
            }
            Shl => {
                let n = self.b as u32;
                let r = a << n & mask;
                let cf = if n <= bits { a >> (bits - n) & 1 } else { 0 };
                (r, cf, msb(r) ^ cf, 0)
            }
            Shr => {
                let n = self.b as u32;
                (a >> n, a >> (n - 1) & 1, msb(a), 0)
            }
            Sar => {
                let n = self.b as u32;
                let s = ((a << (64 - bits)) as i64) >> (64 - bits);
                ((s >> n) as u64 & mask, (s >> (n - 1)) as u64 & 1, 0, 0)
            }
            SMul => {
                let x = i128::from(((a << (64 - bits)) as i64) >> (64 - bits));
                let y = i128::from(((b << (64 - bits)) as i64) >> (64 - bits));
                let p = x * y;
                let r = p as u64 & mask;
                let kept = i128::from(((r << (64 - bits)) as i64) >> (64 - bits));
                (r, u64::from(p != kept), u64::from(p != kept), 0)
            }
            UMul => {
                let p = u128::from(a) * u128::from(b);
                let high = u64::from(p >> bits != 0);
                (p as u64 & mask, high, high, 0)
            }
        };
        szp(r, bits) | cf * CF | of * OF | af * AF
    }

    /// CF alone, 0 or 1.
    #[inline]
    pub fn carry(&self) -> u64 {
        use Operation::*;
        let s = 64 - self.kind.bits();
        match self.kind.operation() {
            Explicit => self.a & CF,
            Add => u64::from((self.a << s).checked_add(self.b << s).is_none()),
            Sub => u64::from(self.a << s < self.b << s),
            Logic => 0,
            Inc | Dec => self.c,
            _ => self.bits() & CF,
        }
    }

    /// Whether condition `cc` holds.
    #[inline]
    pub fn cond(&self, cc: Cc) -> bool {
        let s = 64 - self.kind.bits();
        match self.kind.operation() {
            Operation::Sub => {
                let (a, b) = (self.a << s, self.b << s);
                let even = match cc as u8 >> 1 {
                    1 => a < b,
                    2 => a == b,
                    3 => a <= b,
                    4 => (a.wrapping_sub(b) as i64) < 0,
                    6 => (a as i64) < b as i64,
                    7 => a as i64 <= b as i64,
                    _ => return cc.holds(self.bits()),
                };
                even != (cc as u8 & 1 != 0)
            }
            Operation::Logic => {
                let r = ((self.a & self.b) << s) as i64;
                let even = match cc as u8 >> 1 {
                    0 | 1 => false,
                    2 | 3 => r == 0,
                    4 | 6 => r < 0,
                    7 => r <= 0,
                    _ => return cc.holds(self.bits()),
                };
                even != (cc as u8 & 1 != 0)
            }
            _ => cc.holds(self.bits()),
        }
    }
}
