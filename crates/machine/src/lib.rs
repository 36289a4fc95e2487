//! The machine: the run loop that joins the CPU (`x86`, `interp`) and the Linux personality (`kernel`).
//!
//! [`Machine::boot`] mounts the root filesystem and calls nothing of the host that would leave a trace in a snapshot;
//! [`Machine::start`] executes the first program; [`Machine::step`] runs the box for a while and says what it waits for.
//! Everything is plain data in memory: between two steps no Rust frame holds guest state.

mod context;
mod env;
mod life;
mod processor;
mod regions;
mod start;
mod stop;

pub use start::{Beside, StartArgs, StartFailure};
pub use stop::StopAt;

use env::Cpu0;
use interp::{Engine, Exit};
use ir::TrapKind;
pub use kernel::etc::Naming;
pub use kernel::file::socket::Progress;
pub use kernel::moments::{Awaits, Unfit};
use kernel::{Flow, Host, Kernel, KernelError, Sched, ThreadId};
use mem::{Fault, Phys, Translate};
use rootfs::config::{BoxConfig, CpuLevel};
use stop::Stretch;

/// Guest instructions after which another thread gets its turn.
const SLICE: u64 = 1_000_000;
/// The same if the thread has woken another: enough to be worth the switch, which costs as much as some hundred to thousand.
const SHORT_SLICE: u64 = 10_000;
/// Places that the report of `--debug` names where compiled code is left.
const LEFT_MOST: usize = 20;

/// #GP without an error code.
const GENERAL: kernel::TrapKind = kernel::TrapKind::GeneralProtection { error: 0 };

/// What the driver does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Call [`Machine::step`] again.
    Ready,
    /// Everybody waits: call again at `deadline` (monotonic ns) or, if `stdin`, when standard input is readable, or if `network`, when the way out is.
    Wait {
        /// Monotonic nanoseconds; none means no timer runs.
        deadline: Option<u64>,
        /// Somebody reads standard input.
        stdin: bool,
        /// The box has a way out, whose events may wake somebody: call again when it is readable too.
        network: bool,
    },
    /// The box has ended with this status.
    Exit(i32),
    /// It has come to where it was to stop: [`Machine::whereabouts`] tells of that.
    Stopped,
}

/// A booted box.
pub struct Machine {
    kernel: Kernel,
    engine: Engine,
    /// Boxed, so that compiled code knows its place.
    cpu: Box<ir::Cpu>,
    /// Where the host writes what it has compiled.
    answers: regions::Answers,
    /// Where the table is of the regions that are part of the box.
    frozen: &'static [u8],
    config: BoxConfig,
    level: x86::CpuLevel,
    /// Log undefined instructions and unsupported system calls.
    debug: bool,
    /// Where to stop.
    stop: stop::Stop,
}

impl Machine {
    /// Mounts `image`, whose frames start at physical address `image_base`, as the root filesystem.
    pub fn boot(
        phys: Phys,
        host: Box<dyn Host>,
        image: &'static [u8],
        image_base: u32,
        config: BoxConfig,
    ) -> Result<Machine, KernelError> {
        let cpu = config.cpu;
        let mut machine = Machine {
            kernel: Kernel::new(phys, host, image, image_base)?,
            engine: Engine::new(),
            cpu: Box::new(ir::Cpu::new()),
            answers: regions::Answers::default(),
            frozen: &[],
            config,
            level: x86::CpuLevel::default(),
            debug: false,
            stop: stop::Stop::default(),
        };
        machine.set_cpu(cpu);
        Ok(machine)
    }

    /// Chooses the processor that programs see; before the first of them runs.
    fn set_cpu(&mut self, cpu: CpuLevel) {
        self.level = match cpu {
            CpuLevel::V2 => x86::CpuLevel::V2,
            CpuLevel::V3 => x86::CpuLevel::V3,
        };
        self.kernel.processor = processor::describe(self.level);
    }

    /// The processor that programs see.
    fn level(&self) -> CpuLevel {
        match self.level {
            x86::CpuLevel::V2 => CpuLevel::V2,
            x86::CpuLevel::V3 => CpuLevel::V3,
        }
    }

    /// The kernel, for its host and its accounts.
    pub fn kernel(&mut self) -> &mut Kernel {
        &mut self.kernel
    }

    /// The signal that asks the box to end: the image's STOPSIGNAL, or SIGTERM.
    pub fn stop_signal(&self) -> u32 {
        const SIGTERM: u8 = 15;
        let named = self.config.stop_signal.as_deref().and_then(rootfs::signal::number);
        u32::from(named.unwrap_or(SIGTERM))
    }

    /// Guest instructions retired.
    pub fn retired(&self) -> u64 {
        self.engine.retired()
    }

    /// Runs until about `budget` guest instructions were retired, much was written, everybody waits, or the box has ended.
    pub fn step(&mut self, budget: u64) -> Step {
        let end = self.engine.retired().saturating_add(budget);
        loop {
            if self.kernel.snapshot_asked() {
                return Step::Ready;
            }
            if self.stop.is_reached() {
                return Step::Stopped;
            }
            match self.kernel.schedule() {
                Sched::Run(tid) => self.run(tid),
                Sched::Idle { deadline, stdin, network } => {
                    return Step::Wait { deadline, stdin, network };
                }
                Sched::Exited(status) => {
                    self.report();
                    return Step::Exit(status);
                }
            }
            if self.engine.retired() >= end || self.kernel.host.wrote_much() {
                return Step::Ready;
            }
        }
    }

    /// Runs one thread until its slice is over or it has to give up the CPU.
    fn run(&mut self, tid: ThreadId) {
        let start = self.engine.retired();
        let mut end = start + SLICE;
        loop {
            context::load(&mut self.cpu, self.kernel.context(tid), self.level);
            let before = self.engine.retired();
            let bound = self.kernel.instructions_left(tid);
            let stretch = self.stop.stretch(before, end, bound);
            let is_cut = stretch.instructions() < end.saturating_sub(before);
            let exit = {
                let mut env = Cpu0 { kernel: &mut self.kernel, level: self.level };
                match stretch {
                    Stretch::About(fuel) => self.engine.run(&mut self.cpu, &mut env, fuel),
                    Stretch::Exactly(n) => self.engine.run_exactly(&mut self.cpu, &mut env, n),
                }
            };
            let executed = self.engine.retired() - before;
            self.kernel.host.executed(executed);
            context::save(&self.cpu, self.kernel.context(tid), self.level);
            let at_bound = self.kernel.count_instructions(tid, executed);
            if self.kernel.has_ended() || self.stops(tid, exit) {
                return;
            }
            let flow = match exit {
                Exit::Syscall => {
                    self.kernel.host.called();
                    self.kernel.syscall(tid)
                }
                Exit::Fault(fault) => self.fault(tid, fault),
                Exit::Trap(kind) => self.trap(tid, kind),
                // The turn goes on up to where to stop.
                Exit::OutOfFuel if is_cut && !at_bound && executed >= stretch.instructions() => {
                    Flow::Continue
                }
                Exit::OutOfFuel => {
                    self.kernel.preempt(tid);
                    Flow::Reschedule
                }
            };
            match flow {
                Flow::Reschedule => return,
                Flow::Share => end = end.min(start + SHORT_SLICE),
                Flow::Continue => {}
            }
            if at_bound || self.engine.retired() >= end || self.kernel.host.wrote_much() {
                return;
            }
        }
    }

    fn fault(&mut self, tid: ThreadId, fault: Fault) -> Flow {
        if self.debug {
            let rip = self.cpu.rip;
            self.kernel.host.log(&format!("boxer: thread {} at {rip:#x}: {fault:?}", tid.0));
        }
        match self.judge(fault) {
            x86::fault::Report::Load => self.kernel.fault(tid, fault),
            x86::fault::Report::Store(start) => {
                let fault = Fault { access: mem::Access::Write, ..fault };
                match self.kernel.mm.translate(start, mem::Access::Write) {
                    Err(first) if start != fault.addr => self.kernel.fault(tid, first),
                    _ => self.kernel.fault(tid, fault),
                }
            }
            x86::fault::Report::General => self.kernel.trap(tid, GENERAL),
            x86::fault::Report::Stack => self.kernel.trap(tid, kernel::TrapKind::StackFault),
        }
    }

    /// How the processor would report it.
    fn judge(&mut self, fault: Fault) -> x86::fault::Report {
        let mut regs = [0; 18];
        regs[..16].copy_from_slice(&self.cpu.slot[..16]);
        regs[16] = self.cpu.slot[ir::FS_BASE as usize];
        regs[17] = self.cpu.slot[ir::GS_BASE as usize];
        let rip = self.cpu.rip;
        let bytes = match fault.access {
            mem::Access::Fetch => Vec::new(),
            _ => self.instruction(),
        };
        let store = fault.access == mem::Access::Write;
        x86::fault::judge(&bytes, rip, fault.addr, store, &regs)
    }

    fn trap(&mut self, tid: ThreadId, kind: TrapKind) -> Flow {
        use kernel::TrapKind as K;
        if self.debug {
            self.log_trap(tid, kind);
        }
        self.kernel.death_note = match kind {
            TrapKind::Ud => self.missing_level(),
            _ => None,
        };
        let kind = match kind {
            TrapKind::Ud => K::InvalidOpcode,
            TrapKind::De => K::DivideError,
            TrapKind::Bp => K::Breakpoint,
            TrapKind::Db => K::DebugTrap,
            TrapKind::Step => K::SingleStep,
            TrapKind::Of => K::Overflow,
            TrapKind::Gp => {
                let error = match std::mem::take(&mut self.cpu.error) {
                    0 => x86::fault::error_code(&self.instruction()),
                    selector => selector,
                };
                K::GeneralProtection { error }
            }
            TrapKind::Xm => K::Simd,
            TrapKind::Mf => K::X87,
            TrapKind::Int80 => {
                // As a kernel without 32-bit emulation: #GP at the instruction (two bytes).
                let context = self.kernel.context(tid);
                context.rip = context.rip.wrapping_sub(2);
                K::GeneralProtection { error: 0x80 << 3 | 2 }
            }
        };
        self.kernel.trap(tid, kind)
    }

    /// The bytes of the instruction at rip, as far as they can be read.
    fn instruction(&mut self) -> Vec<u8> {
        let mut bytes = vec![0; x86::MAX_INSTRUCTION_LEN];
        while !bytes.is_empty() && self.kernel.mm.read_user(self.cpu.rip, &mut bytes).is_err() {
            bytes.pop();
        }
        bytes
    }

    /// What to do about an undefined instruction, if another processor has it.
    fn missing_level(&mut self) -> Option<String> {
        let (bytes, rip) = (self.instruction(), self.cpu.rip);
        let levels = [(x86::CpuLevel::V2, CpuLevel::V2), (x86::CpuLevel::V3, CpuLevel::V3)];
        let needed = x86::level_of(&bytes, rip).filter(|level| *level > self.level)?;
        let (_, named) = levels.into_iter().find(|(level, _)| *level == needed)?;
        let what = x86::describe(&bytes, rip);
        Some(format!("illegal instruction: {what}: needs --cpu {}", named.name()))
    }

    fn log_trap(&mut self, tid: ThreadId, kind: TrapKind) {
        let what = x86::describe(&self.instruction(), self.cpu.rip);
        self.kernel.host.log(&format!("boxer: thread {}: {kind:?}: {what}", tid.0));
    }

    /// What `--debug` tells at the end.
    fn report(&mut self) {
        if !self.debug {
            return;
        }
        for (name, times) in self.kernel.unsupported_calls() {
            self.kernel.host.log(&format!("boxer: unsupported system call {name}: {times} times"));
        }
        let retired = self.engine.retired();
        self.kernel.host.log(&format!("boxer: {retired} guest instructions"));
        let (in_regions, entered) = self.engine.retired_in_regions();
        if entered > 0 {
            let share = 100.0 * in_regions as f64 / retired.max(1) as f64;
            let text =
                format!("boxer: {share:.1} % of them in compiled regions, entered {entered} times");
            self.kernel.host.log(&text);
        }
        for left in self.engine.left_most(LEFT_MOST) {
            let what = x86::describe(&left.code, left.pc);
            let text = format!("boxer: left {} times, {:?}: {what}", left.times, left.why);
            self.kernel.host.log(&text);
        }
    }
}
