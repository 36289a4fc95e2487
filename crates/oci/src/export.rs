//! Images and boxes as an OCI layout directory or a tar of one, byte for byte the same each time.

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, Read, Write};
use std::path::Path;

use crate::manifest::{REF_NAME, media, to_json};
use crate::store::sync_dir;
use crate::writer::plain;
use crate::{Artifact, Descriptor, Digest, Error, Index, Reference, Result, Store};

const LAYOUT: &[u8] = br#"{"imageLayoutVersion":"1.0.0"}"#;

/// Writes the image or box with this manifest as an OCI layout into `dir`, which is created; a layout that is there
/// already gains the image. `name` becomes its `org.opencontainers.image.ref.name` (by custom only the tag).
pub fn export_layout(
    store: &Store,
    manifest: &Digest,
    dir: &Path,
    name: Option<&Reference>,
) -> Result<()> {
    let (mut descriptor, blobs) = collect(store, manifest, name)?;
    for (digest, _) in &blobs {
        let path = dir.join("blobs").join(digest.algorithm()).join(digest.hex());
        if path.is_file() {
            continue;
        }
        write_file(&path, &mut store.open_blob(digest)?)?;
    }
    if let Some(attested) = store.attested_index(&descriptor)? {
        let bytes = to_json(&attested)?;
        let digest = Digest::of(&bytes);
        for attestation in attested.manifests.iter().skip(1) {
            for (digest, _) in store.attestation_blobs(attestation)? {
                let path = dir.join("blobs").join(digest.algorithm()).join(digest.hex());
                write_file(&path, &mut store.open_blob(&digest)?)?;
            }
        }
        let path = dir.join("blobs").join(digest.algorithm()).join(digest.hex());
        write_file(&path, &mut bytes.as_slice())?;
        descriptor.media_type = media::OCI_INDEX.into();
        (descriptor.digest, descriptor.size) = (digest, bytes.len() as u64);
    }
    write_file(&dir.join("oci-layout"), &mut &*LAYOUT)?;
    let path = dir.join("index.json");
    let mut index = match fs::read(&path) {
        Ok(bytes) => serde_json::from_slice(&bytes)
            .map_err(|e| Error::bad_archive(&path, format!("malformed index: {e}")))?,
        Err(e) if e.kind() == io::ErrorKind::NotFound => Index::default(),
        Err(e) => return Err(Error::io(&path, e)),
    };
    // A name moves; without one the same manifest is not listed twice.
    index.manifests.retain(|d| match descriptor.ref_name() {
        Some(name) => d.ref_name() != Some(name),
        None => d.ref_name().is_some() || d.digest != descriptor.digest,
    });
    index.manifests.push(descriptor);
    write_file(&path, &mut to_json(&index)?.as_slice())
}

/// Writes the image or box as an OCI archive: a tar with files in order of name, owned by 0:0, of time 0.
pub fn export_archive(
    store: &Store,
    manifest: &Digest,
    out: &mut dyn Write,
    name: Option<&Reference>,
) -> Result<()> {
    write_archive(store, manifest, out, name, None)
}

/// Writes an image as `docker save` does since Docker 25: an OCI archive with a `manifest.json` beside it, so that both
/// `docker load` and OCI tools take it.
pub fn export_docker_archive(
    store: &Store,
    manifest: &Digest,
    out: &mut dyn Write,
    names: &[Reference],
) -> Result<()> {
    #[derive(serde::Serialize)]
    #[serde(rename_all = "PascalCase")]
    struct Item {
        config: String,
        repo_tags: Vec<String>,
        layers: Vec<String>,
    }
    let Artifact::Image(image) = store.artifact_by_digest(manifest)? else {
        return Err(Error::not_an_image(manifest, "it is a WebAssembly artifact"));
    };
    let path = |digest: &Digest| format!("blobs/{}/{}", digest.algorithm(), digest.hex());
    let item = Item {
        config: path(&image.manifest.config.digest),
        repo_tags: names.iter().map(Reference::familiar).collect(),
        layers: image.layers.iter().map(|l| path(&l.digest)).collect(),
    };
    write_archive(store, manifest, out, names.first(), Some(&to_json(&[item])?))
}

fn write_archive(
    store: &Store,
    manifest: &Digest,
    out: &mut dyn Write,
    name: Option<&Reference>,
    docker: Option<&[u8]>,
) -> Result<()> {
    let (mut descriptor, mut blobs) = collect(store, manifest, name)?;
    if let Some(name) = name {
        descriptor.annotations.insert("io.containerd.image.name".into(), name.canonical());
    }
    // An archive for docker load has no place for attestations.
    let attested = match docker {
        None => store.attested_index(&descriptor)?,
        Some(_) => None,
    };
    let mut inline: Option<(Digest, Vec<u8>)> = None;
    if let Some(attested) = &attested {
        let bytes = to_json(attested)?;
        let digest = Digest::of(&bytes);
        descriptor.media_type = media::OCI_INDEX.into();
        (descriptor.digest, descriptor.size) = (digest.clone(), bytes.len() as u64);
        blobs.insert((digest.clone(), bytes.len() as u64));
        for attestation in attested.manifests.iter().skip(1) {
            blobs.extend(store.attestation_blobs(attestation)?);
        }
        inline = Some((digest, bytes));
    }
    let index = Index { manifests: vec![descriptor], ..Index::default() };
    let mut tar = tar::Builder::new(out);
    let fail = |e: io::Error| Error::from_read(Path::new("archive"), e);
    let dirs: BTreeSet<_> = blobs.iter().map(|(d, _)| d.algorithm()).collect();
    add(&mut tar, "blobs/", 0, &mut io::empty()).map_err(fail)?;
    for dir in dirs {
        add(&mut tar, &format!("blobs/{dir}/"), 0, &mut io::empty()).map_err(fail)?;
    }
    for (digest, size) in &blobs {
        let path = format!("blobs/{}/{}", digest.algorithm(), digest.hex());
        match &inline {
            Some((own, bytes)) if own == digest => {
                add(&mut tar, &path, *size, &mut bytes.as_slice()).map_err(fail)?;
            }
            _ => add(&mut tar, &path, *size, &mut store.open_blob(digest)?).map_err(fail)?,
        }
    }
    let index = to_json(&index)?;
    add(&mut tar, "index.json", index.len() as u64, &mut index.as_slice()).map_err(fail)?;
    if let Some(mut docker) = docker {
        add(&mut tar, "manifest.json", docker.len() as u64, &mut docker).map_err(fail)?;
    }
    add(&mut tar, "oci-layout", LAYOUT.len() as u64, &mut &*LAYOUT).map_err(fail)?;
    tar.finish().map_err(fail)
}

/// The descriptor to list, and all blobs with their sizes in order of digest.
fn collect(
    store: &Store,
    digest: &Digest,
    name: Option<&Reference>,
) -> Result<(Descriptor, BTreeSet<(Digest, u64)>)> {
    let size = store.blob_size(digest)?;
    let found = Descriptor::new(media::OCI_MANIFEST, digest.clone(), size);
    let manifest = store.read_manifest(&found)?;
    let mut descriptor = plain(&found);
    if let Some(media_type) = &manifest.media_type {
        descriptor.media_type.clone_from(media_type);
    }
    if let Some(tag) = name.and_then(Reference::tag) {
        descriptor.annotations.insert(REF_NAME.into(), tag.into());
    }
    let mut blobs: BTreeSet<(Digest, u64)> = BTreeSet::new();
    blobs.insert((digest.clone(), size));
    for blob in std::iter::once(&manifest.config).chain(&manifest.layers) {
        blobs.insert((blob.digest.clone(), blob.size));
    }
    Ok((descriptor, blobs))
}

fn add(
    tar: &mut tar::Builder<&mut dyn Write>,
    path: &str,
    size: u64,
    data: &mut dyn Read,
) -> io::Result<()> {
    let mut header = tar::Header::new_ustar();
    let dir = path.ends_with('/');
    header.set_entry_type(if dir { tar::EntryType::Directory } else { tar::EntryType::Regular });
    header.set_mode(if dir { 0o755 } else { 0o644 });
    header.set_size(size);
    header.set_mtime(0);
    header.set_uid(0);
    header.set_gid(0);
    let mut counted = data.take(size);
    tar.append_data(&mut header, path, &mut counted)?;
    // A blob shorter than its descriptor says would leave a damaged tar behind a success.
    if counted.limit() > 0 {
        return Err(io::Error::new(
            io::ErrorKind::UnexpectedEof,
            format!("{path} is shorter than {size} bytes"),
        ));
    }
    // Reaching the end makes the reader check the digest.
    io::copy(counted.into_inner(), &mut io::sink()).map(|_| ())
}

/// Whole or not at all.
fn write_file(path: &Path, data: &mut dyn Read) -> Result<()> {
    let dir = path.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(dir).map_err(|e| Error::io(dir, e))?;
    let mut temp = tempfile::NamedTempFile::new_in(dir).map_err(|e| Error::io(dir, e))?;
    io::copy(data, &mut temp).map_err(|e| Error::from_read(path, e))?;
    set_readable(&temp).map_err(|e| Error::io(path, e))?;
    temp.persist(path).map_err(|e| Error::io(path, e.error))?;
    sync_dir(path)
}

/// Temporary files are private; what is exported is for others to read.
fn set_readable(temp: &tempfile::NamedTempFile) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    temp.as_file().set_permissions(fs::Permissions::from_mode(0o644))
}
