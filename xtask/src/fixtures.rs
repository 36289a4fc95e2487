//! `cargo xtask fixtures`: material for tests, under `fixtures` in the target directory.
//!
//! | directory | holds |
//! |---|---|
//! | `debian/rootfs`, `debian/layout` | Debian 12 (debootstrap, minbase, python3, perl …) as a tree and as an OCI layout |
//! | `alpine/rootfs`, `alpine/layout` | Alpine's minimal root filesystem, where its archive is at hand |
//! | `programs` | small static programs, and `wasi-probe.wasm` of `testkit` |
//! | `real/rootfs`, `real/layout` | the Debian tree with openssl, python's tests, stress-ng, ffmpeg, gmp's and zlib's tests; only for `programs --real` |
//! | `interactive/rootfs`, `interactive/layout` | the Debian tree with vi, nano, tmux, sqlite3 and git; only for `terminal` |
//! | `suites/rootfs`, `suites/layout` | the Debian tree with python's tests, stress-ng and Go's compiled tests; only for `suites` |
//!
//! Each is kept with its recipe and made again when the recipe changes.

mod alpine;
mod debian;
mod interactive;
mod layout;
mod real;
mod sources;
mod static_programs;
mod suites;

pub use real::ENTER;
pub use sources::Base;

use crate::paths::{Workspace, make_dir};
use crate::{guest, packages};
use anyhow::Result;
use std::path::{Path, PathBuf};

/// Makes whatever is missing.
pub fn run(workspace: &Workspace) -> Result<()> {
    packages::ensure(&[packages::DEMO])?;
    debian(workspace)?;
    alpine(workspace)?;
    programs(workspace)?;
    wasi_probe(workspace)?;
    Ok(())
}

/// The program of `testkit` that says what a host of WASI does, beside the static programs.
fn wasi_probe(workspace: &Workspace) -> Result<()> {
    let what = ["--package", "boxer-testkit", "--no-default-features", "--example", "wasi-probe"];
    let built = guest::build(workspace, &what)?.join("examples/wasi-probe.wasm");
    std::fs::copy(built, workspace.fixtures().join("programs/wasi-probe.wasm"))?;
    Ok(())
}

/// The Debian fixture's directory.
pub fn debian(workspace: &Workspace) -> Result<PathBuf> {
    debian::make(workspace)
}

/// What an image is built of that is Debian with this machine's package sources; `base` is the fixture in a registry.
pub fn debian_sources(workspace: &Workspace, base: &str) -> Result<Base> {
    sources::make(workspace, base)
}

/// The line of apt's `sources.list` with the mirror that this machine uses.
pub fn sources() -> Result<String> {
    Ok(format!("deb {} bookworm main\n", debian::mirror()?))
}

/// The Debian mirror that this machine uses.
pub fn mirror() -> Result<String> {
    debian::mirror()
}

/// The Alpine fixture's directory, if its archive is at hand.
pub fn alpine(workspace: &Workspace) -> Result<Option<PathBuf>> {
    alpine::make(workspace)
}

/// The directory of Debian with the programs of `fixtures/programs/real.txt`. Needs the network.
pub fn real(workspace: &Workspace) -> Result<PathBuf> {
    real::make(workspace)
}

/// The directory of Debian with the suites of `fixtures/programs/suites.txt`. Needs the network.
pub fn suites(workspace: &Workspace) -> Result<PathBuf> {
    suites::make(workspace)
}

/// The directory of Debian with editors and other programs at a terminal. Needs the network.
pub fn interactive(workspace: &Workspace) -> Result<PathBuf> {
    interactive::make(workspace)
}

/// The directory of the static programs.
pub fn programs(workspace: &Workspace) -> Result<PathBuf> {
    static_programs::make(workspace)
}

/// Makes `dir` with `make`, unless it was made by the same recipe. It appears only when complete.
fn keyed(dir: &Path, recipe: &str, make: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
    let key = dir.join("recipe");
    if std::fs::read_to_string(&key).is_ok_and(|old| old == recipe) {
        return Ok(());
    }
    let partial = dir.with_extension("partial");
    for old in [dir, &partial] {
        if old.exists() {
            std::fs::remove_dir_all(old)?;
        }
    }
    make_dir(&partial)?;
    make(&partial)?;
    std::fs::write(partial.join("recipe"), recipe)?;
    std::fs::rename(&partial, dir)?;
    println!("fixture: {}", dir.display());
    Ok(())
}
