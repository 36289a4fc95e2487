//! Bodies of answers, whose end is the end of a request.

use crate::refusal::BodyError;
use http_body_util::BodyExt as _;
use hyper::body::{Body, Bytes, Frame, SizeHint};
use std::pin::Pin;
use std::task::{Context, Poll};

/// What serves a request.
pub trait Serves: Unpin + 'static {
    /// The answer has come to its end, and not only to where somebody stopped listening.
    fn done(&mut self);
}

/// A body, and what serves the request for as long.
struct Held<B: Body, S: Serves> {
    body: B,
    serves: S,
}

/// Keeps `serves` until the body is at its end, or dropped.
pub fn hold<B, S>(body: B, serves: S) -> crate::refusal::Body
where
    B: Body<Data = Bytes> + Unpin + 'static,
    B::Error: Into<BodyError>,
    S: Serves,
{
    Box::pin(Held { body, serves }.map_err(Into::into))
}

impl<B: Body<Data = Bytes> + Unpin, S: Serves> Body for Held<B, S> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(context);
        if matches!(polled, Poll::Ready(None)) {
            self.serves.done();
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl<B: Body, S: Serves> Drop for Held<B, S> {
    fn drop(&mut self) {
        // Who knows that it is at its end need not look.
        if self.body.is_end_stream() {
            self.serves.done();
        }
    }
}
