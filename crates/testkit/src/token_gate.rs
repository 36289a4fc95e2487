//! A token server in front of a registry: who shows one of its tokens is let through (the distribution project's "Token Authentication
//! Specification").

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use crate::fake_registry::base64;
use crate::http::{Answer, Request, Server};

const TOKEN: &str = "token-of-the-gate";

/// The gate; it lives as long as the process.
pub struct TokenGate {
    server: Server,
}

impl TokenGate {
    /// In front of the registry at `HOST:PORT`, which speaks http, for one user.
    pub fn start(registry: &str, user: &str, password: &str) -> TokenGate {
        let (registry, login) =
            (registry.to_owned(), base64(format!("{user}:{password}").as_bytes()));
        let server = Server::start(move |request| {
            if request.path == "/token" {
                return match request.header("authorization") == format!("Basic {login}") {
                    true => Answer::new(200, format!(r#"{{"token":"{TOKEN}","expires_in":300}}"#)),
                    false => Answer::new(401, "wrong password"),
                };
            }
            if request.header("authorization") != format!("Bearer {TOKEN}") {
                let host = request.header("host");
                let challenge = format!("Bearer realm=\"http://{host}/token\",service=\"gate\"");
                return Answer::new(401, "").with("WWW-Authenticate", challenge);
            }
            pass(&registry, request).unwrap_or_else(|error| Answer::new(502, error.to_string()))
        });
        TokenGate { server }
    }

    /// `HOST/NAME`
    pub fn name(&self, name: &str) -> String {
        format!("{}/{name}", self.server.host())
    }
}

/// The request once more, to the registry.
fn pass(registry: &str, request: &Request) -> std::io::Result<Answer> {
    let mut head = format!("{} {}", request.method, request.path);
    if !request.query.is_empty() {
        head += &format!("?{}", request.query);
    }
    head +=
        &format!(" HTTP/1.1\r\nConnection: close\r\nContent-Length: {}\r\n", request.body.len());
    // With the gate's host, so that the registry names places behind the gate.
    for name in ["host", "accept", "content-type", "range", "content-range"] {
        let value = request.header(name);
        if !value.is_empty() {
            head += &format!("{name}: {value}\r\n");
        }
    }
    let mut stream = TcpStream::connect(registry)?;
    stream.write_all(format!("{head}\r\n").as_bytes())?;
    stream.write_all(&request.body)?;
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes)?;
    let end = bytes.windows(4).position(|part| part == b"\r\n\r\n").unwrap_or(0);
    let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(502);
    let mut answer = Answer::new(status, &bytes[(end + 4).min(bytes.len())..]);
    for line in head.lines().skip(1) {
        let Some((name, value)) = line.split_once(": ") else { continue };
        match name.to_lowercase().as_str() {
            "connection" | "content-length" => {}
            "transfer-encoding" => answer.body = unchunked(&answer.body),
            _ => answer = answer.with(name, value),
        }
    }
    Ok(answer)
}

/// A body that came in chunks.
fn unchunked(mut bytes: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    while let Some(end) = bytes.windows(2).position(|part| part == b"\r\n") {
        let size = String::from_utf8_lossy(&bytes[..end]).trim().to_owned();
        let size = usize::from_str_radix(&size, 16).unwrap_or(0).min(bytes.len() - end - 2);
        body.extend_from_slice(&bytes[end + 2..end + 2 + size]);
        if size == 0 {
            break;
        }
        bytes = bytes.get(end + 2 + size + 2..).unwrap_or_default();
    }
    body
}
