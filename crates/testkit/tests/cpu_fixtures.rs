//! Replays `fixtures/x86/*.ins` through lifter and interpreter, and on the processor itself, and fuzzes a little.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use iced_x86::Instruction;
use std::path::Path;
use testkit::cpu::{
    Case, Outcome, compare::differences, emulated::Emulated, generate, line, native::Native,
    random::Rng, templates,
};

/// (place, line, case, expected) of all fixtures.
fn fixtures() -> Vec<(String, Case, Outcome)> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/x86");
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

/// What the processor says today is what the fixtures say, and what the interpreter does with fresh cases.
#[test]
fn processor_agrees() {
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
    let (templates, mut rng) = (templates::all(), Rng::new(20261122));
    let lifted = x86::supported_mnemonics();
    let cases: Vec<Case> = (0..40_000)
        .filter_map(|i| match i % 4 {
            0 => generate::sequence(&mut rng, &templates),
            _ => generate::case(&mut rng, &templates[i % templates.len()]),
        })
        .filter(|case| {
            let name = |i: Instruction| format!("{:?}", i.mnemonic()).to_lowercase();
            generate::decode(&case.code).is_none_or(|i| lifted.contains(&name(i)))
        })
        .collect();
    let mut ours = Emulated::new();
    for (case, there) in cases.iter().zip(native.run(&cases)) {
        let diff = differences(case, &there, &ours.run(case));
        if !diff.is_empty() {
            found.push(format!("{}\n  {}", line::print(case, &there), diff.join("; ")));
        }
    }
    report(&found);
}
