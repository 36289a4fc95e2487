//! Reading the host's files for a copy. Links are never followed below where a copy starts.

use std::fs::{self, File, FileType as HostType};
use std::io;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use super::NewNode;
use super::copy::Source;
use crate::spool::Fault;
use crate::{Error, FileType, Metadata, Result, Spool};

pub(super) struct Host<'a> {
    pub spool: &'a Spool,
}

#[derive(Clone)]
pub(super) struct Item {
    path: PathBuf,
    kind: HostType,
}

impl Host<'_> {
    pub fn item(path: &Path) -> Result<Item> {
        let meta = fs::symlink_metadata(path).map_err(|e| host_error(path, e))?;
        Ok(Item { path: path.to_owned(), kind: meta.file_type() })
    }

    fn spool(&self, path: &Path, size: u64) -> Result<NewNode> {
        let mut file = File::open(path).map_err(|e| host_error(path, e))?;
        let content = self.spool.append(&mut file, &[(0, size)], size);
        content.map(NewNode::File).map_err(|fault| match fault {
            Fault::Source(e) => host_error(path, e),
            Fault::Short => host_error(path, io::Error::other("the file shrank while it was read")),
            Fault::Spool(e) => Error::Spool(e),
        })
    }
}

impl Source for Host<'_> {
    type Item = Item;

    fn entries(&mut self, dir: &Item) -> Result<Vec<(Vec<u8>, Item)>> {
        if !dir.kind.is_dir() {
            return Ok(Vec::new());
        }
        let read = || -> io::Result<Vec<(Vec<u8>, Item)>> {
            fs::read_dir(&dir.path)?
                .map(|entry| {
                    let entry = entry?;
                    let item = Item { path: entry.path(), kind: entry.file_type()? };
                    Ok((entry.file_name().into_vec(), item))
                })
                .collect()
        };
        let mut entries = read().map_err(|e| host_error(&dir.path, e))?;
        entries.sort_by(|a, b| a.0.cmp(&b.0));
        Ok(entries)
    }

    fn is_dir(&self, item: &Item) -> bool {
        item.kind.is_dir()
    }

    fn open(&mut self, item: &Item) -> Result<Option<(Metadata, NewNode, Option<u128>)>> {
        let path = &item.path;
        let stat = fs::symlink_metadata(path).map_err(|e| host_error(path, e))?;
        let kind = stat.file_type();
        let special = |kind, rdev| NewNode::Special { kind, rdev };
        let body = if kind.is_dir() {
            NewNode::Dir
        } else if kind.is_file() {
            self.spool(path, stat.len())?
        } else if kind.is_symlink() {
            let target = fs::read_link(path).map_err(|e| host_error(path, e))?;
            NewNode::Symlink(target.into_os_string().into_vec().into())
        } else if kind.is_char_device() {
            special(FileType::CharDevice, stat.rdev() as u32)
        } else if kind.is_block_device() {
            special(FileType::BlockDevice, stat.rdev() as u32)
        } else if kind.is_fifo() {
            special(FileType::Fifo, 0)
        } else {
            return Ok(None);
        };
        let meta = Metadata {
            mode: stat.mode() & 0o7777,
            uid: stat.uid(),
            gid: stat.gid(),
            mtime: stat.mtime(),
            mtime_nsec: u32::try_from(stat.mtime_nsec()).unwrap_or(0),
            ..Metadata::default()
        };
        let identity = u128::from(stat.dev()) << 64 | u128::from(stat.ino());
        Ok(Some((meta, body, (stat.nlink() > 1 && !kind.is_dir()).then_some(identity))))
    }
}

fn host_error(path: &Path, source: io::Error) -> Error {
    Error::Host { path: path.to_owned(), source }
}
