//! A request of HTTP from the kernel itself, to learn whether a server inside answers.

use std::net::Ipv4Addr;

use abi::Errno;
use net::{Family, Kind, Net, Socket, SocketId};

use super::Network;
use crate::fs::Cx;

/// Longest status line that is looked at, in bytes.
const LINE_MAX: usize = 256;

/// One request and as much of its answer as is here.
pub struct Probe {
    id: SocketId,
    /// What is still to be sent.
    request: Vec<u8>,
    answer: Vec<u8>,
}

/// How far it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// The server has to go on.
    Waits,
    /// Nobody listens, or it was no answer.
    Failed,
    /// The status of the answer.
    Status(u16),
}

impl Probe {
    /// Asks the server at `port` of the loopback for `path`.
    pub fn new(cx: &mut Cx, port: u16, path: &[u8]) -> Probe {
        let network = cx.shared.registry::<Network>();
        let request =
            [b"GET ", path, b" HTTP/1.0\r\nHost: localhost\r\nUser-Agent: boxer\r\n\r\n"].concat();
        let id = network.timed(cx, |net| {
            let id = net.add(Socket::new(Family::V4, Kind::Tcp, 0, 0));
            // An error shows at the first look.
            let _ = net.connect_stream(id, &address(port));
            id
        });
        Probe { id, request, answer: Vec::new() }
    }

    /// Goes on as far as it can.
    pub fn go_on(&mut self, cx: &mut Cx) -> Progress {
        let network = cx.shared.registry::<Network>();
        network.timed(cx, |net| self.exchange(net)).unwrap_or(Progress::Failed)
    }

    fn exchange(&mut self, net: &mut Net) -> Result<Progress, Errno> {
        match net.connect_stream(self.id, &address(0)) {
            Ok(()) | Err(Errno::EISCONN) => {}
            Err(Errno::EALREADY | Errno::EINPROGRESS) => return Ok(Progress::Waits),
            Err(errno) => return Err(errno),
        }
        while !self.request.is_empty() {
            match net.send_stream(self.id, &self.request, 0) {
                Ok(sent) => drop(self.request.drain(..sent)),
                Err(Errno::EAGAIN) => return Ok(Progress::Waits),
                Err(errno) => return Err(errno),
            }
        }
        let mut buf = [0; LINE_MAX];
        loop {
            let (got, _) = match net.receive_stream(self.id, &mut buf, 0) {
                Err(Errno::EAGAIN) => return Ok(Progress::Waits),
                got => got?,
            };
            self.answer.extend_from_slice(&buf[..got]);
            if got == 0 || self.answer.len() >= LINE_MAX || self.answer.contains(&b'\n') {
                return Ok(status(&self.answer).map_or(Progress::Failed, Progress::Status));
            }
        }
    }

    /// Closes the connection.
    pub fn close(self, cx: &mut Cx) {
        let network = cx.shared.registry::<Network>();
        network.timed(cx, |net| {
            // What else comes is of no interest; unread it would be a reset.
            let mut buf = [0; 4096];
            while matches!(net.receive_stream(self.id, &mut buf, 0), Ok((1.., _))) {}
            net.close_stream(self.id);
        });
    }
}

/// `struct sockaddr_in` of the loopback.
fn address(port: u16) -> [u8; 16] {
    let mut address = [0; 16];
    address[..2].copy_from_slice(&(abi::socket::AF_INET).to_le_bytes());
    address[2..4].copy_from_slice(&port.to_be_bytes());
    address[4..8].copy_from_slice(&Ipv4Addr::LOCALHOST.octets());
    address
}

/// The status in `HTTP/1.1 200 OK`.
fn status(line: &[u8]) -> Option<u16> {
    let line = std::str::from_utf8(line.split(|byte| *byte == b'\n').next()?).ok()?;
    let mut words = line.split_ascii_whitespace();
    words.next().filter(|word| word.starts_with("HTTP/"))?;
    words.next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::status;

    #[test]
    fn status_lines() {
        assert_eq!(status(b"HTTP/1.1 200 OK\r\nServer: x\r\n"), Some(200));
        assert_eq!(status(b"HTTP/1.0 503 \xc3\xa4\r\n"), Some(503));
        for line in [&b""[..], b"SSH-2.0-x\r\n", b"HTTP/1.1\r\n", b"HTTP/1.1 99999\n", b"\xff"] {
            assert_eq!(status(line), None);
        }
    }
}
