//! The transcendental instructions (SDM vol. 1, 8.3.10: error below one unit in the last place). Computed to about 120
//! bits and rounded once; hardware may differ in the last bit.

use super::arith::Outcome;
use super::value::*;
use super::wide::Wide;
use crate::F80;
use crate::sem::softfloat::*;

const LN2: Wide = Wide::constant(-1, 0xb17217f7d1cf79abc9e3b39803f2f6af);
const LOG2_E: Wide = Wide::constant(0, 0xb8aa3b295c17f0bbbe87fed0691d3e89);
const PI: Wide = Wide::constant(1, 0xc90fdaa22168c234c4c6628b80dc1cd1);
/// π as the argument reduction of sine and cosine knows it: 66 bits (SDM vol. 1, 8.3.8), here × 2^64.
const PI_66: u128 = 0x3_243f_6a88_85a3_08d3;
/// atan(k / 8).
const ATAN: [Wide; 9] = [
    Wide::ZERO,
    Wide::constant(-4, 0xfeadd4d5617b6e32c897989f3e888ef8),
    Wide::constant(-3, 0xfadbafc96406eb156dc79ef5f7a217e6),
    Wide::constant(-2, 0xb7b0ca0f26f784738aa32122dcfe4483),
    Wide::constant(-2, 0xed63382b0dda7b456fe445ecbc3a8d03),
    Wide::constant(-1, 0x8f005d5ef7f59f9b5c835e1665c43748),
    Wide::constant(-1, 0xa4bc7d1934f7092419a87f2a457dac9f),
    Wide::constant(-1, 0xb8053e2bc2319e73cb2da55210a4443d),
    Wide::constant(-1, 0xc90fdaa22168c234c4c6628b80dc1cd1),
];

fn invalid() -> Outcome {
    (F80::INDEFINITE, IE, false)
}

/// Rounds an inexact result.
fn rounded(cw: u16, flags: u32, x: Wide) -> Outcome {
    if x.is_zero() {
        return (F80::default(), flags, false);
    }
    // The true value is never representable: a sticky bit says so.
    let r = round(&full_control(cw), Exact { sig: x.0.sig | 1, ..x.0 });
    (F80::pack(r.value), flags | r.flags | PE, r.up)
}

/// UE for a subnormal result that counts as inexact.
fn tiny(v: Float) -> u32 {
    if v.class == Class::Finite && v.sig >> 63 == 0 { UE } else { 0 }
}

/// `2^x − 1` for |x| ≤ 1; outside the operand comes back (SDM: undefined).
pub fn exp2_minus_1(cw: u16, a: F80) -> Outcome {
    let mut flags = 0;
    if let Some(nan) = nan_of_one(&mut flags, a) {
        return (nan, flags, false);
    }
    denormal(&mut flags, a);
    let x = a.unpack();
    match x.class {
        Class::Zero => return (a, flags, false),
        Class::Infinite if x.sign => return (F80::pack(Float::from_i64(-1)), flags, false),
        Class::Infinite => return (a, flags, false),
        Class::Finite if x.exp >= 0 => {
            // ±1 are exact.
            let result = match (x.exp, x.sig == 1 << 63, x.sign) {
                (0, true, false) => F80::ONE,
                (0, true, true) => F80 { mant: 1 << 63, se: 0xbffe },
                _ => a,
            };
            return (result, flags | PE, false);
        }
        Class::Finite => {}
    }
    let t = Wide::from_float(x).mul(LN2);
    let series = (2..=32).rev().fold(Wide::ONE, |s, n| Wide::ONE.add(t.mul(s).div_int(n)));
    rounded(cw, flags, t.mul(series))
}

/// `2 atanh(z) / ln 2` for small z.
fn log2_from_ratio(z: Wide) -> Wide {
    let square = z.mul(z);
    let series =
        (0..=26u32).rev().fold(Wide::ZERO, |s, k| s.mul(square).add(Wide::ONE.div_int(2 * k + 1)));
    z.mul(series).mul(LOG2_E).scaled(1)
}

/// `y × log2 x`
pub fn y_log2(cw: u16, y: F80, x: F80) -> Outcome {
    let mut flags = 0;
    if let Some(nan) = nan_of(&mut flags, x, y) {
        return (nan, flags, false);
    }
    let (v, w) = (x.unpack(), y.unpack());
    denormal(&mut flags, x);
    denormal(&mut flags, y);
    if v.sign && v.class != Class::Zero {
        return invalid();
    }
    let one = v.class == Class::Finite && v.exp == 0 && v.sig == 1 << 63;
    match (v.class, w.class) {
        (Class::Zero, Class::Zero) | (Class::Infinite, Class::Zero) => return invalid(),
        (Class::Zero, Class::Infinite) => {
            return (F80::pack(Float::infinite(!w.sign)), flags, false);
        }
        (Class::Zero, Class::Finite) => {
            return (F80::pack(Float::infinite(!w.sign)), ZE | flags & !DE, false);
        }
        (Class::Infinite, _) => return (F80::pack(Float::infinite(w.sign)), flags, false),
        (_, Class::Infinite) if one => return invalid(),
        (_, Class::Infinite) => {
            return (F80::pack(Float::infinite(w.sign != (v.exp < 0))), flags, false);
        }
        _ if one => return (F80::pack(Float::zero(w.sign)), flags, false),
        (_, Class::Zero) => return (F80::pack(Float::zero(w.sign != (v.exp < 0))), flags, false),
        _ => {}
    }
    // Mantissa between √½ and √2, so that no digits cancel against the exponent.
    let upper = v.sig >= 0xb504_f333_f9de_6484;
    let m = Wide::from_float(Float { exp: if upper { -1 } else { 0 }, ..v });
    let e = v.exp + i32::from(upper);
    let z = m.sub(Wide::ONE);
    let log = if z.is_zero() {
        Wide::from_int(e.into())
    } else {
        log2_from_ratio(z.div(m.add(Wide::ONE))).add(Wide::from_int(e.into()))
    };
    let product = log.mul(Wide::from_float(w));
    if z.is_zero() {
        // Exact, but reported as the processors do, which do not know.
        let r = round(&full_control(cw), product.0);
        return (F80::pack(r.value), flags | r.flags | PE | tiny(r.value), r.up);
    }
    rounded(cw, flags, product)
}

/// `y × log2(x + 1)` for |x| < 1 − √½; outside the formula is carried out all the same (SDM: undefined).
pub fn y_log2_1p(cw: u16, y: F80, x: F80) -> Outcome {
    let mut flags = 0;
    if let Some(nan) = nan_of(&mut flags, x, y) {
        return (nan, flags, false);
    }
    let (v, w) = (x.unpack(), y.unpack());
    denormal(&mut flags, x);
    denormal(&mut flags, y);
    match (v.class, w.class) {
        (Class::Zero, Class::Infinite) | (Class::Infinite, Class::Zero) => return invalid(),
        (Class::Infinite, _) if v.sign => return invalid(),
        (Class::Zero, _) | (_, Class::Zero) => {
            return (F80::pack(Float::zero(v.sign != w.sign)), flags, false);
        }
        (Class::Infinite, _) | (_, Class::Infinite) => {
            return (F80::pack(Float::infinite(v.sign != w.sign)), flags, false);
        }
        _ => {}
    }
    if v.exp >= -1 {
        let sum = Wide::from_float(v).add(Wide::ONE);
        if sum.is_zero() || sum.0.sign {
            return (x, flags | PE, false);
        }
        // Far from 1 + 0 nothing cancels: reduce as y_log2 does.
        let e = sum.0.exp;
        let m = sum.scaled(-e);
        let log = log2_from_ratio(m.sub(Wide::ONE).div(m.add(Wide::ONE)));
        let log = log.add(Wide::from_int(e.into()));
        return rounded(cw, flags, log.mul(Wide::from_float(w)));
    }
    let v = Wide::from_float(v);
    let log = log2_from_ratio(v.div(v.add(Wide::from_int(2))));
    rounded(cw, flags, log.mul(Wide::from_float(w)))
}

/// `atan(t)` for 0 < t ≤ 1.
fn arc_tangent(t: Wide) -> Wide {
    // atan t = atan c + atan((t − c) / (1 + t c)), c the nearest eighth.
    let eighths = if t.0.exp < -4 {
        0
    } else {
        ((t.0.sig >> 64 >> (59 - t.0.exp).clamp(0, 63)) as usize).div_ceil(2).min(8)
    };
    let c = Wide::from_int(eighths as i64).scaled(-3);
    let u = t.sub(c).div(Wide::ONE.add(t.mul(c)));
    let square = u.mul(u);
    let series = (0..=16u32).rev().fold(Wide::ZERO, |s, k| {
        let term = Wide::ONE.div_int(2 * k + 1);
        term.sub(s.mul(square))
    });
    ATAN[eighths].add(u.mul(series))
}

/// The angle of the point (x, y).
pub fn arctan2(cw: u16, y: F80, x: F80) -> Outcome {
    let mut flags = 0;
    if let Some(nan) = nan_of(&mut flags, x, y) {
        return (nan, flags, false);
    }
    let (v, w) = (x.unpack(), y.unpack());
    denormal(&mut flags, x);
    denormal(&mut flags, y);
    let signed = |a: Wide| if w.sign { a.neg() } else { a };
    let angle = match (w.class, v.class) {
        (Class::Zero, _) | (Class::Finite, Class::Infinite) if !v.sign => {
            return (F80::pack(Float::zero(w.sign)), flags, false);
        }
        (Class::Zero, _) | (Class::Finite, Class::Infinite) => PI,
        (Class::Infinite, Class::Infinite) if v.sign => PI.sub(PI.scaled(-2)),
        (Class::Infinite, Class::Infinite) => PI.scaled(-2),
        (Class::Infinite, _) | (_, Class::Zero) => PI.scaled(-1),
        _ => {
            let (a, b) = (Float { sign: false, ..v }, Float { sign: false, ..w });
            let (p, q) = (Wide::from_float(a), Wide::from_float(b));
            let first = if compare(b, a).is_le() {
                let t = q.div(p);
                if t.0.exp < -70 {
                    // atan t is t but for less than the last of 128 bits; a tiny one underflows.
                    if !v.sign {
                        let quotient = div(b, a);
                        let exact = quotient.sig as u64 == 0;
                        let sig = quotient.sig - u128::from(exact);
                        let r = round(&full_control(cw), Exact { sign: w.sign, sig, ..quotient });
                        return (F80::pack(r.value), flags | r.flags | PE | tiny(r.value), r.up);
                    }
                    t
                } else {
                    arc_tangent(t)
                }
            } else {
                let t = p.div(q);
                PI.scaled(-1).sub(if t.0.exp < -200 { t } else { arc_tangent(t) })
            };
            if v.sign { PI.sub(first) } else { first }
        }
    };
    rounded(cw, flags, signed(angle))
}

/// What sine and cosine have in common: (sine, cosine) of a finite operand below 2^63, else `None`.
fn circle(x: Float) -> Option<(Wide, Wide)> {
    if x.class == Class::Zero {
        return Some((Wide::ZERO, Wide::ONE));
    }
    if x.class == Class::Infinite || x.exp >= 63 {
        return None;
    }
    // Remainder of |x| by π/2, exactly: `PI_66` is π/2 × 2^65, so it has exponent 0 with 65 bits of fraction.
    let (mut r, mut quadrant) = (u128::from(x.sig) << 2, 0u32);
    let mut rest = Wide::from_float(Float { sign: false, ..x });
    if x.exp >= -1 {
        // r counts units of 2^(x.exp - 65); at the last step units of 2^-65. One more bit for exponent -1.
        let unit = PI_66 << 1;
        if x.exp < 0 {
            // Below 1 and so below π/2: nothing to take off.
        } else {
            r <<= 1;
            for step in 0..=x.exp {
                if step > 0 {
                    r <<= 1;
                }
                quadrant <<= 1;
                if r >= unit {
                    r -= unit;
                    quadrant |= 1;
                }
            }
            rest = Wide::normal_from(r, 127 - 66);
        }
        // Into −π/4 ..= π/4.
        let half = Wide::normal_from(PI_66, 127 - 65);
        if !rest.is_zero() && !rest.sub(half.scaled(-1)).0.sign {
            rest = rest.sub(half);
            quadrant = quadrant.wrapping_add(1);
        }
    }
    let square = rest.mul(rest);
    let sine = (1..=15u32)
        .rev()
        .fold(Wide::ONE, |s, k| Wide::ONE.sub(s.mul(square).div_int(2 * k * (2 * k + 1))));
    let sine = rest.mul(sine);
    let cosine = (1..=15u32)
        .rev()
        .fold(Wide::ONE, |s, k| Wide::ONE.sub(s.mul(square).div_int(2 * k * (2 * k - 1))));
    let (s, c) = match quadrant & 3 {
        0 => (sine, cosine),
        1 => (cosine, sine.neg()),
        2 => (sine.neg(), cosine.neg()),
        _ => (cosine.neg(), sine),
    };
    Some((if x.sign { s.neg() } else { s }, c))
}

/// Operands that sine, cosine and tangent share: a NaN result, "out of range", or the values.
enum Angle {
    Special(Outcome),
    OutOfRange,
    Value(Wide, Wide, u32),
}

fn angle(a: F80) -> Angle {
    let mut flags = 0;
    if let Some(nan) = nan_of_one(&mut flags, a) {
        return Angle::Special((nan, flags, false));
    }
    let x = a.unpack();
    if x.class == Class::Infinite {
        return Angle::Special(invalid());
    }
    denormal(&mut flags, a);
    match circle(x) {
        Some((s, c)) => Angle::Value(s, c, flags),
        None => Angle::OutOfRange,
    }
}

/// Exact cases keep the operand: ±0, and results that are the operand to 64 bits are rounded from it.
fn near_operand(cw: u16, a: F80, flags: u32, value: Wide) -> Outcome {
    if a.mant == 0 {
        return (a, flags, false);
    }
    rounded(cw, flags, value)
}

/// Sine, `None` if the operand is out of range (C2).
pub fn sine(cw: u16, a: F80) -> Option<Outcome> {
    Some(match angle(a) {
        Angle::Special(r) => r,
        Angle::OutOfRange => return None,
        Angle::Value(s, _, flags) => near_operand(cw, a, flags, s),
    })
}

/// Cosine, `None` if the operand is out of range (C2).
pub fn cosine(cw: u16, a: F80) -> Option<Outcome> {
    Some(match angle(a) {
        Angle::Special(r) => r,
        Angle::OutOfRange => return None,
        Angle::Value(_, c, flags) => {
            if a.mant == 0 {
                (F80::ONE, flags, false)
            } else {
                rounded(cw, flags, c)
            }
        }
    })
}

/// Tangent, `None` if the operand is out of range (C2).
pub fn tangent(cw: u16, a: F80) -> Option<Outcome> {
    Some(match angle(a) {
        Angle::Special(r) => r,
        Angle::OutOfRange => return None,
        Angle::Value(s, c, flags) => near_operand(cw, a, flags, s.div(c)),
    })
}
