//! Every op, the plain way: what the run loop has no handler of its own for comes here.

use crate::Env;
use crate::code::ALT;
use crate::code::Code;
use crate::slow::{load, probe, store};
use crate::string;
use ir::{Cc, Cpu, FlagKind, Flags, Inst, Op, TrapKind, for_each_op, sem};
use mem::{Fault, Tables};

/// How such an op ended.
pub enum Rest {
    /// Done.
    Done,
    /// An access failed; nothing was changed but a string instruction's progress.
    Fault(Fault),
    /// A trap; nothing was changed but sticky bits.
    Trap(TrapKind),
    /// A string instruction that is not done: let others run, then execute it again.
    Again,
}

/// Runs one op.
#[inline(never)]
pub fn run<E: Env>(cpu: &mut Cpu, env: &mut E, tables: Tables, c: &Code) -> Rest {
    let (op, alternative) = if c.op >= ALT { (c.op - ALT, true) } else { (c.op, false) };
    let Some(&op) = Op::ALL.get(op as usize) else { return Rest::Done };
    let operand =
        |cpu: &Cpu, field: u8| if alternative { c.imm as u64 } else { cpu.slot[field as usize] };
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
    // A function with sticky exceptions: an unmasked new one becomes #XM and the result is dropped.
    macro_rules! float {
        (|$m:ident| $call:expr, |$r:ident| $keep:expr) => {{
            let mut mx = cpu.mxcsr;
            let result = sem::ieee::guarded(&mut mx, |$m| $call);
            cpu.mxcsr = mx;
            let $r = match result {
                Ok(value) => value,
                Err(kind) => return Rest::Trap(kind),
            };
            $keep;
        }};
    }
    macro_rules! aligned {
        () => {
            if address(cpu) % 16 != 0 {
                return Rest::Trap(TrapKind::Gp);
            }
        };
    }
    macro_rules! va {
        () => {
            cpu.v[c.a as usize]
        };
    }
    macro_rules! vb {
        () => {
            cpu.v[c.b as usize]
        };
    }
    macro_rules! class {
        (R3 ($f:path)) => {{
            let last = operand(cpu, c.c);
            cpu.slot[c.d as usize] = $f(cpu.slot[c.a as usize], cpu.slot[c.b as usize], last);
        }};
        (Div ($f:path)) => {
            match $f(cpu.slot[c.a as usize], cpu.slot[c.b as usize], cpu.slot[c.c as usize]) {
                Some((quotient, remainder)) => {
                    cpu.slot[c.d as usize] = quotient;
                    cpu.slot[c.d.wrapping_add(1) as usize] = remainder;
                }
                None => return Rest::Trap(TrapKind::De),
            }
        };
        (Flag3 ($kind:ident)) => {
            cpu.flags = Flags {
                kind: FlagKind::$kind,
                a: cpu.slot[c.a as usize],
                b: operand(cpu, c.b),
                c: cpu.slot[c.c as usize],
            }
        };
        (FlagShift ($kind:ident)) => {{
            let kind = FlagKind::$kind;
            let count = operand(cpu, c.b) & if kind.bits() == 64 { 63 } else { 31 };
            if count != 0 {
                cpu.flags = Flags { kind, a: cpu.slot[c.a as usize], b: count, c: 0 };
            }
        }};
        (FlagInc ($kind:ident)) => {{
            let carry = cpu.flags.carry();
            cpu.flags = Flags { kind: FlagKind::$kind, a: cpu.slot[c.a as usize], b: 0, c: carry };
        }};
        (GetFlags (_)) => {
            cpu.slot[c.d as usize] = cpu.flags.bits()
        };
        (PutFlags (_)) => {{
            let mask = operand(cpu, c.b);
            cpu.flags.put(cpu.slot[c.a as usize], mask);
        }};
        (GetRflags (_)) => {
            cpu.slot[c.d as usize] = cpu.rflags()
        };
        (PutRflags (_)) => {
            cpu.set_rflags_masked(cpu.slot[c.a as usize], c.imm as u64)
        };
        (SetDf (_)) => {
            cpu.df = c.imm != 0
        };
        (Probe ($t:ty)) => {
            access!(probe(env, address(cpu), size_of::<$t>()))
        };
        (VLoad ($t:ty)) => {
            cpu.v[c.d as usize] = u128::from(access!(load::<$t, E>(env, tables, address(cpu))))
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
        (Rdtsc (_)) => {
            cpu.slot[c.d as usize] = env.rdtsc()
        };
        (Rdrand (_)) => {
            cpu.slot[c.d as usize] = env.rdrand()
        };
        (V3 ($f:path)) => {
            cpu.v[c.d as usize] = $f(va!(), vb!(), cpu.v[c.c as usize])
        };
        (V1i ($f:path)) => {
            cpu.v[c.d as usize] = $f(va!(), c.imm as u8)
        };
        (V2i ($f:path)) => {
            cpu.v[c.d as usize] = $f(va!(), vb!(), c.imm as u8)
        };
        (F1 ($f:path)) => {
            float!(|m| $f(m, va!()), |r| cpu.v[c.d as usize] = r)
        };
        (F2 ($f:path)) => {
            float!(|m| $f(m, va!(), vb!()), |r| cpu.v[c.d as usize] = r)
        };
        (F3 ($f:path)) => {
            float!(|m| $f(m, va!(), vb!(), cpu.v[c.c as usize]), |r| cpu.v[c.d as usize] = r)
        };
        (F1i ($f:path)) => {
            float!(|m| $f(m, va!(), c.imm as u8), |r| cpu.v[c.d as usize] = r)
        };
        (F2i ($f:path)) => {
            float!(|m| $f(m, va!(), vb!(), c.imm as u8), |r| cpu.v[c.d as usize] = r)
        };
        (Rf1 ($f:path)) => {
            float!(|m| $f(m, va!()), |r| cpu.slot[c.d as usize] = r)
        };
        (Rf2 ($f:path)) => {
            float!(|m| $f(m, va!(), vb!()), |r| cpu.slot[c.d as usize] = r)
        };
        (Fvr ($f:path)) => {
            float!(|m| $f(m, va!(), cpu.slot[c.b as usize]), |r| cpu.v[c.d as usize] = r)
        };
        (Rv2 ($f:path)) => {
            cpu.slot[c.d as usize] = $f(va!(), vb!())
        };
        (Rv1i ($f:path)) => {
            cpu.slot[c.d as usize] = $f(va!(), c.imm as u8)
        };
        (Rv2i ($f:path)) => {
            cpu.slot[c.d as usize] = $f(va!(), vb!(), c.imm as u8)
        };
        (Vr1 ($f:path)) => {
            cpu.v[c.d as usize] = $f(cpu.slot[c.a as usize])
        };
        (Vvr ($f:path)) => {
            cpu.v[c.d as usize] = $f(va!(), cpu.slot[c.b as usize])
        };
        (Vvri ($f:path)) => {
            cpu.v[c.d as usize] = $f(va!(), cpu.slot[c.b as usize], c.imm as u8)
        };
        (State ($f:path)) => {{
            let inst = Inst { op, d: c.d, a: c.a, b: c.b, c: c.c, imm: c.imm };
            if let Err(kind) = $f(cpu, &inst) {
                return Rest::Trap(kind);
            }
        }};
        (R1 ($f:path)) => {
            cpu.slot[c.d as usize] = $f(cpu.slot[c.a as usize])
        };
        (R2 ($f:path)) => {
            cpu.slot[c.d as usize] = $f(cpu.slot[c.a as usize], operand(cpu, c.b))
        };
        (Li (_)) => {
            cpu.slot[c.d as usize] = c.imm as u64
        };
        (Lea ($f:path)) => {
            cpu.slot[c.d as usize] = $f(address(cpu))
        };
        (Load ($t:ty, $f:path)) => {
            cpu.slot[c.d as usize] = $f(access!(load::<$t, E>(env, tables, address(cpu))))
        };
        (Store ($t:ty)) => {{
            let value = cpu.slot[c.d as usize] as $t;
            access!(store::<$t, E>(env, tables, address(cpu), value))
        }};
        (VLoadA ($t:ty)) => {{
            aligned!();
            cpu.v[c.d as usize] = access!(load::<$t, E>(env, tables, address(cpu)));
        }};
        (VStore ($t:ty)) => {{
            let value = cpu.v[c.d as usize] as $t;
            access!(store::<$t, E>(env, tables, address(cpu), value))
        }};
        (VStoreA ($t:ty)) => {{
            aligned!();
            let value = cpu.v[c.d as usize];
            access!(store::<$t, E>(env, tables, address(cpu), value))
        }};
        (Flag ($kind:ident)) => {
            cpu.flags = Flags {
                kind: FlagKind::$kind,
                a: cpu.slot[c.a as usize],
                b: operand(cpu, c.b),
                c: 0,
            }
        };
        (GetCc (_)) => {
            cpu.slot[c.d as usize] = u64::from(cpu.flags.cond(Cc::from_number(c.c)))
        };
        (SelCc (_)) => {{
            let from = if cpu.flags.cond(Cc::from_number(c.c)) { c.a } else { c.b };
            cpu.slot[c.d as usize] = cpu.slot[from as usize];
        }};
        (V1 ($f:path)) => {
            cpu.v[c.d as usize] = $f(va!())
        };
        (V2 ($f:path)) => {
            cpu.v[c.d as usize] = $f(va!(), vb!())
        };
        (Rv1 ($f:path)) => {
            cpu.slot[c.d as usize] = $f(va!())
        };
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
