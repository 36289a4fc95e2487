//! What `umoci unpack` makes of an image's layers is what the tree, and the EROFS image, hold.
//! Skipped with a message where Debian's umoci is missing or the tests do not run as root.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod listing;
mod raw_tar;

use std::fs::{self, File};
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::Path;
use std::process::Command;

use layers::{Flatten, Limits, Spool, Tree};
use raw_tar::{Header, Raw};
use rootfs::Image;

fn run(program: &str, args: &[&str], dir: &Path) {
    // umoci 0.4.7 has a race (its hash is read while it is written) and panics now and then.
    for attempt in 0.. {
        let mut command = Command::new(program);
        let out = command.args(args).current_dir(dir).env("GOMAXPROCS", "1").output().unwrap();
        if out.status.success() {
            return;
        }
        let message = String::from_utf8_lossy(&out.stderr).into_owned();
        assert!(attempt < 10 && message.contains("goroutine"), "{program} {args:?}: {message}");
        let _ = fs::remove_dir_all(dir.join("bundle"));
    }
}

fn can_run() -> bool {
    use std::os::unix::fs::MetadataExt;
    let root = fs::metadata("/proc/self").is_ok_and(|m| m.uid() == 0);
    let umoci = Command::new("umoci").arg("--version").output().is_ok();
    if !(root && umoci) {
        println!("skipped: needs umoci and root");
    }
    root && umoci
}

/// Puts the layers (plain archives) into an OCI layout, unpacks that with umoci and compares.
fn compare(layers: &[Vec<u8>], work: &Path) -> Tree {
    run("umoci", &["init", "--layout", "layout"], work);
    run("umoci", &["new", "--image", "layout:t"], work);
    for (i, layer) in layers.iter().enumerate() {
        let name = format!("layer-{i}.tar");
        fs::write(work.join(&name), layer).unwrap();
        run("umoci", &["raw", "add-layer", "--image", "layout:t", &name], work);
    }
    run("umoci", &["unpack", "--image", "layout:t", "bundle"], work);
    let tree = flatten(&work.join("layout"));
    let mut expected = listing::of_host(&work.join("bundle/rootfs"));
    let mut found = listing::of_tree(&tree);
    let mut bytes = Vec::new();
    tree.write_rootfs(&mut bytes).unwrap();
    listing::assert_same(&listing::of_image(&Image::open(&bytes).unwrap()), &found);
    if Command::new("fsck.erofs").arg("--help").output().is_ok() {
        fs::write(work.join("image"), &bytes).unwrap();
        let out = Command::new("fsck.erofs").arg(work.join("image")).output().unwrap();
        assert!(out.status.success() && out.stderr.is_empty() && out.stdout.is_empty(), "{out:?}");
    }
    if !layers.iter().any(|l| l.starts_with(b"./\0")) {
        // No layer says anything about the root; umoci leaves it as it made it.
        expected.remove(&b""[..]);
        found.remove(&b""[..]);
    }
    listing::assert_same(&found, &expected);
    tree
}

fn flatten(layout: &Path) -> Tree {
    let json = |path: &Path| -> serde_json::Value {
        serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
    };
    let blob = |digest: &str| layout.join("blobs").join(digest.replace(':', "/"));
    let index = json(&layout.join("index.json"));
    let manifest = json(&blob(index["manifests"][0]["digest"].as_str().unwrap()));
    let config = json(&blob(manifest["config"]["digest"].as_str().unwrap()));
    let mut flatten = Flatten::new(Spool::new().unwrap(), Limits::default());
    for (i, layer) in manifest["layers"].as_array().unwrap().iter().enumerate() {
        let digest = layer["digest"].as_str().unwrap();
        let diff_id = config["rootfs"]["diff_ids"][i].as_str();
        assert!(diff_id.is_some());
        flatten.layer(File::open(blob(digest)).unwrap(), digest, diff_id).unwrap();
    }
    flatten.finish()
}

#[test]
fn layers_made_with_gnu_tar() {
    if !can_run() {
        return;
    }
    let work = tempfile::tempdir().unwrap();
    let src = work.path().join("src");
    fs::create_dir_all(src.join("dir/sub")).unwrap();
    fs::create_dir_all(src.join("empty")).unwrap();
    let long = format!("dir/{}/{}", "a".repeat(120), "b".repeat(200));
    fs::create_dir_all(src.join(&long)).unwrap();
    fs::write(src.join(&long).join("deep"), "deep").unwrap();
    symlink(format!("../{long}"), src.join("dir/sub/long-link")).unwrap();
    symlink("/absolute/target", src.join("absolute")).unwrap();
    fs::write(src.join("file"), "content").unwrap();
    fs::hard_link(src.join("file"), src.join("dir/linked")).unwrap();
    fs::write(src.join("dir/caf\u{e9} \u{1f980}"), "name").unwrap();
    let big: Vec<u8> = (0..300_000u32).flat_map(|i| i.to_le_bytes()).collect();
    fs::write(src.join("big"), &big).unwrap();
    fs::write(src.join("setuid"), "su").unwrap();
    chown(src.join("setuid"), Some(3_000_000), Some(70_000)).unwrap();
    fs::set_permissions(src.join("setuid"), fs::Permissions::from_mode(0o6755)).unwrap();
    fs::set_permissions(src.join("empty"), fs::Permissions::from_mode(0o1777)).unwrap();
    let sparse = File::create(src.join("sparse")).unwrap();
    sparse.set_len(50_000_000).unwrap();
    for i in 0..40 {
        use std::os::unix::fs::FileExt;
        sparse.write_all_at(b"island", i * 1_000_000 + 4096).unwrap();
    }
    run("mkfifo", &["pipe"], &src);
    run("mknod", &["null", "c", "1", "3"], &src);
    run("mknod", &["disk", "b", "259", "70000"], &src);
    xattr::set(src.join("file"), "user.test", b"a\0b=\n").unwrap();
    let capability = [1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let capable = xattr::set(src.join("big"), "security.capability", &capability).is_ok();
    println!("with capabilities: {capable}");
    for (i, options) in [
        &["--format=gnu"][..],
        &["--format=posix", "--xattrs", "--xattrs-include=*", "--sparse"],
        &["--format=posix", "--sparse", "--sparse-version=0.0"],
        &["--format=posix", "--sparse", "--sparse-version=0.1"],
    ]
    .iter()
    .enumerate()
    {
        let dir = work.path().join(format!("run-{i}"));
        fs::create_dir(&dir).unwrap();
        let archive = dir.join("made.tar");
        let mut args = options.to_vec();
        args.extend([
            "--numeric-owner",
            "-cf",
            archive.to_str().unwrap(),
            "-C",
            src.to_str().unwrap(),
            ".",
        ]);
        run("tar", &args, work.path());
        let tree = compare(&[fs::read(&archive).unwrap()], &dir);
        assert_eq!(tree.read("big", 1 << 30).unwrap(), big);
    }
    // umoci does not know GNU's old sparse format: compare with the archive of whole files.
    let apply = |options: &[&str]| {
        let common = ["--format=gnu", "--numeric-owner", "-cC", src.to_str().unwrap(), "."];
        let out = Command::new("tar").args(options).args(common).output().unwrap();
        let mut flatten = Flatten::new(Spool::new().unwrap(), Limits::default());
        flatten.layer(&out.stdout[..], "gnu", None).unwrap();
        (out.stdout.len(), listing::of_tree(&flatten.finish()))
    };
    let ((sparse_len, sparse), (plain_len, plain)) = (apply(&["--sparse"]), apply(&[]));
    assert!(sparse_len < plain_len / 10);
    listing::assert_same(&sparse, &plain);
}

#[test]
fn layers_on_layers() {
    if !can_run() {
        return;
    }
    let work = tempfile::tempdir().unwrap();
    let mut owned = Header::new(b'0', b"usr/bin/tool");
    owned.octal(100, 7, 0o4711).octal(108, 7, 1000).octal(116, 7, 50);
    let lower = Raw::default()
        .dir("usr")
        .dir("usr/bin")
        .dir("usr/lib")
        .link(b'2', "lib", "usr/lib")
        .link(b'2', "bin", "/usr/bin")
        .header(&owned)
        .file("usr/lib/libc", b"one")
        .link(b'1', "usr/lib/libc.so", "usr/lib/libc")
        .dir("opaque")
        .file("opaque/old", b"1")
        .dir("opaque/dir")
        .file("opaque/dir/old", b"1")
        .dir("gone")
        .file("gone/x", b"1")
        .file("gone-file", b"1")
        .dir("to-file")
        .file("to-file/x", b"1")
        .file("to-dir", b"1")
        .link(b'2', "link-to-dir", "usr")
        .end();
    let middle = Raw::default()
        .file("lib/libm", b"two")
        .file("bin/other", b"three")
        .link(b'1', "hard", "usr/lib/libc")
        .dir("opaque")
        .file("opaque/.wh..wh..opq", b"")
        .file("opaque/new", b"2")
        .file(".wh.gone", b"")
        .file(".wh.gone-file", b"")
        .file("to-file", b"2")
        .dir("to-dir")
        .file("to-dir/x", b"2")
        .dir("link-to-dir")
        .file("link-to-dir/y", b"2")
        .end();
    let upper = Raw::default()
        .dir("gone")
        .file("gone/again", b"3")
        .file("usr/lib/.wh.libc", b"")
        .pax(&[("mtime", b"1234567890.123456789"), ("SCHILY.xattr.user.k", b"v")])
        .file("usr/bin/tool", b"replaced")
        .pax(&[("SCHILY.xattr.user.dir", b"v")])
        .dir("usr/bin")
        .end();
    let tree = compare(&[lower, middle, upper], work.path());
    let libc = tree.lookup("lib/libc.so").unwrap().unwrap();
    assert_eq!(tree.lookup("hard").unwrap(), Some(libc));
    assert_eq!(tree.node(libc).links(), 2);
}

#[test]
fn alpine() {
    let archive = std::env::current_dir()
        .unwrap()
        .join("../../../shared/images/alpine-minirootfs-3.20.3-x86_64.tar.gz");
    if !can_run() || !archive.exists() {
        println!("skipped: {} is not there", archive.display());
        return;
    }
    let work = tempfile::tempdir().unwrap();
    let out = Command::new("gzip").arg("-dc").arg(&archive).output().unwrap();
    let tree = compare(&[out.stdout], work.path());
    assert!(tree.read("etc/alpine-release", 100).unwrap().starts_with(b"3.20"));
}

/// By hand: `BOXER_LAYER_TAR=debian.tar cargo test --release -p boxer-layers --test umoci big`.
#[test]
fn big() {
    let Some(archive) = std::env::var_os("BOXER_LAYER_TAR") else {
        println!("skipped: BOXER_LAYER_TAR names no archive");
        return;
    };
    if can_run() {
        let work = tempfile::tempdir().unwrap();
        compare(&[fs::read(archive).unwrap()], work.path());
    }
}
