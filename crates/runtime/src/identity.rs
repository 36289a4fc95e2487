//! What a box consists of: which compiled code, and what in its memory.
//!
//! Finding that out takes longer than starting a box, so it is remembered under the file's [`trust::stamp`].

use crate::error::RunError;
use link::{CodeCache, Content, Contents, Digest, NOTES, Segment, Split, digest_of, hex, trust};
use rustix::fs::{MemfdFlags, memfd_create};
use std::borrow::Cow;
use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The form of a box.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// A core module.
    Module,
    /// A component.
    Component,
}

/// A box to run.
pub struct Source<'a> {
    /// Module or component.
    pub form: Form,
    held: Held<'a>,
}

enum Held<'a> {
    File(File, PathBuf),
    Bytes(Cow<'a, [u8]>),
}

/// What a box consists of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Parts {
    /// Code, known by its digest, that many boxes may have, and what is put into memory then.
    Split(Digest, Contents),
    /// Code and contents in one, known by the digest of the box.
    Whole(Digest),
}

impl<'a> Source<'a> {
    /// A box in a file. What is no regular file (a pipe) is read.
    pub fn file(path: &Path) -> Result<Self, RunError> {
        let read_error = |source| RunError::Read { path: path.to_path_buf(), source };
        let mut file = File::open(path).map_err(read_error)?;
        let regular = file.metadata().map_err(read_error)?.is_file();
        let held = if regular {
            Held::File(file, path.to_path_buf())
        } else {
            let mut bytes = Vec::new();
            file.read_to_end(&mut bytes).map_err(read_error)?;
            Held::Bytes(bytes.into())
        };
        Self::new(held, &path.display().to_string())
    }

    /// A box in memory.
    pub fn bytes(bytes: &'a [u8]) -> Result<Self, RunError> {
        Self::new(Held::Bytes(bytes.into()), "the data")
    }

    fn new(held: Held<'a>, name: &str) -> Result<Self, RunError> {
        let mut source = Source { form: Form::Module, held };
        let mut header = [0; 8];
        // What is shorter is no box.
        let _ = source.content().read_at(&mut header, 0);
        source.form = match header {
            [0, b'a', b's', b'm', 1, 0, 0, 0] => Form::Module,
            [0, b'a', b's', b'm', 0x0d, 0, 1, 0] => Form::Component,
            _ => return Err(RunError::NotWasm(name.to_owned())),
        };
        Ok(source)
    }

    /// The box's bytes, where they are.
    pub fn content(&self) -> Content<'_> {
        match &self.held {
            Held::File(file, _) => Content::File(file),
            Held::Bytes(bytes) => Content::Bytes(bytes),
        }
    }

    /// The box's file, to be kept; what is in memory is written to one there.
    pub fn keep(&self) -> std::io::Result<Arc<File>> {
        match &self.held {
            Held::File(file, _) => file.try_clone().map(Arc::new),
            Held::Bytes(bytes) => {
                let mut file = File::from(memfd_create("boxer", MemfdFlags::CLOEXEC)?);
                file.write_all(bytes)?;
                Ok(Arc::new(file))
            }
        }
    }

    /// Reading the box failed.
    pub fn error(&self, source: std::io::Error) -> RunError {
        let path = match &self.held {
            Held::File(_, path) => path.clone(),
            Held::Bytes(_) => PathBuf::from("the data"),
        };
        RunError::Read { path, source }
    }

    /// All of the box's bytes.
    pub fn read(&self) -> Result<Vec<u8>, RunError> {
        let content = self.content();
        content.size().and_then(|size| content.bytes_at(0, size)).map_err(|e| self.error(e))
    }

    /// The code of a box that is [`Parts::Split`].
    pub fn code(&self) -> Result<Vec<u8>, RunError> {
        match link::split(self.content()) {
            Ok(Some(Split { code, .. })) => Ok(code),
            Ok(None) => Err(link::CacheError::Changed.into()),
            Err(error) => Err(self.error(error)),
        }
    }

    /// What it consists of.
    pub fn parts(&self, cache: &CodeCache) -> Result<Parts, RunError> {
        let place = self.place(cache);
        let known = place.as_ref().and_then(|(note, _)| decode(&trust::read_own(note)?));
        if let Some(parts) = known {
            return Ok(parts);
        }
        let split = match self.form {
            Form::Module => link::split(self.content()).map_err(|error| self.error(error))?,
            Form::Component => None,
        };
        let parts = match split {
            Some(Split { code, contents }) => Parts::Split(digest_of(&code), contents),
            None => return self.whole(cache),
        };
        self.remember(cache, place, &parts);
        Ok(parts)
    }

    /// As one part, which it is from now on.
    pub fn whole(&self, cache: &CodeCache) -> Result<Parts, RunError> {
        let place = self.place(cache);
        let digest = self.content().digest().map_err(|error| self.error(error))?;
        let parts = Parts::Whole(digest);
        self.remember(cache, place, &parts);
        Ok(parts)
    }

    /// Waits, some milliseconds at most, until a file that was just written can be remembered.
    pub fn settle(&self) {
        if let Held::File(file, _) = &self.held {
            trust::settle(file);
        }
    }

    /// Where a file is remembered, and under which stamp; none if it was changed just now.
    fn place(&self, cache: &CodeCache) -> Option<(PathBuf, Digest)> {
        let Held::File(file, _) = &self.held else { return None };
        let stamp = trust::stamp(&file.metadata().ok()?)?;
        Some((cache.dir().join(format!("{}.{NOTES}", hex(&stamp))), stamp))
    }

    /// Remembers what was read, if it is still what it was before. Only speed depends on it.
    fn remember(&self, cache: &CodeCache, before: Option<(PathBuf, Digest)>, parts: &Parts) {
        if let Some((note, _)) = &before
            && before == self.place(cache)
            && trust::own_folder(cache.dir()).is_ok()
        {
            let _ = trust::write_whole(note, &encode(parts));
        }
    }
}

/// How notes begin, changed with their form.
const NOTE: [u8; 4] = *b"box3";

/// Bytes of a segment in a note.
const SEGMENT: usize = 16;

/// A note: [`NOTE`], the digest, for a split box pages of memory and its segments; then the digest of all that.
fn encode(parts: &Parts) -> Vec<u8> {
    let mut bytes = NOTE.to_vec();
    match parts {
        Parts::Whole(digest) => bytes.extend_from_slice(digest),
        Parts::Split(digest, contents) => {
            bytes.extend_from_slice(digest);
            bytes.extend_from_slice(&contents.pages.to_le_bytes());
            for Segment { address, len, offset } in &contents.segments {
                bytes.extend_from_slice(&address.to_le_bytes());
                bytes.extend_from_slice(&len.to_le_bytes());
                bytes.extend_from_slice(&offset.to_le_bytes());
            }
        }
    }
    bytes.extend_from_slice(&digest_of(&bytes));
    bytes
}

/// What a note says, if it is whole.
fn decode(note: &[u8]) -> Option<Parts> {
    let (note, sum) = note.split_last_chunk()?;
    if digest_of(note) != *sum {
        return None;
    }
    let (digest, rest) = note.strip_prefix(&NOTE)?.split_first_chunk()?;
    if rest.is_empty() {
        return Some(Parts::Whole(*digest));
    }
    let (pages, segments) = rest.split_first_chunk()?;
    let (segments, []) = segments.as_chunks::<SEGMENT>() else { return None };
    let segment = |bytes: &[u8; SEGMENT]| {
        let number = u128::from_le_bytes(*bytes);
        Segment {
            address: number as u32,
            len: (number >> 32) as u32,
            offset: (number >> 64) as u64,
        }
    };
    let segments = segments.iter().map(segment).collect();
    Some(Parts::Split(*digest, Contents { pages: u64::from_le_bytes(*pages), segments }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notes_come_back() {
        let segments = vec![
            Segment { address: 0x1000, len: 0xffff_ffff, offset: 0x1_0000_0000 },
            Segment { address: 0xffff_0000, len: 3, offset: 5 },
        ];
        for parts in [
            Parts::Whole([7; 32]),
            Parts::Split([8; 32], Contents { pages: 65_536, segments }),
            Parts::Split([9; 32], Contents { pages: 0, segments: Vec::new() }),
        ] {
            let note = encode(&parts);
            assert_eq!(decode(&note), Some(parts));
            assert_eq!(decode(&note[..note.len() - 1]), None);
            for at in 0..note.len() {
                let mut damaged = note.clone();
                damaged[at] ^= 4;
                assert_eq!(decode(&damaged), None, "byte {at}");
            }
        }
        assert_eq!(decode(b"box1"), None);
    }
}
