//! Whatever the bytes are, lifting neither panics nor makes malformed IR.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use ir::{Block, Term, TrapKind};
use x86::{CpuLevel, LiftError, LiftOptions, level_of, lift};

const PC: u64 = 0x40_0000;

fn check(bytes: &[u8]) -> Option<Block> {
    let hex = || bytes.iter().map(|b| format!("{b:02x}")).collect::<String>();
    match lift(bytes, PC, &LiftOptions { level: CpuLevel::V3 }) {
        Ok(block) => {
            assert_eq!(block.verify(), Ok(()), "{}\n{block}", hex());
            assert!(block.len as usize <= bytes.len() && !block.marks.is_empty(), "{}", hex());
            Some(block)
        }
        Err(error) => {
            assert_eq!(error, LiftError::Incomplete { pc: PC });
            assert!(bytes.len() < 15, "{} is long enough", hex());
            None
        }
    }
}

/// Every opcode of the one-, two- and three-byte maps with a few prefixes and ModRM bytes.
#[test]
fn every_opcode() {
    let prefixes: [&[u8]; 9] = [
        b"",
        b"\x66",
        b"\xf2",
        b"\xf3",
        b"\x48",
        b"\x66\x48",
        b"\xf3\x4d",
        b"\x67",
        b"\x64\x67\x41",
    ];
    let modrms: [&[u8]; 8] = [
        b"\xc0\x01\x02\x03\x04\x05\x06\x07",
        b"\xe7\x81\x82\x83\x84\x85\x86\x87",
        b"\x05\x10\x00\x00\x00\x80\x00\x00",
        b"\x44\x8d\xf0\x01\x02\x03\x04\x05",
        b"\x98\x10\x20\x30\xc0\x01\x02\x03",
        b"\x2c\x25\x00\x10\x00\x00\x11\x22",
        b"\xf8\xff\xff\xff\xff\xff\xff\xff",
        b"\x13\x01\x02\x03\x04\x05\x06\x07",
    ];
    let maps: [&[u8]; 4] = [b"", b"\x0f", b"\x0f\x38", b"\x0f\x3a"];
    for prefix in prefixes {
        for map in maps {
            for opcode in 0..=255 {
                for modrm in modrms {
                    let code = [prefix, map, &[opcode], modrm, &[0; 15]].concat();
                    check(&code).expect("not incomplete");
                }
            }
        }
    }
}

#[test]
fn random_bytes() {
    let mut state = 0x9E37_79B9_7F4A_7C15u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    let mut undefined = 0;
    for _ in 0..40_000 {
        let len = 1 + (next() >> 40) as usize % 40;
        let bytes: Vec<u8> = (0..len).map(|_| (next() >> 33) as u8).collect();
        if let Some(block) = check(&bytes) {
            undefined += usize::from(matches!(block.term, Term::Trap { kind: TrapKind::Ud, .. }));
        }
    }
    assert!(undefined > 1000, "random bytes meet undefined instructions");
}

#[test]
fn blocks_end_at_the_page() {
    let nops = [0x90; 64];
    let block = lift(&nops, PC + 4096 - 5, &LiftOptions::default()).unwrap();
    assert_eq!((block.len, block.term), (5, Term::Jump { target: PC + 4096 }));
    // mov eax, imm32 across the end: not together with what comes before, and a block of its own.
    let code = b"\x90\xb8\x01\x02\x03\x04\x90\x90";
    let block = lift(code, PC + 4096 - 3, &LiftOptions::default()).unwrap();
    assert_eq!((block.len, block.term), (1, Term::Jump { target: PC + 4096 - 2 }));
    let block = lift(&code[1..], PC + 4096 - 2, &LiftOptions::default()).unwrap();
    assert_eq!((block.len, block.term), (5, Term::Jump { target: PC + 4096 + 3 }));
    let short = lift(&code[1..3], PC + 4096 - 2, &LiftOptions::default());
    assert_eq!(short, Err(LiftError::Incomplete { pc: PC + 4096 - 2 }));
}

#[test]
fn unknown_instructions_are_named() {
    let code = b"\x90\x0f\x05";
    let block = lift(code, PC, &LiftOptions::default()).unwrap();
    assert_eq!(block.term, Term::Syscall { next: PC + 3 });
    // vaddps ymm0, ymm1, ymm2 is not part of the default processor.
    let code = b"\xc5\xf4\x58\xc2";
    let block = lift(code, PC, &LiftOptions::default()).unwrap();
    assert_eq!(block.term, Term::Trap { kind: TrapKind::Ud, pc: PC });
    assert_eq!(x86::describe(code, PC), "vaddps (c5 f4 58 c2) at 0x400000");
}

/// The default processor has neither AVX nor what manages its state; x86-64-v3 has both.
#[test]
fn avx_and_xsave_come_together() {
    let ecx = |level| x86::cpuid(1, 0, level)[2];
    for bit in [26, 27, 28] {
        assert_eq!(ecx(CpuLevel::V2) >> bit & 1, 0, "bit {bit}");
        assert_eq!(ecx(CpuLevel::V3) >> bit & 1, 1, "bit {bit}");
    }
    assert_eq!(x86::cpuid(0xD, 0, CpuLevel::V2), [0; 4]);
    assert_eq!(x86::cpuid(0xD, 0, CpuLevel::V3), [7, 832, 832, 0]);
    assert_eq!(x86::cpuid(0xD, 2, CpuLevel::V3), [256, 576, 0, 0]);
}

#[test]
fn cache_leaves_give_what_glibc_needs() {
    let size = |subleaf| {
        let [_, ebx, ecx, _] = x86::cpuid(4, subleaf, x86::CpuLevel::default());
        ((ebx >> 22) + 1) * ((ebx >> 12 & 0x3FF) + 1) * ((ebx & 0xFFF) + 1) * (ecx + 1)
    };
    assert_eq!([size(0), size(1), size(2), size(3)], [32 << 10, 32 << 10, 256 << 10, 8 << 20]);
    assert_eq!(x86::cpuid(4, 4, x86::CpuLevel::default()), [0; 4]);
    let [eax, ebx, ecx, edx] = x86::cpuid(0, 0, x86::CpuLevel::default());
    let vendor: Vec<u8> = [ebx, edx, ecx].iter().flat_map(|w| w.to_le_bytes()).collect();
    assert_eq!((eax, &vendor[..]), (0xD, &b"GenuineIntel"[..]));
}

/// SDM vol. 2, NOP and PREFETCHh; AMD's manual vol. 3, appendix A: what is not assigned from 0F 18 to 0F 1F does nothing.
#[test]
fn hints_do_nothing_whatever_they_are() {
    for opcode in 0x18..=0x1f_u8 {
        for modrm in 0..=255_u8 {
            let bytes =
                [0x0f, opcode, modrm, 0, 0, 0, 0, 0, 0xf4, 0xf4, 0xf4, 0xf4, 0xf4, 0xf4, 0xf4];
            let level = level_of(&bytes, 0x1000);
            assert_eq!(level, Some(CpuLevel::V2), "0f {opcode:02x} {modrm:02x}");
        }
    }
}

/// CPUID denies them, so they are #UD. Without BMI1 the encodings of TZCNT and LZCNT are those of BSF and BSR.
#[test]
fn vex_forms_come_with_the_processor_that_announces_them() {
    for bytes in [
        [0xc4, 0xe2, 0x78, 0xf2, 0xc1], // andn eax, eax, ecx
        [0xc4, 0xe2, 0x70, 0xf7, 0xc1], // bextr eax, ecx, ecx
        [0xc4, 0xe2, 0x70, 0xf5, 0xc1], // bzhi eax, ecx, ecx
        [0xc4, 0xe2, 0x78, 0xf3, 0xd9], // blsi eax, ecx
        [0xc4, 0xe2, 0x7b, 0xf6, 0xc1], // mulx eax, eax, ecx
        [0xc4, 0xe2, 0x73, 0xf5, 0xc1], // pdep eax, ecx, ecx
        [0xc4, 0xe2, 0x71, 0xf7, 0xc1], // shlx eax, ecx, ecx
    ] {
        assert_eq!(level_of(&bytes, 0x1000), Some(CpuLevel::V3), "{bytes:02x?}");
    }
}
