//! 80-bit values: classes, NaN rules, packing, and conversion from and to the memory formats (SDM vol. 1, 4.2.2, 8.2).

use crate::F80;
use crate::sem::ieee::Width;
use crate::sem::softfloat::*;

/// What an 80-bit pattern is (SDM vol. 1, tables 4-3 and 8-3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Zero, normal or infinite.
    Number,
    /// Denormal or pseudo-denormal.
    Denormal,
    /// Quiet NaN.
    Quiet,
    /// Signalling NaN.
    Signalling,
    /// Unnormal, pseudo-NaN, pseudo-infinity: every use is invalid.
    Unsupported,
}

const INTEGER_BIT: u64 = 1 << 63;
const QUIET_BIT: u64 = 1 << 62;
const EXPONENT: u16 = 0x7fff;
const BIAS: i32 = 16383;

impl F80 {
    /// "Real indefinite": the NaN that masked invalid operations give.
    pub const INDEFINITE: F80 = F80 { mant: INTEGER_BIT | QUIET_BIT, se: 0xffff };
    /// One.
    pub const ONE: F80 = F80 { mant: INTEGER_BIT, se: BIAS as u16 };

    /// Negative.
    pub fn sign(self) -> bool {
        self.se & 0x8000 != 0
    }

    /// What the pattern is.
    pub fn kind(self) -> Kind {
        match self.se & EXPONENT {
            0 if self.mant == 0 => Kind::Number,
            0 => Kind::Denormal,
            _ if self.mant & INTEGER_BIT == 0 => Kind::Unsupported,
            EXPONENT if self.mant << 1 == 0 => Kind::Number,
            EXPONENT if self.mant & QUIET_BIT != 0 => Kind::Quiet,
            EXPONENT => Kind::Signalling,
            _ => Kind::Number,
        }
    }

    /// Any NaN.
    pub fn is_nan(self) -> bool {
        matches!(self.kind(), Kind::Quiet | Kind::Signalling)
    }

    /// The same NaN, quiet.
    pub fn quieted(self) -> F80 {
        F80 { mant: self.mant | QUIET_BIT, ..self }
    }

    /// The number; for [`Kind::Number`] and [`Kind::Denormal`].
    pub fn unpack(self) -> Float {
        match self.se & EXPONENT {
            EXPONENT => Float::infinite(self.sign()),
            0 => Float::finite(self.sign(), EXTENDED.emin, self.mant),
            e => Float::finite(self.sign(), i32::from(e) - BIAS, self.mant),
        }
    }

    /// The pattern of a value that is rounded to the extended range.
    pub fn pack(v: Float) -> F80 {
        let sign = if v.sign { 0x8000 } else { 0 };
        match v.class {
            Class::Zero => F80 { mant: 0, se: sign },
            Class::Infinite => F80 { mant: INTEGER_BIT, se: sign | EXPONENT },
            Class::Finite if v.sig & INTEGER_BIT == 0 => F80 { mant: v.sig, se: sign },
            Class::Finite => F80 { mant: v.sig, se: sign | (v.exp + BIAS) as u16 & EXPONENT },
        }
    }

    /// An integer, exactly.
    pub fn from_i64(x: i64) -> F80 {
        F80::pack(Float::from_i64(x))
    }

    /// A single or double; raises IE and DE.
    pub fn from_ieee(w: &Width, x: u64, flags: &mut u32) -> F80 {
        if w.is_nan(x) {
            if w.is_signalling(x) {
                *flags |= IE;
            }
            let se = EXPONENT | if x & w.sign() != 0 { 0x8000 } else { 0 };
            let payload = (x & w.fraction_mask()) << (63 - w.fraction);
            return F80 { mant: INTEGER_BIT | QUIET_BIT | payload, se };
        }
        if w.is_denormal(x) {
            *flags |= DE;
        }
        F80::pack(w.unpack(x))
    }

    /// As a single or double: (pattern, flags, rounded up).
    pub fn to_ieee(self, w: &Width, cw: u16) -> (u64, u32, bool) {
        let flags = match self.kind() {
            Kind::Unsupported => return (w.indefinite(), IE, false),
            Kind::Signalling => IE,
            Kind::Quiet => 0,
            _ => {
                let v = self.unpack();
                if v.class != Class::Finite {
                    return (w.pack(v), 0, false);
                }
                let c = Control {
                    format: w.format,
                    wrap_underflow: false,
                    wrap_overflow: false,
                    ..control(cw)
                };
                let r = round(&c, v.exact());
                return (w.pack(r.value), r.flags, r.up);
            }
        };
        let payload = self.mant << 1 >> (64 - w.fraction) | w.quiet();
        (payload | w.infinity() | if self.sign() { w.sign() } else { 0 }, flags, false)
    }

    /// As an integer of `bits` bits: (value, flags, rounded up). `None` as mode: that of the control word.
    pub fn to_integer(self, bits: u32, cw: u16, mode: Option<Mode>) -> (u64, u32, bool) {
        let indefinite = (-1i64 << (bits - 1)) as u64;
        if !matches!(self.kind(), Kind::Number | Kind::Denormal) {
            return (indefinite, IE, false);
        }
        match to_integer(mode.unwrap_or(control(cw).mode), self.unpack(), bits) {
            Some((x, inexact, up)) => (x as u64, if inexact { PE } else { 0 }, up),
            None => (indefinite, IE, false),
        }
    }
}

/// Rounding to the extended range as the control word says (precision control, rounding control).
pub fn control(cw: u16) -> Control {
    let prec = match cw >> 8 & 3 {
        0 => 24,
        2 => 53,
        _ => 64,
    };
    Control {
        format: Format { prec, ..EXTENDED },
        mode: Mode::from_bits(u32::from(cw) >> 10),
        flush: false,
        tiny_exact: u32::from(cw) & UE == 0,
        wrap_underflow: u32::from(cw) & UE == 0,
        wrap_overflow: u32::from(cw) & OE == 0,
    }
}

/// As [`control`] with the full 64 bits of precision.
pub fn full_control(cw: u16) -> Control {
    Control { format: EXTENDED, ..control(cw) }
}

/// The result if either operand is unsupported or a NaN (SDM vol. 1, table 4-7, x87 rows): the one with the larger
/// significand, quieted.
pub fn nan_of(flags: &mut u32, a: F80, b: F80) -> Option<F80> {
    let (x, y) = (a.kind(), b.kind());
    if x == Kind::Unsupported || y == Kind::Unsupported {
        *flags |= IE;
        return Some(F80::INDEFINITE);
    }
    if !a.is_nan() && !b.is_nan() {
        return None;
    }
    if x == Kind::Signalling || y == Kind::Signalling {
        *flags |= IE;
    }
    let (qa, qb) = (a.quieted(), b.quieted());
    Some(match (x, y) {
        _ if !b.is_nan() => qa,
        _ if !a.is_nan() => qb,
        (Kind::Signalling, Kind::Quiet) => qb,
        (Kind::Quiet, Kind::Signalling) => qa,
        _ if a.mant != b.mant => {
            if a.mant > b.mant {
                qa
            } else {
                qb
            }
        }
        _ if a.sign() => qb,
        _ => qa,
    })
}

/// The result if the operand is unsupported or a NaN.
pub fn nan_of_one(flags: &mut u32, a: F80) -> Option<F80> {
    nan_of(flags, a, F80::default())
}

/// DE for denormal operands.
pub fn denormal(flags: &mut u32, a: F80) {
    if a.kind() == Kind::Denormal {
        *flags |= DE;
    }
}
