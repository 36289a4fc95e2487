//! What is done with the table of system calls. The logic is in the kernel's tests.

use crate::process;
use anyhow::Result;
use std::process::Command;

/// Writes `docs/syscalls.md` anew.
pub fn docs() -> Result<()> {
    let mut cargo = Command::new("cargo");
    cargo.args(["test", "--release", "-p", "boxer-kernel", "--test", "syscalls_page"]);
    process::run(cargo.env("BOXER_BLESS", "1"))
}
