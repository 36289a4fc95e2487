//! Against Debian's docker-registry.

use oci::{
    Artifact, BoxOptions, Client, ClientOptions, Error, ImageConfig, ImageHandle, NoProgress,
    Statement, Store, export_archive, import_archive,
};
use testkit::registry::{Options, Registry};

use crate::*;

const LARGE: usize = 3 << 20;

fn write_image(store: &Store, name: &str) -> ImageHandle {
    let large: Vec<u8> = (0..LARGE).map(|i| (i * 7 % 251) as u8).collect();
    let layers = vec![
        store.add_layer(&mut large.as_slice()).unwrap(),
        store.add_layer(&mut &b"a second layer"[..]).unwrap(),
    ];
    let mut config = ImageConfig::scratch();
    config.config.cmd = Some(vec!["/bin/sh".into()]);
    config.config.env = vec!["PATH=/bin".into()];
    store.write_image(config, layers, Some(&reference(name))).unwrap()
}

fn push_image(client: &Client, registry: &Registry, tag: &str) -> ImageHandle {
    let store = temp_store();
    let name = registry.name(tag);
    let image = write_image(&store, &name);
    client.push(&reference(&name), &store, &image.digest, &NoProgress).unwrap();
    image
}

#[test]
fn push_and_pull_over_plain_http() {
    let registry = Registry::start(Options::default());
    let image = push_image(&client(), &registry, "app:1");

    let store = temp_store();
    let heard = Heard::default();
    let by_tag = client().pull(&reference(&registry.name("app:1")), &store, &heard).unwrap();
    assert_eq!(by_tag, image);
    assert_eq!(heard.count("finish"), 3);
    assert_eq!(by_tag.config.config.env, ["PATH=/bin"]);

    // By digest, on an empty store and on this one.
    let by_digest = reference(&registry.name(&format!("app@{}", image.digest)));
    assert_eq!(client().pull(&by_digest, &temp_store(), &NoProgress).unwrap(), image);
    let heard = Heard::default();
    assert_eq!(client().pull(&by_digest, &store, &heard).unwrap(), image);
    assert_eq!(heard.count("start"), 0, "a digest in the store needs no transfer");

    // Again by tag: the registry is asked, the blobs are here.
    let heard = Heard::default();
    client().pull(&reference(&registry.name("app:1")), &store, &heard).unwrap();
    assert_eq!((heard.count("start"), heard.count("skip")), (0, 3));
    assert_intact(&store);
}

#[test]
fn attestations_travel_with_what_they_are_about() {
    let registry = Registry::start(Options::default());
    let mut store = temp_store();
    let name = reference(&registry.name("app:1"));
    let image = write_image(&store, &name.canonical());
    let statement = |text: &str| Statement {
        predicate_type: "https://example.org/says".into(),
        json: format!(r#"{{"says":"{text}"}}"#).into_bytes(),
    };
    store.attest(&image.descriptor, &[statement("earlier")]).unwrap();
    let attested = store.attest(&image.descriptor, &[statement("one"), statement("two")]).unwrap();
    assert_eq!(store.attestations(&image.digest).unwrap().len(), 1, "the earlier one gave way");
    for _ in 0..2 {
        client().push(&name, &store, &image.digest, &NoProgress).unwrap();
    }
    // Debian's registry has no referrers API: they are found by a tag.
    let get = |place: &str| -> serde_json::Value {
        let url = format!("http://{}/v2/app/{place}", registry.host());
        let accept =
            "application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json";
        let curl = std::process::Command::new("curl")
            .args(["-sfL", "-H", &format!("Accept: {accept}"), &url])
            .output()
            .unwrap();
        serde_json::from_slice(&curl.stdout).unwrap()
    };
    let referrers = get(&format!("manifests/sha256-{}", image.digest.hex()));
    let listed = referrers["manifests"].as_array().unwrap();
    assert_eq!(listed.len(), 1, "{referrers}");
    assert_eq!(listed[0]["digest"], attested.digest.as_str());
    assert_eq!(listed[0]["artifactType"], "application/vnd.docker.attestation.manifest.v1+json");
    let manifest = get(&format!("manifests/{}", attested.digest));
    assert_eq!(manifest["subject"]["digest"], image.digest.as_str());
    let layers = manifest["layers"].as_array().unwrap();
    assert_eq!(layers[1]["annotations"]["in-toto.io/predicate-type"], "https://example.org/says");
    let said = get(&format!("blobs/{}", layers[1]["digest"].as_str().unwrap()));
    assert_eq!(said["says"], "two");
    // The image itself is as it was.
    assert_eq!(client().pull(&name, &temp_store(), &NoProgress).unwrap(), image);

    // They live as long as the image, and go with it.
    store.store.collect_garbage().unwrap();
    assert_eq!(store.attestations(&image.digest).unwrap().len(), 1);
    let mut archive = Vec::new();
    export_archive(&store, &image.digest, &mut archive, Some(&name)).unwrap();
    assert!(store.untag(&name).unwrap());
    store.forget_unnamed().unwrap();
    store.store.collect_garbage().unwrap();
    assert!(store.attestations(&image.digest).unwrap().is_empty());
    assert!(!store.has_blob(&attested.digest));

    // An archive with them is read as the image.
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("image.tar");
    std::fs::write(&path, archive).unwrap();
    let loaded = import_archive(&path, None, &temp_store(), None, &NoProgress).unwrap();
    assert!(matches!(loaded, Artifact::Image(loaded) if loaded == image));
}

#[test]
fn pushing_twice_sends_nothing() {
    let registry = Registry::start(Options::default());
    let store = temp_store();
    let name = reference(&registry.name("app:1"));
    let image = write_image(&store, &name.canonical());
    let heard = Heard::default();
    client().push(&name, &store, &image.digest, &heard).unwrap();
    assert_eq!((heard.count("finish"), heard.count("skip")), (3, 0));
    let heard = Heard::default();
    client().push(&name, &store, &image.digest, &heard).unwrap();
    assert_eq!((heard.count("finish"), heard.count("skip")), (0, 3));
}

#[test]
fn tls_and_basic() {
    let registry = Registry::start(Options { tls: true, htpasswd: Some(("ann", "s3cret")) });
    let options = || ClientOptions { extra_ca: vec![registry.ca()], ..options() };
    let right = Client::new(ClientOptions { credentials: with_user("ann", "s3cret"), ..options() })
        .unwrap();
    let image = push_image(&right, &registry, "ns/app:1");
    let name = reference(&registry.name("ns/app:1"));
    let store = temp_store();
    assert_eq!(right.pull(&name, &store, &NoProgress).unwrap(), image);

    // The same from a docker config file.
    let file = store.dir.path().join("config.json");
    let auth = "YW5uOnMzY3JldA=="; // ann:s3cret
    std::fs::write(&file, format!(r#"{{"auths":{{"{}":{{"auth":"{auth}"}}}}}}"#, registry.host()))
        .unwrap();
    let credentials = CredentialSources { files: vec![file], ..CredentialSources::default() };
    let from_file = Client::new(ClientOptions { credentials, ..options() }).unwrap();
    from_file.pull(&name, &temp_store(), &NoProgress).unwrap();

    let wrong =
        Client::new(ClientOptions { credentials: with_user("ann", "guess"), ..options() }).unwrap();
    let none = Client::new(options()).unwrap();
    for (client, hint) in
        [(&wrong, "the password of ann was sent"), (&none, "no credentials were found")]
    {
        let store = temp_store();
        let error = client.pull(&name, &store, &NoProgress).unwrap_err();
        assert!(matches!(error, Error::Unauthorized { .. }), "{error}");
        assert!(
            error.to_string().contains(hint) && error.to_string().contains("ns/app:1"),
            "{error}"
        );
        assert_intact(&store);
        let other = temp_store();
        let image = write_image(&other, &name.canonical());
        let error = client.push(&name, &other, &image.digest, &NoProgress).unwrap_err();
        assert!(matches!(error, Error::Unauthorized { .. }), "{error}");
    }

    // Without the CA: a TLS error, never a fall-back to http. With --insecure it is not asked for.
    let stranger = ClientOptions { credentials: with_user("ann", "s3cret"), ..crate::options() };
    let error =
        Client::new(stranger.clone()).unwrap().pull(&name, &temp_store(), &NoProgress).unwrap_err();
    assert!(matches!(error, Error::Tls { .. }), "{error}");
    let insecure = Client::new(ClientOptions { insecure: true, ..stranger }).unwrap();
    insecure.pull(&name, &temp_store(), &NoProgress).unwrap();
}

#[test]
fn what_is_not_there() {
    let registry = Registry::start(Options::default());
    push_image(&client(), &registry, "app:1");
    let absent = format!("app@sha256:{}", "0".repeat(64));
    for name in ["app:2", "other:1", &absent] {
        let store = temp_store();
        let error =
            client().pull(&reference(&registry.name(name)), &store, &NoProgress).unwrap_err();
        assert!(matches!(error, Error::NotFound { .. }), "{name}: {error}");
        assert!(error.to_string().contains(name), "{error}");
        assert!(store.images().unwrap().is_empty());
    }
}

#[test]
fn no_registry_at_all() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let host = listener.local_addr().unwrap().to_string();
    drop(listener);
    let error = client()
        .pull(&reference(&format!("{host}/app:1")), &temp_store(), &NoProgress)
        .unwrap_err();
    assert!(matches!(error, Error::Network { .. }), "{error}");
    assert!(error.to_string().contains(&host), "{error}");
}

#[test]
fn tampered_and_truncated_blobs() {
    let registry = Registry::start(Options::default());
    let image = push_image(&client(), &registry, "app:1");
    let name = reference(&registry.name("app:1"));
    let file = registry.blob_file(image.layers[0].digest.as_str());
    let good = std::fs::read(&file).unwrap();
    let store = temp_store();

    let mut bad = good.clone();
    bad[LARGE / 2] ^= 1;
    std::fs::write(&file, &bad).unwrap();
    let error = client().pull(&name, &store, &NoProgress).unwrap_err();
    assert!(matches!(error, Error::WrongDigest { .. }), "{error}");

    std::fs::write(&file, &good[..LARGE - 1000]).unwrap();
    let error = client().pull(&name, &store, &NoProgress).unwrap_err();
    assert!(matches!(error, Error::Truncated { .. }), "{error}");

    let mut long = good.clone();
    long.push(0);
    std::fs::write(&file, &long).unwrap();
    let error = client().pull(&name, &store, &NoProgress).unwrap_err();
    assert!(matches!(error, Error::TooLarge { .. }), "{error}");

    assert!(store.images().unwrap().is_empty(), "nothing is named before it is whole");
    assert_intact(&store);

    // Once the registry is mended the same store pulls, without anything left to clear by hand.
    std::fs::write(&file, &good).unwrap();
    assert_eq!(client().pull(&name, &store, &NoProgress).unwrap(), image);
    assert_intact(&store);
}

#[test]
fn tampered_manifest_and_config() {
    let registry = Registry::start(Options::default());
    let image = push_image(&client(), &registry, "app:1");
    let config = registry.blob_file(image.manifest.config.digest.as_str());
    let good = std::fs::read(&config).unwrap();
    let bad = String::from_utf8(good.clone()).unwrap().replace("/bin/sh", "/bin/xx");
    std::fs::write(&config, bad).unwrap();
    let name = reference(&registry.name("app:1"));
    let error = client().pull(&name, &temp_store(), &NoProgress).unwrap_err();
    assert!(matches!(error, Error::WrongDigest { .. }), "{error}");
    std::fs::write(&config, good).unwrap();

    let manifest = registry.blob_file(image.digest.as_str());
    let text = std::fs::read_to_string(&manifest).unwrap();
    std::fs::write(&manifest, format!("{text} ")).unwrap();
    let by_digest = reference(&registry.name(&format!("app@{}", image.digest)));
    let store = temp_store();
    // The registry may notice itself and answer with an error; what must not happen is success.
    client().pull(&by_digest, &store, &NoProgress).unwrap_err();
    assert!(store.images().unwrap().is_empty());
}

#[test]
fn many_at_once_into_one_store() {
    let registry = Registry::start(Options::default());
    let image = push_image(&client(), &registry, "app:1");
    let dir = tempfile::tempdir().unwrap();
    std::thread::scope(|scope| {
        for n in 0..6 {
            let (registry, image, path) = (&registry, &image, dir.path());
            scope.spawn(move || {
                // Each with a store and a client of its own, as separate processes would have.
                let store = Store::open(path).unwrap();
                let name = reference(&registry.name("app:1"));
                assert_eq!(client().pull(&name, &store, &NoProgress).unwrap(), *image);
                store.tag(&reference(&format!("copy:{n}")), &image.descriptor).unwrap();
            });
        }
    });
    let store = Store::open(dir.path()).unwrap();
    assert_eq!(store.images().unwrap().len(), 7);
    assert_intact(&store);
}

#[test]
fn boxes_come_back_the_same() {
    let registry = Registry::start(Options::default());
    let store = temp_store();
    let wasm = store.dir.path().join("box.wasm");
    std::fs::write(&wasm, b"\0asm\x01\0\0\0").unwrap();
    let name = reference(&registry.name("boxes/hello:v1"));
    let made = store.write_box(&wasm, BoxOptions::default(), Some(&name)).unwrap();
    assert_eq!((made.config.os.as_str(), made.config.component.is_none()), ("wasip1", true));
    client().push(&name, &store, &made.digest, &NoProgress).unwrap();

    let empty = temp_store();
    let pulled = client().pull_box(&name, &empty, &NoProgress).unwrap();
    assert_eq!(pulled, made);
    assert_eq!(
        std::fs::read(empty.blob_path(&pulled.wasm.digest)).unwrap(),
        std::fs::read(&wasm).unwrap()
    );
    let by_digest = reference(&registry.name(&format!("boxes/hello@{}", made.digest)));
    assert!(
        matches!(client().pull_any(&by_digest, &temp_store(), &NoProgress).unwrap().artifact, Artifact::Box(b) if b == made)
    );

    let error = client().pull(&name, &temp_store(), &NoProgress).unwrap_err();
    assert!(matches!(error, Error::NotAnImage { .. }), "{error}");
    push_image(&client(), &registry, "app:1");
    let error = client()
        .pull_box(&reference(&registry.name("app:1")), &temp_store(), &NoProgress)
        .unwrap_err();
    assert!(matches!(error, Error::NotABox { .. }), "{error}");
    assert_intact(&empty);
}

#[test]
fn offline_uses_the_store_alone() {
    let registry = Registry::start(Options::default());
    let image = push_image(&client(), &registry, "app:1");
    let name = reference(&registry.name("app:1"));
    let store = temp_store();
    client().pull(&name, &store, &NoProgress).unwrap();
    drop(registry);
    let offline = Client::new(ClientOptions { offline: true, ..options() }).unwrap();
    assert_eq!(offline.pull(&name, &store, &NoProgress).unwrap(), image);
    let error = offline.pull(&reference("debian:12"), &store, &NoProgress).unwrap_err();
    assert_eq!(
        error.to_string(),
        "debian:12: not in the local store, and the network is off (--offline)"
    );
    let error = offline.push(&name, &store, &image.digest, &NoProgress).unwrap_err();
    assert!(matches!(error, Error::Offline { .. }), "{error}");
}

#[test]
fn mirrors_stand_in() {
    let mirror = Registry::start(Options::default());
    let image = push_image(&client(), &mirror, "hub/library/debian:12");
    let dead = "docker.io=http://127.0.0.1:1".parse().unwrap();
    let alive = format!("docker.io=http://{}/hub", mirror.host()).parse().unwrap();
    let client =
        Client::new(ClientOptions { mirrors: vec![dead, alive], retries: 0, ..options() }).unwrap();
    let store = temp_store();
    assert_eq!(client.pull(&reference("debian:12"), &store, &NoProgress).unwrap(), image);
    assert_eq!(store.images().unwrap()[0].name.as_deref(), Some("docker.io/library/debian:12"));
}

#[test]
fn archives_carry_images_between_stores() {
    let store = temp_store();
    let name = reference("app:1");
    let image = write_image(&store, "app:1");
    let path = store.dir.path().join("app.tar");
    let mut bytes = Vec::new();
    export_archive(&store, &image.digest, &mut bytes, Some(&name)).unwrap();
    let mut again = Vec::new();
    export_archive(&store, &image.digest, &mut again, Some(&name)).unwrap();
    assert!(bytes == again, "same image, same bytes");
    std::fs::write(&path, bytes).unwrap();
    let other = temp_store();
    let imported = import_archive(&path, None, &other, Some(&name), &NoProgress).unwrap();
    assert_eq!(imported, Artifact::Image(image));
    assert_intact(&other);
}

#[test]
fn works_inside_a_runtime() {
    let registry = Registry::start(Options::default());
    let image = push_image(&client(), &registry, "app:1");
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let pulled = runtime.block_on(async {
        client().pull(&reference(&registry.name("app:1")), &temp_store(), &NoProgress).unwrap()
    });
    assert_eq!(pulled, image);
}

/// What skopeo pushed is pulled, what is pushed skopeo reads, where it is installed.
#[test]
fn skopeo_shares_the_registry() {
    let registry = Registry::start(Options::default());
    let image = push_image(&client(), &registry, "ours:1");
    let url = |tag: &str| format!("docker://{}", registry.name(tag));
    let copy = |format: &str, to: &str| {
        std::process::Command::new("skopeo")
            .args([
                "copy",
                "--insecure-policy",
                "--src-tls-verify=false",
                "--dest-tls-verify=false",
            ])
            .args(["--format", format, &url("ours:1"), &url(to)])
            .output()
    };
    for (format, tag) in [("v2s2", "docker:1"), ("oci", "oci:1")] {
        let output = match copy(format, tag) {
            Ok(output) => output,
            Err(e) => return eprintln!("skipped: skopeo: {e}"),
        };
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let store = temp_store();
        let pulled = client().pull(&reference(&registry.name(tag)), &store, &NoProgress).unwrap();
        assert_eq!(pulled.config, image.config);
        assert_eq!(pulled.manifest.media_type.unwrap().contains("docker"), format == "v2s2");
        assert_intact(&store);
    }
}

#[test]
fn certificates_for_one_registry() {
    let registry = Registry::start(Options { tls: true, htpasswd: None });
    let store = temp_store();
    let dir = store.dir.path().join("certs.d");
    std::fs::create_dir_all(dir.join(registry.host())).unwrap();
    std::fs::copy(registry.ca(), dir.join(registry.host()).join("ca.crt")).unwrap();
    let client = Client::new(ClientOptions { cert_dirs: vec![dir], ..options() }).unwrap();
    let image = push_image(&client, &registry, "app:1");
    let pulled = client.pull(&reference(&registry.name("app:1")), &store, &NoProgress).unwrap();
    assert_eq!(pulled, image);
}
