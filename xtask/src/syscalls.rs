//! What is done with the table of system calls. The logic is in the kernel's tests; these chores give them their settings.

use crate::process;
use anyhow::{Result, bail};
use std::process::Command;

fn kernel_test(name: &str) -> Command {
    let mut cargo = Command::new("cargo");
    cargo.args(["test", "--release", "-p", "boxer-kernel", "--test", name, "--", "--nocapture"]);
    cargo
}

/// Makes `--inputs N` calls from `--seed S` on.
pub fn fuzz(args: &[String]) -> Result<()> {
    let mut run = kernel_test("fuzz_syscalls");
    for pair in args.chunks(2) {
        let variable = match pair[0].as_str() {
            "--inputs" => "BOXER_FUZZ_INPUTS",
            "--seed" => "BOXER_FUZZ_SEED",
            other => bail!("fuzz-syscalls does not know {other}"),
        };
        let Some(value) = pair.get(1).filter(|v| v.parse::<u64>().is_ok()) else {
            bail!("{} needs a number", pair[0]);
        };
        run.env(variable, value);
    }
    process::run(&mut run)
}

/// Writes `docs/syscalls.md` anew.
pub fn docs() -> Result<()> {
    process::run(kernel_test("syscalls_page").env("BOXER_BLESS", "1"))
}
