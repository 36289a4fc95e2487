//! Streams to a component, which has no descriptors: it connects to this process over the loopback, by wasi:sockets.
//!
//! Whoever else on this system connects there does not know the token that the box sends first.

use rustix::event::{PollFd, PollFlags, poll};
use std::io::{self, Read};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::thread::JoinHandle;
use std::time::Duration;

/// Bytes of a token before they are written as text.
const TOKEN: usize = 16;
/// How long a caller may take to send its token.
const PATIENCE: Duration = Duration::from_secs(1);

/// One stream. Dropped after the box has ended, it waits until what the box has sent is handed over.
pub(crate) struct Bridge {
    address: SocketAddr,
    token: String,
    /// The thread gives up waiting for the box when this is closed.
    waits: Option<UnixStream>,
    thread: Option<JoinHandle<()>>,
}

impl Bridge {
    /// Waits for the box, and moves bytes between it and `end`.
    pub fn open(end: UnixStream) -> io::Result<Bridge> {
        end.set_nonblocking(false)?;
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let token = token()?;
        let (waits, gone) = UnixStream::pair()?;
        let secret = token.clone();
        let serve = move || {
            if let Some(stream) = admit(&listener, &gone, secret.as_bytes()) {
                drop(listener);
                carry(&stream, &end);
            }
        };
        let thread = std::thread::Builder::new().name("bridge".to_owned()).spawn(serve)?;
        Ok(Bridge { address, token, waits: Some(waits), thread: Some(thread) })
    }

    /// Where the box connects.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What the box is told: address and token.
    pub fn value(&self) -> String {
        format!("{}/{}", self.address, self.token)
    }
}

impl Drop for Bridge {
    fn drop(&mut self) {
        drop(self.waits.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn token() -> io::Result<String> {
    let mut bytes = [0; TOKEN];
    std::fs::File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// The first caller that knows the token; none once the run is over.
fn admit(listener: &TcpListener, gone: &UnixStream, token: &[u8]) -> Option<TcpStream> {
    loop {
        let mut fds = [PollFd::new(listener, PollFlags::IN), PollFd::new(gone, PollFlags::IN)];
        match poll(&mut fds, None) {
            Ok(_) => {}
            Err(rustix::io::Errno::INTR) => continue,
            Err(_) => return None,
        }
        let called = !fds[0].revents().is_empty();
        if !fds[1].revents().is_empty() && !called {
            return None;
        }
        if let Ok((stream, _)) = listener.accept()
            && knows(&stream, token).is_ok_and(|knows| knows)
        {
            return Some(stream);
        }
    }
}

fn knows(mut stream: &TcpStream, token: &[u8]) -> io::Result<bool> {
    stream.set_nonblocking(false)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut said = vec![0; token.len()];
    stream.read_exact(&mut said)?;
    stream.set_read_timeout(None)?;
    stream.set_nodelay(true)?;
    // Time must not tell how much of it was right.
    Ok(said.iter().zip(token).fold(0, |differs, (a, b)| differs | (a ^ b)) == 0)
}

/// Moves bytes both ways until the box is gone.
fn carry(stream: &TcpStream, end: &UnixStream) {
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let (mut from, mut to) = (end, stream);
            let _ = io::copy(&mut from, &mut to);
            let _ = stream.shutdown(Shutdown::Write);
        });
        let (mut from, mut to) = (stream, end);
        // A box that ends without saying so has said what it had to.
        let _ = io::copy(&mut from, &mut to);
        let _ = end.shutdown(Shutdown::Both);
    });
}
