//! Replays lines of `fixtures/x86/*.ins` from standard input through lifter and interpreter: `replay-cpu < LINES`.
//!
//! Prints the first lines whose outcome differs, and a count; the status is 1 if any did. With `--unlifted`,
//! instructions that are not lifted are only counted. The same program runs natively and in Wasm, where vectors take
//! other paths: `cargo xtask replay-cpu`.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::io::BufRead;
use testkit::cpu::{End, compare::differences, emulated::Emulated, line};

/// Lines shown.
const SHOWN: usize = 20;

fn main() {
    let skip = std::env::args().nth(1).is_some_and(|arg| arg == "--unlifted");
    let mut ours = Emulated::new();
    let (mut cases, mut bad, mut unlifted) = (0, 0, 0);
    for text in std::io::stdin().lock().lines() {
        let text = text.expect("a line");
        if text.is_empty() || text.starts_with('#') {
            continue;
        }
        let (case, expected) = line::parse(&text).unwrap_or_else(|e| panic!("{text}: {e}"));
        let outcome = ours.run(&case);
        cases += 1;
        if skip && outcome.end == End::Trap(ir::TrapKind::Ud) && expected.end != outcome.end {
            unlifted += 1;
            continue;
        }
        let found = differences(&case, &expected, &outcome);
        if !found.is_empty() {
            bad += 1;
            if bad <= SHOWN {
                println!("{text}\n    # {}", found.join("; "));
            }
        }
    }
    println!("{cases} cases, {bad} differ, {unlifted} not lifted");
    // None at all are fine where this machine's processor cannot say what is right.
    if bad != 0 || cases == 0 && !skip {
        std::process::exit(1);
    }
}
