//! Flags as a word, CPU identification, time, randomness, thread pointers, hints.

use iced_x86::{Mnemonic::*, Register};
use ir::{AF, CF, FS_BASE, GS_BASE, OF, Op, PF, SF, Term, ZERO, ZF, reg};

use crate::Lifter;
use crate::lifter::Lifted;
use crate::table::Row;

pub(crate) const ROWS: &[Row] = &[
    (Nop, nothing),
    (Reservednop, nothing),
    (Endbr64, nothing),
    (Endbr32, nothing),
    (Pause, nothing),
    (Lfence, nothing),
    (Sfence, nothing),
    (Mfence, nothing),
    (Prefetcht0, nothing),
    (Prefetcht1, nothing),
    (Prefetcht2, nothing),
    (Prefetchnta, nothing),
    (Prefetchw, nothing),
    (Prefetchwt1, nothing),
    (Prefetch, nothing),
    (Prefetchit0, nothing),
    (Prefetchit1, nothing),
    (Clflush, touch),
    (Clflushopt, touch),
    (Clwb, touch),
    (Cldemote, nothing),
    (Clc, |l| put(l, 0, CF)),
    (Stc, |l| put(l, CF, CF)),
    (Cmc, cmc),
    (Cld, |l| direction(l, 0)),
    (Std, |l| direction(l, 1)),
    (Lahf, lahf),
    (Sahf, sahf),
    (Pushfq, |l| pushf(l, 8)),
    (Pushf, |l| pushf(l, 2)),
    (Popfq, |l| popf(l, 8)),
    (Popf, |l| popf(l, 2)),
    (Cpuid, cpuid),
    (Rdtsc, rdtsc),
    (Rdtscp, rdtscp),
    (Rdrand, random),
    (Rdseed, random),
    (Rdpid, rdpid),
    (Rdfsbase, |l| read_base(l, FS_BASE)),
    (Rdgsbase, |l| read_base(l, GS_BASE)),
    (Wrfsbase, |l| write_base(l, FS_BASE)),
    (Wrgsbase, |l| write_base(l, GS_BASE)),
    (Rdsspd, nothing),
    (Rdsspq, nothing),
];

fn nothing(_: &mut Lifter) -> Lifted {
    Ok(())
}

/// Cache control faults like a load of a byte.
fn touch(l: &mut Lifter) -> Lifted {
    let t = l.b.temp();
    l.load(t, 0, 1)
}

fn put(l: &mut Lifter, bits: u64, mask: u64) -> Lifted {
    let t = l.b.temp();
    l.b.li(t, bits as i64);
    l.put_flags(t, mask);
    Ok(())
}

fn cmc(l: &mut Lifter) -> Lifted {
    let t = l.b.temp();
    l.b.emit(Op::GetCc, t, ZERO, ZERO, ir::Cc::Ae as u8, 0);
    l.put_flags(t, CF);
    Ok(())
}

fn direction(l: &mut Lifter, value: i64) -> Lifted {
    l.b.emit(Op::SetDf, ZERO, ZERO, ZERO, ZERO, value);
    Ok(())
}

const LOW: u64 = SF | ZF | AF | PF | CF;

fn lahf(l: &mut Lifter) -> Lifted {
    let t = l.b.temp();
    l.b.emit(Op::GetFlags, t, ZERO, ZERO, ZERO, 0);
    l.b.r2i(Op::And64, t, t, LOW as i64);
    l.b.r2i(Op::Or64, t, t, 2);
    l.write_reg(Register::AH, t)
}

fn sahf(l: &mut Lifter) -> Lifted {
    let t = l.b.temp();
    l.b.r1(Op::Zx8h, t, reg::RAX);
    l.put_flags(t, LOW);
    Ok(())
}

fn pushf(l: &mut Lifter, bytes: i64) -> Lifted {
    let t = l.b.temp();
    l.b.emit(Op::GetRflags, t, ZERO, ZERO, ZERO, 0);
    l.push(t, bytes);
    Ok(())
}

/// Ends the block: the trap flag may be set now.
fn popf(l: &mut Lifter, bytes: i64) -> Lifted {
    let t = l.b.temp();
    let load = if bytes == 2 { Op::Load16 } else { Op::Load64 };
    l.b.emit(load, t, reg::RSP, ZERO, 0, 0);
    l.b.r2i(Op::Add64, reg::RSP, reg::RSP, bytes);
    let mask = if bytes == 2 { 0xFFFF } else { -1 };
    l.b.emit(Op::PutRflags, ZERO, t, ZERO, ZERO, mask);
    l.term = Some(Term::Jump { target: l.next });
    Ok(())
}

fn cpuid(l: &mut Lifter) -> Lifted {
    l.b.emit(Op::Cpuid, ZERO, ZERO, ZERO, ZERO, 0);
    Ok(())
}

fn rdtsc(l: &mut Lifter) -> Lifted {
    let t = l.b.temp();
    l.b.emit(Op::Rdtsc, t, ZERO, ZERO, ZERO, 0);
    l.b.r1(Op::Mov32, reg::RAX, t);
    l.b.r2i(Op::Shr64, reg::RDX, t, 32);
    Ok(())
}

/// IA32_TSC_AUX is the processor number: 0.
fn rdtscp(l: &mut Lifter) -> Lifted {
    rdtsc(l)?;
    l.b.li(reg::RCX, 0);
    Ok(())
}

fn rdpid(l: &mut Lifter) -> Lifted {
    l.write(0, ZERO)
}

/// Always succeeds: CF = 1, the other flags 0.
fn random(l: &mut Lifter) -> Lifted {
    let t = l.b.temp();
    l.b.emit(Op::Rdrand, t, ZERO, ZERO, ZERO, 0);
    l.write(0, t)?;
    put(l, CF, LOW | OF)
}

fn read_base(l: &mut Lifter, base: u8) -> Lifted {
    l.write(0, base)
}

fn write_base(l: &mut Lifter, base: u8) -> Lifted {
    let a = l.read_zx(0)?;
    l.canonical(a);
    l.b.r1(Op::Mov, base, a);
    Ok(())
}
