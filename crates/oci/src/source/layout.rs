//! OCI image layouts: a directory with `oci-layout`, `index.json` and `blobs/`.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;

use super::{Blobs, Selector, import_oci};
use crate::manifest::MAX_MANIFEST;
use crate::store::check_layout_version;
use crate::{Artifact, Digest, Error, Index, Progress, Reference, Result, Store};

/// Copies an image or box out of a layout directory into the store and gives it `name`.
pub fn import_layout(
    path: &Path,
    selector: Option<&Selector>,
    store: &Store,
    name: Option<&Reference>,
    progress: &dyn Progress,
) -> Result<Artifact> {
    let marker = read_text(path, "oci-layout")?;
    check_layout_version(&path.join("oci-layout"), &marker).map_err(|e| match e {
        Error::CorruptStore { path, reason } => Error::BadArchive { path, reason },
        other => other,
    })?;
    let index: Index = serde_json::from_str(&read_text(path, "index.json")?)
        .map_err(|e| Error::bad_archive(path, format!("malformed index.json: {e}")))?;
    import_oci(&Layout { path }, &index, selector, store, name, progress)
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
