//! Extended attributes: inline ones follow the inode, shared ones lie in an area of their own.

use super::{Image, Inode, byte_at, u16_at, u32_at};
use crate::error::Error;
use crate::format::*;
use crate::{Nid, Result};

/// One extended attribute. Its name is `prefix` followed by `suffix`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Xattr<'a> {
    /// The namespace, with its dot (`user.`), or the whole name of an ACL.
    pub prefix: &'static str,
    /// The rest of the name.
    pub suffix: &'a [u8],
    /// The value.
    pub value: &'a [u8],
}

impl Xattr<'_> {
    /// Whether its full name is `name`.
    pub fn is_named(&self, name: &[u8]) -> bool {
        name.strip_prefix(self.prefix.as_bytes()) == Some(self.suffix)
    }

    /// The full name.
    pub fn name(&self) -> Vec<u8> {
        [self.prefix.as_bytes(), self.suffix].concat()
    }
}

/// The extended attributes of one inode. Ends after the first error.
#[derive(Clone, Debug)]
pub struct Xattrs<'a> {
    image: Image<'a>,
    nid: Nid,
    shared: std::slice::ChunksExact<'a, u8>,
    inline: &'a [u8],
    failed: bool,
}

impl<'a> Xattrs<'a> {
    pub(super) fn new(image: Image<'a>, inode: &Inode) -> Result<Xattrs<'a>> {
        let (offset, len) = inode.xattrs;
        let area = image.slice(inode.nid, offset, len)?;
        let shared = usize::from(byte_at(area, 4)) * 4;
        let start = if area.is_empty() { 0 } else { XATTR_IBODY_HEADER };
        let split = area.get(start..).and_then(|body| body.split_at_checked(shared));
        let (shared, inline) =
            split.ok_or(Error::Corrupt { nid: inode.nid, what: "shared xattr count" })?;
        let shared = shared.chunks_exact(4);
        Ok(Xattrs { image, nid: inode.nid, shared, inline, failed: false })
    }

    fn step(&mut self) -> Result<Option<Xattr<'a>>> {
        if !self.inline.is_empty() {
            let (entry, used) = parse(self.nid, self.inline)?;
            self.inline = self.inline.get(used..).unwrap_or_default();
            return Ok(Some(entry));
        }
        let Some(id) = self.shared.next() else { return Ok(None) };
        let offset = self.image.xattr_base + u64::from(u32_at(id, 0)) * 4;
        let nid = self.nid;
        let rest = usize::try_from(offset).ok().and_then(|at| self.image.bytes.get(at..));
        let rest = rest.ok_or(Error::Corrupt { nid, what: "shared xattr out of range" })?;
        Ok(Some(parse(nid, rest)?.0))
    }
}

impl<'a> Iterator for Xattrs<'a> {
    type Item = Result<Xattr<'a>>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed {
            return None;
        }
        let item = self.step().transpose();
        self.failed = matches!(item, Some(Err(_)));
        item
    }
}

/// Reads the entry at the start of `b`; returns it and the bytes it takes, padding included.
fn parse(nid: Nid, b: &[u8]) -> Result<(Xattr<'_>, usize)> {
    let corrupt = |what| Error::Corrupt { nid, what };
    let name_len = usize::from(byte_at(b, 0));
    let value_len = usize::from(u16_at(b, 2));
    let index = byte_at(b, 1);
    let prefix = XATTR_PREFIXES
        .iter()
        .find(|(i, _)| *i == index)
        .map(|(_, p)| *p)
        .ok_or(corrupt("xattr name prefix"))?;
    let body = b.get(XATTR_ENTRY_HEADER..).unwrap_or_default();
    let (suffix, rest) = body.split_at_checked(name_len).ok_or(corrupt("xattr name"))?;
    let value = rest.get(..value_len).ok_or(corrupt("xattr value"))?;
    let used = (XATTR_ENTRY_HEADER + name_len + value_len).next_multiple_of(4);
    Ok((Xattr { prefix, suffix, value }, used))
}
