//! Sockets that somebody outside serves: a name in the tree at which programs connect, as `RUN --mount=type=ssh` shows an agent.
//!
//! Such a listener has no process. [`Forwards::exchange`] accepts in its place and carries bytes between each connection and a
//! flow of [`Outside`], whose port says which of the host's sockets is meant.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::rc::Rc;

use abi::Errno;
use abi::socket::{SHUT_WR, SOCK_STREAM};
use net::{Conn, Event, Outside, Transport};

use super::address::{Address, Place, UnixNames};
use super::{Backlog, Message, UnixSocket};
use crate::fs::inode::InodeRef;
use crate::fs::{Cx, Res};

/// Connections at once; others wait in the backlog.
const MOST: usize = 64;
/// Connections that wait (`net.core.somaxconn` of old, what sshd and agents ask for).
const BACKLOG: usize = 128;
/// Bytes taken from a connection at once.
const PIECE: usize = 16 << 10;

/// All of a kernel's.
#[derive(Default)]
pub struct Forwards(RefCell<State>);

#[derive(Default)]
struct State {
    doors: Vec<Door>,
    lines: Vec<Line>,
}

struct Door {
    listener: Rc<UnixSocket>,
    port: u16,
}

/// A connection of a program and its flow.
struct Line {
    /// The end that a server would have.
    socket: Rc<UnixSocket>,
    conn: Conn,
    /// Taken from the program, not yet by the outside.
    outward: Vec<u8>,
    /// The program sends no more, and the outside knows.
    finished: bool,
    /// From the outside; its credit bounds it.
    inward: VecDeque<u8>,
    /// The outside sends no more.
    ended: bool,
    /// The flow is gone.
    lost: bool,
}

impl Forwards {
    /// Listens at `inode`, a socket's, which programs see as `path`.
    pub fn listen(&self, cx: &mut Cx, path: &[u8], inode: &InodeRef, port: u16) -> Res<()> {
        let meta = inode.meta(cx)?;
        let listener = UnixSocket::new(cx, SOCK_STREAM);
        let names = cx.shared.registry::<UnixNames>();
        listener.name(&names, Address::Path(path.to_vec()), Place::Inode(meta.dev, meta.ino))?;
        let backlog = Backlog { waiting: VecDeque::new(), max: BACKLOG };
        *listener.backlog.borrow_mut() = Some(backlog);
        self.0.borrow_mut().doors.push(Door { listener, port });
        Ok(())
    }

    /// Accepts connections, and carries what there is in both directions.
    pub fn exchange(&self, outside: &mut dyn Outside) {
        let State { doors, lines } = &mut *self.0.borrow_mut();
        for door in doors {
            while lines.len() < MOST
                && let Ok(socket) = door.listener.next_connection()
            {
                let peer = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), door.port);
                match outside.connect(Transport::Tcp, peer) {
                    Ok(conn) => lines.push(Line::new(socket, conn)),
                    Err(_) => socket.end(),
                }
            }
        }
        while let Some(event) = outside.event() {
            match event {
                Event::Data(conn, bytes) => match line(lines, conn) {
                    Some(line) => line.inward.extend(bytes),
                    None => outside.consumed(conn, bytes.len()),
                },
                Event::Eof(conn) => {
                    if let Some(line) = line(lines, conn) {
                        line.ended = true;
                    }
                }
                Event::Failed(conn, _) => {
                    if let Some(line) = line(lines, conn) {
                        line.lost = true;
                    }
                }
                // Nobody asked for these.
                Event::Incoming { conn, .. } => outside.abort(conn),
                Event::Connected(..) | Event::Room(_) | Event::Answer(..) => {}
            }
        }
        lines.retain_mut(|line| line.carry(outside));
    }
}

fn line(lines: &mut [Line], conn: Conn) -> Option<&mut Line> {
    lines.iter_mut().find(|line| line.conn == conn)
}

impl Line {
    fn new(socket: Rc<UnixSocket>, conn: Conn) -> Line {
        let (outward, inward) = (Vec::new(), VecDeque::new());
        Line { socket, conn, outward, finished: false, inward, ended: false, lost: false }
    }

    /// Moves what can be moved; false once the connection is over.
    fn carry(&mut self, outside: &mut dyn Outside) -> bool {
        self.carry_out(outside);
        while !self.inward.is_empty() {
            let (front, _) = self.inward.as_slices();
            let len = self.socket.deliver(front);
            if len == 0 {
                break;
            }
            self.inward.drain(..len);
            outside.consumed(self.conn, len);
        }
        let gone = self.socket.peer().is_none();
        if self.inward.is_empty() && self.ended && !self.socket.shut_write.get() {
            let _ = self.socket.shut(SHUT_WR);
        }
        let over = gone && self.outward.is_empty() || self.lost && self.inward.is_empty();
        let done = self.finished && self.socket.shut_write.get();
        if !over && !done {
            return true;
        }
        if !self.lost {
            outside.close(self.conn);
        }
        self.socket.end();
        false
    }

    fn carry_out(&mut self, outside: &mut dyn Outside) {
        while !self.finished && !self.lost {
            if self.outward.is_empty() {
                let mut buf = vec![0; PIECE];
                let mut files = Vec::new();
                let got = self.socket.take(&mut buf, false, &mut files);
                // Descriptors mean nothing outside.
                self.socket.graveyard.borrow_mut().append(&mut files);
                match got {
                    Ok(got) if got.len > 0 => {
                        buf.truncate(got.len);
                        self.outward = buf;
                    }
                    Err(Errno::EAGAIN) => return,
                    _ => {
                        self.finished = true;
                        outside.finish(self.conn);
                        return;
                    }
                }
            }
            let sent = outside.send(self.conn, &self.outward);
            if sent == 0 {
                return;
            }
            self.outward.drain(..sent.min(self.outward.len()));
        }
    }
}

impl UnixSocket {
    /// Queues bytes at the peer as their sender would; how many it takes.
    fn deliver(&self, data: &[u8]) -> usize {
        // Whoever does not read any more loses what comes.
        let Some(peer) = self.peer().filter(|peer| !peer.shut_read.get()) else {
            return data.len();
        };
        let len = data.len().min(peer.room(self, self.send_limit()));
        if len > 0 {
            let data = data.get(..len).unwrap_or_default().to_vec();
            let (cred, from) = (self.cred.get(), self.local_address());
            peer.inbox_bytes.set(peer.inbox_bytes.get() + len);
            peer.inbox.borrow_mut().push_back(Message {
                data,
                at: 0,
                files: Vec::new(),
                cred,
                from,
            });
            peer.notifier.wake();
        }
        len
    }
}
