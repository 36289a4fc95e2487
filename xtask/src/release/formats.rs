//! The packages.

use super::{Release, TARGET};
use crate::paths::{Workspace, make_dir};
use crate::process;
use anyhow::{Context, Result};
use serde_json::json;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

const SUMMARY: &str = "Turns a Dockerfile into one WebAssembly file that runs its programs";

/// Where the project is, of the workspace's manifest.
const HOME: &str = env!("CARGO_PKG_REPOSITORY");

/// A gzip-compressed archive whose bytes depend on the files' content alone.
fn tar_gz(archive: &Path, parent: &Path, name: &str) -> Result<()> {
    let mut tar = Command::new("tar");
    tar.args(["--sort=name", "--owner=0", "--group=0", "--numeric-owner", "--mtime=@0"]);
    tar.arg("--use-compress-program=gzip -n").arg("-cf").arg(archive).arg("-C").arg(parent);
    process::quiet(tar.arg(name))
}

/// The archive of a release.
pub fn archive(release: &Release) -> Result<PathBuf> {
    let file = release.out.join(format!("boxer-{TARGET}.tar.gz"));
    tar_gz(&file, &release.out, &format!("boxer-{TARGET}"))?;
    Ok(file)
}

/// A Debian package.
pub fn deb(release: &Release) -> Result<PathBuf> {
    let Release { version, tree, glibc, out } = release;
    let root = out.join("deb");
    let put = |from: PathBuf, to: &str, mode: u32| -> Result<()> {
        let to = root.join(to);
        make_dir(to.parent().context("file without a directory")?)?;
        std::fs::copy(&from, &to).with_context(|| format!("copy {}", from.display()))?;
        Ok(std::fs::set_permissions(&to, std::fs::Permissions::from_mode(mode))?)
    };
    put(tree.join("boxer"), "usr/bin/boxer", 0o755)?;
    put(tree.join("LICENSE"), "usr/share/doc/boxer/copyright", 0o644)?;
    put(tree.join("README.md"), "usr/share/doc/boxer/README.md", 0o644)?;
    let completions = tree.join("completions");
    put(completions.join("boxer"), "usr/share/bash-completion/completions/boxer", 0o644)?;
    put(completions.join("_boxer"), "usr/share/zsh/vendor-completions/_boxer", 0o644)?;
    put(completions.join("boxer.fish"), "usr/share/fish/vendor_completions.d/boxer.fish", 0o644)?;
    for page in std::fs::read_dir(tree.join("man"))?.flatten() {
        let name = page.file_name().to_string_lossy().into_owned();
        put(page.path(), &format!("usr/share/man/man1/{name}"), 0o644)?;
    }
    let size = std::fs::metadata(tree.join("boxer"))?.len() / 1024;
    make_dir(&root.join("DEBIAN"))?;
    std::fs::write(
        root.join("DEBIAN/control"),
        format!(
            "Package: boxer\nVersion: {version}\nArchitecture: amd64\nSection: devel\nPriority: optional\n\
             Maintainer: The Boxer maintainers <{HOME}>\nHomepage: {HOME}\nInstalled-Size: {size}\n\
             Depends: libc6 (>= {glibc}), libgcc-s1\nRecommends: ca-certificates, git\nDescription: {SUMMARY}\n \
             Boxer builds Dockerfiles without a container runtime and without privileges: RUN\n \
             steps run in an x86-64 machine inside WebAssembly, and so does the result, on\n any WASI host.\n"
        ),
    )?;
    let file = out.join(format!("boxer_{version}_amd64.deb"));
    let mut dpkg = Command::new("dpkg-deb");
    dpkg.args(["--root-owner-group", "-Zgzip", "--build"]).env("SOURCE_DATE_EPOCH", "0");
    process::quiet(dpkg.arg(&root).arg(&file))?;
    Ok(file)
}

/// A Python wheel whose only content is the program.
pub fn wheel(workspace: &Workspace, release: &Release) -> Result<PathBuf> {
    let mut python = Command::new("python3");
    python.arg(workspace.root.join("xtask/src/release/wheel.py"));
    python.arg(&release.version).arg(&release.glibc).args([SUMMARY, HOME]);
    let made = process::stdout(python.arg(&release.tree).arg(&release.out))?;
    Ok(PathBuf::from(made.trim()))
}

/// An npm package whose only content is the program.
pub fn npm(workspace: &Workspace, release: &Release) -> Result<PathBuf> {
    let dir = release.out.join("npm");
    make_dir(&dir.join("bin"))?;
    std::fs::copy(release.tree.join("boxer"), dir.join("bin/boxer"))?;
    for file in ["LICENSE", "README.md"] {
        std::fs::copy(workspace.root.join(file), dir.join(file))?;
    }
    let manifest = json!({
        "name": "boxer-wasm",
        "version": release.version,
        "description": SUMMARY,
        "license": "Apache-2.0",
        "repository": { "type": "git", "url": format!("git+{HOME}.git") },
        "bin": { "boxer": "bin/boxer" },
        "files": ["bin/boxer"],
        "os": ["linux"],
        "cpu": ["x64"],
        "libc": ["glibc"],
    });
    std::fs::write(dir.join("package.json"), serde_json::to_vec_pretty(&manifest)?)?;
    let mut npm = Command::new("npm");
    npm.args(["pack", "--silent", "--offline", "--pack-destination"]).arg(&release.out);
    npm.env("npm_config_cache", release.out.join("npm-cache"));
    process::quiet(npm.current_dir(&dir))?;
    Ok(release.out.join(format!("boxer-wasm-{}.tgz", release.version)))
}
