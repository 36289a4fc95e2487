//! Carries a Dockerfile's plan out: base images, steps, layers, the cache, and the box at the end.
//!
//! [`build`] takes a parsed Dockerfile ([`BuildOptions`]) and a [`Workshop`] (store, registry
//! client, runtime, guest program) and gives an image that lies in the store. [`link_box`] makes
//! a box of an image, [`store_box`], [`copy_box`] and [`write_oci`] put results where they are
//! wanted. Progress goes to [`Events`].
//!
//! Files to copy are seen through one small trait, whether they are a directory of the host or the
//! flattened layers of an image. Every layer is the difference of two trees, before and after the step.

mod attest;
mod builder;
mod cache;
mod cache_transfer;
mod config;
mod context;
mod copy;
mod copy_step;
mod error;
mod events;
mod files;
mod foresight;
mod freeze;
mod history;
mod image_tree;
mod loading;
mod main_context;
mod mode;
mod mounts;
mod options;
mod origin;
mod output;
mod remote;
mod run;
mod schedule;
mod snapshot;
mod ssh;
mod stage;
mod steps;
mod title;
mod transfer;
mod upkeep;
mod users;
mod visitor;
mod web;

pub use attest::{Mode as ProvenanceMode, Predicate, Provenance, Recipe, provenance, sbom};
pub use builder::{Built, Workshop, build};
pub use cache_transfer::{CacheExport, CacheImport, CacheMode};
pub use error::{Cause, Error, Result};
pub use events::{Events, NoEvents, StepId};
pub use freeze::{Choice, Freezing};
pub use main_context::{FoundDockerfile, MainContext, fetch_dockerfile, is_archive, is_remote};
pub use options::{BuildOptions, LARGEST_IN_BOX, LARGEST_LAYER, RunNetwork, SecretSource, rfc3339};
pub use output::{
    BoxForm, LinkedBox, box_config, copy_box, link_box, ready_box, store_box, write_file,
    write_local, write_oci, write_tar,
};
pub use rootfs::config::CpuLevel;
pub use rootfs::{limits, rights};
pub use snapshot::{Life as SnapshotLife, SNAPSHOT_TIMEOUT, Snapshot, When as SnapshotWhen};
pub use ssh::Agent;
pub use upkeep::{CacheSize, cache_size, changes, forget_cache};
pub use web::{Web, write_web};

use dockerfile::ignore::IgnoreFile;
use std::path::Path;

/// The `.dockerignore` that a build of this context would use, for the checks.
///
/// # Errors
/// The context or its ignore file cannot be read.
pub fn ignore_file(context: &Path, dockerfile: Option<&Path>) -> Result<IgnoreFile> {
    Ok(context::Context::open(context, dockerfile)?.ignore().clone())
}
