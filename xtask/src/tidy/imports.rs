//! Who may import whom: the table of docs/ARCHITECTURE.md, checked against `cargo metadata`.

use super::Report;
use crate::paths::Workspace;
use crate::process;
use anyhow::{Context, Result};
use serde_json::Value;

/// A crate's row: layer, name, and the crates of this workspace that it may import. Besides these
/// every crate may import layer 0, which has no logic of its own.
struct Row(u8, &'static str, &'static [&'static str]);

/// An arrow may only point down, or sideways where the table says so; [`check`] checks the table itself, too.
const TABLE: &[Row] = &[
    Row(0, "abi", &[]),
    Row(0, "mem", &[]),
    Row(0, "ir", &[]),
    Row(0, "rootfs", &[]),
    Row(0, "mux", &[]),
    Row(1, "dockerfile", &[]),
    Row(1, "oci", &[]),
    Row(1, "layers", &["oci"]),
    Row(1, "x86", &[]),
    Row(1, "interp", &[]),
    Row(1, "wasmgen", &[]),
    Row(1, "net", &[]),
    Row(1, "kernel", &["net"]),
    Row(2, "machine", &["kernel", "x86", "interp"]),
    Row(2, "translate", &["x86", "wasmgen"]),
    Row(2, "link", &["translate"]),
    Row(3, "guest", &["machine", "kernel", "net"]),
    Row(3, "runtime", &["link", "translate"]),
    Row(4, "build", &["dockerfile", "oci", "layers", "link", "runtime"]),
    Row(4, "serve", &["runtime"]),
    Row(4, "sandbox", &["layers", "runtime"]),
    Row(5, "cli", &["dockerfile", "oci", "layers", "link", "runtime", "serve", "sandbox", "build"]),
];

/// What a crate of layer 1 and above may not have from layer 0: the walls of "must never know".
const WALLS: &[(&str, &[&str])] = &[
    ("dockerfile", &["abi", "mem", "ir", "rootfs", "mux"]),
    ("oci", &["abi", "mem", "ir", "rootfs", "mux"]),
    ("layers", &["abi", "mem", "ir", "mux"]),
    ("x86", &["abi", "rootfs", "mux"]),
    ("interp", &["abi", "rootfs", "mux"]),
    ("wasmgen", &["abi", "rootfs", "mux"]),
    ("net", &["mem", "ir", "rootfs", "mux"]),
    ("kernel", &["ir", "mux"]),
    ("translate", &["abi", "rootfs", "mux"]),
    ("link", &["abi", "mem", "mux"]),
    ("runtime", &["abi", "mem", "ir"]),
    ("build", &["abi", "mem", "ir", "mux"]),
    ("serve", &["abi", "mem", "ir", "rootfs"]),
    ("sandbox", &["abi", "mem", "ir", "mux"]),
    ("cli", &["abi", "mem", "ir", "mux"]),
];

/// Libraries that belong to certain crates only.
const OWNED: &[(&str, &[&str])] = &[
    ("iced-x86", &["x86"]),
    ("rustc_apfloat", &["ir", "interp", "x86"]),
    ("wasmtime", &["link", "runtime"]),
    ("wasmtime-wasi", &["runtime"]),
    ("hyper", &["serve", "sandbox"]),
    ("tokio-tungstenite", &["serve"]),
    ("wasmtime-wizer", &["link"]),
    ("wit-component", &["link"]),
    ("wasm-encoder", &["wasmgen", "link"]),
    ("wasip1", &["guest"]),
    ("oci-client", &["oci"]),
    ("clap", &["cli"]),
    ("indicatif", &["cli"]),
];

/// Layer 0 has no logic, so it needs next to nothing.
const LAYER_0_LIBRARIES: &[&str] = &["thiserror", "bitflags", "bytemuck", "rustc_apfloat"];

/// Checks the table, and every crate against it.
pub fn check(workspace: &Workspace, report: &mut Report) -> Result<()> {
    let metadata = metadata(workspace)?;
    let packages = metadata["packages"].as_array().context("cargo metadata has no packages")?;
    for row in TABLE {
        check_row(row, report);
    }
    for package in packages {
        let name = package["name"].as_str().unwrap_or_default();
        let Some(name) = name.strip_prefix("boxer-") else { continue };
        if name == "testkit" {
            continue;
        }
        let Some(row) = row(name) else {
            report.errors.push(format!("crate `{name}` has no row in the import table"));
            continue;
        };
        for dependency in package["dependencies"].as_array().into_iter().flatten() {
            if dependency["kind"] == "dev" {
                continue;
            }
            let library = dependency["name"].as_str().unwrap_or_default();
            match library.strip_prefix("boxer-") {
                Some(import) => check_import(row, import, report),
                None => check_library(row, library, report),
            }
        }
    }
    Ok(())
}

fn row(name: &str) -> Option<&'static Row> {
    TABLE.iter().find(|row| row.1 == name)
}

fn check_row(Row(layer, name, imports): &Row, report: &mut Report) {
    for import in *imports {
        if row(import).is_none_or(|other| other.0 > *layer) {
            report
                .errors
                .push(format!("import table: `{name}` (layer {layer}) must not import `{import}`"));
        }
    }
}

fn check_import(Row(layer, name, imports): &Row, import: &str, report: &mut Report) {
    let walled = WALLS.iter().any(|(from, to)| from == name && to.contains(&import));
    let layer_0 = *layer > 0 && row(import).is_some_and(|below| below.0 == 0);
    if walled || !(layer_0 || imports.contains(&import)) {
        report.errors.push(format!("crate `{name}` must not import `{import}`"));
    }
}

fn check_library(Row(layer, name, _): &Row, library: &str, report: &mut Report) {
    if let Some((_, owners)) = OWNED.iter().find(|(owned, _)| *owned == library)
        && !owners.contains(name)
    {
        report.errors.push(format!(
            "crate `{name}` must not import `{library}`, which belongs to {owners:?}"
        ));
    }
    if *layer == 0 && !LAYER_0_LIBRARIES.contains(&library) {
        report.errors.push(format!("crate `{name}` is of layer 0 and must not import `{library}`"));
    }
}

fn metadata(workspace: &Workspace) -> Result<Value> {
    let mut cargo = process::cargo();
    cargo.current_dir(&workspace.root).args(["metadata", "--format-version=1", "--no-deps"]);
    serde_json::from_str(&process::stdout(&mut cargo)?).context("cargo metadata is not JSON")
}
