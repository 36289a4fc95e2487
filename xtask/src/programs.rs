//! `cargo xtask programs`: real programs in a box against the same commands in a chroot of the same
//! tree. The cases are `fixtures/programs/*.txt`; `known-failures.txt` there lists those that are known
//! to differ, one `FILE: NAME` a line, and an entry that no longer differs is an error.

use crate::paths::{Workspace, make_dir};
use crate::{boxer, fixtures, packages, process};
use anyhow::{Context, Result, bail};
use std::collections::BTreeSet;
use std::path::Path;
use std::process::{Command, Stdio};

/// Compares every case on every tree that is at hand.
pub fn run(workspace: &Workspace) -> Result<()> {
    packages::ensure(&[packages::DEMO])?;
    let cases = workspace.root.join("fixtures/programs");
    let known = std::fs::read_to_string(cases.join("known-failures.txt")).unwrap_or_default();
    let known = known.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    let mut known: BTreeSet<String> = known.map(str::to_owned).collect();
    let mut wrong = Vec::new();
    let debian = fixtures::debian(workspace)?;
    let mut trees = vec![("debian", "bookworm", debian)];
    trees.extend(fixtures::alpine(workspace)?.map(|dir| ("alpine", "latest", dir)));
    for (name, tag, dir) in trees {
        let text = std::fs::read_to_string(cases.join(name).with_extension("txt"))?;
        let out = workspace.target.join("programs");
        make_dir(&out)?;
        let wasm = out.join(name).with_extension("wasm");
        boxer::build_from_layout(workspace, &dir.join("layout"), tag, &wasm)?;
        let mut passed = 0;
        for case in parse(&text)? {
            let label = format!("{name}: {}", case.name);
            let expected = native(&dir, &case, &out)?;
            let found = boxed(workspace, &wasm, &case)?;
            match (expected == found, known.remove(&label)) {
                (true, false) => passed += 1,
                (false, true) => println!("known failure: {label}"),
                (true, true) => {
                    wrong.push(format!("{label}: passes, take it out of known-failures.txt"))
                }
                (false, false) => {
                    wrong.push(format!("{label}\n--- chroot\n{expected}\n--- box\n{found}"))
                }
            }
        }
        println!("programs: {name}: {passed} as in a chroot");
    }
    for text in &wrong {
        println!("programs: {text}");
    }
    if !wrong.is_empty() {
        bail!("programs: {} cases are wrong", wrong.len());
    }
    Ok(())
}

/// One script.
struct Case {
    name: String,
    shell: String,
    script: String,
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

/// Output and status in a chroot of a fresh copy of the tree, with `/proc` and `/dev`; kept, because it never changes.
fn native(fixture: &Path, case: &Case, out: &Path) -> Result<String> {
    let key = process::digest(
        format!("{}\0{}\0{}", fixture.display(), case.shell, case.script).as_bytes(),
    );
    let kept = out.join(format!("{key}.expected"));
    if let Ok(text) = std::fs::read_to_string(&kept) {
        return Ok(text);
    }
    let overlay = out.join("chroot");
    let script = "set -e; mkdir -p \"$1/upper\" \"$1/work\" \"$1/root\"; mount -t tmpfs tmpfs \"$1\"; \
                  mkdir \"$1/upper\" \"$1/work\" \"$1/root\"; \
                  mount -t overlay overlay -o lowerdir=\"$2\",upperdir=\"$1/upper\",workdir=\"$1/work\" \"$1/root\"; \
                  mount -t proc proc \"$1/root/proc\"; mount --rbind /dev \"$1/root/dev\"; shift 0; \
                  exec chroot \"$1/root\" \"$3\" -c \"$4\"";
    let mut unshare = Command::new("unshare");
    unshare.args(["--mount", "--pid", "--fork", "--uts", "/bin/sh", "-c", script, "sh"]);
    unshare.arg(&overlay).arg(fixture.join("rootfs")).arg(&case.shell).arg(&case.script);
    unshare.env_clear().env("PATH", PATH).env("HOME", "/root").env("HOSTNAME", "box");
    let text = outcome(&mut unshare)?;
    std::fs::write(kept, &text)?;
    Ok(text)
}

const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

fn boxed(workspace: &Workspace, wasm: &Path, case: &Case) -> Result<String> {
    let mut boxer = boxer::command(workspace)?;
    boxer.args(["run", "-e", "HOME=/root", "-e", "HOSTNAME=box", "--entrypoint", &case.shell]);
    outcome(boxer.arg(wasm).args(["-c", &case.script]))
}

/// Standard output, standard error and status as one text.
fn outcome(command: &mut Command) -> Result<String> {
    let output = command.stdin(Stdio::null()).output().context("start a program")?;
    let text = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    let status = output.status.code().unwrap_or(-1);
    Ok(format!("{text}{errors}status {status}\n"))
}
