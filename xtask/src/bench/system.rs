//! What system calls, processes and streams cost: fixtures/static/system.c natively, under qemu-user and in a box.

use super::Bench;
use crate::{boxer, process};
use anyhow::{Context, Result};
use std::process::{Command, Stdio};

/// The tests of fixtures/static/system.c, each with what one operation is.
const TESTS: [(&str, &str); 10] = [
    ("call", "null system call"),
    ("pipe", "a byte there and back"),
    ("fork", "fork, exit, wait"),
    ("exec", "fork, exec, exit, wait"),
    ("files", "make, write, look at, remove"),
    ("switch", "from thread to thread"),
    ("tcp", "a byte there and back, loopback"),
    ("pipe-MiB", "a MiB through a pipe"),
    ("unix-MiB", "a MiB through a unix socket"),
    ("tcp-MiB", "a MiB through loopback TCP"),
];

/// Runs of each test everywhere; the quickest counts, because other work on the machine only ever slows.
const RUNS: usize = 3;

impl Bench<'_> {
    /// The time of each operation, and its ratio to the native one.
    pub(super) fn system(&self) -> Result<()> {
        let wasm = self.scratch_box("system", "system", 0)?;
        let native = self.workspace.fixtures().join("programs/system");
        let (mut product, mut qemu_product) = (1.0_f64, 1.0_f64);
        for (test, what) in TESTS {
            let mut times = [f64::MAX; 3];
            for _ in 0..RUNS {
                let mut in_box = boxer::command(self.workspace)?;
                // The image has no /tmp.
                in_box.args(["run", "--env", "TMPDIR="]).arg(&wasm).stdin(Stdio::null());
                let mut qemu = Command::new("qemu-x86_64");
                qemu.arg(&native);
                let commands = [Command::new(&native), qemu, in_box];
                for (best, mut command) in times.iter_mut().zip(commands) {
                    let printed = process::stdout(command.arg(test))?;
                    let time =
                        printed.trim().parse().with_context(|| format!("{test}: {printed:?}"))?;
                    *best = best.min(time);
                }
            }
            let [native, qemu, boxed] = times;
            let (ratio, qemu) = (boxed / native, qemu / native);
            println!(
                "system: {test:9} {:10.2} us  {ratio:5.1} x native (qemu-user {qemu:4.1} x)  {what}",
                boxed / 1e3
            );
            product *= ratio;
            qemu_product *= qemu;
        }
        let mean = |product: f64| product.powf(1.0 / TESTS.len() as f64);
        println!(
            "system: geometric mean {:.1} x native (qemu-user {:.1} x)",
            mean(product),
            mean(qemu_product)
        );
        Ok(())
    }
}
