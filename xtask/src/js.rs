//! `cargo xtask js [--all] [WORD…]`: the package `packages/js`, compiled and tried in Node and Chromium, with `--all` in Firefox, too, on the box
//! of `Dockerfile.examples/web`, servers of other examples, a small box in Cloudflare's runtime, and the list of programs of Alpine in boxes that may take 64 MB; and the client of sandboxes, `packages/sandbox-js`, in Node. Words
//! choose tests by their names. With `--programs` the lists of `cargo xtask programs` in Chromium, instead (`--memory=64m`: in boxes with that `maxMemory`).

use crate::examples::{self, Hub};
use crate::paths::{Workspace, make_dir};
use crate::{boxer, fixtures, packages, process, programs};
use anyhow::{Context, Result, bail};
use std::path::Path;
use std::process::Command;

/// What the package may have, compressed, in bytes.
const MOST: u64 = 300_000;

/// Compiles, packs and tries the package.
pub fn run(workspace: &Workspace, words: &[String]) -> Result<()> {
    packages::ensure(&[packages::DEMO, packages::TESTS, packages::JS])?;
    let package = workspace.root.join("packages/js");
    // The page of `--output type=web` is a part of the program.
    boxer::build(workspace)?;
    let size = packed(&package)?;
    if size > MOST {
        bail!("js: the package has {size} bytes, more than {MOST}");
    }
    println!("js: the package has {:.1} kB", size as f64 / 1e3);
    if words.iter().any(|word| word == "--programs") {
        let memory = words.iter().find_map(|word| word.strip_prefix("--memory="));
        let parts = words.iter().map(String::as_str).filter(|word| !word.starts_with("--"));
        return programs::in_chromium(workspace, &parts.collect::<Vec<_>>(), memory);
    }
    // A name in the documentation that leads nowhere is an error.
    process::run(npm(&package).args(["run", "--silent", "docs"]))?;
    let folder = workspace.root.join("Dockerfile.examples/web");
    let wasm = examples::build(workspace, &Hub::start(workspace)?, &folder, &["wasm"])?.remove(0);
    let shots = workspace.target.join("js");
    make_dir(&shots)?;
    let mut test = Command::new("node");
    test.args(["--test", "--test-concurrency=1"]).args(names(words)).current_dir(&package);
    test.args(["test/node.test.js", "test/browser.test.js", "test/outside.test.js"]);
    test.arg("test/network.test.js");
    if words.iter().any(|word| word == "--all") {
        test.arg("test/firefox.test.js").env("ALL", "1");
    }
    let outside = shots.join("outside");
    let output = format!("type=web,dest={}", outside.display());
    let layout = fixtures::debian(workspace)?.join("layout");
    let shell = "VOLUME /keep\nCMD [\"bash\", \"-i\"]\n";
    boxer::build_from_layout(workspace, &layout, "bookworm", shell, Path::new(&output))?;
    // Node 20 has a WebSocket, and hides it.
    test.env("NODE_OPTIONS", "--experimental-websocket").env("BOXER", workspace.boxer());
    test.env("BOX", &wasm).env("WEB_BOX", &wasm).env("WEB_DIR", outside).env("SCREENSHOTS", &shots);
    process::run(&mut test)?;
    if words == ["--all"] {
        servers(workspace, &package)?;
        edge(workspace, &package.join("test/edge"))?;
        programs::in_chromium(workspace, &["alpine: "], Some("64m"))?;
    }
    sandboxes(workspace, &layout, words)
}

/// Asks unmodified servers of the examples.
fn servers(workspace: &Workspace, package: &Path) -> Result<()> {
    let hub = Hub::start(workspace)?;
    let mut boxes = Vec::new();
    for name in ["nginx", "node", "python"] {
        let folder = workspace.root.join("Dockerfile.examples").join(name);
        let wasm = examples::build(workspace, &hub, &folder, &["wasm"])?.remove(0);
        boxes.push(format!("{name}:{}", wasm.display()));
    }
    let mut test = Command::new("node");
    test.args(["--test", "test/servers.test.js"]).current_dir(package);
    process::run(test.env("SERVERS", boxes.join(",")))
}

/// Tries a small box in Cloudflare's runtime.
fn edge(workspace: &Workspace, folder: &Path) -> Result<()> {
    install(folder)?;
    let alpine = workspace.root.join("Dockerfile.examples/alpine");
    let wasm = examples::build(workspace, &Hub::start(workspace)?, &alpine, &["wasm"])?.remove(0);
    let mut test = Command::new("node");
    process::run(test.args(["--test", "edge.test.js"]).current_dir(folder).env("EDGE_BOX", wasm))
}

/// Compiles the client of sandboxes, and tries it on a daemon.
fn sandboxes(workspace: &Workspace, layout: &Path, words: &[String]) -> Result<()> {
    let package = workspace.root.join("packages/sandbox-js");
    install(&package)?;
    process::run(npm(&package).args(["run", "--silent", "build"]))?;
    let wasm = workspace.target.join("js/sandbox.wasm");
    boxer::build_from_layout(workspace, layout, "bookworm", "", &wasm)?;
    let mut test = Command::new("node");
    test.arg("--test").args(names(words)).arg("test/sandbox.test.js").current_dir(&package);
    test.env("BOXER", workspace.boxer()).env("BOXER_SANDBOX_TEMPLATE", wasm);
    test.env("XDG_CACHE_HOME", workspace.target.join("boxer-home/cache"));
    process::run(&mut test)
}

/// How `node --test` is told which tests are meant.
fn names(words: &[String]) -> impl Iterator<Item = String> {
    let named = words.iter().filter(|word| *word != "--all");
    named.map(|word| format!("--test-name-pattern={word}"))
}

/// Compiles the package, which `boxer build --output type=web` has in it, too.
pub fn compile(workspace: &Workspace) -> Result<()> {
    let package = workspace.root.join("packages/js");
    install(&package)?;
    // What is compiled anew makes cargo build boxer anew.
    let changed = |path: &Path| std::fs::metadata(path).and_then(|meta| meta.modified());
    let compiled = changed(&package.join("dist/browser.js")).ok();
    let mut newest = changed(&package.join("package-lock.json"))?;
    for entry in std::fs::read_dir(package.join("src"))? {
        newest = newest.max(changed(&entry?.path())?);
    }
    if compiled.is_some_and(|compiled| compiled > newest) {
        return Ok(());
    }
    process::run(npm(&package).args(["run", "--silent", "build"]))
}

/// Installs what the package is compiled and tested with, unless that was done for this list.
pub fn install(package: &Path) -> Result<()> {
    let lock = std::fs::read(package.join("package-lock.json"))?;
    let mark = package.join("node_modules/.installed");
    if std::fs::read(&mark).is_ok_and(|installed| installed == lock) {
        return Ok(());
    }
    process::quiet(npm(package).args(["ci", "--no-audit", "--no-fund"]))?;
    Ok(std::fs::write(mark, lock)?)
}

/// The size of what `npm pack` makes.
fn packed(package: &Path) -> Result<u64> {
    let told =
        process::stdout(npm(package).args(["pack", "--dry-run", "--json", "--ignore-scripts"]))?;
    let told: serde_json::Value = serde_json::from_str(&told)?;
    told[0]["size"].as_u64().context("npm pack does not say the size")
}

fn npm(package: &Path) -> Command {
    let mut npm = Command::new("npm");
    npm.current_dir(package);
    npm
}
