//! String instructions: movs, stos, lods, cmps, scas with their prefixes (SDM vol. 2, REP).
//!
//! They work on rcx, rsi and rdi, which are exact at a fault and whenever the instruction is left early.

use crate::Env;
use crate::code::Code;
use crate::slow::{Rest, load, store};
use ir::ops::StringOp;
use ir::{Cpu, FlagKind, Flags, Op, reg};
use mem::{Access, Fault, PAGE_SIZE, Tables};

/// Bytes that one execution handles before it lets others run.
pub const MAX_BYTES: u64 = 1 << 20;

const RCX: usize = reg::RCX as usize;
const RSI: usize = reg::RSI as usize;
const RDI: usize = reg::RDI as usize;

/// One execution's parameters.
struct Shape {
    op: Op,
    /// Bytes of an element: 1, 2, 4 or 8.
    size: u64,
    /// Base of the source segment.
    base: u64,
    /// Repeated at all.
    rep: bool,
    /// `repne`.
    while_not_equal: bool,
    /// Mask of addresses and counter.
    mask: u64,
    /// One round of a repetition.
    single: bool,
}

/// Runs a [`ir::Class::Str`] op.
pub fn run<E: Env>(op: Op, cpu: &mut Cpu, env: &mut E, tables: Tables, c: &Code) -> Rest {
    let shape = Shape {
        op,
        size: 1 << (c.c & 3),
        base: cpu.slot[c.a as usize],
        rep: c.imm & (StringOp::REP | StringOp::REPNE) != 0,
        while_not_equal: c.imm & StringOp::REPNE != 0,
        single: c.imm & StringOp::ONCE != 0,
        mask: if c.imm & StringOp::ADDR32 != 0 { 0xFFFF_FFFF } else { u64::MAX },
    };
    let result = if shape.rep {
        repeat(&shape, cpu, env, tables)
    } else {
        once(&shape, cpu, env, tables).map(|_| true)
    };
    match result {
        Ok(true) => Rest::Done,
        Ok(false) => Rest::Again,
        Err(fault) => Rest::Fault(fault),
    }
}

/// True when the instruction is done, false when it should go on later.
fn repeat<E: Env>(s: &Shape, cpu: &mut Cpu, env: &mut E, tables: Tables) -> Result<bool, Fault> {
    let mut budget = if s.single { 1 } else { MAX_BYTES };
    loop {
        let count = cpu.slot[RCX] & s.mask;
        if count == 0 {
            return Ok(true);
        }
        if budget == 0 {
            return Ok(false);
        }
        let done = match bulk(s, cpu, env, tables, count)? {
            0 => {
                let again = once(s, cpu, env, tables)?;
                take(s, cpu, 1);
                if !again {
                    return Ok(true);
                }
                1
            }
            done => {
                take(s, cpu, done);
                done
            }
        };
        budget = budget.saturating_sub(done * s.size);
    }
}

fn take(s: &Shape, cpu: &mut Cpu, n: u64) {
    cpu.slot[RCX] = cpu.slot[RCX].wrapping_sub(n) & s.mask;
}

fn advance(s: &Shape, cpu: &mut Cpu, register: usize, n: u64) {
    let step = s.size * n;
    let at = cpu.slot[register];
    cpu.slot[register] =
        if cpu.df { at.wrapping_sub(step) } else { at.wrapping_add(step) } & s.mask;
}

/// One element. For cmps and scas: whether a repeat goes on.
fn once<E: Env>(s: &Shape, cpu: &mut Cpu, env: &mut E, tables: Tables) -> Result<bool, Fault> {
    let size = s.size as usize;
    let source = (cpu.slot[RSI] & s.mask).wrapping_add(s.base);
    let target = cpu.slot[RDI] & s.mask;
    let all = u64::MAX >> (64 - 8 * s.size);
    match s.op {
        Op::Movs => {
            let value = read(env, tables, source, size)?;
            write(env, tables, target, value, size)?;
            advance(s, cpu, RSI, 1);
            advance(s, cpu, RDI, 1);
        }
        Op::Stos => {
            write(env, tables, target, cpu.slot[0], size)?;
            advance(s, cpu, RDI, 1);
        }
        Op::Lods => {
            let value = read(env, tables, source, size)?;
            // A 32-bit register write clears the upper half; narrower ones keep the rest.
            cpu.slot[0] = if size == 4 { value } else { cpu.slot[0] & !all | value };
            advance(s, cpu, RSI, 1);
        }
        Op::Cmps => {
            let a = read(env, tables, source, size)?;
            let b = read(env, tables, target, size)?;
            advance(s, cpu, RSI, 1);
            advance(s, cpu, RDI, 1);
            return Ok(compare(s, cpu, a, b));
        }
        Op::Scas => {
            let b = read(env, tables, target, size)?;
            let a = cpu.slot[0] & all;
            advance(s, cpu, RDI, 1);
            return Ok(compare(s, cpu, a, b));
        }
        _ => unreachable!("not a string op"),
    }
    Ok(true)
}

fn read<E: Env>(env: &mut E, tables: Tables, va: u64, size: usize) -> Result<u64, Fault> {
    Ok(match size {
        1 => u64::from(load::<u8, E>(env, tables, va)?),
        2 => u64::from(load::<u16, E>(env, tables, va)?),
        4 => u64::from(load::<u32, E>(env, tables, va)?),
        _ => load::<u64, E>(env, tables, va)?,
    })
}

fn write<E: Env>(
    env: &mut E,
    tables: Tables,
    va: u64,
    value: u64,
    size: usize,
) -> Result<(), Fault> {
    match size {
        1 => store(env, tables, va, value as u8),
        2 => store(env, tables, va, value as u16),
        4 => store(env, tables, va, value as u32),
        _ => store(env, tables, va, value),
    }
}

fn compare(s: &Shape, cpu: &mut Cpu, a: u64, b: u64) -> bool {
    let kind = match s.size {
        1 => FlagKind::Sub8,
        2 => FlagKind::Sub16,
        4 => FlagKind::Sub32,
        _ => FlagKind::Sub64,
    };
    record(cpu, kind, a, b);
    (a == b) != s.while_not_equal
}

/// Elements that fit in the rest of the page of `va`.
fn fit(s: &Shape, va: u64) -> u64 {
    (PAGE_SIZE as u64 - va % PAGE_SIZE as u64) / s.size
}

/// Handles as many whole elements as lie in one page, upwards; 0 = take the element-wise path.
fn bulk<E: Env>(
    s: &Shape,
    cpu: &mut Cpu,
    env: &mut E,
    tables: Tables,
    count: u64,
) -> Result<u64, Fault> {
    if cpu.df || s.mask != u64::MAX || s.single {
        return Ok(0);
    }
    let source = cpu.slot[RSI].wrapping_add(s.base);
    let target = cpu.slot[RDI];
    match s.op {
        Op::Movs => {
            let n = count.min(fit(s, source)).min(fit(s, target));
            let len = n * s.size;
            // A target shortly behind the source repeats a pattern: element by element.
            if n < 2 || target.wrapping_sub(source) < len {
                return Ok(0);
            }
            let (from, to) = match (tables.lookup_read(source), tables.lookup_write(target)) {
                (Some(from), Some(to)) => (from, to),
                _ => {
                    let from = env.translate(source, Access::Read)?;
                    let to = env.translate(target, Access::Write)?;
                    // The write may have moved the page that is read (copy-on-write of one page mapped once): ask again.
                    let same = from / PAGE_SIZE as u32 == to / PAGE_SIZE as u32;
                    (if same { from } else { env.translate(source, Access::Read)? }, to)
                }
            };
            // Different addresses may be one frame: the overlap is then only visible physically.
            if to.wrapping_sub(from) < len as u32 {
                return Ok(0);
            }
            tables.copy_phys(to, from, len as usize);
            advance(s, cpu, RSI, n);
            advance(s, cpu, RDI, n);
            Ok(n)
        }
        Op::Stos => {
            let n = count.min(fit(s, target));
            if n < 2 {
                return Ok(0);
            }
            let to = match tables.lookup_write(target) {
                Some(to) => to,
                None => env.translate(target, Access::Write)?,
            };
            let value = cpu.slot[0];
            if s.size == 1 {
                tables.fill_phys(to, value as u8, n as usize);
            } else {
                for i in 0..n as u32 {
                    match s.size {
                        2 => tables.store_phys(to + 2 * i, value as u16),
                        4 => tables.store_phys(to + 4 * i, value as u32),
                        _ => tables.store_phys(to + 8 * i, value),
                    }
                }
            }
            advance(s, cpu, RDI, n);
            Ok(n)
        }
        _ => Ok(0),
    }
}

/// Records a comparison for `flags`.
fn record(cpu: &mut Cpu, kind: FlagKind, a: u64, b: u64) {
    cpu.flags = Flags { kind, a, b, c: 0 };
}
