//! Writes headers: ustar where it can say everything, a PAX extended header before it where not.

use std::io::{self, Write};

use rootfs::{Metadata, dev_major, dev_minor};

use super::{BLOCK, Kind};

/// What a header says.
pub struct Header<'a> {
    /// Relative, without a leading slash; a directory's ends with a slash.
    pub path: &'a [u8],
    pub kind: Kind,
    pub meta: &'a Metadata,
    /// Bytes of a file's content, otherwise 0.
    pub size: u64,
    /// Target of a link, otherwise empty.
    pub link: &'a [u8],
    /// Device number of a device, otherwise 0.
    pub rdev: u32,
}

/// Largest value of an octal field of 8 and of 12 bytes.
const OCTAL_8: u64 = 0o7_777_777;
const OCTAL_12: u64 = 0o77_777_777_777;

impl Header<'_> {
    /// Writes the header blocks; the content and [`pad`] follow.
    pub fn write(&self, out: &mut impl Write) -> io::Result<()> {
        let records = self.pax_records();
        if !records.is_empty() {
            // The name is only seen by readers that do not know PAX; GNU tar's is like it.
            let name = self.path.strip_suffix(b"/").unwrap_or(self.path);
            let base = name.rsplit(|b| *b == b'/').next().unwrap_or_default();
            let name = [&b"PaxHeaders/"[..], base].concat();
            let block = Block {
                name: &name,
                typeflag: b'x',
                size: records.len() as u64,
                ..Block::default()
            };
            out.write_all(&block.encode())?;
            out.write_all(&records)?;
            pad(out, records.len() as u64)?;
        }
        out.write_all(&self.block().encode())
    }

    fn block(&self) -> Block<'_> {
        let meta = self.meta;
        Block {
            name: self.path,
            link: self.link,
            typeflag: match self.kind {
                Kind::File => b'0',
                Kind::HardLink => b'1',
                Kind::Symlink => b'2',
                Kind::CharDevice => b'3',
                Kind::BlockDevice => b'4',
                Kind::Directory => b'5',
                Kind::Fifo => b'6',
            },
            mode: meta.mode & 0o7777,
            uid: fitting(u64::from(meta.uid), OCTAL_8),
            gid: fitting(u64::from(meta.gid), OCTAL_8),
            size: fitting(self.size, OCTAL_12),
            mtime: fitting(u64::try_from(meta.mtime).unwrap_or(0), OCTAL_12),
            major: dev_major(self.rdev),
            minor: dev_minor(self.rdev),
        }
    }

    /// In a fixed order, the attributes sorted by name.
    fn pax_records(&self) -> Vec<u8> {
        let mut records = Vec::new();
        let fits = |name: &[u8]| name.len() <= 100 && name.is_ascii();
        if !fits(self.path) {
            record(&mut records, b"path", self.path);
        }
        if !fits(self.link) {
            record(&mut records, b"linkpath", self.link);
        }
        let numbers: [(&[u8], u64, u64); 3] = [
            (b"size", self.size, OCTAL_12),
            (b"uid", u64::from(self.meta.uid), OCTAL_8),
            (b"gid", u64::from(self.meta.gid), OCTAL_8),
        ];
        for (key, value, max) in numbers {
            if value > max {
                record(&mut records, key, value.to_string().as_bytes());
            }
        }
        let (seconds, nanoseconds) = (self.meta.mtime, self.meta.mtime_nsec);
        if nanoseconds != 0 || !(0..=OCTAL_12 as i64).contains(&seconds) {
            record(&mut records, b"mtime", time(seconds, nanoseconds).as_bytes());
        }
        for (name, value) in &self.meta.xattrs {
            record(&mut records, &[b"SCHILY.xattr.", &name[..]].concat(), value);
        }
        records
    }
}

/// Zeros up to the next block.
pub fn pad(out: &mut impl Write, size: u64) -> io::Result<()> {
    let zeros = [0; BLOCK];
    let count = (size.next_multiple_of(BLOCK as u64) - size) as usize;
    out.write_all(zeros.get(..count).unwrap_or_default())
}

/// The two blocks that end an archive.
pub fn end(out: &mut impl Write) -> io::Result<()> {
    out.write_all(&[0; 2 * BLOCK])
}

/// `value`, or 0 where only the PAX record can say it.
fn fitting(value: u64, max: u64) -> u64 {
    if value <= max { value } else { 0 }
}

/// Appends `LENGTH KEY=VALUE\n`; the length counts its own digits.
fn record(records: &mut Vec<u8>, key: &[u8], value: &[u8]) {
    let rest = key.len() + value.len() + 3;
    let mut length = rest + 1;
    while length != rest + length.to_string().len() {
        length = rest + length.to_string().len();
    }
    records.extend_from_slice(length.to_string().as_bytes());
    for part in [b" ", key, b"=", value, b"\n"] {
        records.extend_from_slice(part);
    }
}

/// Decimal seconds; a fraction counts away from zero in the text, but up in the pair.
fn time(seconds: i64, nanoseconds: u32) -> String {
    let (sign, seconds, nanoseconds) = match (seconds < 0, nanoseconds) {
        (true, 0) => ("-", seconds.unsigned_abs(), 0),
        (true, n) => ("-", (seconds + 1).unsigned_abs(), 1_000_000_000 - n),
        (false, n) => ("", seconds.unsigned_abs(), n),
    };
    let text = format!("{sign}{seconds}.{nanoseconds:09}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[derive(Default)]
struct Block<'a> {
    name: &'a [u8],
    link: &'a [u8],
    typeflag: u8,
    mode: u32,
    uid: u64,
    gid: u64,
    size: u64,
    mtime: u64,
    major: u32,
    minor: u32,
}

impl Block<'_> {
    fn encode(&self) -> [u8; BLOCK] {
        let mut b = [0; BLOCK];
        put(&mut b, 0, self.name.get(..100).unwrap_or(self.name));
        put(&mut b, 157, self.link.get(..100).unwrap_or(self.link));
        b[156] = self.typeflag;
        put(&mut b, 257, b"ustar\x0000");
        for (at, digits, value) in [
            (100, 7, u64::from(self.mode)),
            (108, 7, self.uid),
            (116, 7, self.gid),
            (124, 11, self.size),
            (136, 11, self.mtime),
            (329, 7, u64::from(self.major)),
            (337, 7, u64::from(self.minor)),
        ] {
            put(&mut b, at, format!("{value:0digits$o}").as_bytes());
        }
        let sum: u32 = b.iter().map(|byte| u32::from(*byte)).sum::<u32>() + 8 * u32::from(b' ');
        put(&mut b, 148, format!("{sum:06o}\0 ").as_bytes());
        b
    }
}

/// Every field's text is shorter than its field.
fn put(block: &mut [u8; BLOCK], at: usize, bytes: &[u8]) {
    if let Some(field) = block.get_mut(at..at + bytes.len()) {
        field.copy_from_slice(bytes);
    }
}
