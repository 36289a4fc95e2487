//! Datagrams: to the outside, to name servers, and from published ports.

use super::errno;
use super::serve::{Chunk, Hub, Lane};
use mux::Transport;
use std::collections::HashMap;
use std::io::{ErrorKind, Result};
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::time::{Duration, Instant};
use tokio::io::Interest;
use tokio::net::UdpSocket;
use tokio::task::spawn_local;

/// Peers of one published port at once.
const PEERS: usize = 1024;
/// How long a peer is remembered while nothing is said in either direction.
const QUIET: Duration = Duration::from_secs(120);

/// Carries datagrams to and from one peer, until neither says anything for long: a box that forgets its flows must not use up the
/// host's sockets.
pub async fn connect(hub: &Hub, stream: u32, lane: &Lane, to: SocketAddr) {
    let any: IpAddr = if to.is_ipv4() { [0; 4].into() } else { [0; 16].into() };
    let socket = match UdpSocket::bind((any, 0)).await {
        Ok(socket) => socket,
        Err(error) => return hub.fail(stream, errno::of(&error)),
    };
    if let Err(error) = socket.connect(to).await {
        hub.tell_failed(Transport::Udp, to, &error);
        return hub.fail(stream, errno::of(&error));
    }
    hub.tell_opened(Transport::Udp, to);
    loop {
        let result = tokio::select! {
            chunk = lane.next() => match chunk {
                Some(Chunk::Data(bytes)) if !hub.spend(lane, bytes.len()) => {
                    return hub.fail(stream, errno::EACCES);
                }
                Some(Chunk::Data(bytes)) => {
                    hub.consumed(stream, bytes.len());
                    socket.send(&bytes).await.map(|_| ())
                }
                Some(Chunk::Finish) => Ok(()),
                None => return,
            },
            () = tokio::time::sleep(QUIET) => return hub.close(stream),
            ready = socket.ready(Interest::READABLE | Interest::ERROR) => match ready {
                Ok(ready) if ready.is_error() => failure(&socket),
                Ok(_) => match receive(hub, stream, lane, &socket) {
                    Ok(false) => return hub.fail(stream, errno::EACCES),
                    received => received.map(drop),
                },
                Err(error) => Err(error),
            },
        };
        match result {
            Ok(()) => {}
            // A datagram that is too long for the way is lost.
            Err(error) if error.raw_os_error() == Some(EMSGSIZE) => {}
            Err(error) => return hub.fail(stream, errno::of(&error)),
        }
    }
}

const EMSGSIZE: i32 = 90;

/// What an earlier datagram met (ICMP).
fn failure(socket: &UdpSocket) -> Result<()> {
    match socket.take_error()? {
        Some(error) => Err(error),
        None => {
            // Nothing: the readiness is used up by an operation that finds nothing.
            let _ = socket.try_io(Interest::ERROR, || Err::<(), _>(ErrorKind::WouldBlock.into()));
            Ok(())
        }
    }
}

/// Takes a datagram; the box loses what it has no room for. False if it may have no more.
fn receive(hub: &Hub, stream: u32, lane: &Lane, socket: &UdpSocket) -> Result<bool> {
    let mut buffer = hub.scratch.borrow_mut();
    match socket.try_recv(&mut buffer) {
        Ok(len) if !hub.spend(lane, len) => Ok(false),
        Ok(len) => {
            hub.send(stream, buffer.get(..len).unwrap_or_default());
            Ok(true)
        }
        Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(true),
        Err(error) => Err(error),
    }
}

/// A flow to a name server of the caller's: its datagrams are queries, and the policy holds for them.
pub async fn ask(hub: &Rc<Hub>, stream: u32, lane: &Lane) {
    while let Some(chunk) = lane.next().await {
        let Chunk::Data(message) = chunk else { continue };
        hub.consumed(stream, message.len());
        if let Some(answer) = hub.look_up(&message).await {
            hub.send(stream, &answer);
        }
    }
}

/// Serves a published port, for ever.
pub async fn publish(hub: Rc<Hub>, socket: UdpSocket, port: u16) {
    let socket = Rc::new(socket);
    let mut peers: HashMap<SocketAddr, (u32, Instant)> = HashMap::new();
    loop {
        if socket.readable().await.is_err() {
            return;
        }
        let received = {
            let mut buffer = hub.scratch.borrow_mut();
            let received = socket.try_recv_from(&mut buffer);
            received.map(|(len, peer)| (buffer.get(..len).unwrap_or_default().to_vec(), peer))
        };
        let (datagram, peer) = match received {
            Ok(received) => received,
            // What an earlier answer met (ICMP).
            Err(_) => continue,
        };
        let now = Instant::now();
        let known = peers.get(&peer).map(|(stream, _)| *stream);
        let stream = match known.filter(|stream| hub.has(*stream)) {
            Some(stream) => stream,
            None => {
                peers.retain(|_, (stream, last)| {
                    let quiet = now.saturating_duration_since(*last) > QUIET;
                    if quiet {
                        hub.close(*stream);
                    }
                    !quiet && hub.has(*stream)
                });
                if peers.len() >= PEERS {
                    continue;
                }
                let stream = hub.incoming(Transport::Udp, port, peer).await;
                let lane = hub.lane(stream);
                let (hub, socket) = (hub.clone(), socket.clone());
                spawn_local(async move {
                    while let Some(chunk) = lane.next().await {
                        let Chunk::Data(bytes) = chunk else { continue };
                        hub.consumed(stream, bytes.len());
                        // What cannot be sent is lost.
                        let _ = socket.send_to(&bytes, peer).await;
                    }
                    hub.forget(stream);
                });
                stream
            }
        };
        peers.insert(peer, (stream, now));
        hub.send(stream, &datagram);
    }
}
