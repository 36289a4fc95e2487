use std::fs;
use std::io::Write as _;
use std::path::Path;

use super::*;
use crate::{
    Artifact, ImageHandle, NoProgress, export_archive, export_docker_archive, export_layout,
};

struct Fixture {
    dir: tempfile::TempDir,
    store: Store,
}

fn fixture() -> Fixture {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path().join("store")).unwrap();
    Fixture { dir, store }
}

impl Fixture {
    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn image(&self, text: &str) -> ImageHandle {
        let layers = vec![self.store.add_layer(&mut text.as_bytes()).unwrap()];
        self.store.write_image(ImageConfig::scratch(), layers, None).unwrap()
    }
}

fn name(text: &str) -> Reference {
    Reference::parse(text).unwrap()
}

fn tag(text: &str) -> Selector {
    Selector::Name(text.into())
}

fn from_layout(path: &Path, selector: Option<&Selector>) -> Result<Artifact> {
    let f = fixture();
    import_layout(path, selector, &f.store, Some(&name("imported")), &NoProgress)
}

fn from_archive(path: &Path, selector: Option<&Selector>) -> Result<Artifact> {
    let f = fixture();
    let artifact = import_archive(path, selector, &f.store, Some(&name("imported")), &NoProgress)?;
    assert_eq!(f.store.artifact(&name("imported"))?.digest(), artifact.digest());
    Ok(artifact)
}

#[test]
fn sources_parse() {
    let digest = Digest::of(b"");
    let layout = |path: &str, selector| Source::Layout { path: path.into(), selector };
    let archive = |path: &str, selector| Source::Archive { path: path.into(), selector };
    let cases = [
        ("debian:12", Source::Registry(name("debian:12"))),
        ("docker-image://debian", Source::Registry(name("debian"))),
        ("oci-layout:dir", layout("dir", None)),
        ("oci-layout://a/b:tag", layout("a/b", Some(tag("tag")))),
        ("oci-layout:///a/b", layout("/a/b", None)),
        (&format!("oci-layout:d@{digest}"), layout("d", Some(Selector::Digest(digest.clone())))),
        ("oci-archive:x.tar", archive("x.tar", None)),
        (
            "docker-archive:x.tar:docker.io/library/a:1",
            archive("x.tar", Some(tag("docker.io/library/a:1"))),
        ),
    ];
    for (input, expected) in cases {
        assert_eq!(Source::parse(input).unwrap(), expected, "{input}");
    }
    for bad in ["oci-layout:", "oci-layout://", "oci-layout:d@sha256:zz", "UPPER", ""] {
        assert!(Source::parse(bad).is_err(), "{bad}");
    }
}

#[test]
fn layouts_round_trip() {
    let f = fixture();
    let (a, b) = (f.image("a"), f.image("b"));
    let path = f.path("layout");
    export_layout(&f.store, &a.digest, &path, Some(&name("x:a"))).unwrap();
    assert_eq!(from_layout(&path, None).unwrap(), Artifact::Image(a.clone()));
    export_layout(&f.store, &b.digest, &path, Some(&name("x:b"))).unwrap();
    export_layout(&f.store, &b.digest, &path, Some(&name("x:b"))).unwrap();
    assert_eq!(from_layout(&path, Some(&tag("a"))).unwrap(), Artifact::Image(a.clone()));
    assert_eq!(from_layout(&path, Some(&tag("b"))).unwrap(), Artifact::Image(b.clone()));
    let by_digest = Selector::Digest(a.digest.clone());
    assert_eq!(from_layout(&path, Some(&by_digest)).unwrap(), Artifact::Image(a.clone()));
    let several = from_layout(&path, None).unwrap_err().to_string();
    assert!(several.contains("several images; name one of: a, b"), "{several}");
    let absent = from_layout(&path, Some(&tag("c"))).unwrap_err().to_string();
    assert!(absent.contains("no image named \"c\"; there are: a, b"), "{absent}");
    let absent = Selector::Digest(Digest::of(b"absent"));
    assert!(matches!(from_layout(&path, Some(&absent)), Err(Error::NotFound { .. })));
}

#[test]
fn damaged_layouts() {
    let f = fixture();
    let image = f.image("some layer");
    let path = f.path("layout");
    let blob = |digest: &Digest| path.join("blobs/sha256").join(digest.hex());
    let fresh = || {
        let _ = fs::remove_dir_all(&path);
        export_layout(&f.store, &image.digest, &path, None).unwrap();
    };
    assert!(matches!(from_layout(&f.path("nowhere"), None), Err(Error::Io { .. })));
    fresh();
    fs::remove_file(path.join("oci-layout")).unwrap();
    assert!(matches!(from_layout(&path, None), Err(Error::BadArchive { .. })));
    fresh();
    fs::write(path.join("index.json"), "{").unwrap();
    assert!(matches!(from_layout(&path, None), Err(Error::BadArchive { .. })));
    let layer = &image.layers[0].digest;
    for (content, check) in [
        (&b"Some layer"[..], (|e| matches!(e, Error::WrongDigest { .. })) as fn(&Error) -> bool),
        (b"some", |e| matches!(e, Error::Truncated { actual: 4, expected: 10, .. })),
        (b"some layer and more", |e| matches!(e, Error::TooLarge { .. })),
    ] {
        fresh();
        fs::write(blob(layer), content).unwrap();
        let error = from_layout(&path, None).unwrap_err();
        assert!(check(&error), "{error}");
    }
    fresh();
    fs::remove_file(blob(layer)).unwrap();
    assert!(matches!(from_layout(&path, None), Err(Error::NotFound { .. })));
    for digest in [&image.digest, &image.manifest.config.digest] {
        fresh();
        let mut bytes = fs::read(blob(digest)).unwrap();
        bytes.push(b' ');
        fs::write(blob(digest), bytes).unwrap();
        assert!(matches!(from_layout(&path, None), Err(Error::WrongDigest { .. })), "{digest}");
    }
}

#[test]
fn a_manifest_that_lies_about_a_size_is_called_that() {
    let (f, other) = (fixture(), fixture());
    let image = f.image("some layer");
    let path = f.path("layout");
    export_layout(&f.store, &image.digest, &path, None).unwrap();
    let blob = |digest: &Digest| path.join("blobs/sha256").join(digest.hex());
    let read = |path: &Path| -> serde_json::Value {
        serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
    };
    let mut manifest = read(&blob(&image.digest));
    let actual = manifest["layers"][0]["size"].as_u64().unwrap();
    manifest["layers"][0]["size"] = (actual + 5).into();
    let bytes = serde_json::to_vec(&manifest).unwrap();
    fs::write(blob(&Digest::of(&bytes)), &bytes).unwrap();
    let mut index = read(&path.join("index.json"));
    index["manifests"][0]["digest"] = Digest::of(&bytes).as_str().into();
    index["manifests"][0]["size"] = bytes.len().into();
    fs::write(path.join("index.json"), index.to_string()).unwrap();
    // Into a store that has the layer, and into one that has not.
    for store in [&f.store, &other.store] {
        match import_layout(&path, None, store, None, &NoProgress) {
            Err(Error::WrongSize { stated, actual: found, .. }) => {
                assert_eq!((stated, found), (actual + 5, actual));
            }
            result => panic!("{result:?}"),
        }
    }
}

#[test]
fn archives_round_trip_compressed_or_not() {
    let f = fixture();
    let image = f.image("a layer");
    let mut tar = Vec::new();
    export_archive(&f.store, &image.digest, &mut tar, Some(&name("x:1"))).unwrap();
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(&tar).unwrap();
    let zstd = zstd::encode_all(tar.as_slice(), 1).unwrap();
    for (n, bytes) in [tar.clone(), gzip.finish().unwrap(), zstd].into_iter().enumerate() {
        let path = f.path(&format!("{n}.tar"));
        fs::write(&path, bytes).unwrap();
        assert_eq!(from_archive(&path, None).unwrap(), Artifact::Image(image.clone()));
        assert_eq!(from_archive(&path, Some(&tag("1"))).unwrap(), Artifact::Image(image.clone()));
    }
    // Cut anywhere, it is an error and never a panic.
    let path = f.path("cut.tar");
    for end in (0..tar.len() - 1500).step_by(211) {
        fs::write(&path, &tar[..end]).unwrap();
        assert!(from_archive(&path, None).is_err(), "cut at {end}");
    }
}

/// Writes a tar of regular files, and of symbolic links where the content starts with `->`.
fn write_tar(path: &Path, files: &[(&str, &[u8])]) {
    let mut tar = tar::Builder::new(fs::File::create(path).unwrap());
    for (name, content) in files {
        let mut header = tar::Header::new_gnu();
        header.set_mode(0o644);
        if let Some(target) = content.strip_prefix(b"->") {
            header.set_entry_type(tar::EntryType::Symlink);
            header.set_size(0);
            tar.append_link(&mut header, name, std::str::from_utf8(target).unwrap()).unwrap();
        } else {
            header.set_size(content.len() as u64);
            tar.append_data(&mut header, name, *content).unwrap();
        }
    }
    tar.finish().unwrap();
}

fn docker_config(layers: &[&[u8]]) -> (String, Vec<u8>) {
    let ids: Vec<String> = layers.iter().map(|l| format!("\"{}\"", Digest::of(l))).collect();
    let text = format!(
        r#"{{"architecture":"amd64","os":"linux","config":{{"Cmd":["sh"]}},"rootfs":{{"type":"layers","diff_ids":[{}]}}}}"#,
        ids.join(",")
    );
    (format!("{}.json", Digest::of(text.as_bytes()).hex()), text.into_bytes())
}

#[test]
fn docker_archives() {
    let f = fixture();
    let path = f.path("docker.tar");
    let (config_name, config) = docker_config(&[b"one", b"two", b"one"]);
    let manifest = format!(
        r#"[{{"Config":"{config_name}","RepoTags":["app:1","other:2"],"Layers":["a/layer.tar","b/layer.tar","c/layer.tar"]}}]"#
    );
    write_tar(
        &path,
        &[
            ("./c/layer.tar", b"->../a/layer.tar"), // as old versions save a layer that comes twice
            ("./a/layer.tar", b"one"),
            ("b/layer.tar", b"two"),
            (&config_name, &config),
            ("manifest.json", manifest.as_bytes()),
        ],
    );
    let Artifact::Image(image) = from_archive(&path, None).unwrap() else { panic!("not an image") };
    assert_eq!(image.layers.len(), 3);
    assert_eq!(image.layers[2].diff_id, Digest::of(b"one"));
    assert_eq!(image.manifest.config.digest, Digest::of(&config), "the image keeps its id");
    for selector in ["app:1", "docker.io/library/other:2"] {
        from_archive(&path, Some(&tag(selector))).unwrap();
    }
    let error = from_archive(&path, Some(&tag("app:3"))).unwrap_err().to_string();
    assert!(error.contains("there are: app:1, other:2"), "{error}");
}

#[test]
fn damaged_docker_archives() {
    let f = fixture();
    let path = f.path("docker.tar");
    let (config_name, config) = docker_config(&[b"one"]);
    let manifest = |layer: &str| {
        format!(r#"[{{"Config":"{config_name}","RepoTags":null,"Layers":[{layer}]}}]"#)
    };
    let good = manifest("\"l.tar\"");
    let mut tampered = config.clone();
    tampered.push(b' ');
    type Check = fn(&Error) -> bool;
    type Files<'a> = &'a [(&'a str, &'a [u8])];
    let cases: [(Files, Check); 8] = [
        (&[("x", b"")], |e| matches!(e, Error::BadArchive { .. })),
        (&[("manifest.json", b"{}")], |e| matches!(e, Error::BadArchive { .. })),
        (&[("manifest.json", b"[]")], |e| matches!(e, Error::NotFound { .. })),
        (&[("manifest.json", good.as_bytes())], |e| matches!(e, Error::NotFound { .. })),
        (
            &[("manifest.json", good.as_bytes()), (&config_name, &tampered), ("l.tar", b"one")],
            |e| matches!(e, Error::WrongDigest { what: "config", .. }),
        ),
        (&[("manifest.json", good.as_bytes()), (&config_name, &config), ("l.tar", b"ONE")], |e| {
            matches!(e, Error::WrongDigest { what: "layer", .. })
        }),
        (
            &[("manifest.json", good.as_bytes()), (&config_name, &config), ("l.tar", b"->l.tar")],
            |e| matches!(e, Error::NotFound { .. }),
        ),
        (
            &[
                ("manifest.json", good.as_bytes()),
                (&config_name, &config),
                ("l.tar", b"->../../etc/passwd"),
            ],
            |e| matches!(e, Error::NotFound { .. }),
        ),
    ];
    for (files, check) in cases {
        write_tar(&path, files);
        let error = from_archive(&path, None).unwrap_err();
        assert!(check(&error), "{error:?}");
    }
    let none = manifest("");
    write_tar(&path, &[("manifest.json", none.as_bytes()), (&config_name, &config)]);
    assert!(matches!(from_archive(&path, None), Err(Error::BadArchive { .. })));
    fs::write(&path, b"\x1f\x8bgarbage").unwrap();
    assert!(matches!(from_archive(&path, None), Err(Error::BadArchive { .. })));
    fs::write(&path, vec![b'x'; 2000]).unwrap();
    assert!(matches!(from_archive(&path, None), Err(Error::BadArchive { .. })));
    assert!(matches!(from_archive(f.dir.path(), None), Err(Error::BadArchive { .. })));
}

/// What the tools people have make, where they are installed.
#[test]
fn skopeo_and_umoci_agree() {
    let f = fixture();
    let mut tar = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_ustar();
    header.set_size(3);
    header.set_mode(0o644);
    tar.append_data(&mut header, "hello", &b"hi\n"[..]).unwrap();
    let bytes = tar.into_inner().unwrap();
    let layer = f.store.add_layer(&mut bytes.as_slice()).unwrap();
    let image =
        f.store.write_image(ImageConfig::scratch(), vec![layer], Some(&name("app:1"))).unwrap();
    let layout = f.path("layout");
    export_layout(&f.store, &image.digest, &layout, Some(&name("app:1"))).unwrap();
    let run = |args: &[&str]| match std::process::Command::new(args[0]).args(&args[1..]).output() {
        Ok(output) => {
            assert!(
                output.status.success(),
                "{args:?}: {}",
                String::from_utf8_lossy(&output.stderr)
            );
            true
        }
        Err(e) => {
            eprintln!("skipped: {}: {e}", args[0]);
            false
        }
    };
    let from = format!("oci:{}:1", layout.display());
    let save = f.path("save.tar");
    let archive = f.path("oci.tar");
    let saved = format!("docker-archive:{}:app:1", save.display());
    if run(&["skopeo", "copy", "--insecure-policy", &from, &saved]) {
        let Artifact::Image(back) = from_archive(&save, None).unwrap() else {
            panic!("not an image")
        };
        assert_eq!(back.config.rootfs, image.config.rootfs);
        run(&[
            "skopeo",
            "copy",
            "--insecure-policy",
            &from,
            &format!("oci-archive:{}:1", archive.display()),
        ]);
        // skopeo compresses on the way.
        let Artifact::Image(back) = from_archive(&archive, None).unwrap() else {
            panic!("not an image")
        };
        assert_eq!(
            (back.config, &back.layers[0].diff_id),
            (image.config, &image.layers[0].diff_id)
        );
        let ours = f.path("docker.tar");
        let mut bytes = Vec::new();
        export_docker_archive(&f.store, &image.digest, &mut bytes, &[name("app:1")]).unwrap();
        fs::write(&ours, bytes).unwrap();
        run(&["skopeo", "inspect", &format!("docker-archive:{}:app:1", ours.display())]);
        run(&["skopeo", "inspect", &format!("oci-archive:{}:1", ours.display())]);
        from_archive(&ours, Some(&tag("app:1"))).unwrap();
        // The store itself is a layout that skopeo reads by the canonical name.
        let store = format!("oci:{}:docker.io/library/app:1", f.store.path().display());
        run(&["skopeo", "inspect", &store]);
    }
    let bundle = f.path("bundle");
    let image_arg = format!("{}:1", layout.display());
    if run(&[
        "umoci",
        "raw",
        "unpack",
        "--rootless",
        "--image",
        &image_arg,
        bundle.to_str().unwrap(),
    ]) {
        assert_eq!(fs::read(bundle.join("hello")).unwrap(), b"hi\n");
    }
}

/// What buildx writes: an index in the index, with an attestation beside the image.
#[test]
fn nested_indexes_lead_to_linux_amd64() {
    use testkit::image::{Blob, Image, index};
    let f = fixture();
    let path = f.path("layout");
    let (amd, arm) = (Image::new("linux/amd64", &[b"amd"]), Image::new("linux/arm64", &[b"arm"]));
    let write = |blobs: &mut dyn Iterator<Item = &Blob>, top: &Blob| {
        fs::create_dir_all(path.join("blobs/sha256")).unwrap();
        for blob in blobs {
            let file = path.join("blobs/sha256").join(blob.digest.strip_prefix("sha256:").unwrap());
            fs::write(file, &blob.bytes).unwrap();
        }
        fs::write(path.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
        let top = Descriptor::new(
            media::OCI_INDEX,
            Digest::parse(&top.digest).unwrap(),
            top.bytes.len() as u64,
        );
        let top = Index { manifests: vec![top], ..Index::default() };
        fs::write(path.join("index.json"), serde_json::to_vec(&top).unwrap()).unwrap();
    };
    let both = index(&[("linux/arm64", &arm), ("linux/amd64", &amd), ("unknown/unknown", &arm)]);
    write(&mut amd.blobs().chain([&both]), &both); // the other platform's blobs may be absent
    let Artifact::Image(image) = from_layout(&path, None).unwrap() else { panic!("not an image") };
    assert_eq!(image.digest.as_str(), amd.manifest.digest);
    let foreign = index(&[("linux/arm64", &arm)]);
    write(&mut arm.blobs().chain([&foreign]), &foreign);
    let error = from_layout(&path, None).unwrap_err();
    assert!(matches!(error, Error::WrongPlatform { .. }), "{error}");
    let single = Blob::new(arm.manifest.bytes.clone());
    write(&mut arm.blobs(), &single);
    let error = from_layout(&path, None).unwrap_err();
    assert!(matches!(error, Error::WrongPlatform { .. }), "{error}");
}

proptest::proptest! {
    #[test]
    fn nothing_panics(bytes: Vec<u8>, text in "\\PC{0,60}") {
        let _ = Document::parse("x", &bytes);
        let _ = ImageConfig::parse("x", &bytes);
        let _ = Source::parse(&text);
        let _ = Source::parse(&format!("oci-layout:{text}"));
        let _ = text.parse::<crate::Mirror>();
    }
}
