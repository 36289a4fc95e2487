//! Waiting: `poll_oneoff`. The host waits for its clocks and standard streams; files are always ready.

use super::errno::Code;
use super::table::Descriptor;
use super::{Answer, Program, memory, outside};
use abi::Errno;
use wasip1 as w;

/// Bytes of `subscription`: userdata u64, tag u8; a descriptor u32 at 16, or a clock.
const SUBSCRIPTION: usize = 48;
const TAG: usize = 8;
const FD: usize = 16;
/// Bytes of `event`: userdata u64, errno u16, type u8, bytes u64 at 16, flags u16 at 24.
const EVENT: usize = 32;

impl Program {
    pub fn poll_oneoff(&mut self, subscriptions: u32, events: u32, count: u32, out: u32) -> Answer {
        if count == 0 {
            return Err(Errno::EINVAL.into());
        }
        let len = count.checked_mul(SUBSCRIPTION as u32).ok_or(Errno::EFAULT)?;
        let room = count.checked_mul(EVENT as u32).ok_or(Errno::EFAULT)?;
        memory::place(events, room)?;
        let mut outer = Vec::new();
        let mut happened = Vec::new();
        for subscription in memory::bytes(subscriptions, len)?.to_vec().chunks_exact(SUBSCRIPTION) {
            match self.subscribe(subscription)? {
                Watched::Outside(subscription) => outer.extend_from_slice(&subscription),
                Watched::Event(event) => happened.extend_from_slice(&event),
            }
        }
        // Nobody waits who has something already.
        if happened.is_empty() {
            happened = outside::poll(&outer, (outer.len() / SUBSCRIPTION) as u32, EVENT)?;
        }
        memory::put(events, &happened)?;
        Ok(memory::put_u32(out, (happened.len() / EVENT) as u32)?)
    }

    /// Who answers a subscription.
    fn subscribe(&mut self, subscription: &[u8]) -> Result<Watched, Code> {
        let tag = subscription.get(TAG).copied().unwrap_or_default();
        let mut own: [u8; SUBSCRIPTION] =
            subscription.try_into().map_err(|_| Code::from(Errno::EINVAL))?;
        if tag == w::EVENTTYPE_CLOCK.raw() {
            return Ok(Watched::Outside(own));
        }
        if tag != w::EVENTTYPE_FD_READ.raw() && tag != w::EVENTTYPE_FD_WRITE.raw() {
            return Err(Errno::EINVAL.into());
        }
        let mut event = [0; EVENT];
        event[..TAG].copy_from_slice(subscription.get(..TAG).unwrap_or_default());
        event[10] = tag;
        match self.table.get(memory::u32_at(subscription, FD)) {
            Ok(Descriptor::Stream(stream)) => {
                own[FD..FD + 4].copy_from_slice(&stream.to_le_bytes());
                return Ok(Watched::Outside(own));
            }
            Ok(Descriptor::Open(file)) if tag == w::EVENTTYPE_FD_READ.raw() => {
                let size = file.dentry().inode().meta(&mut self.cx().0)?.size;
                event[16..24].copy_from_slice(&size.saturating_sub(file.pos.get()).to_le_bytes());
            }
            Ok(Descriptor::Open(_)) => {}
            Err(Code(code)) => event[8..10].copy_from_slice(&code.to_le_bytes()),
        }
        Ok(Watched::Event(event))
    }
}

/// What becomes of a subscription.
enum Watched {
    /// The host waits for it.
    Outside([u8; SUBSCRIPTION]),
    /// It has happened.
    Event([u8; EVENT]),
}
