//! OCI image layouts: a directory with `oci-layout`, `index.json` and `blobs/`.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;

use super::{Blobs, Selector, copy_blob, find_manifest, import_oci, read_small};
use crate::manifest::{MAX_CONFIG, MAX_MANIFEST};
use crate::store::check_layout_version;
use crate::{
    Artifact, Descriptor, Digest, Error, Index, Manifest, Progress, Reference, Result, Store,
};

/// Copies an image or box out of a layout directory into the store and gives it `name`.
pub fn import_layout(
    path: &Path,
    selector: Option<&Selector>,
    store: &Store,
    name: Option<&Reference>,
    progress: &dyn Progress,
) -> Result<Artifact> {
    let index = read_index(path)?;
    import_oci(&Layout { path }, &index, selector, store, name, progress)
}

fn read_index(path: &Path) -> Result<Index> {
    let marker = read_text(path, "oci-layout")?;
    check_layout_version(&path.join("oci-layout"), &marker).map_err(|e| match e {
        Error::CorruptStore { path, reason } => Error::BadArchive { path, reason },
        other => other,
    })?;
    serde_json::from_str(&read_text(path, "index.json")?)
        .map_err(|e| Error::bad_archive(path, format!("malformed index.json: {e}")))
}

/// A manifest of a layout, whatever it is of, whose blobs stay where they are.
pub(crate) struct LayoutManifest {
    pub manifest: Manifest,
    /// The config's bytes.
    pub config: Vec<u8>,
}

impl LayoutManifest {
    /// At most `nesting` further indexes lead to it.
    pub fn read(path: &Path, selector: Option<&Selector>, nesting: u32) -> Result<Self> {
        let (layout, index) = (Layout { path }, read_index(path)?);
        let (_, _, manifest) = find_manifest(&layout, &index, selector, nesting)?;
        let config = read_small(&layout, &manifest.config, "config", MAX_CONFIG)?;
        Ok(Self { manifest, config })
    }

    pub fn copy_blob(
        path: &Path,
        blob: &Descriptor,
        store: &Store,
        progress: &dyn Progress,
    ) -> Result<()> {
        copy_blob(&Layout { path }, blob, store, progress)
    }
}

struct Layout<'a> {
    path: &'a Path,
}

impl Blobs for Layout<'_> {
    fn origin(&self) -> String {
        self.path.display().to_string()
    }

    fn open(&self, digest: &Digest) -> Result<Box<dyn Read + '_>> {
        let path = self.path.join("blobs").join(digest.algorithm()).join(digest.hex());
        match fs::metadata(&path) {
            Ok(meta) if meta.is_file() => {}
            Ok(_) => return Err(Error::bad_archive(&path, "not a regular file")),
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                return Err(Error::NotFound {
                    reference: self.origin(),
                    reason: format!("blob {digest} is missing"),
                });
            }
            Err(e) => return Err(Error::io(&path, e)),
        }
        let file = File::open(&path).map_err(|e| Error::io(&path, e))?;
        Ok(Box::new(file))
    }
}

fn read_text(layout: &Path, file: &str) -> Result<String> {
    let path = layout.join(file);
    let file = match File::open(&path) {
        Ok(file) => file,
        Err(e) if e.kind() == io::ErrorKind::NotFound && layout.exists() => {
            return Err(Error::bad_archive(layout, format!("no OCI layout: it has no {file}")));
        }
        Err(e) => return Err(Error::io(&path, e)),
    };
    let mut text = String::new();
    file.take(MAX_MANIFEST).read_to_string(&mut text).map_err(|e| Error::io(&path, e))?;
    Ok(text)
}
