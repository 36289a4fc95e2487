//! What the processor and the interpreter do, translated code does: the fixtures of `fixtures/x86`, and fresh cases of all
//! families against the interpreter (which `cargo xtask fuzz-cpu` compares with the processor).
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod translated;

use testkit::cpu::campaign::{self, SEQUENCE};
use testkit::cpu::compare::differences;
use testkit::cpu::generate::same_code;
use testkit::cpu::random::Rng;
use testkit::cpu::sequence::{Grammar, sequence};
use testkit::cpu::{Case, line, templates};
use translated::{Manner, ONCE, Tally, differing, run, shapes, without_entries};

#[test]
fn fixtures_hold_in_translated_code() {
    let dir = std::env::current_dir().unwrap().join("../../fixtures/x86");
    let mut files: Vec<_> = std::fs::read_dir(dir).unwrap().map(|e| e.unwrap().path()).collect();
    files.retain(|f| f.extension().is_some_and(|e| e == "ins"));
    files.sort();
    let mut all = Vec::new();
    for file in files {
        let text = std::fs::read_to_string(&file).unwrap();
        for (n, text) in text.lines().enumerate() {
            if !text.is_empty() && !text.starts_with('#') {
                let place = format!("{}:{}", file.file_name().unwrap().to_string_lossy(), n + 1);
                let (case, outcome) = line::parse(text).unwrap_or_else(|e| panic!("{place}: {e}"));
                all.push((place, case, outcome));
            }
        }
    }
    let cases = without_entries(all.iter().map(|(_, case, _)| case.clone()));
    let mut found = Vec::new();
    let tally = run(&cases, ONCE, |n, actual| {
        let (place, case, expected) = &all[n];
        let diff = differences(case, expected, actual);
        if !diff.is_empty() {
            found.push(format!("{place}: {}", diff.join("; ")));
        }
    });
    check("fixtures", &tally, &found);
}

/// Says what ran, and fails if something differs or nearly nothing was translated.
fn check(name: &str, tally: &Tally, found: &[String]) {
    println!("{name}: {tally:?}");
    assert!(found.is_empty(), "{name}: {} differ:\n{}", found.len(), found.join("\n"));
    assert!(tally.translated > tally.cases / 4, "{name}: most of it was left to the interpreter");
}

/// `count` cases of every family, and sequences in loops and calls, from `seed` on.
fn fuzz(seed: u64, count: usize) {
    let templates = templates::all();
    let grammar = Grammar::new(&templates);
    let mut rng = Rng::new(seed);
    let mut alone = Vec::new();
    for family in campaign::families() {
        let mut mine = Vec::new();
        while mine.len() < count {
            let new = campaign::cases(&mut rng, &templates, &grammar, family);
            if new.is_empty() {
                break;
            }
            mine.extend(new);
        }
        mine.truncate(count);
        if family == SEQUENCE {
            let (tally, found) = differing(&without_entries(mine), ONCE);
            check(family, &tally, &found);
        } else {
            alone.extend(mine);
        }
    }
    let (tally, found) = differing(&without_entries(alone), ONCE);
    check("one instruction", &tally, &found);
    // The quick path of floats, and what is known from one instruction to the next.
    let vectors = |family: &str| family.starts_with("sse") || family.starts_with("avx");
    let of_vectors: Vec<_> = templates.iter().filter(|t| vectors(t.family)).cloned().collect();
    let grammar_of_vectors = Grammar::new(&of_vectors);
    let mut numbers = Vec::new();
    while numbers.len() < 2 * count {
        sequence(&mut rng, &grammar_of_vectors, 4, &mut numbers);
        let template = &of_vectors[rng.below(of_vectors.len())];
        same_code(&mut rng, template, 4, &mut numbers);
    }
    let numbers: Vec<Case> = numbers.iter().map(|case| shapes::ordinary(&mut rng, case)).collect();
    let (tally, found) = differing(&without_entries(numbers), ONCE);
    check("everyday numbers", &tally, &found);
    // A region for each block: fewer codes.
    let sequences = |rng: &mut Rng| {
        let mut cases: Vec<Case> = Vec::new();
        while cases.len() < count.div_ceil(16) {
            sequence(rng, &grammar, 4, &mut cases);
        }
        let of_numbers: Vec<Case> = cases.iter().map(|case| shapes::ordinary(rng, case)).collect();
        cases.extend(of_numbers);
        cases
    };
    for (fuel, depth) in [(1, 1), (97, 0), (10_000, 3)] {
        let manner = Manner { once: false, fuel, depth };
        let loops = sequences(&mut rng);
        let loops =
            loops.iter().filter_map(|case| shapes::looped(&mut rng, case)).collect::<Vec<_>>();
        let (tally, found) = differing(&without_entries(loops), manner);
        check(&format!("loops, {manner:?}"), &tally, &found);
        let calls = sequences(&mut rng);
        let calls =
            calls.iter().filter_map(|case| shapes::called(&mut rng, case)).collect::<Vec<_>>();
        let (tally, found) = differing(&calls, manner);
        check(&format!("calls, {manner:?}"), &tally, &found);
    }
}

#[test]
fn fresh_cases_hold_in_translated_code() {
    fuzz(1, 800);
}

/// `cargo xtask fuzz-cpu --translated`: rounds of other seeds, as many as `BOXER_FUZZ_ROUNDS` says.
#[test]
#[ignore = "runs for minutes"]
fn many_fresh_cases_hold_in_translated_code() {
    let number = |name: &str, default: u64| {
        std::env::var(name).ok().and_then(|n| n.parse().ok()).unwrap_or(default)
    };
    let (seed, rounds) = (number("BOXER_FUZZ_SEED", 2), number("BOXER_FUZZ_ROUNDS", 20));
    for round in seed..seed + rounds {
        println!("seed {round}");
        fuzz(round, 4000);
    }
}
