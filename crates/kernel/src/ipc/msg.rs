//! Message queues (msgop(2), `ipc/msg.c`).

use std::collections::VecDeque;

use abi::Errno;
use abi::ipc::MsqidDs;

use super::{Ids, Object, Perm};
use crate::WaitKey;

/// Longest message (`MSGMAX`).
pub const MSGMAX: u64 = 8192;
/// Most bytes in a queue (`MSGMNB`).
pub const MSGMNB: u64 = 16384;
/// Most queues (`MSGMNI`).
pub const MSGMNI: usize = 32000;
/// What a message takes beside its text.
const OVERHEAD: u64 = 48;

/// A message.
pub struct Message {
    /// Type, 1 or more.
    pub kind: i64,
    /// Text.
    pub text: Box<[u8]>,
}

/// Which message is wanted (`convert_mode`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Want {
    /// The first.
    Any,
    /// The first of this type.
    Kind(i64),
    /// The first of another type.
    Except(i64),
    /// The first of the lowest type up to this.
    UpTo(i64),
    /// The one at this place (`MSG_COPY`).
    At(i64),
}

/// One queue.
pub struct Queue {
    perm: Perm,
    messages: VecDeque<Message>,
    /// State as `IPC_STAT` tells it, but for the permissions.
    pub state: MsqidDs,
    /// Woken when messages come or go.
    pub key: WaitKey,
}

impl Object for Queue {
    fn perm(&self) -> &Perm {
        &self.perm
    }
    fn perm_mut(&mut self) -> &mut Perm {
        &mut self.perm
    }
}

impl Queue {
    /// An empty queue.
    pub fn new(perm: Perm, now: i64, key: WaitKey) -> Queue {
        let state = MsqidDs { ctime: now, qbytes: MSGMNB, ..MsqidDs::default() };
        Queue { perm, messages: VecDeque::new(), state, key }
    }

    /// What `IPC_STAT` tells.
    pub fn show(&self) -> MsqidDs {
        MsqidDs { perm: self.perm.show(), ..self.state }
    }

    /// Whether a message of `len` bytes may be added.
    pub fn fits(&self, len: u64) -> bool {
        len + self.state.cbytes <= self.state.qbytes && self.state.qnum < self.state.qbytes
    }

    /// Adds a message.
    pub fn push(&mut self, message: Message) {
        self.state.cbytes += message.text.len() as u64;
        self.state.qnum += 1;
        self.messages.push_back(message);
    }

    /// The place of the message that is wanted.
    pub fn find(&self, want: Want) -> Option<usize> {
        let position = |f: &dyn Fn(i64) -> bool| self.messages.iter().position(|m| f(m.kind));
        match want {
            Want::Any => (!self.messages.is_empty()).then_some(0),
            Want::Kind(kind) => position(&|k| k == kind),
            Want::Except(kind) => position(&|k| k != kind),
            Want::UpTo(most) => {
                let lowest = self.messages.iter().map(|m| m.kind).filter(|&k| k <= most).min()?;
                position(&|k| k == lowest)
            }
            Want::At(at) => usize::try_from(at).ok().filter(|&at| at < self.messages.len()),
        }
    }

    /// The message at `at`.
    pub fn peek(&self, at: usize) -> Option<&Message> {
        self.messages.get(at)
    }

    /// Takes the message at `at` out.
    pub fn take(&mut self, at: usize) -> Option<Message> {
        let message = self.messages.remove(at)?;
        self.state.cbytes -= message.text.len() as u64;
        self.state.qnum -= 1;
        Some(message)
    }
}

impl Ids<Queue> {
    /// Messages and bytes of all queues.
    pub fn totals(&self) -> (u64, u64) {
        let add = |(n, bytes), q: &Queue| (n + q.state.qnum, bytes + q.state.cbytes);
        self.iter().fold((0, 0), add)
    }

    /// Whether one more message of `len` bytes stays within `limit` bytes of memory for all queues: `ENOMEM`.
    pub fn may_grow(&self, len: u64, limit: u64) -> Result<(), Errno> {
        let (count, bytes) = self.totals();
        let used = bytes + len + (count + 1) * OVERHEAD;
        if used > limit { Err(Errno::ENOMEM) } else { Ok(()) }
    }
}
