//! `cargo xtask faults`: builds, pulls and pushes that are killed at any moment, and disks that are full. Afterwards every blob of the store
//! is its digest's, and the same command succeeds.

use crate::paths::{Workspace, make_dir};
use crate::registry::Registry;
use crate::{boxer, fixtures, process};
use anyhow::{Context, Result, bail, ensure};
use sha2::{Digest, Sha256};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

/// Kills in the short form.
const ROUNDS: u64 = 6;
/// Shares of the space that a build needs, in percent.
const SHARES: [u64; 6] = [3, 15, 35, 55, 75, 92];

/// Runs `--rounds N` kills from `--seed S` on, and the disks.
pub fn run(workspace: &Workspace, args: &[String]) -> Result<()> {
    let (mut rounds, mut seed) = (ROUNDS, 1);
    for pair in args.chunks(2) {
        let value = pair.get(1).and_then(|text| text.parse().ok());
        match (pair[0].as_str(), value) {
            ("--rounds", Some(value)) => rounds = value,
            ("--seed", Some(value)) => seed = value,
            _ => bail!("faults takes [--rounds N] [--seed S]"),
        }
    }
    let dir = workspace.target.join("faults");
    if dir.exists() {
        std::fs::remove_dir_all(&dir)?;
    }
    make_dir(&dir)?;
    let registry = Registry::start(&dir.join("registry"))?;
    let place = Place { workspace, store: dir.join("store"), dir, host: registry.address() };
    push_base(&place)?;
    kills(&place, rounds, seed)?;
    full_disks(&place)?;
    std::fs::remove_dir_all(&place.dir)?;
    Ok(())
}

/// A small image to build on: a program, and enough beside it that a transfer can be broken.
fn push_base(place: &Place<'_>) -> Result<()> {
    let context = place.dir.join("base");
    make_dir(&context)?;
    std::fs::copy(fixtures::programs(place.workspace)?.join("hello"), context.join("hello"))?;
    std::fs::write(context.join("noise"), noise(0, 12 << 20))?;
    std::fs::write(context.join("Dockerfile"), "FROM scratch\nCOPY hello noise /\n")?;
    let output = format!("type=registry,name={}/base:1", place.host);
    process::quiet(place.boxer()?.args(["build", "--progress=plain", "-o", &output]).arg(&context))
}

struct Place<'a> {
    workspace: &'a Workspace,
    dir: PathBuf,
    store: PathBuf,
    host: String,
}

#[derive(Clone, Copy, Debug)]
enum Deed {
    Build,
    Pull,
    Push,
}

const DEEDS: [Deed; 3] = [Deed::Build, Deed::Pull, Deed::Push];

impl Place<'_> {
    fn boxer(&self) -> Result<Command> {
        let mut boxer = boxer::command(self.workspace)?;
        boxer.arg("--store").arg(&self.store).stdin(Stdio::null());
        Ok(boxer)
    }

    fn out(&self) -> PathBuf {
        self.dir.join("out.wasm")
    }

    /// Makes what the deed begins with, and gives its command. Each round has files of its own, so that nothing is known already.
    fn prepare(&self, deed: Deed, round: u64) -> Result<Command> {
        let mut boxer = self.boxer()?;
        match deed {
            Deed::Build => {
                let context = self.dir.join("context");
                make_dir(&context)?;
                let text =
                    format!("FROM {}/base:1\nCOPY data /data\nRUN [\"/hello\"]\n", self.host);
                std::fs::write(context.join("Dockerfile"), text)?;
                std::fs::write(context.join("data"), noise(round, 4 << 20))?;
                boxer
                    .args(["build", "--progress=plain", "-t", "box:1", "-o"])
                    .arg(self.out())
                    .arg(context);
            }
            Deed::Pull => {
                let name = format!("{}/base:1", self.host);
                process::quiet(self.boxer()?.args(["rmi", "box:1", &name]))
                    .or_else(|_| process::quiet(self.boxer()?.arg("images")))?;
                process::quiet(self.boxer()?.args(["prune", "--all"]))?;
                boxer.args(["pull", &name]);
            }
            Deed::Push => {
                if !self.has("box:1")? {
                    process::quiet(&mut self.prepare(Deed::Build, round)?)?;
                }
                let name = format!("{}/box{round}:1", self.host);
                process::quiet(self.boxer()?.args(["tag", "box:1", &name]))?;
                boxer.args(["push", "--as", "both", &name]);
            }
        }
        Ok(boxer)
    }

    fn has(&self, name: &str) -> Result<bool> {
        Ok(process::stdout(self.boxer()?.arg("images"))?.contains(name))
    }

    /// Every blob is its digest's, and every name leads to something whole.
    fn check(&self) -> Result<()> {
        let blobs = self.store.join("blobs/sha256");
        for entry in std::fs::read_dir(&blobs).into_iter().flatten() {
            let path = entry?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            ensure!(hash(&path)? == name, "damaged: {}", path.display());
        }
        let output = self.boxer()?.arg("images").output()?;
        ensure!(output.status.success() && output.stderr.is_empty(), "images: {}", told(&output));
        Ok(())
    }
}

fn kills(place: &Place<'_>, rounds: u64, seed: u64) -> Result<()> {
    let mut usual = [Duration::ZERO; DEEDS.len()];
    for (deed, usual) in DEEDS.into_iter().zip(&mut usual) {
        let mut command = place.prepare(deed, 0)?;
        let started = Instant::now();
        process::quiet(&mut command)?;
        *usual = started.elapsed();
    }
    let mut killed = 0;
    for round in 1..=rounds {
        let which = (mix(seed, round) % DEEDS.len() as u64) as usize;
        let (deed, usual) = (DEEDS[which], usual[which]);
        let mut command = place.prepare(deed, seed.wrapping_mul(1_000_000).wrapping_add(round))?;
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
        std::thread::sleep(usual.mul_f64((mix(seed, round + rounds) % 1000) as f64 / 2000.0));
        killed += u64::from(child.try_wait()?.is_none());
        child.kill()?;
        child.wait()?;
        let after = || -> Result<()> {
            place.check()?;
            // The same again, and to its end.
            let command = place.again(deed, seed, round)?;
            let output = { command }.output()?;
            ensure!(output.status.success(), "{}", told(&output));
            place.check()?;
            // What earlier rounds made would fill the disk in the end.
            if round % 5 == 0 {
                process::quiet(place.boxer()?.arg("prune"))?;
            }
            Ok(())
        };
        after().with_context(|| format!("round {round}: {deed:?} was killed (--seed {seed})"))?;
    }
    println!(
        "faults: {rounds} rounds, {killed} killed before their end: every blob is whole, everything succeeded afterwards"
    );
    Ok(())
}

impl Place<'_> {
    /// The killed command once more, without preparing anything.
    fn again(&self, deed: Deed, seed: u64, round: u64) -> Result<Command> {
        let mut boxer = self.boxer()?;
        match deed {
            Deed::Build => boxer
                .args(["build", "--progress=plain", "-t", "box:1", "-o"])
                .arg(self.out())
                .arg(self.dir.join("context")),
            Deed::Pull => boxer.args(["pull", &format!("{}/base:1", self.host)]),
            Deed::Push => {
                let round = seed.wrapping_mul(1_000_000).wrapping_add(round);
                boxer.args(["push", "--as", "both", &format!("{}/box{round}:1", self.host)])
            }
        };
        Ok(boxer)
    }
}

/// A disk that holds a part of what a build needs: it says so, nothing is damaged, and with more room the build succeeds.
fn full_disks(place: &Place<'_>) -> Result<()> {
    let disk = place.dir.join("disk");
    make_dir(&disk)?;
    let small = Place {
        workspace: place.workspace,
        store: disk.join("store"),
        dir: place.dir.clone(),
        host: place.host.clone(),
    };
    let mount = Mount::new(&disk, 2 << 30)?;
    process::quiet(&mut small.prepare(Deed::Build, 1)?)?;
    let needed: u64 = sizes(&disk)?;
    for share in SHARES {
        mount.empty()?;
        mount.resize(needed * share / 100)?;
        let output = small.prepare(Deed::Build, 1)?.output()?;
        let text = told(&output);
        ensure!(!output.status.success(), "a build went into {share} % of the space that it needs");
        ensure!(
            text.contains("no space left") || text.contains("No space left"),
            "{share} %: {text}"
        );
        if small.store.exists() {
            small.check().with_context(|| format!("with {share} % of the space"))?;
        }
        mount.resize(2 << 30)?;
        let output = small.prepare(Deed::Build, 1)?.output()?;
        ensure!(output.status.success(), "after a disk with {share} %: {}", told(&output));
        small.check()?;
    }
    println!(
        "faults: {} full disks of {} MB at most: each was told of, nothing was damaged",
        SHARES.len(),
        needed / 1_000_000
    );
    Ok(())
}

/// A tmpfs; it goes when dropped.
struct Mount<'a>(&'a Path);

impl<'a> Mount<'a> {
    fn new(at: &'a Path, size: u64) -> Result<Self> {
        let option = format!("size={size}");
        process::quiet(Command::new("mount").args(["-t", "tmpfs", "-o", &option, "tmpfs"]).arg(at))
            .context("a disk that can be full is a tmpfs, and mounting takes root")?;
        Ok(Mount(at))
    }

    fn resize(&self, size: u64) -> Result<()> {
        let size = size.next_multiple_of(4096);
        process::quiet(
            Command::new("mount").args(["-o", &format!("remount,size={size}")]).arg(self.0),
        )
    }

    fn empty(&self) -> Result<()> {
        for entry in std::fs::read_dir(self.0)? {
            std::fs::remove_dir_all(entry?.path())?;
        }
        Ok(())
    }
}

impl Drop for Mount<'_> {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(self.0).status();
    }
}

fn told(output: &Output) -> String {
    format!("{}\n{}", output.status, String::from_utf8_lossy(&output.stderr))
}

fn hash(path: &Path) -> Result<String> {
    let mut hasher = Sha256::new();
    let mut file = std::fs::File::open(path)?;
    std::io::copy(&mut file, &mut hasher)?;
    Ok(hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}

fn sizes(dir: &Path) -> Result<u64> {
    let mut sum = 0;
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        let meta = entry.metadata()?;
        sum += if meta.is_dir() { sizes(&entry.path())? } else { meta.len() };
    }
    Ok(sum)
}

/// SplitMix64.
fn mix(seed: u64, n: u64) -> u64 {
    let z = seed
        .wrapping_mul(0xd6e8_feb8_6659_fd93)
        .wrapping_add(n.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    let z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ z >> 31
}

/// Bytes that no compression makes smaller.
fn noise(seed: u64, len: usize) -> Vec<u8> {
    (0..len as u64 / 8).flat_map(|n| mix(seed, n).to_le_bytes()).collect()
}
