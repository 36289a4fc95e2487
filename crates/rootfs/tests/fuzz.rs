//! Images with wrong bytes: whatever is asked of one is answered or refused.
//!
//! `cargo xtask fuzz-build --inputs N --seed S` is the long run.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod sample;

use std::cell::RefCell;

use rootfs::{BLOCK_SIZE, FileType, Image, Nid};
use sample::{Tree, meta, pattern};
use testkit::fuzz::{self, Random};

/// Inodes looked at in one image; links may go round in circles.
const MOST: usize = 60;

fn small() -> Vec<u8> {
    let mut tree = Tree::new();
    let root = tree.writer.root();
    let mut with = meta(0o4755);
    with.xattrs.insert(b"user.name".to_vec(), b"value".to_vec());
    with.xattrs.insert(b"security.capability".to_vec(), vec![1, 0, 0, 2]);
    tree.file(root, "one", with, pattern(10));
    tree.file(root, "page", meta(0o644), pattern(4097));
    let dir = tree.writer.dir(root, b"d", meta(0o755)).unwrap();
    for i in 0..40 {
        tree.file(dir, &format!("{i}{}", "n".repeat(i * 5)), meta(0o600), Vec::new());
    }
    tree.writer.symlink(dir, b"soft", meta(0o777), b"/one").unwrap();
    tree.writer.special(dir, b"pipe", meta(0o600), FileType::Fifo, 0).unwrap();
    tree.image()
}

#[test]
fn images() {
    let whole = small();
    let copy = RefCell::new(whole.clone());
    fuzz::run(20_000, |random| {
        let mut bytes = copy.borrow_mut();
        let mut touched = Vec::new();
        for _ in 0..=random.below(4) {
            // Most damage where it says most: superblock, inodes, directories.
            let at = match random.below(4) {
                0 => 1024 + random.below(128),
                1 => random.below(bytes.len()),
                _ => random.below((3 * BLOCK_SIZE as usize).min(bytes.len())),
            };
            let width = 1 << random.below(4);
            let value = match random.below(4) {
                0 => u64::MAX,
                1 => random.number() % 5000,
                _ => random.number(),
            };
            for (i, byte) in value.to_le_bytes().iter().take(width).enumerate() {
                if let Some(place) = bytes.get_mut(at + i) {
                    *place = *byte;
                    touched.push(at + i);
                }
            }
        }
        let len = if random.once_in(6) { random.below(bytes.len() + 1) } else { bytes.len() };
        look(random, &bytes[..len]);
        for at in touched {
            bytes[at] = whole[at];
        }
    });
}

fn look(random: &mut Random, bytes: &[u8]) {
    let Ok(image) = Image::open(bytes) else { return };
    let mut pending: Vec<Nid> = vec![image.root()];
    let mut buf = [0u8; 300];
    for _ in 0..MOST {
        let Some(nid) = pending.pop() else { return };
        let Ok(_) = image.inode(nid) else { continue };
        let _ = (image.data(nid), image.runs(nid), image.data_offset(nid), image.read_link(nid));
        let _ = image.read_at(nid, random.number() % 9000, &mut buf);
        let _ = image.xattr(nid, b"user.name");
        for xattr in image.xattrs(nid).into_iter().flatten().take(100).flatten() {
            xattr.name();
        }
        let _ = (image.lookup(nid, b"one"), image.lookup(nid, b"39"), image.lookup(nid, b""));
        let start = if random.once_in(3) { random.number() } else { 0 };
        for entry in image.read_dir_from(nid, start).into_iter().flatten().take(200) {
            match entry {
                Ok(entry) => pending.push(entry.nid),
                Err(_) => break,
            }
        }
    }
}
