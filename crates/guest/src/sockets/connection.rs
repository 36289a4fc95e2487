//! TCP connections of the host's.

use super::values::{self, errno};
use crate::waits::Waits;
use abi::Errno;
use net::{Conn, Event};
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::rc::Rc;
use wasip2::io::poll::Pollable;
use wasip2::io::streams::{InputStream, OutputStream, StreamError};
use wasip2::sockets::instance_network::instance_network;
use wasip2::sockets::network::{ErrorCode, Network};
use wasip2::sockets::tcp::{ShutdownType, TcpSocket};
use wasip2::sockets::tcp_create_socket::create_tcp_socket;

/// Bytes that are read at once.
const PIECE: u64 = 64 << 10;
/// Most bytes of a stream that may lie unread in the box.
const WINDOW: usize = 256 << 10;
/// How long whoever runs the box may take to answer it, ns.
const PATIENCE: u64 = 2_000_000_000;

/// A connection that is being made.
pub struct Connecting {
    // Children are dropped before what they are of.
    pub ready: Rc<Pollable>,
    socket: Option<TcpSocket>,
}

impl Connecting {
    /// Starts to connect.
    pub fn start(network: &Network, peer: SocketAddr) -> Result<Connecting, Errno> {
        let socket = create_tcp_socket(values::family(peer)).map_err(errno)?;
        socket.start_connect(network, values::wasi(peer)).map_err(errno)?;
        Ok(Connecting { ready: Rc::new(socket.subscribe()), socket: Some(socket) })
    }

    /// The connection, if it stands.
    pub fn finish(&mut self) -> Result<Option<Tcp>, Errno> {
        let Some(socket) = &self.socket else { return Ok(None) };
        match socket.finish_connect() {
            Ok((input, output)) => {
                Ok(self.socket.take().map(|socket| Tcp::new(socket, input, output)))
            }
            Err(ErrorCode::WouldBlock) => Ok(None),
            Err(code) => Err(errno(code)),
        }
    }
}

/// A connection that stands.
pub struct Tcp {
    // Children are dropped before what they are of.
    pub readable: Rc<Pollable>,
    pub writable: Rc<Pollable>,
    input: InputStream,
    output: OutputStream,
    socket: TcpSocket,
    /// Bytes that the box has not used up.
    pub unread: usize,
    /// The peer sends no more.
    ended: bool,
    /// The host takes no more for now.
    pub full: bool,
}

impl Tcp {
    /// A connection with its streams.
    pub fn new(socket: TcpSocket, input: InputStream, output: OutputStream) -> Tcp {
        let (readable, writable) = (Rc::new(input.subscribe()), Rc::new(output.subscribe()));
        Tcp { readable, writable, input, output, socket, unread: 0, ended: false, full: false }
    }

    /// The address that the host uses.
    pub fn local(&self) -> Option<SocketAddr> {
        self.socket.local_address().ok().map(values::address)
    }

    /// Whether there is room for more of what the peer sends.
    pub fn wants_input(&self) -> bool {
        !self.ended && self.unread < WINDOW
    }

    /// Takes up what has happened.
    pub fn look(&mut self, conn: Conn, events: &mut VecDeque<Event>) -> Result<(), Errno> {
        if self.full && self.permit()? > 0 {
            self.full = false;
            events.push_back(Event::Room(conn));
        }
        while self.wants_input() {
            match read(&self.input, PIECE)? {
                None => {
                    self.ended = true;
                    events.push_back(Event::Eof(conn));
                }
                Some(bytes) if bytes.is_empty() => break,
                Some(bytes) => {
                    self.unread += bytes.len();
                    events.push_back(Event::Data(conn, bytes));
                }
            }
        }
        Ok(())
    }

    fn permit(&self) -> Result<u64, Errno> {
        self.output.check_write().map_err(|_| Errno::ECONNRESET)
    }

    /// Gives bytes to the host: how many it takes.
    pub fn send(&mut self, data: &[u8]) -> Result<usize, Errno> {
        let sent = write(&self.output, data)?;
        self.full = sent < data.len();
        Ok(sent)
    }

    /// Whether the host holds nothing back that was written.
    pub fn has_sent(&self) -> bool {
        // An error: there is nobody to send it to.
        !matches!(self.output.check_write(), Ok(0))
    }

    /// No more bytes will be sent.
    pub fn finish(&mut self) {
        // A connection that has failed says so by itself.
        let _ = self.socket.shutdown(ShutdownType::Send);
    }

    /// The box lets go of it. wasi:sockets knows no reset: the host's system sends one if there are unread bytes.
    pub fn leave(&mut self, reset: bool) {
        let how = if reset { ShutdownType::Both } else { ShutdownType::Send };
        let _ = self.socket.shutdown(how);
    }
}

/// Reads what there is; none at the end.
fn read(input: &InputStream, most: u64) -> Result<Option<Vec<u8>>, Errno> {
    match input.read(most) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(StreamError::Closed) => Ok(None),
        Err(StreamError::LastOperationFailed(_)) => Err(Errno::ECONNRESET),
    }
}

/// Writes what the host takes.
fn write(output: &OutputStream, data: &[u8]) -> Result<usize, Errno> {
    let mut sent = 0;
    while let Some(rest) = data.get(sent..).filter(|rest| !rest.is_empty()) {
        let permit = output.check_write().map_err(|_| Errno::ECONNRESET)?;
        let len = rest.len().min(usize::try_from(permit).unwrap_or(usize::MAX));
        if len == 0 {
            break;
        }
        output.write(&rest[..len]).map_err(|_| Errno::ECONNRESET)?;
        sent += len;
    }
    Ok(sent)
}

/// A connection to whoever runs this box, in place of a descriptor.
pub struct Connection(Tcp);

impl Connection {
    /// Connects, and says which box this is.
    pub fn open(to: SocketAddr, token: &[u8]) -> Option<Connection> {
        let network = instance_network();
        let mut connecting = Connecting::start(&network, to).ok()?;
        super::wait(vec![connecting.ready.clone()], false, Some(PATIENCE));
        let tcp = connecting.finish().ok()??;
        drop(connecting);
        let mut connection = Connection(tcp);
        (connection.write(token) == Ok(token.len())).then_some(connection)
    }

    /// Reads what there is: bytes, 0 at the end, `EAGAIN` if there is nothing.
    pub fn read(&mut self, buf: &mut [u8]) -> Result<usize, Errno> {
        let most = PIECE.min(buf.len() as u64);
        match read(&self.0.input, most)? {
            None => Ok(0),
            Some(bytes) if bytes.is_empty() => Err(Errno::EAGAIN),
            Some(bytes) => {
                // A host that gives more than it was asked for breaks its contract.
                buf.get_mut(..bytes.len()).ok_or(Errno::EIO)?.copy_from_slice(&bytes);
                Ok(bytes.len())
            }
        }
    }

    /// Writes what is taken: bytes, or `EAGAIN`.
    pub fn write(&mut self, bytes: &[u8]) -> Result<usize, Errno> {
        match write(&self.0.output, bytes)? {
            0 if !bytes.is_empty() => Err(Errno::EAGAIN),
            sent => Ok(sent),
        }
    }

    /// Whether the host holds nothing back that was written.
    pub fn has_sent(&mut self) -> bool {
        self.0.has_sent()
    }

    /// Waits for it to be readable, writable or both.
    pub fn watch(&self, waits: &mut Waits, read: bool, write: bool) {
        if read {
            waits.add(&self.0.readable);
        }
        if write {
            waits.add(&self.0.writable);
        }
    }
}
