//! `cargo xtask hosts [--all]`: one box under every host; all must say the same. Then the features of `hosts/features.py` under the
//! hosts that are quickly at hand, or with `--all` under those of `hosts/hosts.toml`.

use crate::paths::{Workspace, cache_dir, make_dir};
use crate::{boxer, fixtures, packages, process};
use anyhow::{Context, Result, bail};
use serde_json::json;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Arguments of the box, and the status that it must end with.
const ARGS: [&str; 2] = ["hosts", "42"];
const STATUS: i32 = 42;

/// The hosts that are tried without `--all`, by their names in `hosts.toml`.
const QUICK: [&str; 2] = ["boxer run", "wasmtime for Python"];

/// Runs a box of a static program under the hosts at hand, then `hosts.py`: an Alpine box on [`QUICK`], or with `--all` three boxes on
/// every host. Further words are `hosts.py`'s.
pub fn run(workspace: &Workspace, args: &[String]) -> Result<()> {
    let all = args.iter().any(|arg| arg == "--all");
    let more: Vec<&String> = args.iter().filter(|arg| *arg != "--all").collect();
    if more.is_empty() {
        same_answer(workspace)?;
    }
    let Some(alpine) = fixtures::alpine(workspace)? else {
        println!("hosts: features: skipped, no Alpine image is at hand");
        return Ok(());
    };
    let dir = workspace.target.join("hosts");
    make_dir(&dir)?;
    let mut boxes = json!({});
    let threads = "COPY threads /threads\n";
    let layout = |dir: PathBuf| Some(dir.join("layout"));
    boxes["alpine"] = boxes_of(workspace, "alpine", layout(alpine), threads, all)?;
    if all {
        packages::ensure(&[packages::HOSTS])?;
        let more = format!(
            "{threads}COPY busybox /bin/busybox\nRUN [\"/bin/busybox\", \"--install\", \"-s\", \"/bin\"]\n"
        );
        boxes["static"] = boxes_of(workspace, "static", None, &more, all)?;
        let debian = fixtures::debian(workspace)?;
        boxes["debian"] = boxes_of(workspace, "debian", layout(debian), "", all)?;
    }
    let mut config = json!({
        "boxes": boxes,
        "boxer": workspace.boxer(),
        "cache": cache_dir()?.join("hosts"),
        "made": dir.join("made"),
        "cells": dir.join(if all { "cells" } else { "cells-quick" }),
        "probe": all,
    });
    if all {
        config["mirror"] = fixtures::mirror()?.into();
    } else {
        config["hosts"] = json!(QUICK);
    }
    let file = dir.join("hosts.json");
    std::fs::write(&file, config.to_string())?;
    let mut run = Command::new("python3");
    run.arg(workspace.root.join("xtask/hosts/hosts.py")).arg(&file).args(more);
    boxer::at_home(workspace, &mut run)?;
    process::run(&mut run)
}

/// The files of a box in each kind that hosts need: on an image layout, or on nothing.
fn boxes_of(
    workspace: &Workspace,
    name: &str,
    layout: Option<PathBuf>,
    more: &str,
    all: bool,
) -> Result<serde_json::Value> {
    let context = workspace.target.join("hosts").join(format!("{name}.context"));
    make_dir(&context)?;
    std::fs::copy(fixtures::programs(workspace)?.join("threads"), context.join("threads"))?;
    if name == "static" {
        std::fs::copy("/bin/busybox", context.join("busybox"))?;
    }
    let base = if layout.is_some() { "base" } else { "scratch" };
    std::fs::write(context.join("Dockerfile"), format!("FROM {base}\n{more}"))?;
    let mut kinds = vec![("compiled", "wasm", "auto"), ("component", "component", "auto")];
    if all {
        kinds.push(("plain", "wasm", "none"));
        kinds.push(("nosimd", "wasm", "none"));
    }
    let mut files = json!({});
    for (kind, form, translate) in kinds {
        let file = workspace.target.join("hosts").join(format!("{name}.{kind}.wasm"));
        let mut build = boxer::command(workspace)?;
        build.arg("build").arg(format!("--translate={translate}"));
        if kind == "nosimd" {
            build.arg("--no-simd");
        }
        if let Some(layout) = &layout {
            let tag = if name == "debian" { "bookworm" } else { "latest" };
            let base = format!("base=oci-layout:{}:{tag}", layout.display());
            build.arg("--build-context").arg(base);
        }
        build.arg("-o").arg(format!("type={form},dest={}", file.display())).arg(&context);
        process::quiet(&mut build)?;
        files[kind] = file.display().to_string().into();
    }
    Ok(files)
}

/// Builds a box of a static program and runs it under each host.
fn same_answer(workspace: &Workspace) -> Result<()> {
    packages::ensure(&[packages::DEMO, packages::TESTS])?;
    let dir = workspace.target.join("hosts");
    make_dir(&dir)?;
    let module = dir.join("hello.wasm");
    let component = dir.join("hello.component.wasm");
    let context = context(workspace, &dir)?;
    for (output, kind) in [(&module, "wasm"), (&component, "component")] {
        let mut build = boxer::command(workspace)?;
        build
            .arg("build")
            .arg("--output")
            .arg(format!("type={kind},dest={}", output.display()))
            .arg(&context);
        process::quiet(&mut build)?;
    }

    let python = python(workspace, &dir)?;
    let modules = node_modules(workspace, &dir)?;
    let scripts = workspace.root.join("xtask/hosts");
    let mut hosts: Vec<(&str, Command)> = Vec::new();
    for (name, file) in [("boxer run, module", &module), ("boxer run, component", &component)] {
        let mut boxer = boxer::command(workspace)?;
        boxer.arg("run").arg(file);
        hosts.push((name, boxer));
    }
    let mut wasmtime = Command::new(python);
    wasmtime.arg(scripts.join("run_wasmtime.py")).arg(&module);
    hosts.push(("wasmtime for Python, module", wasmtime));
    let mut shim = Command::new("node");
    shim.arg(scripts.join("run_shim.mjs")).arg(modules).arg(&module);
    hosts.push(("browser_wasi_shim on Node, module", shim));

    let mut first: Option<Vec<u8>> = None;
    for (name, mut command) in hosts {
        let output = command
            .args(ARGS)
            .stdin(Stdio::null())
            .output()
            .with_context(|| format!("start {name}"))?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned()
            + &String::from_utf8_lossy(&output.stderr);
        if output.status.code() != Some(STATUS) {
            bail!("{name}: {}, expected status {STATUS}\n{text}", output.status);
        }
        match &first {
            None => first = Some(output.stdout),
            Some(expected) if *expected != output.stdout => {
                bail!("{name} says\n{text}\nthe others say\n{}", String::from_utf8_lossy(expected));
            }
            Some(_) => {}
        }
        println!("host: {name}: ok");
    }
    Ok(())
}

/// A build context with the static C program on an empty image.
fn context(workspace: &Workspace, dir: &Path) -> Result<PathBuf> {
    let context = dir.join("context");
    make_dir(&context)?;
    fixtures::programs(workspace)?;
    std::fs::copy(workspace.fixtures().join("programs/hello"), context.join("hello"))?;
    std::fs::write(
        context.join("Dockerfile"),
        "FROM scratch\nCOPY hello /hello\nENV GREETING=hi\nENTRYPOINT [\"/hello\"]\n",
    )?;
    Ok(context)
}

/// A Python with the `wasmtime` package.
fn python(workspace: &Workspace, dir: &Path) -> Result<PathBuf> {
    let requirements = workspace.root.join("xtask/hosts/requirements.txt");
    let venv = dir.join("venv");
    let python = venv.join("bin/python");
    if !same(&requirements, &venv.join("requirements.txt")) {
        process::quiet(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&venv))?;
        process::quiet(
            Command::new(&python)
                .args(["-m", "pip", "install", "--quiet", "-r"])
                .arg(&requirements),
        )?;
        std::fs::copy(&requirements, venv.join("requirements.txt"))?;
    }
    Ok(python)
}

/// A directory with `node_modules`.
fn node_modules(workspace: &Workspace, dir: &Path) -> Result<PathBuf> {
    let lock = workspace.root.join("xtask/hosts/package-lock.json");
    let npm = dir.join("npm");
    if !same(&lock, &npm.join("installed.json")) {
        make_dir(&npm)?;
        for name in ["package.json", "package-lock.json"] {
            std::fs::copy(workspace.root.join("xtask/hosts").join(name), npm.join(name))?;
        }
        process::quiet(
            Command::new("npm").args(["ci", "--no-audit", "--no-fund"]).current_dir(&npm),
        )?;
        std::fs::copy(&lock, npm.join("installed.json"))?;
    }
    Ok(npm)
}

fn same(a: &Path, b: &Path) -> bool {
    matches!((std::fs::read(a), std::fs::read(b)), (Ok(a), Ok(b)) if a == b)
}
