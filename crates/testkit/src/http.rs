//! A few lines of HTTP/1.1: one thread for each connection, one answer, close. Bodies can be cut short on purpose,
//! which no well-behaved server library allows.

use std::collections::HashMap;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

/// What was asked.
#[derive(Clone, Debug)]
pub struct Request {
    /// `GET`, …
    pub method: String,
    /// Path without the query.
    pub path: String,
    /// What follows `?`.
    pub query: String,
    /// Names in lower case.
    pub headers: HashMap<String, String>,
    /// At most 16 MiB.
    pub body: Vec<u8>,
    /// The connection ended before the body did.
    pub broken: bool,
}

impl Request {
    /// A header, or nothing.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }
}

/// What is answered.
#[derive(Clone, Debug, Default)]
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// Besides Content-Length and Connection.
    pub headers: Vec<(String, String)>,
    /// The body as promised by Content-Length.
    pub body: Vec<u8>,
    /// Close the connection after so many bytes of the body.
    pub cut: Option<usize>,
}

impl Answer {
    /// An answer with a body.
    pub fn new(status: u16, body: impl Into<Vec<u8>>) -> Answer {
        Answer { status, body: body.into(), ..Answer::default() }
    }

    /// With one more header.
    pub fn with(mut self, name: &str, value: impl Into<String>) -> Answer {
        self.headers.push((name.into(), value.into()));
        self
    }
}

/// A server on a loopback port; it lives as long as the process. Requests to one path are read and answered one
/// after another, so that who asks again after a broken one hears what became of it.
pub struct Server {
    host: String,
}

/// A lock for each path that was asked for.
#[derive(Default)]
struct Turns(Mutex<HashMap<String, Arc<Mutex<()>>>>);

impl Turns {
    fn of(&self, path: &str) -> Arc<Mutex<()>> {
        self.0.lock().unwrap().entry(path.into()).or_default().clone()
    }
}

impl Server {
    /// Serves `handler`.
    pub fn start(handler: impl Fn(&Request) -> Answer + Send + Sync + 'static) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let host = listener.local_addr().unwrap().to_string();
        let (handler, turns) = (Arc::new(handler), Arc::new(Turns::default()));
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let (handler, turns) = (handler.clone(), turns.clone());
                // A client may hang up at any moment; that is its test's affair.
                std::thread::spawn(move || serve(stream, &*handler, &turns));
            }
        });
        Server { host }
    }

    /// `127.0.0.1:PORT`
    pub fn host(&self) -> &str {
        &self.host
    }
}

fn serve(
    stream: TcpStream,
    handler: &dyn Fn(&Request) -> Answer,
    turns: &Turns,
) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut line = String::new();
    if reader.read_line(&mut line).is_err() {
        // A TLS greeting is no text: answer as Go's servers do.
        let mut stream = stream;
        return stream.write_all(b"HTTP/1.0 400 Bad Request\r\n\r\n");
    }
    let mut words = line.split_whitespace();
    let (Some(method), Some(target)) = (words.next(), words.next()) else { return Ok(()) };
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let mut request = Request {
        method: method.into(),
        path: path.into(),
        query: query.into(),
        headers: HashMap::new(),
        body: Vec::new(),
        broken: false,
    };
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 || line.trim().is_empty() {
            break;
        }
        if let Some((name, value)) = line.split_once(':') {
            // A header that stands there again goes on (RFC 9110, section 5.2).
            let known = request.headers.entry(name.trim().to_lowercase()).or_default();
            if !known.is_empty() {
                known.push_str(", ");
            }
            known.push_str(value.trim());
        }
    }
    let length: u64 = request.header("content-length").parse().unwrap_or(0);
    let chunked = request.header("transfer-encoding") == "chunked";
    let turn = turns.of(&request.path);
    // A handler that panicked is its test's failure already.
    let turn = turn.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let read = match chunked {
        true => read_chunks(&mut reader, &mut request.body),
        false => reader.take(length.min(16 << 20)).read_to_end(&mut request.body).map(drop),
    };
    request.broken = read.is_err() || (!chunked && (request.body.len() as u64) < length);

    let answer = handler(&request);
    drop(turn);
    let mut stream = stream;
    let mut head = format!("HTTP/1.1 {} x\r\n", answer.status);
    for (name, value) in &answer.headers {
        head += &format!("{name}: {value}\r\n");
    }
    head += &format!("Content-Length: {}\r\nConnection: close\r\n\r\n", answer.body.len());
    stream.write_all(head.as_bytes())?;
    if request.method != "HEAD" {
        let end = answer.cut.unwrap_or(answer.body.len()).min(answer.body.len());
        stream.write_all(&answer.body[..end])?;
    }
    stream.flush()
}

/// The body of a request whose length was not known.
fn read_chunks(reader: &mut impl std::io::BufRead, body: &mut Vec<u8>) -> std::io::Result<()> {
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let size = u64::from_str_radix(line.trim(), 16).map_err(std::io::Error::other)?;
        reader.take(size).read_to_end(body)?;
        reader.read_line(&mut line)?;
        if size == 0 || body.len() > 16 << 20 {
            return Ok(());
        }
    }
}
