//! A TCP proxy that breaks connections where it is told to.

use std::collections::VecDeque;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// What becomes of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It lasts.
    Whole,
    /// It is reset after so many bytes of what the server sends.
    ResetAnswer(usize),
    /// It is reset after so many bytes of what the client sends.
    ResetRequest(usize),
    /// After so many bytes of what the server sends nothing more comes.
    Stall(usize),
    /// After so many bytes of what the client sends nothing more is taken.
    StallRequest(usize),
}

/// The proxy; it lives as long as the process.
pub struct Proxy {
    host: String,
    fates: Arc<Mutex<VecDeque<Fate>>>,
    connections: Arc<AtomicUsize>,
}

impl Proxy {
    /// Leads to `target`, `HOST:PORT`.
    pub fn start(target: &str) -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let host = listener.local_addr().unwrap().to_string();
        let fates = Arc::new(Mutex::new(VecDeque::new()));
        let connections = Arc::new(AtomicUsize::new(0));
        let (shared, count, target) = (fates.clone(), connections.clone(), target.to_owned());
        std::thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                count.fetch_add(1, Ordering::Relaxed);
                let fate = shared.lock().unwrap().pop_front().unwrap_or(Fate::Whole);
                let Ok(server) = TcpStream::connect(&target) else { continue };
                serve(client, server, fate);
            }
        });
        Proxy { host, fates, connections }
    }

    /// `127.0.0.1:PORT`
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Says what becomes of the next connections; those after them last.
    pub fn next(&self, fates: impl IntoIterator<Item = Fate>) {
        *self.fates.lock().unwrap() = fates.into_iter().collect();
    }

    /// Connections so far.
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }
}

fn serve(client: TcpStream, server: TcpStream, fate: Fate) {
    let copy = |stream: &TcpStream| stream.try_clone().unwrap();
    let (to_server, to_client) = (copy(&server), copy(&client));
    let (request, answer) = match fate {
        Fate::ResetRequest(bytes) | Fate::StallRequest(bytes) => (Some(bytes), None),
        Fate::ResetAnswer(bytes) | Fate::Stall(bytes) => (None, Some(bytes)),
        Fate::Whole => (None, None),
    };
    let stalls = matches!(fate, Fate::Stall(_) | Fate::StallRequest(_));
    std::thread::spawn(move || pass(client, to_server, request, stalls));
    std::thread::spawn(move || pass(server, to_client, answer, stalls));
}

/// Copies until the end, or until so many bytes went by.
fn pass(mut from: TcpStream, mut to: TcpStream, mut budget: Option<usize>, stalls: bool) {
    let mut buffer = [0u8; 16 << 10];
    loop {
        let n = match from.read(&mut buffer) {
            Ok(0) | Err(_) => {
                let _ = to.shutdown(Shutdown::Write);
                return;
            }
            Ok(n) => n,
        };
        let passed = budget.map_or(n, |left| n.min(left));
        if to.write_all(&buffer[..passed]).is_err() {
            let _ = from.shutdown(Shutdown::Both);
            return;
        }
        if let Some(left) = &mut budget {
            *left -= passed;
            if *left == 0 && passed < n && stalls {
                std::thread::sleep(Duration::from_secs(3600));
            }
            if *left == 0 && (passed < n || !stalls) {
                // What was sent may arrive first.
                std::thread::sleep(Duration::from_millis(2));
                for stream in [&from, &to] {
                    let _ = socket2::SockRef::from(stream).set_linger(Some(Duration::ZERO));
                    let _ = stream.shutdown(Shutdown::Both);
                }
                return;
            }
        }
    }
}
