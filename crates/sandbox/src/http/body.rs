//! Bodies of requests and answers.

use hyper::body::{Bytes, Frame};
use serde::Serialize;
use serde_json::{Value, json};
use std::convert::Infallible;
use std::fs::File;
use std::io::Read;
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::sync::mpsc::{Receiver, Sender, channel};

use crate::error::Error;

/// Lines that wait to be sent.
const LINES: usize = 64;

/// Bytes of a piece of a file, and pieces that wait to be sent.
const PIECE: usize = 256 << 10;
const PIECES: usize = 4;

/// What is answered.
pub struct Answer {
    pub status: u16,
    pub content_type: &'static str,
    /// Further headers.
    pub headers: Vec<(&'static str, String)>,
    pub body: Body,
}

/// Its body.
pub enum Body {
    Whole(Option<Bytes>),
    /// Lines of JSON, or pieces of a file, as they come.
    Lines(Coming),
}

/// Lines to come, for a client that may go.
pub struct Coming {
    lines: Receiver<Bytes>,
    /// What is done when the client goes before their end.
    gone: Option<Box<dyn FnOnce() + Send>>,
}

impl Drop for Coming {
    fn drop(&mut self) {
        if let Some(gone) = self.gone.take() {
            // It may take a while, and the server has others to serve.
            let _ = std::thread::Builder::new().name("gone".to_owned()).spawn(gone);
        }
    }
}

impl Answer {
    /// JSON.
    pub fn json(status: u16, value: &impl Serialize) -> Answer {
        let bytes = serde_json::to_vec(value).unwrap_or_default();
        Answer::whole(status, "application/json", Some(bytes.into()))
    }

    /// Nothing.
    pub fn nothing() -> Answer {
        Answer::empty(204)
    }

    /// Nothing but this status.
    pub fn empty(status: u16) -> Answer {
        Answer::whole(status, "application/json", None)
    }

    /// Bytes.
    pub fn bytes(content_type: &'static str, bytes: Vec<u8>) -> Answer {
        Answer::whole(200, content_type, Some(bytes.into()))
    }

    fn whole(status: u16, content_type: &'static str, bytes: Option<Bytes>) -> Answer {
        Answer { status, content_type, headers: Vec::new(), body: Body::Whole(bytes) }
    }

    /// What is in a file, from its beginning.
    pub fn file(
        content_type: &'static str,
        headers: Vec<(&'static str, String)>,
        file: File,
    ) -> Answer {
        let (send, receive) = channel(PIECES);
        let mut file = file;
        let read = move || {
            while let Some(bytes) = piece(&mut file) {
                if send.blocking_send(bytes).is_err() {
                    return;
                }
            }
        };
        // Without a thread the body ends at once, and is shorter than its length.
        let _ = std::thread::Builder::new().name("answer".to_owned()).spawn(read);
        let coming = Coming { lines: receive, gone: None };
        Answer { status: 200, content_type, headers, body: Body::Lines(coming) }
    }

    /// What `work` says, line by line, as it comes. It runs on a thread of its own, and goes on when the client is gone, but for what `gone` does then.
    pub fn lines(
        work: impl FnOnce(&Lines) -> Result<(), Error> + Send + 'static,
        gone: impl FnOnce() + Send + 'static,
    ) -> Answer {
        let (send, receive) = channel(LINES);
        let lines = Lines(send);
        // Without a thread the body ends at once, which no client takes for an end.
        let _ = std::thread::Builder::new().name("answer".to_owned()).spawn(move || {
            if let Err(error) = work(&lines) {
                lines.say(&json!({"type": "failed", "error": described(&error)}));
            }
        });
        let coming = Coming { lines: receive, gone: Some(Box::new(gone)) };
        let (content_type, headers) = ("application/x-ndjson", Vec::new());
        Answer { status: 200, content_type, headers, body: Body::Lines(coming) }
    }

    /// The same with the messages of an event stream.
    pub fn events(work: impl FnOnce(&Lines) + Send + 'static) -> Answer {
        let done = move |lines: &Lines| {
            work(lines);
            Ok(())
        };
        Answer { content_type: "text/event-stream", ..Answer::lines(done, || ()) }
    }

    /// An error.
    pub fn error(error: &Error) -> Answer {
        let status = match error.name() {
            "not_found" => 404,
            "refused" | "permission_denied" => 403,
            "invalid" | "language" | "not_started" => 400,
            "paused" | "not_paused" => 409,
            "ended" => 410,
            "storage_full" => 507,
            "io" => 422,
            _ => 500,
        };
        Answer::json(status, &json!({"error": described(error)}))
    }
}

/// The next piece of a file; none at its end, or where it cannot be read, which its length tells from the end.
fn piece(file: &mut File) -> Option<Bytes> {
    let mut bytes = vec![0; PIECE];
    let len = file.read(&mut bytes).ok().filter(|len| *len > 0)?;
    bytes.truncate(len);
    Some(bytes.into())
}

/// An error as clients read it.
pub fn described(error: &Error) -> Value {
    json!({"name": error.name(), "message": error.to_string()})
}

/// Where lines go.
pub struct Lines(Sender<Bytes>);

impl Lines {
    /// Sends a line. A client that is gone hears nothing.
    pub fn say(&self, value: &impl Serialize) {
        let mut line = serde_json::to_vec(value).unwrap_or_default();
        line.push(b'\n');
        let _ = self.0.blocking_send(line.into());
    }

    /// Sends a message as an event of a stream (`text/event-stream`).
    pub fn event(&self, message: &Value) {
        // JSON has no line ends but in texts, where they are escaped.
        let _ = self.0.blocking_send(format!("event: message\ndata: {message}\n\n").into());
    }

    /// Sends what such a stream's reader passes over.
    pub fn pulse(&self) {
        let _ = self.0.blocking_send(Bytes::from_static(b": \n\n"));
    }

    /// Whether the client is gone.
    pub fn is_closed(&self) -> bool {
        self.0.is_closed()
    }
}

impl hyper::body::Body for Body {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match &mut *self {
            Body::Whole(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Body::Lines(coming) => coming.lines.poll_recv(context).map(|line| {
                if line.is_none() {
                    coming.gone = None;
                }
                Some(Ok(Frame::data(line?)))
            }),
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self, Body::Whole(None))
    }
}
