//! `cargo xtask guest`: the guest program for wasm32-wasip1, and how other programs are built for that target.
//!
//! With the target installed this is a plain `cargo build`. Without it, `std` is built from the
//! source that belongs to this compiler and Debian's `wasi-libc` ([`debian`]). rustup is never run.

mod debian;

use crate::paths::{Workspace, make_dir};
use crate::process;
use anyhow::{Context, Result, bail};
use std::path::{Path, PathBuf};
use std::process::Command;

/// The guest's target triple.
const TARGET: &str = "wasm32-wasip1";

/// Code generation: what every host of a box has had for years, and nothing else.
const RUSTFLAGS: &str = "-Ctarget-feature=+bulk-memory,+multivalue,+sign-ext,+nontrapping-fptoint,+mutable-globals \
     -Cstrip=symbols -Clink-arg=-zstack-size=1048576 -Clink-arg=--export=boxer-desk -Clink-arg=--export-table \
     -Clink-arg=--growable-table -Cpanic=abort -Ccodegen-units=1";

/// What a guest has beside that, and one for hosts without SIMD has not: those do not know either what compilers take for granted today, as
/// a number of a table that takes several bytes.
const SIMD: &str = " -Ctarget-feature=+simd128";
const WITHOUT_SIMD: &str = " -Ctarget-cpu=mvp";

/// Builds the guest: for modules, for modules on hosts without SIMD, for components with a network, and for programs that are WASI modules (on
/// all hosts).
pub fn run(workspace: &Workspace) -> Result<()> {
    let sockets: &[&str] = &["--features", "sockets"];
    let program: &[&str] = &["--features", "program"];
    for (features, simd, finished) in [
        (&[][..], SIMD, workspace.guest_wasm()),
        (&[][..], WITHOUT_SIMD, workspace.guest_wasm_without_simd()),
        (sockets, SIMD, workspace.component_guest_wasm()),
        (program, WITHOUT_SIMD, workspace.program_guest_wasm()),
    ] {
        let what = [&["--package", "boxer-guest"], features].concat();
        let built = build_with(workspace, &what, simd)?.join("boxer-guest.wasm");
        install(&built, &finished)?;
        let size = std::fs::metadata(&finished)?.len();
        println!("guest: {} ({:.2} MB)", finished.display(), size as f64 / 1e6);
    }
    Ok(())
}

/// Builds what `what` (arguments of `cargo build`) selects as the guest is built; the directory of the release.
pub fn build(workspace: &Workspace, what: &[&str]) -> Result<PathBuf> {
    build_with(workspace, what, SIMD)
}

fn build_with(workspace: &Workspace, what: &[&str], simd: &str) -> Result<PathBuf> {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let sysroot =
        PathBuf::from(process::stdout(Command::new(&rustc).args(["--print", "sysroot"]))?.trim());
    let target_dir = workspace.target.join(if simd == WITHOUT_SIMD {
        "guest/build-no-simd"
    } else {
        "guest/build"
    });
    let mut cargo = process::cargo();
    cargo
        .current_dir(&workspace.root)
        .args(["build", "--quiet", "--release", "--target", TARGET])
        .args(what)
        .arg("--target-dir")
        .arg(&target_dir)
        .env("CARGO_PROFILE_RELEASE_DEBUG", "false")
        .env("CARGO_PROFILE_RELEASE_LTO", "fat")
        .env_remove("RUSTFLAGS")
        .env_remove("CARGO_ENCODED_RUSTFLAGS");
    let mut flags =
        [RUSTFLAGS, simd].concat().split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    if !target_is_installed(&sysroot) {
        let std = debian::prepare(&rustc, &sysroot)?;
        flags.extend(std.rustflags());
        cargo
            .arg("-Zbuild-std=std,panic_abort")
            .env("RUSTC_BOOTSTRAP", "1")
            .env("__CARGO_TESTS_ONLY_SRC_ROOT", &std.library);
    }
    cargo.env("CARGO_TARGET_WASM32_WASIP1_RUSTFLAGS", flags.join(" "));
    process::run(&mut cargo)?;
    Ok(target_dir.join(TARGET).join("release"))
}

fn target_is_installed(sysroot: &Path) -> bool {
    let dir = sysroot.join("lib/rustlib").join(TARGET).join("lib");
    std::fs::read_dir(dir).is_ok_and(|entries| {
        entries.flatten().any(|entry| entry.file_name().to_string_lossy().starts_with("libstd-"))
    })
}

/// Copies only when the bytes differ, so that what depends on the guest is not rebuilt for nothing.
fn install(built: &Path, finished: &Path) -> Result<()> {
    let new = std::fs::read(built).with_context(|| format!("read {}", built.display()))?;
    if !new.starts_with(b"\0asm") {
        bail!("{} is not a Wasm module", built.display());
    }
    if std::fs::read(finished).is_ok_and(|old| old == new) {
        return Ok(());
    }
    let dir = finished.parent().context("guest path has no directory")?;
    make_dir(dir)?;
    let partial = finished.with_extension("partial");
    std::fs::write(&partial, new)?;
    std::fs::rename(&partial, finished).with_context(|| format!("write {}", finished.display()))
}
