//! The host's end.

use super::call::Call;
use super::message::{Ended, Failure, Start, Stream, ToBox, ToHost};
use super::{FIRST, MAX_DATA, VERSION, WINDOW};
use crate::Broken;
use crate::packet::MAX_PACKET;
use crate::wire::Wire;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// What happened, for the host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A process runs, with this process id.
    Started(u32, u32),
    /// A process does not run: why, Linux's error number or 0, text for people.
    Failed(u32, Failure, u16, String),
    /// Bytes of a stream.
    Output(u32, Stream, Vec<u8>),
    /// No more of a stream come.
    End(u32, Stream),
    /// [`Client::input`] takes something again.
    Room(u32),
    /// Nobody reads a process's input any more.
    InputClosed(u32),
    /// A process has ended; so many bytes of its streams that were written before are still to come.
    Exited(u32, Ended, [u32; 2]),
    /// What a call gives: Linux's error number, or what was asked for.
    Result(u32, Result<Vec<u8>, u16>),
    /// What a watch has seen: `IN_*` bits, cookie, path.
    Watched(u32, u32, u32, Vec<u8>),
    /// A packet about a number that is not this client's: its bytes.
    Foreign(u32, Vec<u8>),
}

struct Process {
    takes: [bool; 2],
    /// So many bytes of a stream may still come,
    window: [u32; 2],
    /// and so many were used up and are not granted again.
    used: [u32; 2],
    credit: u64,
    starved: bool,
    closed: bool,
    over: bool,
}

/// The host's end of the byte stream.
pub struct Client {
    wire: Wire,
    events: VecDeque<Event>,
    processes: BTreeMap<u32, Process>,
    /// Calls that were not answered, and watches.
    calls: BTreeSet<u32>,
    watches: BTreeSet<u32>,
    next: u32,
    /// The numbers that it gives are smaller.
    numbers: u32,
    greeted: bool,
    broken: bool,
}

impl Client {
    /// A client, which greets. It gives numbers below `numbers`; packets about others are [`Event::Foreign`].
    pub fn new(numbers: u32) -> Client {
        let mut wire = Wire::default();
        wire.put_by(|out| ToBox::Hello(VERSION).encode(out));
        Client {
            wire,
            events: VecDeque::new(),
            processes: BTreeMap::new(),
            calls: BTreeSet::new(),
            watches: BTreeSet::new(),
            next: FIRST + 1,
            numbers,
            greeted: false,
            broken: false,
        }
    }

    /// Room for bytes from the box.
    pub fn space(&mut self, len: usize) -> &mut [u8] {
        self.wire.space(len)
    }

    /// The first `len` bytes of [`Client::space`] were filled; they are looked at.
    ///
    /// # Errors
    /// The box broke the protocol: the stream is over.
    pub fn arrived(&mut self, len: usize) -> Result<(), Broken> {
        self.wire.arrived(len);
        while !self.broken {
            let judged = match self.wire.next() {
                Ok(None) => break,
                Ok(Some(place)) => {
                    let packet = self.wire.packet(place).to_vec();
                    self.judge(&packet)
                }
                Err(broken) => Err(broken),
            };
            if let Err(broken) = judged {
                self.broken = true;
                return Err(broken);
            }
        }
        Ok(())
    }

    fn judge(&mut self, bytes: &[u8]) -> Result<(), Broken> {
        let packet = ToHost::decode(bytes)?;
        if self.greeted == matches!(packet, ToHost::Hello(_)) {
            return Err(Broken("the greeting is missing, or comes twice"));
        }
        self.greeted = true;
        match packet.number() {
            Some(number) if number >= self.numbers => {
                self.events.push_back(Event::Foreign(number, bytes.to_vec()));
            }
            Some(number) => {
                let event = self.take(number, packet)?;
                self.events.extend(event);
            }
            None => {}
        }
        Ok(())
    }

    /// What a packet about one of our numbers means; nothing if that is done with.
    fn take(&mut self, id: u32, packet: ToHost<'_>) -> Result<Option<Event>, Broken> {
        match packet {
            ToHost::Result(_, errno, bytes) => {
                if !self.calls.remove(&id) {
                    return Ok(None);
                }
                if errno != 0 {
                    self.watches.remove(&id);
                }
                let result = if errno == 0 { Ok(bytes.to_vec()) } else { Err(errno) };
                return Ok(Some(Event::Result(id, result)));
            }
            ToHost::Event(_, seen) => {
                let event = Event::Watched(id, seen.mask, seen.cookie, seen.path.to_vec());
                return Ok(self.watches.contains(&id).then_some(event));
            }
            _ => {}
        }
        let Some(process) = self.processes.get_mut(&id) else { return Ok(None) };
        Ok(match packet {
            ToHost::Started(_, pid) => Some(Event::Started(id, pid)),
            ToHost::Failed(_, failure, errno, text) => {
                self.processes.remove(&id);
                let text = String::from_utf8_lossy(text).into_owned();
                Some(Event::Failed(id, failure, errno, text))
            }
            ToHost::Output(_, stream, bytes) => {
                let window = &mut process.window[stream.index()];
                let left = u32::try_from(bytes.len()).ok().and_then(|n| window.checked_sub(n));
                *window = left.ok_or(Broken("more output than was granted"))?;
                process.takes[stream.index()].then(|| Event::Output(id, stream, bytes.to_vec()))
            }
            ToHost::End(_, stream) => {
                let took = std::mem::replace(&mut process.takes[stream.index()], false);
                self.settle(id);
                took.then_some(Event::End(id, stream))
            }
            ToHost::Grant(_, bytes) => {
                process.credit = process.credit.saturating_add(u64::from(bytes));
                std::mem::take(&mut process.starved).then_some(Event::Room(id))
            }
            ToHost::InputClosed(_) => {
                process.closed = true;
                Some(Event::InputClosed(id))
            }
            ToHost::Exited(_, ended, left) => {
                process.over = true;
                process.closed = true;
                self.settle(id);
                Some(Event::Exited(id, ended, left))
            }
            ToHost::Hello(_) | ToHost::Result(..) | ToHost::Event(..) | ToHost::Unknown => None,
        })
    }

    fn settle(&mut self, id: u32) {
        if self.processes.get(&id).is_some_and(|p| p.over && p.takes == [false; 2]) {
            self.processes.remove(&id);
        }
    }

    /// Whether the box has greeted.
    pub fn is_greeted(&self) -> bool {
        self.greeted
    }

    /// The next event.
    pub fn event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// What waits to be written to the box.
    pub fn output(&self) -> &[u8] {
        self.wire.output()
    }

    /// So much of [`Client::output`] was written.
    pub fn wrote(&mut self, len: usize) {
        self.wire.wrote(len);
    }

    /// Sends a packet about numbers that are not this client's.
    pub fn put_foreign(&mut self, packet: &ToBox<'_>) {
        self.put(packet);
    }

    /// Starts a process, with this number. None if it does not fit into a packet (128 KiB for arguments and environment), or numbers have
    /// run out.
    pub fn start(&mut self, start: &Start) -> Option<u32> {
        let id = self.number()?;
        let packet = ToBox::Start(id, start.clone());
        self.put_bounded(&packet)?;
        let process = Process {
            takes: Stream::ALL.map(|stream| start.takes(stream)),
            window: [WINDOW; 2],
            used: [0; 2],
            credit: u64::from(WINDOW),
            starved: false,
            closed: !start.stdin,
            over: false,
        };
        self.processes.insert(id, process);
        Some(id)
    }

    /// Sends input: how many bytes were taken. After less than all [`Event::Room`] or [`Event::InputClosed`] comes. None if nobody reads it
    /// any more.
    pub fn input(&mut self, id: u32, bytes: &[u8]) -> Option<usize> {
        let process = self.processes.get_mut(&id).filter(|p| !p.closed)?;
        let credit = usize::try_from(process.credit).unwrap_or(usize::MAX);
        let len = bytes.len().min(credit);
        process.credit -= len as u64;
        process.starved = len < bytes.len();
        let taken = bytes.get(..len).unwrap_or_default();
        for piece in taken.chunks(MAX_DATA) {
            self.put(&ToBox::Input(id, piece));
        }
        Some(len)
    }

    /// No more input comes.
    pub fn end_input(&mut self, id: u32) {
        if let Some(process) = self.processes.get_mut(&id) {
            process.closed = true;
            self.put(&ToBox::InputEnd(id));
        }
    }

    /// So many bytes of a stream were used up.
    pub fn consumed(&mut self, id: u32, stream: Stream, bytes: usize) {
        let Some(process) = self.processes.get_mut(&id) else { return };
        let used = &mut process.used[stream.index()];
        *used = used.saturating_add(u32::try_from(bytes).unwrap_or(u32::MAX));
        if *used >= WINDOW / 2 && process.takes[stream.index()] {
            let grant = std::mem::take(used);
            let window = &mut process.window[stream.index()];
            *window = window.saturating_add(grant);
            self.put(&ToBox::Credit(id, stream, grant));
        }
    }

    /// No more of a stream is taken.
    pub fn close(&mut self, id: u32, stream: Stream) {
        if let Some(process) = self.processes.get_mut(&id)
            && std::mem::replace(&mut process.takes[stream.index()], false)
        {
            self.put(&ToBox::Close(id, stream));
            self.settle(id);
        }
    }

    /// The terminal has another size.
    pub fn resize(&mut self, id: u32, rows: u16, columns: u16) {
        if self.processes.contains_key(&id) {
            self.put(&ToBox::Resize(id, rows, columns));
        }
    }

    /// Sends a signal; see [`ToBox::Signal`].
    pub fn signal(&mut self, id: u32, signal: u8) {
        if id == FIRST || self.processes.get(&id).is_some_and(|p| !p.over) {
            self.put(&ToBox::Signal(id, signal));
        }
    }

    /// Cares for a process no longer.
    pub fn detach(&mut self, id: u32) {
        if self.processes.remove(&id).is_some() {
            self.put(&ToBox::Detach(id));
        }
    }

    /// Asks about files, as this user; the number of the call. None as for [`Client::start`].
    pub fn call(&mut self, user: &[u8], call: Call<'_>) -> Option<u32> {
        let id = self.number()?;
        match call {
            Call::Watch { .. } => {
                self.watches.insert(id);
            }
            Call::Unwatch { watch } => {
                self.watches.remove(&watch);
            }
            _ => {}
        }
        self.put_bounded(&ToBox::Call(id, user, call))?;
        self.calls.insert(id);
        Some(id)
    }

    fn number(&mut self) -> Option<u32> {
        let id = self.next;
        if id >= self.numbers {
            return None;
        }
        self.next += 1;
        Some(id)
    }

    fn put_bounded(&mut self, packet: &ToBox<'_>) -> Option<()> {
        let mut bytes = Vec::new();
        packet.encode(&mut bytes);
        if bytes.len() > MAX_PACKET {
            return None;
        }
        self.wire.put_by(|out| out.extend_from_slice(&bytes));
        Some(())
    }

    fn put(&mut self, packet: &ToBox<'_>) {
        self.wire.put_by(|out| packet.encode(out));
    }
}
