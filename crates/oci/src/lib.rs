//! References, manifests, registry client, layouts, archives and the local store.
//!
//! Everything here is blocking; network work runs on an internal runtime, so callers need no async. All bytes that come
//! from outside (a registry, a layout, an archive) are checked against their digest and size before the store shows them.
//!
//! ```no_run
//! # fn main() -> Result<(), oci::Error> {
//! use oci::{Client, ClientOptions, NoProgress, Reference, Store};
//! let store = Store::open(Store::default_path()?)?;
//! let client = Client::new(ClientOptions::from_env())?;
//! let image = client.pull(&Reference::parse("debian:bookworm-slim")?, &store, &NoProgress)?;
//! for layer in &image.layers {
//!     let _tar_gz = store.open_blob(&layer.digest)?; // io::Read; fails at the end if the bytes are not the digest's
//! }
//! # Ok(()) }
//! ```
//!
//! # The public surface
//! * [`Reference`]: `parse`, `registry`, `repository`, `tag`, `digest`, `canonical` (`docker.io/library/debian:12`),
//!   `familiar` (`debian:12`).
//! * [`Source`]: `parse("debian:12" | "docker-image://…" | "oci-layout:PATH[:tag|@digest]" | "oci-archive:PATH[:tag]" |
//!   "docker-archive:PATH[:ref]")`; [`Client::fetch`] brings any of them into the store.
//! * [`Store`]: `default_path`, `open`, `blob_path`, `has_blob`, `put_blob(&[u8])`, `put_reader`, `writer`, `open_blob`,
//!   `read_blob`, `add_layer(reader) -> LayerBlob`, `write_image(config, layers, name) -> ImageHandle`,
//!   `write_box(wasm_path, BoxOptions, name) -> BoxHandle`, `tag`, `untag`, `resolve`, `image`, `wasm_box`, `artifact`,
//!   `images`, `garbage`, `collect_garbage`, `repair`,
//!   `forget_unnamed`, `attest`, `attestations` (SBOM and provenance beside an image or box), `wasi_image` (a box as a container image).
//! * [`ImageHandle`] `{ digest, descriptor, manifest, config, layers: Vec<LayerBlob { digest, media_type, size, diff_id }> }`;
//!   [`BoxHandle`] `{ digest, descriptor, manifest, config: WasmConfig, wasm: Descriptor }`.
//! * [`Client`]: `new(ClientOptions)`, `pull` (an image), `pull_box`, `pull_any`, `ensure` (the store first),
//!   `fetch(&Source)`, `download(url)`, `push(&Reference, &Store, &Digest)` (a manifest as it is), `push_box` in one [`Form`] or both.
//! * [`ActionsCache`]: a cache in the cache service of GitHub Actions, written by `Client::push_actions` and read by `Client::open_actions`.
//! * [`export_layout`], [`export_archive`]: an image or box as an OCI layout directory or a deterministic tar; [`export_docker_archive`] for
//!   `docker load`.
//! * [`import_layout`], [`import_archive`]: the other way.
//! * [`Progress`]: bytes of each blob; [`NoProgress`].
//! * [`VerifyingReader`]: wrap any reader with the digest it must have (a decompressed layer and its `diff_id`).
//! * [`Error`]: one variant for each cause people can act on.
//!
//! # The store on disk
//! An OCI image layout (`oci-layout`, `index.json`, `blobs/sha256/…`) that other tools can read, plus `partial/`
//! (downloads to be resumed), `tmp/` and `locks/`. A blob appears under its digest by rename after fsync, and a name
//! appears in `index.json` by rename after its blobs, so that a kill at any moment leaves at most garbage.

pub mod artifact;
mod attestation;
pub mod auth;
pub mod client;
pub mod config;
mod digest;
mod error;
mod export;
pub mod manifest;
mod progress;
mod reference;
mod source;
mod store;
mod wasi_image;
mod writer;

pub use artifact::{BoxHandle, BoxOptions, WasmConfig};
pub use attestation::Statement;
pub use client::{
    ActionsCache, Client, ClientOptions, Download, Form, Mirror, Parts, Pulled, Pushed,
};
pub use config::{Health, History, ImageConfig, RootFs, RunConfig};
pub use digest::{Digest, Hasher, VerifyingReader};
pub use error::{Error, Result};
pub use export::{export_archive, export_docker_archive, export_layout};
pub use manifest::{Descriptor, Document, Index, Manifest, Platform};
pub use progress::{NoProgress, Progress};
pub use reference::Reference;
pub use source::{Selector, Source, archive_names, import_archive, import_layout};
pub use store::{BlobWriter, Entry, Kind, Store};
pub use wasi_image::is_wasi;
pub use writer::{Artifact, ImageHandle, LayerBlob};
