use std::io::{Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;

use super::*;
use crate::{Descriptor, Digest, ImageConfig, Reference, manifest::media};

fn open() -> (tempfile::TempDir, Store) {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    (dir, store)
}

fn name(text: &str) -> Reference {
    Reference::parse(text).unwrap()
}

fn image(store: &Store, text: &str, tag: Option<&str>) -> crate::ImageHandle {
    let layer = store.add_layer(&mut text.as_bytes()).unwrap();
    let tag = tag.map(name);
    store.write_image(ImageConfig::scratch(), vec![layer], tag.as_ref()).unwrap()
}

#[test]
fn blobs_come_back_verified() {
    let (_dir, store) = open();
    let digest = store.put_blob(b"hello").unwrap();
    assert_eq!(digest, Digest::of(b"hello"));
    assert_eq!(store.read_blob(&digest, 5).unwrap(), b"hello");
    assert!(matches!(store.read_blob(&digest, 4), Err(Error::TooLarge { .. })));
    let error = store.put_reader(&mut &b"other"[..], Some(&digest)).unwrap_err();
    assert!(matches!(error, Error::WrongDigest { .. }));

    fs::write(store.blob_path(&digest), b"hellO").unwrap();
    assert!(matches!(store.read_blob(&digest, 5), Err(Error::CorruptStore { .. })));
    let mut out = Vec::new();
    assert!(store.open_blob(&digest).unwrap().read_to_end(&mut out).is_err());
    fs::write(store.blob_path(&digest), b"he").unwrap();
    store.put_blob(b"hello").unwrap();
    assert_eq!(
        store.read_blob(&digest, 5).unwrap(),
        b"hello",
        "writing it again heals a short blob"
    );
}

#[test]
fn an_unfinished_writer_leaves_nothing() {
    let (dir, store) = open();
    let mut writer = store.writer().unwrap();
    writer.write_all(b"half a blo").unwrap();
    drop(writer);
    assert_eq!(fs::read_dir(dir.path().join("tmp")).unwrap().count(), 0);
    assert!(store.garbage().unwrap().is_empty());
}

#[test]
fn images_are_deterministic_and_named() {
    let (_dir, store) = open();
    let (_dir2, other) = open();
    let a = image(&store, "layer", Some("app:1"));
    assert_eq!(image(&other, "layer", None).digest, a.digest);
    assert_eq!(store.image(&name("app:1")).unwrap(), a);
    assert_eq!(store.image(&name(&format!("app@{}", a.digest))).unwrap(), a);
    assert!(matches!(store.image(&name("app:2")), Err(Error::NotInStore { .. })));

    let b = image(&store, "other", Some("app:1"));
    assert_eq!(store.image(&name("app:1")).unwrap(), b, "a name moves");
    store.tag(&name("app:2"), &b.descriptor).unwrap();
    let names: Vec<_> = store.images().unwrap().into_iter().map(|e| e.name.unwrap()).collect();
    assert_eq!(names, ["docker.io/library/app:1", "docker.io/library/app:2"]);
    assert!(store.untag(&name("app:2")).unwrap());
    assert!(!store.untag(&name("app:2")).unwrap());
}

#[test]
fn unnamed_images_can_be_forgotten() {
    let (_dir, mut store) = open();
    let (unnamed, named) = (image(&store, "a", None), image(&store, "b", Some("app:1")));
    assert_eq!(store.images().unwrap().len(), 2);
    store.collect_garbage().unwrap();
    assert!(store.has_blob(&unnamed.digest), "kept without a name is still kept");
    assert_eq!(store.forget_unnamed().unwrap(), 1);
    store.collect_garbage().unwrap();
    assert!(!store.has_blob(&unnamed.digest) && store.has_blob(&named.digest));
}

#[test]
fn boxes_say_what_they_are() {
    use wasm_encoder::{Component, ComponentImportSection, ComponentTypeRef, ComponentTypeSection};
    let (dir, store) = open();
    let path = dir.path().join("box.wasm");
    let mut component = Component::new();
    let mut types = ComponentTypeSection::new();
    types.instance(&wasm_encoder::InstanceType::new());
    component.section(&types);
    let mut imports = ComponentImportSection::new();
    imports.import("wasi:cli/environment@0.2.0", ComponentTypeRef::Instance(0));
    component.section(&imports);
    // A module larger than any buffer, with what could be taken for sections inside.
    let mut large = wasm_encoder::Module::new();
    let data = vec![b'\n'; 300_000];
    large.section(&wasm_encoder::CustomSection { name: "x".into(), data: (&data).into() });
    component.section(&wasm_encoder::ModuleSection(&large));
    let mut imports = ComponentImportSection::new();
    imports.import("wasi:io/poll@0.2.0", ComponentTypeRef::Instance(0));
    component.section(&imports);
    fs::write(&path, component.finish()).unwrap();
    let made = store.write_box(&path, crate::BoxOptions::default(), Some(&name("hello"))).unwrap();
    assert_eq!(made.config.os, "wasip2");
    assert_eq!(
        made.config.component.as_ref().unwrap().imports,
        ["wasi:cli/environment@0.2.0", "wasi:io/poll@0.2.0"]
    );
    assert_eq!(made.manifest.config.media_type, "application/vnd.wasm.config.v0+json");
    assert_eq!(made.manifest.layers.len(), 1);
    assert_eq!(made.manifest.layers[0].media_type, "application/wasm");
    // A box linked into the store is not copied again.
    let there = store.blob_path(&made.wasm.digest);
    let relinked = store.write_box(&there, crate::BoxOptions::default(), None).unwrap();
    assert_eq!(relinked.digest, made.digest);
    let (_dir2, other) = open();
    let again = other.write_box(&path, crate::BoxOptions::default(), None).unwrap();
    assert_eq!(again.digest, made.digest);
    assert_eq!(store.wasm_box(&name("hello")).unwrap(), made);
    assert!(matches!(store.image(&name("hello")), Err(Error::NotAnImage { .. })));
    image(&store, "x", Some("app:1"));
    assert!(matches!(store.wasm_box(&name("app:1")), Err(Error::NotABox { .. })));
    for bad in [&b""[..], b"\x7fELF", b"\0asm", b"\0asm\x0d\0\x01\0\xff\xff"] {
        fs::write(&path, bad).unwrap();
        let result = store.write_box(&path, crate::BoxOptions::default(), None);
        assert!(matches!(result, Err(Error::NotABox { .. })), "{bad:?}: {result:?}");
    }
}

#[test]
fn layers_are_told_by_their_first_bytes() {
    let (_dir, store) = open();
    let tar = b"this is no tar, but nobody looks inside".as_slice();
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(tar).unwrap();
    let gzip = gzip.finish().unwrap();
    let zstd = zstd::encode_all(tar, 1).unwrap();
    for (bytes, media_type) in
        [(tar, media::OCI_LAYER), (&gzip, media::OCI_LAYER_GZIP), (&zstd, media::OCI_LAYER_ZSTD)]
    {
        let layer = store.add_layer(&mut &*bytes).unwrap();
        assert_eq!((layer.media_type.as_str(), layer.diff_id), (media_type, Digest::of(tar)));
        assert_eq!((layer.digest, layer.size), (Digest::of(bytes), bytes.len() as u64));
    }
    let error = store.add_layer(&mut &gzip[..gzip.len() / 2]).unwrap_err();
    assert!(matches!(error, Error::BadArchive { .. }), "{error}");
    assert_eq!(store.add_layer(&mut &b""[..]).unwrap().diff_id, Digest::of(b""));
}

#[test]
fn what_a_kill_leaves_is_garbage_and_nothing_else() {
    let (dir, store) = open();
    let kept = image(&store, "kept", Some("app:1"));
    // Killed in each of the steps: while writing a blob, while downloading, before a blob was named, while replacing
    // the index.
    fs::write(dir.path().join("tmp/.tmpAAAA"), b"half").unwrap();
    fs::write(dir.path().join("partial").join(Digest::of(b"x").file_name()), b"half").unwrap();
    fs::write(dir.path().join("tmp/.tmpBBBB"), br#"{"schemaVer"#).unwrap();
    let unnamed = store.put_blob(b"unnamed").unwrap();
    drop(store);

    let mut store = Store::open(dir.path()).unwrap();
    assert_eq!(store.image(&name("app:1")).unwrap(), kept);
    assert_eq!(store.garbage().unwrap(), [(unnamed.clone(), 7)]);
    assert_eq!(store.collect_garbage().unwrap(), 7 + 4 + 4 + 11);
    assert!(!store.has_blob(&unnamed));
    assert_eq!(store.image(&name("app:1")).unwrap(), kept);
    assert_eq!(store.collect_garbage().unwrap(), 0);
}

/// A child process writes images until it is killed, again and again; the store must be sound each time.
#[test]
fn killed_at_any_moment() {
    const ENV: &str = "BOXER_TEST_KILLED_STORE";
    if let Some(path) = std::env::var_os(ENV) {
        let store = Store::open(path).unwrap();
        for n in 0.. {
            image(&store, &format!("{} {n}", std::process::id()), Some(&format!("app:{n}")));
        }
    }
    let dir = tempfile::tempdir().unwrap();
    for round in 1..=8 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "store::tests::killed_at_any_moment"])
            .env(ENV, dir.path())
            .stdout(std::process::Stdio::null())
            .spawn()
            .unwrap();
        // The moment is arbitrary, on purpose; the assertion holds at any.
        std::thread::sleep(std::time::Duration::from_millis(7 * round));
        child.kill().unwrap();
        child.wait().unwrap();
        let store = Store::open(dir.path()).unwrap();
        for entry in store.images().unwrap() {
            assert_eq!(entry.damage, None);
            store.artifact_by_digest(&entry.digest).unwrap();
        }
    }
    let mut store = Store::open(dir.path()).unwrap();
    let names = store.images().unwrap().len();
    store.collect_garbage().unwrap();
    assert_eq!(store.images().unwrap().len(), names);
    assert!(store.images().unwrap().iter().all(|e| e.damage.is_none()));
}

#[test]
fn names_from_many_threads_all_arrive() {
    let (dir, store) = open();
    std::thread::scope(|scope| {
        for n in 0..16 {
            let path = dir.path();
            scope.spawn(move || {
                let store = Store::open(path).unwrap();
                image(&store, &format!("layer {}", n % 3), Some(&format!("app:{n}")))
            });
        }
    });
    assert_eq!(store.images().unwrap().len(), 16);
}

#[test]
fn garbage_waits_for_other_users() {
    let (dir, mut store) = open();
    let digest = store.put_blob(b"to be named soon").unwrap();
    let other = Store::open(dir.path()).unwrap();
    assert!(matches!(store.collect_garbage(), Err(Error::StoreBusy { .. })));
    drop(other);
    let clone = store.clone();
    assert!(matches!(store.collect_garbage(), Err(Error::StoreBusy { .. })));
    drop(clone);
    assert!(store.has_blob(&digest));
    store.collect_garbage().unwrap();
    assert!(!store.has_blob(&digest));
}

#[test]
fn repair_makes_room_for_a_pull() {
    let (_dir, store) = open();
    let image = image(&store, "some layer", Some("app:1"));
    let layer = &image.layers[0].digest;
    fs::write(store.blob_path(layer), "Some layer").unwrap();
    let error = store.open_blob(layer).unwrap().finish().unwrap_err();
    let error = Error::from_read("x", error);
    assert!(matches!(error, Error::CorruptStore { .. }), "{error}");
    assert_eq!(store.repair().unwrap(), std::slice::from_ref(layer));
    assert!(matches!(store.image(&name("app:1")), Err(Error::CorruptStore { .. })));
    store.add_layer(&mut &b"some layer"[..]).unwrap();
    assert_eq!(store.image(&name("app:1")).unwrap(), image);
    assert!(store.repair().unwrap().is_empty());
}

#[test]
fn damage_is_named() {
    let (dir, store) = open();
    let image = image(&store, "x", Some("app:1"));
    fs::remove_file(store.blob_path(&image.layers[0].digest)).unwrap();
    let error = store.image(&name("app:1")).unwrap_err();
    assert!(matches!(error, Error::CorruptStore { .. }), "{error}");
    fs::remove_file(store.blob_path(&image.digest)).unwrap();
    assert!(store.images().unwrap()[0].damage.is_some());
    // Not knowing what is reachable, nothing may be removed.
    assert!(matches!(store.garbage(), Err(Error::CorruptStore { .. })));
    fs::write(dir.path().join("index.json"), "{").unwrap();
    assert!(matches!(store.images(), Err(Error::CorruptStore { .. })));
    fs::write(dir.path().join("oci-layout"), r#"{"imageLayoutVersion":"2.0.0"}"#).unwrap();
    assert!(matches!(Store::open(dir.path()), Err(Error::CorruptStore { .. })));
}

#[test]
fn a_full_disk_has_its_own_name() {
    let full = std::io::Error::from_raw_os_error(28); // ENOSPC
    let error = Error::io("/x", full);
    assert_eq!(error.to_string(), "no space left on the device for /x");
    let quota = std::io::Error::from_raw_os_error(122); // EDQUOT
    assert!(matches!(Error::io("/x", quota), Error::DiskFull { .. }));
}

/// On a real full file system, where one can be mounted.
#[test]
fn a_full_disk_leaves_the_store_intact() {
    let dir = tempfile::tempdir().unwrap();
    let mounted = Command::new("mount")
        .args(["-t", "tmpfs", "-o", "size=1m", "none"])
        .arg(dir.path())
        .stderr(std::process::Stdio::null())
        .status()
        .is_ok_and(|s| s.success());
    if !mounted {
        eprintln!("skipped: a tmpfs cannot be mounted here");
        return;
    }
    let check = std::panic::catch_unwind(|| {
        let store = Store::open(dir.path().join("store")).unwrap();
        let kept = image(&store, "kept", Some("app:1"));
        let error = store.put_blob(&vec![1u8; 2 << 20]).unwrap_err();
        assert!(matches!(error, Error::DiskFull { .. }), "{error}");
        let error = store.add_layer(&mut std::io::repeat(1).take(2 << 20)).unwrap_err();
        assert!(matches!(error, Error::DiskFull { .. }), "{error}");
        assert_eq!(store.image(&name("app:1")).unwrap(), kept);
        assert!(store.garbage().unwrap().is_empty());
    });
    let _ = Command::new("umount").arg(dir.path()).status();
    check.unwrap();
}

#[test]
fn hostile_digests_stay_inside() {
    let (_dir, store) = open();
    for text in ["sha256:../../../etc/passwd", "../x:00"] {
        assert!(Digest::parse(text).is_err());
    }
    let json = r#"{"mediaType":"x","digest":"sha256:../../x","size":1}"#;
    assert!(serde_json::from_str::<Descriptor>(json).is_err());
    assert!(store.blob_path(&Digest::of(b"")).starts_with(store.path()));
}

#[test]
fn other_tools_can_read_the_index() {
    let (dir, store) = open();
    image(&store, "x", Some("app:1"));
    let mode = fs::metadata(dir.path().join("index.json")).unwrap().permissions().mode();
    assert_eq!(mode & 0o600, 0o600);
    let index: crate::Index =
        serde_json::from_slice(&fs::read(dir.path().join("index.json")).unwrap()).unwrap();
    assert_eq!(index.manifests[0].ref_name(), Some("docker.io/library/app:1"));
    assert_eq!(index.manifests[0].media_type, media::OCI_MANIFEST);
}

/// The same file system once more, where nothing can be written: for root permission bits are none.
#[test]
fn a_read_only_store_can_be_read() {
    let (dir, store) = open();
    image(&store, "text", Some("name"));
    drop(store);
    let this = std::env::current_exe().unwrap();
    let script =
        "mount --bind \"$1\" \"$1\" && mount -o remount,ro,bind \"$1\" && shift && exec \"$@\"";
    let run = |store: &std::path::Path, seen: &str| {
        let output = Command::new("unshare")
            .args(["-r", "-m", "sh", "-c", script, "sh"])
            .arg(store)
            .arg(&this)
            .args(["--exact", "store::tests::reads_a_read_only_store", "--nocapture"])
            .env(READ_ONLY, store)
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        if errors.contains("unshare:") || errors.contains("mount:") {
            eprintln!("skipped: no mounts here: {errors}");
            return;
        }
        assert!(said.contains(seen), "{said}{errors}");
    };
    run(dir.path(), "one image");
    std::fs::remove_file(dir.path().join("locks/in-use")).unwrap();
    run(dir.path(), "one image");
    let empty = tempfile::tempdir().unwrap();
    run(empty.path(), "no store");
}

const READ_ONLY: &str = "BOXER_TEST_READ_ONLY_STORE";

/// The other process of the test above.
#[test]
fn reads_a_read_only_store() {
    let Some(path) = std::env::var_os(READ_ONLY) else { return };
    let Ok(store) = Store::open(&path) else { return println!("no store") };
    let image = store.image(&name("name")).unwrap();
    assert_eq!(store.images().unwrap().len(), 1);
    assert!(store.put_blob(b"other").is_err());
    assert!(store.tag(&name("other"), &image.descriptor).is_err());
    println!("one image");
}
