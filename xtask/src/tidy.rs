//! `cargo xtask tidy`: the rules that the compiler does not check.

mod circles;
mod imports;
mod sources;

use crate::paths::Workspace;
use anyhow::{Result, bail};

/// Prints every broken rule; any is an error.
pub fn run(workspace: &Workspace) -> Result<()> {
    let mut report = Report::default();
    imports::check(workspace, &mut report)?;
    circles::check(workspace, &mut report)?;
    sources::check(workspace, &mut report)?;
    for warning in &report.warnings {
        println!("tidy: warning: {warning}");
    }
    for error in &report.errors {
        println!("tidy: {error}");
    }
    if !report.errors.is_empty() {
        bail!("tidy: {} broken rules", report.errors.len());
    }
    println!("tidy: ok");
    Ok(())
}

/// What was found.
#[derive(Default)]
pub struct Report {
    /// To be mended at leisure.
    pub warnings: Vec<String>,
    /// To be mended now.
    pub errors: Vec<String>,
}
