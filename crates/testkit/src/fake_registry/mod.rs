//! A registry in memory, for what a real one does not do on demand: Bearer tokens, broken connections, wrong bytes, the referrers API
//! or its absence, refused types, limits.

mod token;
mod upload;

pub(crate) use token::base64;

use std::collections::{HashMap, HashSet};
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

/// What the registry does otherwise than the plainest one.
#[derive(Clone, Debug, Default)]
pub struct Rules {
    /// Ranges are answered with the whole blob.
    pub ignore_range: bool,
    /// It has the referrers API (OCI distribution spec 1.1).
    pub referrers: bool,
    /// Manifests whose config has one of these types are refused.
    pub refused_types: Vec<String>,
    /// `GET /v2/` needs no token.
    pub open_ping: bool,
    /// Requests that a token is good for.
    pub token_uses: Option<usize>,
    /// The `WWW-Authenticate` headers of a refusal instead of the usual one; `{host}` stands for the registry.
    pub challenges: Option<Vec<String>>,
    /// Larger bodies of uploads are answered 413.
    pub body_limit: Option<usize>,
    /// So many requests are answered 429, with this `Retry-After`.
    pub busy: Option<(usize, String)>,
    /// An upload that broke is lost, as if it had never begun.
    pub forget_broken: bool,
}

#[derive(Default)]
struct State {
    access: Access,
    rules: Rules,
    manifests: HashMap<String, Vec<u8>>,
    blobs: HashMap<String, Vec<u8>>,
    /// Where a blob was pushed to; those that were added are everywhere.
    pushed: HashMap<String, HashSet<String>>,
    uploads: HashMap<String, Vec<u8>>,
    /// Uploads so far, those that ended too.
    begun: usize,
    /// Scopes and requests left of the tokens that were given out.
    tokens: HashMap<String, (String, usize)>,
    faults: HashMap<String, Fault>,
    log: Vec<String>,
}

/// The registry. What was added is in every repository.
pub struct FakeRegistry {
    server: Server,
    state: Arc<Mutex<State>>,
}

impl FakeRegistry {
    /// An empty registry.
    pub fn start(access: Access) -> FakeRegistry {
        FakeRegistry::with_rules(access, Rules::default())
    }

    /// An empty registry of its own manners.
    pub fn with_rules(access: Access, rules: Rules) -> FakeRegistry {
        let state = Arc::new(Mutex::new(State { access, rules, ..State::default() }));
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

    /// The manifest behind a tag or digest.
    pub fn manifest(&self, reference: &str) -> Option<Vec<u8>> {
        self.state.lock().unwrap().manifests.get(reference).cloned()
    }

    /// Whether the blob is there.
    pub fn has_blob(&self, digest: &str) -> bool {
        self.state.lock().unwrap().blobs.contains_key(digest)
    }

    /// Lets something go wrong with a blob from now on.
    pub fn break_blob(&self, digest: &str, fault: Fault) {
        self.state.lock().unwrap().faults.insert(digest.into(), fault);
    }

    /// Answers ranges with the whole blob.
    pub fn ignore_range(&self) {
        self.state.lock().unwrap().rules.ignore_range = true;
    }

    /// `METHOD PATH [RANGE]` of each request so far.
    pub fn log(&self) -> Vec<String> {
        self.state.lock().unwrap().log.clone()
    }

    /// How many requests of the log hold this text.
    pub fn asked(&self, text: &str) -> usize {
        self.log().iter().filter(|line| line.contains(text)).count()
    }
}

fn answer(state: &mut State, request: &Request) -> Answer {
    let range = request.header("range");
    state.log.push(format!("{} {} {range}", request.method, request.path).trim_end().into());
    if request.path == "/token" {
        return token::give(state, request);
    }
    if let Some((times, after)) = state.rules.busy.as_mut().filter(|(times, _)| *times > 0) {
        *times -= 1;
        return error(429, "TOOMANYREQUESTS", "slow down").with("Retry-After", after.clone());
    }
    let ping = request.path.trim_end_matches('/') == "/v2";
    if let Some(refusal) = token::refusal(state, request, ping) {
        return refusal;
    }
    if ping {
        return Answer::new(200, "{}");
    }
    if let Some((repository, reference)) = request.path.rsplit_once("/manifests/") {
        return match request.method.as_str() {
            "PUT" => upload::manifest(state, request, reference),
            _ => manifest(state, repository, reference),
        };
    }
    if let Some((_, subject)) = request.path.rsplit_once("/referrers/") {
        return match state.rules.referrers {
            true => referrers(state, subject),
            false => error(404, "NOT_FOUND", "no such page"),
        };
    }
    if let Some((repository, place)) = request.path.split_once("/blobs/uploads") {
        return upload::blob(state, request, repository, place.trim_matches('/'));
    }
    if let Some((repository, digest)) = request.path.rsplit_once("/blobs/") {
        let pushed = state.pushed.get(digest);
        if pushed.is_some_and(|repositories| !repositories.contains(repository)) {
            return error(404, "BLOB_UNKNOWN", "blob unknown to repository");
        }
        return blob(state, digest, range);
    }
    error(404, "NAME_UNKNOWN", "no such page")
}

fn manifest(state: &State, _repository: &str, reference: &str) -> Answer {
    match state.manifests.get(reference) {
        None => error(404, "MANIFEST_UNKNOWN", "manifest unknown"),
        Some(bytes) => {
            let text = String::from_utf8_lossy(bytes);
            let kind = if text.contains("\"manifests\"") { "index" } else { "manifest" };
            let media_type = format!("application/vnd.oci.image.{kind}.v1+json");
            Answer::new(200, bytes.clone()).with("Content-Type", media_type)
        }
    }
}

/// An index of the manifests whose subject this is.
fn referrers(state: &State, subject: &str) -> Answer {
    let about =
        format!("\"subject\":{{\"mediaType\":\"{}\",\"digest\":\"{subject}\"", upload::MANIFEST);
    let mut list: Vec<String> = state
        .manifests
        .iter()
        .filter(|(name, bytes)| {
            name.starts_with("sha256:") && String::from_utf8_lossy(bytes).contains(&about)
        })
        .map(|(digest, bytes)| {
            let text = String::from_utf8_lossy(bytes);
            let kind = upload::field(&text, "artifactType").unwrap_or_default();
            format!(
                r#"{{"mediaType":"{}","digest":"{digest}","size":{},"artifactType":"{kind}"}}"#,
                upload::MANIFEST,
                bytes.len()
            )
        })
        .collect();
    list.sort();
    let media_type = "application/vnd.oci.image.index.v1+json";
    let list = list.join(",");
    Answer::new(
        200,
        format!(r#"{{"schemaVersion":2,"mediaType":"{media_type}","manifests":[{list}]}}"#),
    )
    .with("Content-Type", media_type)
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
    let mut answer = match start.filter(|_| !state.rules.ignore_range) {
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

fn error(status: u16, code: &str, message: &str) -> Answer {
    Answer::new(status, format!(r#"{{"errors":[{{"code":"{code}","message":"{message}"}}]}}"#))
        .with("Content-Type", "application/json")
}
