//! Boxer's chores, run as `cargo xtask NAME`.

mod bench;
mod boxer;
mod demo;
mod examples;
mod faults;
mod fixtures;
mod fuzz;
mod guest;
mod hosts;
mod js;
mod moments;
mod network;
mod packages;
mod paths;
mod process;
mod programs;
mod records;
mod registry;
mod release;
mod replay;
mod sandboxes;
mod suites;
mod syscalls;
mod terminal;
mod test;
mod tidy;
mod trees;

use anyhow::{Result, bail};
use paths::Workspace;

const HELP: &str = "\
cargo xtask NAME

  demo      set everything up, build a box from Dockerfile.examples/ and run it
  test      all set-up, then formatting, clippy, tidy and every test
  ci        what .ci/run calls: the same as test
  guest     build the guest program for wasm32-wasip1
  tidy      check import rules, file sizes, names and texts
  fixtures  make the test material (root filesystems, image layouts, programs)
  examples  build and try those examples of Dockerfile.examples/ that take seconds, or [--all|NAME...]; --all needs the network
            and up to an hour
  package   make what a release consists of (archive, deb, wheel, npm package, crates), install each in an environment of its
            own and build a box there; with --crates the crates are compiled, too
  hosts     run a small box under the hosts of the tests, or three boxes, each with all features, under every host: [--all]
            [--host PART] [--box NAME] [--form FORM] [--feature PART] [--verbose]; --all needs the network once and up to two hours
  js        compile packages/js and try it in Node and Chromium, with --all in Firefox, too: [TEST-NAME...]; --programs [NAME-PART...]
            runs the short lists of `programs` in Chromium
  programs  compare programs in a box with the same in a chroot: [--real] [NAME-PART...]; --real is the long list
            (openssl, python's tests, stress-ng, ffmpeg, gmp, zlib), which needs the network once and up to an hour
  suites    compare python's, Go's and stress-ng's own tests in a box with the same in a chroot, case by case: [NAME-PART...];
            it needs the network once and some hours
  trees     compare what boxer and buildah make of the same Dockerfiles, file by file: [NAME-PART...]; it needs the network
  network   what boxes reach and who reaches them, with real sockets on the loopback
  records   twenty runs with network, threads, time and input, recorded and replayed: [SESSIONS [SEED]]
  moments   a counter, frozen at fifty random moments under boxer run, goes on in Node, Chromium, wasmtime for Python and boxer run:
            [MOMENTS [SEED]]; it needs the network once
  terminal  boxes at a pseudo-terminal and on host directories: [CASE...]; it needs the network once
  fuzz-cpu  compare the CPU with this machine's: [--instructions N] [--seed S] [--family F,F…] [--jobs N];
            or translated code with the interpreter: --translated [ROUNDS [SEED]], 20 rounds of 100,000 cases by default
  fuzz-syscalls  sequences of system calls with several processes and threads: [--inputs N] [--seed S]
  fuzz-net  calls on sockets, packets, and whatever the way out may tell: [--inputs N] [--seed S]
  faults    builds, pulls and pushes that are killed, and disks that are full: [--rounds N] [--seed S]; it needs root
  fuzz-build  Dockerfiles, variables, ignore files, archives, root filesystem images, manifests, credentials: [--inputs N] [--seed S]
  sandboxes programs [python|javascript] [every N]: 100 small programs in sandboxes and natively; javascript needs the network;
            churn [COUNT]: 10,000 sandboxes made and destroyed in a row, half an hour
  docs      write docs/syscalls.md anew from the table of system calls
  replay-cpu  replay the CPU's fixtures, and fresh cases of fuzz-cpu with its arguments, in Wasm
  bench     print the figures: start-up, interpreter speed, sizes, build time
";

fn main() {
    if let Err(error) = run() {
        eprintln!("xtask: {error:#}");
        std::process::exit(1);
    }
}

fn run() -> Result<()> {
    let mut args = std::env::args().skip(1);
    let name = args.next().unwrap_or_default();
    let rest: Vec<String> = args.collect();
    let workspace = Workspace::find()?;
    match name.as_str() {
        "guest" => guest::run(&workspace),
        "tidy" => tidy::run(&workspace),
        "test" | "ci" => test::run(&workspace, &rest),
        "fixtures" => fixtures::run(&workspace),
        "examples" => examples::run(&workspace, &rest),
        "programs" => programs::run(&workspace, &rest),
        "suites" => suites::run(&workspace, &rest),
        "trees" => trees::run(&workspace, &rest),
        "network" => network::run(&workspace),
        "moments" => moments::run(&workspace, &rest),
        "records" => records::run(&workspace, &rest),
        "terminal" => terminal::run(&workspace, &rest),
        "hosts" => hosts::run(&workspace, &rest),
        "js" => js::run(&workspace, &rest),
        "sandboxes" => sandboxes::run(&workspace, &rest),
        "package" => release::run(&workspace, &rest),
        "demo" => demo::run(&workspace),
        "replay-cpu" => replay::build_and_run(&workspace, rest),
        "bench" => bench::run(&workspace, &rest),
        "fuzz-syscalls" => fuzz::run("boxer-kernel", "fuzz_syscalls", &rest),
        "fuzz-net" => fuzz::run("boxer-net", "fuzz", &rest),
        "faults" => faults::run(&workspace, &rest),
        "fuzz-build" => ["boxer-dockerfile", "boxer-layers", "boxer-rootfs", "boxer-oci"]
            .into_iter()
            .try_for_each(|package| fuzz::run(package, "fuzz", &rest)),
        "docs" => syscalls::docs(),
        // The logic is `testkit::cpu`; a chore only because that is where people look.
        "fuzz-cpu" if rest.first().is_some_and(|arg| arg == "--translated") => {
            test::translated(&workspace, &rest[1..])
        }
        "fuzz-cpu" => process::run(
            std::process::Command::new("cargo")
                .args(["run", "--release", "-p", "boxer-testkit", "--example", "fuzz-cpu", "--"])
                .args(&rest),
        ),
        "" | "help" | "--help" | "-h" => {
            print!("{HELP}");
            Ok(())
        }
        other => bail!("no chore is named {other:?}\n\n{HELP}"),
    }
}
