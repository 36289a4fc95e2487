//! Finds the guest programs that are built into this library (`cargo xtask guest` makes them).
//!
//! `BOXER_GUEST_WASM` names the one for modules; otherwise it is `guest/boxer-guest.wasm` in the target
//! directory of this build, or in the workspace's, or in `guest/` of this package, where `cargo xtask package` puts it: a package from
//! a registry carries it. Those for components, for hosts without SIMD and for programs that are WASI modules lie beside it. Without any of them the
//! library builds with empty guests, and refuses to link at run time.

use std::path::PathBuf;
use std::{env, fs};

/// The guest programs by the names of their files, that of `BOXER_GUEST_WASM` first, and what `src/guest.rs` calls them.
const GUESTS: [(&str, &str); 4] = [
    ("boxer-guest.wasm", "guest.wasm"),
    ("boxer-guest-no-simd.wasm", "guest-no-simd.wasm"),
    ("boxer-guest-sockets.wasm", "guest-sockets.wasm"),
    ("boxer-guest-program.wasm", "guest-program.wasm"),
];

fn main() {
    println!("cargo::rerun-if-env-changed=BOXER_GUEST_WASM");
    let out = PathBuf::from(env::var_os("OUT_DIR").unwrap_or_default());
    let manifest = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").unwrap_or_default());
    // OUT_DIR is TARGET/PROFILE/build/PACKAGE-HASH/out.
    let own_target = out.ancestors().nth(4).map(|target| target.join("guest/boxer-guest.wasm"));
    let workspace_target = manifest.join("../../target/guest/boxer-guest.wasm");
    let packaged = manifest.join("guest/boxer-guest.wasm");
    let candidates: Vec<PathBuf> = match env::var_os("BOXER_GUEST_WASM") {
        Some(path) => vec![PathBuf::from(path)],
        None => own_target.into_iter().chain([workspace_target, packaged]).collect(),
    };
    for (index, (name, into)) in GUESTS.into_iter().enumerate() {
        let beside =
            |path: &PathBuf| if index > 0 { path.with_file_name(name) } else { path.clone() };
        let paths: Vec<PathBuf> = candidates.iter().map(beside).collect();
        for path in &paths {
            println!("cargo::rerun-if-changed={}", path.display());
        }
        let guest = paths.iter().find_map(|path| fs::read(path).ok()).unwrap_or_default();
        if let Err(error) = fs::write(out.join(into), guest) {
            panic!("cannot write the guest into {}: {error}", out.display());
        }
    }
}
