//! POSIX message queues (mq_overview(7)): the queue, and the open file of one. Their names are in [`names`].

pub mod names;

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;

use abi::poll::{READABLE, WRITABLE};

use super::pidfd::Life;
use super::{FileOps, OpenFile};
use crate::fs::cx::Notifier;
use crate::fs::{Cx, Res};
use crate::wait::WaitKey;

/// Bytes that the kernel counts for a message beside its text (`RLIMIT_MSGQUEUE`): its record and its priority's.
const MESSAGE_BYTES: u64 = 48 + 48;

/// How the arrival of a message is told (mq_notify(3)).
#[derive(Clone)]
pub enum Notify {
    /// Not at all; the place is taken.
    Silent,
    /// A signal and the value that comes with it.
    Signal(u32, u64),
    /// A datagram of 32 bytes on a netlink socket, the last of them 1 (or 2 when it is given up).
    Cookie(Rc<OpenFile>, [u8; 32]),
}

/// Who is told.
#[derive(Clone)]
pub struct Registration {
    /// The process.
    pub owner: Rc<Life>,
    /// How.
    pub how: Notify,
}

/// Bytes of queues by user.
#[derive(Default)]
pub struct Accounts {
    bytes: RefCell<BTreeMap<u32, u64>>,
}

impl Accounts {
    /// What the queues of `uid` take.
    pub fn used(&self, uid: u32) -> u64 {
        self.bytes.borrow().get(&uid).copied().unwrap_or(0)
    }
}

/// Bytes that a queue counts for.
pub fn cost(maxmsg: u64, msgsize: u64) -> u64 {
    maxmsg.saturating_mul(msgsize.saturating_add(MESSAGE_BYTES))
}

/// A queue.
pub struct Queue {
    /// Most messages.
    pub maxmsg: u64,
    /// Longest message.
    pub msgsize: u64,
    messages: RefCell<BTreeMap<u32, VecDeque<Box<[u8]>>>>,
    count: Cell<u64>,
    bytes: Cell<u64>,
    /// Woken when messages come or go.
    pub notifier: Notifier,
    /// Who is told of the next message in the empty queue.
    pub notify: RefCell<Option<Registration>>,
    accounts: Rc<Accounts>,
    uid: u32,
}

impl Queue {
    /// An empty queue of user `uid`.
    pub fn new(cx: &mut Cx, accounts: &Rc<Accounts>, uid: u32, maxmsg: u64, msgsize: u64) -> Queue {
        *accounts.bytes.borrow_mut().entry(uid).or_insert(0) += cost(maxmsg, msgsize);
        Queue {
            maxmsg,
            msgsize,
            messages: RefCell::default(),
            count: Cell::new(0),
            bytes: Cell::new(0),
            notifier: cx.shared.notifier(),
            notify: RefCell::new(None),
            accounts: accounts.clone(),
            uid,
        }
    }

    /// Messages in it.
    pub fn len(&self) -> u64 {
        self.count.get()
    }

    /// True without messages.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether it takes no more.
    pub fn is_full(&self) -> bool {
        self.len() >= self.maxmsg
    }

    /// Adds a message behind those of the same priority.
    pub fn push(&self, priority: u32, text: Box<[u8]>) {
        self.count.set(self.count.get() + 1);
        self.bytes.set(self.bytes.get() + text.len() as u64);
        self.messages.borrow_mut().entry(priority).or_default().push_back(text);
        self.notifier.wake();
    }

    /// Takes the oldest message of the highest priority.
    pub fn pop(&self) -> Option<(u32, Box<[u8]>)> {
        let mut messages = self.messages.borrow_mut();
        let mut entry = messages.last_entry()?;
        let priority = *entry.key();
        let text = entry.get_mut().pop_front()?;
        if entry.get().is_empty() {
            entry.remove();
        }
        self.count.set(self.count.get() - 1);
        self.bytes.set(self.bytes.get() - text.len() as u64);
        self.notifier.wake();
        Some((priority, text))
    }

    /// Whoever is registered and lives.
    pub fn registered(&self) -> Option<Registration> {
        let registration = self.notify.borrow().clone()?;
        (registration.owner.stage() == super::pidfd::Stage::Alive).then_some(registration)
    }

    /// What reading the queue's file gives (mq_overview(7)).
    fn text(&self) -> String {
        let (how, signal, pid) = match self.registered() {
            Some(Registration { owner, how }) => match how {
                Notify::Signal(signal, _) => (abi::signal::SIGEV_SIGNAL, signal, owner.pid.0),
                Notify::Silent => (abi::signal::SIGEV_NONE, 0, owner.pid.0),
                Notify::Cookie(..) => (abi::signal::SIGEV_THREAD, 0, owner.pid.0),
            },
            None => (0, 0, 0),
        };
        format!(
            "QSIZE:{:<10} NOTIFY:{how:<5} SIGNO:{signal:<5} NOTIFY_PID:{pid:<6}\n",
            self.bytes.get()
        )
    }
}

impl Drop for Queue {
    fn drop(&mut self) {
        let mut bytes = self.accounts.bytes.borrow_mut();
        if let Some(used) = bytes.get_mut(&self.uid) {
            *used = used.saturating_sub(cost(self.maxmsg, self.msgsize));
            if *used == 0 {
                bytes.remove(&self.uid);
            }
        }
    }
}

/// An open queue.
pub struct MqFile {
    /// The queue.
    pub queue: Rc<Queue>,
}

impl FileOps for MqFile {
    fn kind_name(&self) -> &'static str {
        "message queue"
    }

    fn as_any(&self) -> &dyn Any {
        self
    }

    fn read(&self, _cx: &mut Cx, file: &OpenFile, buf: &mut [u8]) -> Res<usize> {
        let text = self.queue.text();
        let at = usize::try_from(file.pos.get()).unwrap_or(usize::MAX);
        let rest = text.as_bytes().get(at..).unwrap_or(&[]);
        let n = rest.len().min(buf.len());
        buf[..n].copy_from_slice(&rest[..n]);
        file.pos.set(file.pos.get() + n as u64);
        Ok(n)
    }

    fn poll(&self, _cx: &mut Cx) -> u32 {
        let readable = if self.queue.is_empty() { 0 } else { READABLE };
        readable | if self.queue.is_full() { 0 } else { WRITABLE }
    }

    fn keys(&self, _cx: &mut Cx, out: &mut Vec<WaitKey>) {
        out.push(self.queue.notifier.key());
    }

    fn generation(&self) -> u64 {
        self.queue.notifier.generation()
    }
}
