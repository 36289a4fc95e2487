//! Entries to a tar stream, which is put on the tree below, and their content key.

use std::io::{self, Read, Write};

use oci::{Digest, Hasher};

use crate::copy::{Content, Items};
use crate::files::{Files, Kind};

/// Writes the entries as a plain tar. Regular files are read from `from`.
pub(crate) fn write(items: &Items, from: &dyn Files, out: impl Write) -> io::Result<()> {
    let mut tar = tar::Builder::new(out);
    for (path, item) in items {
        let entry = &item.entry;
        let mut header = tar::Header::new_gnu();
        header.set_mode(entry.mode & 0o7777);
        header.set_uid(entry.uid.into());
        header.set_gid(entry.gid.into());
        header.set_mtime(u64::try_from(entry.mtime.0).unwrap_or(0));
        header.set_size(0);
        if !entry.xattrs.is_empty() {
            let names: Vec<String> = entry
                .xattrs
                .keys()
                .map(|name| format!("SCHILY.xattr.{}", String::from_utf8_lossy(name)))
                .collect();
            let pairs =
                names.iter().map(String::as_str).zip(entry.xattrs.values().map(Vec::as_slice));
            tar.append_pax_extensions(pairs)?;
        }
        let name = host_path(path);
        let kind = match &entry.kind {
            Kind::Directory => tar::EntryType::Directory,
            Kind::File(_) => tar::EntryType::Regular,
            Kind::Symlink(_) => tar::EntryType::Symlink,
            Kind::Character(..) => tar::EntryType::Char,
            Kind::Block(..) => tar::EntryType::Block,
            Kind::Fifo => tar::EntryType::Fifo,
            // A socket means nothing without the process that listens.
            Kind::Socket => continue,
        };
        header.set_entry_type(kind);
        match &entry.kind {
            Kind::Symlink(target) => {
                set_link_target(&mut tar, &mut header, target)?;
                tar.append_data(&mut header, name, io::empty())?;
            }
            Kind::Character(major, minor) | Kind::Block(major, minor) => {
                header.set_device_major(*major)?;
                header.set_device_minor(*minor)?;
                tar.append_data(&mut header, name, io::empty())?;
            }
            Kind::File(size) => {
                header.set_size(*size);
                match &item.content {
                    Content::Bytes(bytes) => {
                        tar.append_data(&mut header, name, bytes.as_slice())?
                    }
                    Content::Path(path) => {
                        let content = Exactly { inner: from.open(path)?, left: *size };
                        tar.append_data(&mut header, name, content)?;
                    }
                    Content::Unpacked(tree, path) => {
                        let content = Exactly { inner: tree.open(path)?, left: *size };
                        tar.append_data(&mut header, name, content)?;
                    }
                    Content::Nothing => tar.append_data(&mut header, name, io::empty())?,
                }
            }
            _ => tar.append_data(&mut header, format!("{}/", name.display()), io::empty())?,
        }
    }
    tar.into_inner()?.flush()
}

/// A link's target goes in as it is: `tar` would tidy it up as a path. Long ones take an entry of
/// their own before the link's (GNU's `K`).
fn set_link_target(
    tar: &mut tar::Builder<impl Write>,
    header: &mut tar::Header,
    target: &[u8],
) -> io::Result<()> {
    const FITS: usize = 100;
    if target.len() <= FITS {
        return header.set_link_name_literal(target);
    }
    let mut long = tar::Header::new_gnu();
    long.set_entry_type(tar::EntryType::GNULongLink);
    long.set_size(target.len() as u64 + 1);
    long.set_mode(0o644);
    long.set_uid(0);
    long.set_gid(0);
    long.set_mtime(0);
    let content = io::Read::chain(target, [0u8].as_slice());
    tar.append_data(&mut long, "././@LongLink", content)?;
    header.set_link_name_literal(target.get(..FITS).unwrap_or(target))
}

/// What decides whether a cached layer still fits: names, kinds, modes, owners and contents. Times
/// do not count, as in BuildKit.
pub(crate) fn content_key(items: &Items, from: &dyn Files) -> io::Result<Digest> {
    let mut hasher = Hasher::sha256();
    let mut buffer = vec![0u8; 64 << 10];
    for (path, item) in items {
        let entry = &item.entry;
        let head = format!(
            "{:?} {:o} {} {} {:?}\n",
            entry.kind, entry.mode, entry.uid, entry.gid, entry.xattrs
        );
        hasher.update(&(path.len() as u64).to_le_bytes());
        hasher.update(path);
        hasher.update(head.as_bytes());
        match &item.content {
            Content::Nothing => {}
            Content::Bytes(bytes) => hasher.update(bytes),
            Content::Path(path) => hash_all(&mut hasher, from.open(path)?, &mut buffer)?,
            Content::Unpacked(tree, path) => hash_all(&mut hasher, tree.open(path)?, &mut buffer)?,
        }
    }
    Ok(hasher.finish())
}

fn hash_all(hasher: &mut Hasher, mut file: impl Read, buffer: &mut [u8]) -> io::Result<()> {
    loop {
        let read = file.read(buffer)?;
        if read == 0 {
            return Ok(());
        }
        hasher.update(buffer.get(..read).unwrap_or_default());
    }
}

fn host_path(path: &[u8]) -> std::path::PathBuf {
    use std::os::unix::ffi::OsStrExt;
    std::path::PathBuf::from(std::ffi::OsStr::from_bytes(path))
}

/// Gives as many bytes as the header promises, and fails where the file has fewer or more.
struct Exactly<R> {
    inner: R,
    left: u64,
}

impl<R: Read> Read for Exactly<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        let most = usize::try_from(self.left).unwrap_or(usize::MAX).min(buffer.len());
        if most == 0 {
            return match self.inner.read(buffer)? {
                0 => Ok(0),
                _ => Err(io::Error::other("a file grew while it was being copied")),
            };
        }
        let read = self.inner.read(buffer.get_mut(..most).unwrap_or_default())?;
        if read == 0 {
            return Err(io::Error::other("a file shrank while it was being copied"));
        }
        self.left -= read as u64;
        Ok(read)
    }
}
