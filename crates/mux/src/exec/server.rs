//! The box's end.

use super::call::Watched;
use super::message::{Ended, Failure, Stream, ToBox, ToHost};
use super::{FIRST, MAX_DATA, VERSION, WINDOW};
use crate::Broken;
use crate::wire::Wire;
use std::collections::BTreeMap;

/// A process whose number is in use.
struct Process {
    /// The host still takes these streams.
    takes: [bool; 2],
    /// So many bytes of them it takes now.
    credit: [u64; 2],
    /// So many bytes of input may still come,
    window: u32,
    /// and so many have been used up and are not granted again.
    used: u32,
    /// Its end was told.
    over: bool,
}

/// What arrived, taken apart by [`ToBox::decode`].
pub type Event = Vec<u8>;

/// The box's end of the byte stream.
pub struct Server {
    wire: Wire,
    processes: BTreeMap<u32, Process>,
    greeted: bool,
    broken: bool,
}

impl Default for Server {
    fn default() -> Server {
        Server::new()
    }
}

impl Server {
    /// A server, which greets.
    pub fn new() -> Server {
        let mut wire = Wire::default();
        wire.put_by(|out| ToHost::Hello(VERSION).encode(out));
        Server { wire, processes: BTreeMap::new(), greeted: false, broken: false }
    }

    /// Room for bytes from the host.
    pub fn space(&mut self, len: usize) -> &mut [u8] {
        self.wire.space(len)
    }

    /// The first `len` bytes of [`Server::space`] were filled.
    pub fn arrived(&mut self, len: usize) {
        self.wire.arrived(len);
    }

    /// Whether more bytes from the host can be taken: it reads what it is sent.
    pub fn wants_input(&self) -> bool {
        !self.broken && !self.wire.is_full()
    }

    /// The next packet that the box must act on, checked; none if none has arrived, or too much waits to be written.
    ///
    /// # Errors
    /// The host broke the protocol: the stream is over.
    pub fn event(&mut self) -> Result<Option<Event>, Broken> {
        while self.wants_input() {
            let next = self.wire.next();
            let judged = match next {
                Ok(None) => break,
                Ok(Some(place)) => {
                    let packet = self.wire.packet(place).to_vec();
                    self.judge(&packet).map(|acts| acts.then_some(packet))
                }
                Err(broken) => Err(broken),
            };
            match judged {
                Ok(None) => {}
                Ok(packet) => return Ok(packet),
                Err(broken) => {
                    self.broken = true;
                    return Err(broken);
                }
            }
        }
        Ok(None)
    }

    /// Takes in what a packet changes here; whether the box has to act on it.
    fn judge(&mut self, packet: &[u8]) -> Result<bool, Broken> {
        let packet = ToBox::decode(packet)?;
        if !self.greeted && !matches!(packet, ToBox::Hello(_)) {
            return Err(Broken("the greeting is missing"));
        }
        Ok(match packet {
            ToBox::Hello(_) => {
                if std::mem::replace(&mut self.greeted, true) {
                    return Err(Broken("a second greeting"));
                }
                false
            }
            ToBox::Start(id, start) => {
                if id == FIRST || self.processes.contains_key(&id) {
                    return Err(Broken("the number of a process is in use"));
                }
                let process = Process {
                    takes: Stream::ALL.map(|stream| start.takes(stream)),
                    credit: [u64::from(WINDOW); 2],
                    window: WINDOW,
                    used: 0,
                    over: false,
                };
                self.processes.insert(id, process);
                true
            }
            ToBox::Input(id, bytes) => match self.processes.get_mut(&id) {
                Some(process) => {
                    let len = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
                    let left = process.window.checked_sub(len);
                    process.window = left.ok_or(Broken("more input than was granted"))?;
                    true
                }
                None => false,
            },
            ToBox::Credit(id, stream, bytes) => {
                if let Some(process) = self.processes.get_mut(&id) {
                    let credit = &mut process.credit[stream.index()];
                    *credit = credit.saturating_add(u64::from(bytes));
                }
                false
            }
            ToBox::Close(id, stream) => match self.processes.get_mut(&id) {
                Some(process) => {
                    let took = std::mem::replace(&mut process.takes[stream.index()], false);
                    self.settle(id);
                    took
                }
                None => false,
            },
            ToBox::Detach(id) => self.processes.remove(&id).is_some(),
            ToBox::Forget(first, last) => {
                self.processes.retain(|id, _| !(first..=last).contains(id));
                true
            }
            ToBox::Signal(FIRST, _) => true,
            ToBox::InputEnd(id) | ToBox::Resize(id, ..) | ToBox::Signal(id, _) => {
                self.processes.contains_key(&id)
            }
            ToBox::Call(FIRST, ..) => return Err(Broken("a call without a number")),
            ToBox::Call(..) => true,
            ToBox::Unknown => false,
        })
    }

    /// What waits to be written to the host.
    pub fn output(&self) -> &[u8] {
        self.wire.output()
    }

    /// So much of [`Server::output`] was written.
    pub fn wrote(&mut self, len: usize) {
        self.wire.wrote(len);
    }

    /// Whether events of watches may be told now.
    pub fn has_room(&self) -> bool {
        self.wire.room() > MAX_DATA
    }

    /// A process runs.
    pub fn started(&mut self, id: u32, pid: u32) {
        self.put(&ToHost::Started(id, pid));
    }

    /// A process does not run.
    pub fn failed(&mut self, id: u32, failure: Failure, errno: u16, text: &str) {
        self.processes.remove(&id);
        self.put(&ToHost::Failed(id, failure, errno, text.as_bytes()));
    }

    /// How many bytes of a stream may be sent now; none if the host takes no more of it.
    pub fn room(&self, id: u32, stream: Stream) -> Option<usize> {
        let process = self.processes.get(&id).filter(|p| p.takes[stream.index()])?;
        let credit = usize::try_from(process.credit[stream.index()]).unwrap_or(usize::MAX);
        Some(credit.min(self.wire.room()).min(MAX_DATA))
    }

    /// Sends bytes of a stream, of which no more than [`Server::room`].
    pub fn send(&mut self, id: u32, stream: Stream, bytes: &[u8]) {
        if let Some(process) = self.processes.get_mut(&id) {
            let credit = &mut process.credit[stream.index()];
            *credit = credit.saturating_sub(bytes.len() as u64);
            self.put(&ToHost::Output(id, stream, bytes));
        }
    }

    /// A stream has ended.
    pub fn end(&mut self, id: u32, stream: Stream) {
        if let Some(process) = self.processes.get_mut(&id)
            && std::mem::replace(&mut process.takes[stream.index()], false)
        {
            self.put(&ToHost::End(id, stream));
            self.settle(id);
        }
    }

    /// The process has taken so many bytes of input.
    pub fn consumed(&mut self, id: u32, bytes: usize) {
        let Some(process) = self.processes.get_mut(&id) else { return };
        process.used = process.used.saturating_add(u32::try_from(bytes).unwrap_or(u32::MAX));
        if process.used >= WINDOW / 2 {
            let grant = std::mem::take(&mut process.used);
            process.window = process.window.saturating_add(grant);
            self.put(&ToHost::Grant(id, grant));
        }
    }

    /// Nobody reads the process's input any more.
    pub fn input_closed(&mut self, id: u32) {
        if self.processes.contains_key(&id) {
            self.put(&ToHost::InputClosed(id));
        }
    }

    /// The process has ended; of its streams so many bytes that it wrote are still to be sent.
    pub fn exited(&mut self, id: u32, ended: Ended, left: [u32; 2]) {
        if let Some(process) = self.processes.get_mut(&id)
            && !std::mem::replace(&mut process.over, true)
        {
            self.put(&ToHost::Exited(id, ended, left));
            self.settle(id);
        }
    }

    /// Whether there is nothing more to be told of a process.
    pub fn is_done(&self, id: u32) -> bool {
        !self.processes.contains_key(&id)
    }

    /// The number of a process of which all was told can be used again.
    fn settle(&mut self, id: u32) {
        if self.processes.get(&id).is_some_and(|p| p.over && p.takes == [false; 2]) {
            self.processes.remove(&id);
        }
    }

    /// What a call gives: Linux's error number, or what was asked for.
    pub fn result(&mut self, id: u32, result: Result<&[u8], u16>) {
        match result {
            Ok(bytes) => self.put(&ToHost::Result(id, 0, bytes)),
            Err(errno) => self.put(&ToHost::Result(id, errno, &[])),
        }
    }

    /// What a watch has seen.
    pub fn watched(&mut self, id: u32, watched: Watched<'_>) {
        self.put(&ToHost::Event(id, watched));
    }

    fn put(&mut self, packet: &ToHost<'_>) {
        self.wire.put_by(|out| packet.encode(out));
    }
}
