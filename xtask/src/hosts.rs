//! `cargo xtask hosts [--all]`: one box under every host; all must say the same. Then the features of `hosts/hosts.py` under the
//! hosts that are quickly at hand, or with `--all` under those of npm, too.

use crate::paths::{Workspace, make_dir};
use crate::{boxer, fixtures, packages, process};
use anyhow::{Context, Result, bail};
use serde_json::json;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Arguments of the box, and the status that it must end with.
const ARGS: [&str; 2] = ["hosts", "42"];
const STATUS: i32 = 42;

/// What `--all` takes from npm besides.
const NPM: [&str; 4] = [
    "deno@2.9.6",
    "bun@1.4.5",
    "@bytecodealliance/jco@1.35.0",
    "@bytecodealliance/preview2-shim@0.26.1",
];

/// Builds a box of a static program and runs it under each host; then the features.
pub fn run(workspace: &Workspace, args: &[String]) -> Result<()> {
    same_answer(workspace)?;
    if !workspace.fixtures().join("alpine").exists() {
        println!("hosts: features: skipped, no Alpine image is at hand");
        return Ok(());
    }
    features(workspace, args.iter().any(|arg| arg == "--all"))
}

/// Runs `hosts.py` on an Alpine box as module and component.
fn features(workspace: &Workspace, all: bool) -> Result<()> {
    let dir = workspace.target.join("hosts");
    let (module, component) = (dir.join("alpine.wasm"), dir.join("alpine.component.wasm"));
    let typed = format!("type=component,dest={}", component.display());
    for output in [&module, Path::new(&typed)] {
        let layout = workspace.fixtures().join("alpine/layout");
        boxer::build_from_layout(workspace, &layout, "latest", "", output)?;
    }
    let scripts = workspace.root.join("xtask/hosts");
    let (python, boxer) = (python(workspace, &dir)?, workspace.boxer());
    let word = |path: &Path| path.display().to_string();
    let script = |name: &str| word(&scripts.join(name));
    let options = || "{options}".to_owned();
    let (env, pair) = (json!(["--env", "{name}={value}"]), json!(["--dir", "{host}", "{guest}"]));
    let mut hosts = json!({
        "boxer run": {
            "env": ["-e", "{name}={value}"], "dir": ["-v", "{host}:{guest}"],
            "forms": {
                "module": [word(&boxer), "run", "-i", options(), word(&module)],
                "component": [word(&boxer), "run", "-i", options(), word(&component)],
            },
        },
        "wasmtime (Python)": {
            "env": env, "dir": pair,
            "forms": {
                "module": [word(&python), script("run_wasmtime.py"), options(), word(&module)],
                "component": [word(&python), script("run_wasmtime.py"), options(), word(&component)],
            },
        },
    });
    if all {
        let npm = dir.join("all");
        make_dir(&npm)?;
        let mut install = Command::new("npm");
        install.args(["install", "--no-audit", "--no-fund", "--no-package-lock"]).args(NPM);
        std::fs::write(npm.join("package.json"), "{\"private\": true, \"type\": \"module\"}\n")?;
        process::quiet(install.current_dir(&npm))?;
        let bin = |name: &str| npm.join("node_modules/.bin").join(name);
        let mut jco = Command::new(bin("jco"));
        jco.arg("transpile")
            .arg("-q")
            .arg(&component)
            .args(["--name", "box", "-o"])
            .arg(npm.join("box"));
        process::quiet(&mut jco)?;
        let module_of = |words: &[&str]| {
            let mut words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
            words.extend([script("run_node.mjs"), options(), word(&module)]);
            json!({ "env": env, "dir": pair, "forms": { "module": words } })
        };
        hosts["node:wasi"] = module_of(&["node", "--no-warnings"]);
        hosts["Deno"] = module_of(&[&word(&bin("deno")), "run", "-A", "-q"]);
        hosts["Bun"] = module_of(&[&word(&bin("bun"))]);
        let words = json!([
            "node",
            "--no-warnings",
            script("run_jco.mjs"),
            word(&npm),
            options(),
            word(&npm.join("box/box.js"))
        ]);
        hosts["jco"] = json!({ "env": env, "dir": pair, "forms": { "component": words } });
    }
    let config = dir.join("hosts.json");
    std::fs::write(&config, json!({ "hosts": hosts }).to_string())?;
    let mut run = Command::new("python3");
    run.arg(scripts.join("hosts.py")).arg(&config);
    for (name, value) in boxer::command(workspace)?.get_envs() {
        if let Some(value) = value {
            run.env(name, value);
        }
    }
    process::run(&mut run)
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
