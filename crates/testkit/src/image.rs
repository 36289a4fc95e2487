//! Small images made on the spot, as bytes and JSON.

use std::fmt::Write as _;

/// Content and its digest.
#[derive(Clone, Debug)]
pub struct Blob {
    /// `sha256:…`
    pub digest: String,
    /// The bytes.
    pub bytes: Vec<u8>,
}

impl Blob {
    /// Computes the digest.
    pub fn new(bytes: impl Into<Vec<u8>>) -> Blob {
        let bytes = bytes.into();
        Blob { digest: sha256(&bytes), bytes }
    }
}

/// An image with one plain tar layer for each of `layers`.
#[derive(Clone, Debug)]
pub struct Image {
    /// The manifest.
    pub manifest: Blob,
    /// The config.
    pub config: Blob,
    /// The layers.
    pub layers: Vec<Blob>,
}

impl Image {
    /// An image for `os/architecture` whose layers have these bytes (they need not be tars).
    pub fn new(platform: &str, layers: &[&[u8]]) -> Image {
        Image::with_config(platform, r#"{"Cmd":["/bin/sh"]}"#, layers)
    }

    /// An image that is run as `run`, an object in JSON, says.
    pub fn with_config(platform: &str, run: &str, layers: &[&[u8]]) -> Image {
        let (os, arch) = platform.split_once('/').unwrap();
        let layers: Vec<Blob> = layers.iter().map(|l| Blob::new(*l)).collect();
        let ids = layers.iter().map(|l| format!("\"{}\"", l.digest)).collect::<Vec<_>>().join(",");
        let config = Blob::new(format!(
            r#"{{"architecture":"{arch}","os":"{os}","config":{run},"rootfs":{{"type":"layers","diff_ids":[{ids}]}}}}"#
        ));
        let list = layers
            .iter()
            .map(|l| descriptor("application/vnd.oci.image.layer.v1.tar", l))
            .collect::<Vec<_>>()
            .join(",");
        let manifest = Blob::new(format!(
            r#"{{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{},"layers":[{list}]}}"#,
            descriptor("application/vnd.oci.image.config.v1+json", &config)
        ));
        Image { manifest, config, layers }
    }

    /// All blobs, the manifest last.
    pub fn blobs(&self) -> impl Iterator<Item = &Blob> {
        self.layers.iter().chain([&self.config, &self.manifest])
    }
}

/// A tar (ustar) with these files.
pub fn tar(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut out = Vec::new();
    for (name, bytes) in files {
        let mut header = [0u8; 512];
        header[..name.len()].copy_from_slice(name.as_bytes());
        header[100..107].copy_from_slice(b"0000644");
        header[124..135].copy_from_slice(format!("{:011o}", bytes.len()).as_bytes());
        header[136..147].copy_from_slice(b"00000000000");
        header[148..156].copy_from_slice(b"        ");
        header[156] = b'0';
        header[257..265].copy_from_slice(b"ustar\x0000");
        let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
        header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        out.extend_from_slice(&header);
        out.extend_from_slice(bytes);
        out.resize(out.len().next_multiple_of(512), 0);
    }
    out.resize(out.len() + 1024, 0);
    out
}

/// An index over images, each with its `os/architecture`.
pub fn index(images: &[(&str, &Image)]) -> Blob {
    let list = images
        .iter()
        .map(|(platform, image)| {
            let (os, arch) = platform.split_once('/').unwrap();
            let plain = descriptor("application/vnd.oci.image.manifest.v1+json", &image.manifest);
            let plain = plain.strip_suffix('}').unwrap();
            format!(r#"{plain},"platform":{{"architecture":"{arch}","os":"{os}"}}}}"#)
        })
        .collect::<Vec<_>>()
        .join(",");
    Blob::new(format!(
        r#"{{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[{list}]}}"#
    ))
}

fn descriptor(media_type: &str, blob: &Blob) -> String {
    format!(
        r#"{{"mediaType":"{media_type}","digest":"{}","size":{}}}"#,
        blob.digest,
        blob.bytes.len()
    )
}

fn sha256(bytes: &[u8]) -> String {
    use sha2::Digest as _;
    let mut text = "sha256:".to_string();
    for byte in sha2::Sha256::digest(bytes) {
        write!(text, "{byte:02x}").unwrap();
    }
    text
}
