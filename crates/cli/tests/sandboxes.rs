//! `boxer sandboxd` and `boxer mcp`, by the Python client and its tests. These need the guest program in the `boxer` under test, the Debian
//! of `cargo xtask fixtures`, and python3; without one of them they say so.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test")]

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// A box of Debian with python3; none where it cannot be made.
fn template() -> Option<&'static PathBuf> {
    static TEMPLATE: OnceLock<Option<PathBuf>> = OnceLock::new();
    TEMPLATE.get_or_init(build).as_ref()
}

fn build() -> Option<PathBuf> {
    let boxer = Path::new(env!("CARGO_BIN_EXE_boxer"));
    let layout = boxer.parent()?.parent()?.join("fixtures/debian/layout");
    if !layout.is_dir() {
        println!("skipped: there is no Debian in {} (cargo xtask fixtures)", layout.display());
        return None;
    }
    let folder = std::env::temp_dir().join("boxer-tests");
    let context = folder.join("sandbox");
    std::fs::create_dir_all(&context).unwrap();
    std::fs::write(context.join("Dockerfile"), "FROM base\nWORKDIR /root\n").unwrap();
    let output = folder.join("sandbox.wasm");
    let built = Command::new(boxer)
        .args(["build", "-q", "--offline", "--translate=none", "-o"])
        .arg(&output)
        .arg(format!("--build-context=base=oci-layout:{}:bookworm", layout.display()))
        .arg(&context)
        .env("BOXER_HOME", folder.join("store"))
        .env("XDG_CACHE_HOME", &folder)
        .output()
        .unwrap();
    let stderr = String::from_utf8_lossy(&built.stderr);
    if stderr.contains("no guest program") {
        println!("skipped: this build of boxer has no guest program in it");
        return None;
    }
    assert!(built.status.success(), "{stderr}");
    Some(output)
}

fn python(module: &str) {
    let Some(template) = template() else { return };
    let package = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../packages/python");
    let mut python = Command::new("python3");
    python
        .args(["-m", "unittest", "-v", &format!("tests.{module}")])
        .current_dir(package)
        .env("BOXER", env!("CARGO_BIN_EXE_boxer"))
        .env("BOXER_SANDBOX_TEMPLATE", template)
        .env("XDG_CACHE_HOME", std::env::temp_dir().join("boxer-tests"))
        .env_remove("BOXER_SANDBOX_URL")
        .env("PYTHONDONTWRITEBYTECODE", "1");
    let Ok(output) = python.output() else {
        println!("skipped: there is no python3");
        return;
    };
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn sandboxes_as_people_use_them() {
    python("test_sandbox");
}

#[test]
fn sandboxes_in_programs_of_asyncio() {
    python("test_async");
}

#[test]
fn budgets_and_the_audit_trail() {
    python("test_budgets");
}

#[test]
fn files_as_archives() {
    python("test_export");
}

/// Every eighth of the programs that `cargo xtask sandboxes programs` compares.
#[test]
fn small_programs_give_what_they_give_natively() {
    let Some(template) = template() else { return };
    let mut python = Command::new("python3");
    python
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/sandbox/programs.py"))
        .arg(env!("CARGO_BIN_EXE_boxer"))
        .arg(format!("python={}", template.display()))
        .args(["every", "8"])
        .env("XDG_CACHE_HOME", std::env::temp_dir().join("boxer-tests"))
        .env_remove("BOXER_SANDBOX_URL")
        .env("PYTHONDONTWRITEBYTECODE", "1");
    let Ok(output) = python.output() else {
        println!("skipped: there is no python3");
        return;
    };
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.contains("7 of 7"), "{said}");
}

#[test]
fn programs_that_mean_no_good() {
    python("test_adversarial");
}

#[test]
fn the_model_context_protocol() {
    python("test_mcp");
}
