//! `docker save` archives: `manifest.json` names a config and the layers, by file.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::Selector;
use super::archive::Archive;
use crate::manifest::{MAX_CONFIG, MAX_LAYERS, MAX_MANIFEST, media, or_default};
use crate::writer::match_layers;
use crate::{
    Descriptor, Digest, Error, ImageConfig, ImageHandle, Manifest, Progress, Reference, Result,
    Store,
};

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Item {
    config: String,
    #[serde(default, deserialize_with = "or_default")]
    repo_tags: Vec<String>,
    #[serde(default, deserialize_with = "or_default")]
    layers: Vec<String>,
}

/// Stores the image with its layers as they are in the archive and an OCI manifest over them. Each layer is checked
/// against the config's diff_id, the config against the digest in its own file name.
pub(super) fn import(
    archive: &Archive,
    selector: Option<&Selector>,
    store: &Store,
    name: Option<&Reference>,
    progress: &dyn Progress,
) -> Result<ImageHandle> {
    let origin = archive.path.display().to_string();
    let bad = |reason: String| Error::bad_archive(archive.path, reason);
    let items: Vec<Item> =
        serde_json::from_slice(&archive.read_small("manifest.json", MAX_MANIFEST)?)
            .map_err(|e| bad(format!("malformed manifest.json: {e}")))?;
    let item = choose(&origin, &items, selector)?;
    if item.layers.len() > MAX_LAYERS {
        return Err(bad(format!("more than {MAX_LAYERS} layers")));
    }
    let config_bytes = archive.read_small(&item.config, MAX_CONFIG)?;
    let config_digest = Digest::of(&config_bytes);
    if let Some(named) = digest_in_name(&item.config)
        && named != config_digest
    {
        return Err(Error::wrong_digest(&origin, "config", &named, &config_digest));
    }
    let config = ImageConfig::parse(&origin, &config_bytes)?;
    if config.rootfs.diff_ids.len() != item.layers.len() {
        let (n, m) = (item.layers.len(), config.rootfs.diff_ids.len());
        return Err(bad(format!("{n} layers, but {m} diff_ids in its config")));
    }
    let mut manifest = Manifest {
        schema_version: 2,
        media_type: Some(media::OCI_MANIFEST.into()),
        artifact_type: None,
        config: Descriptor::new(media::OCI_CONFIG, config_digest, config_bytes.len() as u64),
        layers: Vec::new(),
        annotations: BTreeMap::new(),
    };
    // The platform, before gigabytes are copied.
    let empty = Manifest { layers: Vec::new(), ..manifest.clone() };
    let mut bare = config.clone();
    bare.rootfs.diff_ids.clear();
    match_layers(&origin, &empty, &bare)?;

    for (file, diff_id) in item.layers.iter().zip(&config.rootfs.diff_ids) {
        let (mut reader, size) = archive.file(file)?;
        progress.start(diff_id, size, 0);
        let (digest, stored) = store.put_reader(&mut reader, None)?;
        if stored != size {
            return Err(Error::Truncated {
                reference: origin,
                digest: diff_id.to_string(),
                expected: size,
                actual: stored,
            });
        }
        let layer = store.describe_layer(digest, size)?;
        if layer.diff_id != *diff_id {
            return Err(Error::wrong_digest(&origin, "layer", diff_id, &layer.diff_id));
        }
        manifest.layers.push(Descriptor::new(layer.media_type, layer.digest, size));
        progress.finish(diff_id);
    }
    store.put_blob(&config_bytes)?;
    store.finish_image(manifest, name)
}

fn choose<'a>(origin: &str, items: &'a [Item], selector: Option<&Selector>) -> Result<&'a Item> {
    let not_found = |reason: String| Error::NotFound { reference: origin.into(), reason };
    let tags =
        || items.iter().flat_map(|i| i.repo_tags.iter().cloned()).collect::<Vec<_>>().join(", ");
    match (selector, items) {
        (Some(Selector::Digest(_)), _) => {
            Err(not_found("a docker archive has no manifest digests; select by name".into()))
        }
        (Some(Selector::Name(wanted)), _) => {
            let canonical = |t: &str| Reference::parse(t).map(|r| r.canonical()).ok();
            let wanted_name = canonical(wanted);
            items
                .iter()
                .find(|i| {
                    i.repo_tags.iter().any(|t| {
                        t == wanted || (wanted_name.is_some() && canonical(t) == wanted_name)
                    })
                })
                .ok_or_else(|| {
                    not_found(format!("no image named \"{wanted}\"; there are: {}", tags()))
                })
        }
        (None, [only]) => Ok(only),
        (None, []) => Err(not_found("it holds no image".into())),
        (None, _) => Err(not_found(format!("it holds several images; name one of: {}", tags()))),
    }
}

/// `HEX.json` or `blobs/sha256/HEX`.
fn digest_in_name(name: &str) -> Option<Digest> {
    let stem = name.rsplit('/').next()?.trim_end_matches(".json");
    Digest::parse(&format!("sha256:{stem}")).ok()
}
