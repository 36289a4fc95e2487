//! Descriptors, manifests and indexes (OCI image spec 1.1; Docker's schema 2 has the same shape).

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize};

use crate::{Digest, Error, Result};

/// Media types this crate reads or writes.
pub mod media {
    #![allow(missing_docs)]
    pub const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
    pub const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
    pub const OCI_CONFIG: &str = "application/vnd.oci.image.config.v1+json";
    pub const OCI_LAYER: &str = "application/vnd.oci.image.layer.v1.tar";
    pub const OCI_LAYER_GZIP: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
    pub const OCI_LAYER_ZSTD: &str = "application/vnd.oci.image.layer.v1.tar+zstd";
    pub const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
    pub const DOCKER_INDEX: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
    pub const DOCKER_CONFIG: &str = "application/vnd.docker.container.image.v1+json";
    pub const DOCKER_LAYER: &str = "application/vnd.docker.image.rootfs.diff.tar";
    pub const DOCKER_LAYER_GZIP: &str = "application/vnd.docker.image.rootfs.diff.tar.gzip";
    pub const DOCKER_LAYER_ZSTD: &str = "application/vnd.docker.image.rootfs.diff.tar.zstd";
    /// Layers that their maker serves from `urls`; the same archives otherwise.
    pub const FOREIGN_LAYERS: &[&str] = &[
        "application/vnd.oci.image.layer.nondistributable.v1.tar",
        "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip",
        "application/vnd.oci.image.layer.nondistributable.v1.tar+zstd",
        "application/vnd.docker.image.rootfs.foreign.diff.tar",
        "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
    ];
    pub const WASM_CONFIG: &str = "application/vnd.wasm.config.v0+json";
    pub const WASM_LAYER: &str = "application/wasm";

    /// What a registry is asked for, best first.
    pub const MANIFESTS: &[&str] = &[OCI_MANIFEST, OCI_INDEX, DOCKER_MANIFEST, DOCKER_INDEX];

    /// Layers `layers` can read.
    pub fn is_layer(media_type: &str) -> bool {
        matches!(
            media_type,
            OCI_LAYER
                | OCI_LAYER_GZIP
                | OCI_LAYER_ZSTD
                | DOCKER_LAYER
                | DOCKER_LAYER_GZIP
                | DOCKER_LAYER_ZSTD
        ) || FOREIGN_LAYERS.contains(&media_type)
    }

    /// Configs of container images.
    pub fn is_image_config(media_type: &str) -> bool {
        matches!(media_type, OCI_CONFIG | DOCKER_CONFIG)
    }
}

/// The annotation that names a manifest inside a layout.
pub const REF_NAME: &str = "org.opencontainers.image.ref.name";
/// In the store's index: the name of the box that was made of the image.
pub(crate) const BOX_OF: &str = "boxer.image.of";
/// In the store's index: the digest of the box that a `wasi/wasm` image holds.
pub(crate) const WASI_IMAGE_OF: &str = "boxer.wasi.image.of";
/// In the store's index: the digest of the manifest that an attestation is about.
pub(crate) const ATTESTS: &str = "boxer.attests";

/// The largest manifest or index accepted, in bytes (the distribution spec asks for at least 4 MiB).
pub const MAX_MANIFEST: u64 = 4 << 20;
/// The largest image config accepted, in bytes.
pub const MAX_CONFIG: u64 = 16 << 20;
/// Most indexes on the way to an image, one inside the other.
pub(crate) const MAX_NESTING: u32 = 3;
/// The largest number of layers accepted in one image.
pub const MAX_LAYERS: usize = 4096;

/// Names content: type, digest, size.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Descriptor {
    /// IANA media type of the content.
    #[serde(default)]
    pub media_type: String,
    /// Digest of the content.
    pub digest: Digest,
    /// Size of the content, in bytes.
    pub size: u64,
    /// The platform, in an index.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform: Option<Platform>,
    /// The type of an artifact, in an index.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact_type: Option<String>,
    /// Where else the content is.
    #[serde(default, deserialize_with = "or_default", skip_serializing_if = "Vec::is_empty")]
    pub urls: Vec<String>,
    /// Free metadata.
    #[serde(default, deserialize_with = "or_default", skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
}

impl Descriptor {
    /// A descriptor without platform or annotations.
    pub fn new(media_type: impl Into<String>, digest: Digest, size: u64) -> Descriptor {
        Descriptor {
            media_type: media_type.into(),
            digest,
            size,
            platform: None,
            artifact_type: None,
            urls: Vec::new(),
            annotations: BTreeMap::new(),
        }
    }

    /// The name of the box that was made of this image, in the store's index.
    pub(crate) fn box_name(&self) -> Option<&str> {
        self.annotations.get(BOX_OF).map(String::as_str)
    }

    /// The digest of what it attests, in the store's index.
    pub(crate) fn attests(&self) -> Option<&str> {
        self.annotations.get(ATTESTS).map(String::as_str)
    }

    /// Whether it lists statements about its subject.
    pub(crate) fn is_attestation(&self) -> bool {
        self.artifact_type.as_deref() == Some(crate::attestation::ARTIFACT)
    }

    /// The digest of what it stands beside, without a name of its own, in the store's index.
    pub(crate) fn stands_beside(&self) -> Option<&str> {
        self.attests().or(self.annotations.get(WASI_IMAGE_OF).map(String::as_str))
    }

    /// Whether it is the container image of this box, in the store's index.
    pub(crate) fn is_wasi_image_of(&self, digest: &Digest) -> bool {
        self.annotations.get(WASI_IMAGE_OF).is_some_and(|of| of == digest.as_str())
    }

    /// The name this descriptor has in a layout's index.
    pub fn ref_name(&self) -> Option<&str> {
        self.annotations.get(REF_NAME).map(String::as_str)
    }
}

/// What an image runs on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Platform {
    /// Go's name of the CPU (`amd64`).
    pub architecture: String,
    /// Go's name of the system (`linux`).
    pub os: String,
    /// Version of the system (Windows).
    #[serde(rename = "os.version", default, skip_serializing_if = "Option::is_none")]
    pub os_version: Option<String>,
    /// Features of the system (Windows).
    #[serde(rename = "os.features", default, skip_serializing_if = "Option::is_none")]
    pub os_features: Option<Vec<String>>,
    /// Variant of the CPU (`v2`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variant: Option<String>,
}

impl Platform {
    /// What every image made here says.
    pub fn linux_amd64() -> Platform {
        Platform {
            architecture: "amd64".into(),
            os: "linux".into(),
            os_version: None,
            os_features: None,
            variant: None,
        }
    }

    /// Preference as a base: 0 is best, `None` cannot run. The machine is x86-64-v2.
    fn rank(&self) -> Option<u8> {
        // A module, for want of anything else.
        if crate::wasi_image::is_wasi_platform(&self.os, &self.architecture) {
            return Some(9);
        }
        if self.os != "linux" || self.architecture != "amd64" {
            return None;
        }
        match self.variant.as_deref() {
            None | Some("" | "v1") => Some(0),
            Some("v2") => Some(1),
            Some(_) => None,
        }
    }
}

impl std::fmt::Display for Platform {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        match self.variant.as_deref() {
            None | Some("") => Ok(()),
            Some(variant) => write!(f, "/{variant}"),
        }
    }
}

/// An image manifest: one config, some layers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Manifest {
    /// Always 2.
    pub schema_version: u32,
    /// [`media::OCI_MANIFEST`] or Docker's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub media_type: Option<String>,
    /// The type of an artifact.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact_type: Option<String>,
    /// The config blob.
    pub config: Descriptor,
    /// The layers, base first.
    #[serde(default, deserialize_with = "or_default")]
    pub layers: Vec<Descriptor>,
    /// Free metadata.
    #[serde(default, deserialize_with = "or_default", skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
}

/// A list of manifests, one for each platform.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Index {
    /// Always 2.
    pub schema_version: u32,
    /// [`media::OCI_INDEX`] or Docker's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub media_type: Option<String>,
    /// The manifests.
    #[serde(default, deserialize_with = "or_default")]
    pub manifests: Vec<Descriptor>,
    /// Free metadata.
    #[serde(default, deserialize_with = "or_default", skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
}

impl Default for Index {
    fn default() -> Index {
        Index {
            schema_version: 2,
            media_type: Some(media::OCI_INDEX.into()),
            manifests: Vec::new(),
            annotations: BTreeMap::new(),
        }
    }
}

/// What a manifest's bytes turned out to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Document {
    /// One image.
    Manifest(Box<Manifest>),
    /// Several.
    Index(Index),
}

impl Document {
    /// Parses a manifest or index. Bytes that could be read as both are refused (CVE-2021-41190).
    pub fn parse(reference: &str, bytes: &[u8]) -> Result<Document> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Probe {
            schema_version: Option<u64>,
            media_type: Option<String>,
            config: Option<serde::de::IgnoredAny>,
            layers: Option<serde::de::IgnoredAny>,
            manifests: Option<serde::de::IgnoredAny>,
        }
        let bad = |reason: String| Error::not_an_image(reference, reason);
        let malformed = |e: serde_json::Error| bad(format!("malformed manifest: {e}"));
        let probe: Probe = serde_json::from_slice(bytes).map_err(malformed)?;
        if probe.schema_version != Some(2) {
            return Err(bad(match probe.schema_version {
                Some(1) => "its manifest has Docker's schema 1, which is no longer in use".into(),
                Some(n) => format!("unknown manifest schema version {n}"),
                None => "its manifest has no schema version".into(),
            }));
        }
        let (is_image, is_index) =
            (probe.config.is_some() || probe.layers.is_some(), probe.manifests.is_some());
        if is_image && is_index {
            return Err(bad("its manifest is both an image and an index".into()));
        }
        let says_index = match probe.media_type.as_deref() {
            Some(media::OCI_INDEX | media::DOCKER_INDEX) => true,
            Some(media::OCI_MANIFEST | media::DOCKER_MANIFEST) => false,
            None | Some("") => is_index,
            Some(other) => return Err(bad(format!("unknown manifest type {other}"))),
        };
        if (says_index && is_image) || (!says_index && is_index) {
            return Err(bad("its manifest is not what its media type says".into()));
        }
        if says_index {
            return serde_json::from_slice(bytes).map(Document::Index).map_err(malformed);
        }
        let manifest: Manifest = serde_json::from_slice(bytes).map_err(malformed)?;
        if manifest.layers.len() > MAX_LAYERS {
            return Err(bad(format!("more than {MAX_LAYERS} layers")));
        }
        Ok(Document::Manifest(Box::new(manifest)))
    }
}

impl Index {
    /// The entry for linux/amd64, or an error that lists what there is. Attestations (platform `unknown/unknown`) do
    /// not count; an index whose only entry has no platform is taken at its word.
    pub fn linux_amd64(&self, reference: &str) -> Result<&Descriptor> {
        let mut best: Option<(u8, &Descriptor)> = None;
        let mut available = Vec::new();
        let mut unmarked = Vec::new();
        for entry in &self.manifests {
            let Some(platform) = &entry.platform else {
                unmarked.push(entry);
                continue;
            };
            if let Some(rank) = platform.rank() {
                if best.is_none_or(|(r, _)| rank < r) {
                    best = Some((rank, entry));
                }
            } else if platform.os != "unknown" {
                available.push(platform.to_string());
            }
        }
        match (best, unmarked.as_slice()) {
            (Some((_, entry)), _) => Ok(entry),
            (None, [only]) if available.is_empty() => Ok(only),
            _ => Err(Error::WrongPlatform { reference: reference.into(), available }),
        }
    }
}

/// Docker and Go write `null` for empty lists and maps.
pub(crate) fn or_default<'de, D, T>(deserializer: D) -> std::result::Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Ok(Option::<T>::deserialize(deserializer)?.unwrap_or_default())
}

/// The bytes of a manifest, index or config made here: compact JSON, fields in a fixed order, so that same input gives
/// the same digest.
pub(crate) fn to_json<T: Serialize>(value: &T) -> Result<Vec<u8>> {
    serde_json::to_vec(value).map_err(|e| Error::not_an_image("manifest", e))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(n: u8) -> Digest {
        Digest::of(&[n])
    }

    fn entry(n: u8, os: &str, arch: &str, variant: Option<&str>) -> Descriptor {
        let mut d = Descriptor::new(media::OCI_MANIFEST, digest(n), 1);
        d.platform = Some(Platform {
            os: os.into(),
            architecture: arch.into(),
            variant: variant.map(str::to_string),
            ..Platform::linux_amd64()
        });
        d
    }

    #[test]
    fn chooses_linux_amd64() {
        let index = Index {
            manifests: vec![
                entry(1, "linux", "arm64", Some("v8")),
                entry(2, "linux", "amd64", Some("v3")),
                entry(3, "linux", "amd64", Some("v2")),
                entry(4, "linux", "amd64", None),
                entry(5, "unknown", "unknown", None),
            ],
            ..Index::default()
        };
        assert_eq!(index.linux_amd64("x").unwrap().digest, digest(4));
    }

    #[test]
    fn lists_the_platforms_there_are() {
        let index = Index {
            manifests: vec![
                entry(1, "linux", "arm64", Some("v8")),
                entry(2, "windows", "amd64", None),
                entry(5, "unknown", "unknown", None),
            ],
            ..Index::default()
        };
        let text = index.linux_amd64("foo:1").unwrap_err().to_string();
        assert_eq!(
            text,
            "foo:1: no image for linux/amd64 (available: linux/arm64/v8, windows/amd64)"
        );
    }

    #[test]
    fn refuses_what_is_no_manifest() {
        let d = digest(1);
        let cases = [
            "".to_string(),
            "[]".into(),
            "{}".into(),
            r#"{"schemaVersion":1}"#.into(),
            r#"{"schemaVersion":2,"mediaType":"text/html"}"#.into(),
            r#"{"schemaVersion":2,"manifests":[],"layers":[]}"#.into(),
            format!(r#"{{"schemaVersion":2,"mediaType":"{}","layers":[]}}"#, media::OCI_INDEX),
            format!(r#"{{"schemaVersion":2,"config":{{"digest":"{d}","size":-1}}}}"#),
            r#"{"schemaVersion":2,"config":{"digest":"sha256:../x","size":1}}"#.into(),
        ];
        for case in cases {
            let result = Document::parse("x", case.as_bytes());
            assert!(matches!(result, Err(Error::NotAnImage { .. })), "{case}: {result:?}");
        }
    }
}
