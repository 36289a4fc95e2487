//! Images and boxes in the store: reading them back, and writing new ones.

use std::collections::BTreeMap;
use std::io::{self, Read};

use crate::digest::Hasher;
use crate::manifest::{MAX_CONFIG, media, to_json};
use crate::store::Store;
use crate::wasi_image::is_wasi;
use crate::{BoxHandle, Descriptor, Digest, Error, ImageConfig, Manifest, Reference, Result};

/// An image whose blobs are all in the store.
#[derive(Clone, Debug, PartialEq)]
pub struct ImageHandle {
    /// Digest of the manifest.
    pub digest: Digest,
    /// Descriptor of the manifest.
    pub descriptor: Descriptor,
    /// The manifest.
    pub manifest: Manifest,
    /// The config.
    pub config: ImageConfig,
    /// The layers, base first.
    pub layers: Vec<LayerBlob>,
}

/// One layer in the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LayerBlob {
    /// Digest of the blob as it is stored.
    pub digest: Digest,
    /// Media type: a tar, plain, gzip or zstd.
    pub media_type: String,
    /// Size of the blob, in bytes.
    pub size: u64,
    /// Digest of the uncompressed tar.
    pub diff_id: Digest,
}

/// An image or a box.
#[derive(Clone, Debug, PartialEq)]
pub enum Artifact {
    /// A container image.
    Image(ImageHandle),
    /// A WebAssembly artifact.
    Box(BoxHandle),
}

impl Artifact {
    /// Digest of the manifest.
    pub fn digest(&self) -> &Digest {
        match self {
            Artifact::Image(image) => &image.digest,
            Artifact::Box(b) => &b.digest,
        }
    }

    /// Descriptor of the manifest.
    pub fn descriptor(&self) -> &Descriptor {
        match self {
            Artifact::Image(image) => &image.descriptor,
            Artifact::Box(b) => &b.descriptor,
        }
    }
}

impl Store {
    /// The image behind a name.
    pub fn image(&self, reference: &Reference) -> Result<ImageHandle> {
        self.load_image(&reference.familiar(), &self.resolve_image(reference)?)
    }

    /// The image or box behind a name.
    pub fn artifact(&self, reference: &Reference) -> Result<Artifact> {
        self.load_artifact(&reference.familiar(), &self.resolve(reference)?)
    }

    /// The image or box with this manifest.
    pub fn artifact_by_digest(&self, digest: &Digest) -> Result<Artifact> {
        let size = self.blob_size(digest)?;
        self.load_artifact(
            digest.as_str(),
            &Descriptor::new(media::OCI_MANIFEST, digest.clone(), size),
        )
    }

    pub(crate) fn load_artifact(&self, name: &str, descriptor: &Descriptor) -> Result<Artifact> {
        let manifest = self.read_manifest(descriptor)?;
        if manifest.config.media_type == media::WASM_CONFIG {
            self.load_box(name, descriptor).map(Artifact::Box)
        } else if media::is_image_config(&manifest.config.media_type)
            && is_wasi(&self.read_config(name, &manifest)?)
        {
            match self.box_of_wasi_image(name, descriptor, &manifest)? {
                Some(found) => Ok(Artifact::Box(found)),
                None => self.load_image(name, descriptor).map(Artifact::Image),
            }
        } else {
            self.load_image(name, descriptor).map(Artifact::Image)
        }
    }

    pub(crate) fn load_image(&self, name: &str, descriptor: &Descriptor) -> Result<ImageHandle> {
        let manifest = self.read_manifest(descriptor)?;
        check_image_manifest(name, &manifest)?;
        let config = self.read_config(name, &manifest)?;
        let layers = match_layers(name, &manifest, &config)?;
        for layer in &layers {
            if !self.has_whole_blob(&layer.digest, layer.size) {
                return Err(Error::CorruptStore {
                    path: self.blob_path(&layer.digest),
                    reason: "the layer is missing or damaged: pull or build the image again".into(),
                });
            }
        }
        let descriptor = plain(descriptor);
        Ok(ImageHandle { digest: descriptor.digest.clone(), descriptor, manifest, config, layers })
    }

    pub(crate) fn read_config(&self, name: &str, manifest: &Manifest) -> Result<ImageConfig> {
        ImageConfig::parse(name, &self.read_blob(&manifest.config.digest, MAX_CONFIG)?)
    }

    /// Stores a layer, a tar that may be compressed with gzip or zstd (told by its first bytes), and computes both of
    /// its digests.
    pub fn add_layer(&self, reader: &mut dyn Read) -> Result<LayerBlob> {
        let (digest, size) = self.put_reader(reader, None)?;
        self.describe_layer(digest, size)
    }

    /// Media type and diff_id of a layer that is in the store.
    pub(crate) fn describe_layer(&self, digest: Digest, size: u64) -> Result<LayerBlob> {
        let path = self.blob_path(&digest);
        let fail = |e| Error::io(&path, e);
        let mut head = [0u8; 4];
        let mut file = std::fs::File::open(&path).map_err(fail)?;
        let mut filled = 0;
        while let Some(rest) = head.get_mut(filled..).filter(|r| !r.is_empty()) {
            match file.read(rest).map_err(fail)? {
                0 => break,
                n => filled += n,
            }
        }
        let file = std::fs::File::open(&path).map_err(fail)?;
        let bad =
            |e: io::Error| Error::bad_archive(&path, format!("the layer cannot be unpacked: {e}"));
        let (media_type, diff_id) = match head {
            [0x1f, 0x8b, ..] => {
                let tar = flate2::read::MultiGzDecoder::new(io::BufReader::new(file));
                (media::OCI_LAYER_GZIP, hash(tar).map_err(bad)?)
            }
            [0x28, 0xb5, 0x2f, 0xfd] => {
                let tar = zstd::stream::read::Decoder::new(file).map_err(bad)?;
                (media::OCI_LAYER_ZSTD, hash(tar).map_err(bad)?)
            }
            _ => (media::OCI_LAYER, digest.clone()),
        };
        Ok(LayerBlob { digest, media_type: media_type.into(), size, diff_id })
    }

    /// Writes an image of layers already in the store. `config.rootfs` is set from the layers; everything else is the
    /// caller's. Same config and layers, same digest. With a name, the image gets it; without one it is kept unnamed.
    pub fn write_image(
        &self,
        mut config: ImageConfig,
        layers: Vec<LayerBlob>,
        name: Option<&Reference>,
    ) -> Result<ImageHandle> {
        config.rootfs.kind = "layers".into();
        config.rootfs.diff_ids = layers.iter().map(|l| l.diff_id.clone()).collect();
        let config_bytes = to_json(&config)?;
        if config_bytes.len() as u64 > MAX_CONFIG {
            return Err(Error::TooLarge {
                reference: "the image".into(),
                what: "its config, with variables, labels and history,".into(),
                limit: MAX_CONFIG,
            });
        }
        let manifest = Manifest {
            schema_version: 2,
            media_type: Some(media::OCI_MANIFEST.into()),
            artifact_type: None,
            config: self.put_described(media::OCI_CONFIG, &config_bytes)?,
            layers: layers
                .iter()
                .map(|l| Descriptor::new(oci_layer_type(&l.media_type), l.digest.clone(), l.size))
                .collect(),
            annotations: BTreeMap::new(),
        };
        self.finish_image(manifest, name)
    }

    /// Stores a manifest of any kind, whose layers are in the store already; no name leads to it. Its digest.
    pub fn write_manifest(
        &self,
        config_type: &str,
        config: &[u8],
        layers: &[Descriptor],
    ) -> Result<Digest> {
        let manifest = Manifest {
            schema_version: 2,
            media_type: Some(media::OCI_MANIFEST.into()),
            artifact_type: None,
            config: self.put_described(config_type, config)?,
            layers: layers.to_vec(),
            annotations: BTreeMap::new(),
        };
        Ok(self.put_described(media::OCI_MANIFEST, &to_json(&manifest)?)?.digest)
    }

    /// The same image with these annotations in its manifest. The one without is no longer kept for its own sake.
    pub fn annotate_image(
        &self,
        image: &ImageHandle,
        annotations: BTreeMap<String, String>,
    ) -> Result<ImageHandle> {
        let annotated =
            self.finish_image(Manifest { annotations, ..image.manifest.clone() }, None)?;
        if annotated.digest != image.digest {
            self.forget_if_unnamed(&image.digest)?;
        }
        Ok(annotated)
    }

    pub(crate) fn finish_image(
        &self,
        manifest: Manifest,
        name: Option<&Reference>,
    ) -> Result<ImageHandle> {
        let descriptor = self.put_described(media::OCI_MANIFEST, &to_json(&manifest)?)?;
        let display = name.map_or_else(|| descriptor.digest.to_string(), Reference::familiar);
        let image = self.load_image(&display, &descriptor)?;
        match name {
            Some(name) => self.tag(name, &descriptor)?,
            None => self.keep(&descriptor)?,
        }
        Ok(image)
    }

    pub(crate) fn put_described(&self, media_type: &str, bytes: &[u8]) -> Result<Descriptor> {
        let digest = self.put_blob(bytes)?;
        Ok(Descriptor::new(media_type, digest, bytes.len() as u64))
    }
}

/// The descriptor without what an index said about it.
pub(crate) fn plain(descriptor: &Descriptor) -> Descriptor {
    Descriptor::new(descriptor.media_type.clone(), descriptor.digest.clone(), descriptor.size)
}

/// Refuses manifests of other artifacts, and layers nobody can unpack.
pub(crate) fn check_image_manifest(name: &str, manifest: &Manifest) -> Result<()> {
    let config = &manifest.config.media_type;
    if config == media::WASM_CONFIG {
        return Err(Error::not_an_image(name, "it is a WebAssembly artifact"));
    }
    if !media::is_image_config(config) {
        return Err(Error::not_an_image(name, format!("its config has the type {config}")));
    }
    match manifest.layers.iter().find(|l| !media::is_layer(&l.media_type)) {
        Some(l) => Err(Error::not_an_image(name, format!("a layer has the type {}", l.media_type))),
        None => Ok(()),
    }
}

/// Refuses an image for another machine.
pub(crate) fn check_config(name: &str, manifest: &Manifest, config: &ImageConfig) -> Result<()> {
    match_layers(name, manifest, config).map(|_| ())
}

/// Pairs layers with diff_ids and checks the platform.
pub(crate) fn match_layers(
    name: &str,
    manifest: &Manifest,
    config: &ImageConfig,
) -> Result<Vec<LayerBlob>> {
    if (config.os != "linux" || config.architecture != "amd64") && !is_wasi(config) {
        let variant = config.variant.as_deref().map_or(String::new(), |v| format!("/{v}"));
        return Err(Error::WrongPlatform {
            reference: name.into(),
            available: vec![format!("{}/{}{variant}", config.os, config.architecture)],
        });
    }
    let diff_ids = &config.rootfs.diff_ids;
    if diff_ids.len() != manifest.layers.len() {
        return Err(Error::not_an_image(
            name,
            format!(
                "{} layers, but {} diff_ids in its config",
                manifest.layers.len(),
                diff_ids.len()
            ),
        ));
    }
    Ok(manifest
        .layers
        .iter()
        .zip(diff_ids)
        .map(|(layer, diff_id)| LayerBlob {
            digest: layer.digest.clone(),
            media_type: layer.media_type.clone(),
            size: layer.size,
            diff_id: diff_id.clone(),
        })
        .collect())
}

/// The OCI name of a layer type: an OCI manifest should not hold Docker's.
fn oci_layer_type(media_type: &str) -> &str {
    match media_type {
        media::DOCKER_LAYER => media::OCI_LAYER,
        media::DOCKER_LAYER_GZIP => media::OCI_LAYER_GZIP,
        media::DOCKER_LAYER_ZSTD => media::OCI_LAYER_ZSTD,
        // Here it is a layer like any other.
        foreign if media::FOREIGN_LAYERS.contains(&foreign) => match foreign {
            gzip if gzip.ends_with("gzip") => media::OCI_LAYER_GZIP,
            zstd if zstd.ends_with("zstd") => media::OCI_LAYER_ZSTD,
            _ => media::OCI_LAYER,
        },
        other => other,
    }
}

fn hash(mut reader: impl Read) -> io::Result<Digest> {
    let mut hasher = Hasher::sha256();
    let mut buffer = vec![0u8; 64 << 10];
    loop {
        let n = reader.read(&mut buffer)?;
        if n == 0 {
            return Ok(hasher.finish());
        }
        hasher.update(buffer.get(..n).unwrap_or_default());
    }
}
