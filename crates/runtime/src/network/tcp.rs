//! TCP connections: to the outside, and from published ports.

use super::errno;
use super::serve::{Chunk, Hub, Lane, Left};
use mux::Transport;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::net::tcp;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::spawn_local;

/// Bytes that are read from a peer at once.
const PIECE: usize = 64 << 10;
/// How long a peer may take what is left for it after the box has closed the connection.
const STALLED: Duration = Duration::from_secs(60);

/// Connects, and carries until the end.
pub async fn connect(hub: &Hub, stream: u32, lane: &Lane, to: SocketAddr) {
    let connected = tokio::select! {
        connected = TcpStream::connect(to) => connected,
        () = left(lane) => return,
    };
    match connected {
        Ok(socket) => {
            hub.tell_opened(Transport::Tcp, to);
            hub.opened(stream, socket.local_addr().ok());
            carry(hub, stream, lane, socket).await;
        }
        Err(error) => {
            hub.tell_failed(Transport::Tcp, to, &error);
            hub.fail(stream, errno::of(&error));
        }
    }
}

/// Waits until the box has left the stream.
pub async fn left(lane: &Lane) {
    while lane.left.get() == Left::Not {
        lane.changed.notified().await;
    }
}

/// Accepts for a published port, for ever.
pub async fn accept(hub: Rc<Hub>, listener: TcpListener, port: u16) {
    loop {
        match listener.accept().await {
            Ok((socket, peer)) => {
                let stream = hub.incoming(Transport::Tcp, port, peer).await;
                let lane = hub.lane(stream);
                let hub = hub.clone();
                spawn_local(async move {
                    carry(&hub, stream, &lane, socket).await;
                    hub.forget(stream);
                });
            }
            // Too many open files, or a peer that went away at once.
            Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    }
}

/// How one direction ended.
#[derive(PartialEq, Eq)]
enum End {
    /// It may be the other one's turn.
    Done,
    /// The connection is over.
    Over,
}

async fn carry(hub: &Hub, stream: u32, lane: &Lane, mut socket: TcpStream) {
    // Delaying small packets is the business of the box's own TCP.
    let _ = socket.set_nodelay(true);
    let (reader, writer) = socket.split();
    both_ways(hub, stream, lane, reader, writer).await;
    if lane.left.get() == Left::Aborted || lane.is_cut.get() {
        // The peer gets a reset.
        let _ = socket.set_zero_linger();
    }
}

/// Carries both directions of a stream until it is over.
pub async fn both_ways(
    hub: &Hub,
    stream: u32,
    lane: &Lane,
    reader: impl Source,
    writer: impl AsyncWrite + Unpin,
) {
    let up = up(hub, stream, lane, writer);
    let down = down(hub, stream, lane, reader);
    tokio::pin!(up, down);
    // The box's direction decides: its end is the end of the connection.
    let mut down_done = false;
    loop {
        tokio::select! {
            _ = &mut up => return,
            end = &mut down, if !down_done => match end {
                End::Done => down_done = true,
                End::Over => return,
            },
        }
    }
}

/// What a socket's bytes come from.
pub trait Source {
    /// Waits until there may be something.
    async fn ready(&self) -> std::io::Result<()>;
    /// Reads what is there.
    fn try_take(&self, buffer: &mut [u8]) -> std::io::Result<usize>;
}

impl Source for tcp::ReadHalf<'_> {
    async fn ready(&self) -> std::io::Result<()> {
        self.readable().await
    }

    fn try_take(&self, buffer: &mut [u8]) -> std::io::Result<usize> {
        self.try_read(buffer)
    }
}

/// What the box sends.
async fn up(hub: &Hub, stream: u32, lane: &Lane, mut writer: impl AsyncWrite + Unpin) -> End {
    while let Some(chunk) = lane.next().await {
        let result = match chunk {
            Chunk::Data(bytes) if !hub.spend(lane, bytes.len()) => return cut(hub, stream, lane),
            Chunk::Data(bytes) => tokio::select! {
                result = writer.write_all(&bytes) => {
                    hub.consumed(stream, bytes.len());
                    result
                }
                () = stalled(lane) => return End::Over,
            },
            Chunk::Finish => writer.shutdown().await,
        };
        if let Err(error) = result {
            hub.fail(stream, errno::of(&error));
            return End::Over;
        }
    }
    End::Done
}

/// No more may be exchanged: both ends see a reset.
fn cut(hub: &Hub, stream: u32, lane: &Lane) -> End {
    lane.is_cut.set(true);
    hub.fail(stream, errno::ECONNRESET);
    End::Over
}

/// Ends when a box that has left need not be waited for any more.
async fn stalled(lane: &Lane) {
    left(lane).await;
    if lane.left.get() == Left::Closed {
        tokio::select! {
            () = tokio::time::sleep(STALLED) => {}
            () = async { while lane.left.get() != Left::Aborted { lane.changed.notified().await } } => {}
        }
    }
}

/// What the peer sends.
async fn down(hub: &Hub, stream: u32, lane: &Lane, reader: impl Source) -> End {
    loop {
        let result = match reader.ready().await {
            Ok(()) => {
                // The buffer exists only while there is something to read.
                let mut buffer = vec![0; PIECE];
                match reader.try_take(&mut buffer) {
                    Ok(0) => {
                        hub.finish(stream);
                        return End::Done;
                    }
                    Ok(len) if !hub.spend(lane, len) => return cut(hub, stream, lane),
                    Ok(len) => {
                        let mut rest = buffer.get(..len).unwrap_or_default();
                        while !rest.is_empty() {
                            let sent = hub.send(stream, rest);
                            rest = rest.get(sent..).unwrap_or_default();
                            if !rest.is_empty() {
                                lane.room.notified().await;
                            }
                        }
                        Ok(())
                    }
                    Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => Ok(()),
                    Err(error) => Err(error),
                }
            }
            Err(error) => Err(error),
        };
        if let Err(error) = result {
            hub.fail(stream, errno::of(&error));
            return End::Over;
        }
    }
}
