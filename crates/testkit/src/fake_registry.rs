//! A pull-only registry in memory, for what a real one does not do on demand: Bearer tokens, broken connections, wrong
//! bytes.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use crate::http::{Answer, Request, Server};
use crate::image::{Blob, Image};

/// Who may pull.
#[derive(Clone, Debug, Default)]
pub enum Access {
    /// Everyone.
    #[default]
    Open,
    /// Who fetched a token (the distribution project's token authentication) …
    Token {
        /// … as this user with this password; anyone where absent.
        basic: Option<(String, String)>,
        /// … or with this refresh token.
        refresh: Option<String>,
    },
}

/// What goes wrong with a blob.
#[derive(Clone, Debug)]
pub enum Fault {
    /// The connection breaks after so many bytes, for each of so many requests.
    Cut {
        /// Bytes sent of each answer.
        after: usize,
        /// Answers cut; later ones are whole.
        times: usize,
    },
    /// Only the first bytes exist.
    Short(usize),
    /// Other bytes of the same length.
    Wrong,
    /// This status, so many times.
    Status(u16, usize),
}

#[derive(Default)]
struct State {
    access: Access,
    manifests: HashMap<String, Vec<u8>>,
    blobs: HashMap<String, Vec<u8>>,
    faults: HashMap<String, Fault>,
    ignore_range: bool,
    log: Vec<String>,
}

/// The registry. It serves every repository name alike.
pub struct FakeRegistry {
    server: Server,
    state: Arc<Mutex<State>>,
}

const TOKEN: &str = "token-for-tests";

impl FakeRegistry {
    /// An empty registry.
    pub fn start(access: Access) -> FakeRegistry {
        let state = Arc::new(Mutex::new(State { access, ..State::default() }));
        let shared = state.clone();
        let server = Server::start(move |request| answer(&mut shared.lock().unwrap(), request));
        FakeRegistry { server, state }
    }

    /// `127.0.0.1:PORT`
    pub fn host(&self) -> &str {
        self.server.host()
    }

    /// `HOST/NAME`
    pub fn name(&self, name: &str) -> String {
        format!("{}/{name}", self.host())
    }

    /// Adds an image, by its digest and by `tag`.
    pub fn add(&self, tag: &str, image: &Image) {
        self.add_manifest(tag, &image.manifest);
        let mut state = self.state.lock().unwrap();
        for blob in image.blobs() {
            state.blobs.insert(blob.digest.clone(), blob.bytes.clone());
        }
    }

    /// Adds a manifest or index, by its digest and by `tag`.
    pub fn add_manifest(&self, tag: &str, manifest: &Blob) {
        let mut state = self.state.lock().unwrap();
        state.manifests.insert(tag.into(), manifest.bytes.clone());
        state.manifests.insert(manifest.digest.clone(), manifest.bytes.clone());
    }

    /// Lets something go wrong with a blob from now on.
    pub fn break_blob(&self, digest: &str, fault: Fault) {
        self.state.lock().unwrap().faults.insert(digest.into(), fault);
    }

    /// Answers ranges with the whole blob.
    pub fn ignore_range(&self) {
        self.state.lock().unwrap().ignore_range = true;
    }

    /// `METHOD PATH [RANGE]` of each request so far.
    pub fn log(&self) -> Vec<String> {
        self.state.lock().unwrap().log.clone()
    }
}

fn answer(state: &mut State, request: &Request) -> Answer {
    let range = request.header("range");
    state.log.push(format!("{} {} {range}", request.method, request.path).trim_end().into());
    if request.path == "/token" {
        return token(&state.access, request);
    }
    if matches!(state.access, Access::Token { .. })
        && request.header("authorization") != format!("Bearer {TOKEN}")
    {
        let host = request.header("host");
        let challenge = format!("Bearer realm=\"http://{host}/token\",service=\"test\"");
        return error(401, "UNAUTHORIZED", "authentication required")
            .with("WWW-Authenticate", challenge);
    }
    if request.path.trim_end_matches('/') == "/v2" {
        return Answer::new(200, "{}");
    }
    if let Some((_, reference)) = request.path.rsplit_once("/manifests/") {
        return match state.manifests.get(reference) {
            None => error(404, "MANIFEST_UNKNOWN", "manifest unknown"),
            Some(bytes) => {
                let text = String::from_utf8_lossy(bytes);
                let kind = if text.contains("\"manifests\"") { "index" } else { "manifest" };
                let media_type = format!("application/vnd.oci.image.{kind}.v1+json");
                Answer::new(200, bytes.clone()).with("Content-Type", media_type)
            }
        };
    }
    if let Some((_, digest)) = request.path.rsplit_once("/blobs/") {
        return blob(state, digest, range);
    }
    error(404, "NAME_UNKNOWN", "no such page")
}

fn blob(state: &mut State, digest: &str, range: &str) -> Answer {
    let Some(mut bytes) = state.blobs.get(digest).cloned() else {
        return error(404, "BLOB_UNKNOWN", "blob unknown to registry");
    };
    let mut cut = None;
    match state.faults.get_mut(digest) {
        None => {}
        Some(Fault::Cut { times: 0, .. } | Fault::Status(_, 0)) => {}
        Some(Fault::Cut { after, times }) => {
            *times -= 1;
            cut = Some(*after);
        }
        Some(Fault::Short(length)) => bytes.truncate(*length),
        Some(Fault::Wrong) => bytes.iter_mut().for_each(|b| *b ^= 1),
        Some(Fault::Status(status, times)) => {
            *times -= 1;
            return error(*status, "TOOMANYREQUESTS", "try later");
        }
    }
    let start = range
        .strip_prefix("bytes=")
        .and_then(|r| r.strip_suffix('-'))
        .and_then(|r| r.parse::<usize>().ok());
    let mut answer = match start.filter(|_| !state.ignore_range) {
        None => Answer::new(200, bytes),
        Some(start) if start >= bytes.len() => Answer::new(416, "invalid range"),
        Some(start) => {
            let whole = bytes.len();
            Answer::new(206, &bytes[start..])
                .with("Content-Range", format!("bytes {start}-{}/{whole}", whole - 1))
        }
    };
    answer.cut = cut;
    answer
}

/// The token endpoint: GET with optional Basic, or POST with a refresh token.
fn token(access: &Access, request: &Request) -> Answer {
    let Access::Token { basic, refresh } = access else {
        return error(404, "NOT_FOUND", "no tokens here");
    };
    if request.method == "POST" {
        let form = String::from_utf8_lossy(&request.body);
        let wanted = refresh.as_ref().map(|t| format!("refresh_token={t}"));
        let granted = form.split('&').any(|f| f == "grant_type=refresh_token")
            && wanted.is_some_and(|w| form.split('&').any(|f| f == w));
        return match granted {
            true => Answer::new(200, format!(r#"{{"access_token":"{TOKEN}"}}"#)),
            false => error(401, "UNAUTHORIZED", "invalid refresh token"),
        };
    }
    let granted = match basic {
        None => refresh.is_none(),
        Some((user, password)) => {
            let expected = base64(format!("{user}:{password}").as_bytes());
            request.header("authorization") == format!("Basic {expected}")
        }
    };
    // A login asks for no scope.
    let asks = request.query.contains("scope=repository") || request.query.contains("account=");
    match granted && asks {
        true => Answer::new(200, format!(r#"{{"token":"{TOKEN}"}}"#)),
        false => error(401, "UNAUTHORIZED", "incorrect username or password"),
    }
}

fn error(status: u16, code: &str, message: &str) -> Answer {
    Answer::new(status, format!(r#"{{"errors":[{{"code":"{code}","message":"{message}"}}]}}"#))
        .with("Content-Type", "application/json")
}

/// RFC 4648, for `Authorization: Basic`.
fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let word =
            chunk.iter().fold(0u32, |w, b| w << 8 | u32::from(*b)) << (8 * (3 - chunk.len()));
        for i in 0..4 {
            let sextet = (word >> (18 - 6 * i)) & 63;
            text.push(if i <= chunk.len() { char::from(ALPHABET[sextet as usize]) } else { '=' });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    #[test]
    fn base64_pads() {
        let cases = [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("u:p", "dTpw")];
        for (plain, encoded) in cases {
            assert_eq!(super::base64(plain.as_bytes()), encoded);
        }
    }
}
