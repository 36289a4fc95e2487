//! What the writer was given is what the reader finds; hostile images give errors.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod sample;

use std::collections::BTreeMap;
use std::io::Cursor;

use proptest::prelude::*;
use rootfs::{Error, FileType, Image, Metadata, Nid, NodeId, Writer};
use sample::{meta, pattern};

fn find(image: &Image<'_>, path: &str) -> Nid {
    path.split('/').filter(|p| !p.is_empty()).fold(image.root(), |dir, name| {
        image.lookup(dir, name.as_bytes()).unwrap().unwrap_or_else(|| panic!("{path}")).0
    })
}

#[test]
fn everything_is_found_again() {
    let bytes = sample::tree().image();
    let image = Image::open(&bytes).unwrap();
    let mut count = 0;
    sample::walk(&image, &mut |path, nid| {
        count += 1;
        assert_eq!(find(&image, path), nid);
    });
    assert_eq!(count as u64, image.inode_count() + 1, "one inode has two names");
    for len in [1, 4095, 4096, 4097, 100_000] {
        let nid = find(&image, &format!("file-{len}"));
        assert_eq!(image.data(nid).unwrap(), pattern(len));
        let offset = image.data_offset(nid).unwrap() as usize;
        assert_eq!(offset % 4096, 0);
        assert_eq!(image.bytes()[offset..offset + len], pattern(len));
        let pad = offset + len..(offset + len).next_multiple_of(4096);
        assert!(image.bytes()[pad].iter().all(|b| *b == 0));
    }
    assert_eq!(image.data(find(&image, "file-0")).unwrap(), b"");
    let passwd = image.inode(find(&image, "etc/passwd")).unwrap();
    assert_eq!((passwd.mode, passwd.uid, passwd.gid), (0o104755, 70_000, 100_000));
    assert_eq!((passwd.mtime, passwd.mtime_nsec), (1_700_000_000, 123_456_789));
    assert_eq!((passwd.nlink, passwd.nid), (2, find(&image, "hard")));
    assert_eq!(image.inode(image.root()).unwrap().nlink, 2 + 5);
    assert_eq!(image.read_link(find(&image, "soft")).unwrap(), b"/etc/passwd");
    assert_eq!(image.read_link(find(&image, "long")).unwrap(), [b'x'; 4095]);
    let disk = image.inode(find(&image, "disk")).unwrap();
    assert_eq!(disk.kind, FileType::BlockDevice);
    assert_eq!((rootfs::dev_major(disk.rdev), rootfs::dev_minor(disk.rdev)), (259, 70_000));
    assert_eq!(image.inode(find(&image, &"d/".repeat(50))).unwrap().kind, FileType::Directory);
    let old = image.inode(find(&image, &format!("{}old", "d/".repeat(50)))).unwrap();
    assert_eq!(old.mtime, -5);
    let up = image.lookup(find(&image, "etc"), b"..").unwrap();
    assert_eq!(up, Some((image.root(), FileType::Directory)));
}

#[test]
fn xattrs_are_found_again() {
    let bytes = sample::tree().image();
    let image = Image::open(&bytes).unwrap();
    for path in ["capable", "labelled"] {
        let nid = find(&image, path);
        assert_eq!(image.xattr(nid, b"user.name").unwrap(), Some(&b"value"[..]));
        assert_eq!(image.xattr(nid, b"trusted.empty").unwrap(), Some(&b""[..]));
        assert_eq!(image.xattr(nid, b"user.nam").unwrap(), None);
        assert_eq!(image.xattrs(nid).unwrap().count(), 3);
    }
    let nid = find(&image, "bigger");
    assert_eq!(image.xattr(nid, b"user.big").unwrap().unwrap(), pattern(9000));
    assert_eq!(image.data(nid).unwrap(), pattern(10));
    assert_eq!(image.read_link(find(&image, "labelled-link")).unwrap(), b"x");
    assert_eq!(image.xattrs(find(&image, "file-1")).unwrap().count(), 0);
}

#[test]
fn a_listing_continues_at_every_cookie() {
    let bytes = sample::tree().image();
    let image = Image::open(&bytes).unwrap();
    let big = find(&image, "big");
    let all: Vec<_> = image.read_dir(big).unwrap().map(Result::unwrap).collect();
    assert_eq!(all.len(), 1007);
    assert!(all.is_sorted_by(|a, b| a.name < b.name));
    for (i, entry) in all.iter().enumerate() {
        let rest = image.read_dir_from(big, entry.next).unwrap().next().map(Result::unwrap);
        assert_eq!(rest, all.get(i + 1).copied());
    }
    assert_eq!(image.read_dir_from(big, u64::MAX).unwrap().count(), 0);
}

#[test]
fn the_order_of_calls_does_not_show() {
    let build = |names: &[&str]| {
        let mut t = sample::Tree::new();
        let root = t.writer.root();
        let dir = t.writer.dir(root, b"dir", meta(0o755)).unwrap();
        for name in names {
            t.file(dir, name, meta(0o644), name.as_bytes().to_vec());
        }
        t.image()
    };
    assert_eq!(build(&["a", "b", "c"]), build(&["c", "a", "b"]));
}

#[test]
fn wrong_trees_are_refused() {
    let mut w = Writer::new(meta(0o755));
    let root = w.root();
    let file = w.file(root, b"f", meta(0), 3).unwrap();
    for name in [&b""[..], b".", b"..", b"a/b", b"a\0b", &[b'x'; 256]] {
        assert!(matches!(w.dir(root, name, meta(0)), Err(Error::InvalidName { .. })));
    }
    assert!(matches!(w.dir(root, b"f", meta(0)), Err(Error::DuplicateName(_))));
    assert!(matches!(w.dir(file, b"x", meta(0)), Err(Error::InvalidTree(_))));
    assert!(matches!(w.link(root, b"l", root), Err(Error::InvalidTree(_))));
    assert!(matches!(w.symlink(root, b"s", meta(0), b""), Err(Error::InvalidTree(_))));
    for wrong in [&b"ab"[..], b"abcd"] {
        let result = w.write(Vec::new(), |_| Ok(wrong));
        assert!(matches!(result, Err(Error::ContentLength { declared: 3, .. })));
    }
    let mut bad = meta(0);
    bad.xattrs.insert(b"com.apple.x".to_vec(), Vec::new());
    w.dir(root, b"d", bad).unwrap();
    assert!(matches!(w.write(Vec::new(), |_| Ok(&b"abc"[..])), Err(Error::InvalidXattr { .. })));
}

#[test]
fn wrong_images_are_refused() {
    let bytes = sample::tree().image();
    assert!(matches!(Image::open(&[]), Err(Error::Truncated { .. })));
    assert!(matches!(Image::open(&[0; 4096]), Err(Error::BadMagic(0))));
    assert!(matches!(Image::open(&bytes[..bytes.len() - 1]), Err(Error::Truncated { .. })));
    let mut flipped = bytes.clone();
    flipped[2000] ^= 1;
    assert!(matches!(Image::open(&flipped), Err(Error::Checksum { .. })));
    let image = Image::open(&bytes).unwrap();
    assert!(matches!(image.lookup(find(&image, "hard"), b"x"), Err(Error::NotDirectory(_))));
    assert!(matches!(image.read_link(image.root()), Err(Error::NotSymlink(_))));
    assert!(matches!(image.data(find(&image, "null")), Err(Error::NoData(_))));
    assert!(image.inode(u64::MAX).is_err());
}

/// Calls everything on every reachable inode (each once) and ignores what it says.
fn exercise(image: &Image<'_>) {
    let mut seen = std::collections::HashSet::new();
    let mut pending = vec![image.root()];
    while let Some(nid) = pending.pop() {
        if !seen.insert(nid) || seen.len() > 3000 {
            continue;
        }
        let _ = image.data(nid).map(|d| d.len());
        let _ = image.data_offset(nid);
        let _ = image.read_at(nid, 5, &mut [0; 5000]);
        let _ = image.read_link(nid);
        let _ = image.lookup(nid, b"entry-7-nnnnnnn");
        let _ = image.xattrs(nid).map(|all| all.count());
        for cookie in [1, 13, 4095, 4096, u64::MAX - 5000, u64::MAX - 1] {
            let _ = image.read_dir_from(nid, cookie).map(|entries| entries.take(5000).count());
        }
        for entry in image.read_dir(nid).into_iter().flatten() {
            let Ok(entry) = entry else { break };
            let _ = image.lookup(nid, entry.name);
            pending.push(entry.nid);
        }
    }
}

fn small_image() -> Vec<u8> {
    let mut t = sample::Tree::new();
    let root = t.writer.root();
    let mut with = meta(0o755);
    with.xattrs.insert(b"user.name".to_vec(), b"value".to_vec());
    let dir = t.writer.dir(root, b"dir", with).unwrap();
    for i in 0..200 {
        t.file(dir, &format!("entry-{i}-nnnnnnn"), meta(0o600), pattern(i));
    }
    t.writer.symlink(dir, b"link", meta(0o777), b"target").unwrap();
    let mut bytes = t.image();
    // Without the checksum flag, changes reach the reader.
    bytes[1024 + 8] &= !1;
    bytes
}

#[test]
fn a_directory_that_claims_to_be_endless_ends() {
    let mut bytes = small_image();
    let image = Image::open(&bytes).unwrap();
    let dir = image.lookup(image.root(), b"dir").unwrap().unwrap().0;
    let size_field = dir as usize * 32 + 8;
    for size in [u64::MAX, u64::MAX - 4095, u64::MAX - 4094, 1 << 40, 1 << 12, 0] {
        bytes[size_field..size_field + 8].copy_from_slice(&size.to_le_bytes());
        let image = Image::open(&bytes).unwrap();
        assert!(image.read_dir(dir).unwrap().count() < 10_000);
        let _ = image.lookup(dir, b"zzz");
        exercise(&image);
    }
}

type Nodes = BTreeMap<String, (bool, u32, Vec<u8>)>;

fn add(t: &mut sample::Tree, parent: NodeId, nodes: &Nodes) {
    for (name, (_, mode, content)) in nodes {
        let with = Metadata { mode: mode & 0o7777, uid: *mode, ..meta(0) };
        t.file(parent, name, with, content.clone());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn mutated_images_never_panic(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), any::<bool>()), 1..20),
    ) {
        let mut bytes = small_image();
        // Half of the changes hit the metadata, where they matter.
        let meta_end = 40 * 1024;
        for (at, value, anywhere) in &changes {
            let at = if *anywhere { at.index(bytes.len()) } else { 1024 + at.index(meta_end - 1024) };
            bytes[at] = *value;
        }
        if let Ok(image) = Image::open(&bytes) {
            exercise(&image);
        }
    }

    #[test]
    fn cut_and_random_bytes_never_panic(cut in 0usize..200_000, noise in prop::collection::vec(any::<u8>(), 0..6000)) {
        let mut bytes = small_image();
        bytes.truncate(cut);
        let _ = Image::open(&bytes).map(|i| exercise(&i));
        let at = bytes.len().saturating_sub(noise.len());
        bytes.truncate(at);
        bytes.extend_from_slice(&noise);
        let _ = Image::open(&bytes).map(|i| exercise(&i));
    }

    #[test]
    fn round_trip(
        top in prop::collection::btree_map("[a-zA-Z0-9!~+_-]{1,40}", (any::<bool>(), any::<u32>(), prop::collection::vec(any::<u8>(), 0..9000)), 0..12),
        sub in prop::collection::btree_map(".{1,60}", (any::<bool>(), any::<u32>(), prop::collection::vec(any::<u8>(), 0..50)), 0..120),
    ) {
        let sub: Nodes = sub.into_iter().filter(|(n, _)| !n.contains(['/', '\0']) && n != "." && n != ".." && n.len() <= 255).collect();
        let mut t = sample::Tree::new();
        let root = t.writer.root();
        add(&mut t, root, &top);
        let dir = t.writer.dir(root, b"{dir}", meta(0o755)).unwrap();
        add(&mut t, dir, &sub);
        let mut bytes = Vec::new();
        t.writer.write(&mut bytes, |id| Ok(Cursor::new(&t.contents[&id]))).unwrap();
        let image = Image::open(&bytes).unwrap();
        let sub_nid = image.lookup(image.root(), b"{dir}").unwrap().unwrap().0;
        for (nodes, nid) in [(&top, image.root()), (&sub, sub_nid)] {
            for (name, (_, mode, content)) in nodes {
                let (nid, kind) = image.lookup(nid, name.as_bytes()).unwrap().unwrap();
                prop_assert_eq!(kind, FileType::Regular);
                prop_assert_eq!(image.data(nid).unwrap(), &content[..]);
                prop_assert_eq!(image.inode(nid).unwrap().uid, *mode);
            }
        }
        prop_assert_eq!(image.read_dir(sub_nid).unwrap().count(), sub.len() + 2);
    }
}
