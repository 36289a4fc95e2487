//! Asks a server in a box that trains, so that what answers requests becomes hot.

use runtime::{Caller, Grant, Interrupt, Network, Port, Protocol};
use std::fmt;
use std::io::{self, Read, Write};
use std::time::{Duration, Instant};

use crate::snapshot::When;

/// How long a server may take to listen.
const LISTENS: Duration = Duration::from_secs(50);
/// Time between two looks whether it does.
const PAUSE: Duration = Duration::from_millis(50);
/// For how long it is asked, and how often at most: what is hot shows after a few hundred requests.
const TIME: Duration = Duration::from_secs(8);
const REQUESTS: u32 = 300;
/// How long a server may be silent.
const SILENCE: Duration = Duration::from_secs(10);
/// Most of an answer that is read.
const ANSWER: u64 = 16 << 20;

/// What a server is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Visit {
    port: u16,
    path: String,
}

impl fmt::Display for Visit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "http:{}{}", self.port, self.path)
    }
}

impl Visit {
    /// What `http:[PORT]/PATH` says; without a port, that of the first that the image exposes. None if it is a command.
    pub fn parse<'a>(
        text: &str,
        exposed: impl Iterator<Item = &'a String>,
    ) -> Option<Result<Visit, String>> {
        text.starts_with("http:").then_some(())?;
        Some(match When::parse(text) {
            Ok(When::Answers { port, path, .. }) => {
                let tcp = |port: &Port| port.protocol == Protocol::Tcp;
                let ports = exposed.filter_map(|text| Port::exposed(text).ok()).flatten();
                let port = port.or_else(|| ports.filter(tcp).map(|port| port.guest).next());
                port.map(|port| Visit { port, path })
                    .ok_or_else(|| "the image exposes no port: name it, as http:8080/".to_owned())
            }
            Ok(_) => Err("it is http:[PORT]/PATH".to_owned()),
            Err(error) => Err(error),
        })
    }

    /// The box's network, in which it is asked by a thread that ends when the box does, or when it was asked often enough: then the box
    /// is told to end by `end`, when it has nothing more to do.
    ///
    /// # Errors
    /// This system has no thread for it.
    pub fn begin(&self, end: Interrupt) -> io::Result<Network> {
        let mut network = Network::new(Grant::default()).map_err(io::Error::other)?;
        let (caller, visit) = (network.caller(), self.clone());
        std::thread::Builder::new().name("visitor".to_owned()).spawn(move || {
            visit.ask(&caller);
            // A server that looks around every now and then is never idle for long.
            end.give_at_rest();
        })?;
        Ok(network)
    }

    fn ask(&self, caller: &Caller) {
        let begin = Instant::now();
        let mut first = None;
        let mut asked: u32 = 0;
        while asked < REQUESTS {
            let now = Instant::now();
            match first {
                None if now - begin > LISTENS => return,
                Some(first) if now - first > TIME => return,
                _ => {}
            }
            match self.once(caller) {
                Ok(()) => {
                    first.get_or_insert(now);
                    asked += 1;
                }
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return,
                Err(_) => std::thread::sleep(PAUSE),
            }
        }
    }

    /// One request; what is answered does not matter.
    fn once(&self, caller: &Caller) -> io::Result<()> {
        let mut stream = caller.call_and_wait(self.port)?;
        stream.set_read_timeout(Some(SILENCE))?;
        stream.set_write_timeout(Some(SILENCE))?;
        let Visit { port, path } = self;
        write!(
            stream,
            "GET {path} HTTP/1.1\r\nHost: localhost:{port}\r\nConnection: close\r\n\r\n"
        )?;
        io::copy(&mut stream.take(ANSWER), &mut io::sink())?;
        Ok(())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test")]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked() {
        let exposed = ["53/udp".to_owned(), "8080/tcp".to_owned()];
        let parse = |text| Visit::parse(text, exposed.iter());
        assert_eq!(parse("httpd -X"), None);
        let visit = |port, path: &str| Some(Ok(Visit { port, path: path.to_owned() }));
        assert_eq!(parse("http:/a?b"), visit(8080, "/a?b"));
        assert_eq!(parse("http:80/"), visit(80, "/"));
        assert!(parse("http:x/").unwrap().is_err());
        assert!(parse("http:80").unwrap().is_err());
        assert!(Visit::parse("http:/", [].iter()).unwrap().is_err());
    }
}
