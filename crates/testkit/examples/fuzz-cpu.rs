//! Differential fuzzing of the CPU: `fuzz-cpu [--count N] [--seed S] [--family F[,F…]] [--show N] [--lines]`.
//!
//! Prints each divergence with what differs (`--show` of them for each mnemonic), shrunk to the line that goes into
//! `fixtures/x86/*.ins` (only the lines with `--lines`), and a summary by mnemonic. `--samples N` prints lines of the
//! first N cases of each mnemonic that agree: that is how the fixtures were made. `--print` prints the line of every case
//! with the processor's outcome and compares nothing: input for `replay-cpu`.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::BTreeMap;
use testkit::cpu::{
    End,
    compare::differences,
    emulated::Emulated,
    generate, line,
    native::Native,
    random::Rng,
    shrink::{sample, shrink},
    templates,
};

fn main() {
    let mut count = 20_000usize;
    let mut seed = 1u64;
    let mut families: Vec<String> = Vec::new();
    let mut show = 2usize;
    let mut lines = false;
    let mut samples = 0usize;
    let mut print = false;
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        let mut value = || args.next().unwrap_or_else(|| panic!("{arg} needs a value"));
        match arg.as_str() {
            "--count" => count = value().parse().expect("--count N"),
            "--seed" => seed = value().parse().expect("--seed S"),
            "--show" => show = value().parse().expect("--show N"),
            "--family" => families = value().split(',').map(str::to_owned).collect(),
            "--lines" => lines = true,
            "--print" => print = true,
            "--samples" => samples = value().parse().expect("--samples N"),
            _ => {
                panic!("{arg:?} is unknown; families: sequence {}", templates::families().join(" "))
            }
        }
    }
    // Not a family of templates: several integer instructions in a row.
    let sequences = families.iter().any(|f| f == "sequence");
    let templates: Vec<_> = templates::all()
        .into_iter()
        .filter(|t| sequences || families.is_empty() || families.iter().any(|f| f == t.family))
        .collect();
    assert!(!templates.is_empty(), "families: {}", templates::families().join(" "));
    eprintln!("seed {seed}, {count} cases");
    let mut rng = Rng::new(seed);
    let (mut native, mut ours) = (Native::new(), Emulated::new());
    // By mnemonic: cases, divergences.
    let mut tally: BTreeMap<String, (usize, usize)> = BTreeMap::new();
    let (mut made, mut lost, mut missing) = (0, 0, BTreeMap::<String, usize>::new());
    while made < count {
        let batch: Vec<_> = (0..1024)
            .filter_map(|_| {
                if sequences {
                    return generate::sequence(&mut rng, &templates);
                }
                let i = rng.below(templates.len());
                generate::case(&mut rng, &templates[i])
            })
            .collect();
        made += batch.len();
        let there = native.run(&batch);
        if print {
            for (case, outcome) in batch.iter().zip(&there).filter(|(_, o)| o.end != End::Lost) {
                println!("{}", line::print(case, outcome));
            }
            continue;
        }
        for (case, native_outcome) in batch.iter().zip(&there) {
            let name = generate::decode(&case.code)
                .map_or("?".into(), |i| format!("{:?}", i.mnemonic()).to_lowercase());
            let entry = tally.entry(name.clone()).or_default();
            entry.0 += 1;
            if native_outcome.end == End::Lost {
                lost += 1;
                continue;
            }
            let here = ours.run(case);
            let valid = generate::decode(&case.code).is_some();
            if valid && here.end == End::Trap(ir::TrapKind::Ud) && native_outcome.end != here.end {
                *missing.entry(name).or_default() += 1;
                continue;
            }
            if differences(case, native_outcome, &here).is_empty() {
                // One fault in eight samples is enough.
                let wanted = native_outcome.end == End::Done || rng.one_in(8);
                if entry.0 - entry.1 <= samples && wanted {
                    let small = sample(&mut ours, case);
                    let expected = native.run(std::slice::from_ref(&small)).remove(0);
                    println!("{}", line::print(&small, &expected));
                }
                continue;
            }
            entry.1 += 1;
            if entry.1 > show {
                continue;
            }
            let small = shrink(&mut native, &mut ours, case);
            let expected = native.run(std::slice::from_ref(&small)).remove(0);
            let found = differences(&small, &expected, &ours.run(&small));
            println!("{}", line::print(&small, &expected));
            if !lines {
                println!("    # {name}: {}", found.join("; "));
            }
        }
    }
    let bad: Vec<String> = tally
        .iter()
        .filter(|(_, v)| v.1 > 0)
        .map(|(k, v)| format!("{k} {}/{}", v.1, v.0))
        .collect();
    if print {
        return;
    }
    eprintln!("{made} cases, {} mnemonics, {lost} lost", tally.len());
    eprintln!("diverging: {}", if bad.is_empty() { "none".into() } else { bad.join(", ") });
    let missing: Vec<String> = missing.iter().map(|(k, n)| format!("{k} {n}")).collect();
    eprintln!(
        "not lifted: {}",
        if missing.is_empty() { "none".into() } else { missing.join(", ") }
    );
    if !bad.is_empty() {
        std::process::exit(1);
    }
}
