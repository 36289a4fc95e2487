//! Replays `fixtures/x86/*.ins` through lifter and interpreter, and on the processor itself, and fuzzes a little.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use testkit::cpu::campaign::{self, Finding, Goal, Plan};
use testkit::cpu::{Case, Outcome, compare::differences, emulated::Emulated, line, native::Native};

/// (place, line, case, expected) of all fixtures.
fn fixtures() -> Vec<(String, Case, Outcome)> {
    let dir = std::env::current_dir().unwrap().join("../../fixtures/x86");
    let mut files: Vec<_> = std::fs::read_dir(dir).unwrap().map(|e| e.unwrap().path()).collect();
    files.retain(|f| f.extension().is_some_and(|e| e == "ins"));
    files.sort();
    let mut all = Vec::new();
    for file in files {
        let text = std::fs::read_to_string(&file).unwrap();
        for (n, text) in text.lines().enumerate() {
            if text.is_empty() || text.starts_with('#') {
                continue;
            }
            let place = format!("{}:{}", file.file_name().unwrap().to_string_lossy(), n + 1);
            let (case, outcome) = line::parse(text).unwrap_or_else(|e| panic!("{place}: {e}"));
            all.push((place, case, outcome));
        }
    }
    assert!(!all.is_empty());
    all
}

fn report(found: &[String]) {
    assert!(found.is_empty(), "{} differ:\n{}", found.len(), found.join("\n"));
}

#[test]
fn fixtures_hold_in_the_interpreter() {
    let mut ours = Emulated::new();
    let mut found = Vec::new();
    for (place, case, expected) in fixtures() {
        let diff = differences(&case, &expected, &ours.run(&case));
        if !diff.is_empty() {
            found.push(format!("{place}: {}", diff.join("; ")));
        }
    }
    report(&found);
}

/// What the processor says today is what the fixtures say.
#[test]
fn processor_agrees_with_the_fixtures() {
    if let Some(why) = Native::unsuitable() {
        println!("skipped: {why}");
        return;
    }
    let mut native = Native::new();
    let all = fixtures();
    let cases: Vec<Case> = all.iter().map(|f| f.1.clone()).collect();
    let mut found = Vec::new();
    for ((place, case, expected), actual) in all.iter().zip(native.run(&cases)) {
        let diff = differences(case, &actual, expected);
        if !diff.is_empty() {
            found.push(format!("{place}: {}", diff.join("; ")));
        }
    }
    report(&found);
}

/// The interpreter does with fresh cases what the processor does.
#[test]
fn processor_agrees_with_the_interpreter() {
    if let Some(why) = Native::unsuitable() {
        println!("skipped: {why}");
        return;
    }
    let plan = Plan {
        seed: 20_261_122,
        families: campaign::families(),
        goal: Goal::Instructions(200_000),
        jobs: 2,
        show: 1,
        samples: 0,
        print: false,
    };
    let mut found = Vec::new();
    campaign::run(&plan, |_, part| {
        let one = |f: Finding| format!("{}\n  {}: {}", f.line, f.name, f.differences.join("; "));
        found.extend(part.findings.into_iter().map(one));
    });
    report(&found);
}
