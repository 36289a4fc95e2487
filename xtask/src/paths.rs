//! Where things are.

use anyhow::{Context, Result};
use std::path::{Path, PathBuf};

/// The source tree and the directory for everything made from it.
pub struct Workspace {
    /// The directory of the root `Cargo.toml`.
    pub root: PathBuf,
    /// Cargo's target directory (`CARGO_TARGET_DIR`, or `target` under the root).
    pub target: PathBuf,
}

impl Workspace {
    /// Finds the tree that this xtask was built from.
    pub fn find() -> Result<Self> {
        let manifest = std::env::var_os("CARGO_MANIFEST_DIR")
            .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
        let root = manifest.parent().context("xtask has no parent directory")?.to_path_buf();
        let target = match std::env::var_os("CARGO_TARGET_DIR") {
            Some(dir) => std::path::absolute(PathBuf::from(dir))?,
            None => root.join("target"),
        };
        Ok(Workspace { root, target })
    }

    /// The finished guest program.
    pub fn guest_wasm(&self) -> PathBuf {
        self.target.join("guest/boxer-guest.wasm")
    }

    /// The same for hosts without SIMD.
    pub fn guest_wasm_without_simd(&self) -> PathBuf {
        self.target.join("guest/boxer-guest-no-simd.wasm")
    }

    /// The same for components with a network.
    pub fn component_guest_wasm(&self) -> PathBuf {
        self.target.join("guest/boxer-guest-sockets.wasm")
    }

    /// The same for images whose program is a WASI module.
    pub fn program_guest_wasm(&self) -> PathBuf {
        self.target.join("guest/boxer-guest-program.wasm")
    }

    /// The `boxer` program.
    pub fn boxer(&self) -> PathBuf {
        self.target.join("release/boxer")
    }

    /// Test material made by `cargo xtask fixtures`.
    pub fn fixtures(&self) -> PathBuf {
        self.target.join("fixtures")
    }
}

/// Creates `dir` and its parents.
pub fn make_dir(dir: &Path) -> Result<()> {
    std::fs::create_dir_all(dir).with_context(|| format!("create {}", dir.display()))
}

/// The directory for downloads that outlive a target directory: `$XDG_CACHE_HOME/boxer`, or `~/.cache/boxer`.
pub fn cache_dir() -> Result<PathBuf> {
    let base = match std::env::var_os("XDG_CACHE_HOME").filter(|dir| !dir.is_empty()) {
        Some(dir) => PathBuf::from(dir),
        None => PathBuf::from(std::env::var_os("HOME").context("HOME is not set")?).join(".cache"),
    };
    let dir = base.join("boxer");
    make_dir(&dir)?;
    Ok(dir)
}
