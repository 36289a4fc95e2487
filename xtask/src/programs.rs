//! `cargo xtask programs`: real programs in a box, with each of its processors, against the same commands
//! in a chroot of the same tree. The cases are `fixtures/programs/*.txt`; `known-failures.txt` there lists those that are known
//! to differ, one `TREE: NAME` a line, and an entry that no longer differs is an error.

use crate::paths::{Workspace, make_dir};
use crate::{boxer, fixtures, packages, process};
use anyhow::{Context, Result, bail};
use serde_json::json;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

/// Compares every case on every tree that is at hand. `--real` takes the long list `real.txt` instead of the short ones; other
/// words choose the cases whose names contain one of them.
pub fn run(workspace: &Workspace, rest: &[String]) -> Result<()> {
    let real = rest.iter().any(|word| word == "--real");
    let parts: Vec<&String> = rest.iter().filter(|word| *word != "--real").collect();
    packages::ensure(&[packages::DEMO])?;
    let cases = workspace.root.join("fixtures/programs");
    let known = std::fs::read_to_string(cases.join("known-failures.txt")).unwrap_or_default();
    let known = known.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    let mut known: BTreeSet<String> = known.map(str::to_owned).collect();
    let mut wrong = Vec::new();
    let mut total = 0;
    let mut trees = Vec::new();
    if real {
        trees.push(("real", "bookworm", fixtures::real(workspace)?));
    } else {
        trees.push(("debian", "bookworm", fixtures::debian(workspace)?));
        trees.extend(fixtures::alpine(workspace)?.map(|dir| ("alpine", "latest", dir)));
    }
    for (name, tag, dir) in trees {
        let text = std::fs::read_to_string(cases.join(name).with_extension("txt"))?;
        let tree = Tree::new(workspace, name, tag, dir)?;
        let mut passed = 0;
        for case in parse(&text)? {
            let label = format!("{name}: {}", case.name);
            if !parts.is_empty() && !parts.iter().any(|part| case.name.contains(*part)) {
                continue;
            }
            let start = Instant::now();
            let expected = tree.native(&case)?;
            // glibc and others choose other code with AVX2.
            let mut different = None;
            for cpu in LEVELS {
                let found = tree.boxed(&case, cpu)?;
                if found != expected {
                    different = Some((cpu, found));
                    break;
                }
            }
            match (different, known.remove(&label)) {
                (None, false) => {
                    passed += 1;
                    if real {
                        println!("{label}: {} s", start.elapsed().as_secs());
                    }
                }
                (Some(_), true) => println!("known failure: {label}"),
                (None, true) => {
                    wrong.push(format!("{label}: passes, take it out of known-failures.txt"))
                }
                (Some((cpu, found)), false) => wrong.push(format!(
                    "{label} ({cpu})\n{}",
                    difference(&tree.out, &expected, &found)?
                )),
            }
        }
        println!("programs: {name}: {passed} as in a chroot, on {}", LEVELS.join(" and "));
        total += passed;
    }
    for text in &wrong {
        println!("programs: {text}");
    }
    println!("programs: {total} passed, {} failed", wrong.len());
    if !wrong.is_empty() {
        bail!("programs: {} cases are wrong", wrong.len());
    }
    Ok(())
}

/// The cases of the short lists in boxes in Chromium, by the package in `packages/js`, against the same in a chroot. Words choose cases by their names;
/// `browser.txt` beside the lists has those that are known to differ: `TREE: NAME: CAUSE`. `memory`: what each box may take (`maxMemory`).
pub fn in_chromium(workspace: &Workspace, parts: &[&str], memory: Option<&str>) -> Result<()> {
    let cases = workspace.root.join("fixtures/programs");
    let known = std::fs::read_to_string(cases.join("browser.txt")).unwrap_or_default();
    let known: Vec<&str> =
        known.lines().filter(|line| !line.is_empty() && !line.starts_with('#')).collect();
    let mut trees = vec![("debian", "bookworm", fixtures::debian(workspace)?)];
    trees.extend(fixtures::alpine(workspace)?.map(|dir| ("alpine", "latest", dir)));
    let (mut jobs, mut expected) = (Vec::new(), Vec::new());
    for (name, tag, dir) in trees {
        let text = std::fs::read_to_string(cases.join(name).with_extension("txt"))?;
        let tree = Tree::new(workspace, name, tag, dir)?;
        for case in parse(&text)? {
            let label = format!("{name}: {}", case.name);
            if !parts.is_empty() && !parts.iter().any(|part| label.contains(part)) {
                continue;
            }
            expected.push((label, tree.native(&case)?));
            let (shell, script) = (case.shell, case.script);
            jobs.push(
                json!({ "box": tree.wasm, "shell": shell, "script": script, "memory": memory }),
            );
        }
    }
    let out = workspace.target.join("programs");
    let (list, results) = (out.join("jobs.json"), out.join("results.json"));
    std::fs::write(&list, serde_json::to_vec(&jobs)?)?;
    let script = workspace.root.join("packages/js/test/programs.js");
    process::run(Command::new("node").arg(script).arg(&list).arg(&results))?;
    let found: Vec<serde_json::Value> = serde_json::from_slice(&std::fs::read(&results)?)?;
    let (mut passed, mut wrong) = (0, 0);
    for ((label, expected), found) in expected.iter().zip(&found) {
        let part = |name: &str| found[name].as_str().unwrap_or_default().to_owned();
        let status = found["status"].as_i64().unwrap_or(-1) as i32;
        let found = told(&(part("stdout") + &part("stderr")), status);
        let known = known.iter().find(|line| line.starts_with(&format!("{label}: ")));
        match (found == *expected, known) {
            (true, None) => passed += 1,
            (false, Some(known)) => println!("known difference: {known}"),
            (true, Some(_)) => {
                wrong += 1;
                println!("{label}: passes, take it out of browser.txt");
            }
            (false, None) => {
                wrong += 1;
                println!("{label}\n{}", difference(&out, expected, &found)?);
            }
        }
    }
    println!("programs: {passed} in Chromium as in a chroot, {wrong} failed");
    if wrong > 0 || found.len() != expected.len() {
        bail!("programs: {wrong} cases are wrong in Chromium");
    }
    Ok(())
}

/// The processors that a box may have.
const LEVELS: [&str; 2] = ["x86-64-v2", "x86-64-v3"];

/// One script.
pub struct Case {
    /// What it is called.
    pub name: String,
    /// Path of the shell.
    pub shell: String,
    /// What the shell is given.
    pub script: String,
}

/// Cases start with `== NAME` or `== NAME |SHELL`; lines before the first are comments.
fn parse(text: &str) -> Result<Vec<Case>> {
    let mut cases: Vec<Case> = Vec::new();
    for line in text.lines() {
        if let Some(title) = line.strip_prefix("== ") {
            let (name, shell) = title.split_once('|').unwrap_or((title, "/bin/sh"));
            let (name, shell) = (name.trim().to_owned(), shell.trim().to_owned());
            cases.push(Case { name, shell, script: String::new() });
        } else if let Some(case) = cases.last_mut() {
            case.script.push_str(line);
            case.script.push('\n');
        } else if !line.is_empty() && !line.starts_with('#') {
            bail!("fixtures/programs: {line:?} stands before the first case");
        }
    }
    Ok(cases)
}

/// The files that a box may make for itself, as docker does.
const OWN_FILES: [&str; 3] = ["etc/hostname", "etc/hosts", "etc/resolv.conf"];

/// A tree, natively and as a box.
pub struct Tree<'a> {
    workspace: &'a Workspace,
    fixture: PathBuf,
    wasm: PathBuf,
    out: PathBuf,
}

impl<'a> Tree<'a> {
    /// Builds the box of `fixture`, whose layout has `tag`.
    pub fn new(workspace: &'a Workspace, name: &str, tag: &str, fixture: PathBuf) -> Result<Self> {
        let out = workspace.target.join("programs");
        make_dir(&out)?;
        let wasm = out.join(name).with_extension("wasm");
        boxer::build_from_layout(workspace, &fixture.join("layout"), tag, "", &wasm)?;
        let tree = Tree { workspace, fixture, wasm, out };
        let own = tree.own_files();
        if own.exists() {
            std::fs::remove_dir_all(&own)?;
        }
        make_dir(&own.join("etc"))?;
        for file in OWN_FILES {
            let mut cat = boxer::command(workspace)?;
            cat.args(["run", "--entrypoint", "/bin/cat"]).arg(&tree.wasm).arg(format!("/{file}"));
            // The box may leave a file as it is in the image, or not have it.
            let Ok(text) = process::stdout(&mut cat) else { continue };
            let image = std::fs::read(tree.fixture.join("rootfs").join(file)).unwrap_or_default();
            if text.as_bytes() != image {
                std::fs::write(own.join(file), text)?;
            }
        }
        Ok(tree)
    }

    /// What the box has in [`OWN_FILES`].
    fn own_files(&self) -> PathBuf {
        self.wasm.with_extension("own")
    }

    /// Output and status in a chroot of the tree under an overlay, with `/proc` and `/dev`. Kept, because
    /// it does not change.
    pub fn native(&self, case: &Case) -> Result<String> {
        let recipe =
            format!("{}\0{}\0{}\0{SET_UP}", self.fixture.display(), case.shell, case.script);
        let kept = self.out.join(format!("{}.expected", process::digest(recipe.as_bytes())));
        if let Ok(text) = std::fs::read_to_string(&kept) {
            return Ok(text);
        }
        let mut unshare = Command::new("unshare");
        unshare.args(["--mount", "--pid", "--fork", "--uts", "/bin/sh", "-c", SET_UP, "sh"]);
        unshare.arg(self.out.join("chroot")).arg(self.fixture.join("rootfs")).arg(self.own_files());
        unshare.arg(&case.shell).arg(&case.script);
        unshare.env_clear().env("PATH", PATH).env("HOME", "/root").env("HOSTNAME", "box");
        let text = outcome(&mut unshare)?;
        std::fs::write(kept, &text)?;
        Ok(text)
    }

    /// Output and status in a box with the processor `cpu`.
    pub fn boxed(&self, case: &Case, cpu: &str) -> Result<String> {
        let mut boxer = boxer::command(self.workspace)?;
        boxer.args([
            "run",
            "--cpu",
            cpu,
            "-e",
            "HOME=/root",
            "-e",
            "HOSTNAME=box",
            "--entrypoint",
            &case.shell,
        ]);
        outcome(boxer.arg(&self.wasm).args(["-c", &case.script]))
    }
}

fn difference(out: &Path, expected: &str, found: &str) -> Result<String> {
    let (chroot, boxed) = (out.join("chroot.txt"), out.join("box.txt"));
    std::fs::write(&chroot, expected)?;
    std::fs::write(&boxed, found)?;
    let mut diff = Command::new("diff");
    diff.args(["-U1", "--label", "chroot", "--label", "box"]).arg(chroot).arg(boxed);
    let text = String::from_utf8_lossy(&diff.output()?.stdout).into_owned();
    Ok(text.lines().take(40).map(|line| format!("    {line}\n")).collect())
}

/// `sh -c SET_UP sh SCRATCH TREE OWN-FILES SHELL SCRIPT`, in a mount namespace of its own.
const SET_UP: &str = r#"set -e
mkdir -p "$1"; mount -t tmpfs tmpfs "$1"; mkdir "$1/upper" "$1/work" "$1/root"
mount -t overlay overlay -o "lowerdir=$2,upperdir=$1/upper,workdir=$1/work" "$1/root"
mount -t proc proc "$1/root/proc"; mount --rbind /dev "$1/root/dev"
umask 022; (cd "$3" && for f in etc/*; do [ -f "$f" ] || continue; rm -f "$1/root/$f"; cat "$f" > "$1/root/$f"; done)
hostname box; exec chroot --userspec=root "$1/root" "$4" -c "$5""#;

const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Standard output, standard error and status as one text, without the times of [`OWN_FILES`].
fn outcome(command: &mut Command) -> Result<String> {
    let output = command.stdin(Stdio::null()).output().context("start a program")?;
    let status = output.status.code().unwrap_or(-1);
    let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    Ok(told(&text, status))
}

fn told(text: &str, status: i32) -> String {
    let mut lines: Vec<String> = text.lines().map(timeless).collect();
    lines.push(format!("status {status}\n"));
    lines.join("\n")
}

/// A line of `ls -l` for one of [`OWN_FILES`] without the time.
fn timeless(line: &str) -> String {
    let words: Vec<&str> = line.split_whitespace().collect();
    match words.as_slice() {
        [mode, _, _, _, size, _, _, _, name]
            if OWN_FILES.iter().any(|file| Path::new(file).file_name() == Some(name.as_ref())) =>
        {
            format!("{mode} {size} {name}")
        }
        _ => line.to_owned(),
    }
}
