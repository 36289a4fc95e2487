//! Layers whose contents stay where they are give the same tree and the same image as unpacked ones.
#![allow(clippy::unwrap_used, reason = "a test")]

use std::io::{Cursor, Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use flate2::write::GzEncoder;
use layers::{Flatten, LayerOptions, Limits, Metadata, NewNode, Open, Spool, Tree};

const FILES: usize = 40;

/// Some bytes that differ from file to file; some files are small, some empty.
fn content(number: usize) -> Vec<u8> {
    let len = [0, 5, 17_000, 90_000, 300_001][number % 5];
    (0..len).map(|at| (at * 7 + number * 13 + at / 251) as u8).collect()
}

fn name(number: usize) -> String {
    // Not in the order of the archive's names.
    format!("d{}/f{}", number % 3, number * 17 % FILES)
}

/// A layer of files, compressed.
fn layer(numbers: std::ops::Range<usize>) -> Vec<u8> {
    let (mut tree, spool) = (Tree::new(), Spool::new().unwrap());
    for number in numbers {
        let path = name(number);
        let (folder, _) = path.split_once('/').unwrap();
        let meta = Metadata { mode: 0o755, ..Metadata::default() };
        tree.create_dir_all(folder, &meta).unwrap();
        let node = NewNode::File(spool.store(&content(number)).unwrap());
        tree.insert(&path, meta, node).unwrap();
    }
    let mut gz = GzEncoder::new(Vec::new(), flate2::Compression::fast());
    let mut tar = Vec::new();
    let options =
        LayerOptions { compression: layers::Compression::None, ..LayerOptions::default() };
    layers::layer_from_tree(&tree, &mut tar, &options).unwrap();
    gz.write_all(&tar).unwrap();
    gz.finish().unwrap()
}

#[test]
fn stored_layers_give_the_same_image() {
    let blobs = [layer(0..30), layer(20..FILES)];
    let mut unpacked = Flatten::new(Spool::new().unwrap(), Limits::default());
    let mut stored = Flatten::new(Spool::new().unwrap(), Limits::default());
    let opened = Arc::new(AtomicU32::new(0));
    for blob in blobs {
        let applied = unpacked.layer(&blob[..], "l", None).unwrap();
        let count = opened.clone();
        let open: Open = Arc::new(move || -> std::io::Result<Box<dyn Read + Send>> {
            count.fetch_add(1, Ordering::Relaxed);
            Ok(Box::new(Cursor::new(blob.clone())))
        });
        let again = stored.stored_layer(open, "l", Some(&applied.diff_id)).unwrap();
        assert_eq!(applied, again);
    }
    let (unpacked, stored) = (unpacked.finish(), stored.finish());
    assert_eq!(opened.load(Ordering::Relaxed), 2);
    let image = |tree: &Tree| {
        let mut out = Vec::new();
        tree.write_rootfs(&mut out).unwrap();
        out
    };
    let expected = image(&unpacked);
    assert!(image(&stored) == expected);
    // Read in their order, each layer is decoded once.
    assert_eq!(opened.load(Ordering::Relaxed), 4);
    // In any order and any number of times, they are decoded a few times at most.
    for number in (0..FILES).rev().chain(0..FILES) {
        let id = stored.lookup_nofollow(name(number)).unwrap().unwrap();
        let read = stored.node(id).content().unwrap().read(1 << 20).unwrap();
        assert!(read == content(number), "{}", name(number));
    }
    for _ in 0..3 {
        assert!(image(&stored) == expected);
    }
    assert!(opened.load(Ordering::Relaxed) <= 2 * 6, "{opened:?}");
}
