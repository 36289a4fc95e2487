//! Arithmetic with 128 bits of significand, for the transcendental instructions: each step truncates, so that a
//! result is good to about 120 bits before it is rounded to 64.

use crate::sem::softfloat::{Class, Exact, Float, add};

/// A number `sig / 2^127 * 2^exp` with bit 127 set, or zero (`sig == 0`).
#[derive(Clone, Copy, Debug)]
pub struct Wide(pub Exact);

impl Wide {
    /// Zero.
    pub const ZERO: Wide = Wide(Exact { sign: false, exp: 0, sig: 0 });
    /// One.
    pub const ONE: Wide = Wide::constant(0, 1 << 127);

    /// A positive constant.
    pub const fn constant(exp: i32, sig: u128) -> Wide {
        Wide(Exact { sign: false, exp, sig })
    }

    fn normal(x: Exact) -> Wide {
        if x.sig == 0 {
            return Wide::ZERO;
        }
        let z = x.sig.leading_zeros();
        Wide(Exact { sig: x.sig << z, exp: x.exp - z as i32, ..x })
    }

    /// `sig × 2^(exp − 127)`
    pub fn normal_from(sig: u128, exp: i32) -> Wide {
        Wide::normal(Exact { sign: false, exp, sig })
    }

    /// A finite number.
    pub fn from_float(x: Float) -> Wide {
        if x.class == Class::Zero { Wide::ZERO } else { Wide::normal(x.exact()) }
    }

    /// A small integer.
    pub fn from_int(n: i64) -> Wide {
        Wide::from_float(Float::from_i64(n))
    }

    /// True for zero.
    pub fn is_zero(self) -> bool {
        self.0.sig == 0
    }

    /// −self
    pub fn neg(self) -> Wide {
        Wide(Exact { sign: !self.0.sign, ..self.0 })
    }

    /// self × 2^n
    pub fn scaled(self, n: i32) -> Wide {
        Wide(Exact { exp: self.0.exp + n, ..self.0 })
    }

    /// self + b
    pub fn add(self, b: Wide) -> Wide {
        if self.is_zero() {
            return b;
        }
        if b.is_zero() {
            return self;
        }
        add(self.0, b.0).map_or(Wide::ZERO, Wide::normal)
    }

    /// self − b
    pub fn sub(self, b: Wide) -> Wide {
        self.add(b.neg())
    }

    /// self × b
    pub fn mul(self, b: Wide) -> Wide {
        let low = |x: u128| x & u128::from(u64::MAX);
        let (x, y) = (self.0.sig, b.0.sig);
        let (x1, x0, y1, y0) = (x >> 64, low(x), y >> 64, low(y));
        let middle = (x0 * y0 >> 64) + low(x1 * y0) + low(x0 * y1);
        let sig = x1 * y1 + (x1 * y0 >> 64) + (x0 * y1 >> 64) + (middle >> 64);
        Wide::normal(Exact { sign: self.0.sign != b.0.sign, exp: self.0.exp + b.0.exp + 1, sig })
    }

    /// self ÷ n
    pub fn div_int(self, n: u32) -> Wide {
        // One more limb keeps the precision that a plain division would lose.
        let d = u128::from(n);
        let (q, r) = (self.0.sig / d, self.0.sig % d);
        let z = q.leading_zeros().min(32);
        let low = (r << 96) / d >> (96 - z);
        Wide::normal(Exact { sig: q << z | low, exp: self.0.exp - z as i32, ..self.0 })
    }

    /// self ÷ b, b not zero
    pub fn div(self, b: Wide) -> Wide {
        // Newton's iteration from 63 bits: r ← r (2 − b r), twice.
        // b = s / 2^63 * 2^exp with s in [2^63, 2^64), so 1/b = (2^127 / s) / 2^64 * 2^-exp.
        let estimate = u128::MAX / (b.0.sig >> 64) >> 1;
        let mut r = Wide::normal(Exact { sign: b.0.sign, exp: 63 - b.0.exp, sig: estimate });
        for _ in 0..2 {
            r = r.mul(Wide::from_int(2).sub(b.mul(r)));
        }
        self.mul(r)
    }
}
