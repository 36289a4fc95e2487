//! The run loop.
//!
//! Handlers stand here for what is frequent; everything else is one call away in [`crate::pure`] and [`crate::rest`].

use crate::code::{ALT, Place, branch, private};
use crate::compile::TRAPS;
use crate::enter::Entered;
use crate::frequent::frequent;
use crate::meaning;
use crate::pure;
use crate::rest;
use crate::slow::{Rest, load, probe, store};
use crate::{Engine, Env, Exit};
use ir::sem::lanes::{Whole, halves, of_whole, whole};
use ir::{ARITH, Cc, Cpu, FlagKind, Flags, Op, TrapKind, for_each_op, reg, sem};
use mem::Fault;

/// Handler numbers by op name, so that `match` patterns can name them.
#[allow(non_upper_case_globals, dead_code)]
mod plain {
    use ir::{Op, for_each_op};
    macro_rules! numbers {
        ($($name:ident $text:literal $class:ident ($($f:tt)*);)*) => {
            $(pub const $name: u16 = Op::$name as u16;)*
        };
    }
    for_each_op!(numbers);
}
/// The other forms (see [`ALT`]).
#[allow(non_upper_case_globals, dead_code)]
mod alt {
    use super::{ALT, Op, for_each_op};
    macro_rules! numbers {
        ($($name:ident $text:literal $class:ident ($($f:tt)*);)*) => {
            $(pub const $name: u16 = Op::$name as u16 + ALT;)*
        };
    }
    for_each_op!(numbers);
}
/// No link carries this epoch: every block end looks for code anew.
const STALE: u32 = u32::MAX;

const RSP: usize = reg::RSP as usize;

/// Whether the relations `mask` (see [`private::LATE_SUB32`]) hold.
#[inline(always)]
fn relations(mask: u8, equal: bool, below: bool, less: bool, negative: bool) -> bool {
    let bits =
        u8::from(equal) | u8::from(below) << 1 | u8::from(less) << 2 | u8::from(negative) << 3;
    (bits & mask & 0x7F != 0) != (mask & 0x80 != 0)
}

/// Whether bits 63 to 47 are equal.
#[inline(always)]
fn is_canonical(va: u64) -> bool {
    (va as i64) >> 47 == (va as i64) >> 63
}

/// Outlined: large and less frequent than branches.
#[inline(never)]
fn holds(flags: &Flags, cc: u8) -> bool {
    flags.cond(Cc::from_number(cc))
}

#[inline(never)]
fn put(flags: &mut Flags, bits: u64, mask: u64) {
    flags.put(bits, mask);
}

#[inline(never)]
fn carry(flags: &Flags) -> u64 {
    flags.carry()
}

impl Engine {
    /// Runs `cpu` from its `rip` until something needs the machine, or until about `fuel` guest instructions were
    /// retired (checked at each block's end).
    pub fn run<E: Env>(&mut self, cpu: &mut Cpu, env: &mut E, fuel: u64) -> Exit {
        if cpu.single_steps() {
            return self.step(cpu, env);
        }
        let full = i64::try_from(fuel).unwrap_or(i64::MAX);
        let mut left = full;
        let exit = loop {
            let piece = self.piece(left);
            self.beyond = left - piece;
            let mut fuel = piece;
            self.sync(env);
            let exit = match self.find(env, cpu.rip) {
                Ok(at) => self.run_loop(cpu, env, &mut fuel, at),
                Err(fault) => Exit::Fault(fault),
            };
            left = fuel + self.beyond;
            let due = self.interpreted_so_many(piece - fuel);
            // Where fuel runs out is where it goes on next time.
            if fuel < 0 && exit == Exit::OutOfFuel && (due || left < 0) {
                self.sample(env, cpu.rip);
            }
            if exit != Exit::OutOfFuel || fuel >= 0 || left < 0 || cpu.single_steps() {
                break exit;
            }
        };
        self.retired += (full - left).max(0) as u64;
        exit
    }

    /// Runs `count` instructions one by one, or until something needs the machine.
    pub fn run_exactly<E: Env>(&mut self, cpu: &mut Cpu, env: &mut E, count: u64) -> Exit {
        let end = self.retired.saturating_add(count);
        while self.retired < end {
            if cpu.single_steps() {
                return self.step(cpu, env);
            }
            let (rip, rcx) = (cpu.rip, cpu.slot[usize::from(reg::RCX)]);
            match self.step(cpu, env) {
                Exit::Trap(TrapKind::Step) => {}
                exit => return exit,
            }
            // All rounds of a repeated instruction count as one.
            if cpu.rip == rip && cpu.slot[usize::from(reg::RCX)] != rcx {
                self.retired -= 1;
            }
        }
        Exit::OutOfFuel
    }

    /// Runs one instruction, which is followed by #DB (SDM vol. 3, 17.3.1.4): by itself, and of a repeated string
    /// instruction one round. No trap follows one that loads SS, but the next (SDM vol. 3, 6.8.3).
    fn step<E: Env>(&mut self, cpu: &mut Cpu, env: &mut E) -> Exit {
        loop {
            self.sync(env);
            let (at, inhibits) = match self.compile_single(env, cpu.rip) {
                Ok(found) => found,
                Err(fault) => return Exit::Fault(fault),
            };
            self.retired += 1;
            // Without fuel the block's end is the end.
            match self.run_loop(cpu, env, &mut 0, at) {
                Exit::OutOfFuel if inhibits => {}
                Exit::OutOfFuel => return Exit::Trap(TrapKind::Step),
                exit => return exit,
            }
        }
    }

    /// Runs from the code word at `start`.
    fn run_loop<E: Env>(&mut self, cpu: &mut Cpu, env: &mut E, left: &mut i64, start: u32) -> Exit {
        let tables = env.tables();
        let mut fuel = *left;
        let mut epoch = self.sync(env);
        let mut ip = self.fetcher().place(start);
        let mut code = self.fetcher();

        macro_rules! leave {
            ($exit:expr) => {{
                *left = fuel;
                return $exit;
            }};
        }
        // What an op does that did not complete: `rip` is its instruction.
        macro_rules! fault {
            ($fault:expr) => {{
                let fault: Fault = $fault;
                cpu.rip = self.pc_of(code.index(ip.back()));
                leave!(Exit::Fault(fault));
            }};
        }
        macro_rules! trap {
            ($kind:expr) => {{
                let kind: TrapKind = $kind;
                cpu.rip = self.pc_of(code.index(ip.back()));
                leave!(Exit::Trap(kind));
            }};
        }
        // At a block's end; elsewhere the fast path alone is here and `slow` says where to go on.
        macro_rules! load {
            ($slow:lifetime $t:ty, $va:expr) => {
                match tables.load::<$t>($va) {
                    Some(value) => value,
                    None => break $slow,
                }
            };
            ($t:ty, $va:expr) => {
                match load::<$t, E>(env, tables, $va) {
                    Ok(value) => value,
                    Err(fault) => fault!(fault),
                }
            };
        }
        macro_rules! store {
            ($slow:lifetime $t:ty, $va:expr, $value:expr) => {
                if !tables.store::<$t>($va, $value) {
                    break $slow;
                }
            };
            ($t:ty, $va:expr, $value:expr) => {{
                let (va, value): (u64, $t) = ($va, $value);
                if !tables.store::<$t>(va, value) {
                    if let Err(fault) = store::<$t, E>(env, tables, va, value) {
                        fault!(fault);
                    }
                    if env.has_stale() {
                        epoch = STALE;
                    }
                }
            }};
        }
        macro_rules! a {
            ($c:ident) => {
                cpu.slot[$c.a as usize]
            };
        }
        macro_rules! v {
            ($slot:expr) => {
                of_whole(cpu.vector($slot))
            };
        }
        macro_rules! set {
            ($c:ident, $value:expr) => {{
                let value: u64 = $value;
                cpu.slot[$c.d as usize] = value;
            }};
        }
        macro_rules! b {
            ($c:ident) => {
                cpu.slot[$c.b as usize]
            };
        }
        macro_rules! set_v {
            ($c:ident, $value:expr) => {{
                let value: u128 = $value;
                cpu.set_vector($c.d, whole(value));
            }};
        }
        macro_rules! pure {
            ($c:ident, $op:expr) => {
                if let Err(kind) = (pure::TABLE[$op as usize % pure::SIZE])(cpu, $c) {
                    trap!(kind);
                }
            };
        }
        macro_rules! address {
            (plain $c:ident) => {
                cpu.slot[$c.a as usize]
                    .wrapping_add(cpu.slot[$c.b as usize] << ($c.c & 3))
                    .wrapping_add($c.imm as u64)
            };
            (alt $c:ident) => {
                cpu.slot[$c.a as usize].wrapping_add($c.imm as u64)
            };
        }
        macro_rules! operand {
            (plain $c:ident) => {
                cpu.slot[$c.b as usize]
            };
            (alt $c:ident) => {
                $c.imm as u64
            };
        }
        macro_rules! record {
            ($kind:ident, $a:expr, $b:expr) => {{
                let (a, b): (u64, u64) = ($a, $b);
                cpu.flags.kind = FlagKind::$kind;
                cpu.flags.a = a;
                cpu.flags.b = b;
            }};
        }
        // Recorder and operation in one.
        macro_rules! arithmetic {
            ($c:ident $form:ident $kind:ident $f:ident) => {{
                let (a, b) = (a!($c), operand!($form $c));
                record!($kind, a, b);
                set!($c, meaning::$f(a, b));
            }};
        }
        macro_rules! logic {
            ($c:ident $form:ident $kind:ident $f:ident) => {{
                let r = meaning::$f(a!($c), operand!($form $c));
                record!($kind, r, r);
                set!($c, r);
            }};
        }
        macro_rules! step {
            ($c:ident $kind:ident $f:ident) => {{
                cpu.flags.c = carry(&cpu.flags);
                let a = a!($c);
                record!($kind, a, 0);
                set!($c, meaning::$f(a, 1));
            }};
        }
        macro_rules! with_memory {
            ($slow:lifetime $c:ident $t:ident $f:ident) => {{
                let value = load!($slow $t, address!(plain $c));
                set!($c, meaning::$f(cpu.slot[($c.n & 0xFF) as usize], u64::from(value)));
            }};
        }
        macro_rules! rest {
            ($c:ident) => {
                match rest::run(cpu, env, tables, $c) {
                    Rest::Done => {
                        if env.has_stale() || cpu.single_steps() {
                            epoch = STALE;
                        }
                    }
                    Rest::Fault(fault) => fault!(fault),
                    Rest::Trap(kind) => trap!(kind),
                    Rest::Again => {
                        cpu.rip = self.pc_of(code.index(ip.back()));
                        leave!(Exit::OutOfFuel);
                    }
                }
            };
        }
        macro_rules! aligned {
            ($slow:lifetime $va:expr) => {{
                let va: u64 = $va;
                if va % 16 != 0 {
                    break $slow;
                }
                va
            }};
        }
        macro_rules! run_loop {
            (
                r1: $($r1:ident)*; r2: $($r2:ident)*; load: $($load:ident $load_t:ident)*;
                store: $($store:ident $store_t:ident)*; flag: $($flag:ident $flag_kind:ident)*;
                arithmetic: $($ar:ident $ari:ident $ar_kind:ident $ar_f:ident)*;
                logic: $($lo:ident $loi:ident $lo_kind:ident $lo_f:ident)*;
                shift: $($sh:ident $sh_kind:ident $sh_f:ident)*; step: $($st:ident $st_kind:ident $st_f:ident)*;
                memory: $($me:ident $me_t:ident $me_f:ident)*; constant: $($co:ident $co_t:ident)*;
                v1: $($v1:ident)*; v2: $($v2:ident)*; v1i: $($v1i:ident)*; v2i: $($v2i:ident)*; rv1: $($rv1:ident)*;
                vr1: $($vr1:ident)*; f2: $($f2:ident $f2_f:ident)*; fvr: $($fvr:ident $fvr_f:ident)*;
                rf1: $($rf1:ident $rf1_f:ident)*; rf2: $($rf2:ident $rf2_f:ident)*;
                vload: $($vload:ident $vload_t:ident)*; vstore: $($vstore:ident $vstore_t:ident)*;
                sub: $($bs:ident $bs_form:ident $bs_kind:ident $bs_u:ident $bs_s:ident)*;
                test: $($bl:ident $bl_form:ident $bl_kind:ident $bl_s:ident)*;
            ) => {
                'run: loop {
                    let c = ip.word();
                    ip = ip.plus(1);
                    // Where the block goes on: a link word and the guest address, or the address alone.
                    let (link, pc): (Option<Place>, u64) = 'end: {
                        // Follows the link word at `$at`, whose target word is two (or `$to`) further.
                        macro_rules! follow {
                            ($at:expr, $to:expr) => {{
                                let at: Place = $at;
                                let word = at.word().imm as u64;
                                fuel -= i64::from(c.n);
                                if (word >> 32) as u32 == epoch && fuel >= 0 {
                                    ip = code.place(word as u32);
                                    continue 'run;
                                }
                                break 'end (Some(at), at.plus($to).word().imm as u64);
                            }};
                        }
                        macro_rules! decide {
                            ($taken:expr) => {
                                if $taken { follow!(ip, 2) } else { follow!(ip.plus(1), 2) }
                            };
                        }
                        macro_rules! indirect {
                            ($pc:expr) => {{
                                let pc: u64 = $pc;
                                fuel -= i64::from(c.n);
                                if fuel >= 0 && let Some(at) = self.jump(pc, epoch) {
                                    ip = code.place(at);
                                    continue 'run;
                                }
                                break 'end (None, pc);
                            }};
                        }
                        macro_rules! late {
                            ($a:ident $b:ident $t:ty, $r:expr, $below:expr, $less:expr) => {{
                                let ($a, $b) = (cpu.flags.a as $t, cpu.flags.b as $t);
                                let r = $r;
                                decide!(relations(c.c, r == 0, $below, $less, r < 0))
                            }};
                        }
                        // What the arms cannot do on the fast path is done by one call: many would cost the loop its registers.
                        'slow: {
match c.op {
                            $(plain::$r1 => set!(c, meaning::$r1(a!(c))),)*
                            $(plain::$r2 => set!(c, meaning::$r2(a!(c), operand!(plain c))),
                              alt::$r2 => set!(c, meaning::$r2(a!(c), operand!(alt c))),)*
                            $(plain::$load => {
                                let value = load!('slow $load_t, address!(plain c));
                                set!(c, meaning::$load(value))
                              }
                              alt::$load => {
                                let value = load!('slow $load_t, address!(alt c));
                                set!(c, meaning::$load(value))
                              })*
                            $(plain::$store =>
                                store!('slow $store_t, address!(plain c), cpu.slot[c.d as usize] as $store_t),
                              alt::$store =>
                                store!('slow $store_t, address!(alt c), cpu.slot[c.d as usize] as $store_t),)*
                            $(plain::$flag => record!($flag_kind, a!(c), operand!(plain c)),
                              alt::$flag => record!($flag_kind, a!(c), operand!(alt c)),)*
                            $(private::$ar => arithmetic!(c plain $ar_kind $ar_f),
                              private::$ari => arithmetic!(c alt $ar_kind $ar_f),)*
                            $(private::$lo => logic!(c plain $lo_kind $lo_f),
                              private::$loi => logic!(c alt $lo_kind $lo_f),)*
                            $(private::$sh => arithmetic!(c alt $sh_kind $sh_f),)*
                            $(private::$st => step!(c $st_kind $st_f),)*
                            $(private::$me => with_memory!('slow c $me_t $me_f),)*
                            $(private::$co =>
                                store!('slow $co_t, address!(alt c), i64::from(c.n as i16) as $co_t),)*
                            $(plain::$v1 => set_v!(c, meaning::$v1(v!(c.a))),)*
                            $(plain::$v2 => set_v!(c, meaning::$v2(v!(c.a), v!(c.b))),)*
                            $(plain::$v1i => set_v!(c, meaning::$v1i(v!(c.a), c.imm as u8)),)*
                            $(plain::$v2i => set_v!(c, meaning::$v2i(v!(c.a), v!(c.b), c.imm as u8)),)*
                            $(plain::$rv1 => set!(c, meaning::$rv1(v!(c.a))),)*
                            $(plain::$vr1 => set_v!(c, meaning::$vr1(a!(c))),)*
                            $(plain::$f2 => match sem::quick::$f2_f(cpu.mxcsr, v!(c.a), v!(c.b)) {
                                Some(r) => set_v!(c, r),
                                None => pure!(c, plain::$f2),
                            })*
                            $(plain::$fvr => match sem::quick::$fvr_f(cpu.mxcsr, v!(c.a), b!(c)) {
                                Some(r) => set_v!(c, r),
                                None => pure!(c, plain::$fvr),
                            })*
                            $(plain::$rf1 => match sem::quick::$rf1_f(cpu.mxcsr, v!(c.a)) {
                                Some(r) => set!(c, r),
                                None => pure!(c, plain::$rf1),
                            })*
                            $(plain::$rf2 => match sem::quick::$rf2_f(cpu.mxcsr, v!(c.a), v!(c.b)) {
                                Some(r) => set!(c, r),
                                None => pure!(c, plain::$rf2),
                            })*
                            $(plain::$vload => {
                                let value = load!('slow $vload_t, address!(plain c));
                                cpu.set_vector(c.d, whole(halves(u64::from(value), 0)));
                            })*
                            $(plain::$vstore =>
                                store!('slow $vstore_t, address!(plain c), v!(c.d) as $vstore_t),)*
                            plain::VLoad128 => {
                                let value = load!('slow Whole, address!(plain c));
                                cpu.set_vector(c.d, value)
                            }
                            plain::VStore128 => store!('slow Whole, address!(plain c), cpu.vector(c.d)),
                            plain::VLoadA128 => {
                                let va = aligned!('slow address!(plain c));
                                let value = load!('slow Whole, va);
                                cpu.set_vector(c.d, value)
                            }
                            plain::VStoreA128 => {
                                let va = aligned!('slow address!(plain c));
                                store!('slow Whole, va, cpu.vector(c.d))
                            }
                            plain::VMov => cpu.set_vector(c.d, cpu.vector(c.a)),
                            plain::Li => set!(c, c.imm as u64),
                            plain::Lea => set!(c, address!(plain c)),
                            plain::Lea32 => set!(c, u64::from(address!(plain c) as u32)),
                            alt::Lea32 => set!(c, u64::from(address!(alt c) as u32)),
                            plain::PutFlags => put(&mut cpu.flags, a!(c), b!(c)),
                            alt::PutFlags => {
                                let (bits, mask) = (a!(c), c.imm as u64);
                                if mask == ARITH {
                                    cpu.flags = Flags::explicit(bits);
                                } else {
                                    put(&mut cpu.flags, bits, mask);
                                }
                            }
                            plain::GetCc => set!(c, u64::from(holds(&cpu.flags, c.c))),
                            plain::SelCc => {
                                let from = if holds(&cpu.flags, c.c) { c.a } else { c.b };
                                set!(c, cpu.slot[from as usize])
                            }
                            private::SEL32 => {
                                let from = if holds(&cpu.flags, c.c) { c.a } else { c.b };
                                set!(c, u64::from(cpu.slot[from as usize] as u32))
                            }
                            private::PUSH => {
                                let sp = cpu.slot[RSP].wrapping_sub(8);
                                store!('slow u64, sp, cpu.slot[c.d as usize]);
                                cpu.slot[RSP] = sp;
                            }
                            private::POP => {
                                let sp = cpu.slot[RSP];
                                cpu.slot[c.d as usize] = load!('slow u64, sp);
                                cpu.slot[RSP] = sp.wrapping_add(8);
                            }
                            $(branch::$bs::E => {
                                let (a, b) = (a!(c), operand!($bs_form c));
                                record!($bs_kind, a, b);
                                decide!(a as $bs_u == b as $bs_u)
                              }
                              branch::$bs::Ne => {
                                let (a, b) = (a!(c), operand!($bs_form c));
                                record!($bs_kind, a, b);
                                decide!(a as $bs_u != b as $bs_u)
                              }
                              branch::$bs::B => {
                                let (a, b) = (a!(c), operand!($bs_form c));
                                record!($bs_kind, a, b);
                                decide!((a as $bs_u) < b as $bs_u)
                              }
                              branch::$bs::Ae => {
                                let (a, b) = (a!(c), operand!($bs_form c));
                                record!($bs_kind, a, b);
                                decide!(a as $bs_u >= b as $bs_u)
                              }
                              branch::$bs::Be => {
                                let (a, b) = (a!(c), operand!($bs_form c));
                                record!($bs_kind, a, b);
                                decide!(a as $bs_u <= b as $bs_u)
                              }
                              branch::$bs::A => {
                                let (a, b) = (a!(c), operand!($bs_form c));
                                record!($bs_kind, a, b);
                                decide!(a as $bs_u > b as $bs_u)
                              }
                              branch::$bs::L => {
                                let (a, b) = (a!(c), operand!($bs_form c));
                                record!($bs_kind, a, b);
                                decide!((a as $bs_s) < b as $bs_s)
                              }
                              branch::$bs::Ge => {
                                let (a, b) = (a!(c), operand!($bs_form c));
                                record!($bs_kind, a, b);
                                decide!(a as $bs_s >= b as $bs_s)
                              }
                              branch::$bs::Le => {
                                let (a, b) = (a!(c), operand!($bs_form c));
                                record!($bs_kind, a, b);
                                decide!(a as $bs_s <= b as $bs_s)
                              }
                              branch::$bs::G => {
                                let (a, b) = (a!(c), operand!($bs_form c));
                                record!($bs_kind, a, b);
                                decide!(a as $bs_s > b as $bs_s)
                              }
                              branch::$bs::S => {
                                let (a, b) = (a!(c), operand!($bs_form c));
                                record!($bs_kind, a, b);
                                decide!((a.wrapping_sub(b) as $bs_s) < 0)
                              }
                              branch::$bs::Ns => {
                                let (a, b) = (a!(c), operand!($bs_form c));
                                record!($bs_kind, a, b);
                                decide!(a.wrapping_sub(b) as $bs_s >= 0)
                              })*
                            $(branch::$bl::E => {
                                let (a, b) = (a!(c), operand!($bl_form c));
                                record!($bl_kind, a, b);
                                decide!((a & b) as $bl_s == 0)
                              }
                              branch::$bl::Ne => {
                                let (a, b) = (a!(c), operand!($bl_form c));
                                record!($bl_kind, a, b);
                                decide!((a & b) as $bl_s != 0)
                              }
                              branch::$bl::S => {
                                let (a, b) = (a!(c), operand!($bl_form c));
                                record!($bl_kind, a, b);
                                decide!(((a & b) as $bl_s) < 0)
                              }
                              branch::$bl::Ns => {
                                let (a, b) = (a!(c), operand!($bl_form c));
                                record!($bl_kind, a, b);
                                decide!((a & b) as $bl_s >= 0)
                              }
                              branch::$bl::Le => {
                                let (a, b) = (a!(c), operand!($bl_form c));
                                record!($bl_kind, a, b);
                                decide!((a & b) as $bl_s <= 0)
                              }
                              branch::$bl::G => {
                                let (a, b) = (a!(c), operand!($bl_form c));
                                record!($bl_kind, a, b);
                                decide!((a & b) as $bl_s > 0)
                              })*
                            private::JUMP => follow!(ip.back(), 1),
                            private::BRANCH => decide!(holds(&cpu.flags, c.c)),
                            private::LATE_SUB32 => late!(
                                a b u32, a.wrapping_sub(b) as i32, a < b, (a as i32) < b as i32
                            ),
                            private::LATE_SUB64 => late!(
                                a b u64, a.wrapping_sub(b) as i64, a < b, (a as i64) < b as i64
                            ),
                            private::LATE_LOGIC32 => late!(a b u32, (a & b) as i32, false, false),
                            private::LATE_LOGIC64 => late!(a b u64, (a & b) as i64, false, false),
                            private::LATE_ADD32 => late!(a b u32, a.wrapping_add(b) as i32, false, false),
                            private::LATE_ADD64 => late!(a b u64, a.wrapping_add(b) as i64, false, false),
                            private::BRANCH_NZ => decide!(a!(c) != 0),
                            private::INDIRECT => indirect!(a!(c)),
                            private::CALL => {
                                let sp = cpu.slot[RSP].wrapping_sub(8);
                                store!(u64, sp, c.imm as u64);
                                cpu.slot[RSP] = sp;
                                follow!(ip, 1)
                            }
                            private::CALL_INDIRECT => {
                                if !is_canonical(a!(c)) {
                                    // The push is tried first.
                                    match probe(env, cpu.slot[RSP].wrapping_sub(8), 8) {
                                        Ok(()) => trap!(TrapKind::Gp),
                                        Err(fault) => fault!(fault),
                                    }
                                }
                                let sp = cpu.slot[RSP].wrapping_sub(8);
                                store!(u64, sp, c.imm as u64);
                                cpu.slot[RSP] = sp;
                                indirect!(a!(c))
                            }
                            private::RET => {
                                let sp = cpu.slot[RSP];
                                let to = load!(u64, sp);
                                cpu.slot[RSP] = sp.wrapping_add(8);
                                indirect!(to)
                            }
                            private::SYSCALL => {
                                fuel -= i64::from(c.n);
                                cpu.rip = c.imm as u64;
                                leave!(Exit::Syscall);
                            }
                            private::TRAP => {
                                cpu.rip = c.imm as u64;
                                leave!(Exit::Trap(TRAPS[(c.a & 15) as usize]));
                            }
                            private::PURE => pure!(c, c.n),
                            private::ENTER => {
                                let links = (epoch != STALE).then_some(epoch);
                                let (left, how) = self.enter(cpu, env, c.imm as u32, fuel, links);
                                fuel = left;
                                match how {
                                    Entered::Go(pc) => indirect!(pc),
                                    Entered::Shadow(at) => ip = code.place(at),
                                    Entered::Run(at) => {
                                        epoch = self.sync(env);
                                        code = self.fetcher();
                                        ip = code.place(at);
                                    }
                                    Entered::Fault(fault) => leave!(Exit::Fault(fault)),
                                }
                            }
                            _ => break 'slow,
                        }
                        continue 'run;
                        }
                        rest!(c);
                        continue 'run;
                    };
                    if !is_canonical(pc) {
                        // Reported before the jump (SDM vol. 2, JMP, RET): takes back what it did.
                        cpu.rip = self.pc_of(code.index(ip.back()));
                        if c.op == private::RET {
                            cpu.slot[RSP] = cpu.slot[RSP].wrapping_sub(8);
                        }
                        leave!(Exit::Trap(TrapKind::Gp));
                    }
                    cpu.rip = pc;
                    if fuel < 0 || cpu.single_steps() {
                        leave!(Exit::OutOfFuel);
                    }
                    match c.op {
                        private::INDIRECT => self.note_indirect(pc),
                        private::CALL | private::CALL_INDIRECT => self.note_function(pc),
                        _ => {}
                    }
                    let link = link.map(|place| code.index(place));
                    let before = self.sync(env);
                    match self.find(env, pc) {
                        Ok(found) => {
                            epoch = self.sync(env);
                            // Linking is sound only if nothing was dropped meanwhile.
                            if let Some(link) = link
                                && epoch == before
                            {
                                self.link(link, found);
                            }
                            code = self.fetcher();
                            ip = code.place(found);
                        }
                        Err(fault) => leave!(Exit::Fault(fault)),
                    }
                }
            };
        }
        frequent! { run_loop }
    }
}
