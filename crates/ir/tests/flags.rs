//! The lazy flags against flags computed bit by bit.

use ir::{AF, CF, Cc, Cpu, FlagKind, Flags, OF, PF, SF, ZF};

/// Ripple-carry addition: (result, flags).
fn add(a: u64, b: u64, carry: bool, bits: u32) -> (u64, u64) {
    let (mut c, mut r, mut half, mut before) = (carry, 0, false, false);
    for i in 0..bits {
        let (x, y) = (a >> i & 1 == 1, b >> i & 1 == 1);
        if x ^ y ^ c {
            r |= 1 << i;
        }
        before = c;
        c = if x { y || c } else { y && c };
        if i == 3 {
            half = c;
        }
    }
    let mut f = 0;
    let mut put = |on: bool, bit| f |= if on { bit } else { 0 };
    put(c, CF);
    put(half, AF);
    put(c != before, OF);
    put(r == 0, ZF);
    put(r >> (bits - 1) & 1 == 1, SF);
    put((r as u8).count_ones().is_multiple_of(2), PF);
    (r, f)
}

const VALUES: [u64; 12] = [
    0,
    1,
    2,
    0xF,
    0x10,
    0x7F,
    0x80,
    0xFF,
    0x7FFF_FFFF,
    0x8000_0000,
    0x7FFF_FFFF_FFFF_FFFF,
    u64::MAX,
];

#[test]
fn sums_and_differences() {
    use FlagKind::*;
    let kinds = [
        (8, Add8, Sub8, Adc8, Sbb8, Inc8, Dec8),
        (16, Add16, Sub16, Adc16, Sbb16, Inc16, Dec16),
        (32, Add32, Sub32, Adc32, Sbb32, Inc32, Dec32),
        (64, Add64, Sub64, Adc64, Sbb64, Inc64, Dec64),
    ];
    for (bits, plus, minus, adc, sbb, inc, dec) in kinds {
        for a in VALUES {
            for b in VALUES {
                for carry in [false, true] {
                    let c = u64::from(carry);
                    let flags = |kind, b, c| Flags { kind, a, b, c }.bits();
                    assert_eq!(flags(plus, b, 7), add(a, b, false, bits).1, "{bits} {a:x}+{b:x}");
                    assert_eq!(
                        flags(adc, b, c),
                        add(a, b, carry, bits).1,
                        "{bits} {a:x}+{b:x}+{c}"
                    );
                    // a - b - c = a + !b + !c, with CF and AF inverted.
                    let borrow = |carry: bool| add(a, !b, !carry, bits).1 ^ (CF | AF);
                    assert_eq!(flags(minus, b, 7), borrow(false), "{bits} {a:x}-{b:x}");
                    assert_eq!(flags(sbb, b, c), borrow(carry), "{bits} {a:x}-{b:x}-{c}");
                    let kept = if carry { CF } else { 0 };
                    assert_eq!(flags(inc, 0, c), add(a, 1, false, bits).1 & !CF | kept);
                    let less = add(a, !1, true, bits).1 ^ (CF | AF);
                    assert_eq!(flags(dec, 0, c), less & !CF | kept);
                }
            }
        }
    }
}

#[test]
fn conditions_and_carry_agree_with_the_bits() {
    use FlagKind::*;
    let kinds = [
        Add8, Add16, Add32, Add64, Sub8, Sub16, Sub32, Sub64, Logic8, Logic16, Logic32, Logic64,
        Inc32, Dec64, Adc16, Sbb32, SMul32, UMul64,
    ];
    for kind in kinds {
        for a in VALUES {
            for b in VALUES {
                let flags = Flags { kind, a, b, c: 1 };
                let bits = flags.bits();
                assert_eq!(flags.carry(), bits & CF, "{kind:?} {a:x} {b:x}");
                for cc in Cc::ALL {
                    assert_eq!(flags.cond(cc), cc.holds(bits), "{kind:?} {a:x} {b:x} {cc:?}");
                }
            }
        }
    }
}

#[test]
fn rflags_round_trip() {
    let mut cpu = Cpu::new();
    assert_eq!(cpu.rflags(), 0x202);
    cpu.set_rflags(u64::MAX);
    assert_eq!(cpu.rflags(), 0x24_4FD7, "TF, NT, AC, ID and IF beside the arithmetic flags and DF");
    cpu.set_rflags(0);
    assert_eq!(cpu.rflags(), 0x202);
}

#[test]
fn the_fxsave_image_round_trips() {
    let mut cpu = Cpu::new();
    cpu.x87.top = 5;
    cpu.x87.valid = 0xA1;
    cpu.x87.cw = 0x27F;
    cpu.x87.sw = 0x4041;
    cpu.mxcsr = 0x9FC1;
    for i in 0..8 {
        cpu.x87.st[i] = ir::F80 { mant: 0x8000_0000_0000_0000 + i as u64, se: 0x3FFF + i as u16 };
    }
    for i in 0..16 {
        cpu.v[i] = u128::MAX / (i as u128 + 3);
    }
    let image = cpu.fxsave();
    assert_eq!(image[2..4], [0x41, 0x68], "TOP is part of the status word");
    assert_eq!(image[32], 5, "ST(0) comes first");
    let mut back = Cpu::new();
    assert_eq!(back.fxrstor(&image), Ok(()));
    assert_eq!(back.x87, cpu.x87);
    assert_eq!((back.mxcsr, &back.v[..16]), (cpu.mxcsr, &cpu.v[..16]));
    let mut bad = image;
    bad[27] = 1;
    assert_eq!(Cpu::new().fxrstor(&bad), Err(ir::TrapKind::Gp), "reserved bits of MXCSR");
}
