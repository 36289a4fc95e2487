//! `diff` gives the layer that makes the upper tree out of the lower one.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod listing;
mod raw_tar;

use std::collections::BTreeMap;
use std::process::{Command, Stdio};

use layers::{
    Compression, Error, FileType, Flatten, LayerOptions, Limits, Metadata, NewNode, Spool, Tree,
    diff, layer_from_tree,
};
use proptest::prelude::*;

fn meta(mode: u32) -> Metadata {
    Metadata { mode, uid: 5, gid: 6, mtime: 1_000, mtime_nsec: 7, xattrs: BTreeMap::new() }
}

fn file(spool: &Spool, content: &str) -> NewNode {
    NewNode::File(spool.store(content.as_bytes()).unwrap())
}

fn layer(lower: &Tree, upper: &Tree) -> Vec<u8> {
    let mut out = Vec::new();
    let options = LayerOptions { compression: Compression::None, ..LayerOptions::default() };
    let info = diff(lower, upper, &mut out, &options).unwrap();
    assert_eq!((info.size, &info.digest), (out.len() as u64, &info.diff_id));
    out
}

fn apply(lower: &Tree, layer: &[u8]) -> Tree {
    let mut flatten = Flatten::onto(lower.clone(), Spool::new().unwrap(), Limits::default());
    flatten.layer(layer, "diff", None).unwrap();
    flatten.finish()
}

/// The names in an archive, in order, as GNU tar reads them.
fn names(archive: &[u8]) -> Vec<String> {
    let path = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(path.path(), archive).unwrap();
    let out =
        Command::new("tar").arg("-tf").arg(path.path()).stderr(Stdio::inherit()).output().unwrap();
    assert!(out.status.success());
    String::from_utf8(out.stdout).unwrap().lines().map(str::to_owned).collect()
}

fn base(spool: &Spool) -> Tree {
    let mut tree = Tree::new();
    for dir in ["etc", "etc/sub", "usr", "usr/bin", "old", "old/dir"] {
        tree.create_dir_all(dir, &meta(0o755)).unwrap();
    }
    for (path, content) in
        [("etc/a", "1"), ("etc/sub/b", "2"), ("usr/bin/c", "3"), ("old/x", "4"), ("old/dir/y", "5")]
    {
        tree.insert(path, meta(0o644), file(spool, content)).unwrap();
    }
    tree
}

#[test]
fn only_changes_and_the_directories_above_them_are_stored() {
    let spool = Spool::new().unwrap();
    let lower = base(&spool);
    let mut upper = lower.clone();
    upper.insert("etc/sub/b", meta(0o644), file(&spool, "changed")).unwrap();
    upper.insert("usr/bin/new", meta(0o755), file(&spool, "new")).unwrap();
    upper.remove("old/dir").unwrap();
    // The same content and metadata, written again, is no change.
    upper.insert("etc/a", meta(0o644), file(&spool, "1")).unwrap();
    let archive = layer(&lower, &upper);
    assert_eq!(
        names(&archive),
        ["etc/", "etc/sub/", "etc/sub/b", "old/", "old/.wh.dir", "usr/", "usr/bin/", "usr/bin/new"]
    );
    listing::assert_same(&listing::of_tree(&apply(&lower, &archive)), &listing::of_tree(&upper));
    let mut moved = lower.clone();
    let sub = moved.lookup("etc/sub").unwrap().unwrap();
    moved.meta_mut(sub).mtime += 1;
    assert_eq!(names(&layer(&lower, &moved)), Vec::<String>::new());
    moved.meta_mut(sub).mode = 0o700;
    assert_eq!(names(&layer(&lower, &moved)), ["etc/", "etc/sub/"]);
    let root = moved.root();
    moved.meta_mut(root).mode = 0o700;
    assert_eq!(names(&layer(&lower, &moved)), ["./", "etc/", "etc/sub/"]);
}

#[test]
fn types_may_change() {
    let spool = Spool::new().unwrap();
    let lower = base(&spool);
    let mut upper = lower.clone();
    upper.insert("old", meta(0o644), file(&spool, "was a directory")).unwrap();
    upper.insert("etc/a", meta(0o755), NewNode::Dir).unwrap();
    upper.insert("etc/a/in", meta(0o600), NewNode::Symlink(b"x".as_slice().into())).unwrap();
    upper.insert("usr/bin", meta(0o777), NewNode::Symlink(b"/etc".as_slice().into())).unwrap();
    let null = NewNode::Special { kind: FileType::CharDevice, rdev: rootfs::make_dev(1, 3) };
    upper.insert("etc/sub/b", meta(0o666), null).unwrap();
    let archive = layer(&lower, &upper);
    assert_eq!(
        names(&archive),
        ["etc/", "etc/a/", "etc/a/in", "etc/sub/", "etc/sub/b", "old", "usr/", "usr/bin"]
    );
    listing::assert_same(&listing::of_tree(&apply(&lower, &archive)), &listing::of_tree(&upper));
}

#[test]
fn hard_links_survive() {
    let spool = Spool::new().unwrap();
    let mut lower = base(&spool);
    let a = lower.lookup("etc/a").unwrap().unwrap();
    lower.link("etc/linked", a).unwrap();
    let mut upper = lower.clone();
    upper.link("usr/third", a).unwrap();
    let archive = layer(&lower, &upper);
    let found = apply(&lower, &archive);
    let ids: Vec<_> = ["etc/a", "etc/linked", "usr/third"].map(|p| found.lookup(p).unwrap()).into();
    assert!(ids[0] == ids[1] && ids[1] == ids[2]);
    // Cut: same content, but two files.
    let mut cut = lower.clone();
    let body = cut.node(a).body();
    cut.insert("etc/linked", meta(0o644), body).unwrap();
    let found = apply(&lower, &layer(&lower, &cut));
    assert_ne!(found.lookup("etc/a").unwrap(), found.lookup("etc/linked").unwrap());
    listing::assert_same(&listing::of_tree(&found), &listing::of_tree(&cut));
    // One of two names gone: nothing else to store.
    let mut one = lower.clone();
    one.remove("etc/linked").unwrap();
    assert_eq!(names(&layer(&lower, &one)), ["etc/", "etc/.wh.linked"]);
}

#[test]
fn whole_trees_in_every_compression() {
    let spool = Spool::new().unwrap();
    let mut tree = base(&spool);
    let mut odd =
        Metadata { uid: 4_000_000_000, mtime: -3, mtime_nsec: 250_000_000, ..meta(0o6755) };
    odd.xattrs.insert(b"user.k".to_vec(), b"a\0=\nb".to_vec());
    let long = format!("{}/{}", "d".repeat(200), "f".repeat(250));
    tree.create_dir_all("d".repeat(200), &meta(0o700)).unwrap();
    tree.insert(&long, odd, file(&spool, &"content ".repeat(100_000))).unwrap();
    tree.insert("n\u{e9}e", meta(0o777), NewNode::Symlink([b'x'; 4000].as_slice().into())).unwrap();
    tree.insert("sock", meta(0o777), NewNode::Special { kind: FileType::Socket, rdev: 0 }).unwrap();
    let root = tree.root();
    tree.meta_mut(root).mtime = 77;
    let mut blobs = Vec::new();
    for compression in [Compression::None, Compression::Gzip, Compression::Zstd] {
        let options = LayerOptions { compression, ..LayerOptions::default() };
        let (mut one, mut two) = (Vec::new(), Vec::new());
        let info = layer_from_tree(&tree, &mut one, &options).unwrap();
        assert_eq!(info, layer_from_tree(&tree, &mut two, &options).unwrap());
        assert_eq!((one.len() as u64, &one), (info.size, &two));
        let mut flatten = Flatten::new(Spool::new().unwrap(), Limits::default());
        let applied = flatten.layer(&one[..], "l", Some(&info.diff_id)).unwrap();
        assert_eq!(applied.entries, info.entries);
        let mut expected = tree.clone();
        expected.remove("sock").unwrap();
        listing::assert_same(&listing::of_tree(&flatten.finish()), &listing::of_tree(&expected));
        blobs.push((info.diff_id, info.digest));
    }
    assert!(blobs.windows(2).all(|w| w[0].0 == w[1].0 && w[0].1 != w[1].1));
    let options = LayerOptions { clamp_mtime: Some(500), ..LayerOptions::default() };
    let mut out = Vec::new();
    layer_from_tree(&tree, &mut out, &options).unwrap();
    let clamped = apply(&Tree::new(), &out);
    let of = |path: &str| clamped.node(clamped.lookup(path).unwrap().unwrap()).meta.clone();
    assert_eq!((of("etc/a").mtime, of("etc/a").mtime_nsec), (500, 0));
    assert_eq!((of(&long).mtime, of(&long).mtime_nsec), (-3, 250_000_000));
    tree.insert("etc/.wh.x", meta(0o644), file(&spool, "")).unwrap();
    let error = layer_from_tree(&tree, Vec::new(), &options).unwrap_err();
    assert!(matches!(error, Error::ReservedName(_)), "{error}");
}

/// Paths of few letters, so that trees meet in files, directories and links.
fn steps() -> impl Strategy<Value = Vec<(String, u8, u8)>> {
    prop::collection::vec(("[ab](/[abc]){0,2}", 0u8..6, 0u8..4), 0..25)
}

fn grow(mut tree: Tree, spool: &Spool, steps: &[(String, u8, u8)]) -> Tree {
    for (path, what, variant) in steps {
        let meta = Metadata { mtime_nsec: 0, ..meta(0o600 + u32::from(*variant)) };
        // Steps that lead through files fail; that is fine.
        let _ = match what {
            0 => tree.create_dir_all(path, &meta).map(drop),
            1 => tree.remove(path).map(drop),
            2 => tree
                .insert(path, meta, NewNode::Symlink(format!("t{variant}").into_bytes().into()))
                .map(drop),
            3 => match tree.lookup("a/b").unwrap() {
                Some(id) if !tree.node(id).is_dir() => tree.link(path, id),
                _ => Ok(()),
            },
            _ => tree.insert(path, meta, file(spool, &variant.to_string())).map(drop),
        };
    }
    tree
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, ..ProptestConfig::default() })]

    #[test]
    fn lower_and_diff_make_upper(first in steps(), second in steps()) {
        let spool = Spool::new().unwrap();
        let lower = grow(Tree::new(), &spool, &first);
        let upper = grow(lower.clone(), &spool, &second);
        let archive = layer(&lower, &upper);
        let found = apply(&lower, &archive);
        listing::assert_same(&listing::of_tree(&found), &listing::of_tree(&upper));
        // Also which names share a file.
        let classes = |tree: &Tree| -> std::collections::BTreeSet<Vec<Vec<u8>>> {
            let mut by_node = BTreeMap::<_, Vec<Vec<u8>>>::new();
            tree.walk(tree.root()).for_each(|(path, id)| by_node.entry(id).or_default().push(path));
            by_node.into_values().map(|mut paths| { paths.sort(); paths }).collect()
        };
        prop_assert_eq!(classes(&found), classes(&upper));
        let again = diff(&upper, &found, Vec::new(), &LayerOptions::default()).unwrap();
        prop_assert_eq!(again.entries, 0);
        let whole = apply(&Tree::new(), &layer(&Tree::new(), &upper));
        listing::assert_same(&listing::of_tree(&whole), &listing::of_tree(&upper));
    }
}
