//! The protocol over HTTP ("Streamable HTTP"): each message is a POST, and each client has a session with a sandbox of its own.
//!
//! The server says nothing of its own accord, so there is no stream to GET. The answer of a call comes as an event of a stream that ends
//! with it, or, where the call was cancelled, without it.

use super::Config;
use super::protocol::{Heard, Protocol, VERSIONS, Waited};
use crate::error::Error;
use crate::host::Host;
use crate::http::body::{Answer, Lines};
use crate::http::{Serves, refuse};
use crate::id;
use crate::running::lock;
use hyper::header::ORIGIN;
use hyper::http::request::Parts;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// Where it is.
pub const PATH: &str = "/mcp";
/// The header that names a session.
const SESSION: &str = "mcp-session-id";
const VERSION: &str = "mcp-protocol-version";
/// How long a session is kept that nobody uses. Its sandbox ends by its own budget.
const UNUSED: Duration = Duration::from_secs(3600);
/// Between two signs of life while a call goes on.
const PULSE: Duration = Duration::from_secs(10);

/// The service.
pub struct Service {
    config: Config,
    token: String,
    max_sessions: usize,
    sessions: Mutex<BTreeMap<String, Session>>,
}

struct Session {
    protocol: Arc<Protocol>,
    used: Instant,
}

impl Service {
    /// One for so many sessions at once, for who knows the token.
    pub fn new(config: Config, token: String, max_sessions: usize) -> Service {
        Service { config, token, max_sessions, sessions: Mutex::default() }
    }

    /// Begins a session: its name.
    fn begin(&self) -> Result<(String, Arc<Protocol>), Error> {
        let name = id::secret::<16>()?;
        let mut sessions = lock(&self.sessions);
        let now = Instant::now();
        sessions.retain(|_, session| {
            let keep = now.saturating_duration_since(session.used) < UNUSED;
            if !keep {
                session.protocol.end();
            }
            keep
        });
        if sessions.len() >= self.max_sessions {
            let text = format!("there are {} sessions already", self.max_sessions);
            return Err(Error::Refused(text));
        }
        let protocol = Arc::new(Protocol::new(&self.config));
        sessions.insert(name.clone(), Session { protocol: protocol.clone(), used: now });
        Ok((name, protocol))
    }

    fn session(&self, name: &str) -> Option<Arc<Protocol>> {
        let mut sessions = lock(&self.sessions);
        let session = sessions.get_mut(name)?;
        session.used = Instant::now();
        Some(session.protocol.clone())
    }

    fn post(&self, head: &Parts, body: &[u8]) -> Answer {
        if let Some(version) = header(head, VERSION)
            && !VERSIONS.contains(&version)
        {
            return refuse(400, "invalid", &format!("version {version:?} is not spoken"));
        }
        if Protocol::begins(body) {
            return match self.begin() {
                Ok((name, protocol)) => {
                    let mut answer = answer(protocol.hear(body));
                    answer.headers.push((SESSION, name));
                    answer
                }
                Err(error) => Answer::error(&error),
            };
        }
        let Some(name) = header(head, SESSION) else {
            return refuse(400, "invalid", "there is no session: initialize comes first");
        };
        match self.session(name) {
            Some(protocol) => answer(protocol.hear(body)),
            None => refuse(404, "not_found", "there is no such session"),
        }
    }

    fn delete(&self, head: &Parts) -> Answer {
        let name = header(head, SESSION).unwrap_or_default();
        let Some(session) = lock(&self.sessions).remove(name) else {
            return refuse(404, "not_found", "there is no such session");
        };
        session.protocol.end();
        Answer::nothing()
    }
}

impl Serves for Service {
    fn host(&self) -> &Host {
        &self.config.host
    }

    fn token(&self) -> &str {
        &self.token
    }

    fn answer(&self, head: &Parts, body: &[u8]) -> Answer {
        if let Some(origin) = head.headers.get(ORIGIN)
            && !origin.to_str().is_ok_and(is_of_this_machine)
        {
            return refuse(403, "refused", "pages of other machines may not ask");
        }
        match (head.method.as_str(), head.uri.path()) {
            ("POST", PATH) => self.post(head, body),
            ("DELETE", PATH) => self.delete(head),
            (_, PATH) => {
                let mut answer = refuse(405, "invalid", "the server says nothing unasked");
                answer.headers.push(("allow", "POST, DELETE".to_owned()));
                answer
            }
            (_, path) => refuse(404, "not_found", &format!("there is no {path}; it is at {PATH}")),
        }
    }
}

fn answer(heard: Heard) -> Answer {
    match heard {
        Heard::Nothing => Answer::empty(202),
        // JSON-RPC tells what is wrong; to HTTP it is an answer.
        Heard::Answer(answer) => Answer::json(200, &answer),
        Heard::Call(call) => Answer::events(move |lines: &Lines| {
            loop {
                match call.wait(PULSE) {
                    Waited::Answer(answer) => return lines.event(&answer),
                    Waited::Cancelled => return,
                    // A client that is gone has not cancelled its call, but nobody hears of its end.
                    Waited::GoesOn if lines.is_closed() => return,
                    Waited::GoesOn => lines.pulse(),
                }
            }
        }),
    }
}

fn header<'a>(head: &'a Parts, name: &str) -> Option<&'a str> {
    head.headers.get(name)?.to_str().ok()
}

/// Whether an origin (RFC 6454) is a page of this machine's own: others may have got their name to lead here.
fn is_of_this_machine(origin: &str) -> bool {
    let Some((_, host)) = origin.split_once("://") else { return false };
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next(),
        None => host.split(':').next(),
    };
    let name = name.unwrap_or_default();
    name == "localhost" || name.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::is_of_this_machine;

    #[test]
    fn pages_of_other_machines_are_known_by_their_origin() {
        for good in
            ["http://localhost", "https://localhost:6274", "http://127.0.0.1:80", "http://[::1]:1"]
        {
            assert!(is_of_this_machine(good), "{good}");
        }
        for bad in [
            "null",
            "",
            "http://evil.example",
            "http://localhost.evil.example",
            "http://10.0.0.1",
            "http://[::2]",
        ] {
            assert!(!is_of_this_machine(bad), "{bad}");
        }
    }
}
