//! The changes of the root since it was mounted, as an OCI layer: a tar stream (ustar, PAX where needed) with
//! whiteouts. The order is that of the names, so equal changes give equal bytes.
//!
//! Source: the OCI image specification's `layer.md`; POSIX.1-2017 `pax`.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::rc::Rc;

use abi::stat::{major, minor};

use super::inode::{Inode, Kind, Xattr};
use super::memfs::{Body, Node, Slot};
use super::{Cx, Dentry, Meta, acl};

/// Bytes of a tar record.
const RECORD: usize = 512;
/// Largest number in an 8-byte octal field (uid, gid) and in a 12-byte one (size, mtime).
const MAX_OCTAL_7: u64 = 0o7777777;
const MAX_OCTAL_11: u64 = 0o77777777777;

/// Writes what changed below `root` (the box's root directory). Other mounts are left out.
pub fn export_upper(cx: &mut Cx, root: &Rc<Dentry>, out: &mut dyn Write) -> io::Result<()> {
    let node = root.inode().clone().as_any().downcast::<Node>();
    let node = node.map_err(|_| io::Error::other("the root has no upper layer"))?;
    let mut export = Export { out, links: BTreeMap::new() };
    export.changes(cx, &node, Some(root), b"")?;
    export.out.write_all(&[0; 2 * RECORD])
}

struct Export<'a> {
    out: &'a mut dyn Write,
    /// Where an inode with several names was written first.
    links: BTreeMap<u64, Vec<u8>>,
}

fn errno(error: abi::Errno) -> io::Error {
    io::Error::other(error)
}

fn join(dir: &[u8], name: &[u8]) -> Vec<u8> {
    if dir.is_empty() { name.to_vec() } else { [dir, b"/", name].concat() }
}

fn is_mountpoint(at: Option<&Rc<Dentry>>, name: &[u8]) -> bool {
    at.and_then(|d| d.live_child(name)).is_some_and(|d| d.is_mountpoint())
}

/// The slots of a directory, cloned so that nothing is borrowed while files are read.
fn slots(node: &Node) -> Vec<(Box<[u8]>, Slot)> {
    match &node.body {
        Body::Dir(entries) => {
            entries.borrow().slots.iter().map(|(n, s)| (n.clone(), s.clone())).collect()
        }
        _ => Vec::new(),
    }
}

/// Whether an entry is what the lower directory has by this name.
fn is_unmoved(dir: &Node, name: &[u8], node: &Node) -> io::Result<bool> {
    let lower = dir.lower_name(name).map_err(errno)?;
    Ok(node.origin.is_some() && lower == node.origin)
}

/// Whether anything at or below a directory of the image changed.
fn has_changes(node: &Rc<Node>, at: Option<&Rc<Dentry>>) -> io::Result<bool> {
    if node.changed.get() {
        return Ok(true);
    }
    for (name, slot) in slots(node) {
        if is_mountpoint(at, &name) {
            continue;
        }
        let below = at.and_then(|d| d.live_child(&name));
        match slot {
            Slot::Whiteout | Slot::Upper(_) => return Ok(true),
            Slot::Lower(child) if has_changes(&child, below.as_ref())? => return Ok(true),
            Slot::Lower(_) => {}
        }
    }
    Ok(false)
}

impl Export<'_> {
    /// The changes in a directory that is also in the image.
    fn changes(
        &mut self,
        cx: &mut Cx,
        dir: &Rc<Node>,
        at: Option<&Rc<Dentry>>,
        path: &[u8],
    ) -> io::Result<()> {
        if !path.is_empty() {
            self.entry(cx, dir, path)?;
        }
        for (name, slot) in slots(dir) {
            if is_mountpoint(at, &name) {
                continue;
            }
            let below = at.and_then(|d| d.live_child(&name));
            let full = join(path, &name);
            let (node, unmoved) = match slot {
                Slot::Whiteout => {
                    self.whiteout(&join(path, &[b".wh.", &name[..]].concat()))?;
                    continue;
                }
                Slot::Lower(node) => (node, true),
                Slot::Upper(node) => {
                    let unmoved = is_unmoved(dir, &name, &node)?;
                    (node, unmoved)
                }
            };
            if !unmoved {
                let replaces = dir.lower_name(&name).map_err(errno)?.is_some();
                let opaque = replaces && node.is_dir();
                self.whole(cx, &node, below.as_ref(), &full, opaque)?;
            } else if has_changes(&node, below.as_ref())? {
                if node.is_dir() {
                    self.changes(cx, &node, below.as_ref(), &full)?;
                } else {
                    self.entry(cx, &node, &full)?;
                }
            }
        }
        Ok(())
    }

    /// A file or tree that is not in the image at this place.
    fn whole(
        &mut self,
        cx: &mut Cx,
        node: &Rc<Node>,
        at: Option<&Rc<Dentry>>,
        path: &[u8],
        opaque: bool,
    ) -> io::Result<()> {
        self.entry(cx, node, path)?;
        if opaque {
            self.whiteout(&join(path, b".wh..wh..opq"))?;
        }
        if node.is_dir() {
            for item in node.merged().map_err(errno)? {
                // A directory that was renamed takes what is mounted below it along.
                if is_mountpoint(at, &item.name) {
                    continue;
                }
                if let Some(child) = node.find(&item.name).map_err(errno)? {
                    let below = at.and_then(|d| d.live_child(&item.name));
                    self.whole(cx, &child, below.as_ref(), &join(path, &item.name), false)?;
                }
            }
        }
        Ok(())
    }

    fn whiteout(&mut self, path: &[u8]) -> io::Result<()> {
        let meta = Meta { mode: Kind::File.bits(), nlink: 1, ..Meta::default() };
        self.header(path, b'0', &[], &meta, &[])
    }

    fn entry(&mut self, cx: &mut Cx, node: &Rc<Node>, path: &[u8]) -> io::Result<()> {
        let mut meta = node.meta(cx).map_err(errno)?;
        let size = std::mem::take(&mut meta.size);
        if !node.is_dir() && meta.nlink > 1 {
            if let Some(first) = self.links.get(&meta.ino).cloned() {
                return self.header(path, b'1', &first, &meta, &[]);
            }
            self.links.insert(meta.ino, path.to_vec());
        }
        let xattrs = node.xattrs().map_err(errno)?;
        match meta.kind() {
            Kind::File => {
                meta.size = size;
                self.header(path, b'0', &[], &meta, &xattrs)?;
                self.content(cx, node, size)
            }
            Kind::Dir => self.header(&[path, b"/"].concat(), b'5', &[], &meta, &xattrs),
            Kind::Symlink => {
                let target = node.read_link(cx).map_err(errno)?;
                self.header(path, b'2', &target, &meta, &xattrs)
            }
            Kind::Char => self.header(path, b'3', &[], &meta, &xattrs),
            Kind::Block => self.header(path, b'4', &[], &meta, &xattrs),
            Kind::Fifo => self.header(path, b'6', &[], &meta, &xattrs),
            // A socket means nothing without the process that bound it.
            Kind::Socket => Ok(()),
        }
    }

    fn content(&mut self, cx: &mut Cx, node: &Rc<Node>, size: u64) -> io::Result<()> {
        let mut buf = vec![0; 1 << 16];
        let mut at = 0;
        while at < size {
            let want = (size - at).min(buf.len() as u64) as usize;
            let n = node.read_at(cx, at, &mut buf[..want]).map_err(errno)?;
            if n == 0 {
                return Err(io::Error::other("a file shrank while it was exported"));
            }
            self.out.write_all(&buf[..n])?;
            at += n as u64;
        }
        self.pad(size)
    }

    fn pad(&mut self, size: u64) -> io::Result<()> {
        let rest = (size as usize).next_multiple_of(RECORD) - size as usize;
        self.out.write_all(&[0; RECORD][..rest])
    }

    fn header(
        &mut self,
        path: &[u8],
        kind: u8,
        link: &[u8],
        meta: &Meta,
        xattrs: &[Xattr],
    ) -> io::Result<()> {
        let mtime = u64::try_from(meta.mtime.sec).unwrap_or(0);
        let mut pax = Vec::new();
        if path.len() > 100 || !path.is_ascii() {
            record(&mut pax, b"path", path);
        }
        if link.len() > 100 || !link.is_ascii() {
            record(&mut pax, b"linkpath", link);
        }
        let numbers = [
            (&b"uid"[..], u64::from(meta.uid), MAX_OCTAL_7),
            (b"gid", u64::from(meta.gid), MAX_OCTAL_7),
            (b"size", meta.size, MAX_OCTAL_11),
        ];
        for (key, value, max) in numbers {
            if value > max {
                record(&mut pax, key, value.to_string().as_bytes());
            }
        }
        if meta.mtime.sec < 0 || mtime > MAX_OCTAL_11 {
            record(&mut pax, b"mtime", meta.mtime.sec.to_string().as_bytes());
        }
        // Access control lists are in no layer, as with docker: the permission bits say what they can.
        for (name, value) in xattrs.iter().filter(|(name, _)| !acl::is_acl(name)) {
            record(&mut pax, &[b"SCHILY.xattr.", &name[..]].concat(), value);
        }
        if !pax.is_empty() {
            let extra = Meta { size: pax.len() as u64, ..Meta::default() };
            self.out.write_all(&ustar(b"PaxHeaders.0/entry", b'x', &[], &extra, 0))?;
            self.out.write_all(&pax)?;
            self.pad(pax.len() as u64)?;
        }
        self.out.write_all(&ustar(path, kind, link, meta, mtime))
    }
}

/// One PAX record: its length counts itself.
fn record(out: &mut Vec<u8>, key: &[u8], value: &[u8]) {
    let rest = key.len() + value.len() + 3;
    let mut len = rest + 1;
    while len != rest + len.to_string().len() {
        len = rest + len.to_string().len();
    }
    out.extend_from_slice(format!("{len} ").as_bytes());
    out.extend_from_slice(key);
    out.push(b'=');
    out.extend_from_slice(value);
    out.push(b'\n');
}

fn ustar(path: &[u8], kind: u8, link: &[u8], meta: &Meta, mtime: u64) -> [u8; RECORD] {
    let mut h = [0; RECORD];
    let mut put = |at: usize, len: usize, bytes: &[u8]| {
        let n = bytes.len().min(len);
        h[at..at + n].copy_from_slice(&bytes[..n]);
    };
    let octal = |value: u64, digits: usize, max: u64| {
        let value = if value > max { 0 } else { value };
        format!("{value:0digits$o}").into_bytes()
    };
    put(0, 100, path);
    put(100, 8, &octal(u64::from(meta.mode & 0o7777), 7, MAX_OCTAL_7));
    put(108, 8, &octal(u64::from(meta.uid), 7, MAX_OCTAL_7));
    put(116, 8, &octal(u64::from(meta.gid), 7, MAX_OCTAL_7));
    put(124, 12, &octal(meta.size, 11, MAX_OCTAL_11));
    put(136, 12, &octal(mtime, 11, MAX_OCTAL_11));
    put(148, 8, b"        ");
    put(156, 1, &[kind]);
    put(157, 100, link);
    put(257, 8, b"ustar\x0000");
    if matches!(kind, b'3' | b'4') {
        put(329, 8, &octal(u64::from(major(meta.rdev)), 7, MAX_OCTAL_7));
        put(337, 8, &octal(u64::from(minor(meta.rdev)), 7, MAX_OCTAL_7));
    } else {
        put(329, 8, b"0000000");
        put(337, 8, b"0000000");
    }
    let sum: u32 = h.iter().map(|b| u32::from(*b)).sum();
    h[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    h
}
