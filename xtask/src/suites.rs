//! `cargo xtask suites`: test suites of other projects in a box against the same in a chroot of the same tree, case by case: what
//! passes in the chroot must pass in the box. `fixtures/programs/suites.txt` lists them, with the cases known to differ and why.

mod results;

use crate::paths::Workspace;
use crate::programs::{Case, Tree};
use crate::{fixtures, packages};
use anyhow::{Context, Result, bail};
use results::Results;
use std::time::Instant;

/// Compares every suite; words choose those whose names (`python test_os`) contain one of them.
pub fn run(workspace: &Workspace, rest: &[String]) -> Result<()> {
    packages::ensure(&[packages::DEMO])?;
    let list = std::fs::read_to_string(workspace.root.join("fixtures/programs/suites.txt"))?;
    let suites = parse(&list)?;
    let tree = Tree::new(workspace, "suites", "bookworm", fixtures::suites(workspace)?)?;
    let (mut total, mut passed, mut wrong) = (0, 0, 0);
    for suite in suites {
        let chosen = |part: &String| suite.name().contains(part.as_str());
        if !rest.is_empty() && !rest.iter().any(chosen) {
            continue;
        }
        let start = Instant::now();
        let case = suite.case()?;
        let native = suite.kind.parse(&tree.native(&case)?);
        let boxed = suite.kind.parse(&tree.boxed(&case, "x86-64-v2")?);
        let report = suite.compare(&native, &boxed);
        let seconds = start.elapsed().as_secs();
        println!("{}: {} of {}, {seconds} s", suite.name(), report.passed, report.total);
        for line in &report.wrong {
            println!("    {line}");
        }
        total += report.total;
        passed += report.passed;
        wrong += report.wrong.len();
    }
    println!("suites: {passed} of {total} cases that pass in a chroot pass in a box");
    if wrong > 0 {
        bail!("suites: {wrong} cases are not as suites.txt says");
    }
    Ok(())
}

/// What a suite's output looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Python,
    Go,
    Stress,
}

impl Kind {
    fn parse(self, output: &str) -> Results {
        match self {
            Kind::Python => results::python(output),
            Kind::Go => results::go(output),
            Kind::Stress => results::stress(output),
        }
    }
}

/// One suite: a module of python's tests, a package of Go, a stressor of stress-ng.
struct Suite {
    kind: Kind,
    part: String,
    /// Cases that differ, or beginnings of their names that end with `*`, and why.
    differs: Vec<(String, String)>,
}

/// How a suite went.
struct Report {
    /// Cases that pass in the chroot.
    total: usize,
    /// Those that pass in the box, too.
    passed: usize,
    /// What is not as listed.
    wrong: Vec<String>,
}

impl Suite {
    fn name(&self) -> String {
        let kind = match self.kind {
            Kind::Python => "python",
            Kind::Go => "go",
            Kind::Stress => "stress",
        };
        format!("{kind} {}", self.part)
    }

    /// The script that runs it. Each has a time limit of its own, beyond which the cases that are left count as failed.
    fn case(&self) -> Result<Case> {
        let part = &self.part;
        if !part.bytes().all(|b| b.is_ascii_alphanumeric() || b"_./-".contains(&b)) {
            bail!("suites.txt: {part:?} is no name of a suite");
        }
        let script = match self.kind {
            // A fortieth of its time limit is how long python waits for threads and processes to end, and at least 30 s: too
            // little for five interpreters that start at once on a busy machine.
            Kind::Python => {
                format!("cd /tmp; exec timeout 1200 python3 -m test -v --timeout 12000 {part} 2>&1")
            }
            Kind::Go => format!(
                "cd /opt/go/src/{part}; GOROOT=/opt/go exec timeout 1200 ./suite.test -test.v -test.short 2>&1"
            ),
            Kind::Stress => format!(
                "cd /tmp; ulimit -v 4000000; timeout 120 stress-ng --{part} 1 --timeout 3 --verify; echo suite {part} $?"
            ),
        };
        Ok(Case { name: self.name(), shell: "/bin/sh".to_owned(), script })
    }

    fn compare(&self, native: &Results, boxed: &Results) -> Report {
        let mut report = Report { total: 0, passed: 0, wrong: Vec::new() };
        let listed = |case: &str| {
            self.differs.iter().any(|(name, _)| match name.strip_suffix('*') {
                Some(start) => case.starts_with(start),
                None => case == name,
            })
        };
        for (case, _) in native.iter().filter(|(_, ok)| **ok) {
            report.total += 1;
            match (boxed.get(case), listed(case)) {
                (Some(true), false) => report.passed += 1,
                (Some(true), true) => {
                    report.passed += 1;
                    report.wrong.push(format!("{case}: passes, take it out of suites.txt"));
                }
                (Some(false), false) => report.wrong.push(format!("{case}: fails")),
                (None, false) => report.wrong.push(format!("{case}: skipped, or never ended")),
                (_, true) => {}
            }
        }
        if report.total == 0 {
            report.wrong.push("nothing passes in the chroot".to_owned());
        }
        report
    }
}

/// `== KIND PART` starts a suite; each line below it is `CASE: CAUSE`; `#` starts a comment.
fn parse(text: &str) -> Result<Vec<Suite>> {
    let mut suites: Vec<Suite> = Vec::new();
    for line in text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        if let Some(title) = line.strip_prefix("== ") {
            let (kind, part) = title.split_once(' ').context("suites.txt: == KIND PART")?;
            let kind = match kind {
                "python" => Kind::Python,
                "go" => Kind::Go,
                "stress" => Kind::Stress,
                other => bail!("suites.txt: there is no kind {other:?}"),
            };
            suites.push(Suite { kind, part: part.to_owned(), differs: Vec::new() });
            continue;
        }
        let suite =
            suites.last_mut().context("suites.txt: a case stands before the first suite")?;
        let (case, cause) = line.split_once(": ").context("suites.txt: CASE: CAUSE")?;
        suite.differs.push((case.to_owned(), cause.to_owned()));
    }
    Ok(suites)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listed_differences_are_neither_passed_nor_wrong() {
        let suites = parse("# why\n== go os\nTestA: cause\nTestB*: cause\n").unwrap();
        let native =
            results::go("--- PASS: TestA\n--- PASS: TestB/x\n--- PASS: TestC\n--- FAIL: TestD");
        let boxed = results::go("--- FAIL: TestA\n--- PASS: TestC");
        let report = suites[0].compare(&native, &boxed);
        assert_eq!((report.total, report.passed, report.wrong.len()), (3, 1, 0));
        let report = suites[0].compare(&native, &native);
        assert_eq!((report.total, report.passed, report.wrong.len()), (3, 3, 2));
        let report = suites[0].compare(&native, &results::go(""));
        assert_eq!(report.wrong, ["TestC: skipped, or never ended"]);
    }

    #[test]
    fn a_list_that_is_wrong_is_refused() {
        for text in ["TestA: cause", "== perl t", "== go", "== go os\nTestA"] {
            assert!(parse(text).is_err(), "{text}");
        }
        assert!(parse("== python a;b").unwrap()[0].case().is_err());
    }
}
