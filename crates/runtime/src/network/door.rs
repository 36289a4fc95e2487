//! Sockets of this system that programs in a box find by a name in its file tree.

use super::serve::{Hub, Lane};
use super::tcp::{Source, both_ways, left};
use super::{Grant, NetworkEvent, Serving, errno, serve};
use crate::descriptor::Descriptor;
use std::io;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use tokio::net::unix;

/// Opens a connection to a socket of this system.
pub type Door = Arc<dyn Fn() -> io::Result<UnixStream> + Send + Sync>;

/// A socket in a box, and where its connections go.
#[derive(Clone)]
pub struct Served {
    /// Absolute path in the box.
    pub guest: String,
    /// Permission bits.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Where each connection goes.
    pub door: Door,
}

impl std::fmt::Debug for Served {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Served").field("guest", &self.guest).finish_non_exhaustive()
    }
}

impl Served {
    /// Its line in `BOXER_MOUNTS`, as the socket that this port leads to.
    pub(crate) fn line(&self, port: usize) -> String {
        let Served { guest, mode, uid, gid, .. } = self;
        format!("socket\t{guest}\t{mode:o}\t{uid}\t{gid}\t{port}")
    }
}

/// Begins to serve sockets, in the order of their ports.
pub(crate) fn start(served: Vec<Served>) -> io::Result<(Descriptor, Serving)> {
    let (descriptor, wire) = Descriptor::new("BOXER_SOCKETS")?;
    let stop = wire.try_clone()?;
    let doors = served.into_iter().map(|served| served.door).collect();
    let serve = move || serve::run(Grant::default(), doors, Vec::new(), None, wire);
    let thread = std::thread::Builder::new().name("sockets".to_owned()).spawn(serve)?;
    Ok((descriptor, Serving { stop, thread: Some(thread) }))
}

/// Connects, and carries until the end.
pub(super) async fn connect(hub: &Hub, stream: u32, lane: &Lane, door: &Door) {
    let door = door.clone();
    // An agent whose queue is full lets a connection wait.
    let opened = tokio::task::spawn_blocking(move || door());
    let opened = tokio::select! {
        opened = opened => opened.unwrap_or_else(|error| Err(io::Error::other(error))),
        () = left(lane) => return,
    };
    let socket = opened.and_then(|socket| {
        socket.set_nonblocking(true)?;
        tokio::net::UnixStream::from_std(socket)
    });
    match socket {
        Ok(mut socket) => {
            hub.opened(stream, None);
            let (reader, writer) = socket.split();
            both_ways(hub, stream, lane, reader, writer).await;
        }
        Err(error) => {
            hub.world.report(|| NetworkEvent::Trouble(format!("a socket of the host: {error}")));
            hub.fail(stream, errno::of(&error));
        }
    }
}

impl Source for unix::ReadHalf<'_> {
    async fn ready(&self) -> io::Result<()> {
        self.readable().await
    }

    fn try_take(&self, buffer: &mut [u8]) -> io::Result<usize> {
        self.try_read(buffer)
    }
}
