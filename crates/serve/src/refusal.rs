//! Answers of our own.

use http_body_util::{BodyExt as _, Full};
use hyper::body::Bytes;
use hyper::header::{CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use hyper::{Response, StatusCode};
use std::pin::Pin;

/// What goes wrong with a body.
pub type BodyError = Box<dyn std::error::Error + Send + Sync>;

/// The body of an answer.
pub type Body = Pin<Box<dyn hyper::body::Body<Data = Bytes, Error = BodyError>>>;

/// Why a request gets no answer of the server's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    pub status: StatusCode,
    pub reason: String,
}

impl Refusal {
    /// The server cannot be asked, or does not answer.
    pub fn bad_gateway(reason: impl Into<String>) -> Refusal {
        Refusal { status: StatusCode::BAD_GATEWAY, reason: reason.into() }
    }

    /// It takes too long.
    pub fn timeout(reason: impl Into<String>) -> Refusal {
        Refusal { status: StatusCode::GATEWAY_TIMEOUT, reason: reason.into() }
    }

    /// There are too many requests.
    pub fn busy(reason: impl Into<String>) -> Refusal {
        Refusal { status: StatusCode::SERVICE_UNAVAILABLE, reason: reason.into() }
    }

    /// As it is sent.
    pub fn response(&self) -> Response<Body> {
        let text = format!("{}: {}\n", self.status, self.reason);
        let body = Full::from(text).map_err(|never| -> BodyError { match never {} });
        let mut response = Response::new(Box::pin(body) as Body);
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
        if self.status == StatusCode::SERVICE_UNAVAILABLE {
            headers.insert(RETRY_AFTER, HeaderValue::from_static("1"));
        }
        response
    }
}
