//! Ports of a sandbox at ports of this system's loopback.

use crate::error::Error;
use crate::running::Running;
use std::io;
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};

/// A port of the loopback that leads to one of a sandbox; dropped, it is closed. Connections that stand go on.
pub struct Door {
    address: SocketAddr,
    closed: Arc<AtomicBool>,
}

impl Door {
    /// Opens one.
    ///
    /// # Errors
    /// This system has no port or thread for it.
    pub fn open(running: &Arc<Running>, port: u16) -> Result<Door, Error> {
        let failed = || Error::io("open a port");
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(failed())?;
        let address = listener.local_addr().map_err(failed())?;
        let closed = Arc::new(AtomicBool::new(false));
        let (running, stop) = (Arc::downgrade(running), closed.clone());
        let accept = move || accept(&listener, &running, port, &stop);
        let thread = std::thread::Builder::new().name("port".to_owned());
        thread.spawn(accept).map_err(failed())?;
        Ok(Door { address, closed })
    }

    /// Where it is.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        self.closed.store(true, Ordering::SeqCst);
        // Who waits for somebody to connect looks up.
        let _ = TcpStream::connect(self.address);
    }
}

fn accept(listener: &TcpListener, running: &Weak<Running>, port: u16, closed: &AtomicBool) {
    for stream in listener.incoming() {
        if closed.load(Ordering::SeqCst) {
            return;
        }
        let (Ok(stream), Some(running)) = (stream, running.upgrade()) else { continue };
        // Who gets no thread finds the connection closed.
        let _ = std::thread::Builder::new().name("port-connection".to_owned()).spawn(move || {
            if let Ok(inside) = running.call(port) {
                drop(running);
                carry(&stream, &inside);
            }
        });
    }
}

fn carry(outside: &TcpStream, inside: &UnixStream) {
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let (mut from, mut to) = (outside, inside);
            let _ = io::copy(&mut from, &mut to);
            let _ = inside.shutdown(Shutdown::Write);
        });
        let (mut from, mut to) = (inside, outside);
        let _ = io::copy(&mut from, &mut to);
        let _ = outside.shutdown(Shutdown::Write);
    });
}
