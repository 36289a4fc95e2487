//! Stopping at a point of a run that another run of the same box has come by: the run up to there is the same, with the same turns of threads.

use crate::Machine;
use interp::Exit;
use kernel::ThreadId;

/// Where to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StopAt {
    /// When programs have executed so many instructions from now on.
    Instruction(u64),
    /// Before the `nth` system call from now on, of this number or of any.
    Call {
        /// Its number.
        number: Option<u64>,
        /// 1 for the first.
        nth: u64,
    },
}

/// More instructions than compiled code goes on beyond its fuel.
const MARGIN: u64 = 20_000;

#[derive(Default)]
pub struct Stop {
    /// The instruction, as the engine counts.
    instruction: Option<u64>,
    call: Option<(Option<u64>, u64)>,
    reached: Option<ThreadId>,
}

/// How far a thread runs.
pub enum Stretch {
    /// So many instructions, up to where it can be left.
    About(u64),
    /// So many.
    Exactly(u64),
}

impl Stretch {
    /// How many that are.
    pub fn instructions(&self) -> u64 {
        let (Stretch::About(count) | Stretch::Exactly(count)) = *self;
        count
    }
}

impl Stop {
    pub fn is_reached(&self) -> bool {
        self.reached.is_some()
    }

    /// How far a thread runs whose turn is over at `end`, and that may execute so many instructions. A turn that ends before the instruction
    /// ends where it would without a stop.
    #[inline]
    pub fn stretch(&self, now: u64, end: u64, bound: Option<u64>) -> Stretch {
        let whole = end.saturating_sub(now);
        let stop = self.instruction.map(|stop| stop.saturating_sub(now));
        match stop.into_iter().chain(bound).min() {
            Some(left) if left <= whole && left > MARGIN => Stretch::About(left - MARGIN),
            Some(left) if left <= whole => Stretch::Exactly(left),
            _ => Stretch::About(whole),
        }
    }
}

impl Machine {
    /// Stops there: [`Machine::step`] says so.
    pub fn stop_at(&mut self, at: StopAt) {
        match at {
            StopAt::Instruction(count) => {
                self.stop.instruction = Some(self.engine.retired().saturating_add(count));
            }
            StopAt::Call { number, nth } => self.stop.call = Some((number, nth)),
        }
    }

    /// Whether this is where to stop; a call is yet to be made.
    pub(crate) fn stops(&mut self, tid: ThreadId, exit: Exit) -> bool {
        let there = self.stop.instruction.is_some_and(|stop| self.engine.retired() >= stop);
        if there && exit == Exit::OutOfFuel {
            self.stop.reached = Some(tid);
        }
        if let (Exit::Syscall, Some((wanted, nth))) = (exit, &mut self.stop.call) {
            let number = self.kernel.context(tid).gpr[abi::RAX];
            if wanted.is_none_or(|wanted| wanted == number) {
                *nth = nth.saturating_sub(1);
                if *nth == 0 {
                    self.stop.reached = Some(tid);
                }
            }
        }
        self.stop.is_reached()
    }

    /// The number of a system call.
    pub fn call_number(&self, name: &str) -> Option<u64> {
        self.kernel.call_number(name)
    }

    /// Lines about the thread that has come to where it was to stop: which one, its next instruction, and its registers.
    pub fn whereabouts(&mut self) -> Vec<String> {
        let Some(tid) = self.stop.reached else { return Vec::new() };
        let who = self.kernel.describe_thread(tid);
        let rip = self.kernel.context(tid).rip;
        let what = x86::describe(&self.instruction(), rip);
        let names = "rax rcx rdx rbx rsp rbp rsi rdi r8 r9 r10 r11 r12 r13 r14 r15";
        let registers = self.kernel.context(tid).gpr;
        let mut lines = vec![who, what];
        let named: Vec<String> = names
            .split(' ')
            .zip(registers)
            .map(|(name, value)| format!("{name}={value:#x}"))
            .collect();
        lines.extend(named.chunks(4).map(|four| four.join(" ")));
        lines
    }
}
