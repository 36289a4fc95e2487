//! Boxes as container images of the platform `wasi/wasm`: one gzip layer, a tar with the module, which the config names as its
//! entrypoint. podman with crun, Docker and containerd with a Wasm shim run these; registries and tools that know container
//! images alone (skopeo, buildah) carry them. Forms: "Wasm in OCI images" of runwasi, crun's `docs/wasm-wasi-example.md`.

use std::io::{BufReader, Read};
use std::path::{Component, Path, PathBuf};

use flate2::{Compression, GzBuilder};

use crate::artifact::BoxOptions;
use crate::manifest::{WASI_IMAGE_OF, media, to_json};
use crate::writer::plain;
use crate::{
    BoxHandle, Descriptor, Digest, Error, History, ImageConfig, LayerBlob, Manifest, Result, Store,
};

/// Where the module is in an image made here.
const MODULE: &str = "box.wasm";
/// Lets crun tell a module from a program by looking at it.
const VARIANT: (&str, &str) = ("module.wasm.image/variant", "compat-smart");
/// The largest module that is taken from an image, in bytes: a memory of 32 bits holds no more.
const MAX_MODULE: u64 = 4 << 30;
/// The most that is unpacked of one layer to find the module, in bytes.
const MAX_UNPACKED: u64 = 8 << 30;

/// Whether a config is that of a module and not of a Linux system.
pub fn is_wasi(config: &ImageConfig) -> bool {
    is_wasi_platform(&config.os, &config.architecture)
}

/// `wasi/wasm`, and the names that say which WASI it is.
pub(crate) fn is_wasi_platform(os: &str, architecture: &str) -> bool {
    matches!(os, "wasi" | "wasip1" | "wasip2") && architecture == "wasm"
}

impl Store {
    /// The container image of a box: its manifest. It is made once and stays as long as the box. Same box, same digest.
    ///
    /// # Errors
    /// The box is damaged or the store cannot be written.
    pub fn wasi_image(&self, of: &BoxHandle) -> Result<Descriptor> {
        let index = self.read_index()?;
        let entry = index.manifests.iter().find(|d| d.is_wasi_image_of(&of.digest));
        if let Some(known) = entry.filter(|entry| self.is_whole(entry)) {
            return Ok(plain(known));
        }
        let layer = self.module_layer(&of.wasm)?;
        let mut config = ImageConfig {
            created: Some(of.config.created.clone()),
            author: of.config.author.clone(),
            architecture: "wasm".into(),
            os: "wasi".into(),
            history: vec![History {
                created: Some(of.config.created.clone()),
                created_by: Some(format!("COPY {MODULE} / # boxer")),
                ..History::default()
            }],
            ..ImageConfig::default()
        };
        config.config.entrypoint = Some(vec![format!("/{MODULE}")]);
        config.rootfs.diff_ids = vec![layer.diff_id];
        let mut annotations = of.manifest.annotations.clone();
        annotations.insert(VARIANT.0.into(), VARIANT.1.into());
        let manifest = Manifest {
            schema_version: 2,
            media_type: Some(media::OCI_MANIFEST.into()),
            artifact_type: None,
            config: self.put_described(media::OCI_CONFIG, &to_json(&config)?)?,
            layers: vec![Descriptor::new(layer.media_type, layer.digest, layer.size)],
            annotations,
        };
        let descriptor = self.put_described(media::OCI_MANIFEST, &to_json(&manifest)?)?;
        self.keep_wasi_image(&descriptor, &of.digest)?;
        Ok(descriptor)
    }

    /// The box in a container image that was pulled; it keeps the image beside it. None if there is more to the image than a module:
    /// files, arguments, variables.
    pub(crate) fn box_of_wasi_image(
        &self,
        name: &str,
        image: &Descriptor,
        manifest: &Manifest,
    ) -> Result<Option<BoxHandle>> {
        let config = self.read_config(name, manifest)?;
        let Some(module) = only_module(name, &config)? else { return Ok(None) };
        let Some(digest) = self.extract_module(name, manifest, &module)? else { return Ok(None) };
        let mut annotations = manifest.annotations.clone();
        annotations.remove(VARIANT.0);
        let options = BoxOptions {
            created: config.created,
            author: config.author,
            annotations,
            ..BoxOptions::default()
        };
        let found = self.put_box(&self.blob_file(&digest)?, options)?;
        self.keep_wasi_image(image, &found.digest)?;
        Ok(Some(found))
    }

    fn keep_wasi_image(&self, image: &Descriptor, of: &Digest) -> Result<()> {
        let mut entry = plain(image);
        entry.annotations.insert(WASI_IMAGE_OF.into(), of.to_string());
        self.enter_beside(entry)
    }

    /// Whether manifest, config and layers are all here.
    fn is_whole(&self, descriptor: &Descriptor) -> bool {
        self.read_manifest(descriptor).is_ok_and(|manifest| {
            let mut parts = std::iter::once(&manifest.config).chain(&manifest.layers);
            parts.all(|part| self.has_whole_blob(&part.digest, part.size))
        })
    }

    /// A layer with the module as its only file: root's, of time 0, executable, as crun wants it.
    fn module_layer(&self, wasm: &Descriptor) -> Result<LayerBlob> {
        let fail = |e| Error::from_read(self.blob_path(&wasm.digest), e);
        let mut blob = self.writer()?;
        let gzip = GzBuilder::new().mtime(0).operating_system(255);
        let mut tar = Hashed::new(gzip.write(&mut blob, Compression::new(6)));
        let mut header = tar::Header::new_gnu();
        header.set_path(MODULE).map_err(fail)?;
        header.set_size(wasm.size);
        header.set_mode(0o755);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        header.set_cksum();
        let mut builder = tar::Builder::new(&mut tar);
        builder.append(&header, self.open_blob(&wasm.digest)?).map_err(fail)?;
        builder.finish().map_err(fail)?;
        drop(builder);
        let (gzip, diff_id) = tar.finish();
        gzip.finish().map_err(|e| Error::io(self.path(), e))?;
        let (digest, size) = blob.finish()?;
        Ok(LayerBlob { digest, media_type: media::OCI_LAYER_GZIP.into(), size, diff_id })
    }

    /// Brings the module out of the uppermost layer that has it into the store; its digest, or none if some layer has other files.
    fn extract_module(
        &self,
        name: &str,
        manifest: &Manifest,
        module: &Path,
    ) -> Result<Option<Digest>> {
        let bad = |reason: String| Error::NotABox { reference: name.into(), reason };
        let shown = module.display();
        let mut module_found = None;
        for layer in manifest.layers.iter().rev() {
            let path = self.blob_path(&layer.digest);
            let mut archive = tar::Archive::new(unpack(self.open_blob(&layer.digest)?, &path)?);
            let fail = |e| Error::bad_archive(&path, format!("the layer cannot be unpacked: {e}"));
            // Of two members of one name the later counts.
            let mut found = None;
            for entry in archive.entries().map_err(fail)? {
                let mut entry = entry.map_err(fail)?;
                let member = normal(&entry.path().map_err(fail)?);
                let is_dir = entry.header().entry_type().is_dir();
                if module_found.is_none() && is_whiteout_of(&member, module) {
                    return Err(bad(format!("its entrypoint /{shown} was deleted by a layer")));
                }
                if member != module && !is_dir && !is_whiteout(&member) {
                    return Ok(None);
                }
                if member != module || module_found.is_some() {
                    continue;
                }
                if !entry.header().entry_type().is_file() {
                    return Err(bad(format!("its entrypoint /{shown} is no regular file")));
                }
                if entry.size() > MAX_MODULE {
                    let (reference, what) = (name.into(), format!("/{shown}"));
                    return Err(Error::TooLarge { reference, what, limit: MAX_MODULE });
                }
                found = Some(self.put_reader(&mut entry, None)?.0);
            }
            module_found = module_found.or(found);
        }
        if module_found.is_some() {
            return Ok(module_found);
        }
        Err(bad(format!("its entrypoint /{shown} is in none of its layers")))
    }
}

/// The file that the image runs, if that is all that its config says: a box is a module, and keeps no arguments, variables or directory.
fn only_module(name: &str, config: &ImageConfig) -> Result<Option<PathBuf>> {
    let run = &config.config;
    let words: Vec<&String> = run.entrypoint.iter().chain(&run.cmd).flatten().collect();
    let program = match words.as_slice() {
        [] => {
            let reason = "a wasi/wasm image without ENTRYPOINT: it names no module".into();
            return Err(Error::NotABox { reference: name.into(), reason });
        }
        [program] => program,
        [..] => return Ok(None),
    };
    let says_more = run.env.iter().any(|entry| !entry.starts_with("PATH="));
    if says_more || !matches!(run.working_dir.as_str(), "" | "/") {
        return Ok(None);
    }
    Ok(Some(normal(&Path::new("/").join(program))))
}

/// Without `.`, `..` and the root.
fn normal(path: &Path) -> PathBuf {
    let mut normal = PathBuf::new();
    for component in path.components() {
        match component {
            Component::Normal(part) => normal.push(part),
            Component::ParentDir => drop(normal.pop()),
            _ => {}
        }
    }
    normal
}

/// Whether the member deletes a file.
fn is_whiteout(member: &Path) -> bool {
    member.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b".wh."))
}

/// Whether the member deletes the file or a directory above it (OCI image spec, "Whiteouts").
fn is_whiteout_of(member: &Path, file: &Path) -> bool {
    let Some(name) = member.file_name().and_then(|name| name.to_str()) else { return false };
    let Some(deleted) = name.strip_prefix(".wh.").filter(|rest| !rest.starts_with(".wh.")) else {
        return false;
    };
    file.starts_with(member.with_file_name(deleted))
}

/// The layer's tar, bounded.
fn unpack(reader: impl Read + 'static, path: &Path) -> Result<Box<dyn Read>> {
    let mut reader = BufReader::with_capacity(256 << 10, reader);
    let mut head = Vec::new();
    let fail = |e| Error::from_read(path, e);
    reader.by_ref().take(4).read_to_end(&mut head).map_err(fail)?;
    let is_gzip = head.starts_with(&[0x1f, 0x8b]);
    let is_zstd = head.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]);
    let whole = std::io::Cursor::new(head).chain(reader);
    let tar: Box<dyn Read> = if is_gzip {
        Box::new(flate2::read::MultiGzDecoder::new(whole))
    } else if is_zstd {
        Box::new(zstd::stream::read::Decoder::new(whole).map_err(fail)?)
    } else {
        Box::new(whole)
    };
    Ok(Box::new(tar.take(MAX_UNPACKED)))
}

/// Hashes what is written through it.
struct Hashed<W> {
    inner: W,
    hasher: crate::Hasher,
}

impl<W: std::io::Write> Hashed<W> {
    fn new(inner: W) -> Self {
        Hashed { inner, hasher: crate::Hasher::sha256() }
    }

    fn finish(self) -> (W, Digest) {
        (self.inner, self.hasher.finish())
    }
}

impl<W: std::io::Write> std::io::Write for Hashed<W> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let n = self.inner.write(bytes)?;
        self.hasher.update(bytes.get(..n).unwrap_or_default());
        Ok(n)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.inner.flush()
    }
}
