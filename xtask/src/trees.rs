//! `cargo xtask trees`: Dockerfiles of `fixtures/programs/trees.txt` built by boxer and by buildah, and the trees compared: type, mode,
//! owner, size, link and content of every file, but for the paths that are listed there with a cause.

use crate::paths::{Workspace, make_dir};
use crate::{boxer, fixtures, packages, process};
use anyhow::{Context, Result, bail};
use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

/// Compares every case; words choose those whose names contain one of them.
pub fn run(workspace: &Workspace, rest: &[String]) -> Result<()> {
    packages::ensure(&[packages::DEMO, packages::TESTS])?;
    let list = Cases::parse(&std::fs::read_to_string(
        workspace.root.join("fixtures/programs/trees.txt"),
    )?)?;
    let base = fixtures::debian(workspace)?;
    let sources = fixtures::sources()?;
    let out = workspace.target.join("trees");
    let buildah = Buildah::new(&out, &base)?;
    let mut wrong = 0;
    for (name, text) in &list.cases {
        if !rest.is_empty() && !rest.iter().any(|part| name.contains(part.as_str())) {
            continue;
        }
        let context = out.join(name);
        if context.exists() {
            std::fs::remove_dir_all(&context)?;
        }
        make_dir(&context)?;
        std::fs::write(context.join("sources.list"), &sources)?;
        let head = "ARG BASE=bookworm\nFROM ${BASE}\nENV DEBIAN_FRONTEND=noninteractive\nCOPY sources.list /etc/apt/sources.list\n";
        std::fs::write(context.join("Dockerfile"), format!("{head}{text}"))?;
        let start = Instant::now();
        let ours = context.join("tree");
        let mut build = boxer::command(workspace)?;
        build.args(["build", "--no-cache", "--build-context"]);
        build.arg(format!("bookworm=oci-layout:{}:bookworm", base.join("layout").display()));
        build.arg("-o").arg(format!("type=local,dest={}", ours.display()));
        process::quiet(build.arg(&context))?;
        let boxer_seconds = start.elapsed().as_secs();
        let ours = listing(&ours)?;
        let start = Instant::now();
        let theirs = listing(Path::new(&buildah.build(&context)?))?;
        let buildah_seconds = start.elapsed().as_secs();
        let (differ, named) = list.differences(&ours, &theirs);
        println!(
            "trees: {name}: {} files, {} differ, {named} more as trees.txt says; {boxer_seconds} s, buildah {buildah_seconds} s",
            theirs.len(),
            differ.len(),
        );
        for line in &differ {
            println!("    {line}");
        }
        wrong += differ.len();
    }
    if wrong > 0 {
        bail!("trees: {wrong} files are not as buildah makes them");
    }
    Ok(())
}

/// What `trees.txt` says.
struct Cases {
    /// Paths that may differ, or beginnings of such that end with `*`.
    named: Vec<String>,
    /// Name, and the Dockerfile's lines after FROM.
    cases: Vec<(String, String)>,
}

impl Cases {
    fn parse(text: &str) -> Result<Cases> {
        let mut found = Cases { named: Vec::new(), cases: Vec::new() };
        for line in text.lines() {
            if let Some(name) = line.strip_prefix("== ") {
                found.cases.push((name.to_owned(), String::new()));
            } else if let Some((_, text)) = found.cases.last_mut() {
                text.push_str(line);
                text.push('\n');
            } else if !line.is_empty() && !line.starts_with('#') {
                let (path, _) = line.split_once(": ").context("trees.txt: PATH: CAUSE")?;
                found.named.push(path.to_owned());
            }
        }
        Ok(found)
    }

    /// A line for each difference that is not named, and the number of those that are.
    fn differences(&self, ours: &Tree, theirs: &Tree) -> (Vec<String>, usize) {
        let (mut lines, mut named) = (Vec::new(), 0);
        let paths: std::collections::BTreeSet<&String> = ours.keys().chain(theirs.keys()).collect();
        for path in paths {
            let (here, there) = (ours.get(path), theirs.get(path));
            if here == there {
                continue;
            }
            let is_named = self.named.iter().any(|name| match name.strip_suffix('*') {
                Some(start) => path.starts_with(start),
                None => path == name,
            });
            if is_named {
                named += 1;
                continue;
            }
            let shown = |entry: Option<&String>| entry.map_or("absent", String::as_str).to_owned();
            lines.push(format!("{path}: {}, in buildah's tree {}", shown(here), shown(there)));
        }
        (lines, named)
    }
}

/// Path → what is there.
type Tree = BTreeMap<String, String>;

fn listing(dir: &Path) -> Result<Tree> {
    let mut find = Command::new("find");
    find.current_dir(dir).args([".", "-mindepth", "1"]);
    // Sizes of directories are the host's; of links too.
    find.args([
        "-type",
        "f",
        "-printf",
        "%P\\t%y %m %U:%G %s\\n",
        "-o",
        "-printf",
        "%P\\t%y %m %U:%G %l\\n",
    ]);
    let mut tree = Tree::new();
    for line in process::stdout(&mut find)?.lines() {
        let (path, entry) = line.split_once('\t').context("find: a name with a line end")?;
        tree.insert(path.to_owned(), entry.to_owned());
    }
    let sums = "find . -type f -print0 | LC_ALL=C sort -z | xargs -0 sha256sum";
    let sums = process::stdout(Command::new("/bin/sh").args(["-c", sums]).current_dir(dir))?;
    for line in sums.lines() {
        let (sum, path) = line.split_once("  ./").context("sha256sum: a name with a line end")?;
        if let Some(entry) = tree.get_mut(path) {
            entry.push_str(&format!(" sha256:{}", &sum[..16.min(sum.len())]));
        }
    }
    Ok(tree)
}

/// buildah with a store of its own.
struct Buildah {
    root: std::path::PathBuf,
}

impl Buildah {
    fn new(out: &Path, base: &Path) -> Result<Buildah> {
        let buildah = Buildah { root: out.join("buildah") };
        make_dir(&buildah.root)?;
        let images = process::stdout(&mut buildah.command(&[
            "images",
            "--quiet",
            "--filter",
            "reference=bookworm",
        ]))?;
        if images.trim().is_empty() {
            let container = process::stdout(&mut buildah.command(&["from", "scratch"]))?;
            let container = container.trim();
            let mut add = buildah.command(&["add", "--quiet", container]);
            process::quiet(add.arg(base.join("rootfs")).arg("/"))?;
            let path = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
            process::quiet(&mut buildah.command(&["config", "--env", path, container]))?;
            process::quiet(&mut buildah.command(&["commit", "--quiet", container, "bookworm"]))?;
            process::quiet(&mut buildah.command(&["rm", container]))?;
        }
        Ok(buildah)
    }

    /// Without privileges of a container runtime; its plainest driver.
    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new("buildah");
        command.arg("--root").arg(self.root.join("store"));
        command.arg("--runroot").arg(self.root.join("run"));
        command.args(["--storage-driver", "vfs"]).args(args);
        command
    }

    /// Where the built tree lies.
    fn build(&self, context: &Path) -> Result<String> {
        let mut build =
            self.command(&["bud", "--isolation", "chroot", "--no-cache", "--tag", "built"]);
        build.args(["--build-arg", "BASE=localhost/bookworm"]);
        process::quiet(build.arg(context))?;
        let container = process::stdout(&mut self.command(&["from", "localhost/built"]))?;
        Ok(process::stdout(&mut self.command(&["mount", container.trim()]))?.trim().to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn named_differences_are_counted_and_others_shown() {
        let list = Cases::parse("# why\na/*: cause\nb: cause\n== one\nRUN x\n").unwrap();
        assert_eq!(list.cases, [("one".to_owned(), "RUN x\n".to_owned())]);
        let tree = |words: &[(&str, &str)]| {
            words.iter().map(|(p, e)| ((*p).to_owned(), (*e).to_owned())).collect::<Tree>()
        };
        let ours = tree(&[("a/x", "1"), ("b", "1"), ("bb", "1"), ("c", "1")]);
        let theirs = tree(&[("b", "2"), ("bb", "2"), ("c", "1"), ("d", "1")]);
        let (lines, named) = list.differences(&ours, &theirs);
        assert_eq!(named, 2);
        assert_eq!(lines, ["bb: 1, in buildah's tree 2", "d: absent, in buildah's tree 1"]);
        assert!(Cases::parse("a\n").is_err());
    }
}
