//! `cargo xtask bench`.

use crate::paths::Workspace;
use anyhow::{Result, bail};

/// Prints the figures.
pub fn run(_: &Workspace) -> Result<()> {
    bail!("the bench is not written yet")
}
