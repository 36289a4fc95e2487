//! Signals (signal(7), sigaction(2), `asm/sigcontext.h`, `asm/ucontext.h`).

/// Number of signals.
pub const NSIG: usize = 64;

macro_rules! signals {
    ($($name:ident = $value:literal, $text:literal;)*) => {
        $(#[doc = $text] pub const $name: u32 = $value;)*
        /// Name of a signal as strace prints it; real-time signals are `SIGRT_n`.
        pub fn name(signal: u32) -> Option<&'static str> {
            match signal { $($value => Some(stringify!($name)),)* _ => None }
        }
    };
}
signals! {
    SIGHUP = 1, "Terminal hung up.";
    SIGINT = 2, "Interrupt from the keyboard.";
    SIGQUIT = 3, "Quit from the keyboard.";
    SIGILL = 4, "Illegal instruction.";
    SIGTRAP = 5, "Breakpoint.";
    SIGABRT = 6, "abort(3).";
    SIGBUS = 7, "Bad memory access.";
    SIGFPE = 8, "Arithmetic error.";
    SIGKILL = 9, "Kill; cannot be caught.";
    SIGUSR1 = 10, "User defined.";
    SIGSEGV = 11, "Invalid memory reference.";
    SIGUSR2 = 12, "User defined.";
    SIGPIPE = 13, "Write to a pipe without readers.";
    SIGALRM = 14, "alarm(2).";
    SIGTERM = 15, "Termination.";
    SIGSTKFLT = 16, "Unused.";
    SIGCHLD = 17, "Child stopped or terminated.";
    SIGCONT = 18, "Continue.";
    SIGSTOP = 19, "Stop; cannot be caught.";
    SIGTSTP = 20, "Stop from the keyboard.";
    SIGTTIN = 21, "Terminal input by a background process.";
    SIGTTOU = 22, "Terminal output by a background process.";
    SIGURG = 23, "Urgent data on a socket.";
    SIGXCPU = 24, "CPU time limit.";
    SIGXFSZ = 25, "File size limit.";
    SIGVTALRM = 26, "Virtual timer.";
    SIGPROF = 27, "Profiling timer.";
    SIGWINCH = 28, "Window size changed.";
    SIGIO = 29, "I/O possible.";
    SIGPWR = 30, "Power failure.";
    SIGSYS = 31, "Bad system call.";
}
/// First real-time signal of the kernel.
pub const SIGRTMIN: u32 = 32;

/// Default action.
pub const SIG_DFL: u64 = 0;
/// Ignore.
pub const SIG_IGN: u64 = 1;

/// Set of blocked signals: replace by union.
pub const SIG_BLOCK: u64 = 0;
/// Remove from the blocked signals.
pub const SIG_UNBLOCK: u64 = 1;
/// Replace the blocked signals.
pub const SIG_SETMASK: u64 = 2;

/// No SIGCHLD for stopped children.
pub const SA_NOCLDSTOP: u64 = 1;
/// Children do not become zombies.
pub const SA_NOCLDWAIT: u64 = 2;
/// Three-argument handler.
pub const SA_SIGINFO: u64 = 4;
/// The caller gives the restorer.
pub const SA_RESTORER: u64 = 0x0400_0000;
/// Use the alternate stack.
pub const SA_ONSTACK: u64 = 0x0800_0000;
/// Restart system calls.
pub const SA_RESTART: u64 = 0x1000_0000;
/// The signal is not blocked in its handler.
pub const SA_NODEFER: u64 = 0x4000_0000;
/// Back to the default at entry.
pub const SA_RESETHAND: u64 = 0x8000_0000;

/// Alternate stack in use.
pub const SS_ONSTACK: u32 = 1;
/// No alternate stack.
pub const SS_DISABLE: u32 = 2;
/// Disarm the alternate stack at entry of a handler.
pub const SS_AUTODISARM: u32 = 1 << 31;
/// Smallest alternate stack.
pub const MINSIGSTKSZ: u64 = 2048;

/// Sent by kill(2).
pub const SI_USER: i32 = 0;
/// Sent by the kernel.
pub const SI_KERNEL: i32 = 0x80;
/// Sent by sigqueue(3).
pub const SI_QUEUE: i32 = -1;
/// A message came into a queue (mq_notify).
pub const SI_MESGQ: i32 = -3;
/// A POSIX timer expired.
pub const SI_TIMER: i32 = -2;
/// Sent by tgkill(2).
pub const SI_TKILL: i32 = -6;
/// Address not mapped.
pub const SEGV_MAPERR: i32 = 1;
/// Invalid permissions.
pub const SEGV_ACCERR: i32 = 2;
/// Invalid address alignment.
pub const BUS_ADRALN: i32 = 1;
/// Nonexistent physical address.
pub const BUS_ADRERR: i32 = 2;
/// Illegal opcode's operand.
pub const ILL_ILLOPN: i32 = 2;
/// Integer divide by zero.
pub const FPE_INTDIV: i32 = 1;
/// Integer overflow.
pub const FPE_INTOVF: i32 = 2;
/// Floating-point divide by zero.
pub const FPE_FLTDIV: i32 = 3;
/// Floating-point overflow.
pub const FPE_FLTOVF: i32 = 4;
/// Floating-point underflow.
pub const FPE_FLTUND: i32 = 5;
/// Floating-point inexact result.
pub const FPE_FLTRES: i32 = 6;
/// Floating-point invalid operation.
pub const FPE_FLTINV: i32 = 7;
/// Breakpoint.
pub const TRAP_BRKPT: i32 = 1;
/// Trace trap.
pub const TRAP_TRACE: i32 = 2;
/// Child exited.
pub const CLD_EXITED: i32 = 1;
/// Child was killed.
pub const CLD_KILLED: i32 = 2;
/// Child was killed and dumped core.
pub const CLD_DUMPED: i32 = 3;
/// A traced child stopped.
pub const CLD_TRAPPED: i32 = 4;
/// Child stopped.
pub const CLD_STOPPED: i32 = 5;
/// Child continued.
pub const CLD_CONTINUED: i32 = 6;

/// `uc_flags`: an XSAVE area follows the FXSAVE image.
pub const UC_FP_XSTATE: u64 = 1;
/// `uc_flags`: the SS field is meaningful.
pub const UC_SIGCONTEXT_SS: u64 = 2;
/// `uc_flags`: SS is restored as saved.
pub const UC_STRICT_RESTORE_SS: u64 = 4;
/// Code segment selector of 64-bit programs.
pub const USER_CS: u16 = 0x33;
/// Stack segment selector.
pub const USER_SS: u16 = 0x2b;

/// Notify by signal.
pub const SIGEV_SIGNAL: i32 = 0;
/// Do not notify.
pub const SIGEV_NONE: i32 = 1;
/// Notify by thread (libc's business).
pub const SIGEV_THREAD: i32 = 2;
/// Notify one thread by signal.
pub const SIGEV_THREAD_ID: i32 = 4;

crate::pod! {
    /// `struct sigaction` of the kernel.
    pub struct Sigaction {
        /// Handler, `SIG_DFL` or `SIG_IGN`.
        pub handler: u64,
        /// `SA_*`.
        pub flags: u64,
        /// Where the handler returns to.
        pub restorer: u64,
        /// Signals blocked during the handler.
        pub mask: u64,
    }
    /// `stack_t`.
    pub struct SigAltStack {
        /// Lowest byte.
        pub sp: u64,
        /// `SS_*`.
        pub flags: u32,
        /// Padding.
        pub pad: u32,
        /// Size.
        pub size: u64,
    }
    /// `siginfo_t`: the fixed head and the union as bytes (it starts at offset 16).
    pub struct Siginfo {
        /// Signal.
        pub signo: i32,
        /// An errno value.
        pub errno: i32,
        /// `SI_*`, `SEGV_*`, …
        pub code: i32,
        /// Padding.
        pub pad: i32,
        /// The union's first three words; what each means depends on `code`.
        pub fields: [u64; 14],
    }
    /// `struct sigcontext_64`.
    pub struct Sigcontext {
        /// r8 to r15.
        pub r8_r15: [u64; 8],
        /// rdi.
        pub rdi: u64,
        /// rsi.
        pub rsi: u64,
        /// rbp.
        pub rbp: u64,
        /// rbx.
        pub rbx: u64,
        /// rdx.
        pub rdx: u64,
        /// rax.
        pub rax: u64,
        /// rcx.
        pub rcx: u64,
        /// rsp.
        pub rsp: u64,
        /// rip.
        pub rip: u64,
        /// rflags.
        pub eflags: u64,
        /// cs, gs, fs, ss.
        pub segments: [u16; 4],
        /// Page-fault error code.
        pub err: u64,
        /// Trap number.
        pub trapno: u64,
        /// Low word of the blocked signals.
        pub oldmask: u64,
        /// Faulting address.
        pub cr2: u64,
        /// Address of the FXSAVE image.
        pub fpstate: u64,
        /// Reserved.
        pub reserved: [u64; 8],
    }
    /// `struct ucontext` of the kernel.
    pub struct Ucontext {
        /// `UC_*`.
        pub flags: u64,
        /// Unused.
        pub link: u64,
        /// Alternate stack at the time of the signal.
        pub stack: SigAltStack,
        /// Registers.
        pub mcontext: Sigcontext,
        /// Blocked signals to restore.
        pub sigmask: u64,
    }
    /// `struct sigevent` (timer_create(2)); 64 bytes.
    pub struct Sigevent {
        /// Value to pass.
        pub value: u64,
        /// Signal.
        pub signo: i32,
        /// `SIGEV_*`.
        pub notify: i32,
        /// Thread of `SIGEV_THREAD_ID`.
        pub tid: i32,
        /// Rest of the union.
        pub rest: [u32; 11],
    }
}
