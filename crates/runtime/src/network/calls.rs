//! Connections that this process itself makes to ports of a box.

use super::serve::{Hub, Lane};
use super::tcp::both_ways;
use mux::Transport;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::net::UnixStream;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::oneshot;
use tokio::task::spawn_local;

/// How long a box may take to say that somebody listens. Boxes of guest programs that do not say it refuse at once, too.
const PATIENCE: Duration = Duration::from_secs(1);

/// Connects to ports of one box, whatever the host's own ports are. Clones lead to the same box.
#[derive(Clone, Debug)]
pub struct Caller {
    calls: UnboundedSender<Call>,
    /// How many peers of this host there were.
    peers: Arc<AtomicU16>,
}

/// The first port from which a box sees itself called by this host.
const FIRST_PORT: u16 = 32_768;

/// One connection that is asked for.
#[derive(Debug)]
pub(super) struct Call {
    port: u16,
    peer: SocketAddr,
    /// The end that leads to the box.
    end: UnixStream,
    /// Told that somebody listens; dropped when nobody does.
    taken: oneshot::Sender<()>,
}

/// A caller, and where its calls come.
pub(super) fn pair() -> (Caller, UnboundedReceiver<Call>) {
    let (caller, calls) = unbounded_channel();
    (Caller { calls: caller, peers: Arc::default() }, calls)
}

impl Caller {
    /// A connection to this TCP port in the box, which its programs see as coming from `peer`. Needs a runtime of tokio.
    ///
    /// # Errors
    /// `ConnectionRefused`: nobody listens there. `BrokenPipe`: the box has ended.
    pub async fn call(&self, port: u16, peer: SocketAddr) -> io::Result<tokio::net::UnixStream> {
        let (ours, told) = self.ask(port, peer)?;
        ours.set_nonblocking(true)?;
        match tokio::time::timeout(PATIENCE, told).await {
            Ok(Ok(())) | Err(_) => tokio::net::UnixStream::from_std(ours),
            Ok(Err(_)) => Err(self.refused()),
        }
    }

    /// The same from [`Caller::peer`], for a thread that may wait: until the box says whether somebody listens. Not for boxes whose guest
    /// program does not say it.
    ///
    /// # Errors
    /// As for [`Caller::call`].
    pub fn call_and_wait(&self, port: u16) -> io::Result<UnixStream> {
        let (ours, told) = self.ask(port, self.peer())?;
        told.blocking_recv().map_err(|_| self.refused())?;
        Ok(ours)
    }

    /// This host on its loopback, as the next one that calls. As on Linux, a connection of port 0 is none, and each needs a port of its own.
    pub fn peer(&self) -> SocketAddr {
        let next = self.peers.fetch_add(1, Ordering::Relaxed);
        let port = FIRST_PORT + next % (u16::MAX - FIRST_PORT);
        SocketAddr::from((Ipv4Addr::LOCALHOST, port))
    }

    fn ask(&self, port: u16, peer: SocketAddr) -> io::Result<(UnixStream, oneshot::Receiver<()>)> {
        let (ours, end) = UnixStream::pair()?;
        end.set_nonblocking(true)?;
        let (taken, told) = oneshot::channel();
        self.calls.send(Call { port, peer, end, taken }).map_err(|_| self.refused())?;
        Ok((ours, told))
    }

    fn refused(&self) -> io::Error {
        let over = self.calls.is_closed();
        let kind = if over { io::ErrorKind::BrokenPipe } else { io::ErrorKind::ConnectionRefused };
        kind.into()
    }
}

/// Carries what is called for, for ever.
pub(super) async fn accept(hub: Rc<Hub>, mut calls: UnboundedReceiver<Call>) {
    while let Some(Call { port, peer, end, taken }) = calls.recv().await {
        let hub = hub.clone();
        spawn_local(async move {
            let Ok(mut socket) = tokio::net::UnixStream::from_std(end) else { return };
            let stream = hub.incoming(Transport::Tcp, port, peer).await;
            let lane = Lane::called(taken);
            hub.add(stream, lane.clone());
            let (reader, writer) = socket.split();
            both_ways(&hub, stream, &lane, reader, writer).await;
            hub.forget(stream);
        });
    }
}
