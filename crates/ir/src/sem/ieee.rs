//! Single and double precision as bit patterns: classes, NaN rules, packing, and the arithmetic that the host cannot
//! do exactly as x86 does. Patterns are `u64`s, singles in the low 32 bits.

use super::softfloat::*;
use crate::TrapKind;

/// MXCSR bits beyond the six flags (SDM vol. 1, 10.2.3).
pub mod mxcsr {
    /// Denormals are zeros.
    pub const DAZ: u32 = 1 << 6;
    /// First of the six mask bits; flag `f` is masked by `f << MASK_SHIFT`.
    pub const MASK_SHIFT: u32 = 7;
    /// Inexact is masked.
    pub const PM: u32 = 1 << 12;
    /// Overflow is masked.
    pub const OM: u32 = 1 << 10;
    /// Underflow is masked.
    pub const UM: u32 = 1 << 11;
    /// Rounding control, two bits.
    pub const RC_SHIFT: u32 = 13;
    /// Both bits of rounding control.
    pub const RC: u32 = 3 << RC_SHIFT;
    /// Flush to zero.
    pub const FTZ: u32 = 1 << 15;
    /// Power-on and ABI value.
    pub const DEFAULT: u32 = 0x1f80;
    /// Bits that may be set.
    pub const VALID: u32 = 0xffff;
}

/// All flags.
const FLAGS: u32 = 0x3f;
const ALL_MASKED: u32 = FLAGS << mxcsr::MASK_SHIFT;
/// Set by [`step`] beside the flags in MXCSR: the operation stopped by itself, its flags are final.
const STOPPED: u32 = 1 << 31;

/// Runs an SSE operation `f` on MXCSR: an exception that it raises anew and that is not masked becomes #XM and leaves
/// only the flags set; a masked one stays as a sticky flag.
#[inline(always)]
pub fn guarded<R>(mx: &mut u32, f: impl FnOnce(&mut u32) -> R) -> Result<R, TrapKind> {
    let masked = *mx & ALL_MASKED == ALL_MASKED;
    // One call of `f`, since that is to be inlined.
    let mut m = if masked { *mx } else { *mx & !FLAGS };
    let r = f(&mut m);
    if masked {
        *mx = m;
        return Ok(r);
    }
    let (seen, unmasked) = judged(m);
    *mx |= seen;
    if unmasked { Err(TrapKind::Xm) } else { Ok(r) }
}

/// The flags in `m`, all raised anew, that become visible, and whether one of them is not masked: an unmasked exception
/// of the operands comes before any of the result.
#[inline(always)]
fn judged(m: u32) -> (u32, bool) {
    let unmasked = m & FLAGS & !(m >> mxcsr::MASK_SHIFT);
    let early = unmasked & (IE | DE | ZE) != 0 && m & STOPPED == 0;
    (m & if early { IE | DE | ZE } else { FLAGS }, unmasked != 0)
}

/// One step within [`guarded`] of an operation that has several, each of which raises its exceptions before the next.
/// `None` if one is not masked.
pub fn step<R>(mx: &mut u32, f: impl FnOnce(&mut u32) -> R) -> Option<R> {
    if *mx & ALL_MASKED == ALL_MASKED {
        return Some(f(mx));
    }
    let mut m = *mx & !FLAGS;
    let r = f(&mut m);
    let (seen, unmasked) = judged(m);
    *mx |= seen | if unmasked { STOPPED } else { 0 };
    (!unmasked).then_some(r)
}

/// Field widths of a format.
#[derive(Clone, Copy, Debug)]
pub struct Width {
    /// Bits of the stored fraction.
    pub fraction: u32,
    /// Bits of the whole format.
    pub bits: u32,
    /// The matching arithmetic format.
    pub format: Format,
}

/// binary16.
pub const W16: Width = Width { fraction: 10, bits: 16, format: HALF };
/// binary32.
pub const W32: Width = Width { fraction: 23, bits: 32, format: SINGLE };
/// binary64.
pub const W64: Width = Width { fraction: 52, bits: 64, format: DOUBLE };

impl Width {
    /// The sign bit.
    #[inline(always)]
    pub fn sign(&self) -> u64 {
        1 << (self.bits - 1)
    }
    /// The fraction bits.
    #[inline(always)]
    pub fn fraction_mask(&self) -> u64 {
        (1 << self.fraction) - 1
    }
    /// Plus infinity.
    #[inline(always)]
    pub fn infinity(&self) -> u64 {
        self.sign() - 1 & !self.fraction_mask()
    }
    /// The bit that makes a NaN quiet.
    #[inline(always)]
    pub fn quiet(&self) -> u64 {
        1 << (self.fraction - 1)
    }
    /// "Real indefinite": the NaN that x86 makes itself; negative.
    #[inline(always)]
    pub fn indefinite(&self) -> u64 {
        self.sign() | self.infinity() | self.quiet()
    }
    /// Any NaN.
    #[inline(always)]
    pub fn is_nan(&self, x: u64) -> bool {
        x & !self.sign() > self.infinity()
    }
    /// A signalling NaN.
    #[inline(always)]
    pub fn is_signalling(&self, x: u64) -> bool {
        self.is_nan(x) && x & self.quiet() == 0
    }
    /// Subnormal and not zero.
    #[inline(always)]
    pub fn is_denormal(&self, x: u64) -> bool {
        x & self.infinity() == 0 && x & self.fraction_mask() != 0
    }
    /// An infinity.
    #[inline(always)]
    pub fn is_infinite(&self, x: u64) -> bool {
        x & !self.sign() == self.infinity()
    }
    /// A zero.
    #[inline(always)]
    pub fn is_zero(&self, x: u64) -> bool {
        x & !self.sign() == 0
    }

    /// The number `x`, which is not a NaN.
    pub fn unpack(&self, x: u64) -> Float {
        let sign = x & self.sign() != 0;
        let exp = ((x & self.infinity()) >> self.fraction) as i32;
        let fraction = x & self.fraction_mask();
        if x & self.infinity() == self.infinity() {
            Float::infinite(sign)
        } else if exp == 0 {
            Float::finite(sign, self.format.emin, fraction << (63 - self.fraction))
        } else {
            let sig = (fraction | 1 << self.fraction) << (63 - self.fraction);
            Float { sign, class: Class::Finite, exp: exp - self.format.emax, sig }
        }
    }

    /// The pattern of a rounded value.
    pub fn pack(&self, v: Float) -> u64 {
        let magnitude = match v.class {
            Class::Zero => 0,
            Class::Infinite => self.infinity(),
            Class::Finite => {
                let sig = v.sig >> (63 - self.fraction);
                let biased = if v.sig >> 63 == 0 { 0 } else { (v.exp + self.format.emax) as u64 };
                biased << self.fraction | sig & self.fraction_mask()
            }
        };
        magnitude | if v.sign { self.sign() } else { 0 }
    }

    /// Operand after "denormals are zeros", or the DE flag.
    pub fn operand(&self, mx: u32, flags: &mut u32, x: u64) -> u64 {
        if !self.is_denormal(x) {
            x
        } else if mx & mxcsr::DAZ != 0 {
            x & self.sign()
        } else {
            *flags |= DE;
            x
        }
    }

    /// Rounding as MXCSR says, into this format.
    pub fn control(&self, mx: u32) -> Control {
        let masked = mx & mxcsr::UM != 0;
        Control {
            format: self.format,
            mode: Mode::from_bits(mx >> mxcsr::RC_SHIFT),
            flush: mx & mxcsr::FTZ != 0 && masked,
            tiny_exact: !masked,
            wrap_underflow: false,
            // The result is not seen then, but whether it is inexact is judged as if the exponent had no bounds.
            wrap_overflow: mx & mxcsr::OM == 0,
        }
    }

    /// The NaN that results from two operands of which one is a NaN: the first one that is, quieted (SDM vol. 1,
    /// table 4-7, SSE rows).
    pub fn nan_of(&self, flags: &mut u32, a: u64, b: u64) -> Option<u64> {
        if !self.is_nan(a) && !self.is_nan(b) {
            return None;
        }
        if self.is_signalling(a) || self.is_signalling(b) {
            *flags |= IE;
        }
        Some(if self.is_nan(a) { a } else { b } | self.quiet())
    }

    /// The NaN that results from one NaN operand.
    pub fn nan_of_one(&self, flags: &mut u32, a: u64) -> Option<u64> {
        self.nan_of(flags, a, 0)
    }

    fn finish(&self, flags: &mut u32, r: Rounded) -> u64 {
        *flags |= r.flags;
        self.pack(r.value)
    }
}

/// The four basic operations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Basic {
    /// a + b
    Add,
    /// a − b
    Sub,
    /// a × b
    Mul,
    /// a ÷ b
    Div,
}

/// `a op b` as SSE computes it; raised exceptions are or-ed into `flags`.
pub fn basic(w: &Width, op: Basic, mx: u32, flags: &mut u32, a: u64, b: u64) -> u64 {
    if let Some(nan) = w.nan_of(flags, a, b) {
        return nan;
    }
    let mut raised = 0;
    let (a, b) = (w.operand(mx, &mut raised, a), w.operand(mx, &mut raised, b));
    let (mut x, mut y) = (w.unpack(a), w.unpack(b));
    if op == Basic::Sub {
        y.sign = !y.sign;
    }
    let zero_infinite = |p: Float, q: Float| p.class == Class::Zero && q.class == Class::Infinite;
    let invalid = match op {
        Basic::Add | Basic::Sub => {
            x.class == Class::Infinite && y.class == Class::Infinite && x.sign != y.sign
        }
        Basic::Mul => zero_infinite(x, y) || zero_infinite(y, x),
        Basic::Div => x.class == y.class && x.class != Class::Finite,
    };
    if invalid {
        *flags |= IE;
        return w.indefinite();
    }
    if op == Basic::Div && y.class == Class::Zero && x.class == Class::Finite {
        *flags |= ZE;
        x.class = Class::Infinite;
        raised = 0;
    }
    *flags |= raised;
    let c = w.control(mx);
    let r = match op {
        Basic::Add | Basic::Sub => sum(&c, x, y),
        Basic::Mul => product(&c, x, y),
        Basic::Div => quotient(&c, x, y),
    };
    w.finish(flags, r)
}

/// The square root as SSE computes it.
pub fn square_root(w: &Width, mx: u32, flags: &mut u32, a: u64) -> u64 {
    if let Some(nan) = w.nan_of_one(flags, a) {
        return nan;
    }
    let mut raised = 0;
    let a = w.operand(mx, &mut raised, a);
    let x = w.unpack(a);
    if x.sign && x.class != Class::Zero {
        *flags |= IE;
        return w.indefinite();
    }
    *flags |= raised;
    let r = sqrt(&w.control(mx), x);
    w.finish(flags, r)
}

/// Converts between formats.
pub fn convert(from: &Width, to: &Width, mx: u32, flags: &mut u32, a: u64) -> u64 {
    if let Some(nan) = from.nan_of_one(flags, a) {
        let payload = if from.fraction < to.fraction {
            (nan & from.fraction_mask()) << (to.fraction - from.fraction)
        } else {
            (nan & from.fraction_mask()) >> (from.fraction - to.fraction)
        };
        return payload | to.infinity() | if nan & from.sign() != 0 { to.sign() } else { 0 };
    }
    let a = from.operand(mx, flags, a);
    let x = from.unpack(a);
    if x.class != Class::Finite {
        return to.pack(x);
    }
    to.finish(flags, round(&to.control(mx), x.exact()))
}

/// A signed integer as a float.
pub fn from_integer(w: &Width, mx: u32, flags: &mut u32, x: i64) -> u64 {
    let v = Float::from_i64(x);
    if v.class == Class::Zero {
        return 0;
    }
    w.finish(flags, round(&w.control(mx), v.exact()))
}

/// A float as a signed integer of `bits` bits; out of range gives "integer indefinite" (the most negative one) and IE.
pub fn to_integer(w: &Width, mode: Mode, mx: u32, flags: &mut u32, a: u64, bits: u32) -> i64 {
    let mut raised = 0;
    let indefinite = -1i64 << (bits - 1);
    if w.is_nan(a) {
        *flags |= IE;
        return indefinite;
    }
    let a = w.operand(mx, &mut raised, a);
    match super::softfloat::to_integer(mode, w.unpack(a), bits) {
        // Conversions to integers do not report denormal operands (SDM vol. 1, appendix C.3).
        Some((v, inexact, _)) => {
            *flags |= if inexact { PE } else { 0 };
            v
        }
        None => {
            *flags |= IE;
            indefinite
        }
    }
}

/// Rounds to an integral value; `imm` as in ROUNDSD (bits 1:0 mode, bit 2 use MXCSR.RC, bit 3 no PE).
pub fn round_to_integral(w: &Width, mx: u32, flags: &mut u32, a: u64, imm: u8) -> u64 {
    if let Some(nan) = w.nan_of_one(flags, a) {
        return nan;
    }
    let rc = if imm & 4 != 0 { mx >> mxcsr::RC_SHIFT } else { u32::from(imm) };
    let a = w.operand(mx, &mut 0, a);
    let (r, inexact, _) = round_integral(Mode::from_bits(rc), w.unpack(a));
    if inexact && imm & 8 == 0 {
        *flags |= PE;
    }
    w.pack(r)
}

/// Which parts of `x × y + z` are negated.
#[derive(Clone, Copy, Debug)]
pub struct Signs {
    /// −(x × y)
    pub product: bool,
    /// −z
    pub addend: bool,
}

/// Fused `±(x × y) ± z` (FMA3). A NaN result is the first NaN of x, y, z, its sign untouched; a quiet NaN as addend hides
/// that the product is invalid (SDM vol. 1, 14.5.3).
pub fn fused(w: &Width, signs: Signs, mx: u32, flags: &mut u32, [a, b, c]: [u64; 3]) -> u64 {
    if let Some(&nan) = [a, b, c].iter().find(|x| w.is_nan(**x)) {
        if [a, b, c].iter().any(|x| w.is_signalling(*x)) {
            *flags |= IE;
        }
        return nan | w.quiet();
    }
    let mut raised = 0;
    let (a, b, c) = (
        w.operand(mx, &mut raised, a),
        w.operand(mx, &mut raised, b),
        w.operand(mx, &mut raised, c),
    );
    let (mut x, y, mut z) = (w.unpack(a), w.unpack(b), w.unpack(c));
    x.sign ^= signs.product;
    z.sign ^= signs.addend;
    let sign = x.sign != y.sign;
    let infinite = x.class == Class::Infinite || y.class == Class::Infinite;
    let zero = x.class == Class::Zero || y.class == Class::Zero;
    if infinite && (zero || z.class == Class::Infinite && z.sign != sign) {
        *flags |= IE;
        return w.indefinite();
    }
    *flags |= raised;
    let control = w.control(mx);
    let r = if infinite {
        Rounded::exactly(Float::infinite(sign))
    } else if zero {
        sum(&control, Float::zero(sign), z)
    } else {
        let p = mul(x, y);
        match z.class {
            Class::Infinite => Rounded::exactly(z),
            Class::Zero => round(&control, p),
            Class::Finite => match add_wide(p, z.exact()) {
                Some(s) => round(&control, s),
                None => Rounded::exactly(Float::zero(control.mode == Mode::Down)),
            },
        }
    };
    w.finish(flags, r)
}

/// Sum whose bits below 128 only matter as sticky: products have at most 106 significant bits, so one shifted-out
/// operand leaves enough guard bits.
fn add_wide(p: Exact, z: Exact) -> Option<Exact> {
    let normal = |x: Exact| {
        let k = x.sig.leading_zeros();
        Exact { sig: x.sig << k, exp: x.exp - k as i32, ..x }
    };
    add(normal(p), normal(z))
}
