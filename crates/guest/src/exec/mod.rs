//! What the host does in the running box over one more stream: further processes, and files (`mux::exec`).

mod files;

use crate::channel::{Channel, Place};
use crate::waits::Waits;
use abi::Errno;
use kernel::attach::process::ExecSpec;
use kernel::{Kernel, StartError};
use machine::Machine;
use mux::exec::{
    Ended, FIRST, Failure, MAX_DATA, MAX_PROCESSES, Server, Start, Stream, ToBox, Watched,
};
use std::collections::{BTreeMap, VecDeque};

/// Bytes that are read at once.
const PIECE: usize = 64 << 10;
/// Reads before the box goes on.
const READS: usize = 16;
/// How long the host may take to read what a box that ends has for it, ns, each time it reads something.
pub const PATIENCE: u64 = 2_000_000_000;

/// The stream, as long as the host keeps it open, and what goes over it.
pub struct Exec {
    channel: Option<Channel>,
    server: Server,
    processes: BTreeMap<u32, Input>,
    /// For bytes on their way; none without a channel.
    buffer: Vec<u8>,
}

/// Input of a process that it has not taken yet.
#[derive(Default)]
struct Input {
    bytes: VecDeque<u8>,
    /// No more comes.
    ended: bool,
    /// Nobody takes any.
    closed: bool,
}

impl Exec {
    /// The stream there. A host that lets reads of it block does not get it read: the box would stand still.
    pub fn new(place: Option<&Place>) -> Exec {
        let channel = place.and_then(Place::open).filter(Channel::is_nonblocking);
        let buffer = if channel.is_some() { vec![0; MAX_DATA] } else { Vec::new() };
        Exec { channel, server: Server::new(), processes: BTreeMap::new(), buffer }
    }

    /// Whether there is somebody to ask for something.
    pub fn is_open(&self) -> bool {
        self.channel.is_some()
    }

    /// Adds the stream to what is waited for, if there is one.
    pub fn watch(&self, waits: &mut Waits) {
        if let Some(channel) = &self.channel {
            channel.watch(waits, self.server.wants_input(), !self.server.output().is_empty());
        }
    }

    /// Does what the host has asked for and moves bytes, as far as that goes; whether it went anywhere, which may have woken somebody.
    pub fn exchange(&mut self, machine: &mut Machine) -> bool {
        if self.channel.is_none() {
            return false;
        }
        let mut moved = self.read(machine);
        for id in self.processes.keys().copied().collect::<Vec<_>>() {
            moved |= self.serve(machine.kernel(), id);
        }
        let Exec { server, .. } = self;
        let room = server.has_room();
        if room {
            // Each event is far smaller than the room that is left.
            let server = std::cell::RefCell::new(server);
            let tell = |id, (mask, cookie, path): (u32, u32, Vec<u8>)| {
                server.borrow_mut().watched(id, Watched { mask, cookie, path: &path });
            };
            machine.kernel().seen(tell, || server.borrow().has_room());
        }
        self.write(machine.kernel());
        moved
    }

    /// Whether there is nothing more to tell the host.
    pub fn is_done(&mut self) -> bool {
        let sent = self.channel.as_mut().is_none_or(Channel::has_sent);
        self.channel.is_none()
            || (self.processes.is_empty() && sent && self.server.output().is_empty())
    }

    fn read(&mut self, machine: &mut Machine) -> bool {
        let mut moved = false;
        for _ in 0..READS {
            let Some(channel) = self.channel.as_mut().filter(|_| self.server.wants_input()) else {
                break;
            };
            match channel.read(self.server.space(PIECE)) {
                Ok(0) => self.lost(machine.kernel()),
                Ok(len) => {
                    self.server.arrived(len);
                    moved = true;
                }
                // What has come before may not have been looked at.
                Err(Errno::EAGAIN | Errno::EINTR) => {
                    return self.obey(machine) || moved;
                }
                Err(_) => self.lost(machine.kernel()),
            }
            moved |= self.obey(machine);
        }
        moved
    }

    /// Does what has been asked for.
    fn obey(&mut self, machine: &mut Machine) -> bool {
        let mut moved = false;
        while self.channel.is_some() {
            match self.server.event() {
                Ok(None) => break,
                Ok(Some(packet)) => {
                    moved = true;
                    if let Ok(packet) = ToBox::decode(&packet) {
                        self.act(machine, packet);
                    }
                }
                Err(broken) => {
                    eprintln!("boxer: BOXER_EXEC: {broken}");
                    self.lost(machine.kernel());
                }
            }
        }
        moved
    }

    fn act(&mut self, machine: &mut Machine, packet: ToBox<'_>) {
        let stop = machine.stop_signal();
        let kernel = machine.kernel();
        match packet {
            ToBox::Start(id, start) => self.start(kernel, id, start),
            ToBox::Input(id, bytes) => {
                if let Some(input) = self.processes.get_mut(&id).filter(|input| !input.closed) {
                    input.bytes.extend(bytes);
                }
            }
            ToBox::InputEnd(id) => {
                if let Some(input) = self.processes.get_mut(&id) {
                    input.ended = true;
                }
            }
            ToBox::Resize(id, rows, columns) => kernel.resize(id, rows, columns),
            ToBox::Signal(FIRST, 0) => kernel.signal_init(stop),
            ToBox::Signal(FIRST, signal) => kernel.signal_init(u32::from(signal)),
            ToBox::Signal(id, signal) => kernel.signal_attached(id, u32::from(signal)),
            ToBox::Close(id, stream) => kernel.close_output(id, stream.index()),
            ToBox::Detach(id) => {
                self.processes.remove(&id);
                kernel.let_go(id);
            }
            ToBox::Forget(first, last) => {
                self.processes.retain(|id, _| !(first..=last).contains(id));
                kernel.leave(first..=last);
                self.server.result(first, Ok(&[]));
            }
            ToBox::Call(id, user, call) => {
                let answer = files::answer(kernel, id, user, call);
                let answer = answer.as_deref().map_err(|errno| errno.raw() as u16);
                self.server.result(id, answer);
            }
            // The server has seen to these.
            ToBox::Hello(_) | ToBox::Credit(..) | ToBox::Unknown => {}
        }
    }

    fn start(&mut self, kernel: &mut Kernel, id: u32, start: Start) {
        if self.processes.len() >= MAX_PROCESSES {
            let text = "there are too many processes of the host";
            self.server.failed(id, Failure::Other, Errno::EAGAIN.raw() as u16, text);
            return;
        }
        let (ended, outputs) = (!start.stdin, Stream::ALL.map(|stream| start.takes(stream)));
        let spec = ExecSpec {
            outputs,
            argv: start.argv,
            env: start.env,
            cwd: start.cwd,
            user: String::from_utf8_lossy(&start.user).into_owned(),
            stdin: start.stdin,
            terminal: start.terminal,
        };
        match kernel.attach(id, spec) {
            Ok(pid) => {
                self.server.started(id, pid.0);
                self.processes.insert(id, Input { ended, ..Input::default() });
            }
            Err(error) => {
                let (failure, errno) = judge(&error);
                self.server.failed(id, failure, errno, &error.to_string());
            }
        }
    }

    /// Moves bytes of one process, and tells its end; whether anything moved.
    fn serve(&mut self, kernel: &mut Kernel, id: u32) -> bool {
        let mut moved = self.feed(kernel, id);
        for stream in Stream::ALL {
            moved |= self.drain(kernel, id, stream);
        }
        if let Some((status, left)) = kernel.attached_end(id) {
            let ended = match status & 0x7f {
                0 => Ended::Exited((status >> 8) as u8),
                signal => Ended::Signaled { signal: signal as u8, core: status & 0x80 != 0 },
            };
            self.server.exited(id, ended, left);
        }
        if self.server.is_done(id) {
            self.processes.remove(&id);
            kernel.let_go(id);
            moved = true;
        }
        moved
    }

    fn feed(&mut self, kernel: &mut Kernel, id: u32) -> bool {
        let Some(input) = self.processes.get_mut(&id) else { return false };
        let mut moved = false;
        while !input.bytes.is_empty() {
            match kernel.feed(id, input.bytes.as_slices().0) {
                Ok(taken) => {
                    input.bytes.drain(..taken);
                    self.server.consumed(id, taken);
                    moved = true;
                }
                Err(Errno::EAGAIN) => return moved,
                Err(_) => {
                    input.bytes = VecDeque::new();
                    input.closed = true;
                    self.server.input_closed(id);
                }
            }
        }
        if std::mem::take(&mut input.ended) {
            input.closed = true;
            kernel.end_input(id);
            moved = true;
        }
        moved
    }

    fn drain(&mut self, kernel: &mut Kernel, id: u32, stream: Stream) -> bool {
        let mut moved = false;
        while let Some(room @ 1..) = self.server.room(id, stream) {
            let place = self.buffer.get_mut(..room).unwrap_or_default();
            match kernel.drain(id, stream.index(), place) {
                Err(Errno::EAGAIN) => break,
                Ok(len @ 1..) => {
                    self.server.send(id, stream, self.buffer.get(..len).unwrap_or_default());
                }
                _ => self.server.end(id, stream),
            }
            moved = true;
        }
        moved
    }

    /// Writes what is taken.
    fn write(&mut self, kernel: &mut Kernel) {
        while let Some(channel) = self.channel.as_mut().filter(|_| !self.server.output().is_empty())
        {
            match channel.write(self.server.output()) {
                Ok(0) | Err(Errno::EAGAIN) => return,
                Ok(len) => self.server.wrote(len),
                Err(Errno::EINTR) => {}
                Err(_) => self.lost(kernel),
            }
        }
    }

    /// The host is gone: nobody cares for what it has started.
    fn lost(&mut self, kernel: &mut Kernel) {
        self.channel = None;
        self.processes.clear();
        kernel.leave(0..=u32::MAX);
    }
}

/// Why a process was not started, with Linux's error number or 0.
fn judge(error: &StartError) -> (Failure, u16) {
    let raw = |errno: &Errno| errno.raw() as u16;
    match error {
        StartError::NotFound(_) | StartError::NoInterpreter(_) => {
            (Failure::NotFound, raw(&Errno::ENOENT))
        }
        StartError::NotExecutable(_, errno) => (Failure::NotExecutable, raw(errno)),
        StartError::Cwd(_, errno) => (Failure::Directory, raw(errno)),
        StartError::User(_) | StartError::Group(_) => (Failure::User, 0),
        StartError::Streams(errno) | StartError::Limit(errno) | StartError::Mount(_, errno) => {
            (Failure::Other, raw(errno))
        }
        StartError::NoCommand => (Failure::Other, raw(&Errno::EINVAL)),
        StartError::Over => (Failure::Other, raw(&Errno::ESRCH)),
    }
}
