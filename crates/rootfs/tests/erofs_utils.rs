//! The writer's images against `fsck.erofs`, and the reader against `mkfs.erofs`'s images.
//! Skipped with a message where Debian's erofs-utils is missing.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod sample;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;

use rootfs::{FileType, Image, Nid};

fn have(tool: &str) -> bool {
    let found = Command::new(tool).arg("--help").output().is_ok();
    if !found {
        println!("skipped: {tool} is not installed");
    }
    found
}

fn run(tool: &str, args: &[&str]) -> String {
    let out = Command::new(tool).args(args).output().unwrap();
    let text = [out.stdout, out.stderr].map(|b| String::from_utf8_lossy(&b).into_owned()).concat();
    assert!(out.status.success(), "{tool} {args:?}: {text}");
    text
}

#[test]
fn fsck_accepts_the_writers_image_and_extracts_the_same_tree() {
    if !have("fsck.erofs") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("image");
    let bytes = sample::tree().image();
    fs::write(&path, &bytes).unwrap();
    let path = path.to_str().unwrap();
    // Warnings and errors are all that it prints by default.
    assert_eq!(run("fsck.erofs", &[path]), "");
    assert!(run("fsck.erofs", &["-d3", path]).contains("No errors found"));
    assert!(
        run("dump.erofs", &["-s", path])
            .contains("Filesystem magic number:                      0xE0F5E1E2")
    );

    let out = dir.path().join("out");
    run("fsck.erofs", &[&format!("--extract={}", out.display()), "--preserve", path]);
    let image = Image::open(&bytes).unwrap();
    let mut files = 0;
    sample::walk(&image, &mut |path: &str, nid: Nid| {
        let meta = fs::symlink_metadata(out.join(path.trim_start_matches('/'))).unwrap();
        let inode = image.inode(nid).unwrap();
        // fsck sets the owner after the mode, which clears setuid.
        assert_eq!(meta.mode() & !0o6000, inode.mode & !0o6000, "{path}");
        assert_eq!((meta.uid(), meta.gid()), (inode.uid, inode.gid), "{path}");
        if inode.kind == FileType::Regular {
            let content = fs::read(out.join(path.trim_start_matches('/'))).unwrap();
            assert_eq!(content, image.data(nid).unwrap(), "{path}");
            assert_eq!(
                (meta.mtime(), meta.mtime_nsec()),
                (inode.mtime, i64::from(inode.mtime_nsec))
            );
            files += 1;
        }
    });
    assert!(files > 10);
}

#[test]
fn reader_reads_what_mkfs_makes() {
    if !have("mkfs.erofs") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let src = dir.path().join("src");
    fs::create_dir_all(src.join("many")).unwrap();
    fs::write(src.join("empty"), "").unwrap();
    fs::write(src.join("small"), "small").unwrap();
    let big: Vec<u8> = (0..10_000u32).flat_map(|i| i.to_le_bytes()).collect();
    fs::write(src.join("big"), &big).unwrap();
    fs::write(src.join("whole"), &big[..8192]).unwrap();
    fs::hard_link(src.join("small"), src.join("linked")).unwrap();
    symlink("small", src.join("link")).unwrap();
    fs::set_permissions(src.join("big"), fs::Permissions::from_mode(0o4751)).unwrap();
    for i in 0..500 {
        fs::write(src.join(format!("many/file-with-a-long-name-{i:04}")), i.to_string()).unwrap();
    }
    let path = dir.path().join("image");
    // Compact inodes have no times of their own: mkfs chooses by itself where they do.
    run("mkfs.erofs", &["-T0", path.to_str().unwrap(), src.to_str().unwrap()]);
    let bytes = fs::read(&path).unwrap();
    let image = Image::open(&bytes).unwrap();
    let mut seen = BTreeMap::new();
    sample::walk(&image, &mut |path, nid| {
        seen.insert(path.to_owned(), nid);
    });
    assert_eq!(seen.len(), 1 + 7 + 500);
    for (path, nid) in &seen {
        check_inode(&image, *nid, &src.join(path.trim_start_matches('/')));
    }
    assert_eq!(seen["/small"], seen["/linked"]);
    let many = seen["/many"];
    for i in 0..500 {
        let name = format!("file-with-a-long-name-{i:04}");
        let found = image.lookup(many, name.as_bytes()).unwrap();
        assert_eq!(found, Some((seen[&format!("/many/{name}")], FileType::Regular)));
    }
    assert_eq!(image.lookup(many, b"file-with").unwrap(), None);
    assert_eq!(image.lookup(many, b"~").unwrap(), None);
    assert_eq!(image.lookup(many, b"!").unwrap(), None);
}

fn check_inode(image: &Image<'_>, nid: Nid, path: &Path) {
    let inode = image.inode(nid).unwrap();
    let meta = fs::symlink_metadata(path).unwrap();
    assert_eq!(inode.mode, meta.mode(), "{path:?}");
    assert_eq!((inode.uid, inode.gid), (meta.uid(), meta.gid()), "{path:?}");
    assert_eq!(u64::from(inode.nlink), meta.nlink(), "{path:?}");
    match inode.kind {
        FileType::Regular => {
            let mut content = vec![0; inode.size as usize + 10];
            let n = image.read_at(nid, 0, &mut content).unwrap();
            assert_eq!(&content[..n], fs::read(path).unwrap(), "{path:?}");
            // Across the border of the inline tail too.
            let n = image.read_at(nid, 3, &mut content).unwrap();
            assert_eq!(&content[..n], fs::read(path).unwrap().get(3..).unwrap_or_default());
        }
        FileType::Symlink => {
            let target = fs::read_link(path).unwrap();
            assert_eq!(image.read_link(nid).unwrap(), target.as_os_str().as_encoded_bytes());
        }
        _ => {}
    }
}
