//! Each package in an environment of its own, where it has to build a box and run it.

use super::Release;
use crate::fixtures::{self, ENTER};
use crate::paths::{Workspace, make_dir};
use crate::process;
use anyhow::{Context, Result, bail};
use std::path::{Path, PathBuf};
use std::process::Command;

/// The context of a small box.
pub struct Hello {
    context: PathBuf,
    expected: String,
}

impl Hello {
    /// That of the example on `scratch`, with its program.
    pub fn prepare(workspace: &Workspace) -> Result<Hello> {
        let context = workspace.target.join("package/hello");
        make_dir(&context)?;
        let example = workspace.root.join("Dockerfile.examples/scratch");
        let program = fixtures::programs(workspace)?.join("threads");
        std::fs::copy(program, context.join("threads"))?;
        let dockerfile = std::fs::read_to_string(example.join("Dockerfile"))?;
        std::fs::write(context.join("Dockerfile"), dockerfile.replace("--from=programs ", ""))?;
        Ok(Hello { context, expected: std::fs::read_to_string(example.join("expected"))? })
    }

    /// Builds and runs it with a program that knows nothing of this tree, with a home of its own.
    fn try_with(&self, boxer: &Path, home: &Path) -> Result<()> {
        let plain = |arg: &str| {
            let mut command = Command::new(boxer);
            command.env_clear().env("HOME", home).env("PATH", "/usr/bin:/bin").arg(arg);
            command
        };
        let wasm = home.join("hello.wasm");
        process::quiet(plain("build").arg("-o").arg(&wasm).arg(&self.context))?;
        self.compare(&process::stdout(plain("run").arg(&wasm))?)
    }

    fn compare(&self, found: &str) -> Result<()> {
        if found != self.expected {
            bail!("--- expected\n{}\n--- found\n{found}", self.expected);
        }
        Ok(())
    }
}

fn fresh(release: &Release, name: &str) -> Result<PathBuf> {
    let dir = release.out.join("installed").join(name);
    if dir.exists() {
        std::fs::remove_dir_all(&dir)?;
    }
    make_dir(&dir)?;
    Ok(dir)
}

/// `pip install` in a virtual environment.
pub fn wheel(release: &Release, hello: &Hello, wheel: &Path) -> Result<()> {
    let dir = fresh(release, "venv")?;
    process::quiet(Command::new("/usr/bin/python3").args(["-m", "venv"]).arg(&dir))?;
    let mut pip = Command::new(dir.join("bin/pip"));
    pip.args(["install", "--quiet", "--no-index", "--disable-pip-version-check"]);
    process::quiet(pip.arg(wheel))?;
    hello.try_with(&dir.join("bin/boxer"), &dir)
}

/// `npm install --global` with a prefix.
pub fn npm(release: &Release, hello: &Hello, package: &Path) -> Result<()> {
    let dir = fresh(release, "npm")?;
    let mut npm = Command::new("npm");
    npm.args(["install", "--silent", "--offline", "--global", "--prefix"]).arg(&dir);
    npm.env("npm_config_cache", dir.join("cache"));
    process::quiet(npm.arg(package))?;
    hello.try_with(&dir.join("bin/boxer"), &dir)
}

/// Unpacked where `cargo binstall` looks.
pub fn archive(release: &Release, hello: &Hello, archive: &Path) -> Result<()> {
    let dir = fresh(release, "archive")?;
    process::quiet(Command::new("tar").arg("-xzf").arg(archive).arg("-C").arg(&dir))?;
    hello.try_with(&dir.join(format!("boxer-{}/boxer", super::TARGET)), &dir)
}

/// `dpkg --install` in a Debian that has neither toolchains nor this tree. Needs root.
pub fn deb(release: &Release, hello: &Hello, deb: &Path, debian: &Path) -> Result<()> {
    let dir = fresh(release, "debian")?;
    let root = dir.join("root");
    process::quiet(Command::new("cp").arg("-a").arg(debian).arg(&root))?;
    std::fs::copy(deb, root.join("boxer.deb"))?;
    process::quiet(Command::new("cp").arg("-r").arg(&hello.context).arg(root.join("hello")))?;
    let script = "export PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C
dpkg --install /boxer.deb >&2
boxer build -o /hello.wasm /hello >&2
boxer run /hello.wasm";
    let mut unshare = Command::new("unshare");
    unshare.args(["--mount", "--pid", "--fork", "/bin/sh", "-ec", ENTER, "sh"]);
    let found = process::stdout(unshare.arg(&root).arg(script))?;
    std::fs::remove_dir_all(&root)?;
    hello.compare(&found)
}

/// `cargo install` from the unpacked crates, each in the place of the registry's.
pub fn crates(release: &Release, hello: &Hello, crates: &Path) -> Result<()> {
    let dir = fresh(release, "crates")?;
    let mut patches = String::from("[patch.crates-io]\n");
    for entry in std::fs::read_dir(crates)?.flatten() {
        process::quiet(Command::new("tar").arg("-xzf").arg(entry.path()).arg("-C").arg(&dir))?;
        let file = entry.file_name().to_string_lossy().into_owned();
        let folder = file.strip_suffix(".crate").context("what is no crate lies among them")?;
        let (name, _) = folder.rsplit_once('-').context("crate without a version")?;
        patches.push_str(&format!("{name} = {{ path = {:?} }}\n", dir.join(folder)));
    }
    make_dir(&dir.join(".cargo"))?;
    std::fs::write(dir.join(".cargo/config.toml"), patches)?;
    let mut cargo = process::cargo();
    cargo.current_dir(&dir).env_remove("BOXER_GUEST_WASM").env_remove("CARGO_TARGET_DIR");
    cargo.arg("install").arg("--path").arg(format!("boxer-cli-{}", release.version));
    process::run(cargo.arg("--root").arg(&dir))?;
    hello.try_with(&dir.join("bin/boxer"), &dir)
}
