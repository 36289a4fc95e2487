//! The long runs of fuzzers that are tests: a short slice of each runs with `cargo xtask test`.

use crate::process;
use anyhow::{Result, bail};
use std::process::Command;

/// Runs test `name` of `package` with `--inputs N` inputs from `--seed S` on.
pub fn run(package: &str, name: &str, args: &[String]) -> Result<()> {
    let mut cargo = Command::new("cargo");
    cargo.args(["test", "--release", "-p", package, "--test", name, "--", "--nocapture"]);
    for pair in args.chunks(2) {
        let variable = match pair[0].as_str() {
            "--inputs" => "BOXER_FUZZ_INPUTS",
            "--seed" => "BOXER_FUZZ_SEED",
            other => bail!("the fuzzers do not know {other}"),
        };
        let Some(value) = pair.get(1).filter(|v| v.parse::<u64>().is_ok()) else {
            bail!("{} needs a number", pair[0]);
        };
        cargo.env(variable, value);
    }
    process::run(&mut cargo)
}
