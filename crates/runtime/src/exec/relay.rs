//! Passing the protocol on between a box and further processes: each has a range of numbers of its own.
//!
//! Windows are granted from end to end, so what waits for a process that reads slowly is bounded by what it has asked for; it is not heard
//! while much waits for it, and cut off when far more does (watches).

use super::{Attach, NUMBERS, Shared};
use mux::exec::{Frames, ToBox, ToHost, VERSION};
use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::sync::Arc;

/// Bytes for a process above which it is not heard,
const MUCH: usize = 1 << 20;
/// and above which it is cut off.
const TOO_MUCH: usize = 64 << 20;

/// A process that is served.
pub(super) struct Relay {
    stream: UnixStream,
    waits: VecDeque<u8>,
    /// Some of it is being written.
    writes: bool,
    /// It is gone, and the box has been told to forget its numbers.
    gone: bool,
}

impl Relay {
    /// Takes a packet for it; whether the box has forgotten its numbers, which are free then.
    pub fn pass(&mut self, number: u32, packet: &[u8]) -> bool {
        let own = number % NUMBERS;
        if own == 0 {
            return self.gone;
        }
        if let Ok(packet) = ToHost::decode(packet)
            && !self.gone
        {
            let mut bytes = Vec::new();
            packet.map(|number| number % NUMBERS).encode(&mut bytes);
            self.waits.extend(bytes);
            if self.waits.len() > TOO_MUCH {
                self.close();
            }
        }
        false
    }

    /// Whether it has been given all that there was for it.
    pub fn is_served(&self) -> bool {
        self.gone || (self.waits.is_empty() && !self.writes)
    }

    /// Nothing more comes.
    pub fn close(&mut self) {
        self.waits.clear();
        let _ = self.stream.shutdown(Shutdown::Both);
    }
}

/// Serves a process at the other end of `stream`.
pub(super) fn begin(attach: &Attach, stream: UnixStream) -> io::Result<()> {
    stream.set_nonblocking(false)?;
    stream.set_read_timeout(None)?;
    let (reader, writer) = (stream.try_clone()?, stream.try_clone()?);
    let mut state = attach.0.state();
    if let Some(why) = &state.over {
        return Err(io::Error::new(io::ErrorKind::BrokenPipe, why.clone()));
    }
    let free = (1..=u8::MAX).find(|slot| !state.relays.contains_key(slot));
    let slot = free.ok_or_else(|| io::Error::other("too many processes are attached"))?;
    let mut hello = Vec::new();
    ToHost::Hello(VERSION).encode(&mut hello);
    state.relays.insert(slot, Relay { stream, waits: hello.into(), writes: false, gone: false });
    drop(state);
    let (shared, other) = (attach.0.clone(), attach.0.clone());
    let read = move || {
        read(&shared, slot, reader);
        leave(&shared, slot);
    };
    let spawn = |name: &str, work: Box<dyn FnOnce() + Send>| {
        std::thread::Builder::new().name(name.to_owned()).spawn(work)
    };
    spawn("relay-write", Box::new(move || write(&other, slot, writer)))?;
    spawn("relay-read", Box::new(read)).map(drop).inspect_err(|_| leave(&attach.0, slot))
}

/// Takes what the process asks for to the box, until it is gone or does not keep to the protocol.
fn read(shared: &Arc<Shared>, slot: u8, mut stream: UnixStream) {
    let base = u32::from(slot) * NUMBERS;
    let mut frames = Frames::default();
    let mut greeted = false;
    loop {
        let mut state = shared.state();
        while state.relays.get(&slot).is_some_and(|relay| relay.waits.len() > MUCH) {
            state = shared.wait(state);
        }
        if state.over.is_some() {
            return;
        }
        drop(state);
        match stream.read(frames.space(super::PIECE)) {
            Ok(len @ 1..) => frames.arrived(len),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            _ => return,
        }
        loop {
            let packet = match frames.next_packet() {
                Ok(Some(packet)) => packet,
                Ok(None) => break,
                Err(_) => return,
            };
            let in_range = packet.get(4).is_some_and(|high| *high == 0);
            let packet = match ToBox::decode(&packet) {
                Ok(ToBox::Hello(_)) if !greeted => {
                    greeted = true;
                    continue;
                }
                Ok(packet) if greeted && in_range => packet,
                _ => return,
            };
            if matches!(packet, ToBox::Hello(_)) {
                return;
            }
            let mut state = shared.state();
            state.client.put_foreign(&packet.map(|number| base + number % NUMBERS));
            drop(state);
            shared.flush();
        }
    }
}

/// The process is gone: so is all that is its own.
fn leave(shared: &Arc<Shared>, slot: u8) {
    let mut state = shared.state();
    let Some(relay) = state.relays.get_mut(&slot) else { return };
    relay.gone = true;
    relay.close();
    let base = u32::from(slot) * NUMBERS;
    state.client.put_foreign(&ToBox::Forget(base, base + (NUMBERS - 1)));
    shared.changed.notify_all();
    drop(state);
    shared.flush();
}

/// Writes what waits for the process.
fn write(shared: &Arc<Shared>, slot: u8, mut stream: UnixStream) {
    loop {
        let mut state = shared.state();
        let bytes: Vec<u8> = loop {
            let over = state.over.is_some();
            match state.relays.get_mut(&slot) {
                Some(relay) if !relay.waits.is_empty() => {
                    relay.writes = true;
                    break relay.waits.drain(..).collect();
                }
                Some(relay) if !relay.gone && !over => {}
                _ => {
                    drop(state);
                    let _ = stream.shutdown(Shutdown::Both);
                    return;
                }
            }
            state = shared.wait(state);
        };
        shared.changed.notify_all();
        drop(state);
        let written = stream.write_all(&bytes);
        if let Some(relay) = shared.state().relays.get_mut(&slot) {
            relay.writes = false;
            if written.is_err() {
                // It is not read from any more, either.
                relay.close();
            }
        }
        shared.changed.notify_all();
        if written.is_err() {
            return;
        }
    }
}
