//! A tree with one of everything, and a walk over an image.
#![allow(dead_code, clippy::unwrap_used, clippy::expect_used)]

use std::collections::{BTreeMap, HashMap};
use std::io::Cursor;

use rootfs::{FileType, Image, Metadata, Nid, NodeId, Writer, make_dev};

pub struct Tree {
    pub writer: Writer,
    pub contents: HashMap<NodeId, Vec<u8>>,
}

impl Tree {
    pub fn new() -> Tree {
        Tree { writer: Writer::new(meta(0o755)), contents: HashMap::new() }
    }

    pub fn file(&mut self, parent: NodeId, name: &str, meta: Metadata, content: Vec<u8>) -> NodeId {
        let size = content.len() as u64;
        let id = self.writer.file(parent, name.as_bytes(), meta, size).unwrap();
        self.contents.insert(id, content);
        id
    }

    pub fn image(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        let summary = self
            .writer
            .write(&mut bytes, |id| Ok(Cursor::new(self.contents[&id].clone())))
            .unwrap();
        assert_eq!(summary.bytes, bytes.len() as u64);
        bytes
    }
}

pub fn meta(mode: u32) -> Metadata {
    Metadata {
        mode,
        uid: 70_000,
        gid: 100_000,
        mtime: 1_700_000_000,
        mtime_nsec: 123_456_789,
        xattrs: BTreeMap::new(),
    }
}

pub fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|i| (i * 31 + i / 256) as u8).collect()
}

pub fn tree() -> Tree {
    let mut t = Tree::new();
    let root = t.writer.root();
    for len in [0, 1, 4095, 4096, 4097, 100_000] {
        t.file(root, &format!("file-{len}"), meta(0o644), pattern(len));
    }
    let etc = t.writer.dir(root, b"etc", meta(0o1777)).unwrap();
    let passwd = t.file(etc, "passwd", meta(0o4755), pattern(300));
    t.writer.link(root, b"hard", passwd).unwrap();
    t.writer.symlink(root, b"soft", meta(0o777), b"/etc/passwd").unwrap();
    t.writer.symlink(root, b"long", meta(0o777), &[b'x'; 4095]).unwrap();
    t.writer.special(root, b"null", meta(0o666), FileType::CharDevice, make_dev(1, 3)).unwrap();
    t.writer
        .special(root, b"disk", meta(0o660), FileType::BlockDevice, make_dev(259, 70_000))
        .unwrap();
    t.writer.special(root, b"pipe", meta(0o600), FileType::Fifo, 0).unwrap();
    t.writer.dir(root, b"empty", meta(0o700)).unwrap();
    let big = t.writer.dir(root, b"big", meta(0o755)).unwrap();
    for i in 0..1000 {
        t.file(big, &format!("entry-{i}-{}", "n".repeat(i % 200)), meta(0o600), pattern(i % 7));
    }
    for name in ["!bang", "-dash", "..dots", "...", "\u{e9}"] {
        t.file(big, name, meta(0o600), Vec::new());
    }
    let mut with = meta(0o755);
    with.xattrs.insert(b"user.name".to_vec(), b"value".to_vec());
    with.xattrs.insert(b"security.capability".to_vec(), vec![1, 0, 0, 2, 0, 4, 0, 0]);
    with.xattrs.insert(b"trusted.empty".to_vec(), Vec::new());
    t.file(root, "capable", with.clone(), pattern(10));
    let labelled = t.writer.dir(root, b"labelled", with.clone()).unwrap();
    t.file(labelled, "inside", meta(0o600), pattern(5));
    with.xattrs.insert(b"user.big".to_vec(), pattern(9000));
    t.file(root, "bigger", with.clone(), pattern(10));
    t.writer.symlink(root, b"labelled-link", with, b"x").unwrap();
    let mut deep = root;
    for _ in 0..50 {
        deep = t.writer.dir(deep, b"d", meta(0o755)).unwrap();
    }
    let mut old = meta(0o644);
    old.mtime = -5;
    t.file(deep, "old", old, pattern(1));
    t
}

/// Calls `f` with the path of each entry (`/` for the root), parents first.
pub fn walk(image: &Image<'_>, f: &mut dyn FnMut(&str, Nid)) {
    f("/", image.root());
    let mut pending = vec![(String::new(), image.root())];
    while let Some((path, dir)) = pending.pop() {
        for entry in image.read_dir(dir).unwrap() {
            let entry = entry.unwrap();
            if entry.name == b"." || entry.name == b".." {
                continue;
            }
            let path = format!("{path}/{}", String::from_utf8_lossy(entry.name));
            f(&path, entry.nid);
            if entry.kind == FileType::Directory {
                pending.push((path, entry.nid));
            }
        }
    }
}
