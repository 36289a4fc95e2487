//! What a box asks its host about files beyond WASI preview 1 (`BOXER_FILES`): owners, permission bits, special files and
//! absolute links of the preopened directories. Each request is one write to the descriptor; its answer is read after it, in as
//! many reads as it takes.
//!
//! Numbers are little-endian. A request: operation (1 byte), the descriptor of the preopened directory (4), two arguments (4
//! each), length of the path (4), the path below the directory (without `..`, empty for itself), the rest. An answer:
//! Linux's error number or 0 (4), the length of what follows (4), and what was asked for.

/// Says "leave it" in the place of an owner or group.
const NONE: u32 = u32::MAX;
const HEADER: usize = 17;

/// A request about the file at `path` below `dir`. Links are not followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request<'a> {
    /// The preopened directory's descriptor.
    pub dir: u32,
    /// Path below it.
    pub path: &'a [u8],
    /// What is asked.
    pub what: What<'a>,
}

/// What is asked about a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What<'a> {
    /// Its [`Attributes`].
    Stat,
    /// Set the permission bits.
    SetPerm(u32),
    /// Set owner and group; none leaves one.
    SetOwner(Option<u32>, Option<u32>),
    /// Make a FIFO or socket; type and permission bits.
    Mknod(u32),
    /// Make a symbolic link with this target.
    Symlink(&'a [u8]),
    /// The target of a symbolic link.
    Readlink,
    /// The [`Entry`]s of a directory.
    List,
}

impl<'a> Request<'a> {
    /// The request's bytes.
    pub fn encode(&self) -> Vec<u8> {
        let (op, first, second, rest): (u8, u32, u32, &[u8]) = match self.what {
            What::Stat => (1, 0, 0, &[]),
            What::SetPerm(perm) => (2, perm, 0, &[]),
            What::SetOwner(uid, gid) => (3, uid.unwrap_or(NONE), gid.unwrap_or(NONE), &[]),
            What::Mknod(mode) => (4, mode, 0, &[]),
            What::Symlink(target) => (5, 0, 0, target),
            What::Readlink => (6, 0, 0, &[]),
            What::List => (7, 0, 0, &[]),
        };
        let len = self.path.len() as u32;
        let mut bytes = vec![op];
        for number in [self.dir, first, second, len] {
            bytes.extend_from_slice(&number.to_le_bytes());
        }
        bytes.extend_from_slice(self.path);
        bytes.extend_from_slice(rest);
        bytes
    }

    /// Reads a request; none if it is malformed or the operation is unknown.
    pub fn decode(bytes: &'a [u8]) -> Option<Request<'a>> {
        let header = bytes.get(..HEADER)?;
        let number = |index: usize| {
            let bytes = header.get(1 + index * 4..5 + index * 4)?;
            Some(u32::from_le_bytes(bytes.try_into().ok()?))
        };
        let (dir, first, second) = (number(0)?, number(1)?, number(2)?);
        let tail = bytes.get(HEADER..)?;
        let (path, rest) = tail.split_at_checked(usize::try_from(number(3)?).ok()?)?;
        let some = |id: u32| (id != NONE).then_some(id);
        let what = match header[0] {
            1 => What::Stat,
            2 => What::SetPerm(first),
            3 => What::SetOwner(some(first), some(second)),
            4 => What::Mknod(first),
            5 => What::Symlink(rest),
            6 => What::Readlink,
            7 => What::List,
            _ => return None,
        };
        Some(Request { dir, path, what })
    }
}

/// Attributes of a file (stat(2)); times in ns since the epoch, `blocks` in units of 512 bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs)] // names of stat(2)
pub struct Attributes {
    pub dev: u64,
    pub ino: u64,
    pub nlink: u64,
    pub size: u64,
    pub blocks: u64,
    pub atime: u64,
    pub mtime: u64,
    pub ctime: u64,
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
}

impl Attributes {
    /// Their bytes in an answer.
    pub fn encode(&self) -> Vec<u8> {
        let long = [
            self.dev,
            self.ino,
            self.nlink,
            self.size,
            self.blocks,
            self.atime,
            self.mtime,
            self.ctime,
        ];
        let short = [self.mode, self.uid, self.gid];
        let long = long.iter().flat_map(|number| number.to_le_bytes());
        long.chain(short.iter().flat_map(|number| number.to_le_bytes())).collect()
    }

    /// Reads them from an answer.
    pub fn decode(bytes: &[u8]) -> Option<Attributes> {
        let long = |index: usize| {
            let bytes = bytes.get(index * 8..index * 8 + 8)?;
            Some(u64::from_le_bytes(bytes.try_into().ok()?))
        };
        let short = |index: usize| {
            let bytes = bytes.get(64 + index * 4..68 + index * 4)?;
            Some(u32::from_le_bytes(bytes.try_into().ok()?))
        };
        Some(Attributes {
            dev: long(0)?,
            ino: long(1)?,
            nlink: long(2)?,
            size: long(3)?,
            blocks: long(4)?,
            atime: long(5)?,
            mtime: long(6)?,
            ctime: long(7)?,
            mode: short(0)?,
            uid: short(1)?,
            gid: short(2)?,
        })
    }
}

/// One entry of a directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry<'a> {
    /// Inode number.
    pub ino: u64,
    /// Type (the `S_IFMT` bits of stat(2)).
    pub kind: u32,
    /// Name.
    pub name: &'a [u8],
}

impl<'a> Entry<'a> {
    /// Adds the entry to an answer.
    pub fn encode(&self, answer: &mut Vec<u8>) {
        answer.extend_from_slice(&self.ino.to_le_bytes());
        answer.extend_from_slice(&self.kind.to_le_bytes());
        answer.extend_from_slice(&(self.name.len() as u32).to_le_bytes());
        answer.extend_from_slice(self.name);
    }

    /// Takes the first entry from an answer; none at its end, or if it is malformed.
    pub fn take(answer: &mut &'a [u8]) -> Option<Entry<'a>> {
        let (header, rest) = answer.split_first_chunk::<16>()?;
        let [ino @ .., _, _, _, _, _, _, _, _] = *header;
        let [_, _, _, _, _, _, _, _, k0, k1, k2, k3, l0, l1, l2, l3] = *header;
        let (name, rest) = rest.split_at_checked(u32::from_le_bytes([l0, l1, l2, l3]) as usize)?;
        *answer = rest;
        Some(Entry {
            ino: u64::from_le_bytes(ino),
            kind: u32::from_le_bytes([k0, k1, k2, k3]),
            name,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::{Attributes, Entry, Request, What};

    #[test]
    fn requests_survive() {
        for what in [
            What::Stat,
            What::SetPerm(0o4755),
            What::SetOwner(Some(0), None),
            What::Mknod(0o010644),
            What::Symlink(b"/abs/olute"),
            What::Readlink,
            What::List,
        ] {
            let request = Request { dir: 3, path: b"a/b", what };
            assert_eq!(Request::decode(&request.encode()), Some(request));
        }
    }

    #[test]
    fn nonsense_is_refused() {
        let whole = Request { dir: 3, path: b"path", what: What::Stat }.encode();
        for len in 0..whole.len() {
            assert_eq!(Request::decode(&whole[..len]), None, "{len}");
        }
        assert_eq!(Request::decode(&[[9_u8].as_slice(), &whole[1..]].concat()), None);
    }

    #[test]
    fn entries_survive() {
        let entries = [(7, b"a".as_slice()), (1 << 40, b"\xff b")];
        let entries = entries.map(|(ino, name)| Entry { ino, kind: 0o040000, name });
        let mut answer = Vec::new();
        entries.iter().for_each(|entry| entry.encode(&mut answer));
        let mut rest = answer.as_slice();
        assert_eq!(entries.map(|_| Entry::take(&mut rest)), entries.map(Some));
        assert_eq!(Entry::take(&mut rest), None);
        assert_eq!(Entry::take(&mut &answer[..16]), None);
    }

    #[test]
    fn attributes_survive() {
        let attributes =
            Attributes { ino: 7, ctime: 1 << 60, mode: 0o100644, ..Default::default() };
        assert_eq!(Attributes::decode(&attributes.encode()), Some(attributes));
        assert_eq!(Attributes::decode(&attributes.encode()[..75]), None);
    }
}
