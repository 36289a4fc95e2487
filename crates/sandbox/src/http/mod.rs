//! HTTP, on the loopback or a Unix socket, for the services of this crate.
//!
//! One thread has all of it; each request is answered on a thread that may wait. Nothing is answered without the token.

pub(crate) mod body;
pub(crate) mod query;

use crate::error::Error;
use crate::host::Host;
use body::{Answer, Body};
use http_body_util::{BodyExt as _, Limited};
use hyper::body::Incoming;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HeaderName, HeaderValue};
use hyper::http::request::Parts;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::watch;

/// Bytes of the largest body of a request.
const MAX_BODY: usize = 256 << 20;
/// How long a client may take for the head of a request.
const HEAD: Duration = Duration::from_secs(30);
/// Requests that are answered at once.
const AT_ONCE: usize = 4_096;
/// Between two tries when there are too many open files.
const TRY_AGAIN: Duration = Duration::from_millis(20);

/// Where clients connect.
pub enum Listener {
    /// A port.
    Tcp(std::net::TcpListener),
    /// A socket.
    Unix(std::os::unix::net::UnixListener),
}

/// Ends [`serve()`]. Clones end the same.
#[derive(Clone, Debug)]
pub struct Stop(watch::Sender<bool>);

impl Default for Stop {
    fn default() -> Self {
        Stop(watch::Sender::new(false))
    }
}

impl Stop {
    /// Ends it.
    pub fn stop(&self) {
        self.0.send_replace(true);
    }
}

/// What answers requests.
pub trait Serves: Send + Sync + 'static {
    /// All sandboxes.
    fn host(&self) -> &Host;

    /// Who knows it may ask for everything.
    fn token(&self) -> &str;

    /// Answers a request, on a thread that may wait.
    fn answer(&self, head: &Parts, body: &[u8]) -> Answer;
}

/// Serves until `stop` says so; then all sandboxes end.
///
/// # Errors
/// This system's sockets fail.
pub fn serve(listener: Listener, service: impl Serves, stop: &Stop) -> Result<(), Error> {
    let failed = || Error::io("serve");
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(AT_ONCE)
        .build()
        .map_err(failed())?;
    let service = Arc::new(service);
    let host = service.host().clone();
    let mut stopped = stop.0.subscribe();
    let result = runtime.block_on(async move {
        let accept = async {
            match listener {
                Listener::Tcp(listener) => {
                    listener.set_nonblocking(true)?;
                    let listener = TcpListener::from_std(listener)?;
                    loop {
                        match listener.accept().await {
                            Ok((socket, _)) => {
                                let _ = socket.set_nodelay(true);
                                converse(socket, &service);
                            }
                            Err(_) => tokio::time::sleep(TRY_AGAIN).await,
                        }
                    }
                }
                Listener::Unix(listener) => {
                    listener.set_nonblocking(true)?;
                    let listener = UnixListener::from_std(listener)?;
                    loop {
                        match listener.accept().await {
                            Ok((socket, _)) => converse(socket, &service),
                            Err(_) => tokio::time::sleep(TRY_AGAIN).await,
                        }
                    }
                }
            }
        };
        tokio::select! {
            result = accept => result,
            _ = stopped.wait_for(|stopped| *stopped) => Ok(()),
        }
    });
    host.kill_all();
    runtime.shutdown_background();
    result.map_err(failed())
}

/// Answers all requests of one connection.
fn converse(
    socket: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    service: &Arc<impl Serves>,
) {
    let service = service.clone();
    tokio::spawn(async move {
        let answer = service_fn(|request| {
            let service = service.clone();
            async move { Ok::<_, Infallible>(respond(answer(&service, request).await)) }
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD)
            .serve_connection(TokioIo::new(socket), answer);
        // What is wrong with a client's connection is the client's affair.
        let _ = connection.await;
    });
}

fn respond(answer: Answer) -> Response<Body> {
    let mut response = Response::new(answer.body);
    *response.status_mut() = StatusCode::from_u16(answer.status).unwrap_or_default();
    let kind = HeaderValue::from_static(answer.content_type);
    response.headers_mut().insert(CONTENT_TYPE, kind);
    for (name, value) in answer.headers {
        if let Ok(value) = HeaderValue::try_from(value) {
            response.headers_mut().insert(HeaderName::from_static(name), value);
        }
    }
    response
}

async fn answer(service: &Arc<impl Serves>, request: Request<Incoming>) -> Answer {
    let (head, body) = request.into_parts();
    let given = head.headers.get(AUTHORIZATION).map(HeaderValue::as_bytes).unwrap_or_default();
    if !is_token(service.token(), given.strip_prefix(b"Bearer ").unwrap_or_default()) {
        return refuse(401, "unauthorized", "the token is missing or wrong");
    }
    let body = match Limited::new(body, MAX_BODY).collect().await {
        Ok(body) => body.to_bytes(),
        Err(_) => return refuse(413, "too_large", "the body is too large, or broke off"),
    };
    let service = service.clone();
    match tokio::task::spawn_blocking(move || service.answer(&head, &body)).await {
        Ok(answer) => answer,
        Err(_) => refuse(500, "panic", "the request could not be carried out (a defect of boxer)"),
    }
}

/// Whether this is the token. Time does not tell how much of it is right.
fn is_token(own: &str, given: &[u8]) -> bool {
    let own = own.as_bytes();
    let differ = own.iter().zip(given).fold(0, |differ, (a, b)| differ | (a ^ b));
    own.len() == given.len() && differ == 0
}

pub(crate) fn refuse(status: u16, name: &str, message: &str) -> Answer {
    Answer::json(status, &serde_json::json!({"error": {"name": name, "message": message}}))
}
