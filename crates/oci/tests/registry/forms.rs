//! Boxes as artifacts and as container images.

use std::process::{Command, Output};

use oci::{Artifact, BoxHandle, BoxOptions, Error, Form, NoProgress};
use testkit::fake_registry::{Access, FakeRegistry, Rules};
use testkit::image::{Blob, Image, tar};
use testkit::registry::{Options, Registry};
use testkit::token_gate::TokenGate;

use crate::*;

const WASM: &[u8] = b"\0asm\x01\0\0\0";

fn write_box(store: &TempStore, name: &Reference) -> BoxHandle {
    let wasm = store.dir.path().join("some.wasm");
    std::fs::write(&wasm, WASM).unwrap();
    let options = BoxOptions {
        created: Some("2024-05-06T07:08:09Z".into()),
        author: Some("ann".into()),
        annotations: [("org.example.a".into(), "b".into())].into(),
        like: None,
    };
    store.write_box(&wasm, options, Some(name)).unwrap()
}

fn run(program: &str, args: &[&str]) -> Output {
    let output = Command::new(program).args(args).output();
    let output = output.unwrap_or_else(|e| panic!("{program}: {e}; apt-get install {program}"));
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    output
}

#[test]
fn both_forms_lead_to_the_same_box() {
    let registry = Registry::start(Options::default());
    let store = temp_store();
    let name = reference(&registry.name("boxes/hello:v1"));
    let made = write_box(&store, &name);
    let pushed = client().push_box(&name, &store, &made, Form::Both, &NoProgress).unwrap();
    assert_eq!(pushed[0].digest, made.digest);
    assert_eq!(pushed[1].reference.tag(), Some("v1-image"));
    assert_ne!(pushed[1].digest, made.digest);
    // The same again: nothing is made anew, and the image has no row of its own.
    let again = client().push_box(&name, &store, &made, Form::Both, &NoProgress).unwrap();
    assert_eq!(again, pushed);
    assert_eq!(store.images().unwrap().len(), 1);

    for form in pushed {
        let other = temp_store();
        let pulled = client().pull_any(&form.reference, &other, &NoProgress).unwrap();
        assert_eq!(pulled.digest, form.digest, "what the registry calls it");
        assert_eq!(pulled.artifact, Artifact::Box(made.clone()));
        assert_eq!(std::fs::read(other.blob_path(&made.wasm.digest)).unwrap(), WASM);
        // By the digest that the registry has for it, without asking again.
        let by_digest = form.reference.with_digest(&form.digest);
        let offline = Client::new(ClientOptions { offline: true, ..options() }).unwrap();
        let found = offline.pull_any(&by_digest, &other, &NoProgress).unwrap();
        assert_eq!(found.artifact, Artifact::Box(made.clone()));
        assert_eq!(client().pull_box(&form.reference, &other, &NoProgress).unwrap(), made);
        // The image may be a base.
        match client().pull(&form.reference, &temp_store(), &NoProgress) {
            Ok(base) => assert!(oci::is_wasi(&base.config) && form.digest != made.digest),
            Err(Error::NotAnImage { .. }) => assert_eq!(form.digest, made.digest),
            Err(error) => panic!("{error}"),
        }
        assert_intact(&other);
        assert!(other.garbage().unwrap().is_empty());
    }
    // The image goes with the box.
    let mut store = store;
    store.untag(&name).unwrap();
    store.store.collect_garbage().unwrap();
    assert!(store.garbage().unwrap().is_empty() && store.images().unwrap().is_empty());
}

#[test]
fn other_tools_take_the_image() {
    let registry = Registry::start(Options::default());
    let store = temp_store();
    let name = reference(&registry.name("boxes/hello:v1"));
    let made = write_box(&store, &name);
    client().push_box(&name, &store, &made, Form::Image, &NoProgress).unwrap();
    let place = format!("docker://{}", name.canonical());
    let inspect = run("skopeo", &["inspect", "--tls-verify=false", "--config", &place]);
    let config: serde_json::Value = serde_json::from_slice(&inspect.stdout).unwrap();
    assert_eq!((&config["os"], &config["architecture"]), (&"wasi".into(), &"wasm".into()));
    assert_eq!(config["config"]["Entrypoint"][0], "/box.wasm");
    let layout = store.dir.path().join("layout");
    let target = format!("oci:{}:v1", layout.display());
    run("skopeo", &["copy", "--insecure-policy", "--src-tls-verify=false", &place, &target]);
    let dir = |name: &str| store.dir.path().join(name).display().to_string();
    let (root, state) = (dir("root"), dir("run"));
    let storage = ["--storage-driver", "vfs", "--root", &root, "--runroot", &state];
    let pull = ["pull", "--policy", "always", "--tls-verify=false", &place];
    run("buildah", &[&storage[..], &pull].concat());
    let loaded = oci::import_layout(&layout, None, &temp_store(), None, &NoProgress).unwrap();
    assert_eq!(loaded, Artifact::Box(made));
}

/// The same behind TLS and a password, and behind a token server.
#[test]
fn other_tools_take_the_image_from_protected_registries() {
    let tls = Registry::start(Options { tls: true, htpasswd: Some(("ann", "s3cret")) });
    let inner = Registry::start(Options::default());
    let gate = TokenGate::start(inner.host(), "ann", "s3cret");
    for (name, verify) in [(tls.name("a/box:1"), true), (gate.name("a/box:1"), false)] {
        let store = temp_store();
        let name = reference(&name);
        let made = write_box(&store, &name);
        let extra_ca = if verify { vec![tls.ca()] } else { Vec::new() };
        let credentials = with_user("ann", "s3cret");
        let client = Client::new(ClientOptions { credentials, extra_ca, ..options() }).unwrap();
        let pushed = client.push_box(&name, &store, &made, Form::Both, &NoProgress).unwrap();
        for form in &pushed {
            let pulled = client.pull_box(&form.reference, &temp_store(), &NoProgress).unwrap();
            assert_eq!(pulled, made);
        }
        let place = format!("docker://{}", pushed[1].reference.canonical());
        let dir = |name: &str| store.dir.path().join(name).display().to_string();
        let (certs, target) = (dir("certs"), format!("oci:{}:v1", dir("layout")));
        std::fs::create_dir(&certs).unwrap();
        if verify {
            std::fs::copy(tls.ca(), format!("{certs}/ca.crt")).unwrap();
        }
        let (src_tls, pull_tls) =
            (format!("--src-tls-verify={verify}"), format!("--tls-verify={verify}"));
        let copy = ["copy", "--insecure-policy", &src_tls, "--src-creds=ann:s3cret"];
        run("skopeo", &[&copy[..], &["--src-cert-dir", &certs, &place, &target]].concat());
        let (root, state) = (dir("root"), dir("run"));
        let storage = ["--storage-driver", "vfs", "--root", &root, "--runroot", &state];
        let pull = ["pull", &pull_tls, "--creds=ann:s3cret", "--cert-dir", &certs, &place];
        run("buildah", &[&storage[..], &pull].concat());
    }
}

#[test]
fn an_image_of_somebody_else() {
    let registry = FakeRegistry::start(Access::Open);
    let image = |entrypoint: &str, layers: &[&[u8]]| {
        let run =
            format!(r#"{{"Entrypoint":{entrypoint},"Env":["PATH=/bin"],"WorkingDir":"/app"}}"#);
        Image::with_config("wasi/wasm", &run, layers)
    };
    let alone = tar(&[("app/main.wasm", WASM)]);
    let sole = |entrypoint: &str, layers: &[&[u8]]| {
        Image::with_config("wasi/wasm", &format!(r#"{{"Entrypoint":{entrypoint}}}"#), layers)
    };
    registry.add("sole", &sole(r#"["app/main.wasm"]"#, &[&alone]));
    let gone = tar(&[("app/.wh.main.wasm", b"")]);
    registry.add("gone", &sole(r#"["/app/main.wasm"]"#, &[&alone, &gone]));
    registry.add("none", &sole("null", &[&alone]));
    registry.add("elsewhere", &sole(r#"["/box.wasm"]"#, &[&tar(&[])]));
    registry.add("native", &sole(r#"["/x"]"#, &[&tar(&[("x", b"x")])]));
    // There is more to these than a module.
    let lower = tar(&[("app/main.wasm", WASM), ("app/x", b"x")]);
    registry.add("files", &sole(r#"["/app/main.wasm"]"#, &[&lower]));
    registry.add("layers", &sole(r#"["/app/main.wasm"]"#, &[&alone, &tar(&[("app/y", b"y")])]));
    registry.add("words", &sole(r#"["/app/main.wasm","--serve"]"#, &[&alone]));
    registry.add("there", &image(r#"["./main.wasm"]"#, &[&alone]));
    let pull = |tag: &str| {
        let store = temp_store();
        let name = reference(&registry.name(&format!("app:{tag}")));
        client().pull_any(&name, &store, &NoProgress).map(|pulled| pulled.artifact)
    };
    match pull("sole").unwrap() {
        Artifact::Box(found) => assert_eq!(found.wasm.digest.as_str(), Blob::new(WASM).digest),
        other => panic!("{other:?}"),
    }
    for tag in ["files", "layers", "words", "there"] {
        match pull(tag).unwrap() {
            Artifact::Image(found) => assert!(oci::is_wasi(&found.config)),
            other => panic!("{tag}: {other:?}"),
        }
    }
    let store = temp_store();
    let name = reference(&registry.name("app:sole"));
    assert!(oci::is_wasi(&client().pull(&name, &store, &NoProgress).unwrap().config), "as a base");
    for (tag, reason) in [
        ("gone", "was deleted"),
        ("none", "without ENTRYPOINT"),
        ("elsewhere", "in none of its layers"),
        ("native", "no WebAssembly"),
    ] {
        let error = pull(tag).unwrap_err();
        assert!(matches!(&error, Error::NotABox { .. }), "{tag}: {error}");
        assert!(error.to_string().contains(reason), "{tag}: {error}");
    }
}

#[test]
fn an_index_with_a_module_beside_other_systems() {
    let registry = FakeRegistry::start(Access::Open);
    let arm = Image::new("linux/arm64", &[b"arm"]);
    let layer = tar(&[("m.wasm", WASM)]);
    let wasi = Image::with_config("wasi/wasm", r#"{"Entrypoint":["/m.wasm"]}"#, &[&layer]);
    registry.add("wasi", &wasi);
    registry
        .add_manifest("1", &testkit::image::index(&[("linux/arm64", &arm), ("wasi/wasm", &wasi)]));
    let name = reference(&registry.name("app:1"));
    let pulled = client().pull_any(&name, &temp_store(), &NoProgress).unwrap();
    assert!(matches!(pulled.artifact, Artifact::Box(_)));
}

#[test]
fn a_registry_that_takes_images_alone() {
    let refused_types = vec!["application/vnd.wasm.config.v0+json".into()];
    let registry =
        FakeRegistry::with_rules(Access::Open, Rules { refused_types, ..Rules::default() });
    let store = temp_store();
    let name = reference(&registry.name("boxes/hello:v1"));
    let made = write_box(&store, &name);
    let error = client().push_box(&name, &store, &made, Form::Artifact, &NoProgress).unwrap_err();
    assert!(matches!(error, Error::ArtifactRefused { status: 400, .. }), "{error}");
    client().push_box(&name, &store, &made, Form::Image, &NoProgress).unwrap();
    assert_eq!(client().pull_box(&name, &temp_store(), &NoProgress).unwrap(), made);
}

/// What oci-wasm 0.6, the client that Wasm tools share, asks of an artifact before it takes it. (The crate itself would bring a second
/// oci-client and wit-component, and other features for what everything is built with.)
#[test]
fn oci_wasm_takes_the_artifact() {
    let registry = Registry::start(Options::default());
    let store = temp_store();
    let name = reference(&registry.name("boxes/hello:v1"));
    let made = write_box(&store, &name);
    client().push_box(&name, &store, &made, Form::Artifact, &NoProgress).unwrap();
    let get = |place: &str, accept: &str| -> serde_json::Value {
        let url = format!("http://{}/v2/boxes/hello/{place}", registry.host());
        let accept = format!("Accept: {accept}");
        serde_json::from_slice(&run("curl", &["-sfL", "-H", &accept, &url]).stdout).unwrap()
    };
    let manifest = get("manifests/v1", "application/vnd.oci.image.manifest.v1+json");
    assert_eq!(manifest["mediaType"], "application/vnd.oci.image.manifest.v1+json");
    assert_eq!(manifest["config"]["mediaType"], "application/vnd.wasm.config.v0+json");
    let layers = manifest["layers"].as_array().unwrap();
    assert_eq!(layers.len(), 1);
    assert_eq!(layers[0]["mediaType"], "application/wasm");
    // What `oras pull` and `podman artifact pull` name the file.
    assert_eq!(layers[0]["annotations"]["org.opencontainers.image.title"], "box.wasm");
    let config = manifest["config"]["digest"].as_str().unwrap();
    let config = get(&format!("blobs/{config}"), "*/*");
    assert_eq!((&config["architecture"], &config["os"]), (&"wasm".into(), &"wasip1".into()));
    assert_eq!(config["layerDigests"][0], layers[0]["digest"]);
    assert_eq!(config["created"], "2024-05-06T07:08:09Z");
}
