//! Each case of `fixtures/buildkit/*.cases` is a Dockerfile whose image config, history and layers must be those that
//! BuildKit makes of it; where ours differ, the case says why. `BOXER_BLESS=1` writes ours anew (under `--- boxer`, where they
//! differ); `BOXER_REFERENCE=1` asks the docker of `DOCKER_HOST` for BuildKit's. The first line of a file names its version.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test")]

#[path = "buildkit/bench.rs"]
mod bench;
#[path = "buildkit/cases.rs"]
mod cases;
#[path = "buildkit/listing.rs"]
mod listing;
#[path = "buildkit/reference.rs"]
mod reference;

use std::path::PathBuf;

use bench::Bench;
use cases::CaseFile;

fn folder() -> PathBuf {
    std::env::current_dir().unwrap().join("../../fixtures/buildkit")
}

fn case_files() -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "cases"))
        .collect();
    files.sort();
    files
}

#[test]
fn images_are_those_of_buildkit() {
    let set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    let only = std::env::var("BOXER_CASE").ok();
    let bench = Bench::new(&folder());
    let workshop = bench.workshop();
    let bases = bench.bases(&workshop);
    let (mut wrong, mut count, mut skipped) = (Vec::new(), 0, 0);
    for path in case_files() {
        let mut file = CaseFile::read(&path);
        for case in &mut file.cases {
            let name = format!("{} {}", path.file_name().unwrap().display(), case.name);
            if only.as_ref().is_some_and(|only| !name.contains(only.as_str())) {
                continue;
            }
            if set("BOXER_REFERENCE") {
                case.buildkit = reference::build(&bench, case);
            }
            if !bench.can(case, &bases) {
                skipped += 1;
                continue;
            }
            count += 1;
            let got = bench.build(&workshop, case, &bases);
            let expected = case.boxer.as_ref().unwrap_or(&case.buildkit);
            if set("BOXER_BLESS") {
                case.boxer = (got != case.buildkit).then_some(got);
            } else if got != *expected {
                wrong.push(format!("=== {name}\n{}", cases::difference(expected, &got)));
            } else if case.boxer.as_ref().is_some_and(|ours| *ours == case.buildkit) {
                wrong.push(format!("=== {name}\nequals BuildKit's now: remove its boxer part"));
            } else if case.boxer.is_some() && case.why.is_empty() && !both_fail(case) {
                wrong.push(format!("=== {name}\ndiffers from BuildKit without a `# why:` line"));
            }
        }
        if set("BOXER_REFERENCE") || set("BOXER_BLESS") {
            file.write(&path);
        }
    }
    if skipped > 0 {
        println!("{skipped} cases skipped: no guest program or no Alpine archive here");
    }
    assert!(wrong.is_empty(), "{} of {count} wrong\n{}", wrong.len(), wrong.join("\n"));
    assert!(count > 0 || only.is_some(), "no case was tried");
}

/// Two failures are the same verdict, whatever their words.
fn both_fail(case: &cases::Case) -> bool {
    let fails = |text: &str| text.starts_with("error ");
    fails(&case.buildkit) && case.boxer.as_deref().is_some_and(fails)
}

/// `docs/compatibility.md` says of each case what its fixture says.
#[test]
fn the_page_of_compatibility_is_that_of_the_cases() {
    let page = cases::page(&case_files());
    let path = folder().join("../../docs/compatibility.md");
    if std::env::var_os("BOXER_BLESS").is_some_and(|value| !value.is_empty()) {
        std::fs::write(&path, &page).unwrap();
    }
    let there = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(there == page, "docs/compatibility.md is out of date: BOXER_BLESS=1 writes it anew");
}
