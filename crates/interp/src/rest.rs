//! Accesses and questions to the environment that the run loop has no handler of its own for.

use crate::Env;
use crate::code::{ALT, Code, PRIVATE, private};
use crate::frequent::frequent;
use crate::meaning;
use crate::slow::{Rest, load, probe, probe_across, store};
use crate::{masked, string, xstate};
use ir::sem::lanes::Whole;
use ir::{Cpu, HIGH, Op, TrapKind, for_each_op, reg, sem};
use mem::Tables;

/// Runs one op of a class that needs the environment ([`crate::pure::needs_environment`]), or the fused word of one: all
/// of those, and what the run loop could not do on the fast path.
#[inline(never)]
pub fn run<E: Env>(cpu: &mut Cpu, env: &mut E, tables: Tables, c: &Code) -> Rest {
    if c.op >= PRIVATE {
        return fused(cpu, env, tables, c);
    }
    let op = if c.op >= ALT { c.op - ALT } else { c.op };
    let Some(&op) = Op::ALL.get(op as usize) else { return Rest::Done };
    let address = |cpu: &Cpu| {
        let index = cpu.slot[c.b as usize] << (c.c & 3);
        cpu.slot[c.a as usize].wrapping_add(index).wrapping_add(c.imm as u64)
    };
    macro_rules! access {
        ($result:expr) => {
            match $result {
                Ok(value) => value,
                Err(fault) => return Rest::Fault(fault),
            }
        };
    }
    macro_rules! aligned {
        ($n:literal) => {
            if address(cpu) % $n != 0 {
                return Rest::Trap(TrapKind::Gp);
            }
        };
    }
    macro_rules! class {
        (Load ($t:ty, $f:path)) => {
            cpu.slot[c.d as usize] = $f(access!(load::<$t, E>(env, tables, address(cpu))))
        };
        (Store ($t:ty)) => {{
            let value = cpu.slot[c.d as usize] as $t;
            access!(store::<$t, E>(env, tables, address(cpu), value))
        }};
        (VLoad ($t:ty)) => {
            cpu.v[c.d as usize] = u128::from(access!(load::<$t, E>(env, tables, address(cpu))))
        };
        (VLoadA ($t:ty)) => {{
            aligned!(16);
            cpu.set_vector(c.d, access!(load::<Whole, E>(env, tables, address(cpu))));
        }};
        (VStore ($t:ty)) => {{
            let value = cpu.v[c.d as usize] as $t;
            access!(store::<$t, E>(env, tables, address(cpu), value))
        }};
        (VStoreA ($t:ty)) => {{
            aligned!(16);
            let value = cpu.v[c.d as usize];
            access!(store::<$t, E>(env, tables, address(cpu), value))
        }};
        (VStore2 (_)) => {{
            let at = address(cpu);
            access!(probe_across(env, at, 32));
            access!(store::<Whole, E>(env, tables, at, cpu.vector(c.d)));
            let high = cpu.vector(c.d.wrapping_add(HIGH));
            access!(store::<Whole, E>(env, tables, at.wrapping_add(16), high))
        }};
        (Align ($n:literal)) => {
            aligned!($n)
        };
        (MaskLoad ($t:ty)) => {
            access!(masked::load_lanes::<$t, E>(cpu, env, tables, address(cpu), c.d))
        };
        (MaskStore ($t:ty)) => {
            access!(masked::store_lanes::<$t, E>(cpu, env, tables, address(cpu), c.d))
        };
        (MaskProbe ($t:ty)) => {
            access!(masked::probe_lanes::<$t, E>(cpu, env, address(cpu), c.d))
        };
        (Gather (_)) => {
            access!(masked::gather(cpu, env, tables, c))
        };
        (Xstate (_)) => {
            return xstate::run(op, cpu, env, tables, address(cpu))
        };
        (Probe ($t:ty)) => {
            access!(probe(env, address(cpu), size_of::<$t>()))
        };
        (Str (_)) => {
            return string::run(op, cpu, env, tables, c)
        };
        (Cpuid (_)) => {{
            let [eax, ebx, ecx, edx] = env.cpuid(cpu.slot[0] as u32, cpu.slot[1] as u32);
            // Encoding order: rax rcx rdx rbx.
            for (slot, value) in [(0, eax), (3, ebx), (1, ecx), (2, edx)] {
                cpu.slot[slot] = u64::from(value);
            }
        }};
        // The run loop looks at the trap flag at the end of the block.
        (PutRflags (_)) => {
            cpu.set_rflags_masked(cpu.slot[c.a as usize], c.imm as u64)
        };
        (Rdtsc (_)) => {
            cpu.slot[c.d as usize] = env.rdtsc()
        };
        (Rdrand (_)) => {
            cpu.slot[c.d as usize] = env.rdrand()
        };
        ($class:ident ($($f:tt)*)) => {{
            const { assert!(!crate::pure::needs_environment(ir::Class::$class)) }
            return Rest::Done;
        }};
    }
    macro_rules! dispatch {
        ($($name:ident $text:literal $class:ident ($($f:tt)*);)*) => {
            match op {
                $(Op::$name => class!($class ($($f)*)),)*
            }
        };
    }
    for_each_op!(dispatch);
    Rest::Done
}

macro_rules! fused {
    (
        r1: $($r1:ident)*; r2: $($r2:ident)*; load: $($load:ident $load_t:ident)*;
        store: $($store:ident $store_t:ident)*; flag: $($flag:ident $flag_kind:ident)*;
        arithmetic: $($ar:ident)*; logic: $($lo:ident)*; shift: $($sh:ident)*; step: $($st:ident)*;
        memory: $($me:ident $me_t:ident $me_f:ident)*; constant: $($co:ident $co_t:ident)*; $($rest:tt)*
    ) => {
        fn fused<E: Env>(cpu: &mut Cpu, env: &mut E, tables: Tables, c: &Code) -> Rest {
            let address = |cpu: &Cpu| {
                let index = cpu.slot[c.b as usize] << (c.c & 3);
                cpu.slot[c.a as usize].wrapping_add(index).wrapping_add(c.imm as u64)
            };
            macro_rules! access {
                ($result:expr) => {
                    match $result {
                        Ok(value) => value,
                        Err(fault) => return Rest::Fault(fault),
                    }
                };
            }
            let rsp = reg::RSP as usize;
            let sp = cpu.slot[rsp];
            match c.op {
                $(private::$me => {
                    let value = access!(load::<$me_t, E>(env, tables, address(cpu)));
                    let a = cpu.slot[(c.n & 0xFF) as usize];
                    cpu.slot[c.d as usize] = meaning::$me_f(a, u64::from(value));
                })*
                $(private::$co => {
                    let value = i64::from(c.n as i16) as $co_t;
                    let va = cpu.slot[c.a as usize].wrapping_add(c.imm as u64);
                    access!(store(env, tables, va, value))
                })*
                private::PUSH => {
                    access!(store(env, tables, sp.wrapping_sub(8), cpu.slot[c.d as usize]));
                    cpu.slot[rsp] = sp.wrapping_sub(8);
                }
                private::POP => {
                    cpu.slot[c.d as usize] = access!(load(env, tables, sp));
                    cpu.slot[rsp] = sp.wrapping_add(8);
                }
                _ => {}
            }
            Rest::Done
        }
    };
}
frequent!(fused);
