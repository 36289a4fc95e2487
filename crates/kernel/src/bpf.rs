//! Classic BPF (`Documentation/networking/filter.rst`, bpf(4) of the BSDs): the verifier's rules and an interpreter. Filters
//! of system calls (seccomp(2)) and of sockets (`SO_ATTACH_FILTER`) are such programs.
//!
//! A program has no loops (jumps go forward only) and at most [`MAX_INSNS`] instructions, so that it always ends.

use abi::{Errno, Pod};

/// Most instructions of one program (`BPF_MAXINSNS`).
pub const MAX_INSNS: usize = 4096;
/// Words of scratch memory (`BPF_MEMWORDS`).
const MEM_WORDS: usize = 16;
/// Loads from here on are not of the packet: what the kernel knows of it (`SKF_AD_OFF`).
pub const ANCILLARY: u32 = 0xffff_f000;
/// Loads from here on are relative to the network header (`SKF_NET_OFF`).
pub const FROM_NETWORK_HEADER: u32 = 0xfff0_0000;
/// Loads from here on are relative to the link header (`SKF_LL_OFF`).
pub const FROM_LINK_HEADER: u32 = 0xffe0_0000;
/// Number of ancillary values (`SKF_AD_MAX`).
const ANCILLARY_MAX: u32 = 64;
/// `SKF_AD_ALU_XOR_X`: an instruction in disguise.
const ALU_XOR_X: u32 = 40;
/// Bytes of `struct seccomp_data`.
pub const SECCOMP_DATA: u32 = 64;

// Classes (three bits), and what the other bits mean in each.
const LD: u16 = 0;
const LDX: u16 = 1;
const ST: u16 = 2;
const STX: u16 = 3;
const ALU: u16 = 4;
const JMP: u16 = 5;
const RET: u16 = 6;
const MISC: u16 = 7;
const W: u16 = 0x00;
const H: u16 = 0x08;
const B: u16 = 0x10;
const IMM: u16 = 0x00;
const ABS: u16 = 0x20;
const IND: u16 = 0x40;
const MEM: u16 = 0x60;
const LEN: u16 = 0x80;
const MSH: u16 = 0xa0;
const ADD: u16 = 0x00;
const SUB: u16 = 0x10;
const MUL: u16 = 0x20;
const DIV: u16 = 0x30;
const OR: u16 = 0x40;
const AND: u16 = 0x50;
const LSH: u16 = 0x60;
const RSH: u16 = 0x70;
const NEG: u16 = 0x80;
const MOD: u16 = 0x90;
const XOR: u16 = 0xa0;
const JA: u16 = 0x00;
const JEQ: u16 = 0x10;
const JGT: u16 = 0x20;
const JGE: u16 = 0x30;
const JSET: u16 = 0x40;
const K: u16 = 0x00;
const X: u16 = 0x08;
const A: u16 = 0x10;
const TAX: u16 = 0x00;
const TXA: u16 = 0x80;

/// One instruction (`struct sock_filter`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Insn {
    /// Operation.
    pub code: u16,
    /// Instructions to skip if the condition holds.
    pub jt: u8,
    /// … and if not.
    pub jf: u8,
    /// Operand.
    pub k: u32,
}

impl Insn {
    /// Bytes of one instruction.
    pub const SIZE: usize = 8;

    /// Reads one from user memory's layout; `bytes` has at least [`Insn::SIZE`].
    fn from_bytes(bytes: &[u8]) -> Insn {
        Insn {
            code: u16::from_bytes(bytes),
            jt: bytes[2],
            jf: bytes[3],
            k: u32::from_bytes(&bytes[4..]),
        }
    }
}

/// What a program filters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Use {
    /// System calls: `struct seccomp_data`, aligned words only (`seccomp_check_filter`).
    Seccomp,
    /// Packets of a socket.
    Socket,
}

/// What a program looks at.
pub trait Packet {
    /// The unsigned value of `size` (1, 2, 4) bytes at `at`, which is an offset from the start or lies in one of the ranges
    /// above [`FROM_LINK_HEADER`]. `None` ends the program with 0.
    fn load(&self, at: u32, size: u32) -> Option<u32>;

    /// Bytes in the packet.
    fn length(&self) -> u32;

    /// The ancillary value `SKF_AD_…` of number `what`; some depend on the registers.
    fn ancillary(&self, what: u32, a: u32, x: u32) -> Option<u32> {
        let _ = (what, a, x);
        None
    }
}

/// Bytes in network order, without ancillary values: offsets relative to headers count from the start.
pub struct NetworkBytes<'a>(pub &'a [u8]);

impl Packet for NetworkBytes<'_> {
    fn load(&self, at: u32, size: u32) -> Option<u32> {
        let at = match at {
            FROM_NETWORK_HEADER.. => at - FROM_NETWORK_HEADER,
            FROM_LINK_HEADER.. => at - FROM_LINK_HEADER,
            at => at,
        } as usize;
        let bytes = self.0.get(at..at.checked_add(size as usize)?)?;
        Some(bytes.iter().fold(0, |value, byte| value << 8 | u32::from(*byte)))
    }

    fn length(&self) -> u32 {
        u32::try_from(self.0.len()).unwrap_or(u32::MAX)
    }
}

/// A program that the verifier passed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Program(Box<[Insn]>);

impl Program {
    /// Checks a program as the kernel does (`bpf_check_classic`): `EINVAL` for unknown operations, jumps out of it, division
    /// by a constant zero, scratch words that were not stored before, and a last instruction that is no return.
    pub fn new(insns: Vec<Insn>, purpose: Use) -> Result<Program, Errno> {
        if insns.is_empty() || insns.len() > MAX_INSNS {
            return Err(Errno::EINVAL);
        }
        for (pc, insn) in insns.iter().enumerate() {
            check(insn, insns.len() - pc - 1, purpose)?;
        }
        let last = insns.last().map_or(0, |insn| insn.code);
        if last != RET | K && last != RET | A {
            return Err(Errno::EINVAL);
        }
        check_scratch(&insns)?;
        Ok(Program(insns.into()))
    }

    /// The same from the bytes of an array of `struct sock_filter`.
    pub fn from_bytes(bytes: &[u8], purpose: Use) -> Result<Program, Errno> {
        let insns = bytes.chunks_exact(Insn::SIZE).map(Insn::from_bytes).collect();
        Program::new(insns, purpose)
    }

    /// Number of instructions.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Never true: the verifier refuses empty programs.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Runs the program: its return value, 0 for a load outside the packet or a division by zero.
    pub fn run(&self, packet: &impl Packet) -> u32 {
        self.evaluate(packet).unwrap_or(0)
    }

    fn evaluate(&self, packet: &impl Packet) -> Option<u32> {
        let (mut a, mut x) = (0_u32, 0_u32);
        let mut scratch = [0_u32; MEM_WORDS];
        let mut pc = 0;
        loop {
            let insn = *self.0.get(pc)?;
            pc += 1;
            let k = insn.k;
            let operand = if insn.code & X != 0 { x } else { k };
            match insn.code & 7 {
                LD => a = load(insn, a, x, &scratch, packet)?,
                LDX => x = load_index(insn, &scratch, packet)?,
                ST => *scratch.get_mut(k as usize)? = a,
                STX => *scratch.get_mut(k as usize)? = x,
                ALU => a = compute(insn.code & 0xf0, a, operand)?,
                JMP => {
                    let taken = match insn.code & 0xf0 {
                        JA => {
                            pc += k as usize;
                            continue;
                        }
                        JEQ => a == operand,
                        JGT => a > operand,
                        JGE => a >= operand,
                        _ => a & operand != 0,
                    };
                    pc += usize::from(if taken { insn.jt } else { insn.jf });
                }
                RET => return Some(if insn.code & 0x18 == A { a } else { k }),
                _ if insn.code & 0xf8 == TAX => x = a,
                _ => a = x,
            }
        }
    }
}

fn load(insn: Insn, a: u32, x: u32, scratch: &[u32], packet: &impl Packet) -> Option<u32> {
    let size = match insn.code & 0x18 {
        W => 4,
        H => 2,
        _ => 1,
    };
    match insn.code & 0xe0 {
        IMM => Some(insn.k),
        MEM => scratch.get(insn.k as usize).copied(),
        LEN => Some(packet.length()),
        ABS if insn.k >= ANCILLARY => match insn.k - ANCILLARY {
            ALU_XOR_X => Some(a ^ x),
            what => packet.ancillary(what, a, x),
        },
        ABS => packet.load(insn.k, size),
        _ => packet.load(x.wrapping_add(insn.k), size),
    }
}

fn load_index(insn: Insn, scratch: &[u32], packet: &impl Packet) -> Option<u32> {
    match insn.code & 0xe0 {
        IMM => Some(insn.k),
        MEM => scratch.get(insn.k as usize).copied(),
        LEN => Some(packet.length()),
        // The length of an IPv4 header.
        _ => Some((packet.load(insn.k, 1)? & 0xf) * 4),
    }
}

fn compute(op: u16, a: u32, operand: u32) -> Option<u32> {
    Some(match op {
        ADD => a.wrapping_add(operand),
        SUB => a.wrapping_sub(operand),
        MUL => a.wrapping_mul(operand),
        DIV => a.checked_div(operand)?,
        MOD => a.checked_rem(operand)?,
        OR => a | operand,
        AND => a & operand,
        XOR => a ^ operand,
        // The count as the processor takes it.
        LSH => a.wrapping_shl(operand),
        RSH => a.wrapping_shr(operand),
        _ => a.wrapping_neg(),
    })
}

/// Whether `insn`, which `left` instructions follow, is one that the kernel accepts there.
fn check(insn: &Insn, left: usize, purpose: Use) -> Result<(), Errno> {
    let ok = match insn.code & 7 {
        LD => check_load(insn, purpose),
        LDX => match insn.code {
            c if c == LDX | W | IMM || c == LDX | W | LEN => true,
            c if c == LDX | W | MEM => insn.k < MEM_WORDS as u32,
            c => c == LDX | B | MSH && purpose == Use::Socket,
        },
        ST | STX => insn.code & !7 == 0 && insn.k < MEM_WORDS as u32,
        ALU => check_alu(insn, purpose),
        JMP => match insn.code & !7 {
            JA => (insn.k as usize) < left,
            c => {
                matches!(c & !X, JEQ | JGT | JGE | JSET)
                    && usize::from(insn.jt) < left
                    && usize::from(insn.jf) < left
            }
        },
        RET => insn.code == RET | K || insn.code == RET | A,
        _ => insn.code == MISC | TAX || insn.code == MISC | TXA,
    };
    if ok { Ok(()) } else { Err(Errno::EINVAL) }
}

fn check_load(insn: &Insn, purpose: Use) -> bool {
    let size = insn.code & 0x18;
    if insn.code & !0xff != 0 || size == 0x18 {
        return false;
    }
    match insn.code & 0xe0 {
        IMM | LEN => size == W,
        MEM => size == W && insn.k < MEM_WORDS as u32,
        ABS if purpose == Use::Seccomp => {
            size == W && insn.k < SECCOMP_DATA && insn.k.is_multiple_of(4)
        }
        ABS => insn.k < ANCILLARY || is_ancillary(insn.k - ANCILLARY),
        IND => purpose == Use::Socket,
        _ => false,
    }
}

/// Whether `SKF_AD_…` of this number exists: multiples of four up to `VLAN_TPID`.
fn is_ancillary(what: u32) -> bool {
    what < ANCILLARY_MAX && what.is_multiple_of(4)
}

fn check_alu(insn: &Insn, purpose: Use) -> bool {
    let constant = insn.code & X == 0;
    match insn.code & !7 & !X {
        ADD | SUB | MUL | OR | AND | XOR => true,
        NEG => constant,
        LSH | RSH => !constant || insn.k < 32,
        DIV => !constant || insn.k != 0,
        MOD => purpose == Use::Socket && (!constant || insn.k != 0),
        _ => false,
    }
}

/// Every scratch word that is loaded was stored on each way there (`check_load_and_stores`).
fn check_scratch(insns: &[Insn]) -> Result<(), Errno> {
    // For each instruction: the words that are valid however it is reached.
    let mut valid = vec![u16::MAX; insns.len()];
    let mut now = 0_u16;
    for (pc, insn) in insns.iter().enumerate() {
        now &= valid[pc];
        let word = 1_u16.checked_shl(insn.k).unwrap_or(0);
        let mut meet = |skip: usize| {
            if let Some(mask) = valid.get_mut(pc + 1 + skip) {
                *mask &= now;
            }
        };
        match insn.code & 7 {
            ST | STX => now |= word,
            LD | LDX if insn.code & 0xe0 == MEM && now & word == 0 => return Err(Errno::EINVAL),
            JMP if insn.code & 0xf0 == JA => {
                meet(insn.k as usize);
                now = u16::MAX;
            }
            JMP => {
                meet(usize::from(insn.jt));
                meet(usize::from(insn.jf));
                now = u16::MAX;
            }
            _ => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn insn(code: u16, jt: u8, jf: u8, k: u32) -> Insn {
        Insn { code, jt, jf, k }
    }

    fn ret(k: u32) -> Insn {
        insn(RET | K, 0, 0, k)
    }

    fn run(insns: &[Insn], bytes: &[u8]) -> Result<u32, Errno> {
        Ok(Program::new(insns.to_vec(), Use::Socket)?.run(&NetworkBytes(bytes)))
    }

    #[test]
    fn a_filter_for_one_udp_port() {
        // tcpdump -dd 'udp dst port 53', without the link header.
        let program = [
            insn(0x30, 0, 0, 9),
            insn(0x15, 0, 6, 17),
            insn(0x28, 0, 0, 6),
            insn(0x45, 4, 0, 0x1fff),
            insn(0xb1, 0, 0, 0),
            insn(0x48, 0, 0, 2),
            insn(0x15, 0, 1, 53),
            ret(0x4_0000),
            ret(0),
        ];
        let mut packet = [0; 28];
        packet[0] = 0x45;
        packet[9] = 17;
        packet[22..24].copy_from_slice(&53_u16.to_be_bytes());
        assert_eq!(run(&program, &packet), Ok(0x4_0000));
        packet[23] = 54;
        assert_eq!(run(&program, &packet), Ok(0));
        assert_eq!(run(&program, &packet[..9]), Ok(0), "a load outside ends with 0");
    }

    #[test]
    fn arithmetic_is_the_kernels() {
        let value = |code: u16, a: u32, x: u32| {
            run(
                &[
                    insn(LD | IMM, 0, 0, a),
                    insn(LDX | IMM, 0, 0, x),
                    insn(ALU | code | X, 0, 0, 0),
                    insn(RET | A, 0, 0, 0),
                ],
                &[],
            )
        };
        assert_eq!(value(SUB, 1, 2), Ok(u32::MAX));
        assert_eq!(value(DIV, 7, 2), Ok(3));
        assert_eq!(value(DIV, 7, 0), Ok(0));
        assert_eq!(value(MOD, 7, 4), Ok(3));
        assert_eq!(value(LSH, 1, 33), Ok(2));
    }

    #[test]
    fn the_verifier_refuses_what_the_kernel_refuses() {
        let bad = |insns: &[Insn]| Program::new(insns.to_vec(), Use::Socket) == Err(Errno::EINVAL);
        assert!(bad(&[]));
        assert!(bad(&[insn(LD | IMM, 0, 0, 1)]), "no return at the end");
        assert!(bad(&[insn(JMP | JA, 0, 0, 1), ret(0)]), "a jump out");
        assert!(bad(&[insn(JMP | JEQ, 1, 0, 1), ret(0)]));
        assert!(bad(&[insn(ALU | DIV, 0, 0, 0), ret(0)]), "division by zero");
        assert!(bad(&[insn(ALU | LSH, 0, 0, 32), ret(0)]));
        assert!(bad(&[insn(LD | MEM, 0, 0, 0), ret(0)]), "a word that was not stored");
        assert!(bad(&[insn(ST, 0, 0, 16), ret(0)]));
        assert!(bad(&[insn(0x18, 0, 0, 0), ret(0)]), "no such size");
        assert!(bad(&[insn(0x100 | RET, 0, 0, 0)]));
        let one_way =
            [insn(JMP | JEQ, 0, 1, 0), insn(ST, 0, 0, 3), insn(LD | MEM, 0, 0, 3), ret(0)];
        assert!(bad(&one_way), "stored on one way only");
        let both =
            [insn(ST, 0, 0, 3), insn(JMP | JEQ, 0, 1, 0), ret(1), insn(LD | MEM, 0, 0, 3), ret(0)];
        assert!(Program::new(both.to_vec(), Use::Socket).is_ok());
        assert!(Program::new(vec![ret(0); MAX_INSNS + 1], Use::Socket).is_err());
    }

    #[test]
    fn seccomp_reads_aligned_words_of_its_record_only() {
        let ok = |code: u16, k: u32| {
            Program::new(vec![insn(code, 0, 0, k), ret(0)], Use::Seccomp).is_ok()
        };
        assert!(ok(LD | W | ABS, 60) && ok(LD | W | LEN, 0));
        assert!(!ok(LD | W | ABS, 64) && !ok(LD | W | ABS, 2) && !ok(LD | H | ABS, 0));
        assert!(!ok(LD | W | IND, 0) && !ok(ALU | MOD, 2) && !ok(LDX | B | MSH, 0));
    }
}
