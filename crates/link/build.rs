//! Finds the guest program that is built into this library (`cargo xtask guest` makes it).
//!
//! `BOXER_GUEST_WASM` names the file; otherwise it is `guest/boxer-guest.wasm` in the target
//! directory of this build, or in the workspace's. Without any of them the library builds with an
//! empty guest, and refuses to link at run time.

use std::path::PathBuf;
use std::{env, fs};

fn main() {
    println!("cargo::rerun-if-env-changed=BOXER_GUEST_WASM");
    let out = PathBuf::from(env::var_os("OUT_DIR").unwrap_or_default());
    let manifest = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").unwrap_or_default());
    // OUT_DIR is TARGET/PROFILE/build/PACKAGE-HASH/out.
    let own_target = out.ancestors().nth(4).map(|target| target.join("guest/boxer-guest.wasm"));
    let workspace_target = manifest.join("../../target/guest/boxer-guest.wasm");
    let candidates: Vec<PathBuf> = match env::var_os("BOXER_GUEST_WASM") {
        Some(path) => vec![PathBuf::from(path)],
        None => own_target.into_iter().chain([workspace_target]).collect(),
    };
    for path in &candidates {
        println!("cargo::rerun-if-changed={}", path.display());
    }
    let guest = candidates.iter().find_map(|path| fs::read(path).ok()).unwrap_or_default();
    if let Err(error) = fs::write(out.join("guest.wasm"), guest) {
        panic!("cannot write the guest into {}: {error}", out.display());
    }
}
