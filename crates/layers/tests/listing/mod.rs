//! One line for each path: type, mode, owner, size, time, links, device, target, attributes and
//! content hash; the same for a tree, an image and a directory of the host.
#![allow(dead_code, clippy::unwrap_used, clippy::expect_used)]

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use layers::{FileType, Tree};
use rootfs::{Image, Metadata, Nid};
use sha2::{Digest, Sha256};

pub type Listing = BTreeMap<Vec<u8>, String>;

/// Sizes and link counts of directories depend on the file system and are left out.
fn line(
    kind: FileType,
    meta: &Metadata,
    links: u64,
    rdev: u32,
    target: &[u8],
    data: &[u8],
) -> String {
    let links = if kind == FileType::Directory { 0 } else { links };
    let mut line = format!(
        "{kind:?} {:04o} {}:{} {} {}.{:09} links={links} dev={rdev} ->{:?}",
        meta.mode & 0o7777,
        meta.uid,
        meta.gid,
        data.len(),
        meta.mtime,
        meta.mtime_nsec,
        String::from_utf8_lossy(target),
    );
    for (name, value) in &meta.xattrs {
        write!(line, " {}={value:?}", String::from_utf8_lossy(name)).unwrap();
    }
    if kind == FileType::Regular {
        write!(line, " {:x}", Sha256::digest(data)).unwrap();
    }
    line
}

pub fn of_tree(tree: &Tree) -> Listing {
    let all = std::iter::once((Vec::new(), tree.root())).chain(tree.walk(tree.root()));
    all.map(|(path, id)| {
        let node = tree.node(id);
        let data = node.content().map(|c| c.read(u64::MAX).unwrap()).unwrap_or_default();
        let target = node.target().unwrap_or_default();
        let links = u64::from(node.links());
        (path, line(node.kind(), &node.meta, links, node.rdev(), target, &data))
    })
    .collect()
}

pub fn of_image(image: &Image<'_>) -> Listing {
    let mut listing = Listing::new();
    let mut pending = vec![(Vec::new(), image.root())];
    while let Some((path, nid)) = pending.pop() {
        listing.insert(path.clone(), image_line(image, nid));
        if image.inode(nid).unwrap().kind != FileType::Directory {
            continue;
        }
        for entry in image.read_dir(nid).unwrap() {
            let entry = entry.unwrap();
            if entry.name != b"." && entry.name != b".." {
                pending.push((join(&path, entry.name), entry.nid));
            }
        }
    }
    listing
}

fn image_line(image: &Image<'_>, nid: Nid) -> String {
    let inode = image.inode(nid).unwrap();
    let xattrs = image.xattrs(nid).unwrap().map(|x| x.unwrap());
    let meta = Metadata {
        mode: inode.mode & 0o7777,
        uid: inode.uid,
        gid: inode.gid,
        mtime: inode.mtime,
        mtime_nsec: inode.mtime_nsec,
        xattrs: xattrs.map(|x| (x.name(), x.value.to_vec())).collect(),
    };
    let (target, data) = match inode.kind {
        FileType::Symlink => (image.read_link(nid).unwrap(), &b""[..]),
        FileType::Regular => (&b""[..], image.data(nid).unwrap()),
        _ => (&b""[..], &b""[..]),
    };
    line(inode.kind, &meta, u64::from(inode.nlink), inode.rdev, target, data)
}

pub fn of_host(root: &Path) -> Listing {
    let mut listing = Listing::new();
    let mut pending = vec![Vec::new()];
    while let Some(path) = pending.pop() {
        let full = root.join(std::ffi::OsStr::from_bytes(&path));
        let stat = fs::symlink_metadata(&full).unwrap();
        let kind = FileType::from_mode(stat.mode()).unwrap();
        let names = xattr::list(&full).unwrap();
        let xattrs = names
            .map(|n| (n.as_bytes().to_vec(), xattr::get(&full, &n).unwrap().unwrap()))
            .collect();
        let meta = Metadata {
            mode: stat.mode() & 0o7777,
            uid: stat.uid(),
            gid: stat.gid(),
            mtime: stat.mtime(),
            mtime_nsec: stat.mtime_nsec() as u32,
            xattrs,
        };
        let (mut target, mut data) = (Vec::new(), Vec::new());
        match kind {
            FileType::Symlink => {
                target = fs::read_link(&full).unwrap().as_os_str().as_bytes().to_vec()
            }
            FileType::Regular => data = fs::read(&full).unwrap(),
            FileType::Directory => {
                let entries = fs::read_dir(&full).unwrap();
                pending.extend(entries.map(|e| join(&path, e.unwrap().file_name().as_bytes())));
            }
            _ => {}
        }
        let links = stat.nlink();
        listing.insert(path, line(kind, &meta, links, stat.rdev() as u32, &target, &data));
    }
    listing
}

fn join(path: &[u8], name: &[u8]) -> Vec<u8> {
    if path.is_empty() { name.to_vec() } else { [path, name].join(&b'/') }
}

/// Panics with the lines that differ.
pub fn assert_same(a: &Listing, b: &Listing) {
    let mut wrong = String::new();
    for path in a.keys().chain(b.keys().filter(|p| !a.contains_key(*p))) {
        let (x, y) = (a.get(path), b.get(path));
        if x != y {
            writeln!(wrong, "{}\n  {x:?}\n  {y:?}", String::from_utf8_lossy(path)).unwrap();
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}
