//! Attestations (SBOM, provenance) of an image or box: in-toto statements as the layers of a manifest that refers to its subject,
//! in the form of BuildKit's `oci-artifact` attestations (docs/attestations/attestation-storage.md) and OCI's referrers.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::manifest::{ATTESTS, media, to_json};
use crate::{Descriptor, Digest, Index, Platform, Result, Store};

/// `artifactType` of the manifest.
pub(crate) const ARTIFACT: &str = "application/vnd.docker.attestation.manifest.v1+json";
const EMPTY: &str = "application/vnd.oci.empty.v1+json";
const STATEMENT: &str = "application/vnd.in-toto+json";
const PREDICATE: &str = "in-toto.io/predicate-type";

/// An in-toto statement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Statement {
    /// The URI of what it says.
    pub predicate_type: String,
    /// The statement, as JSON.
    pub json: Vec<u8>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct AttestationManifest<'a> {
    schema_version: u32,
    media_type: &'a str,
    artifact_type: &'a str,
    config: Descriptor,
    layers: Vec<Descriptor>,
    subject: Descriptor,
}

impl Store {
    /// Stores statements about a manifest; they are pushed, exported and collected with it. Earlier ones give way.
    pub fn attest(&self, subject: &Descriptor, statements: &[Statement]) -> Result<Descriptor> {
        let mut layers = Vec::new();
        for statement in statements {
            let mut layer = self.put_described(STATEMENT, &statement.json)?;
            layer.annotations.insert(PREDICATE.into(), statement.predicate_type.clone());
            layers.push(layer);
        }
        let manifest = AttestationManifest {
            schema_version: 2,
            media_type: media::OCI_MANIFEST,
            artifact_type: ARTIFACT,
            config: self.put_described(EMPTY, b"{}")?,
            layers,
            subject: crate::writer::plain(subject),
        };
        let descriptor = self.put_described(media::OCI_MANIFEST, &to_json(&manifest)?)?;
        self.keep_attestation(&descriptor, &subject.digest)?;
        Ok(descriptor)
    }

    /// Enters a manifest of statements, whose blobs are here, in place of earlier ones about the same subject.
    pub(crate) fn keep_attestation(&self, manifest: &Descriptor, subject: &Digest) -> Result<()> {
        let mut entry = crate::writer::plain(manifest);
        entry.artifact_type = Some(ARTIFACT.into());
        entry.annotations.insert(ATTESTS.into(), subject.to_string());
        self.enter_attestation(entry)
    }

    /// The manifests of statements about this one, as descriptors for an index.
    pub fn attestations(&self, subject: &Digest) -> Result<Vec<Descriptor>> {
        let entries = self.read_index()?.manifests.into_iter();
        let about = entries.filter(|d| d.attests() == Some(subject.as_str()));
        let here = about.filter(|d| self.has_blob(&d.digest));
        Ok(here
            .map(|entry| {
                let mut descriptor = crate::writer::plain(&entry);
                descriptor.artifact_type = entry.artifact_type;
                descriptor
            })
            .collect())
    }

    /// An image with its attestations as an index, as BuildKit writes it; `None` if it has none, and for a box, which is in no index.
    pub(crate) fn attested_index(&self, subject: &Descriptor) -> Result<Option<Index>> {
        let attestations = self.attestations(&subject.digest)?;
        let is_box = || Ok(self.read_manifest(subject)?.config.media_type == media::WASM_CONFIG);
        if attestations.is_empty() || is_box()? {
            return Ok(None);
        }
        let mut first = crate::writer::plain(subject);
        first.platform = Some(Platform::linux_amd64());
        let unknown = Platform {
            architecture: "unknown".into(),
            os: "unknown".into(),
            ..Platform::linux_amd64()
        };
        let others = attestations.into_iter().map(|mut descriptor| {
            descriptor.platform = Some(unknown.clone());
            descriptor.annotations = BTreeMap::from([
                ("vnd.docker.reference.digest".to_owned(), subject.digest.to_string()),
                ("vnd.docker.reference.type".to_owned(), "attestation-manifest".to_owned()),
            ]);
            descriptor
        });
        Ok(Some(Index {
            manifests: std::iter::once(first).chain(others).collect(),
            ..Index::default()
        }))
    }

    /// Everything an attestation's manifest is made of, itself included, with sizes.
    pub(crate) fn attestation_blobs(&self, manifest: &Descriptor) -> Result<Vec<(Digest, u64)>> {
        let parsed = self.read_manifest(manifest)?;
        let parts = std::iter::once(parsed.config).chain(parsed.layers);
        let mut blobs: Vec<(Digest, u64)> = parts.map(|d| (d.digest, d.size)).collect();
        blobs.push((manifest.digest.clone(), manifest.size));
        Ok(blobs)
    }
}
