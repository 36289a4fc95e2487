//! Archives with anything in their headers: each is applied or refused, within its limits.
//!
//! `cargo xtask fuzz-build --inputs N --seed S` is the long run.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod raw_tar;

use std::cell::RefCell;
use std::io::Write;

use layers::{Flatten, Limits, Spool, Tree, is_archive};
use raw_tar::{Header, Raw};
use testkit::fuzz::{self, Random};

const NAMES: &[&str] = &[
    "a",
    "a/",
    "a/b",
    "./a",
    "/a",
    "../a",
    "a/../b",
    "",
    ".",
    "..",
    "a/.wh.b",
    ".wh..wh..opq",
    "a/.wh..wh..opq",
    ".wh.",
    ".wh.a",
    "d/e/f/g",
    "\u{e9}",
    "x\u{1}",
    "PaxHeaders/a",
    "GNUSparseFile.0/a",
];
const TYPES: &[u8] = b"0\x001234567xgLKSDVM\xff";
const RECORDS: &[&str] = &[
    "path=a/b\n",
    "linkpath=c\n",
    "size=3\n",
    "size=99999999999999999999\n",
    "size=-1\n",
    "mtime=1.5\n",
    "mtime=nan\n",
    "uid=7\n",
    "gid=x\n",
    "GNU.sparse.major=1\n",
    "GNU.sparse.minor=0\n",
    "GNU.sparse.realsize=9\n",
    "GNU.sparse.map=0,1,5,2\n",
    "GNU.sparse.size=8\n",
    "GNU.sparse.name=s\n",
    "SCHILY.xattr.user.a=b\n",
    "SCHILY.xattr.=\n",
    "=\n",
    "hdrcharset=BINARY\n",
    "\n",
];

fn archive(random: &mut Random) -> Vec<u8> {
    let mut raw = Raw::default();
    for _ in 0..random.below(6) {
        let kind = TYPES[random.below(TYPES.len())];
        let mut header = Header::new(kind, random.pick(NAMES).as_bytes());
        let mut data = vec![b'd'; random.below(1500)];
        if matches!(kind, b'x' | b'g') {
            data.clear();
            for _ in 0..random.below(5) {
                let record = random.pick(RECORDS);
                let right = record.len() + 3;
                let length = if random.once_in(8) { random.below(3000) } else { right };
                data.extend_from_slice(format!("{length:02} {record}").as_bytes());
            }
        }
        let size = if random.once_in(10) { random.number() % (1 << 33) } else { data.len() as u64 };
        header.octal(124, 11, size).link(random.pick(NAMES));
        if random.once_in(10) {
            // A number in base 256.
            header.set(
                124,
                &[
                    0x80 | random.number() as u8,
                    0,
                    0,
                    0,
                    0,
                    0,
                    0,
                    0,
                    0,
                    0,
                    random.number() as u8,
                    9,
                ],
            );
        }
        if random.once_in(6) {
            header.set(random.below(500), &random.number().to_le_bytes());
        }
        raw = raw.header(&header).data(&data);
    }
    let mut bytes = if random.once_in(5) { raw.0 } else { raw.end() };
    match random.below(8) {
        0 => random.mutate(&mut bytes, &["\0\0\0\0"]),
        1 => {
            let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            gzip.write_all(&bytes).unwrap();
            bytes = gzip.finish().unwrap();
            if random.once_in(2) {
                random.mutate(&mut bytes, &["\u{1f}"]);
            }
        }
        _ => {}
    }
    bytes
}

#[test]
fn archives() {
    let limits =
        Limits { bytes: 1 << 20, entries: 100, metadata: 1 << 16, path: 4096, ..Limits::default() };
    let spool = || Spool::new().unwrap();
    // A spool is a file; few inputs need one of their own.
    let kept = RefCell::new(None::<(Flatten, u32)>);
    fuzz::run(20_000, |random| {
        let bytes = archive(random);
        is_archive(&bytes[..]);
        let mut kept = kept.borrow_mut();
        let (mut flatten, uses) = kept.take().unwrap_or_else(|| (Flatten::new(spool(), limits), 0));
        let result = match random.once_in(2) {
            true => flatten.layer(&bytes[..], "sha256:x", None),
            false => flatten.archive(&bytes[..], "x"),
        };
        if result.is_ok() && uses < 20 {
            *kept = Some((flatten, uses + 1));
        } else {
            check(&flatten.finish());
        }
    });
}

/// A tree is one: every entry is found by its path, and is read.
fn check(tree: &Tree) {
    for (path, _) in tree.walk(tree.root()) {
        let path = String::from_utf8_lossy(&path).into_owned();
        let _ = tree.read(&path, 1 << 20);
    }
}
