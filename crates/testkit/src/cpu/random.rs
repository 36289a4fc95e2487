//! Seeded randomness and the values that break arithmetic.

use super::{DATA, State};

/// Values kept for states, a few of which each state replaces: making 32 vectors anew costs more than running a case.
const POOL: usize = 256;

/// SplitMix64: small, good enough, the same everywhere.
#[derive(Clone, Debug)]
pub struct Rng {
    state: u64,
    vectors: Vec<u128>,
    extended: Vec<(u64, u16)>,
}

impl Rng {
    /// From a seed.
    pub fn new(seed: u64) -> Rng {
        let mut rng = Rng { state: seed, vectors: Vec::new(), extended: Vec::new() };
        rng.vectors = (0..POOL).map(|_| rng.vector()).collect();
        rng.extended = (0..POOL).map(|_| rng.extended()).collect();
        rng
    }
    /// 64 random bits.
    pub fn bits(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.state ^ self.state >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }
    /// Below `n`.
    pub fn below(&mut self, n: usize) -> usize {
        (((self.bits() >> 32) * n as u64) >> 32) as usize
    }
    /// True once in `n` times.
    pub fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }
    /// One of the list.
    pub fn pick<T: Copy>(&mut self, list: &[T]) -> T {
        list[self.below(list.len())]
    }

    /// An integer: small, at a boundary of some width, or anything.
    pub fn integer(&mut self) -> u64 {
        const EDGES: [u64; 16] = [
            0,
            1,
            2,
            0x7f,
            0x80,
            0xff,
            0x7fff,
            0x8000,
            0xffff,
            0x7fff_ffff,
            0x8000_0000,
            0xffff_ffff,
            0x7fff_ffff_ffff_ffff,
            0x8000_0000_0000_0000,
            u64::MAX,
            u64::MAX - 1,
        ];
        match self.below(4) {
            0 | 1 => self.pick(&EDGES),
            2 => self.bits() >> self.below(64),
            _ => self.bits(),
        }
    }

    /// A single as bits.
    pub fn single(&mut self) -> u32 {
        const EDGES: [u32; 16] = [
            0,
            1,
            0x7f_ffff,
            0x80_0000,
            0x80_0001,
            0x3f80_0000,
            0x3fc0_0000,
            0x4f00_0000,
            0x4eff_ffff,
            0x7f7f_ffff,
            0x7f80_0000,
            0x7f80_0001,
            0x7fc0_0000,
            0x7fc1_2345,
            0x3eaa_aaab,
            0x5f00_0000,
        ];
        let sign = if self.one_in(2) { 0x8000_0000 } else { 0 };
        match self.below(4) {
            0 | 1 => self.pick(&EDGES) | sign,
            // Near one: results that round in interesting places.
            2 => {
                0x3f00_0000u32.wrapping_add((self.bits() as u32 & 0x1ff_ffff) << self.below(2))
                    | sign
            }
            _ => self.bits() as u32,
        }
    }

    /// A double as bits.
    pub fn double(&mut self) -> u64 {
        const EDGES: [u64; 18] = [
            0,
            1,
            0xf_ffff_ffff_ffff,
            0x10_0000_0000_0000,
            0x10_0000_0000_0001,
            0x3ff0_0000_0000_0000,
            0x3ff8_0000_0000_0000,
            0x41df_ffff_ffc0_0000,
            0x41e0_0000_0000_0000,
            0x43e0_0000_0000_0000,
            0x7fef_ffff_ffff_ffff,
            0x7ff0_0000_0000_0000,
            0x7ff0_0000_0000_0001,
            0x7ff8_0000_0000_0000,
            0x7ff8_1234_5678_9abc,
            0x36a0_0000_0000_0001,
            0x47ef_ffff_f000_0000,
            0x3fd5_5555_5555_5555,
        ];
        let sign = if self.one_in(2) { 1 << 63 } else { 0 };
        match self.below(5) {
            0 | 1 => self.pick(&EDGES) | sign,
            2 => (0x3fe0_0000_0000_0000 + (self.bits() & 0x003f_ffff_ffff_ffff)) | sign,
            // Few digits: exact results.
            3 => ((self.integer() as i16) as f64 / f64::from(1u32 << self.below(20))).to_bits(),
            _ => self.bits(),
        }
    }

    /// An extended value: significand, sign and exponent.
    pub fn extended(&mut self) -> (u64, u16) {
        let sign = (self.below(2) as u16) << 15;
        let mant = match self.below(4) {
            0 => self.bits() | 1 << 63,
            1 => u64::MAX << self.below(64) | 1 << 63,
            2 => (self.bits() & 0xffff) << 48 | 1 << 63,
            _ => 1 << 63 | self.below(4) as u64,
        };
        match self.below(12) {
            0 => (0, sign),
            1 => (mant >> (1 + self.below(60)), sign), // denormal
            2 => (mant, sign | 0x7fff),                // infinity or NaN
            3 => (1 << 63, sign | 0x7fff),
            4 => (self.bits(), self.bits() as u16),
            5 => (mant, sign | (0x3fff + self.below(70) as u16)),
            6 => (mant, sign | self.pick(&[1, 2, 0x40, 0x7ffe, 0x7ffd, 0x7fc0])),
            7 => (mant, sign | (0x3c01 + self.below(0x7fd) as u16)), // a double's range
            _ => (mant, sign | (0x3fff - 4 + self.below(8) as u16)),
        }
    }

    /// 16 bytes for a vector: lanes of one kind.
    pub fn vector(&mut self) -> u128 {
        let two = |low: u64, high: u64| u128::from(low) | u128::from(high) << 64;
        match self.below(5) {
            0 => two(self.double(), self.double()),
            1 => {
                let pair = |r: &mut Rng| u64::from(r.single()) | u64::from(r.single()) << 32;
                two(pair(self), pair(self))
            }
            2 => two(self.integer(), self.integer()),
            3 => {
                // Bytes with edges and zeros (text comparison, saturation).
                let bytes = std::array::from_fn(|_| {
                    self.pick(&[0u8, 0, 1, 0x61, 0x62, 0x7a, 0x7f, 0x80, 0xff])
                });
                u128::from_le_bytes(bytes)
            }
            _ => two(self.bits(), self.bits()),
        }
    }

    /// A vector from the pool.
    fn pooled(&mut self) -> u128 {
        let i = self.below(POOL);
        self.vectors[i]
    }

    /// A whole state. Registers mostly hold numbers; rsp, rbp, rsi, rdi point into the data pages.
    pub fn state(&mut self) -> State {
        let mut s = State::default();
        for r in &mut s.regs {
            *r = self.integer();
        }
        for r in [4, 5, 6, 7] {
            s.regs[r] = DATA + 0x400 + (self.below(0x1800) as u64 & !7);
        }
        if self.one_in(2) {
            s.regs[1] = self.below(80) as u64;
        }
        s.rflags = self.bits() & 0x8d5 | if self.one_in(6) { 0x400 } else { 0 };
        for _ in 0..4 {
            let i = self.below(POOL);
            self.vectors[i] = self.vector();
        }
        for i in 0..16 {
            let v = self.pooled();
            s.set_xmm(i, v);
        }
        // Now and then all zero: the state after VZEROUPPER.
        if !self.one_in(8) {
            for i in 0..16 {
                s.high[i] = if self.one_in(16) { 0 } else { self.pooled() };
            }
        }
        if self.one_in(2) {
            s.fs = self.base();
            s.gs = self.base();
        }
        s.set_mxcsr(self.mxcsr());
        self.x87(&mut s);
        s
    }

    /// A base of FS or GS: canonical, and far from what this process itself has mapped.
    fn base(&mut self) -> u64 {
        match self.below(3) {
            0 => DATA + 0x100 * self.below(32) as u64,
            1 => self.bits() >> 18,
            _ => ((self.bits() | 1 << 63) as i64 >> 17) as u64,
        }
    }

    fn mxcsr(&mut self) -> u32 {
        let mut mx = 0x1f80;
        if self.one_in(2) {
            mx |= (self.bits() as u32 & 3) << 13;
        }
        if self.one_in(4) {
            mx |= self.bits() as u32 & 0x8040;
        }
        if self.one_in(2) {
            mx |= self.bits() as u32 & 0x3f;
        }
        if self.one_in(16) {
            mx &= !(1 << (7 + self.below(6)));
        }
        mx
    }

    fn x87(&mut self, s: &mut State) {
        let mut cw = 0x37f;
        if self.one_in(2) {
            cw = cw & !0xf00 | (self.pick(&[0u16, 2, 3, 3]) << 8) | (self.below(4) as u16) << 10;
        }
        let mut sw = (self.below(8) as u16) << 11;
        if self.one_in(2) {
            sw |= self.bits() as u16 & 0x473f;
        }
        if self.one_in(24) {
            cw &= !(1 << self.below(6));
        }
        if sw & !cw & 0x3f != 0 {
            sw |= 0x8080;
        }
        s.set_cw(cw);
        s.set_sw(sw);
        let tags = match self.below(4) {
            0 => self.bits() as u8,
            1 => 0xff,
            _ => {
                // ST(0) to ST(5) in use.
                let top = usize::from(sw >> 11 & 7);
                (0..6).fold(0, |t, i| t | 1 << ((top + i) & 7))
            }
        };
        s.set_tags(tags);
        for _ in 0..2 {
            let i = self.below(POOL);
            self.extended[i] = self.extended();
        }
        for i in 0..8 {
            let n = self.below(POOL);
            let (mant, se) = self.extended[n];
            s.set_st(i, mant, se);
        }
    }
}
