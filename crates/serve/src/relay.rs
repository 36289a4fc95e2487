//! A request on its way to the server in a box, and the answer on its way back.

use crate::held::{Serves as _, hold};
use crate::pool::{Lease, Pool};
use crate::refusal::{Body, Refusal};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper::client::conn::http1::SendRequest;
use hyper::header::{
    CONNECTION, CONTENT_LENGTH, EXPECT, HOST, HeaderMap, HeaderName, HeaderValue, TE,
    TRANSFER_ENCODING, UPGRADE,
};
use hyper::{Method, Request, Response, StatusCode, Uri, Version};
use hyper_util::rt::TokioIo;
use std::net::SocketAddr;
use std::rc::Rc;
use tokio::task::spawn_local;
use tokio::time::timeout;

/// Headers of a connection, not of a message (RFC 9110, 7.6.1), beside those that `Connection` names.
const OF_CONNECTIONS: [HeaderName; 5] = [
    CONNECTION,
    TE,
    TRANSFER_ENCODING,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
];

/// Asks the server in a box.
///
/// # Errors
/// There is no answer of its.
pub async fn answer(
    pool: &Rc<Pool>,
    mut request: Request<Incoming>,
    peer: SocketAddr,
) -> Result<Response<Body>, Refusal> {
    let upgrade = prepare(&mut request)?;
    let client = upgrade.is_some().then(|| hyper::upgrade::on(&mut request));
    let mut lease = pool.take().await?;
    let limit = pool.config.timeout;
    let answered = timeout(limit, send(&lease, request, peer)).await;
    let mut response = answered.map_err(|_| {
        Refusal::timeout(format!("the server has not answered within {} s", limit.as_secs_f64()))
    })??;
    if response.status() == StatusCode::SWITCHING_PROTOCOLS {
        let Some(client) = client else {
            return Err(Refusal::bad_gateway("the server switches protocols unasked"));
        };
        let server = hyper::upgrade::on(&mut response);
        spawn_local(async move {
            if let (Ok(client), Ok(server)) = (client.await, server.await) {
                let (mut client, mut server) = (TokioIo::new(client), TokioIo::new(server));
                let ended = tokio::io::copy_bidirectional(&mut client, &mut server).await;
                if ended.is_ok() {
                    lease.done();
                }
            }
        });
        return Ok(response.map(|body| Box::pin(body.map_err(Into::into)) as Body));
    }
    strip(response.headers_mut());
    Ok(response.map(|body| hold(body, lease)))
}

/// Makes a request one for the server in the box; what it is to be upgraded to.
fn prepare(request: &mut Request<Incoming>) -> Result<Option<HeaderValue>, Refusal> {
    let refuse = |status, reason: &str| Refusal { status, reason: reason.to_owned() };
    if request.method() == Method::CONNECT {
        return Err(refuse(StatusCode::NOT_IMPLEMENTED, "this is no proxy for other hosts"));
    }
    let hosts = request.headers().get_all(HOST).iter().count();
    if hosts > 1 || hosts == 0 && request.version() == Version::HTTP_11 {
        return Err(refuse(StatusCode::BAD_REQUEST, "there is not one Host"));
    }
    let lengths = [TRANSFER_ENCODING, CONTENT_LENGTH];
    if lengths.iter().all(|name| request.headers().contains_key(name)) {
        return Err(refuse(StatusCode::BAD_REQUEST, "its length is given twice"));
    }
    let named =
        request.uri().authority().and_then(|host| HeaderValue::try_from(host.as_str()).ok());
    let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
    let asterisk = path == "*" && request.method() == Method::OPTIONS;
    let uri = if asterisk || path.starts_with('/') { path.parse::<Uri>() } else { "/".parse() };
    *request.uri_mut() = uri.map_err(|_| refuse(StatusCode::BAD_REQUEST, "the path is not one"))?;
    *request.version_mut() = Version::HTTP_11;
    let headers = request.headers();
    let asked = headers.get_all(CONNECTION).iter().any(|value| {
        value.to_str().is_ok_and(|text| {
            text.split(',').any(|word| word.trim().eq_ignore_ascii_case("upgrade"))
        })
    });
    let upgrade = headers.get(UPGRADE).filter(|_| asked).cloned();
    let headers = request.headers_mut();
    strip(headers);
    // It was answered here, when the body was first wanted.
    headers.remove(EXPECT);
    headers.remove(UPGRADE);
    if let Some(host) =
        named.or_else(|| (hosts == 0).then(|| HeaderValue::from_static("localhost")))
    {
        headers.insert(HOST, host);
    }
    if let Some(to) = &upgrade {
        headers.insert(UPGRADE, to.clone());
        headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    }
    Ok(upgrade)
}

/// Takes out what belongs to one connection only. How long a body is goes on as it was, or it goes in pieces.
fn strip(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|text| text.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect();
    if headers.contains_key(TRANSFER_ENCODING) {
        // It counts for nothing then (RFC 9112, 6.3).
        headers.remove(CONTENT_LENGTH);
    }
    for name in named.iter().chain(&OF_CONNECTIONS) {
        headers.remove(name);
    }
}

/// Sends a request over a connection that stands, or else over a new one.
async fn send(
    lease: &Lease,
    mut request: Request<Incoming>,
    peer: SocketAddr,
) -> Result<Response<Incoming>, Refusal> {
    // Of the connections that stand some may have been closed just now.
    while let Some(sender) = lease.idle() {
        match send_over(lease, sender, request).await {
            Ok(response) => return Ok(response),
            Err((Some(back), _)) => request = back,
            Err((None, refusal)) => return Err(refusal),
        }
    }
    let sender = lease.connect(peer).await?;
    send_over(lease, sender, request).await.map_err(|(_, refusal)| refusal)
}

/// The answer; or the request, if nothing of it was sent, and why there is no answer.
async fn send_over(
    lease: &Lease,
    mut sender: SendRequest<Incoming>,
    request: Request<Incoming>,
) -> Result<Response<Incoming>, (Option<Request<Incoming>>, Refusal)> {
    match sender.try_send_request(request).await {
        Ok(response) => {
            lease.reuse(sender);
            Ok(response)
        }
        Err(mut error) => {
            let back = error.take_message();
            let error = error.into_error();
            let reason = match lease.over().await {
                Some(how) => how,
                None if error.is_incomplete_message() || error.is_canceled() => {
                    "the server closed the connection without an answer".to_owned()
                }
                None if error.is_parse() => "the server's answer is not HTTP".to_owned(),
                None => error.to_string(),
            };
            Err((back, Refusal::bad_gateway(reason)))
        }
    }
}
