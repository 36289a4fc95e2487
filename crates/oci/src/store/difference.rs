//! Blobs that are kept as their difference to another one: a frozen box is its parent with some pages changed.
//!
//! A difference is a line of JSON ([`Header`]) and, behind it, the bytes that the other blob lacks. Whoever wants the blob has it
//! put together in its usual place, where [`collect_garbage`](Store::collect_garbage) takes it away again.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::{Store, sync_dir};
use crate::digest::Hasher;
use crate::{Digest, Error, Result};

/// Bytes that are looked for in the other blob together: boxes differ by pages of memory, which have their places in a page of
/// the file.
const BLOCK: usize = 4096;

/// Bytes read at once.
const READ: usize = 256 * BLOCK;

/// The longest header that is read, in bytes: some millions of pieces.
const MAX_HEADER: u64 = 64 << 20;

/// How many differences may stand on one another. More cost time at each start, and a circle would have no end.
pub(super) const MAX_DEPTH: u32 = 16;

/// What a blob is made of.
#[derive(Debug, Serialize, Deserialize)]
struct Header {
    /// The blob that pieces are taken from.
    base: Digest,
    /// Its own size in bytes.
    size: u64,
    /// How many bytes, and from which place of the base on; without one they are the next behind the header.
    pieces: Vec<(u64, Option<u64>)>,
}

impl Store {
    /// Where the difference is, or would be, that a blob is kept as.
    pub(super) fn difference_path(&self, digest: &Digest) -> PathBuf {
        self.path().join("differences").join(digest.file_name())
    }

    /// Whether a blob is here as a difference.
    pub(super) fn is_difference(&self, digest: &Digest) -> bool {
        self.difference_path(digest).is_file()
    }

    /// Bytes of the difference that a blob is kept as, if it is.
    pub(super) fn size_of_difference(&self, digest: &Digest) -> Option<u64> {
        fs::metadata(self.difference_path(digest)).ok().map(|meta| meta.len())
    }

    /// The blob that this one is kept as a difference to, and its own size in bytes.
    pub(super) fn base_of(&self, digest: &Digest) -> Option<(Digest, u64)> {
        self.read_header(digest).ok().map(|(header, _)| (header.base, header.size))
    }

    /// Digests of all that is kept as a difference, with the bytes these take.
    pub(super) fn all_differences(&self) -> Result<Vec<(Digest, u64)>> {
        let mut found = Vec::new();
        for path in super::garbage::files(&self.path().join("differences"))? {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            // A file that is no difference is not ours to touch.
            let Ok(digest) = Digest::parse(&name.replacen('-', ":", 1)) else { continue };
            let size = fs::metadata(&path).map_err(|e| Error::io(&path, e))?.len();
            found.push((digest, size));
        }
        Ok(found)
    }

    /// Stores a file's content as a blob, as its difference to the blob `base` where that is at most half as large. Digest and size in
    /// bytes of the content.
    ///
    /// # Errors
    /// The file cannot be read, or the store cannot be written. That the base is missing is none.
    pub fn put_like(&self, path: &Path, base: &Digest) -> Result<(Digest, u64)> {
        let fail = |e| Error::io(path, e);
        let mut file = File::open(path).map_err(fail)?;
        let whole = || self.put_reader(&mut File::open(path).map_err(fail)?, None);
        if self.depth_of(base) >= MAX_DEPTH {
            return whole();
        }
        let base_file = match self.blob_file(base).and_then(|base_path| {
            File::open(&base_path).map_err(|e| self.blob_error(&base_path, e))
        }) {
            Ok(base_file) => base_file,
            Err(Error::CorruptStore { .. }) => return whole(),
            Err(error) => return Err(error),
        };
        let size = file.metadata().map_err(fail)?.len();
        let mut hasher = Hasher::sha256();
        let pieces = compare(&mut file, &base_file, &mut hasher).map_err(fail)?;
        let digest = hasher.finish();
        let new: u64 = pieces.iter().filter(|(_, at)| at.is_none()).map(|(len, _)| len).sum();
        if new >= size.div_ceil(2) || self.has_whole_blob(&digest, size) {
            return whole();
        }
        let header = Header { base: base.clone(), size, pieces };
        self.write_difference(&digest, &header, &file)?;
        Ok((digest, size))
    }

    fn write_difference(&self, digest: &Digest, header: &Header, file: &File) -> Result<()> {
        let path = self.difference_path(digest);
        let fail = |e| Error::io(&path, e);
        let mut temp = self.temp_file()?;
        let mut line = crate::manifest::to_json(header)?;
        line.push(b'\n');
        temp.write_all(&line).map_err(fail)?;
        let mut at = 0;
        for (len, from) in &header.pieces {
            if from.is_none() {
                copy(file, at, *len, &mut temp).map_err(fail)?;
            }
            at += len;
        }
        if let Some(dir) = path.parent() {
            fs::create_dir_all(dir).map_err(|e| Error::io(dir, e))?;
        }
        temp.as_file().sync_all().map_err(fail)?;
        temp.persist(&path).map_err(|e| Error::io(&path, e.error))?;
        self.note_verified_as(digest, &path);
        sync_dir(&path)
    }

    /// The blob as a file with its content, whatever the store keeps it as. It stays as long as this store is open.
    ///
    /// # Errors
    /// [`Error::CorruptStore`] if it is missing, or if what it is kept as does not give its digest's content.
    pub fn blob_file(&self, digest: &Digest) -> Result<PathBuf> {
        let path = self.blob_path(digest);
        if !path.is_file() && self.is_difference(digest) {
            self.put_together(digest, MAX_DEPTH)?;
        }
        Ok(path)
    }

    /// Removes the file that a blob kept as a difference was put together in.
    pub(super) fn remove_copy(&self, digest: &Digest) -> Result<()> {
        let path = self.blob_path(digest);
        match fs::remove_file(&path) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => Err(Error::io(&path, e)),
            _ => Ok(()),
        }
    }

    fn depth_of(&self, digest: &Digest) -> u32 {
        let mut depth = 0;
        let mut at = digest.clone();
        while depth < MAX_DEPTH
            && let Some((base, _)) = self.base_of(&at)
        {
            depth += 1;
            at = base;
        }
        depth
    }

    fn put_together(&self, digest: &Digest, depth: u32) -> Result<()> {
        let path = self.difference_path(digest);
        let corrupt =
            |reason: &str| Error::CorruptStore { path: path.clone(), reason: reason.into() };
        let (Header { base, size, pieces }, mut own) = self.read_header(digest)?;
        let base_path = self.blob_path(&base);
        if !base_path.is_file() {
            match depth.checked_sub(1) {
                Some(depth) if self.is_difference(&base) => self.put_together(&base, depth)?,
                _ => {
                    return Err(corrupt(&format!("what it is a difference to is missing: {base}")));
                }
            }
        }
        let base = File::open(&base_path).map_err(|e| Error::io(&base_path, e))?;
        let mut left = size;
        let mut writer = self.writer_like(digest)?;
        for (len, from) in pieces {
            left = left.checked_sub(len).ok_or_else(|| corrupt("its pieces are more than it"))?;
            let copied = match from {
                Some(at) => copy(&base, at, len, &mut writer),
                None => match io::copy(&mut own.by_ref().take(len), &mut writer) {
                    Ok(read) if read < len => Err(io::ErrorKind::UnexpectedEof.into()),
                    copied => copied.map(drop),
                },
            };
            copied.map_err(|e| match e.kind() {
                io::ErrorKind::UnexpectedEof => {
                    corrupt("it, or what it is a difference to, ends too early")
                }
                _ => Error::io(&path, e),
            })?;
        }
        if left != 0 {
            return Err(corrupt("its pieces are less than it"));
        }
        match writer.finish_as(digest) {
            Err(Error::WrongDigest { .. }) => Err(corrupt("it does not give its digest's content")),
            Err(error) => Err(error),
            Ok(_) => {
                self.note_verified_as(digest, &path);
                Ok(())
            }
        }
    }

    /// The head of a difference, and a reader of what is behind it.
    fn read_header(&self, digest: &Digest) -> Result<(Header, BufReader<File>)> {
        let path = self.difference_path(digest);
        let file = File::open(&path).map_err(|e| self.blob_error(&path, e))?;
        let mut reader = BufReader::new(file);
        let mut line = Vec::new();
        let read = reader.by_ref().take(MAX_HEADER).read_until(b'\n', &mut line);
        read.map_err(|e| Error::io(&path, e))?;
        let header = serde_json::from_slice(&line).map_err(|e| Error::CorruptStore {
            path,
            reason: format!("malformed difference: {e}"),
        })?;
        Ok((header, reader))
    }
}

/// Copies `len` bytes from a place in a file.
fn copy(file: &File, mut at: u64, mut len: u64, out: &mut dyn Write) -> io::Result<()> {
    let mut buffer = vec![0; READ.min(usize::try_from(len).unwrap_or(READ))];
    while len > 0 {
        let part = buffer.get_mut(..len.min(READ as u64) as usize).unwrap_or_default();
        file.read_exact_at(part, at)?;
        out.write_all(part)?;
        at += part.len() as u64;
        len -= part.len() as u64;
    }
    Ok(())
}

/// What the file has in common with the base, block by block: in the same place, behind the block found before, or wherever a
/// block of the base begins with the same checksum. All that is read goes through `hasher`.
fn compare(
    file: &mut File,
    base: &File,
    hasher: &mut Hasher,
) -> io::Result<Vec<(u64, Option<u64>)>> {
    let places = places(base)?;
    let mut pieces: Vec<(u64, Option<u64>)> = Vec::new();
    let (mut window, mut end) = (Vec::new(), false);
    // The first byte of the window that no piece has, and its place in the file.
    let (mut start, mut at) = (0, 0u64);
    let mut sum = None;
    loop {
        if !end && window.len() - start < 2 * BLOCK {
            window.drain(..start);
            start = 0;
            let before = window.len();
            file.take(READ as u64).read_to_end(&mut window)?;
            end = window.len() == before;
            hasher.update(window.get(before..).unwrap_or_default());
            continue;
        }
        let rest = window.get(start..).unwrap_or_default();
        let Some(block) = rest.get(..BLOCK) else {
            push(&mut pieces, rest.len() as u64, None);
            return Ok(pieces);
        };
        let rolling: Rolling = sum.take().unwrap_or_else(|| Rolling::of(block));
        // Each would be a read: only where a block may begin, and not at every byte of what is new.
        let next = pieces.last().and_then(|(len, from)| Some((*from)? + len));
        let here = at.is_multiple_of(BLOCK as u64).then_some(at);
        let found = [next, places.get(&rolling.sum()).copied(), here];
        let found = found.into_iter().flatten().find(|from| has(base, *from, block));
        let len = match found {
            Some(from) => {
                push(&mut pieces, BLOCK as u64, Some(from));
                BLOCK
            }
            None => {
                push(&mut pieces, 1, None);
                sum = rest.get(BLOCK).map(|new| rolling.rolled(block, *new));
                1
            }
        };
        start += len;
        at += len as u64;
    }
}

/// Adds to the pieces, to the last one where it goes on.
fn push(pieces: &mut Vec<(u64, Option<u64>)>, len: u64, from: Option<u64>) {
    match (pieces.last_mut(), from) {
        (Some((last, None)), None) => *last += len,
        (Some((last, Some(at))), Some(from)) if *at + *last == from => *last += len,
        _ if len > 0 => pieces.push((len, from)),
        _ => {}
    }
}

/// Whether the base has these bytes there.
fn has(base: &File, at: u64, block: &[u8]) -> bool {
    let mut there = [0; BLOCK];
    base.read_exact_at(&mut there, at).is_ok() && there == block
}

/// Where blocks of the base are, by their checksums.
fn places(base: &File) -> io::Result<HashMap<u32, u64>> {
    let mut places = HashMap::new();
    let mut block = [0; BLOCK];
    let mut reader = BufReader::with_capacity(READ, base);
    let mut at = 0;
    loop {
        match reader.read_exact(&mut block) {
            Ok(()) => {}
            Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => return Ok(places),
            Err(e) => return Err(e),
        }
        places.entry(Rolling::of(&block).sum()).or_insert(at);
        at += BLOCK as u64;
    }
}

/// The checksum of a block that can be moved on by a byte, as in rsync ("The rsync algorithm", Tridgell and Mackerras 1996).
#[derive(Clone, Copy)]
struct Rolling {
    a: u16,
    b: u16,
}

impl Rolling {
    fn of(block: &[u8]) -> Rolling {
        let mut sum = Rolling { a: 0, b: 0 };
        for byte in block {
            sum.a = sum.a.wrapping_add(u16::from(*byte));
            sum.b = sum.b.wrapping_add(sum.a);
        }
        sum
    }

    /// That of the block one byte on, whose last byte is `new`.
    fn rolled(self, block: &[u8], new: u8) -> Rolling {
        let old = u16::from(block.first().copied().unwrap_or_default());
        let a = self.a.wrapping_sub(old).wrapping_add(u16::from(new));
        let b = self.b.wrapping_sub(old.wrapping_mul(BLOCK as u16)).wrapping_add(a);
        Rolling { a, b }
    }

    fn sum(self) -> u32 {
        u32::from(self.b) << 16 | u32::from(self.a)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{BoxOptions, Reference};
    use proptest::prelude::*;

    fn open() -> (tempfile::TempDir, Store) {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        (dir, store)
    }

    /// Bytes that are not alike anywhere.
    fn bytes(len: usize, seed: u64) -> Vec<u8> {
        let mut state = seed | 1;
        let next = |_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state as u8
        };
        (0..len).map(next).collect()
    }

    fn file(bytes: &[u8]) -> tempfile::NamedTempFile {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(bytes).unwrap();
        file
    }

    fn put(store: &Store, content: &[u8], base: &Digest) -> Digest {
        let (digest, size) = store.put_like(file(content).path(), base).unwrap();
        assert_eq!((&digest, size), (&Digest::of(content), content.len() as u64));
        digest
    }

    fn read(store: &Store, digest: &Digest) -> std::result::Result<Vec<u8>, Error> {
        let mut read = Vec::new();
        let fail = |e| Error::from_read(store.path(), e);
        store.open_blob(digest)?.read_to_end(&mut read).map_err(fail)?;
        Ok(read)
    }

    /// A parent of 50 blocks, and a child with a changed byte, a longer head, and a block that comes from elsewhere.
    fn family(store: &Store) -> (Digest, Vec<u8>, Digest) {
        let parent = bytes(50 * BLOCK + 17, 7);
        let mut child = parent.clone();
        child[30 * BLOCK + 5] ^= 1;
        let far = parent[40 * BLOCK..41 * BLOCK].to_vec();
        child[10 * BLOCK..11 * BLOCK].copy_from_slice(&far);
        child.splice(0..0, *b"head");
        let base = store.put_blob(&parent).unwrap();
        let digest = put(store, &child, &base);
        (base, child, digest)
    }

    #[test]
    fn a_child_takes_what_it_has_of_its_own_and_comes_back() {
        let (_dir, mut store) = open();
        let (base, child, digest) = family(&store);
        let kept = store.size_of_difference(&digest).unwrap();
        assert!(kept < 3 * BLOCK as u64, "{kept}");
        assert!(store.has_blob(&digest) && !store.blob_path(&digest).exists());
        assert!(store.has_whole_blob(&digest, child.len() as u64), "it was read just now");
        assert_eq!(store.blob_size(&digest).unwrap(), child.len() as u64);
        assert!(!store.blob_path(&digest).exists(), "and nothing asked for its content");
        assert!(read(&store, &digest).unwrap() == child);
        assert!(fs::read(store.blob_file(&digest).unwrap()).unwrap() == child);
        // Nothing names either.
        store.collect_garbage().unwrap();
        assert!(!store.has_blob(&digest) && !store.has_blob(&base));
    }

    #[test]
    fn what_a_difference_is_one_to_stays_and_copies_go() {
        let (_dir, mut store) = open();
        let wasm = |more: &[u8]| {
            let mut wasm = b"\0asm\x01\0\0\0\0\x81\x80\x0c\x01x".to_vec();
            wasm.resize(wasm.len() + (24 << 13) - 1, 5);
            wasm.extend_from_slice(more);
            wasm
        };
        let name = Reference::parse("frozen").unwrap();
        let base = store.put_blob(&wasm(b"")).unwrap();
        let options = BoxOptions { like: Some(base.clone()), ..BoxOptions::default() };
        let child = wasm(b"child");
        let made = store.write_box(file(&child).path(), options, Some(&name)).unwrap();
        let shown = store.images().unwrap();
        assert!(shown[0].size < 3 * BLOCK as u64, "{shown:?}");
        assert_eq!(store.wasm_box(&name).unwrap(), made);
        assert_eq!(store.collect_garbage().unwrap(), 0);
        store.blob_file(&made.wasm.digest).unwrap();
        assert_eq!(store.garbage().unwrap(), [(made.wasm.digest.clone(), child.len() as u64)]);
        assert_eq!(store.collect_garbage().unwrap(), child.len() as u64);
        assert!(read(&store, &made.wasm.digest).unwrap() == child);
        // A grandchild stands on both.
        let grandchild = put(&store, &wasm(b"grandchild"), &made.wasm.digest);
        assert!(store.is_difference(&grandchild));
        store.remove_copy(&made.wasm.digest).unwrap();
        assert!(read(&store, &grandchild).unwrap() == wasm(b"grandchild"));
    }

    #[test]
    fn what_is_little_alike_or_has_no_base_is_kept_whole() {
        let (_dir, store) = open();
        let parent = store.put_blob(&bytes(9 * BLOCK, 1)).unwrap();
        let mut half = bytes(9 * BLOCK, 1);
        half[..5 * BLOCK].copy_from_slice(&bytes(5 * BLOCK, 2));
        let missing = Digest::of(b"nothing");
        for (content, base) in [
            (half, &parent),
            (bytes(100, 3), &parent),
            (bytes(BLOCK, 4), &missing),
            (vec![], &parent),
        ] {
            let digest = put(&store, &content, base);
            assert!(!store.is_difference(&digest));
            assert!(read(&store, &digest).unwrap() == content);
        }
    }

    #[test]
    fn damage_is_noticed_and_repaired() {
        let (_dir, store) = open();
        let (base, child, digest) = family(&store);
        let path = store.difference_path(&digest);
        let good = fs::read(&path).unwrap();
        for at in (0..good.len()).step_by(97).chain([0, good.len() - 1]) {
            let mut bad = good.clone();
            bad[at] ^= 0x20;
            fs::write(&path, &bad).unwrap();
            assert!(!store.has_whole_blob(&digest, child.len() as u64), "byte {at}");
            let error = read(&store, &digest);
            assert!(matches!(error, Err(Error::CorruptStore { .. })), "byte {at}: {error:?}");
        }
        for len in [0, 1, good.len() / 2, good.len() - 1] {
            fs::write(&path, &good[..len]).unwrap();
            assert!(matches!(read(&store, &digest), Err(Error::CorruptStore { .. })), "{len}");
        }
        fs::write(&path, &good).unwrap();
        assert!(read(&store, &digest).unwrap() == child);
        // Damage of the parent is damage of the child, until either comes again.
        let parent = fs::read(store.blob_path(&base)).unwrap();
        store.remove_copy(&digest).unwrap();
        fs::write(store.blob_path(&base), &parent[1..]).unwrap();
        assert!(!store.has_whole_blob(&digest, child.len() as u64));
        assert_eq!(store.repair().unwrap(), [base, digest.clone()].to_vec());
        assert!(!store.has_blob(&digest));
        store.put_blob(&child).unwrap();
        assert!(read(&store, &digest).unwrap() == child);
    }

    #[test]
    fn differences_to_one_another_end() {
        let (_dir, store) = open();
        let (one, two) = (Digest::of(b"one"), Digest::of(b"two"));
        for (digest, base) in [(&one, &two), (&two, &one)] {
            let header = Header { base: base.clone(), size: 1, pieces: vec![(1, Some(0))] };
            store.write_difference(digest, &header, &tempfile::tempfile().unwrap()).unwrap();
        }
        assert!(matches!(read(&store, &one), Err(Error::CorruptStore { .. })));
        assert!(!store.has_whole_blob(&one, 1));
        // A chain ends with one that is whole.
        let mut content = bytes(9 * BLOCK, 1);
        let mut digest = store.put_blob(&content).unwrap();
        for n in 0..MAX_DEPTH + 3 {
            content[n as usize] ^= 1;
            digest = put(&store, &content, &digest);
            assert_eq!(store.is_difference(&digest), n != MAX_DEPTH, "{n}");
        }
        assert!(read(&store, &digest).unwrap() == content);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(40))]
        #[test]
        fn any_child_comes_back(cuts in prop::collection::vec((0usize..20 * BLOCK, 0usize..3 * BLOCK, 0u8..3), 0..8)) {
            let (_dir, store) = open();
            let parent = bytes(20 * BLOCK, 99);
            let base = store.put_blob(&parent).unwrap();
            let mut child = parent.clone();
            for (at, len, what) in cuts {
                let at = at.min(child.len());
                let end = (at + len).min(child.len());
                match what {
                    0 => drop(child.drain(at..end)),
                    1 => drop(child.splice(at..at, bytes(len, at as u64))),
                    _ => drop(child.splice(at..end, parent.iter().copied().take(len))),
                }
            }
            let digest = put(&store, &child, &base);
            prop_assert!(read(&store, &digest).unwrap() == child);
        }
    }
}
