//! `std` for wasm32-wasip1 where the target is not installed: the compiler's own library source
//! (`rust-src`) and a WASI libc (`wasi-libc`), both from Debian packages, unpacked into the cache.
//!
//! apt is used with a private state directory, so that nothing of the machine's own set-up changes,
//! and with the mirror that the machine's own apt uses. The packages come from later suites than
//! Debian 12, which is why they are unpacked rather than installed.

use crate::paths::{cache_dir, make_dir};
use crate::process;
use anyhow::{Context, Result, bail};
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;

const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// What a build of `std` needs.
pub struct StdSource {
    /// The `library` directory of the compiler's source.
    pub library: PathBuf,
    /// Directory with `libc.a` and `crt1-command.o`.
    libc: PathBuf,
    linker: PathBuf,
}

impl StdSource {
    /// Flags that replace what the installed target would bring.
    pub fn rustflags(&self) -> Vec<String> {
        vec![
            "-Clink-self-contained=no".to_owned(),
            format!("-Lnative={}", self.libc.display()),
            format!("-Clink-arg={}", self.libc.join("crt1-command.o").display()),
            format!("-Clinker={}", self.linker.display()),
        ]
    }
}

/// Finds or fetches the sources; the error names the one command that makes this unnecessary.
pub fn prepare(rustc: &OsStr, sysroot: &Path) -> Result<StdSource> {
    fetch(rustc, sysroot).context(
        "the target wasm32-wasip1 is not installed and its library could not be built from Debian's packages; run:\n\
         \n    rustup target add wasm32-wasip1\n",
    )
}

fn fetch(rustc: &OsStr, sysroot: &Path) -> Result<StdSource> {
    let linker = sysroot.join("lib/rustlib/x86_64-unknown-linux-gnu/bin/rust-lld");
    if !linker.is_file() {
        bail!("the compiler has no rust-lld at {}", linker.display());
    }
    let cache = cache_dir()?.join("wasm-std");
    make_dir(&cache)?;
    let version = release(rustc)?;
    let apt = Apt::new(&cache);

    let libc_root = cache.join("wasi-libc");
    if libc_dir(&libc_root).is_none() {
        let versions = apt.versions("wasi-libc")?;
        let chosen = versions.iter().find(|v| v.contains("~bpo13")).or(versions.first());
        apt.unpack("wasi-libc", chosen.context("no package wasi-libc")?, &libc_root)?;
    }
    let libc = libc_dir(&libc_root).context("the package wasi-libc has no libc.a for WASI")?;

    let own = sysroot.join("lib/rustlib/src/rust/library");
    let unpacked = cache.join(format!("rust-src-{version}"));
    let library = unpacked.join(format!("usr/src/rustc-{version}/library"));
    if own.join("Cargo.lock").is_file() {
        return Ok(StdSource { library: own, libc, linker });
    }
    if !library.join("Cargo.lock").is_file() {
        let prefix = format!("{version}+");
        let versions = apt.versions("rust-src")?;
        let chosen = versions.iter().find(|v| v.starts_with(&prefix));
        let chosen =
            chosen.with_context(|| format!("no package rust-src for this compiler, {version}"))?;
        apt.unpack("rust-src", chosen, &unpacked)?;
    }
    if !library.join("Cargo.lock").is_file() {
        bail!("the package rust-src has no {}", library.display());
    }
    Ok(StdSource { library, libc, linker })
}

/// The compiler's release number, such as `1.95.0`.
fn release(rustc: &OsStr) -> Result<String> {
    let text = process::stdout(Command::new(rustc).arg("-vV"))?;
    let line = text.lines().find_map(|line| line.strip_prefix("release: "));
    Ok(line.context("rustc -vV names no release")?.to_owned())
}

/// The package's multiarch directory has had two names.
fn libc_dir(root: &Path) -> Option<PathBuf> {
    ["usr/lib/wasm32-wasip1", "usr/lib/wasm32-wasi"]
        .iter()
        .map(|dir| root.join(dir))
        .find(|dir| dir.join("libc.a").is_file() && dir.join("crt1-command.o").is_file())
}

/// apt with a state of its own under `dir`.
struct Apt {
    dir: PathBuf,
}

impl Apt {
    fn new(cache: &Path) -> Self {
        Apt { dir: cache.join("apt") }
    }

    /// Versions on offer, newest first.
    fn versions(&self, package: &str) -> Result<Vec<String>> {
        self.update()?;
        let text = process::stdout(self.tool("apt-cache").args(["madison", package]))?;
        let version = |line: &str| line.split('|').nth(1).map(|v| v.trim().to_owned());
        Ok(text.lines().filter_map(version).collect())
    }

    /// Downloads one package and unpacks it into `into`, which appears only when complete.
    fn unpack(&self, package: &str, version: &str, into: &Path) -> Result<()> {
        let debs = self.dir.join("debs").join(package);
        if debs.exists() {
            std::fs::remove_dir_all(&debs)?;
        }
        make_dir(&debs)?;
        let wanted = format!("{package}={version}");
        process::quiet(self.tool("apt-get").current_dir(&debs).args(["-qq", "download", &wanted]))?;
        let deb = std::fs::read_dir(&debs)?.next().context("apt-get downloaded nothing")??.path();
        let partial = into.with_extension("partial");
        for old in [&partial, &into.to_path_buf()] {
            if old.exists() {
                std::fs::remove_dir_all(old)?;
            }
        }
        process::quiet(Command::new("dpkg").arg("-x").arg(&deb).arg(&partial))?;
        std::fs::rename(&partial, into)?;
        std::fs::remove_dir_all(&debs)?;
        Ok(())
    }

    fn update(&self) -> Result<()> {
        let updated = self.dir.join("updated");
        if updated.exists() {
            return Ok(());
        }
        for dir in ["lists/partial", "cache/archives/partial"] {
            make_dir(&self.dir.join(dir))?;
        }
        let (main, security) = mirrors()?;
        let line =
            |uri: &str, suite: &str| format!("deb [signed-by={KEYRING}] {uri} {suite} main\n");
        let list = [
            line(&main, "bookworm"),
            line(&security, "bookworm-security"),
            line(&main, "trixie"),
            line(&main, "trixie-backports"),
        ];
        std::fs::write(self.dir.join("sources.list"), list.concat())?;
        process::quiet(self.tool("apt-get").args(["-qq", "update"]))?;
        std::fs::write(updated, "")?;
        Ok(())
    }

    fn tool(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        let option = |name: &str, path: &str| format!("{name}={}", self.dir.join(path).display());
        for value in [
            option("Dir::Etc::sourcelist", "sources.list"),
            option("Dir::State::lists", "lists"),
            option("Dir::Cache", "cache"),
            "Dir::Etc::sourceparts=/dev/null".to_owned(),
            "APT::Sandbox::User=root".to_owned(),
        ] {
            command.arg("-o").arg(value);
        }
        command
    }
}

/// The mirrors that the machine's own apt uses for Debian 12 and its security updates.
fn mirrors() -> Result<(String, String)> {
    let text = process::stdout(Command::new("apt-get").args([
        "indextargets",
        "--format",
        "$(REPO_URI) $(RELEASE)",
    ]))?;
    let find = |suite: &str| {
        let mut lines = text.lines().filter_map(|line| line.split_once(' '));
        lines.find(|(_, release)| *release == suite).map(|(uri, _)| uri.to_owned())
    };
    let main = find("bookworm").context("apt has no source for Debian 12 (bookworm)")?;
    let security = find("bookworm-security").unwrap_or_else(|| main.clone());
    Ok((main, security))
}
