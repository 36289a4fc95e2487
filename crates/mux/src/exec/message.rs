//! Packets: kind (1 byte), number of the process or call (4), and what the kind says. A string of bytes has its length before it (4),
//! a list the number of its items (4).

use super::call::Call;
use super::{MAGIC, VERSION};
use crate::Broken;
use crate::packet::Reader;

const HELLO: u8 = 0x00;
const START: u8 = 0x01;
const INPUT: u8 = 0x02;
const INPUT_END: u8 = 0x03;
const CREDIT: u8 = 0x04;
const RESIZE: u8 = 0x05;
const SIGNAL: u8 = 0x06;
const DETACH: u8 = 0x07;
const CLOSE: u8 = 0x08;
const FORGET: u8 = 0x09;
const CALL: u8 = 0x10;
const HELLO_BACK: u8 = 0x80;
const STARTED: u8 = 0x81;
const FAILED: u8 = 0x82;
const OUTPUT: u8 = 0x83;
const END: u8 = 0x84;
const GRANT: u8 = 0x85;
const INPUT_CLOSED: u8 = 0x86;
const EXITED: u8 = 0x87;
const RESULT: u8 = 0x90;
const EVENT: u8 = 0x91;

const WITH_STDIN: u8 = 1;
const WITH_STDOUT: u8 = 2;
const WITH_STDERR: u8 = 4;
const WITH_TERMINAL: u8 = 8;

/// An output stream of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Stream {
    /// Standard output; with a terminal, all output.
    Stdout,
    /// Standard error.
    Stderr,
}

impl Stream {
    /// Both.
    pub const ALL: [Stream; 2] = [Stream::Stdout, Stream::Stderr];

    /// 0 or 1.
    pub fn index(self) -> usize {
        usize::from(self == Stream::Stderr)
    }

    /// The descriptor's number.
    fn number(self) -> u8 {
        match self {
            Stream::Stdout => 1,
            Stream::Stderr => 2,
        }
    }

    fn from_number(number: u8) -> Result<Stream, Broken> {
        match number {
            1 => Ok(Stream::Stdout),
            2 => Ok(Stream::Stderr),
            _ => Err(Broken("no such stream")),
        }
    }
}

/// What is to be started.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Start {
    /// Program and arguments; the program is looked up in PATH if it has no slash.
    pub argv: Vec<Vec<u8>>,
    /// `NAME=value` entries, laid over the environment of the box.
    pub env: Vec<Vec<u8>>,
    /// Working directory; empty = that of the box.
    pub cwd: Vec<u8>,
    /// `USER[:GROUP]`; empty = that of the box.
    pub user: Vec<u8>,
    /// Whether the host sends input; otherwise it is at its end.
    pub stdin: bool,
    /// Whether the host takes standard output; otherwise it is thrown away.
    pub stdout: bool,
    /// Whether the host takes standard error; otherwise it is thrown away.
    pub stderr: bool,
    /// All three are a terminal of its own, with so many rows and columns (0 = unknown).
    pub terminal: Option<(u16, u16)>,
}

impl Start {
    /// Whether the host takes this stream.
    pub fn takes(&self, stream: Stream) -> bool {
        match (stream, self.terminal) {
            (Stream::Stdout, _) => self.stdout,
            // A terminal has one output.
            (Stream::Stderr, Some(_)) => false,
            (Stream::Stderr, None) => self.stderr,
        }
    }
}

/// Why a process was not started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// There is no such program.
    NotFound,
    /// It cannot be executed.
    NotExecutable,
    /// The working directory cannot be entered.
    Directory,
    /// There is no such user or group.
    User,
    /// Anything else, a limit for instance.
    Other,
}

impl Failure {
    const ALL: [Failure; 5] = [
        Failure::Other,
        Failure::NotFound,
        Failure::NotExecutable,
        Failure::Directory,
        Failure::User,
    ];

    fn number(self) -> u8 {
        Failure::ALL.iter().position(|failure| *failure == self).unwrap_or(0) as u8
    }

    fn from_number(number: u8) -> Failure {
        Failure::ALL.get(usize::from(number)).copied().unwrap_or(Failure::Other)
    }
}

/// How a process has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// With this exit status.
    Exited(u8),
    /// By this signal.
    Signaled {
        /// Linux's number.
        signal: u8,
        /// It would have left a core dump.
        core: bool,
    },
}

/// What the host sends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ToBox<'a> {
    /// The greeting.
    Hello(u16),
    /// Start a process.
    Start(u32, Start),
    /// Bytes for its standard input.
    Input(u32, &'a [u8]),
    /// No more come. Nothing to a terminal, where programs know an end by a character.
    InputEnd(u32),
    /// So many bytes more of a stream are taken.
    Credit(u32, Stream, u32),
    /// The terminal has so many rows and columns.
    Resize(u32, u16, u16),
    /// Send a signal (Linux's number): to the process; with [`super::FIRST`] to the first process of the box, where 0 is the image's
    /// STOPSIGNAL.
    Signal(u32, u8),
    /// The host cares for the process no longer: its input ends, its output is thrown away, its terminal hangs up. Nothing is heard of it.
    Detach(u32),
    /// The host takes no more of a stream: writing to it fails (EPIPE, SIGPIPE).
    Close(u32, Stream),
    /// Of all numbers from this to that one: processes are detached, files closed, watches ended, as when the stream ends. Answered by a
    /// [`ToHost::Result`] under the first.
    Forget(u32, u32),
    /// Do something with files, as this user (`USER[:GROUP]`, empty = root).
    Call(u32, &'a [u8], Call<'a>),
    /// A kind that this end does not know.
    Unknown,
}

/// What the box sends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ToHost<'a> {
    /// The greeting.
    Hello(u16),
    /// The process runs, with this process id.
    Started(u32, u32),
    /// It does not: why, Linux's error number or 0, text for people. Its number is done with.
    Failed(u32, Failure, u16, &'a [u8]),
    /// Bytes of a stream.
    Output(u32, Stream, &'a [u8]),
    /// No more of it come.
    End(u32, Stream),
    /// So many bytes more of standard input are taken.
    Grant(u32, u32),
    /// Nobody reads standard input any more: what is sent is thrown away.
    InputClosed(u32),
    /// The process has ended. Of its standard output and error so many bytes that were written before are still to come: others may hold the
    /// streams open.
    Exited(u32, Ended, [u32; 2]),
    /// What a call gives: Linux's error number and nothing, or 0 and what was asked for.
    Result(u32, u16, &'a [u8]),
    /// What a watch has seen.
    Event(u32, super::Watched<'a>),
    /// A kind that this end does not know.
    Unknown,
}

impl<'a> ToBox<'a> {
    /// Takes a packet apart. Any bytes may be given.
    ///
    /// # Errors
    /// The packet is too short for its kind, or a field has a value that it cannot have.
    pub fn decode(bytes: &'a [u8]) -> Result<ToBox<'a>, Broken> {
        let mut reader = Reader(bytes);
        let (kind, id) = (reader.u8()?, reader.u32()?);
        Ok(match kind {
            HELLO => ToBox::Hello(hello(&mut reader)?),
            START => ToBox::Start(id, start(&mut reader)?),
            INPUT => ToBox::Input(id, reader.0),
            INPUT_END => ToBox::InputEnd(id),
            CREDIT => ToBox::Credit(id, Stream::from_number(reader.u8()?)?, reader.u32()?),
            RESIZE => ToBox::Resize(id, reader.u16()?, reader.u16()?),
            SIGNAL => ToBox::Signal(id, reader.u8()?),
            DETACH => ToBox::Detach(id),
            CLOSE => ToBox::Close(id, Stream::from_number(reader.u8()?)?),
            FORGET => ToBox::Forget(id, reader.u32()?),
            CALL => ToBox::Call(id, reader.bytes()?, Call::decode(&mut reader)?),
            _ => ToBox::Unknown,
        })
    }

    /// Appends the packet with its length before it.
    pub fn encode(&self, out: &mut Vec<u8>) {
        framed(out, |out| match self {
            ToBox::Hello(version) => put_hello(out, HELLO, *version),
            ToBox::Start(id, start) => {
                head(out, START, *id);
                put_start(out, start);
            }
            ToBox::Input(id, bytes) => {
                head(out, INPUT, *id);
                out.extend_from_slice(bytes);
            }
            ToBox::InputEnd(id) => head(out, INPUT_END, *id),
            ToBox::Credit(id, stream, bytes) => {
                head(out, CREDIT, *id);
                out.push(stream.number());
                out.extend(bytes.to_le_bytes());
            }
            ToBox::Resize(id, rows, columns) => {
                head(out, RESIZE, *id);
                out.extend(rows.to_le_bytes());
                out.extend(columns.to_le_bytes());
            }
            ToBox::Signal(id, signal) => {
                head(out, SIGNAL, *id);
                out.push(*signal);
            }
            ToBox::Detach(id) => head(out, DETACH, *id),
            ToBox::Close(id, stream) => {
                head(out, CLOSE, *id);
                out.push(stream.number());
            }
            ToBox::Forget(first, last) => {
                head(out, FORGET, *first);
                out.extend(last.to_le_bytes());
            }
            ToBox::Call(id, user, call) => {
                head(out, CALL, *id);
                put_bytes(out, user);
                call.encode(out);
            }
            ToBox::Unknown => head(out, 0x7f, 0),
        });
    }

    /// The same with other numbers, those of open files and watches in calls included: for who carries the streams of several hosts to
    /// one box. [`super::FIRST`] stays.
    pub fn map(self, number: impl Fn(u32) -> u32) -> ToBox<'a> {
        let n = |id: u32| if id == super::FIRST { id } else { number(id) };
        match self {
            ToBox::Start(id, start) => ToBox::Start(n(id), start),
            ToBox::Input(id, bytes) => ToBox::Input(n(id), bytes),
            ToBox::InputEnd(id) => ToBox::InputEnd(n(id)),
            ToBox::Credit(id, stream, bytes) => ToBox::Credit(n(id), stream, bytes),
            ToBox::Resize(id, rows, columns) => ToBox::Resize(n(id), rows, columns),
            ToBox::Signal(id, signal) => ToBox::Signal(n(id), signal),
            ToBox::Detach(id) => ToBox::Detach(n(id)),
            ToBox::Close(id, stream) => ToBox::Close(n(id), stream),
            ToBox::Forget(first, last) => ToBox::Forget(n(first), n(last)),
            ToBox::Call(id, user, call) => ToBox::Call(n(id), user, call.map(n)),
            ToBox::Hello(_) | ToBox::Unknown => self,
        }
    }
}

impl<'a> ToHost<'a> {
    /// Takes a packet apart. Any bytes may be given.
    ///
    /// # Errors
    /// The packet is too short for its kind, or a field has a value that it cannot have.
    pub fn decode(bytes: &'a [u8]) -> Result<ToHost<'a>, Broken> {
        let mut reader = Reader(bytes);
        let (kind, id) = (reader.u8()?, reader.u32()?);
        Ok(match kind {
            HELLO_BACK => ToHost::Hello(hello(&mut reader)?),
            STARTED => ToHost::Started(id, reader.u32()?),
            FAILED => {
                let failure = Failure::from_number(reader.u8()?);
                ToHost::Failed(id, failure, reader.u16()?, reader.0)
            }
            OUTPUT => ToHost::Output(id, Stream::from_number(reader.u8()?)?, reader.0),
            END => ToHost::End(id, Stream::from_number(reader.u8()?)?),
            GRANT => ToHost::Grant(id, reader.u32()?),
            INPUT_CLOSED => ToHost::InputClosed(id),
            EXITED => {
                let (how, value) = (reader.u8()?, reader.u8()?);
                let ended = match how {
                    0 => Ended::Exited(value),
                    1 | 2 => Ended::Signaled { signal: value, core: how == 2 },
                    _ => return Err(Broken("an end of an unknown kind")),
                };
                ToHost::Exited(id, ended, [reader.u32()?, reader.u32()?])
            }
            RESULT => ToHost::Result(id, reader.u16()?, reader.0),
            EVENT => ToHost::Event(
                id,
                super::Watched { mask: reader.u32()?, cookie: reader.u32()?, path: reader.0 },
            ),
            _ => ToHost::Unknown,
        })
    }

    /// Appends the packet with its length before it.
    pub fn encode(&self, out: &mut Vec<u8>) {
        framed(out, |out| match *self {
            ToHost::Hello(version) => put_hello(out, HELLO_BACK, version),
            ToHost::Started(id, pid) => {
                head(out, STARTED, id);
                out.extend(pid.to_le_bytes());
            }
            ToHost::Failed(id, failure, errno, text) => {
                head(out, FAILED, id);
                out.push(failure.number());
                out.extend(errno.to_le_bytes());
                out.extend_from_slice(text);
            }
            ToHost::Output(id, stream, bytes) => {
                head(out, OUTPUT, id);
                out.push(stream.number());
                out.extend_from_slice(bytes);
            }
            ToHost::End(id, stream) => {
                head(out, END, id);
                out.push(stream.number());
            }
            ToHost::Grant(id, bytes) => {
                head(out, GRANT, id);
                out.extend(bytes.to_le_bytes());
            }
            ToHost::InputClosed(id) => head(out, INPUT_CLOSED, id),
            ToHost::Exited(id, ended, left) => {
                head(out, EXITED, id);
                out.extend(match ended {
                    Ended::Exited(status) => [0, status],
                    Ended::Signaled { signal, core } => [1 + u8::from(core), signal],
                });
                left.iter().for_each(|bytes| out.extend(bytes.to_le_bytes()));
            }
            ToHost::Result(id, errno, bytes) => {
                head(out, RESULT, id);
                out.extend(errno.to_le_bytes());
                out.extend_from_slice(bytes);
            }
            ToHost::Event(id, watched) => {
                head(out, EVENT, id);
                out.extend(watched.mask.to_le_bytes());
                out.extend(watched.cookie.to_le_bytes());
                out.extend_from_slice(watched.path);
            }
            ToHost::Unknown => head(out, 0xff, 0),
        });
    }

    /// The same with another number.
    pub fn map(self, number: impl Fn(u32) -> u32) -> ToHost<'a> {
        match self {
            ToHost::Started(id, pid) => ToHost::Started(number(id), pid),
            ToHost::Failed(id, why, errno, text) => ToHost::Failed(number(id), why, errno, text),
            ToHost::Output(id, stream, bytes) => ToHost::Output(number(id), stream, bytes),
            ToHost::End(id, stream) => ToHost::End(number(id), stream),
            ToHost::Grant(id, bytes) => ToHost::Grant(number(id), bytes),
            ToHost::InputClosed(id) => ToHost::InputClosed(number(id)),
            ToHost::Exited(id, ended, left) => ToHost::Exited(number(id), ended, left),
            ToHost::Result(id, errno, bytes) => ToHost::Result(number(id), errno, bytes),
            ToHost::Event(id, watched) => ToHost::Event(number(id), watched),
            ToHost::Hello(_) | ToHost::Unknown => self,
        }
    }

    /// The number that the packet is about; none of the greeting.
    pub fn number(&self) -> Option<u32> {
        match self {
            ToHost::Started(id, _)
            | ToHost::Failed(id, ..)
            | ToHost::Output(id, ..)
            | ToHost::End(id, _)
            | ToHost::Grant(id, _)
            | ToHost::InputClosed(id)
            | ToHost::Exited(id, ..)
            | ToHost::Result(id, ..)
            | ToHost::Event(id, _) => Some(*id),
            ToHost::Hello(_) | ToHost::Unknown => None,
        }
    }
}

impl<'a> Reader<'a> {
    /// A string of bytes.
    pub(super) fn bytes(&mut self) -> Result<&'a [u8], Broken> {
        let len = self.u32()? as usize;
        self.take(len)
    }

    fn list(&mut self) -> Result<Vec<Vec<u8>>, Broken> {
        let count = self.u32()?;
        // Each item takes bytes of the packet, so that the count bounds nothing but is checked.
        (0..count).map(|_| Ok(self.bytes()?.to_vec())).collect()
    }
}

pub(super) fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend((bytes.len() as u32).to_le_bytes());
    out.extend_from_slice(bytes);
}

fn head(out: &mut Vec<u8>, kind: u8, id: u32) {
    out.push(kind);
    out.extend(id.to_le_bytes());
}

fn framed(out: &mut Vec<u8>, body: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.extend([0; 4]);
    body(out);
    let len = (out.len() - start - 4) as u32;
    if let Some(place) = out.get_mut(start..start + 4) {
        place.copy_from_slice(&len.to_le_bytes());
    }
}

fn put_hello(out: &mut Vec<u8>, kind: u8, version: u16) {
    head(out, kind, 0);
    out.extend(MAGIC);
    out.extend(version.to_le_bytes());
}

fn hello(reader: &mut Reader<'_>) -> Result<u16, Broken> {
    if reader.take(MAGIC.len())? != MAGIC {
        return Err(Broken("it speaks another protocol"));
    }
    let version = reader.u16()?;
    if version != VERSION {
        return Err(Broken("it speaks another version of the protocol"));
    }
    Ok(version)
}

fn put_start(out: &mut Vec<u8>, start: &Start) {
    let flag = |on: bool, flag: u8| if on { flag } else { 0 };
    out.push(
        flag(start.stdin, WITH_STDIN)
            | flag(start.stdout, WITH_STDOUT)
            | flag(start.stderr, WITH_STDERR)
            | flag(start.terminal.is_some(), WITH_TERMINAL),
    );
    let (rows, columns) = start.terminal.unwrap_or_default();
    out.extend(rows.to_le_bytes());
    out.extend(columns.to_le_bytes());
    put_bytes(out, &start.user);
    put_bytes(out, &start.cwd);
    for list in [&start.argv, &start.env] {
        out.extend((list.len() as u32).to_le_bytes());
        list.iter().for_each(|item| put_bytes(out, item));
    }
}

fn start(reader: &mut Reader<'_>) -> Result<Start, Broken> {
    let flags = reader.u8()?;
    let size = (reader.u16()?, reader.u16()?);
    Ok(Start {
        stdin: flags & WITH_STDIN != 0,
        stdout: flags & WITH_STDOUT != 0,
        stderr: flags & WITH_STDERR != 0,
        terminal: (flags & WITH_TERMINAL != 0).then_some(size),
        user: reader.bytes()?.to_vec(),
        cwd: reader.bytes()?.to_vec(),
        argv: reader.list()?,
        env: reader.list()?,
    })
}
