//! A way out over this machine's own sockets, for debugging. It lets everything through.

use abi::Errno;
use net::{Conn, Event, Outside, Transport};
use std::collections::{BTreeMap, VecDeque};
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

/// Most bytes of a stream that may lie unread in the box.
const WINDOW: usize = 1 << 18;

enum Flow {
    Tcp { stream: TcpStream, window: usize, eof: bool, full: bool },
    Udp(UdpSocket),
}

enum Late {
    Connected(Conn, std::io::Result<TcpStream>),
    Answer(u32, Option<Vec<u8>>),
}

pub struct Network {
    next: u32,
    flows: BTreeMap<Conn, Flow>,
    events: VecDeque<Event>,
    late: (Sender<Late>, Receiver<Late>),
    published: Vec<(u16, TcpListener)>,
}

fn errno(error: &std::io::Error) -> Errno {
    match error.kind() {
        ErrorKind::ConnectionRefused => Errno::ECONNREFUSED,
        ErrorKind::TimedOut => Errno::ETIMEDOUT,
        ErrorKind::NetworkUnreachable => Errno::ENETUNREACH,
        ErrorKind::HostUnreachable => Errno::EHOSTUNREACH,
        _ => Errno::ECONNRESET,
    }
}

impl Network {
    /// A way out; each of `ports` of the box is offered on the same port of this machine's loopback address.
    pub fn new(ports: &[u16]) -> std::io::Result<Network> {
        let mut published = Vec::new();
        for port in ports {
            let listener = TcpListener::bind(("127.0.0.1", *port))?;
            listener.set_nonblocking(true)?;
            published.push((*port, listener));
        }
        let (flows, events) = (BTreeMap::new(), VecDeque::new());
        Ok(Network { next: 0, flows, events, late: channel(), published })
    }

    fn conn(&mut self) -> Conn {
        self.next += 1;
        Conn(self.next)
    }

    fn add_stream(&mut self, conn: Conn, stream: TcpStream) {
        let _ = stream.set_nonblocking(true);
        let _ = stream.set_nodelay(true);
        self.flows.insert(conn, Flow::Tcp { stream, window: WINDOW, eof: false, full: false });
    }

    fn look(&mut self) {
        while let Ok(late) = self.late.1.try_recv() {
            match late {
                Late::Connected(conn, Ok(stream)) => {
                    let local = stream.local_addr().ok();
                    self.add_stream(conn, stream);
                    self.events.push_back(Event::Connected(conn, local));
                }
                Late::Connected(conn, Err(e)) => {
                    self.events.push_back(Event::Failed(conn, errno(&e)));
                }
                Late::Answer(number, answer) => {
                    self.events.push_back(Event::Answer(number, answer));
                }
            }
        }
        let mut arrived = Vec::new();
        for (port, listener) in &self.published {
            while let Ok((stream, peer)) = listener.accept() {
                arrived.push((*port, stream, peer));
            }
        }
        for (port, stream, peer) in arrived {
            let conn = self.conn();
            self.add_stream(conn, stream);
            let transport = Transport::Tcp;
            self.events.push_back(Event::Incoming { conn, transport, port, peer });
        }
        let mut gone = Vec::new();
        let mut buf = vec![0; 1 << 16];
        for (conn, flow) in &mut self.flows {
            match flow {
                Flow::Udp(socket) => {
                    while let Ok(n) = socket.recv(&mut buf) {
                        self.events.push_back(Event::Data(*conn, buf[..n].to_vec()));
                    }
                }
                Flow::Tcp { stream, window, eof, full } => {
                    if *full {
                        *full = false;
                        self.events.push_back(Event::Room(*conn));
                    }
                    let most = buf.len().min(*window);
                    if *eof || most == 0 {
                        continue;
                    }
                    match stream.read(&mut buf[..most]) {
                        Ok(0) => {
                            *eof = true;
                            self.events.push_back(Event::Eof(*conn));
                        }
                        Ok(n) => {
                            *window -= n;
                            self.events.push_back(Event::Data(*conn, buf[..n].to_vec()));
                        }
                        Err(e) if e.kind() == ErrorKind::WouldBlock => {}
                        Err(e) => {
                            self.events.push_back(Event::Failed(*conn, errno(&e)));
                            gone.push(*conn);
                        }
                    }
                }
            }
        }
        for conn in gone {
            self.flows.remove(&conn);
        }
    }
}

/// The first name server that this machine uses.
fn name_server() -> Option<SocketAddr> {
    let text = std::fs::read_to_string("/etc/resolv.conf").ok()?;
    let mut servers = text.lines().filter_map(|l| l.strip_prefix("nameserver"));
    Some(SocketAddr::new(servers.next()?.trim().parse().ok()?, 53))
}

fn ask(message: &[u8]) -> Option<Vec<u8>> {
    let socket = UdpSocket::bind("0.0.0.0:0").ok()?;
    socket.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
    socket.connect(name_server()?).ok()?;
    socket.send(message).ok()?;
    let mut buf = vec![0; 4096];
    let n = socket.recv(&mut buf).ok()?;
    buf.truncate(n);
    Some(buf)
}

impl Outside for Network {
    fn connect(&mut self, transport: Transport, peer: SocketAddr) -> Result<Conn, Errno> {
        let conn = self.conn();
        if transport == Transport::Udp {
            let any = if peer.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
            let socket = UdpSocket::bind(any).map_err(|e| errno(&e))?;
            socket.connect(peer).map_err(|e| errno(&e))?;
            socket.set_nonblocking(true).map_err(|e| errno(&e))?;
            self.flows.insert(conn, Flow::Udp(socket));
            return Ok(conn);
        }
        let late = self.late.0.clone();
        std::thread::spawn(move || {
            let stream = TcpStream::connect_timeout(&peer, Duration::from_secs(30));
            let _ = late.send(Late::Connected(conn, stream));
        });
        Ok(conn)
    }

    fn send(&mut self, conn: Conn, data: &[u8]) -> usize {
        match self.flows.get_mut(&conn) {
            Some(Flow::Tcp { stream, full, .. }) => {
                let n = stream.write(data).unwrap_or(0);
                *full |= n < data.len();
                n
            }
            Some(Flow::Udp(socket)) => socket.send(data).unwrap_or(0),
            None => 0,
        }
    }

    fn consumed(&mut self, conn: Conn, bytes: usize) {
        if let Some(Flow::Tcp { window, .. }) = self.flows.get_mut(&conn) {
            *window += bytes;
        }
    }

    fn finish(&mut self, conn: Conn) {
        if let Some(Flow::Tcp { stream, .. }) = self.flows.get(&conn) {
            let _ = stream.shutdown(Shutdown::Write);
        }
    }

    fn close(&mut self, conn: Conn) {
        self.flows.remove(&conn);
    }

    fn abort(&mut self, conn: Conn) {
        self.flows.remove(&conn);
    }

    fn query(&mut self, number: u32, message: &[u8]) {
        let (late, message) = (self.late.0.clone(), message.to_vec());
        std::thread::spawn(move || late.send(Late::Answer(number, ask(&message))));
    }

    fn event(&mut self) -> Option<Event> {
        if self.events.is_empty() {
            self.look();
        }
        self.events.pop_front()
    }

    fn families(&self) -> (bool, bool) {
        (true, false)
    }
}
