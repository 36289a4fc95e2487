//! The client against registries: Debian's docker-registry, and a fake one for tokens and faults.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod actions;
mod cuts;
mod faults;
mod forms;
mod real;
mod referrers;
mod session;
mod token;
mod upload;

use std::sync::Mutex;
use std::time::Duration;

use oci::auth::{CredentialSources, Credentials};
use oci::{Client, ClientOptions, Digest, Progress, Reference, Store};

/// A store that goes away with the test.
struct TempStore {
    store: Store,
    dir: tempfile::TempDir,
}

impl std::ops::Deref for TempStore {
    type Target = Store;
    fn deref(&self) -> &Store {
        &self.store
    }
}

fn temp_store() -> TempStore {
    let dir = tempfile::tempdir().unwrap();
    TempStore { store: Store::open(dir.path().join("store")).unwrap(), dir }
}

/// Options that find no credentials and do not wait.
fn options() -> ClientOptions {
    ClientOptions {
        retries: 2,
        backoff: Duration::from_millis(1),
        timeout: Duration::from_secs(20),
        ..ClientOptions::default()
    }
}

fn client() -> Client {
    Client::new(options()).unwrap()
}

fn with_user(user: &str, password: &str) -> CredentialSources {
    let explicit = Some(Credentials::Basic { user: user.into(), password: password.into() });
    CredentialSources { explicit, ..CredentialSources::default() }
}

fn reference(text: &str) -> Reference {
    Reference::parse(text).unwrap()
}

fn digest(text: &str) -> Digest {
    Digest::parse(text).unwrap()
}

/// The whole store is sound: every blob is its digest's, every name leads to an image or box.
fn assert_intact(store: &Store) {
    for algorithm in ["sha256", "sha512"] {
        let Ok(files) = std::fs::read_dir(store.path().join("blobs").join(algorithm)) else {
            continue;
        };
        for file in files {
            let name = file.unwrap().file_name().into_string().unwrap();
            store.open_blob(&digest(&format!("{algorithm}:{name}"))).unwrap().finish().unwrap();
        }
    }
    for entry in store.images().unwrap() {
        assert_eq!(entry.damage, None);
        store.artifact_by_digest(&entry.digest).unwrap();
    }
}

/// Remembers what it heard.
#[derive(Default)]
struct Heard(Mutex<Vec<String>>);

impl Heard {
    fn count(&self, what: &str) -> usize {
        self.0.lock().unwrap().iter().filter(|line| line.starts_with(what)).count()
    }
    fn say(&self, line: String) {
        self.0.lock().unwrap().push(line);
    }
}

impl Progress for Heard {
    fn start(&self, blob: &Digest, size: u64, position: u64) {
        self.say(format!("start {position}/{size} {blob}"));
    }
    fn finish(&self, blob: &Digest) {
        self.say(format!("finish {blob}"));
    }
    fn skip(&self, blob: &Digest) {
        self.say(format!("skip {blob}"));
    }
    fn retry(&self, blob: &Digest, attempt: u32, _reason: &str) {
        self.say(format!("retry {attempt} {blob}"));
    }
}
