//! Manifests, configs, references and files with credentials that nobody would write: each is understood or refused.
//!
//! `cargo xtask fuzz-build --inputs N --seed S` is the long run.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use oci::auth::CredentialSources;
use oci::{Document, ImageConfig, Index, Reference, Source};
use testkit::fuzz;

const DIGEST: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
const PIECES: &[&str] = &[
    "{",
    "}",
    "[",
    "]",
    ",",
    ":",
    "\"",
    "null",
    "true",
    "0",
    "2",
    "-1",
    "1e9",
    "18446744073709551616",
    "\\u0000",
    "\\ud800",
    "\"mediaType\":",
    "\"digest\":",
    "\"size\":",
    "\"layers\":",
    "\"config\":",
    "\"manifests\":",
    "\"platform\":",
    "\"annotations\":",
    "\"urls\":",
    "sha256:",
    "sha512:",
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.wasm.config.v0+json",
    "application/vnd.docker.distribution.manifest.v2+json",
    DIGEST,
    "linux",
    "amd64",
    "wasi",
    "wasm",
    "v2",
    "\u{e9}",
    " ",
    "\n",
];

fn documents() -> Vec<String> {
    let d = |kind: &str| format!(r#"{{"mediaType":"{kind}","digest":"{DIGEST}","size":7}}"#);
    let config = d("application/vnd.oci.image.config.v1+json");
    let layer = d("application/vnd.oci.image.layer.v1.tar+gzip");
    vec![
        format!(
            r#"{{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{config},"layers":[{layer},{layer}],"annotations":{{"a":"b"}}}}"#
        ),
        format!(
            r#"{{"schemaVersion":2,"manifests":[{{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"{DIGEST}","size":1,"platform":{{"os":"linux","architecture":"amd64","variant":"v2"}}}},{{"digest":"{DIGEST}","size":1}}]}}"#
        ),
        format!(
            r#"{{"architecture":"amd64","os":"linux","config":{{"Env":["A=b"],"Cmd":null,"Entrypoint":["x"],"Labels":{{"a":"b"}},"ExposedPorts":{{"80/tcp":{{}}}},"Healthcheck":{{"Test":["NONE"],"Interval":5}}}},"rootfs":{{"type":"layers","diff_ids":["{DIGEST}"]}},"history":[{{"created_by":"x","empty_layer":true}}]}}"#
        ),
    ]
}

fn known(mut config: ImageConfig) -> ImageConfig {
    config.extra.clear();
    config.config.extra.clear();
    for value in [&mut config.config.exposed_ports, &mut config.config.volumes] {
        value.values_mut().for_each(|value| *value = serde_json::Value::Null);
    }
    config
}

#[test]
fn manifests() {
    let documents = documents();
    let documents: Vec<&str> = documents.iter().map(String::as_str).collect();
    fuzz::run(20_000, |random| {
        let bytes = random.text(&documents, PIECES, 6, 30);
        match Document::parse("x", &bytes) {
            Ok(Document::Index(index)) => {
                let _ = index.linux_amd64("x");
            }
            Ok(Document::Manifest(manifest)) => {
                // What was read can be written, and is the same when it is read again.
                let again = serde_json::to_vec(&manifest).unwrap();
                assert_eq!(Document::parse("x", &again).unwrap(), Document::Manifest(manifest));
            }
            Err(error) => drop(error.to_string()),
        }
        if let Ok(config) = ImageConfig::parse("x", &bytes) {
            let again = serde_json::to_vec(&config).unwrap();
            // Fields that nobody knows may hold fractions, which JSON does not keep to the last bit.
            assert_eq!(known(ImageConfig::parse("x", &again).unwrap()), known(config));
        }
        let _ = serde_json::from_slice::<Index>(&bytes);
    });
}

#[test]
fn references() {
    const WORDS: &[&str] = &[
        "a",
        "B",
        "docker.io",
        "index.docker.io",
        "library",
        "localhost",
        "127.0.0.1",
        "[::1]",
        ":5000",
        ":",
        "/",
        "//",
        "@",
        DIGEST,
        "sha256:0",
        ".",
        "..",
        "-",
        "_",
        "__",
        "1",
        "é",
        " ",
        "oci-layout:",
        "oci-archive:",
        "docker-image://",
        "docker-archive:",
        "https://",
    ];
    fuzz::run(20_000, |random| {
        let text = random.sentence(WORDS, 9);
        if let Ok(reference) = Reference::parse(&text) {
            let again = Reference::parse(&reference.canonical()).unwrap();
            assert_eq!(again.canonical(), reference.canonical(), "{text}");
            assert_eq!(
                Reference::parse(&reference.familiar()).unwrap().canonical(),
                reference.canonical()
            );
        }
        let _ = Source::parse(&text);
    });
}

#[test]
fn credentials() {
    const FILES: &[&str] = &[
        r#"{"auths":{"r.example":{"auth":"YW5uOnMzY3JldA=="},"r.example/ns":{"identitytoken":"x"},"https://index.docker.io/v1/":{"username":"a","password":"b"}}}"#,
        r#"{"credsStore":"","credHelpers":{"r.example":"","other.example":""},"auths":{"r.example":{"registrytoken":"t"}},"HttpHeaders":{"a":"b"}}"#,
    ];
    const WORDS: &[&str] = &[
        "{",
        "}",
        "[",
        "]",
        ",",
        ":",
        "\"",
        "null",
        "\"auth\":",
        "\"auths\":",
        "\"credHelpers\":",
        "\"credsStore\":",
        "\"identitytoken\":",
        "YTpi",
        "====",
        "/",
        "..",
        "r.example",
        "r.example/ns/app",
        "https://",
        "\\u0000",
        "é",
        "0",
    ];
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("auth.json");
    // What a file names as a helper is not there.
    let helper_path = Some(dir.path().join("nothing").into_os_string());
    let sources = CredentialSources {
        required: Some(file.clone()),
        helper_path,
        ..CredentialSources::default()
    };
    fuzz::run(20_000, |random| {
        // A file that is made anew is not flushed to the disk each time, as one that is cut short and written would be.
        let _ = std::fs::remove_file(&file);
        std::fs::write(&file, random.text(FILES, WORDS, 6, 30)).unwrap();
        for (registry, repository) in [("r.example", "ns/app"), ("docker.io", "library/x")] {
            if let Err(error) = sources.lookup(registry, repository) {
                assert!(!error.to_string().contains("s3cret"), "{error}");
            }
        }
    });
}
