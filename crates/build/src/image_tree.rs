//! The files of an image.

use std::io::{self, Read, Write};

use layers::{Compression, FileType, Flatten, LayerOptions, Limits, Spool, Tree};
use oci::{Digest, LayerBlob, Store};

use crate::builder::temporary_folder;
use crate::error::{Cause, Error, Result};
use crate::files::{Entry, Files, Kind};

/// Layers flattened to a tree; contents lie in a temporary file. A clone shares them.
#[derive(Clone, Debug)]
pub(crate) struct ImageTree {
    tree: Tree,
    spool: Spool,
}

impl ImageTree {
    /// The tree that layers make, base first. Each is checked against its digests.
    pub fn of_layers(store: &Store, blobs: &[LayerBlob]) -> Result<Self> {
        let spool = Spool::new_in(&temporary_folder(store)).map_err(layers_error)?;
        let mut flatten = Flatten::new(spool.clone(), Limits::default());
        for blob in blobs {
            apply(&mut flatten, store, blob)?;
        }
        Ok(Self { tree: flatten.finish(), spool })
    }

    /// Puts another layer on top.
    pub fn apply(&mut self, store: &Store, blob: &LayerBlob) -> Result<()> {
        let mut flatten =
            Flatten::onto(std::mem::take(&mut self.tree), self.spool.clone(), Limits::default());
        apply(&mut flatten, store, blob)?;
        self.tree = flatten.finish();
        Ok(())
    }

    /// A tree with nothing in it.
    pub fn empty(store: &Store) -> Result<Self> {
        Self::of_layers(store, &[])
    }

    /// What is in an archive; `name` is for messages.
    pub fn of_archive(name: &str, archive: &mut dyn Read) -> Result<Self> {
        let spool = Spool::new().map_err(layers_error)?;
        let mut flatten = Flatten::new(spool.clone(), Limits::default());
        flatten.archive(archive, name).map_err(layers_error)?;
        Ok(Self { tree: flatten.finish(), spool })
    }

    /// This tree with an archive unpacked over it; in a layer, names may be whiteouts.
    pub fn with(&self, tar: impl Read, name: &str, is_layer: bool) -> Result<Self> {
        let mut flatten = Flatten::onto(self.tree.clone(), self.spool.clone(), Limits::default());
        let applied =
            if is_layer { flatten.layer(tar, name, None) } else { flatten.archive(tar, name) };
        applied.map_err(layers_error)?;
        Ok(Self { tree: flatten.finish(), spool: self.spool.clone() })
    }

    /// The layer that makes `upper` out of this tree, put into the store; `None` if nothing
    /// changed. No time in it is later than `latest`.
    pub fn layer_to(
        &self,
        upper: &Self,
        store: &Store,
        latest: Option<i64>,
    ) -> Result<Option<LayerBlob>> {
        let options = LayerOptions { compression: Compression::Gzip, clamp_mtime: latest };
        let mut blob = store.writer()?;
        let info =
            layers::diff(&self.tree, &upper.tree, &mut blob, &options).map_err(layers_error)?;
        if info.entries == 0 {
            return Ok(None);
        }
        let (digest, size) = blob.finish()?;
        let diff_id = Digest::parse(&info.diff_id)?;
        Ok(Some(LayerBlob { digest, media_type: info.media_type.to_owned(), size, diff_id }))
    }

    /// The latest time of change of any file, in seconds; 0 if there is none.
    pub fn newest_mtime(&self) -> i64 {
        self.tree
            .walk(self.tree.root())
            .map(|(_, id)| self.tree.node(id).meta.mtime)
            .max()
            .unwrap_or(0)
    }

    /// Writes the EROFS image and gives its length in bytes.
    pub fn write_rootfs(&self, out: impl Write) -> Result<u64> {
        Ok(self.tree.write_rootfs(out).map_err(layers_error)?.bytes)
    }
}

fn apply(flatten: &mut Flatten, store: &Store, blob: &LayerBlob) -> Result<()> {
    let reader = store.open_blob(&blob.digest)?;
    flatten
        .layer(reader, blob.digest.as_str(), Some(blob.diff_id.as_str()))
        .map_err(layers_error)?;
    Ok(())
}

fn layers_error(error: layers::Error) -> Error {
    Error::new(Cause::Layers(error.to_string()))
}

impl Files for ImageTree {
    fn entry(&self, path: &[u8]) -> io::Result<Option<Entry>> {
        let found = match self.tree.lookup_nofollow(path) {
            Ok(found) => found,
            Err(layers::Error::NotDirectory(_) | layers::Error::NotFound(_)) => None,
            Err(error) => return Err(io::Error::other(error)),
        };
        let Some(id) = found else { return Ok(None) };
        let node = self.tree.node(id);
        let (major, minor) = (rootfs::dev_major(node.rdev()), rootfs::dev_minor(node.rdev()));
        let kind = match node.kind() {
            FileType::Directory => Kind::Directory,
            FileType::Regular => Kind::File(node.content().map_or(0, layers::Content::len)),
            FileType::Symlink => Kind::Symlink(node.target().unwrap_or_default().to_vec()),
            FileType::CharDevice => Kind::Character(major, minor),
            FileType::BlockDevice => Kind::Block(major, minor),
            FileType::Fifo => Kind::Fifo,
            FileType::Socket => Kind::Socket,
        };
        let meta = &node.meta;
        Ok(Some(Entry {
            kind,
            mode: meta.mode & 0o7777,
            uid: meta.uid,
            gid: meta.gid,
            mtime: (meta.mtime, meta.mtime_nsec),
            xattrs: meta.xattrs.clone(),
        }))
    }

    fn names(&self, path: &[u8]) -> io::Result<Vec<Vec<u8>>> {
        let id = self
            .tree
            .lookup_nofollow(path)
            .map_err(io::Error::other)?
            .ok_or(io::ErrorKind::NotFound)?;
        Ok(self.tree.entries(id).map(|(name, _)| name.to_vec()).collect())
    }

    fn open(&self, path: &[u8]) -> io::Result<Box<dyn Read + '_>> {
        let id = self
            .tree
            .lookup_nofollow(path)
            .map_err(io::Error::other)?
            .ok_or(io::ErrorKind::NotFound)?;
        match self.tree.node(id).content() {
            Some(content) => Ok(Box::new(content.reader())),
            None => Err(io::Error::other("not a regular file")),
        }
    }
}
