//! Layers that no honest tool makes, and odd ones that some do.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod raw_tar;

use std::io::Write;

use flate2::write::GzEncoder;
use layers::{Error, FileType, Flatten, Limits, Spool, Tree};
use proptest::prelude::*;
use raw_tar::{Header, Raw};

fn apply_with(layers: &[Vec<u8>], limits: Limits) -> Result<Tree, Error> {
    let mut flatten = Flatten::new(Spool::new().unwrap(), limits);
    for layer in layers {
        flatten.layer(&layer[..], "sha256:test", None)?;
    }
    Ok(flatten.finish())
}

fn apply(layers: &[Vec<u8>]) -> Result<Tree, Error> {
    apply_with(layers, Limits::default())
}

fn paths(tree: &Tree) -> Vec<String> {
    tree.walk(tree.root()).map(|(p, _)| String::from_utf8_lossy(&p).into_owned()).collect()
}

fn read(tree: &Tree, path: &str) -> String {
    String::from_utf8(tree.read(path, 1 << 20).unwrap()).unwrap()
}

/// Asserts that the layers are refused so, with layer and entry named.
macro_rules! refused {
    ($layers:expr, $pattern:pat, $entry:expr) => {
        let error = apply(&$layers).unwrap_err();
        assert!(matches!(error.cause(), $pattern), "{error}");
        let Error::Layer { layer, entry, .. } = &error else { panic!("{error}") };
        assert_eq!((layer.as_str(), entry.as_deref()), ("sha256:test", $entry));
    };
}

#[test]
fn escapes_are_refused() {
    for name in ["../x", "a/../../x", "a/..", "/..", "./../x"] {
        refused!([Raw::default().file(name, b"x").end()], Error::ParentReference(_), Some(name));
        let whiteout = format!("{name}/.wh.x");
        refused!(
            [Raw::default().file(&whiteout, b"").end()],
            Error::ParentReference(_),
            Some(whiteout.as_str())
        );
    }
    let layer = Raw::default().file("f", b"x").link(b'1', "l", "../../etc/passwd").end();
    refused!([layer], Error::ParentReference(_), Some("l"));
    let layer = Raw::default().link(b'1', "l", "/etc/passwd").end();
    refused!([layer], Error::MissingLinkTarget(_), Some("l"));
    let layer = Raw::default().dir("d").link(b'1', "l", "d").end();
    refused!([layer], Error::LinkToDirectory(_), Some("l"));
    let layer = Raw::default().link(b'1', "l", "").end();
    refused!([layer], Error::LinkToDirectory(_), Some("l"));
}

#[test]
fn absolute_paths_and_links_stay_inside() {
    let layer = Raw::default()
        .file("/etc/passwd", b"inside")
        .link(b'2', "abs", "/etc")
        .link(b'2', "up", "../../../../etc")
        .file("abs/one", b"1")
        .file("up/two", b"2")
        .link(b'2', "dangling", "/new/place")
        .file("dangling/three", b"3")
        .end();
    let tree = apply(&[layer]).unwrap();
    assert_eq!(read(&tree, "etc/passwd"), "inside");
    assert_eq!(read(&tree, "/up/one"), "1");
    assert_eq!(read(&tree, "etc/two"), "2");
    assert_eq!(read(&tree, "new/place/three"), "3");
    assert_eq!(
        paths(&tree),
        [
            "abs",
            "dangling",
            "etc",
            "etc/one",
            "etc/passwd",
            "etc/two",
            "new",
            "new/place",
            "new/place/three",
            "up"
        ]
    );
}

#[test]
fn link_loops_and_files_as_directories_are_refused() {
    let layer = Raw::default().link(b'2', "a", "b").link(b'2', "b", "a").file("a/x", b"").end();
    refused!([layer], Error::SymlinkLoop(_), Some("a/x"));
    refused!(
        [Raw::default().file("f", b"").file("f/x", b"").end()],
        Error::NotDirectory(_),
        Some("f/x")
    );
    let tree = apply(&[Raw::default().link(b'2', "a", "a").end()]).unwrap();
    assert!(matches!(tree.lookup("a"), Err(Error::SymlinkLoop(_))));
    assert!(tree.lookup_nofollow("a").unwrap().is_some());
}

#[test]
fn damaged_archives_are_refused() {
    let good = Raw::default().file("f", &[7; 5000]).end();
    for cut in [100, 512, 700, 5000] {
        let entry = (cut >= 512).then_some("f");
        refused!([good[..cut].to_vec()], Error::Truncated, entry);
    }
    let mut sum = good.clone();
    sum[0] ^= 1;
    refused!([sum], Error::Corrupt(_), None);
    let mut gz = GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gz.write_all(&good).unwrap();
    gz.write_all(
        &(0..200_000u32)
            .flat_map(|i| i.wrapping_mul(2_654_435_761).to_le_bytes())
            .collect::<Vec<_>>(),
    )
    .unwrap();
    let gz = gz.finish().unwrap();
    assert!(apply(std::slice::from_ref(&gz)).is_ok());
    refused!([gz[..gz.len() / 2].to_vec()], Error::Truncated, None);
    refused!([gz[..gz.len() - 3].to_vec()], Error::Truncated, None);
    let mut corrupt = gz.clone();
    corrupt[gz.len() / 2] ^= 0xff;
    let error = apply(&[corrupt]).unwrap_err();
    assert!(
        matches!(error.cause(), Error::Read(_) | Error::Truncated | Error::Corrupt(_)),
        "{error}"
    );
    let mut z = zstd::encode_all(&good[..], 3).unwrap();
    assert!(apply(std::slice::from_ref(&z)).is_ok());
    z.truncate(z.len() - 2);
    refused!([z], Error::Truncated, None);
    refused!([b"not a tar".to_vec()], Error::Truncated, None);
    refused!([vec![b'x'; 1024]], Error::Corrupt(_), None);
}

#[test]
fn hostile_numbers_are_refused() {
    let with_size = |bytes: &[u8]| {
        let mut h = Header::new(b'0', b"f");
        h.set(124, bytes);
        Raw::default().header(&h).end()
    };
    // Negative, larger than 63 bits, not octal, and true but far too large.
    for size in [
        &[0xff; 12][..],
        &[0x80, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
        b"9999        ",
    ] {
        refused!([with_size(size)], Error::Corrupt(_), None);
    }
    let tera = [0x80, 0, 0, 0, 0, 0, 0xff, 0, 0, 0, 0, 0];
    refused!([with_size(&tera)], Error::Limit { .. }, Some("f"));
    let size = i64::MAX.to_string();
    let layer = Raw::default().pax(&[("size", size.as_bytes())]).file("f", b"").end();
    refused!([layer], Error::Limit { .. }, Some("f"));
    let layer = Raw::default().pax(&[("size", b"18446744073709551615")]).file("f", b"").end();
    refused!([layer], Error::Corrupt(_), None);
    let layer = Raw::default().pax(&[("uid", b"4294967296")]).file("f", b"").end();
    refused!([layer], Error::Corrupt(_), None);
    let mut huge = Header::new(b'x', b"pax");
    huge.octal(124, 11, 1 << 30);
    refused!([Raw::default().header(&huge).end()], Error::Limit { .. }, None);
}

#[test]
fn bombs_are_bounded() {
    let limits = Limits { bytes: 1 << 20, ..Limits::default() };
    let error =
        apply_with(&[Raw::default().file("f", &vec![0; 2 << 20]).end()], limits).unwrap_err();
    assert!(matches!(error.cause(), Error::Limit { .. }), "{error}");
    // Small in the archive, large as a file.
    let sparse = Raw::default()
        .pax(&[("GNU.sparse.map", b"0,1"), ("GNU.sparse.size", b"900000000000")])
        .file("f", b"x")
        .end();
    refused!([sparse], Error::Limit { .. }, Some("f"));
    let holes = Raw::default()
        .pax(&[("GNU.sparse.map", b"0,1"), ("GNU.sparse.size", b"6000000000")])
        .file("f", b"x")
        .end();
    refused!([holes], Error::Limit { what: "bytes of holes in files", .. }, Some("f"));
    let limits = Limits { entries: 10, ..Limits::default() };
    let many = (0..11).fold(Raw::default(), |raw, i| raw.file(&format!("{i}"), b"")).end();
    assert!(matches!(apply_with(&[many], limits).unwrap_err().cause(), Error::Limit { .. }));
    let limits = Limits { metadata: 1000, ..Limits::default() };
    let layer = Raw::default().pax(&[("SCHILY.xattr.user.a", &[b'x'; 2000])]).file("f", b"").end();
    assert!(matches!(apply_with(&[layer], limits).unwrap_err().cause(), Error::Limit { .. }));
    let limits = Limits { ratio: 10, ratio_from: 1 << 20, ..Limits::default() };
    let mut gz = GzEncoder::new(Vec::new(), flate2::Compression::best());
    gz.write_all(&Raw::default().file("f", &vec![0; 4 << 20]).end()).unwrap();
    let gz = gz.finish().unwrap();
    assert!(matches!(
        apply_with(std::slice::from_ref(&gz), limits).unwrap_err().cause(),
        Error::Limit { limit: 10, .. }
    ));
    assert!(apply(&[gz]).is_ok());
    let long = "d/".repeat(3000);
    let layer = Raw::default().pax(&[("path", long.as_bytes())]).dir("d").end();
    let error = apply(&[layer]).unwrap_err();
    assert!(matches!(error.cause(), Error::Limit { what: "bytes of a path", .. }), "{error}");
    let name = "n".repeat(300);
    let layer = Raw::default().pax(&[("path", name.as_bytes())]).file("n", b"").end();
    assert!(matches!(apply(&[layer]).unwrap_err().cause(), Error::InvalidName(_)));
}

/// Every entry leads deeper through a link, so that no path is long but the tree is deep.
#[test]
fn deep_trees_do_not_overflow_the_stack() {
    let mut raw = Raw::default();
    let step = "d/".repeat(40);
    for i in 0..500 {
        raw = raw.dir(&format!("l{i}/{step}").replacen("l0/", "", 1));
        let target = format!("l{i}/{step}").replacen("l0/", "", 1);
        raw = raw.link(b'2', &format!("l{}", (i + 1) % 30), target.trim_end_matches('/'));
    }
    // Whatever it makes of the loops, it comes back.
    let result = apply(&[raw.end()]);
    assert!(result.is_ok() || matches!(result.unwrap_err().cause(), Error::SymlinkLoop(_)));
}

#[test]
fn whiteouts_hide_lower_layers_only() {
    let lower = Raw::default()
        .file("a", b"1")
        .dir("d")
        .file("d/x", b"1")
        .file("d/y", b"1")
        .dir("o")
        .file("o/x", b"1")
        .dir("o/sub")
        .file("o/sub/z", b"1")
        .file("keep", b"1")
        .end();
    let upper = Raw::default()
        .file("o/new", b"2")
        .file("o/sub/new", b"2")
        .file("o/.wh..wh..opq", b"")
        .file("o/later", b"2")
        .file(".wh.a", b"")
        .file("d/x", b"2")
        .file("d/.wh.x", b"")
        .file("d/.wh.y", b"")
        .file(".wh.absent", b"")
        .file("nowhere/.wh.x", b"")
        .file(".wh..wh.plnk/1.2", b"")
        .end();
    let tree = apply(&[lower.clone(), upper]).unwrap();
    assert_eq!(paths(&tree), ["d", "d/x", "keep", "o", "o/later", "o/new", "o/sub", "o/sub/new"]);
    assert_eq!(read(&tree, "d/x"), "2");
    // A whiteout of a directory that this layer also fills.
    let upper = Raw::default().file("d/n", b"2").file(".wh.d", b"").end();
    let tree = apply(&[lower.clone(), upper]).unwrap();
    assert!(tree.lookup("d/n").unwrap().is_some() && tree.lookup("d/x").unwrap().is_none());
    let upper = Raw::default().file(".wh.d", b"").file("d/n", b"2").end();
    let tree = apply(&[lower.clone(), upper]).unwrap();
    assert!(tree.lookup("d/n").unwrap().is_some() && tree.lookup("d/x").unwrap().is_none());
    for name in [".wh.", "d/.wh.", ".wh..", ".wh...", ".wh.d/x"] {
        refused!(
            [lower.clone(), Raw::default().file(name, b"").end()],
            Error::InvalidWhiteout,
            Some(name)
        );
    }
    // An opaque root hides everything.
    let tree = apply(&[lower, Raw::default().file(".wh..wh..opq", b"").end()]).unwrap();
    assert!(paths(&tree).is_empty());
}

#[test]
fn an_archive_that_is_no_layer_has_no_whiteouts() {
    let archive = Raw::default().file("a", b"1").file(".wh.a", b"2").end();
    let mut flatten = Flatten::new(Spool::new().unwrap(), Limits::default());
    flatten.archive(&archive[..], "add.tar").unwrap();
    assert_eq!(paths(&flatten.finish()), [".wh.a", "a"]);
    for magic in [&b"BZh91AY&SY"[..], b"\xfd7zXZ\0\0"] {
        let error = apply(&[magic.to_vec()]).unwrap_err();
        assert!(matches!(error.cause(), Error::Read(_) | Error::Truncated), "{error}");
    }
}

#[test]
fn the_later_entry_wins() {
    let layer = Raw::default()
        .file("f", b"1")
        .file("f", b"2")
        .dir("d")
        .file("d/x", b"1")
        .file("d", b"now a file")
        .file("e", b"file")
        .dir("e")
        .file("e/x", b"1")
        .dir("m")
        .file("m/x", b"1")
        .dir("m")
        .link(b'2', "s", "e")
        .dir("s")
        .file("s/y", b"1")
        .end();
    let tree = apply(&[layer]).unwrap();
    assert_eq!(read(&tree, "f"), "2");
    assert_eq!(read(&tree, "d"), "now a file");
    assert_eq!(paths(&tree), ["d", "e", "e/x", "f", "m", "m/x", "s", "s/y"]);
    refused!([Raw::default().link(b'2', "/", "etc").end()], Error::RootNotDirectory, Some("/"));
    refused!([Raw::default().link(b'2', "s", "").end()], Error::InvalidSymlink(0), Some("s"));
    refused!([Raw::default().link(b'V', "label", "").end()], Error::UnsupportedEntry(b'V'), None);
}

#[test]
fn hard_links_within_and_across_layers() {
    let lower = Raw::default().file("a", b"1").link(b'1', "b", "a").link(b'1', "b", "./b").end();
    let upper = Raw::default().link(b'1', "c", "/b").file(".wh.a", b"").end();
    let tree = apply(&[lower.clone(), upper]).unwrap();
    let b = tree.lookup("b").unwrap().unwrap();
    assert_eq!(tree.lookup("c").unwrap(), Some(b));
    assert_eq!(tree.node(b).links(), 2);
    // Replacing one name leaves the other.
    let tree = apply(&[lower, Raw::default().file("a", b"2").end()]).unwrap();
    assert_eq!((read(&tree, "a"), read(&tree, "b")), ("2".into(), "1".into()));
}

#[test]
fn every_kind_and_attribute_arrives() {
    let mut setuid = Header::new(b'0', b"su");
    setuid.octal(100, 7, 0o104755).set(108, &[0x80, 0, 0, 0, 0, 1, 0x11, 0x70]);
    let mut null = Header::new(b'3', b"null");
    null.octal(329, 7, 1).octal(337, 7, 3);
    let mut old = Header::new(b'0', b"old");
    old.set(136, &[0xff; 12]);
    let layer = Raw::default()
        .header(&setuid)
        .header(&null)
        .header(&old)
        .header(&Header::new(b'6', b"pipe"))
        .extended(b'g', b"25 comment=from a commit\n")
        .extended(b'L', &[&[b'l'; 150][..], b"\0"].concat())
        .extended(b'K', b"target\0")
        .link(b'2', "short", "x")
        .pax(&[
            ("mtime", b"-1.25"),
            ("uid", b"4000000000"),
            ("gid", b"5"),
            ("path", "n\u{e9}e".as_bytes()),
            ("SCHILY.xattr.user.k", b"a\0=\nb"),
            ("SCHILY.xattr.com.apple.x", b"y"),
            ("unknown", b"z"),
        ])
        .file("x", b"data")
        .header(Header::new(0, b"v7dir/").set(257, &[0; 8]))
        .end();
    let tree = apply(&[layer]).unwrap();
    let get = |path: &str| tree.node(tree.lookup_nofollow(path).unwrap().unwrap());
    assert_eq!((get("su").meta.mode, get("su").meta.uid), (0o4755, 70_000));
    assert_eq!(
        (get("null").kind(), get("null").rdev()),
        (FileType::CharDevice, rootfs::make_dev(1, 3))
    );
    assert_eq!(get("old").meta.mtime, -1);
    assert_eq!(get("pipe").kind(), FileType::Fifo);
    assert_eq!(get(&"l".repeat(150)).target(), Some(&b"target"[..]));
    let pax = &get("n\u{e9}e").meta;
    assert_eq!((pax.mtime, pax.mtime_nsec, pax.uid, pax.gid), (-2, 750_000_000, 4_000_000_000, 5));
    assert_eq!(
        pax.xattrs.iter().collect::<Vec<_>>(),
        [(&b"user.k".to_vec(), &b"a\0=\nb".to_vec())]
    );
    assert!(get("v7dir").is_dir());
    // Linux has no names in other namespaces; EROFS could not hold them either.
    tree.write_rootfs(Vec::new()).unwrap();
}

#[test]
fn sparse_maps() {
    let map = |map: &str, size: &str, data: &[u8]| {
        let records = [
            ("GNU.sparse.map", map.as_bytes()),
            ("GNU.sparse.size", size.as_bytes()),
            ("GNU.sparse.name", b"s"),
        ];
        apply(&[Raw::default().pax(&records).file("x", data).end()])
    };
    let tree = map("2,3,3000000,2", "3000010", b"abcde").unwrap();
    let content = tree.read("s", 1 << 30).unwrap();
    assert_eq!(content.len(), 3_000_010);
    assert_eq!(
        (&content[..6], &content[2_999_999..3_000_003]),
        (&b"\0\0abc\0"[..], &b"\0de\0"[..])
    );
    assert!(content[6..2_999_999].iter().all(|b| *b == 0));
    for (wrong, size) in [
        ("0,3", "5"),
        ("3,2,0,3", "9"),
        ("0,9", "5"),
        ("0,5,3", "9"),
        ("0,18446744073709551615", "9"),
        ("x", "9"),
    ] {
        assert!(
            matches!(map(wrong, size, b"abcde").unwrap_err().cause(), Error::Corrupt(_)),
            "{wrong}"
        );
    }
    let v1 = |data: &[u8]| {
        let records = [
            ("GNU.sparse.major", &b"1"[..]),
            ("GNU.sparse.minor", b"0"),
            ("GNU.sparse.name", b"s"),
            ("GNU.sparse.realsize", b"10"),
        ];
        apply(&[Raw::default().pax(&records).file("x", data).end()])
    };
    let mut data = b"1\n4\n3\n".to_vec();
    data.resize(512, 0);
    data.extend_from_slice(b"abc");
    assert_eq!(v1(&data).unwrap().read("s", 100).unwrap(), b"\0\0\0\0abc\0\0\0");
    assert!(v1(&data[..512]).is_err());
    assert!(v1(&[b'1'; 600]).is_err());
    assert!(v1(b"99999\n").is_err());
}

#[test]
fn the_diff_id_is_checked() {
    let layer = Raw::default().file("f", b"x").end();
    let mut flatten = Flatten::new(Spool::new().unwrap(), Limits::default());
    let applied = flatten.layer(&layer[..], "l", None).unwrap();
    assert_eq!(applied.entries, 1);
    assert!(flatten.layer(&layer[..], "l", Some(&applied.diff_id)).is_ok());
    let mut gz = GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gz.write_all(&layer).unwrap();
    assert!(flatten.layer(&gz.finish().unwrap()[..], "l", Some(&applied.diff_id)).is_ok());
    // What follows the end of the archive counts too.
    let longer = [&layer[..], &[0; 512]].concat();
    let error = flatten.layer(&longer[..], "l", Some(&applied.diff_id)).unwrap_err();
    assert!(matches!(error.cause(), Error::DiffId { .. }), "{error}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn mutated_archives_never_panic(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..12),
        resum in any::<bool>(),
        cut in any::<prop::sample::Index>(),
    ) {
        let mut bytes = Raw::default()
            .dir("d").file("d/f", b"content").link(b'1', "d/h", "d/f").link(b'2', "s", "d")
            .pax(&[("path", b"s/long"), ("SCHILY.xattr.user.a", b"b"), ("mtime", b"1.5")]).file("x", b"y")
            .pax(&[("GNU.sparse.map", b"0,1"), ("GNU.sparse.size", b"9")]).file("z", b"y")
            .file("d/.wh.f", b"").end();
        for (at, value) in &changes {
            let at = at.index(bytes.len());
            bytes[at] = *value;
        }
        if resum {
            for block in bytes.chunks_exact_mut(512).filter(|b| b[257..262] == *b"ustar") {
                let fixed = Header(block.try_into().unwrap()).encode();
                block.copy_from_slice(&fixed);
            }
        } else {
            bytes.truncate(cut.index(bytes.len() + 1));
        }
        if let Ok(tree) = apply(&[bytes]) {
            tree.write_rootfs(Vec::new()).unwrap();
        }
    }
}
