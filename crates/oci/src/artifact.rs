//! Boxes as CNCF Wasm OCI artifacts (tag-runtime.cncf.io/wgs/wasm/deliverables/wasm-oci-artifact): a config of type
//! `application/vnd.wasm.config.v0+json`, one `application/wasm` layer, a single manifest without an index. The layer
//! has a title, so that tools for any artifact (oras, podman) write it as a file.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Seek};
use std::path::Path;

use serde::{Deserialize, Serialize};
use wasmparser::{Chunk, Parser, Payload};

use crate::manifest::{MAX_CONFIG, media, or_default, to_json};
use crate::writer::plain;
use crate::{Descriptor, Digest, Error, Manifest, Reference, Result, Store};

/// The annotation by which the image specification names a file.
const TITLE: &str = "org.opencontainers.image.title";
/// The name of a box's file: the same for all, since a box has one digest under any name.
const FILE_NAME: &str = "box.wasm";

/// The config blob of a Wasm artifact.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct WasmConfig {
    /// RFC 3339 time.
    pub created: String,
    /// Who made it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub author: Option<String>,
    /// Always `wasm`.
    pub architecture: String,
    /// `wasip1` for a module, `wasip2` for a component.
    pub os: String,
    /// Digests of the layers.
    #[serde(default, deserialize_with = "or_default")]
    pub layer_digests: Vec<Digest>,
    /// What a component imports and exports; absent for a module.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub component: Option<Component>,
}

/// The world of a component.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Component {
    /// Names of what it exports.
    #[serde(default, deserialize_with = "or_default")]
    pub exports: Vec<String>,
    /// Names of what it imports.
    #[serde(default, deserialize_with = "or_default")]
    pub imports: Vec<String>,
    /// The world it was made for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
}

/// What the maker of a box may say about it. The default is deterministic.
#[derive(Clone, Debug, Default)]
pub struct BoxOptions {
    /// RFC 3339 time; the epoch where absent. (`SOURCE_DATE_EPOCH` is the caller's to honour.)
    pub created: Option<String>,
    /// Who made it.
    pub author: Option<String>,
    /// Annotations of the manifest.
    pub annotations: BTreeMap<String, String>,
    /// The blob that its file is much like, such as the box that it was frozen from: the store keeps the difference
    /// ([`Store::put_like`]).
    pub like: Option<Digest>,
}

/// A box whose blobs are all in the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BoxHandle {
    /// Digest of the manifest.
    pub digest: Digest,
    /// Descriptor of the manifest.
    pub descriptor: Descriptor,
    /// The manifest.
    pub manifest: Manifest,
    /// The config.
    pub config: WasmConfig,
    /// The module or component; its file is `store.blob_file(&wasm.digest)`.
    pub wasm: Descriptor,
}

impl Store {
    /// Stores a module or component as a box. Same bytes and options, same digest.
    pub fn write_box(
        &self,
        wasm: impl AsRef<Path>,
        options: BoxOptions,
        name: Option<&Reference>,
    ) -> Result<BoxHandle> {
        let handle = self.put_box(wasm.as_ref(), options)?;
        match name {
            Some(name) => self.tag(name, &handle.descriptor)?,
            None => self.keep(&handle.descriptor)?,
        }
        Ok(handle)
    }

    /// As [`Store::write_box`], without an entry that keeps it.
    pub(crate) fn put_box(&self, path: &Path, options: BoxOptions) -> Result<BoxHandle> {
        let component = read_world(path)?;
        let (digest, size) = match (self.blob_at(path), &options.like) {
            (Some(known), _) => known, // linked straight into the store
            (None, Some(base)) => self.put_like(path, base)?,
            (None, None) => {
                let mut file = File::open(path).map_err(|e| Error::io(path, e))?;
                self.put_reader(&mut file, None)?
            }
        };
        let config = WasmConfig {
            created: options.created.unwrap_or_else(|| "1970-01-01T00:00:00Z".into()),
            author: options.author,
            architecture: "wasm".into(),
            os: if component.is_some() { "wasip2" } else { "wasip1" }.into(),
            layer_digests: vec![digest.clone()],
            component,
        };
        // Tools for artifacts of every kind take only what has a file's name.
        let mut layer = Descriptor::new(media::WASM_LAYER, digest, size);
        layer.annotations.insert(TITLE.into(), FILE_NAME.into());
        let manifest = Manifest {
            schema_version: 2,
            media_type: Some(media::OCI_MANIFEST.into()),
            artifact_type: None,
            config: self.put_described(media::WASM_CONFIG, &to_json(&config)?)?,
            layers: vec![layer],
            annotations: options.annotations,
        };
        let descriptor = self.put_described(media::OCI_MANIFEST, &to_json(&manifest)?)?;
        self.load_box(descriptor.digest.as_str(), &descriptor)
    }

    /// The box behind a name.
    pub fn wasm_box(&self, reference: &Reference) -> Result<BoxHandle> {
        self.load_box(&reference.familiar(), &self.resolve(reference)?)
    }

    pub(crate) fn load_box(&self, name: &str, descriptor: &Descriptor) -> Result<BoxHandle> {
        let manifest = self.read_manifest(descriptor)?;
        let wasm = check_box_manifest(name, &manifest)?.clone();
        let config = parse_config(name, &self.read_blob(&manifest.config.digest, MAX_CONFIG)?)?;
        if !self.has_whole_blob(&wasm.digest, wasm.size) {
            return Err(Error::CorruptStore {
                path: self.blob_path(&wasm.digest),
                reason: "the box is missing or damaged: build or pull it again".into(),
            });
        }
        let descriptor = plain(descriptor);
        Ok(BoxHandle { digest: descriptor.digest.clone(), descriptor, manifest, config, wasm })
    }
}

/// The one wasm layer of a box's manifest.
pub(crate) fn check_box_manifest<'a>(name: &str, manifest: &'a Manifest) -> Result<&'a Descriptor> {
    let bad = |reason: String| Error::NotABox { reference: name.into(), reason };
    let config = &manifest.config.media_type;
    if media::is_image_config(config) {
        return Err(bad("it is a container image".into()));
    }
    if config != media::WASM_CONFIG {
        return Err(bad(format!("its config has the type {config}")));
    }
    match manifest.layers.as_slice() {
        [layer] if layer.media_type == media::WASM_LAYER => Ok(layer),
        [layer] => Err(bad(format!("its layer has the type {}", layer.media_type))),
        layers => Err(bad(format!("{} layers; expected one {}", layers.len(), media::WASM_LAYER))),
    }
}

fn parse_config(name: &str, bytes: &[u8]) -> Result<WasmConfig> {
    serde_json::from_slice(bytes).map_err(|e| Error::NotABox {
        reference: name.into(),
        reason: format!("malformed config: {e}"),
    })
}

/// The largest section of a component, besides the modules in it, that is read; in bytes.
const MAX_SECTION: usize = 64 << 20;

/// The imports and exports of a component; `None` for a core module. What lies inside (modules of any size) is skipped.
fn read_world(path: &Path) -> Result<Option<Component>> {
    let bad = |reason: String| Error::NotABox { reference: path.display().to_string(), reason };
    let malformed = |e: wasmparser::BinaryReaderError| bad(format!("malformed WebAssembly: {e}"));
    let fail = |e| Error::io(path, e);
    let mut file = File::open(path).map_err(fail)?;
    let mut bytes = Vec::new();
    file.by_ref().take(8).read_to_end(&mut bytes).map_err(fail)?;
    if bytes == b"\0asm\x01\0\0\0" {
        return Ok(None); // what is inside a core module is its runtime's to judge
    }
    if !bytes.starts_with(b"\0asm") {
        return Err(bad("it is no WebAssembly file".into()));
    }
    let mut world = Component::default();
    let mut parser = Parser::new(0);
    let mut at_end = false;
    loop {
        let (consumed, skip) = match parser.parse(&bytes, at_end).map_err(malformed)? {
            Chunk::NeedMoreData(hint) => {
                let hint = usize::try_from(hint).unwrap_or(usize::MAX).max(4096);
                if bytes.len().saturating_add(hint) > MAX_SECTION {
                    return Err(bad(format!("a section is larger than {MAX_SECTION} bytes")));
                }
                let got = file.by_ref().take(hint as u64).read_to_end(&mut bytes).map_err(fail)?;
                at_end = got == 0;
                continue;
            }
            Chunk::Parsed { consumed, payload } => {
                let skip = match payload {
                    Payload::ModuleSection { unchecked_range: range, .. }
                    | Payload::ComponentSection { unchecked_range: range, .. } => range.len(),
                    Payload::ComponentImportSection(section) => {
                        for import in section {
                            world.imports.push(import.map_err(malformed)?.name.name.into());
                        }
                        0
                    }
                    Payload::ComponentExportSection(section) => {
                        for export in section {
                            world.exports.push(export.map_err(malformed)?.name.name.into());
                        }
                        0
                    }
                    Payload::End(_) => return Ok(Some(world)),
                    _ => 0,
                };
                (consumed, skip)
            }
        };
        let done = consumed.saturating_add(skip);
        if done <= bytes.len() {
            bytes.drain(..done);
        } else {
            let beyond = i64::try_from(done - bytes.len()).unwrap_or(i64::MAX);
            bytes.clear();
            file.seek_relative(beyond).map_err(fail)?;
        }
    }
}
