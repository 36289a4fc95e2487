//! Binary floating point in integers: exact results, all rounding modes and every exception flag, for single, double
//! and the x87's extended format (IEEE 754-2019; SDM vol. 1 chapters 4, 8 and 11). Used where the host's arithmetic
//! cannot be: 80 bits, rounding modes other than nearest, denormals, flags.

/// Invalid operation.
pub const IE: u32 = 1;
/// Denormal operand.
pub const DE: u32 = 2;
/// Division by zero.
pub const ZE: u32 = 4;
/// Overflow.
pub const OE: u32 = 8;
/// Underflow.
pub const UE: u32 = 16;
/// Inexact.
pub const PE: u32 = 32;

/// Rounding mode, as encoded in MXCSR.RC and the x87 control word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// To nearest, ties to even.
    Nearest,
    /// Towards minus infinity.
    Down,
    /// Towards plus infinity.
    Up,
    /// Towards zero.
    Zero,
}

impl Mode {
    /// From the two bits of an RC field.
    pub fn from_bits(rc: u32) -> Mode {
        match rc & 3 {
            0 => Mode::Nearest,
            1 => Mode::Down,
            2 => Mode::Up,
            _ => Mode::Zero,
        }
    }
}

/// Precision (bits of significand with the integer bit) and exponent range.
#[derive(Clone, Copy, Debug)]
pub struct Format {
    /// Bits of the significand, integer bit included.
    pub prec: u32,
    /// Exponent of the smallest normal number.
    pub emin: i32,
    /// Exponent of the largest number.
    pub emax: i32,
}

/// binary16.
pub const HALF: Format = Format { prec: 11, emin: -14, emax: 15 };
/// binary32.
pub const SINGLE: Format = Format { prec: 24, emin: -126, emax: 127 };
/// binary64.
pub const DOUBLE: Format = Format { prec: 53, emin: -1022, emax: 1023 };
/// The x87's 80-bit format.
pub const EXTENDED: Format = Format { prec: 64, emin: -16382, emax: 16383 };

/// A finite non-zero number: `sig / 2^127 * 2^exp`, any non-zero `sig`; the lowest bit may stand for "and more".
#[derive(Clone, Copy, Debug)]
pub struct Exact {
    /// Negative.
    pub sign: bool,
    /// Exponent.
    pub exp: i32,
    /// Significand.
    pub sig: u128,
}

/// What a [`Float`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// Zero.
    Zero,
    /// Finite and not zero.
    Finite,
    /// Infinity.
    Infinite,
}

/// A number that is not a NaN: `sig / 2^63 * 2^exp`. Operands are normalised (bit 63 set); results may be subnormal
/// (bit 63 clear, `exp` = the format's `emin`).
#[derive(Clone, Copy, Debug)]
pub struct Float {
    /// Negative.
    pub sign: bool,
    /// Kind of value; `exp` and `sig` count only if finite.
    pub class: Class,
    /// Exponent.
    pub exp: i32,
    /// Significand.
    pub sig: u64,
}

impl Float {
    /// Zero with a sign.
    pub fn zero(sign: bool) -> Float {
        Float { sign, class: Class::Zero, exp: 0, sig: 0 }
    }
    /// Infinity with a sign.
    pub fn infinite(sign: bool) -> Float {
        Float { sign, class: Class::Infinite, exp: 0, sig: 0 }
    }
    /// A finite value from any significand.
    pub fn finite(sign: bool, exp: i32, sig: u64) -> Float {
        if sig == 0 {
            return Float::zero(sign);
        }
        let z = sig.leading_zeros();
        Float { sign, class: Class::Finite, exp: exp - z as i32, sig: sig << z }
    }
    /// The integer `x`.
    pub fn from_i64(x: i64) -> Float {
        Float::finite(x < 0, 63, x.unsigned_abs())
    }
    /// With the other sign.
    pub fn negated(self) -> Float {
        Float { sign: !self.sign, ..self }
    }
    /// The value with 128 bits of significand; for finite ones.
    pub fn exact(self) -> Exact {
        Exact { sign: self.sign, exp: self.exp, sig: u128::from(self.sig) << 64 }
    }
}

/// How to round.
#[derive(Clone, Copy, Debug)]
pub struct Control {
    /// Destination.
    pub format: Format,
    /// Rounding mode.
    pub mode: Mode,
    /// Tiny results become zero (MXCSR.FTZ with the underflow exception masked).
    pub flush: bool,
    /// Underflow is unmasked: tiny exact results raise UE too.
    pub tiny_exact: bool,
    /// Underflow is unmasked and the destination an x87 register: the result is given with its exponent raised by
    /// 24576 (SDM vol. 1, 8.5.5).
    pub wrap_underflow: bool,
    /// Overflow is unmasked and the destination an x87 register: the result is given with its exponent lowered by 24576 (SDM vol. 1, 8.5.4).
    pub wrap_overflow: bool,
}

/// A rounded result with what happened on the way.
#[derive(Clone, Copy, Debug)]
pub struct Rounded {
    /// The value.
    pub value: Float,
    /// OE, UE, PE.
    pub flags: u32,
    /// The magnitude was rounded up (x87's C1).
    pub up: bool,
}

impl Rounded {
    /// An exact result.
    pub fn exactly(value: Float) -> Rounded {
        Rounded { value, flags: 0, up: false }
    }
}

/// Shifts right; bits that fall out stick to the lowest.
fn shift_jam(x: u128, n: u32) -> u128 {
    match n {
        0 => x,
        1..=127 => x >> n | u128::from(x << (128 - n) != 0),
        _ => u128::from(x != 0),
    }
}

/// Rounds the top `prec` bits of `sig`: (kept bits right-aligned with carry, inexact, rounded up).
fn round_at(sig: u128, prec: u32, mode: Mode, sign: bool) -> (u128, bool, bool) {
    let kept = sig >> (128 - prec);
    let rest = sig << prec;
    const HALF: u128 = 1 << 127;
    let up = rest != 0
        && match mode {
            Mode::Nearest => rest > HALF || rest == HALF && kept & 1 != 0,
            Mode::Down => sign,
            Mode::Up => !sign,
            Mode::Zero => false,
        };
    (kept + u128::from(up), rest != 0, up)
}

/// What unmasked overflow and underflow change the exponent by.
const WRAP: i32 = 24576;

/// Rounds `x` into a format (SDM vol. 1, 4.9.1.4–4.9.1.6; tininess is detected after rounding).
pub fn round(c: &Control, x: Exact) -> Rounded {
    let z = x.sig.leading_zeros();
    let (mut sig, mut exp) = (x.sig << z, x.exp - z as i32);
    let (f, sign) = (c.format, x.sign);
    let mut tiny = false;
    let mut unbounded = None;
    if exp < f.emin {
        let (kept, inexact, _) = round_at(sig, f.prec, c.mode, sign);
        // An unmasked underflow hands over the result before it is denormalised.
        unbounded = c.tiny_exact.then_some(inexact);
        tiny = !(exp == f.emin - 1 && kept >> f.prec != 0);
        if tiny && c.flush {
            return Rounded { value: Float::zero(sign), flags: UE | PE, up: false };
        }
        if tiny && c.wrap_underflow {
            exp += WRAP;
            // FSCALE alone gets this far down.
            if exp < f.emin {
                return Rounded { value: Float::zero(sign), flags: UE | PE, up: false };
            }
        } else {
            sig = shift_jam(sig, f.emin.wrapping_sub(exp) as u32);
            exp = f.emin;
        }
    }
    let (kept, inexact, up) = round_at(sig, f.prec, c.mode, sign);
    let mut top = (kept << (64 - f.prec)) as u64;
    if kept >> f.prec != 0 {
        exp += 1;
        top = 1 << 63;
    }
    let inexact = unbounded.filter(|_| tiny).unwrap_or(inexact);
    let mut flags = if inexact { PE } else { 0 };
    if tiny && (inexact || c.tiny_exact) {
        flags |= UE;
    }
    if exp > f.emax && c.wrap_overflow && exp - WRAP <= f.emax {
        flags |= OE;
        exp -= WRAP;
    }
    if exp > f.emax {
        let infinite = match c.mode {
            // FSCALE alone gets this far up with the exception unmasked.
            _ if c.wrap_overflow => true,
            Mode::Nearest => true,
            Mode::Down => sign,
            Mode::Up => !sign,
            Mode::Zero => false,
        };
        let value = if infinite {
            Float::infinite(sign)
        } else {
            Float { sign, class: Class::Finite, exp: f.emax, sig: !0 << (64 - f.prec) }
        };
        return Rounded { value, flags: OE | PE, up: infinite };
    }
    let class = if top == 0 { Class::Zero } else { Class::Finite };
    Rounded { value: Float { sign, class, exp, sig: top }, flags, up }
}

/// `a + b` of finite operands; `None` is an exact zero by cancellation.
pub fn add(a: Exact, b: Exact) -> Option<Exact> {
    let (a, b) = if (a.exp, a.sig) >= (b.exp, b.sig) { (a, b) } else { (b, a) };
    // One bit of room for the carry.
    let (x, y) = (shift_jam(a.sig, 1), shift_jam(shift_jam(b.sig, 1), (a.exp - b.exp) as u32));
    let sig = if a.sign == b.sign { x + y } else { x.wrapping_sub(y) };
    let (sign, sig) = if a.sign != b.sign && y > x { (b.sign, y - x) } else { (a.sign, sig) };
    (sig != 0).then_some(Exact { sign, exp: a.exp + 1, sig })
}

/// `a + b` of numbers that are not both infinite with different signs.
pub fn sum(c: &Control, a: Float, b: Float) -> Rounded {
    match (a.class, b.class) {
        (Class::Infinite, _) => Rounded::exactly(a),
        (_, Class::Infinite) => Rounded::exactly(b),
        (Class::Zero, Class::Zero) => {
            let sign = if a.sign == b.sign { a.sign } else { c.mode == Mode::Down };
            Rounded::exactly(Float::zero(sign))
        }
        (Class::Zero, _) => round(c, b.exact()),
        (_, Class::Zero) => round(c, a.exact()),
        _ => match add(a.exact(), b.exact()) {
            Some(x) => round(c, x),
            None => Rounded::exactly(Float::zero(c.mode == Mode::Down)),
        },
    }
}

/// The exact product of finite operands.
pub fn mul(a: Float, b: Float) -> Exact {
    Exact {
        sign: a.sign != b.sign,
        exp: a.exp + b.exp + 1,
        sig: u128::from(a.sig) * u128::from(b.sig),
    }
}

/// `a * b` of numbers that are not zero and infinity.
pub fn product(c: &Control, a: Float, b: Float) -> Rounded {
    let sign = a.sign != b.sign;
    if a.class == Class::Infinite || b.class == Class::Infinite {
        Rounded::exactly(Float::infinite(sign))
    } else if a.class == Class::Zero || b.class == Class::Zero {
        Rounded::exactly(Float::zero(sign))
    } else {
        round(c, mul(a, b))
    }
}

/// The quotient of finite operands to 128 bits and sticky.
pub fn div(a: Float, b: Float) -> Exact {
    let (shift, exp) = if a.sig < b.sig { (64, a.exp - b.exp - 1) } else { (63, a.exp - b.exp) };
    let (n, d) = (u128::from(a.sig) << shift, u128::from(b.sig));
    let (q, r) = (n / d, n % d);
    let n = r << 64;
    let (low, r) = (n / d, n % d);
    Exact { sign: a.sign != b.sign, exp, sig: q << 64 | low | u128::from(r != 0) }
}

/// `a / b` of numbers that are not both zero or both infinite (division by zero gives infinity).
pub fn quotient(c: &Control, a: Float, b: Float) -> Rounded {
    let sign = a.sign != b.sign;
    if a.class == Class::Infinite || b.class == Class::Zero {
        Rounded::exactly(Float::infinite(sign))
    } else if a.class == Class::Zero || b.class == Class::Infinite {
        Rounded::exactly(Float::zero(sign))
    } else {
        round(c, div(a, b))
    }
}

/// The square root of a number that is zero or positive.
pub fn sqrt(c: &Control, a: Float) -> Rounded {
    if a.class != Class::Finite {
        return Rounded::exactly(a);
    }
    // Digit by digit: 67 bits of root, the remainder is the sticky bit.
    let shift = 69 + (a.exp & 1);
    let bit = |j: i32| {
        let k = j - shift;
        if (0..64).contains(&k) { u128::from(a.sig >> k & 1) } else { 0 }
    };
    let (mut root, mut rem) = (0u128, 0u128);
    for i in (0..67).rev() {
        rem = rem << 2 | bit(2 * i + 1) << 1 | bit(2 * i);
        let trial = root << 2 | 1;
        root <<= 1;
        if rem >= trial {
            rem -= trial;
            root |= 1;
        }
    }
    round(c, Exact { sign: false, exp: a.exp >> 1, sig: root << 61 | u128::from(rem != 0) })
}

/// `a` rounded to an integral value: (value, inexact, magnitude rounded up).
pub fn round_integral(mode: Mode, a: Float) -> (Float, bool, bool) {
    if a.class != Class::Finite || a.exp >= 63 {
        return (a, false, false);
    }
    if a.exp < -1 {
        let up = match mode {
            Mode::Nearest | Mode::Zero => false,
            Mode::Down => a.sign,
            Mode::Up => !a.sign,
        };
        let value = if up { Float::finite(a.sign, 63, 1) } else { Float::zero(a.sign) };
        return (value, true, up);
    }
    // Integer bits: exp + 1, from 0 to 63. A leading zero bit makes room for "no integer bits".
    let (kept, inexact, up) = round_at(u128::from(a.sig) << 63, (a.exp + 2) as u32, mode, a.sign);
    (Float::finite(a.sign, 63, kept as u64), inexact, up)
}

/// `a` as an integer of `bits` bits: (value, inexact, rounded up), or `None` if it does not fit.
pub fn to_integer(mode: Mode, a: Float, bits: u32) -> Option<(i64, bool, bool)> {
    let (r, inexact, up) = round_integral(mode, a);
    let magnitude = match r.class {
        Class::Zero => 0,
        Class::Infinite => return None,
        Class::Finite if r.exp > 63 => return None,
        Class::Finite => i128::from(r.sig >> (63 - r.exp)),
    };
    let value = if r.sign { -magnitude } else { magnitude };
    let limit = 1i128 << (bits - 1);
    (-limit..limit).contains(&value).then_some((value as i64, inexact, up))
}

/// Compares two numbers (zeros are equal).
pub fn compare(a: Float, b: Float) -> std::cmp::Ordering {
    use std::cmp::Ordering;
    let key = |x: Float| match x.class {
        Class::Zero => (0, 0, 0),
        Class::Finite => (1, x.exp, x.sig),
        Class::Infinite => (2, 0, 0),
    };
    let (x, y) = (key(a), key(b));
    let negative = |x: Float| x.sign && x.class != Class::Zero;
    match (negative(a), negative(b)) {
        (false, false) => x.cmp(&y),
        (true, true) => y.cmp(&x),
        (true, false) => Ordering::Less,
        (false, true) => Ordering::Greater,
    }
}
