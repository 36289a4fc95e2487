//! `cargo xtask package`: what a release consists of, below `package` in the target directory, each installed in an environment
//! of its own and asked to build a box there.
//!
//! | file | for |
//! |---|---|
//! | `boxer-TARGET.tar.gz` | `cargo binstall`, the GitHub Action, people |
//! | `boxer_VERSION_amd64.deb` | Debian, Ubuntu |
//! | `boxer_wasm-VERSION-….whl` | pip, pipx, uv |
//! | `boxer-wasm-VERSION.tgz` | npm |
//! | `boxer_sandbox-VERSION-py3-none-any.whl` | the client of sandboxes for Python |
//! | `boxer-sandbox-VERSION.tgz` | that for Node |
//! | `crates/*.crate` | `cargo install`; the guest programs lie in that of `boxer-link` |
//! | `SHA256SUMS` | whoever fetches them |

mod clients;
mod formats;
mod installed;

use crate::paths::{Workspace, make_dir};
use crate::{boxer, fixtures, guest, packages, process};
use anyhow::{Context, Result, bail};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

/// The machines that the packages are for.
pub const TARGET: &str = "x86_64-unknown-linux-gnu";

/// What registries of crates take.
const LARGEST_CRATE: u64 = 10 << 20;

/// What every format packs.
pub struct Release {
    /// Of the workspace.
    pub version: String,
    /// The program without debug information, its licence, manual pages and completions.
    pub tree: PathBuf,
    /// The C library's version that the program asks for, as `2.34`.
    pub glibc: String,
    /// Where the packages go.
    pub out: PathBuf,
}

/// Makes all packages and tries them. With `--crates` the crates are compiled from their packages, too, which takes
/// as long as a first build.
pub fn run(workspace: &Workspace, args: &[String]) -> Result<()> {
    guest::run(workspace)?;
    boxer::build(workspace)?;
    packages::ensure(&[packages::DEMO, packages::TESTS])?;
    let release = stage(workspace)?;
    let wheel = timed("wheel", || formats::wheel(workspace, &release))?;
    let npm = timed("npm", || formats::npm(workspace, &release))?;
    let deb = timed("deb", || formats::deb(&release))?;
    let archive = timed("archive", || formats::archive(&release))?;
    let crates = timed("crates", || crates(workspace, &release))?;
    let client = timed("client for Python", || clients::wheel(workspace, &release))?;
    let node = timed("client for Node", || clients::npm(workspace, &release))?;
    let sums: Vec<PathBuf> =
        [&wheel, &npm, &deb, &archive, &client, &node].into_iter().cloned().collect();
    write_sums(&release, &sums)?;
    let hello = installed::Hello::prepare(workspace)?;
    timed("in a venv", || installed::wheel(&release, &hello, &wheel))?;
    timed("in an npm prefix", || installed::npm(&release, &hello, &npm))?;
    timed("unpacked", || installed::archive(&release, &hello, &archive))?;
    let debian = fixtures::debian(workspace)?.join("rootfs");
    timed("in Debian 12", || installed::deb(&release, &hello, &deb, &debian))?;
    let tried = clients::Tried::prepare(workspace, &release)?;
    timed("client in a venv", || clients::try_wheel(workspace, &tried, &client))?;
    timed("client in an npm folder", || clients::try_npm(workspace, &tried, &node))?;
    if args.iter().any(|arg| arg == "--crates") {
        timed("crates compiled", || installed::crates(&release, &hello, &crates))?;
    }
    Ok(())
}

/// Lays the files out.
fn stage(workspace: &Workspace) -> Result<Release> {
    let out = workspace.target.join("package");
    if out.exists() {
        std::fs::remove_dir_all(&out)?;
    }
    let tree = out.join(format!("boxer-{TARGET}"));
    make_dir(&tree.join("completions"))?;
    let program = tree.join("boxer");
    process::quiet(Command::new("strip").arg("-o").arg(&program).arg(workspace.boxer()))?;
    for file in ["LICENSE", "README.md", "CHANGELOG.md"] {
        std::fs::copy(workspace.root.join(file), tree.join(file))?;
    }
    process::quiet(Command::new(&program).arg("man").arg(tree.join("man")))?;
    for (shell, file) in [("bash", "boxer"), ("zsh", "_boxer"), ("fish", "boxer.fish")] {
        let text = process::stdout(Command::new(&program).args(["completions", shell]))?;
        std::fs::write(tree.join("completions").join(file), text)?;
    }
    let said = process::stdout(Command::new(&program).arg("--version"))?;
    let version = said.split_whitespace().nth(1).context("boxer --version says nothing")?.into();
    let glibc = glibc_of(&program)?;
    println!("package: boxer {version}, {}, glibc {glibc}", megabytes(&program)?);
    Ok(Release { version, tree, glibc, out })
}

/// The newest version of the C library whose symbols a program takes.
fn glibc_of(program: &Path) -> Result<String> {
    let symbols = process::stdout(Command::new("objdump").arg("-T").arg(program))?;
    let minor = symbols
        .split("GLIBC_2.")
        .skip(1)
        .filter_map(|rest| rest.split(|c: char| !c.is_ascii_digit()).next()?.parse::<u32>().ok())
        .max();
    Ok(format!("2.{}", minor.context("the program names no version of the C library")?))
}

/// Packs every crate but those for development.
fn crates(workspace: &Workspace, release: &Release) -> Result<PathBuf> {
    let guests = workspace.root.join("crates/link/guest");
    make_dir(&guests)?;
    for guest in [
        workspace.guest_wasm(),
        workspace.guest_wasm_without_simd(),
        workspace.component_guest_wasm(),
        workspace.program_guest_wasm(),
    ] {
        std::fs::copy(&guest, guests.join(guest.file_name().context("guest without a name")?))?;
    }
    let target = release.out.join("cargo");
    let mut cargo = process::cargo();
    cargo.current_dir(&workspace.root).args(["package", "--workspace", "--no-verify", "--quiet"]);
    // `guest` is built for Wasm and lies in `link`; the other two are for work on this tree.
    for other in ["boxer-guest", "boxer-testkit", "xtask"] {
        cargo.args(["--exclude", other]);
    }
    let packed = process::quiet(cargo.arg("--allow-dirty").arg("--target-dir").arg(&target));
    std::fs::remove_dir_all(&guests)?;
    packed?;
    let dir = release.out.join("crates");
    make_dir(&dir)?;
    for entry in std::fs::read_dir(target.join("package"))?.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if !name.ends_with(".crate") {
            continue;
        }
        std::fs::rename(entry.path(), dir.join(&name))?;
        let size = std::fs::metadata(dir.join(&name))?.len();
        if size > LARGEST_CRATE {
            bail!("{name} has {size} bytes, more than registries take");
        }
        if name.starts_with("boxer-link-") {
            println!("package: {name}: {}", megabytes(&dir.join(&name))?);
        }
    }
    Ok(dir)
}

fn write_sums(release: &Release, files: &[PathBuf]) -> Result<()> {
    let mut text = String::new();
    for file in files {
        let name = file.file_name().context("package without a name")?.to_string_lossy();
        text.push_str(&format!("{}  {name}\n", process::digest(&std::fs::read(file)?)));
        println!("package: {name}: {}", megabytes(file)?);
    }
    Ok(std::fs::write(release.out.join("SHA256SUMS"), text)?)
}

fn megabytes(file: &Path) -> Result<String> {
    Ok(format!("{:.1} MB", std::fs::metadata(file)?.len() as f64 / 1e6))
}

fn timed<T>(what: &str, run: impl FnOnce() -> Result<T>) -> Result<T> {
    let started = Instant::now();
    let result = run().with_context(|| format!("package: {what}"))?;
    println!("package: {what}: {:.1} s", started.elapsed().as_secs_f64());
    Ok(result)
}
