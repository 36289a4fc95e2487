//! The cache service of GitHub Actions in memory: Twirp's methods for whoever has the token, block blobs for whoever has a signed URL.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

use crate::http::{Answer, Request, Server};

/// What the runner would put into `ACTIONS_RUNTIME_TOKEN`.
pub const TOKEN: &str = "token-of-the-run";
const METHODS: &str = "/twirp/github.actions.results.api.v1.CacheService/";

/// The service; it lives as long as the process.
pub struct ActionsCacheServer {
    server: Server,
    entries: Entries,
}

type Entries = Arc<Mutex<Vec<Entry>>>;

/// An entry.
#[derive(Default)]
pub struct Entry {
    /// Its key.
    pub key: String,
    version: String,
    /// What was put there.
    pub content: Vec<u8>,
    blocks: HashMap<String, Vec<u8>>,
    /// Requests that put something there.
    pub puts: usize,
    /// Requests that read it.
    pub gets: usize,
    /// Whether it can be found.
    pub finished: bool,
}

impl ActionsCacheServer {
    /// An empty one.
    pub fn start() -> ActionsCacheServer {
        let entries = Entries::default();
        let state = entries.clone();
        let server = Server::start(move |request| answer(&mut state.lock().unwrap(), request));
        ActionsCacheServer { server, entries }
    }

    /// What the runner would put into `ACTIONS_RESULTS_URL`.
    pub fn url(&self) -> String {
        format!("http://{}/", self.server.host())
    }

    /// Looks at the entries, in the order in which they were made, or changes them.
    pub fn entries<T>(&self, look: impl FnOnce(&mut Vec<Entry>) -> T) -> T {
        look(&mut self.entries.lock().unwrap())
    }
}

fn answer(entries: &mut Vec<Entry>, request: &Request) -> Answer {
    if let Some(method) = request.path.strip_prefix(METHODS) {
        if request.header("authorization") != format!("Bearer {TOKEN}") {
            return Answer::new(401, r#"{"code":"unauthenticated","msg":"no"}"#);
        }
        let words: Value = serde_json::from_slice(&request.body).unwrap_or_default();
        let host = request.header("host");
        return call(entries, method, &words, host);
    }
    // A signature is all that a signed URL needs; a token has no business there.
    let query: HashMap<&str, &str> =
        request.query.split('&').filter_map(|pair| pair.split_once('=')).collect();
    let number = request.path.strip_prefix("/blob/").and_then(|text| text.parse::<usize>().ok());
    let entry = number.and_then(|number| entries.get_mut(number));
    let (Some(entry), Some(&"signed"), "") =
        (entry, query.get("sig"), request.header("authorization"))
    else {
        return Answer::new(
            403,
            "<?xml version=\"1.0\"?><Error><Code>AuthorizationFailure</Code></Error>",
        );
    };
    match (request.method.as_str(), query.get("comp").copied()) {
        ("GET", None) => {
            entry.gets += 1;
            Answer::new(200, entry.content.clone())
        }
        ("PUT", None) if request.header("x-ms-blob-type") == "BlockBlob" => {
            entry.content = request.body.clone();
            entry.puts += 1;
            Answer::new(201, "")
        }
        ("PUT", Some("block")) => {
            let id = query["blockid"].replace("%3D", "=");
            entry.blocks.insert(id, request.body.clone());
            entry.puts += 1;
            Answer::new(201, "")
        }
        ("PUT", Some("blocklist")) => {
            let list = String::from_utf8_lossy(&request.body).into_owned();
            let ids = list.split("<Latest>").skip(1).filter_map(|rest| rest.split('<').next());
            entry.content = ids.flat_map(|id| entry.blocks[id].clone()).collect();
            Answer::new(201, "")
        }
        _ => Answer::new(400, ""),
    }
}

fn call(entries: &mut Vec<Entry>, method: &str, words: &Value, host: &str) -> Answer {
    let text = |name: &str| words[name].as_str().unwrap_or_default().to_owned();
    let (key, version) = (text("key"), text("version"));
    let same = |entry: &Entry| entry.key == key && entry.version == version;
    let url = |number: usize| format!("http://{host}/blob/{number}?sv=2024&sig=signed");
    match method {
        "CreateCacheEntry" if entries.iter().any(same) => {
            Answer::new(409, r#"{"code":"already_exists","msg":"cache entry exists already"}"#)
        }
        "CreateCacheEntry" => {
            entries.push(Entry { key, version, ..Entry::default() });
            let place = url(entries.len() - 1);
            Answer::new(200, json!({ "ok": true, "signed_upload_url": place }).to_string())
        }
        "FinalizeCacheEntryUpload" => {
            let entry = entries.iter_mut().find(|entry| same(entry));
            let size = text("size_bytes").parse::<usize>().ok();
            let ok = entry.is_some_and(|entry| {
                entry.finished = size == Some(entry.content.len());
                entry.finished
            });
            Answer::new(200, json!({ "ok": ok, "entry_id": "1" }).to_string())
        }
        "GetCacheEntryDownloadURL" => {
            let prefixes: Vec<&str> = words["restore_keys"]
                .as_array()
                .map(|keys| keys.iter().filter_map(Value::as_str).collect())
                .unwrap_or_default();
            let whole = |entry: &&Entry| entry.finished && entry.version == version;
            let numbered = || entries.iter().enumerate().rev().filter(|(_, entry)| whole(entry));
            let found = numbered().find(|(_, entry)| entry.key == key).or_else(|| {
                prefixes
                    .iter()
                    .find_map(|prefix| numbered().find(|(_, entry)| entry.key.starts_with(prefix)))
            });
            let words = match found {
                Some((number, entry)) => json!({
                    "ok": true, "signed_download_url": url(number), "matched_key": entry.key,
                }),
                None => json!({ "ok": false, "signed_download_url": "", "matched_key": "" }),
            };
            Answer::new(200, words.to_string())
        }
        _ => Answer::new(404, r#"{"code":"bad_route","msg":"no such method"}"#),
    }
}
