//! A network for boxes whose host has none of its own, such as a browser's tab: Wisp (`docs/network.md`), each packet a message of a WebSocket.

use crate::{Error, Report, Stop};
use futures_util::{SinkExt, StreamExt};
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{
    CONNECTION, HeaderValue, ORIGIN, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY,
    SEC_WEBSOCKET_PROTOCOL, SEC_WEBSOCKET_VERSION, UPGRADE,
};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{HeaderMap, Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use runtime::{Grant, Network};
use std::cell::Cell;
use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio::task::{LocalSet, spawn_local};
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};

/// How long a client may take for the head of its request.
const HEAD: Duration = Duration::from_secs(30);
/// Most bytes of a head.
const MAX_HEAD: usize = 16 << 10;
/// Clients at once. Each is a thread, and has the bounds of a box.
const CLIENTS: usize = 256;
/// Between two tries when there are too many open files.
const TRY_AGAIN: Duration = Duration::from_millis(20);
/// How often a client is asked whether it is still there.
const ASK: Duration = Duration::from_secs(30);
/// After so long without a word it is not.
const SILENCE: Duration = Duration::from_secs(90);
/// The version of Wisp, for clients that ask for it in the handshake.
const PROTOCOL: &str = "wisp-v2";

type Socket = WebSocketStream<TokioIo<hyper::upgrade::Upgraded>>;

/// What clients get.
pub struct Outward {
    /// What each may reach. It has no ports.
    pub grant: Grant,
    /// Pages that may connect (`https://example.org`), beside those of this machine's loopback. Who is no page may always.
    pub origins: Vec<String>,
}

/// Serves until `stop` says so.
///
/// # Errors
/// This system's sockets fail.
pub fn serve_wisp(
    listener: std::net::TcpListener,
    outward: Outward,
    stop: &Stop,
    report: Report,
) -> Result<(), Error> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let tasks = LocalSet::new();
    let result = tasks.block_on(&runtime, async move {
        listener.set_nonblocking(true)?;
        let listener = TcpListener::from_std(listener)?;
        let server = Rc::new(Server { outward, clients: Cell::new(0), report });
        tokio::select! {
            () = server.accept(&listener) => {}
            () = stop.called(1) => {}
        }
        Ok(())
    });
    drop(tasks);
    runtime.shutdown_background();
    result
}

struct Server {
    outward: Outward,
    clients: Cell<usize>,
    report: Report,
}

impl Server {
    async fn accept(self: &Rc<Self>, listener: &TcpListener) {
        loop {
            match listener.accept().await {
                Ok((socket, peer)) => drop(spawn_local(self.clone().converse(socket, peer))),
                // Too many open files, or a client that went away at once.
                Err(_) => sleep(TRY_AGAIN).await,
            }
        }
    }

    async fn converse(self: Rc<Self>, socket: TcpStream, peer: SocketAddr) {
        let _ = socket.set_nodelay(true);
        let service = service_fn(|request| {
            let answer = self.answer(request, peer);
            async move { Ok::<_, Infallible>(answer) }
        });
        // What is wrong with a client's connection is the client's affair.
        let _ = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD)
            .max_buf_size(MAX_HEAD)
            .serve_connection(TokioIo::new(socket), service)
            .with_upgrades()
            .await;
    }

    /// Shakes hands (RFC 6455 §4.2), or says why not.
    fn answer(
        self: &Rc<Self>,
        request: Request<Incoming>,
        peer: SocketAddr,
    ) -> Response<Full<Bytes>> {
        match self.judge(&request) {
            Ok(accept) => {
                let mut response = Response::new(Full::default());
                *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
                let headers = response.headers_mut();
                headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
                headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
                headers.insert(SEC_WEBSOCKET_ACCEPT, accept);
                if lists(request.headers(), SEC_WEBSOCKET_PROTOCOL.as_str(), PROTOCOL) {
                    headers.insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(PROTOCOL));
                }
                spawn_local(self.clone().attend(request, peer));
                response
            }
            Err((status, why)) => {
                (self.report)(&format!("{peer}: {} {why}", status.as_u16()));
                let mut response = Response::new(Full::from(format!("{why}\n")));
                *response.status_mut() = status;
                response
                    .headers_mut()
                    .insert(SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
                response
            }
        }
    }

    /// What says that the handshake was understood.
    fn judge(&self, request: &Request<Incoming>) -> Result<HeaderValue, (StatusCode, String)> {
        let headers = request.headers();
        let is_one = request.method() == Method::GET
            && lists(headers, CONNECTION.as_str(), "upgrade")
            && lists(headers, UPGRADE.as_str(), "websocket");
        let key = headers.get(SEC_WEBSOCKET_KEY).filter(|_| is_one);
        let version = headers.get(SEC_WEBSOCKET_VERSION);
        let Some(key) = key.filter(|_| version.is_some_and(|version| version == "13")) else {
            let why = "this is a Wisp server: connect by WebSocket".to_owned();
            return Err((StatusCode::UPGRADE_REQUIRED, why));
        };
        if let Some(origin) = headers.get(ORIGIN) {
            let origin = String::from_utf8_lossy(origin.as_bytes());
            if !is_loopback(&origin) && !self.outward.origins.iter().any(|own| *own == origin) {
                let why = format!("pages of {origin} may not connect: --origin {origin} lets them");
                return Err((StatusCode::FORBIDDEN, why));
            }
        }
        if self.clients.get() >= CLIENTS {
            let why = format!("there are {CLIENTS} clients already");
            return Err((StatusCode::SERVICE_UNAVAILABLE, why));
        }
        HeaderValue::from_str(&derive_accept_key(key.as_bytes()))
            .map_err(|error| (StatusCode::BAD_REQUEST, error.to_string()))
    }

    /// All of one client.
    async fn attend(self: Rc<Self>, request: Request<Incoming>, peer: SocketAddr) {
        self.clients.set(self.clients.get() + 1);
        (self.report)(&format!("{peer} has come"));
        let result = match hyper::upgrade::on(request).await {
            Ok(upgraded) => self.carry(upgraded).await,
            Err(error) => Err(io::Error::other(error)),
        };
        let how = result.map_or_else(|error| format!(": {error}"), |()| String::new());
        (self.report)(&format!("{peer} has gone{how}"));
        self.clients.set(self.clients.get().saturating_sub(1));
    }

    async fn carry(&self, upgraded: hyper::upgrade::Upgraded) -> io::Result<()> {
        let config = WebSocketConfig::default()
            .max_message_size(Some(mux::MAX_PACKET))
            .max_frame_size(Some(mux::MAX_PACKET));
        let socket =
            WebSocketStream::from_raw_socket(TokioIo::new(upgraded), Role::Server, Some(config));
        let socket = socket.await;
        let (wire, theirs) = std::os::unix::net::UnixStream::pair()?;
        wire.set_nonblocking(true)?;
        let network = Network::new(self.outward.grant.clone()).map_err(io::Error::other)?;
        std::thread::Builder::new().name("wisp".to_owned()).spawn(move || network.serve(theirs))?;
        let (reader, writer) = UnixStream::from_std(wire)?.into_split();
        let (sink, stream) = socket.split();
        // Each way on its own, so that one that waits does not hold the other up. The network ends with the first that is over.
        tokio::select! {
            result = inward(stream, writer) => result,
            result = outward(reader, sink) => result,
        }
    }
}

/// Messages to packets with their length before them.
async fn inward(
    mut messages: futures_util::stream::SplitStream<Socket>,
    mut wire: OwnedWriteHalf,
) -> io::Result<()> {
    loop {
        let silent = |_| io::Error::new(io::ErrorKind::TimedOut, "nothing is heard of it");
        let Some(message) = timeout(SILENCE, messages.next()).await.map_err(silent)? else {
            return Ok(());
        };
        match message.map_err(io::Error::other)? {
            Message::Binary(packet) => {
                let length = u32::try_from(packet.len()).map_err(io::Error::other)?;
                wire.write_all(&[&length.to_le_bytes()[..], &packet].concat()).await?;
            }
            Message::Text(_) => return Err(io::Error::other("text is no packet")),
            Message::Close(_) => return Ok(()),
            Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => {}
        }
    }
}

/// And back. Asks the client from time to time whether it is there.
async fn outward(
    mut wire: OwnedReadHalf,
    mut messages: futures_util::stream::SplitSink<Socket, Message>,
) -> io::Result<()> {
    let mut ask = interval(ASK);
    ask.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = ask.tick() => {
                messages.send(Message::Ping(Bytes::new())).await.map_err(io::Error::other)?;
                continue;
            }
            ready = wire.readable() => ready?,
        }
        let mut length = [0; 4];
        match wire.read_exact(&mut length).await {
            // The client has broken the protocol.
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(()),
            result => result?,
        };
        let mut packet = vec![0; u32::from_le_bytes(length) as usize];
        wire.read_exact(&mut packet).await?;
        messages.send(Message::Binary(packet.into())).await.map_err(io::Error::other)?;
    }
}

/// Whether a header is a list with that word in it.
fn lists(headers: &HeaderMap, name: &str, word: &str) -> bool {
    let values = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).any(|item| item.trim().eq_ignore_ascii_case(word))
}

/// Whether a page comes from this machine: then who made it can reach the network without us.
fn is_loopback(origin: &str) -> bool {
    let Some((_, host)) = origin.split_once("://") else { return false };
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    matches!(name, "localhost" | "[::1]")
        || name.ends_with(".localhost")
        || name.parse::<std::net::Ipv4Addr>().is_ok_and(|ip| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::is_loopback;

    #[test]
    fn pages_of_this_machine_are_known() {
        for own in [
            "http://localhost",
            "http://127.0.0.1:8000",
            "https://[::1]:1",
            "http://a.localhost:80",
        ] {
            assert!(is_loopback(own), "{own}");
        }
        let foreign = [
            "null",
            "http://localhost.example.org",
            "https://127.0.0.1.example.org",
            "http://example.org:127",
            "http://127.0.0.1@example.org",
            "http://10.0.0.1",
            "file://",
        ];
        for page in foreign {
            assert!(!is_loopback(page), "{page}");
        }
    }
}
