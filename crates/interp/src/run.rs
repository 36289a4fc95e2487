//! The run loop.

use crate::code::{ALT, Code, private};
use crate::compile::TRAPS;
use crate::rest::{self, Rest};
use crate::slow::{load, store};
use crate::{Engine, Env, Exit};
use ir::{Cc, Cpu, FlagKind, Flags, Op, TrapKind, for_each_op, reg, sem};
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

/// Where a block's end goes on.
enum Next {
    /// To the link word there; its target word is the second.
    Link(u32, u32),
    /// To this guest address.
    Address(u64),
}

#[inline(always)]
fn address(cpu: &Cpu, c: &Code) -> u64 {
    let index = cpu.slot[c.b as usize] << (c.c & 3);
    cpu.slot[c.a as usize].wrapping_add(index).wrapping_add(c.imm as u64)
}

#[inline(always)]
fn address_no_index(cpu: &Cpu, c: &Code) -> u64 {
    cpu.slot[c.a as usize].wrapping_add(c.imm as u64)
}

/// Whether the relations `mask` (see [`private::BR_SUB8`]) hold.
#[inline(always)]
fn relations(mask: u8, equal: bool, below: bool, less: bool, negative: bool) -> bool {
    let bits =
        u8::from(equal) | u8::from(below) << 1 | u8::from(less) << 2 | u8::from(negative) << 3;
    (bits & mask & 0x7F != 0) != (mask & 0x80 != 0)
}

impl Engine {
    /// Runs `cpu` from its `rip` until something needs the machine, or until about `fuel` guest instructions were
    /// retired (checked at each block's end).
    pub fn run<E: Env>(&mut self, cpu: &mut Cpu, env: &mut E, fuel: u64) -> Exit {
        let full = i64::try_from(fuel).unwrap_or(i64::MAX);
        let mut left = full;
        let exit = self.run_loop(cpu, env, &mut left);
        self.retired += (full - left).max(0) as u64;
        exit
    }

    fn run_loop<E: Env>(&mut self, cpu: &mut Cpu, env: &mut E, left: &mut i64) -> Exit {
        let tables = env.tables();
        let mut fuel = *left;
        let mut epoch = self.sync(env);
        let mut ip = match self.find(env, cpu.rip) {
            Ok(ip) => ip,
            Err(fault) => return Exit::Fault(fault),
        };
        let mut code = self.fetcher();

        macro_rules! leave {
            ($exit:expr) => {{
                *left = fuel;
                return $exit;
            }};
        }
        // What an op does when its access failed: `rip` is its instruction.
        macro_rules! fault {
            ($fault:expr) => {{
                let fault: Fault = $fault;
                cpu.rip = self.pc_of(ip - 1);
                leave!(Exit::Fault(fault));
            }};
        }
        macro_rules! trap {
            ($kind:expr) => {{
                let kind: TrapKind = $kind;
                cpu.rip = self.pc_of(ip - 1);
                leave!(Exit::Trap(kind));
            }};
        }
        macro_rules! load {
            ($t:ty, $va:expr) => {
                match load::<$t, E>(env, tables, $va) {
                    Ok(value) => value,
                    Err(fault) => fault!(fault),
                }
            };
        }
        macro_rules! store {
            ($t:ty, $va:expr, $value:expr) => {
                if let Err(fault) = store::<$t, E>(env, tables, $va, $value) {
                    fault!(fault);
                }
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
        macro_rules! set_flags {
            ($kind:expr, $a:expr, $b:expr) => {{
                cpu.flags.kind = $kind;
                cpu.flags.a = $a;
                cpu.flags.b = $b;
                cpu.flags.c = 0;
            }};
        }
        // `flags` and operation in one: the recorder's kind and the operation's function.
        macro_rules! arithmetic {
            ($c:ident $form:ident $kind:ident $f:path) => {{
                let (a, b) = (cpu.slot[$c.a as usize], operand!($form $c));
                set_flags!(FlagKind::$kind, a, b);
                cpu.slot[$c.d as usize] = $f(a, b);
            }};
        }
        macro_rules! logic {
            ($c:ident $form:ident $kind:ident $f:path) => {{
                let r = $f(cpu.slot[$c.a as usize], operand!($form $c));
                set_flags!(FlagKind::$kind, r, r);
                cpu.slot[$c.d as usize] = r;
            }};
        }
        macro_rules! branch_sub {
            ($c:ident $form:ident $kind:ident $t:ty, $s:ty) => {{
                let (a, b) = (cpu.slot[$c.a as usize], operand!($form $c));
                set_flags!(FlagKind::$kind, a, b);
                let (a, b) = (a as $t, b as $t);
                let negative = (a.wrapping_sub(b) as $s) < 0;
                let taken = relations($c.c, a == b, a < b, (a as $s) < (b as $s), negative);
                let skip = u32::from(!taken);
                Next::Link(ip + skip, ip + skip + 2)
            }};
        }
        macro_rules! branch_logic {
            ($c:ident $form:ident $kind:ident $s:ty) => {{
                let (a, b) = (cpu.slot[$c.a as usize], operand!($form $c));
                set_flags!(FlagKind::$kind, a, b);
                let r = (a & b) as $s;
                let taken = relations($c.c, r == 0, false, r < 0, r < 0);
                let skip = u32::from(!taken);
                Next::Link(ip + skip, ip + skip + 2)
            }};
        }
        // One arm for each class; classes that are not here live in `rest`.
        macro_rules! class {
            ($c:ident plain R1 ($f:path)) => {
                cpu.slot[$c.d as usize] = $f(cpu.slot[$c.a as usize])
            };
            ($c:ident $form:ident R2 ($f:path)) => {
                cpu.slot[$c.d as usize] = $f(cpu.slot[$c.a as usize], operand!($form $c))
            };
            ($c:ident plain Li (_)) => {
                cpu.slot[$c.d as usize] = $c.imm as u64
            };
            ($c:ident plain Lea ($f:path)) => {
                cpu.slot[$c.d as usize] = $f(address(cpu, $c))
            };
            ($c:ident alt Lea ($f:path)) => {
                cpu.slot[$c.d as usize] = $f(address_no_index(cpu, $c))
            };
            ($c:ident plain Load ($t:ty, $f:path)) => {{
                let value = load!($t, address(cpu, $c));
                cpu.slot[$c.d as usize] = $f(value);
            }};
            ($c:ident alt Load ($t:ty, $f:path)) => {{
                let value = load!($t, address_no_index(cpu, $c));
                cpu.slot[$c.d as usize] = $f(value);
            }};
            ($c:ident plain Store ($t:ty)) => {
                store!($t, address(cpu, $c), cpu.slot[$c.d as usize] as $t)
            };
            ($c:ident alt Store ($t:ty)) => {
                store!($t, address_no_index(cpu, $c), cpu.slot[$c.d as usize] as $t)
            };
            ($c:ident plain VLoad ($t:ty)) => {{
                let value = load!($t, address(cpu, $c));
                cpu.v[$c.d as usize] = u128::from(value);
            }};
            ($c:ident plain VLoadA ($t:ty)) => {{
                let va = address(cpu, $c);
                if va % 16 != 0 {
                    trap!(TrapKind::Gp);
                }
                cpu.v[$c.d as usize] = load!($t, va);
            }};
            ($c:ident plain VStore ($t:ty)) => {
                store!($t, address(cpu, $c), cpu.v[$c.d as usize] as $t)
            };
            ($c:ident plain VStoreA ($t:ty)) => {{
                let va = address(cpu, $c);
                if va % 16 != 0 {
                    trap!(TrapKind::Gp);
                }
                store!($t, va, cpu.v[$c.d as usize]);
            }};
            ($c:ident $form:ident Flag ($kind:ident)) => {
                set_flags!(FlagKind::$kind, cpu.slot[$c.a as usize], operand!($form $c))
            };
            ($c:ident plain GetCc (_)) => {
                cpu.slot[$c.d as usize] = u64::from(cpu.flags.cond(Cc::from_number($c.c)))
            };
            ($c:ident plain SelCc (_)) => {{
                let from = if cpu.flags.cond(Cc::from_number($c.c)) { $c.a } else { $c.b };
                cpu.slot[$c.d as usize] = cpu.slot[from as usize];
            }};
            ($c:ident plain V1 ($f:path)) => {
                cpu.v[$c.d as usize] = $f(cpu.v[$c.a as usize])
            };
            ($c:ident plain V2 ($f:path)) => {
                cpu.v[$c.d as usize] = $f(cpu.v[$c.a as usize], cpu.v[$c.b as usize])
            };
            ($c:ident plain Rv1 ($f:path)) => {
                cpu.slot[$c.d as usize] = $f(cpu.v[$c.a as usize])
            };
            ($c:ident $form:ident $class:ident ($($f:tt)*)) => {
                match rest::run(cpu, env, tables, $c) {
                    Rest::Done => {}
                    Rest::Fault(fault) => fault!(fault),
                    Rest::Trap(kind) => trap!(kind),
                    Rest::Again => {
                        cpu.rip = self.pc_of(ip - 1);
                        leave!(Exit::OutOfFuel);
                    }
                }
            };
        }
        macro_rules! run_loop {
            ($($name:ident $text:literal $class:ident ($($f:tt)*);)*) => {
                loop {
                    let c = code.at(ip);
                    ip += 1;
                    let next = match c.op {
                        $(plain::$name => { class!(c plain $class ($($f)*)); continue })*
                        $(alt::$name => { class!(c alt $class ($($f)*)); continue })*
                        private::ADD64 => { arithmetic!(c plain Add64 sem::int::add64); continue }
                        private::ADD64I => { arithmetic!(c alt Add64 sem::int::add64); continue }
                        private::ADD32 => { arithmetic!(c plain Add32 sem::int::add32); continue }
                        private::ADD32I => { arithmetic!(c alt Add32 sem::int::add32); continue }
                        private::SUB64 => { arithmetic!(c plain Sub64 sem::int::sub64); continue }
                        private::SUB64I => { arithmetic!(c alt Sub64 sem::int::sub64); continue }
                        private::SUB32 => { arithmetic!(c plain Sub32 sem::int::sub32); continue }
                        private::SUB32I => { arithmetic!(c alt Sub32 sem::int::sub32); continue }
                        private::AND64 => { logic!(c plain Logic64 sem::int::and64); continue }
                        private::AND64I => { logic!(c alt Logic64 sem::int::and64); continue }
                        private::AND32 => { logic!(c plain Logic32 sem::int::and32); continue }
                        private::AND32I => { logic!(c alt Logic32 sem::int::and32); continue }
                        private::OR64 => { logic!(c plain Logic64 sem::int::or64); continue }
                        private::OR64I => { logic!(c alt Logic64 sem::int::or64); continue }
                        private::OR32 => { logic!(c plain Logic32 sem::int::or32); continue }
                        private::OR32I => { logic!(c alt Logic32 sem::int::or32); continue }
                        private::XOR64 => { logic!(c plain Logic64 sem::int::xor64); continue }
                        private::XOR64I => { logic!(c alt Logic64 sem::int::xor64); continue }
                        private::XOR32 => { logic!(c plain Logic32 sem::int::xor32); continue }
                        private::XOR32I => { logic!(c alt Logic32 sem::int::xor32); continue }
                        private::PUSH => {
                            let sp = cpu.slot[reg::RSP as usize].wrapping_sub(8);
                            store!(u64, sp, cpu.slot[c.d as usize]);
                            cpu.slot[reg::RSP as usize] = sp;
                            continue
                        }
                        private::POP => {
                            let sp = cpu.slot[reg::RSP as usize];
                            cpu.slot[c.d as usize] = load!(u64, sp);
                            cpu.slot[reg::RSP as usize] = sp.wrapping_add(8);
                            continue
                        }
                        private::BR_SUB8 => branch_sub!(c plain Sub8 u8, i8),
                        private::BR_SUB8I => branch_sub!(c alt Sub8 u8, i8),
                        private::BR_SUB16 => branch_sub!(c plain Sub16 u16, i16),
                        private::BR_SUB16I => branch_sub!(c alt Sub16 u16, i16),
                        private::BR_SUB32 => branch_sub!(c plain Sub32 u32, i32),
                        private::BR_SUB32I => branch_sub!(c alt Sub32 u32, i32),
                        private::BR_SUB64 => branch_sub!(c plain Sub64 u64, i64),
                        private::BR_SUB64I => branch_sub!(c alt Sub64 u64, i64),
                        private::BR_LOGIC8 => branch_logic!(c plain Logic8 i8),
                        private::BR_LOGIC8I => branch_logic!(c alt Logic8 i8),
                        private::BR_LOGIC16 => branch_logic!(c plain Logic16 i16),
                        private::BR_LOGIC16I => branch_logic!(c alt Logic16 i16),
                        private::BR_LOGIC32 => branch_logic!(c plain Logic32 i32),
                        private::BR_LOGIC32I => branch_logic!(c alt Logic32 i32),
                        private::BR_LOGIC64 => branch_logic!(c plain Logic64 i64),
                        private::BR_LOGIC64I => branch_logic!(c alt Logic64 i64),
                        private::JUMP => Next::Link(ip - 1, ip),
                        private::BRANCH => {
                            let skip = u32::from(!cpu.flags.cond(Cc::from_number(c.c)));
                            Next::Link(ip + skip, ip + skip + 2)
                        }
                        private::BRANCH_NZ => {
                            let skip = u32::from(cpu.slot[c.a as usize] == 0);
                            Next::Link(ip + skip, ip + skip + 2)
                        }
                        private::INDIRECT => Next::Address(cpu.slot[c.a as usize]),
                        private::CALL => {
                            let sp = cpu.slot[reg::RSP as usize].wrapping_sub(8);
                            store!(u64, sp, c.imm as u64);
                            cpu.slot[reg::RSP as usize] = sp;
                            Next::Link(ip, ip + 1)
                        }
                        private::CALL_INDIRECT => {
                            let sp = cpu.slot[reg::RSP as usize].wrapping_sub(8);
                            store!(u64, sp, c.imm as u64);
                            cpu.slot[reg::RSP as usize] = sp;
                            Next::Address(cpu.slot[c.a as usize])
                        }
                        private::RET => {
                            let sp = cpu.slot[reg::RSP as usize];
                            let to = load!(u64, sp);
                            cpu.slot[reg::RSP as usize] = sp.wrapping_add(8);
                            Next::Address(to)
                        }
                        private::SYSCALL => {
                            fuel -= i64::from(c.n);
                            cpu.rip = c.imm as u64;
                            leave!(Exit::Syscall);
                        }
                        private::TRAP => {
                            cpu.rip = c.imm as u64;
                            leave!(Exit::Trap(TRAPS[(c.a & 7) as usize]));
                        }
                        _ => unreachable!("no such handler"),
                    };
                    fuel -= i64::from(c.n);
                    let (link, pc) = match next {
                        Next::Link(link, target) => {
                            let word = code.at(link).imm as u64;
                            if (word >> 32) as u32 == epoch && fuel >= 0 && !env.has_stale() {
                                ip = word as u32;
                                continue;
                            }
                            (Some(link), code.at(target).imm as u64)
                        }
                        Next::Address(pc) => {
                            if fuel >= 0
                                && !env.has_stale()
                                && let Some(at) = self.jump(pc, epoch)
                            {
                                ip = at;
                                continue;
                            }
                            (None, pc)
                        }
                    };
                    cpu.rip = pc;
                    if fuel < 0 {
                        leave!(Exit::OutOfFuel);
                    }
                    self.sync(env);
                    match self.find(env, pc) {
                        Ok(found) => {
                            ip = found;
                            let now = self.sync(env);
                            // Linking is sound only if nothing was dropped meanwhile.
                            if let Some(link) = link
                                && now == epoch
                            {
                                self.link(link, found);
                            }
                            epoch = now;
                            code = self.fetcher();
                        }
                        Err(fault) => leave!(Exit::Fault(fault)),
                    }
                }
            };
        }
        for_each_op!(run_loop)
    }
}

/// Records a comparison for `flags` (used by string instructions).
pub fn record(cpu: &mut Cpu, kind: FlagKind, a: u64, b: u64) {
    cpu.flags = Flags { kind, a, b, c: 0 };
}
