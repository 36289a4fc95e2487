//! Caches that travel: what one store has built, another one takes over from a directory, a registry or an image.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test")]

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use build::{
    BuildOptions, Built, CacheExport, CacheImport, CacheMode, Events, MainContext, StepId, Workshop,
};
use oci::{Client, ClientOptions, Reference, Selector, Store};
use testkit::actions_cache::{ActionsCacheServer, TOKEN};

/// Names of steps by number, and what became of them.
#[derive(Default)]
struct Recorder {
    names: Mutex<Vec<(u32, String)>>,
    cached: Mutex<Vec<u32>>,
    failed: Mutex<Vec<String>>,
}

impl Events for Recorder {
    fn started(&self, step: StepId, name: &str) {
        self.names.lock().unwrap().push((step.0, name.to_owned()));
    }
    fn cached(&self, step: StepId) {
        self.cached.lock().unwrap().push(step.0);
    }
    fn failed(&self, _step: StepId, message: &str) {
        self.failed.lock().unwrap().push(message.to_owned());
    }
}

impl Recorder {
    /// The instructions that were carried out and those that were known, sorted.
    fn done_and_known(&self) -> (Vec<String>, Vec<String>) {
        let cached = self.cached.lock().unwrap();
        let names = self.names.lock().unwrap();
        let steps = names
            .iter()
            .filter(|(_, name)| name.starts_with('[') && !name.starts_with("[internal]"));
        let (known, done): (Vec<_>, Vec<_>) = steps.partition(|(step, _)| cached.contains(step));
        let words = |steps: Vec<&(u32, String)>| {
            let mut words: Vec<String> = steps
                .into_iter()
                .map(|(_, name)| name.split("] ").nth(1).unwrap_or(name).to_owned())
                .collect();
            words.sort();
            words
        };
        (words(done), words(known))
    }
}

const TEXT: &str = "FROM scratch AS a\nCOPY one /1\nWORKDIR /w\nFROM scratch\nCOPY two /2\n\
                    COPY --from=a /1 /3\nWORKDIR /\n";

struct Bench {
    folder: tempfile::TempDir,
}

impl Bench {
    fn new() -> Self {
        let bench = Self { folder: tempfile::tempdir().unwrap() };
        for name in ["one", "two"] {
            let context = bench.path("context");
            fs::create_dir_all(&context).unwrap();
            fs::write(context.join(name), name).unwrap();
        }
        bench
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Builds in a store of this name, from a copy of the context at a place of its own.
    fn build(
        &self,
        store: &str,
        from: Vec<CacheImport>,
        to: Vec<CacheExport>,
    ) -> (Workshop, Arc<Recorder>, Built) {
        let events = Arc::new(Recorder::default());
        let workshop = Workshop {
            interrupt: runtime::Interrupt::new(),
            store: Store::open(self.path(store)).unwrap(),
            client: Client::new(ClientOptions { retries: 0, ..Default::default() }).unwrap(),
            runtime: runtime::Runtime::with_cache_dir(&self.path("compiled")).unwrap(),
            guest: None,
            events: Arc::clone(&events) as Arc<dyn Events>,
        };
        let context = self.path(&format!("context of {store}"));
        fs::create_dir_all(&context).unwrap();
        for name in ["one", "two"] {
            fs::copy(self.path("context").join(name), context.join(name)).unwrap();
        }
        let options = BuildOptions {
            context: Some(MainContext::directory(&context).unwrap()),
            cache_from: from,
            cache_to: to,
            source_date_epoch: Some(1),
            ..BuildOptions::new(dockerfile::Dockerfile::parse(TEXT).unwrap())
        };
        let built = build::build(&workshop, &options).unwrap();
        (workshop, events, built)
    }
}

fn local(path: &Path, mode: CacheMode) -> CacheExport {
    let tag = "latest".to_owned();
    CacheExport::Local { path: path.to_owned(), tag, mode, ignore_error: false }
}

fn from_local(path: &Path) -> CacheImport {
    let selector = Selector::Name("latest".to_owned());
    CacheImport::Local { path: path.to_owned(), selector }
}

const ALL: [&str; 4] = ["COPY --from=a /1 /3", "COPY one /1", "COPY two /2", "WORKDIR /w"];

#[test]
fn a_cache_in_a_directory_spares_another_store_the_work() {
    let bench = Bench::new();
    let (max, min) = (bench.path("max"), bench.path("min"));
    let exports = vec![local(&max, CacheMode::Max), local(&min, CacheMode::Min)];
    let (_, events, first) = bench.build("first", Vec::new(), exports);
    let (done, _) = events.done_and_known();
    assert!(ALL.iter().all(|step| done.contains(&(*step).to_owned())), "{done:?}");
    let (_, events, second) = bench.build("second", vec![from_local(&max)], Vec::new());
    let (done, known) = events.done_and_known();
    assert!(done.is_empty() && known.len() == 5, "{done:?} {known:?}");
    assert_eq!(first.image.digest, second.image.digest);
    // The least: what the result is made of, and not the other stage.
    let (_, events, third) = bench.build("third", vec![from_local(&min)], Vec::new());
    let (done, known) = events.done_and_known();
    assert_eq!(
        (done.len(), known),
        (
            0,
            vec![
                "COPY --from=a /1 /3".to_owned(),
                "COPY two /2".to_owned(),
                "WORKDIR /".to_owned()
            ]
        )
    );
    assert_eq!(first.image.digest, third.image.digest);
    // What the other stage is made of has changed: it is needed.
    fs::write(bench.path("context/one"), "changed").unwrap();
    let (_, events, _) = bench.build("changed", vec![from_local(&min)], Vec::new());
    let (done, known) = events.done_and_known();
    assert_eq!(done, ["COPY --from=a /1 /3", "COPY one /1", "WORKDIR /", "WORKDIR /w"]);
    assert_eq!(known, ["COPY two /2"]);
    fs::write(bench.path("context/one"), "one").unwrap();
    // A changed file is no known one.
    fs::write(bench.path("context/two"), "changed").unwrap();
    let (_, events, _) = bench.build("fourth", vec![from_local(&max)], Vec::new());
    let (done, _) = events.done_and_known();
    assert!(done.contains(&"COPY two /2".to_owned()) && !done.contains(&"COPY one /1".to_owned()));
}

#[test]
fn a_cache_that_is_damaged_or_not_there_costs_time_only() {
    let bench = Bench::new();
    let cache = bench.path("cache");
    bench.build("first", Vec::new(), vec![local(&cache, CacheMode::Max)]);
    let blobs = fs::read_dir(cache.join("blobs/sha256")).unwrap();
    for blob in blobs.map(|entry| entry.unwrap().path()) {
        let mut bytes = fs::read(&blob).unwrap();
        if bytes.starts_with(&[0x1f, 0x8b]) {
            *bytes.last_mut().unwrap() ^= 1;
            fs::write(&blob, bytes).unwrap();
        }
    }
    let nowhere = from_local(&bench.path("nowhere"));
    let imports = vec![nowhere, from_local(&cache)];
    let (_, events, _) = bench.build("second", imports, Vec::new());
    assert!(ALL.iter().all(|step| events.done_and_known().0.contains(&(*step).to_owned())));
    assert_eq!(events.failed.lock().unwrap().len(), 1);
}

#[test]
fn a_cache_travels_by_registry_and_inside_an_image() {
    let registry = testkit::registry::Registry::start(testkit::registry::Options::default());
    let bench = Bench::new();
    let name = |name: &str| Reference::parse(&format!("{}/{name}", registry.host())).unwrap();
    let (cache, image) = (name("app:cache"), name("app:1"));
    let (mode, ignore_error) = (CacheMode::Max, false);
    let export = CacheExport::Registry { reference: cache.clone(), mode, ignore_error };
    let (workshop, _, first) = bench.build("first", Vec::new(), vec![export, CacheExport::Inline]);
    workshop.client.push(&image, &workshop.store, &first.image.digest, &oci::NoProgress).unwrap();
    let from = vec![CacheImport::Registry(cache)];
    let (_, events, second) = bench.build("second", from, vec![CacheExport::Inline]);
    assert!(events.done_and_known().0.is_empty());
    assert_eq!(first.image.digest, second.image.digest);
    let (_, events, third) = bench.build("third", vec![CacheImport::Registry(image)], Vec::new());
    assert!(events.done_and_known().0.is_empty());
    // The record is in the image that was asked to carry it, and in no other.
    let carried = |built: &Built| built.image.config.extra.contains_key("boxer.buildcache.v1");
    assert!(carried(&first) && !carried(&third));
}

#[test]
fn a_cache_travels_by_the_service_of_github_actions() {
    let server = ActionsCacheServer::start();
    let bench = Bench::new();
    let cache = oci::ActionsCache { url: server.url(), token: TOKEN.into(), scope: "a".into() };
    let export = |mode| CacheExport::Actions { cache: cache.clone(), mode, ignore_error: false };
    let import = || vec![CacheImport::Actions(cache.clone())];
    // Nothing is there yet, which costs nothing.
    let (_, events, first) = bench.build("first", import(), vec![export(CacheMode::Max)]);
    assert!(events.done_and_known().1.is_empty(), "{:?}", events.done_and_known());
    assert_eq!(events.failed.lock().unwrap().len(), 1, "{:?}", events.failed);
    let (_, events, second) = bench.build("second", import(), vec![export(CacheMode::Min)]);
    assert!(events.done_and_known().0.is_empty(), "{:?}", events.done_and_known());
    assert_eq!(first.image.digest, second.image.digest);
    // Layers that are lost or damaged are made again.
    server.entries(|entries| {
        let layers = entries.iter_mut().filter(|entry| entry.key.starts_with("boxer-layer-"));
        layers.for_each(|entry| entry.content.truncate(9));
    });
    let (_, _, third) = bench.build("third", import(), Vec::new());
    assert_eq!(first.image.digest, third.image.digest);
}
