//! The clients of sandboxes as packages, each installed in an environment of its own, where the examples of its README run as they stand
//! there.

use super::Release;
use crate::paths::{Workspace, make_dir};
use crate::{js, process, sandboxes};
use anyhow::{Context, Result, bail};
use std::path::{Path, PathBuf};
use std::process::Command;

/// `boxer_sandbox-VERSION-py3-none-any.whl`, of `packages/python`.
pub fn wheel(workspace: &Workspace, release: &Release) -> Result<PathBuf> {
    // What builds it leaves files beside its sources.
    let sources = release.out.join("python");
    process::quiet(
        Command::new("cp").arg("-r").arg(workspace.root.join("packages/python")).arg(&sources),
    )?;
    let mut pip = Command::new("python3");
    pip.args(["-m", "pip", "wheel", "--quiet", "--no-deps", "--disable-pip-version-check"]);
    process::quiet(pip.arg("--wheel-dir").arg(&release.out).arg(&sources))?;
    made(release, "boxer_sandbox-", ".whl")
}

/// `boxer-sandbox-VERSION.tgz`, of `packages/sandbox-js`.
pub fn npm(workspace: &Workspace, release: &Release) -> Result<PathBuf> {
    let package = workspace.root.join("packages/sandbox-js");
    js::install(&package)?;
    let mut npm = Command::new("npm");
    npm.args(["pack", "--silent", "--pack-destination"]).arg(&release.out);
    process::quiet(npm.current_dir(&package))?;
    made(release, "boxer-sandbox-", ".tgz")
}

/// The file of the release whose name begins and ends so.
fn made(release: &Release, begin: &str, end: &str) -> Result<PathBuf> {
    let files = std::fs::read_dir(&release.out)?.flatten().map(|entry| entry.path());
    let is_it = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        name.starts_with(begin) && name.ends_with(end)
    };
    files.into_iter().find(is_it).with_context(|| format!("no {begin}…{end} was made"))
}

/// What the examples run in.
pub struct Tried {
    boxer: PathBuf,
    template: PathBuf,
    home: PathBuf,
}

impl Tried {
    pub fn prepare(workspace: &Workspace, release: &Release) -> Result<Tried> {
        let home = release.out.join("installed/clients");
        make_dir(&home)?;
        let boxer = release.tree.join("boxer");
        Ok(Tried { boxer, template: sandboxes::python(workspace)?, home })
    }

    /// Runs an example; what it prints. It warns of nothing.
    fn run(&self, command: &mut Command) -> Result<String> {
        command.env_clear().env("HOME", &self.home).env("PATH", "/usr/local/bin:/usr/bin:/bin");
        command.env("BOXER", &self.boxer).env("BOXER_SANDBOX_TEMPLATE", &self.template);
        let output = command.current_dir(&self.home).output()?;
        let [stdout, stderr] =
            [&output.stdout, &output.stderr].map(|text| String::from_utf8_lossy(text).into_owned());
        if !output.status.success() || stderr.contains("Warning") {
            bail!("{command:?} ended with {}\n{stdout}{stderr}", output.status);
        }
        Ok(stdout)
    }
}

/// `pip install` in a virtual environment; each example in a Python that warns of what is not closed.
pub fn try_wheel(workspace: &Workspace, tried: &Tried, wheel: &Path) -> Result<()> {
    let dir = tried.home.join("venv");
    process::quiet(Command::new("/usr/bin/python3").args(["-m", "venv"]).arg(&dir))?;
    let mut pip = Command::new(dir.join("bin/pip"));
    pip.args(["install", "--quiet", "--no-index", "--disable-pip-version-check"]);
    process::quiet(pip.arg(wheel))?;
    let readme = std::fs::read_to_string(workspace.root.join("packages/python/README.md"))?;
    let examples = examples(&readme, &["from ", "import "]);
    if examples.len() < 2 {
        bail!("packages/python/README.md has {} examples", examples.len());
    }
    for example in examples {
        let file = tried.home.join("example.py");
        std::fs::write(&file, &example)?;
        let found =
            tried.run(Command::new(dir.join("bin/python")).args(["-X", "dev"]).arg(file))?;
        compare(&example, "# ", &found)?;
    }
    Ok(())
}

/// `npm install` in a folder of its own.
pub fn try_npm(workspace: &Workspace, tried: &Tried, package: &Path) -> Result<()> {
    let mut npm = Command::new("npm");
    npm.args(["install", "--silent", "--offline"])
        .env("npm_config_cache", tried.home.join("cache"));
    std::fs::write(tried.home.join("package.json"), "{\"private\": true}\n")?;
    process::quiet(npm.current_dir(&tried.home).arg(package))?;
    let readme = std::fs::read_to_string(workspace.root.join("packages/sandbox-js/README.md"))?;
    let examples = examples(&readme, &["import "]);
    if examples.is_empty() {
        bail!("packages/sandbox-js/README.md has no example");
    }
    for example in examples {
        let file = tried.home.join("example.mjs");
        std::fs::write(&file, &example)?;
        compare(&example, "// ", &tried.run(Command::new("node").arg(file))?)?;
    }
    Ok(())
}

/// The indented blocks of a page that begin with one of these words.
fn examples(page: &str, begin: &[&str]) -> Vec<String> {
    let mut blocks: Vec<String> = vec![String::new()];
    for line in page.lines() {
        match (line.strip_prefix("    "), blocks.last_mut()) {
            (Some(code), Some(block)) => *block += &format!("{code}\n"),
            (None, Some(block)) if line.is_empty() && !block.is_empty() => block.push('\n'),
            _ => blocks.push(String::new()),
        }
    }
    let blocks = blocks.into_iter().map(|block| block.trim_end().to_owned() + "\n");
    blocks.filter(|block| begin.iter().any(|word| block.starts_with(word))).collect()
}

/// Whether an example prints what the comments of the lines that print say.
fn compare(example: &str, comment: &str, found: &str) -> Result<()> {
    let prints = |line: &&str| line.contains("print(") || line.contains("console.log(");
    let promised = example.lines().filter(prints).filter_map(|line| line.rsplit_once(comment));
    let promised: Vec<&str> = promised.map(|(_, said)| said.trim()).collect();
    let found: Vec<&str> = found.lines().collect();
    if promised.is_empty() || promised != found {
        bail!("an example of a README promises {promised:?}, and prints {found:?}:\n{example}");
    }
    Ok(())
}
