//! The files of an image.

use std::io::{self, Read, Write};
use std::sync::Arc;

use layers::{
    Compression, Content, FileType, Flatten, LayerOptions, Limits, NodeId, Open, Spool, Tree,
};
use oci::{Digest, LayerBlob, Store};

use crate::builder::temporary_folder;
use crate::error::{Cause, Error, Result};
use crate::files::{Entry, Files, Kind};

/// Layers flattened to a tree; contents stay in the layers, or lie in a temporary file. A clone shares them.
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

    /// Its files will be read several times: see [`Spool::keep_layers`].
    pub fn expect_readers(&self) {
        self.spool.keep_layers();
    }

    /// Puts another layer on top.
    pub fn apply(&mut self, store: &Store, blob: &LayerBlob) -> Result<()> {
        let mut flatten =
            Flatten::onto(std::mem::take(&mut self.tree), self.spool.clone(), Limits::default());
        apply(&mut flatten, store, blob)?;
        self.tree = flatten.finish();
        Ok(())
    }

    /// The files of an archive that is no layer.
    pub fn of_archive(store: &Store, archive: impl Read, name: &str) -> Result<Self> {
        let spool = Spool::new_in(&temporary_folder(store)).map_err(layers_error)?;
        let mut flatten = Flatten::new(spool.clone(), Limits::default());
        flatten.archive(archive, name).map_err(layers_error)?;
        Ok(Self { tree: flatten.finish(), spool })
    }

    /// A tree with nothing in it.
    pub fn empty(store: &Store) -> Result<Self> {
        Self::of_layers(store, &[])
    }

    /// This tree with a layer on top that is in a file, which must stay as long as the tree.
    pub fn with_layer(&self, tar: &std::path::Path, name: &str) -> Result<Self> {
        let mut flatten = Flatten::onto(self.tree.clone(), self.spool.clone(), Limits::default());
        let tar = tar.to_owned();
        let open: Open = Arc::new(move || -> io::Result<Box<dyn Read + Send>> {
            Ok(Box::new(std::fs::File::open(&tar)?))
        });
        flatten.stored_layer(open, name, None).map_err(layers_error)?;
        Ok(Self { tree: flatten.finish(), spool: self.spool.clone() })
    }

    /// To change it: the tree, and where new contents go.
    pub fn parts(&mut self) -> (&mut Tree, &Spool) {
        (&mut self.tree, &self.spool)
    }

    fn id(&self, path: &[u8]) -> io::Result<NodeId> {
        let found = self.tree.lookup_nofollow(path).map_err(io::Error::other)?;
        found.ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn stored(&self, path: &[u8]) -> io::Result<Content> {
        let content = self.tree.node(self.id(path)?).content().cloned();
        content.ok_or_else(|| io::Error::other("not a regular file"))
    }

    /// The layer that makes `upper` out of this tree, put into the store; `None` if nothing
    /// changed. No time in it is later than `latest`, and its files have at most `most` bytes.
    pub fn layer_to(
        &self,
        upper: &Self,
        store: &Store,
        latest: Option<i64>,
        most: u64,
    ) -> Result<Option<LayerBlob>> {
        let options = LayerOptions {
            compression: Compression::Gzip,
            clamp_mtime: latest,
            // What no box can hold is not worth the time that compressing it takes.
            most: Some(most),
        };
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

    /// Writes all files as one plain tar.
    pub fn write_tar(&self, out: impl Write) -> Result<()> {
        let options = LayerOptions { compression: Compression::None, ..LayerOptions::default() };
        layers::layer_from_tree(&self.tree, out, &options).map(drop).map_err(layers_error)
    }

    /// Writes all files into a directory of the host.
    pub fn write_host(&self, into: &std::path::Path) -> Result<()> {
        let owners = rustix::process::geteuid().is_root();
        self.tree.write_host(into, layers::HostOptions { owners }).map_err(layers_error)
    }

    /// Gives the EROFS image to `work` as a stream that is made while it is read, with its length and that of its metadata at
    /// the front. What no box can hold is refused before anything is written.
    pub fn with_rootfs<T>(
        &self,
        work: impl FnOnce(&mut dyn Read, rootfs::Summary) -> Result<T>,
    ) -> Result<T> {
        let summary = self.tree.measure_rootfs().map_err(layers_error)?;
        if summary.bytes > link::MAX_IMAGE {
            return Err(link::LinkError::ImageTooLarge(summary.bytes).into());
        }
        let (reader, writer) =
            io::pipe().map_err(|error| layers_error(layers::Error::Spool(error)))?;
        std::thread::scope(|scope| {
            let writing = scope.spawn(move || self.tree.write_rootfs(writer));
            let mut reader = io::BufReader::with_capacity(1 << 20, reader);
            let result = work(&mut reader, summary);
            // Whoever needs no more of it has closed it.
            drop(reader);
            match (result, writing.join()) {
                (Ok(value), _) => Ok(value),
                (Err(_), Ok(Err(error))) if !is_broken_pipe(&error) => Err(layers_error(error)),
                (Err(error), _) => Err(error),
            }
        })
    }
}

fn apply(flatten: &mut Flatten, store: &Store, blob: &LayerBlob) -> Result<()> {
    let (name, diff_id) = (blob.digest.to_string(), blob.diff_id.as_str());
    let (store, digest) = (store.clone(), blob.digest.clone());
    // Its own words for a blob that is missing.
    drop(store.open_blob(&digest)?);
    let open: Open = Arc::new(move || -> io::Result<Box<dyn Read + Send>> {
        Ok(Box::new(store.open_blob(&digest).map_err(io::Error::other)?))
    });
    flatten.stored_layer(open, &name, Some(diff_id)).map_err(layers_error)?;
    Ok(())
}

/// Whether the reader of the image has gone: then its own error counts.
fn is_broken_pipe(error: &layers::Error) -> bool {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = cause {
        if error.downcast_ref::<io::Error>().is_some_and(|e| e.kind() == io::ErrorKind::BrokenPipe)
        {
            return true;
        }
        cause = error.source();
    }
    false
}

fn layers_error(error: layers::Error) -> Error {
    Error::new(Cause::Layers(error.to_string()))
}

/// The entry at a path of a tree, not followed.
pub(crate) fn entry_of(tree: &Tree, path: &[u8]) -> io::Result<Option<Entry>> {
    let found = match tree.lookup_nofollow(path) {
        Ok(found) => found,
        Err(layers::Error::NotDirectory(_) | layers::Error::NotFound(_)) => None,
        Err(error) => return Err(io::Error::other(error)),
    };
    let Some(id) = found else { return Ok(None) };
    let node = tree.node(id);
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
    let several = node.links() > 1 && !node.is_dir();
    Ok(Some(Entry {
        kind,
        mode: meta.mode & 0o7777,
        uid: meta.uid,
        gid: meta.gid,
        mtime: (meta.mtime, meta.mtime_nsec),
        xattrs: meta.xattrs.clone(),
        identity: several.then_some(id.into()),
    }))
}

impl Files for ImageTree {
    fn entry(&self, path: &[u8]) -> io::Result<Option<Entry>> {
        entry_of(&self.tree, path)
    }

    fn names(&self, path: &[u8]) -> io::Result<Vec<Vec<u8>>> {
        Ok(self.tree.entries(self.id(path)?).map(|(name, _)| name.to_vec()).collect())
    }

    fn open(&self, path: &[u8]) -> io::Result<Box<dyn Read + '_>> {
        Ok(Box::new(self.stored(path)?.reader()))
    }

    fn content(&self, path: &[u8], _size: u64, _spool: &Spool) -> io::Result<Content> {
        self.stored(path)
    }
}
