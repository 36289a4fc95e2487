//! Ops that only change the CPU: one small function for each, called through a table by the run loop for all that have
//! no handler there.

use crate::code::Code;
use ir::sem::lanes::{halves, low, of_whole, whole};
use ir::{Cc, Class, Cpu, FlagKind, Flags, HIGH, IMM, Inst, Op, TrapKind, for_each_op, sem};

/// Executes one op; on an error nothing was changed but sticky bits.
pub type Pure = fn(&mut Cpu, &Code) -> Result<(), TrapKind>;

/// Whether ops of this class need memory or the environment and so are [`crate::rest`]'s.
pub const fn needs_environment(class: Class) -> bool {
    matches!(
        class,
        Class::Load
            | Class::Store
            | Class::VLoad
            | Class::VLoadA
            | Class::VStore
            | Class::VStoreA
            | Class::VStore2
            | Class::Align
            | Class::MaskLoad
            | Class::MaskStore
            | Class::MaskProbe
            | Class::Gather
            | Class::Xstate
            | Class::Probe
            | Class::Str
            | Class::Cpuid
            | Class::Rdtsc
            | Class::Rdrand
            | Class::PutRflags
    )
}

#[inline(always)]
fn operand(cpu: &Cpu, c: &Code, field: u8) -> u64 {
    if field == IMM { c.imm as u64 } else { cpu.slot[field as usize] }
}

/// A function with sticky exceptions: an unmasked new one becomes #XM and the result is dropped.
#[inline(always)]
fn float<R>(cpu: &mut Cpu, f: impl FnOnce(&mut u32, &Cpu) -> R) -> Result<R, TrapKind> {
    let mut mx = cpu.mxcsr;
    let result = sem::ieee::guarded(&mut mx, |m| f(m, cpu));
    cpu.mxcsr = mx;
    result
}

/// As [`float`] for both halves of 256 bits (`half` is added to a slot): #XM in one leaves both unwritten.
#[inline(always)]
fn wide(cpu: &mut Cpu, c: &Code, f: impl Fn(&mut u32, &Cpu, u8) -> u128) -> Result<(), TrapKind> {
    let (low, high) = float(cpu, |m, p| (whole(f(m, p, 0)), whole(f(m, p, HIGH))))?;
    cpu.set_vector(c.d, low);
    cpu.set_vector(c.d.wrapping_add(HIGH), high);
    Ok(())
}

/// The half of a 256-bit operand in `slot`.
#[inline(always)]
fn half(cpu: &Cpu, slot: u8, half: u8) -> u128 {
    of_whole(cpu.vector(slot.wrapping_add(half)))
}

/// The low halves of what `f` makes of both halves of operand `a`.
#[inline(always)]
fn narrow(cpu: &mut Cpu, c: &Code, f: impl Fn(&mut u32, u128) -> u128) -> Result<u128, TrapKind> {
    float(cpu, |m, p| halves(low(f(m, half(p, c.a, 0))), low(f(m, half(p, c.a, HIGH)))))
}

macro_rules! va {
    ($cpu:ident $c:ident) => {
        of_whole($cpu.vector($c.a))
    };
}
macro_rules! vb {
    ($cpu:ident $c:ident) => {
        of_whole($cpu.vector($c.b))
    };
}
macro_rules! vc {
    ($cpu:ident $c:ident) => {
        of_whole($cpu.vector($c.c))
    };
}
macro_rules! a {
    ($cpu:ident $c:ident) => {
        $cpu.slot[$c.a as usize]
    };
}
macro_rules! b {
    ($cpu:ident $c:ident) => {
        $cpu.slot[$c.b as usize]
    };
}
macro_rules! slot { ($cpu:ident $c:ident = $e:expr) => {{ let r: u64 = $e; $cpu.slot[$c.d as usize] = r; }} }
macro_rules! vector {
    ($cpu:ident $c:ident = $e:expr) => {{
        let r: u128 = $e;
        $cpu.set_vector($c.d, whole(r));
    }};
}

/// The result of [`float`], in one piece all the way.
macro_rules! guarded {
    ($cpu:ident $c:ident = $e:expr) => {{
        let r = $e;
        $cpu.set_vector($c.d, r);
    }};
}

/// One arm for each class. The last one is for those of [`needs_environment`] only.
#[rustfmt::skip]
macro_rules! class {
    ($p:ident $c:ident R1 ($f:path)) => { slot!($p $c = $f(a!($p $c))) };
    ($p:ident $c:ident R2 ($f:path)) => { slot!($p $c = $f(a!($p $c), operand($p, $c, $c.b))) };
    ($p:ident $c:ident R3 ($f:path)) => { slot!($p $c = $f(a!($p $c), b!($p $c), operand($p, $c, $c.c))) };
    ($p:ident $c:ident Div ($f:path)) => {{
        let r = $f(a!($p $c), b!($p $c), $p.slot[$c.c as usize]);
        let (quotient, remainder) = r.ok_or(TrapKind::De)?;
        $p.slot[$c.d as usize] = quotient;
        $p.slot[$c.d.wrapping_add(1) as usize] = remainder;
    }};
    ($p:ident $c:ident Li (_)) => { slot!($p $c = $c.imm as u64) };
    ($p:ident $c:ident Lea ($f:path)) => {{
        let index = b!($p $c) << ($c.c & 3);
        slot!($p $c = $f(a!($p $c).wrapping_add(index).wrapping_add($c.imm as u64)))
    }};
    ($p:ident $c:ident Flag ($kind:ident)) => {{
        let b = operand($p, $c, $c.b);
        $p.flags = Flags { kind: FlagKind::$kind, a: a!($p $c), b, c: 0 };
    }};
    ($p:ident $c:ident Flag3 ($kind:ident)) => {{
        let (b, carry) = (operand($p, $c, $c.b), $p.slot[$c.c as usize]);
        $p.flags = Flags { kind: FlagKind::$kind, a: a!($p $c), b, c: carry };
    }};
    ($p:ident $c:ident FlagShift ($kind:ident)) => {{
        let kind = FlagKind::$kind;
        let count = operand($p, $c, $c.b) & if kind.bits() == 64 { 63 } else { 31 };
        if count != 0 {
            $p.flags = Flags { kind, a: a!($p $c), b: count, c: 0 };
        }
    }};
    ($p:ident $c:ident FlagInc ($kind:ident)) => {{
        let carry = $p.flags.carry();
        $p.flags = Flags { kind: FlagKind::$kind, a: a!($p $c), b: 0, c: carry };
    }};
    ($p:ident $c:ident GetCc (_)) => { slot!($p $c = u64::from($p.flags.cond(Cc::from_number($c.c)))) };
    ($p:ident $c:ident SelCc (_)) => {{
        let from = if $p.flags.cond(Cc::from_number($c.c)) { $c.a } else { $c.b };
        slot!($p $c = $p.slot[from as usize])
    }};
    ($p:ident $c:ident GetFlags (_)) => { slot!($p $c = $p.flags.bits()) };
    ($p:ident $c:ident PutFlags (_)) => {{
        let mask = operand($p, $c, $c.b);
        $p.flags.put(a!($p $c), mask);
    }};
    ($p:ident $c:ident GetRflags (_)) => { slot!($p $c = $p.rflags()) };
    ($p:ident $c:ident SetDf (_)) => { $p.df = $c.imm != 0 };
    ($p:ident $c:ident V1 ($f:path)) => { vector!($p $c = $f(va!($p $c))) };
    ($p:ident $c:ident V2 ($f:path)) => { vector!($p $c = $f(va!($p $c), vb!($p $c))) };
    ($p:ident $c:ident V3 ($f:path)) => { vector!($p $c = $f(va!($p $c), vb!($p $c), vc!($p $c))) };
    ($p:ident $c:ident V1i ($f:path)) => { vector!($p $c = $f(va!($p $c), $c.imm as u8)) };
    ($p:ident $c:ident V2i ($f:path)) => { vector!($p $c = $f(va!($p $c), vb!($p $c), $c.imm as u8)) };
    ($p:ident $c:ident F1 ($f:path)) => { guarded!($p $c = float($p, |m, p| whole($f(m, va!(p $c))))?) };
    ($p:ident $c:ident F2 ($f:path)) => { guarded!($p $c = float($p, |m, p| whole($f(m, va!(p $c), vb!(p $c))))?) };
    ($p:ident $c:ident F3 ($f:path)) => {
        guarded!($p $c = float($p, |m, p| whole($f(m, va!(p $c), vb!(p $c), vc!(p $c))))?)
    };
    ($p:ident $c:ident F1i ($f:path)) => { guarded!($p $c = float($p, |m, p| whole($f(m, va!(p $c), $c.imm as u8)))?) };
    ($p:ident $c:ident F2i ($f:path)) => {
        guarded!($p $c = float($p, |m, p| whole($f(m, va!(p $c), vb!(p $c), $c.imm as u8)))?)
    };
    ($p:ident $c:ident Y1 ($f:path)) => { wide($p, $c, |m, p, h| $f(m, half(p, $c.a, h)))? };
    ($p:ident $c:ident Y2 ($f:path)) => { wide($p, $c, |m, p, h| $f(m, half(p, $c.a, h), half(p, $c.b, h)))? };
    ($p:ident $c:ident Y3 ($f:path)) => {
        wide($p, $c, |m, p, h| $f(m, half(p, $c.a, h), half(p, $c.b, h), half(p, $c.c, h)))?
    };
    ($p:ident $c:ident Y1i ($f:path)) => { wide($p, $c, |m, p, h| $f(m, half(p, $c.a, h), $c.imm as u8))? };
    ($p:ident $c:ident Y2i ($f:path)) => {
        wide($p, $c, |m, p, h| $f(m, half(p, $c.a, h), half(p, $c.b, h), $c.imm as u8))?
    };
    ($p:ident $c:ident Yy2i ($f:path)) => {{
        let halves = |p: &Cpu, slot| [half(p, slot, 0), half(p, slot, HIGH)];
        let r = float($p, |m, p| $f(m, halves(p, $c.a), halves(p, $c.b), $c.imm as u8).map(whole))?;
        $p.set_vector($c.d, r[0]);
        $p.set_vector($c.d.wrapping_add(HIGH), r[1]);
    }};
    ($p:ident $c:ident Yw1 ($f:path)) => { wide($p, $c, |m, p, h| $f(m, va!(p $c) >> (h * 4)))? };
    ($p:ident $c:ident Yn1 ($f:path)) => { vector!($p $c = narrow($p, $c, |m, v| $f(m, v))?) };
    ($p:ident $c:ident Yn1i ($f:path)) => { vector!($p $c = narrow($p, $c, |m, v| $f(m, v, $c.imm as u8))?) };
    ($p:ident $c:ident Rf1 ($f:path)) => { slot!($p $c = float($p, |m, p| $f(m, va!(p $c)))?) };
    ($p:ident $c:ident Rf2 ($f:path)) => { slot!($p $c = float($p, |m, p| $f(m, va!(p $c), vb!(p $c)))?) };
    ($p:ident $c:ident Fvr ($f:path)) => { guarded!($p $c = float($p, |m, p| whole($f(m, va!(p $c), b!(p $c))))?) };
    ($p:ident $c:ident Rv1 ($f:path)) => { slot!($p $c = $f(va!($p $c))) };
    ($p:ident $c:ident Rv2 ($f:path)) => { slot!($p $c = $f(va!($p $c), vb!($p $c))) };
    ($p:ident $c:ident Rv1i ($f:path)) => { slot!($p $c = $f(va!($p $c), $c.imm as u8)) };
    ($p:ident $c:ident Rv2i ($f:path)) => { slot!($p $c = $f(va!($p $c), vb!($p $c), $c.imm as u8)) };
    ($p:ident $c:ident Vr1 ($f:path)) => { vector!($p $c = $f(a!($p $c))) };
    ($p:ident $c:ident Vvr ($f:path)) => { vector!($p $c = $f(va!($p $c), b!($p $c))) };
    ($p:ident $c:ident Vvri ($f:path)) => { vector!($p $c = $f(va!($p $c), b!($p $c), $c.imm as u8)) };
    ($p:ident $c:ident State ($f:path)) => {
        $f($p, &Inst { op: Op::ALL[$c.n as usize], d: $c.d, a: $c.a, b: $c.b, c: $c.c, imm: $c.imm })?
    };
    ($p:ident $c:ident $class:ident ($($f:tt)*)) => {{
        const { assert!(needs_environment(Class::$class)) }
        let _ = ($p, $c);
    }};
}

macro_rules! functions {
    ($($name:ident $text:literal $class:ident ($($f:tt)*);)*) => {
        /// By op number, a power of two long so that the index needs no check. [`Code::n`] holds the op's number.
        pub static TABLE: [Pure; SIZE] = {
            fn nothing(_: &mut Cpu, _: &Code) -> Result<(), TrapKind> {
                Ok(())
            }
            let mut table: [Pure; SIZE] = [nothing; SIZE];
            $({
                fn function(cpu: &mut Cpu, c: &Code) -> Result<(), TrapKind> {
                    class!(cpu c $class ($($f)*));
                    Ok(())
                }
                table[Op::$name as usize] = function;
            })*
            table
        };
    };
}
/// Length of [`TABLE`].
pub const SIZE: usize = Op::ALL.len().next_power_of_two();
for_each_op!(functions);
