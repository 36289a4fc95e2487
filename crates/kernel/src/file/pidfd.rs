//! Descriptors of processes (pidfd_open(2)).

use std::any::Any;
use std::cell::Cell;
use std::rc::Rc;

use abi::fcntl::{O_NONBLOCK, O_RDWR};
use abi::poll::READABLE;

use super::{FileOps, OpenFile, anon};
use crate::ProcessId;
use crate::fs::Cx;
use crate::wait::WaitKey;

/// How far a process has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// It runs.
    Alive,
    /// It has ended.
    Zombie,
    /// It was waited for.
    Gone,
}

/// The life of one process, which outlasts its number.
pub struct Life {
    /// Its number, which after its end may be another's.
    pub pid: ProcessId,
    stage: Cell<Stage>,
}

impl Life {
    /// Of a new process.
    pub fn new(pid: ProcessId) -> Rc<Life> {
        Rc::new(Life { pid, stage: Cell::new(Stage::Alive) })
    }

    /// How far it has come.
    pub fn stage(&self) -> Stage {
        self.stage.get()
    }

    /// It has come further.
    pub fn reach(&self, stage: Stage) {
        self.stage.set(stage.max(self.stage.get()));
    }
}

/// A process that is a file: readable when it has ended.
pub struct PidFd {
    /// The process.
    pub life: Rc<Life>,
}

/// A new descriptor for the process of `life`.
pub fn create(cx: &mut Cx, life: &Rc<Life>, nonblock: bool) -> Rc<OpenFile> {
    let flags = O_RDWR | if nonblock { O_NONBLOCK } else { 0 };
    anon::open(cx, "[pidfd]", Rc::new(PidFd { life: life.clone() }), flags)
}

impl FileOps for PidFd {
    fn kind_name(&self) -> &'static str {
        "pidfd"
    }

    fn as_any(&self) -> &dyn Any {
        self
    }

    fn poll(&self, _cx: &mut Cx) -> u32 {
        if self.life.stage() == Stage::Alive { 0 } else { READABLE }
    }

    fn keys(&self, _cx: &mut Cx, out: &mut Vec<WaitKey>) {
        out.push(WaitKey::process(self.life.pid));
    }

    fn generation(&self) -> u64 {
        u64::from(self.life.stage() != Stage::Alive)
    }

    fn fdinfo(&self) -> String {
        let pid = match self.life.stage() {
            Stage::Gone => -1,
            _ => i64::from(self.life.pid.0),
        };
        format!("Pid:\t{pid}\nNSpid:\t{pid}\n")
    }
}
