//! Differential fuzzing of the CPU:
//! `fuzz-cpu [--family all|F[,F…]] [--count N | --instructions N] [--seed S] [--jobs N] [--show N] [--lines] [--samples N]`.
//!
//! Prints each divergence with what differs (`--show` of them for each mnemonic), shrunk to the line that goes into
//! `fixtures/x86/*.ins` (only the lines with `--lines`), and a summary by family. `--samples N` prints lines of the first
//! N cases of each form of an instruction that agree: that is how the fixtures were made. The seed, and nothing else,
//! decides what is run; without one it is taken from the clock. `--print` prints the line of every case with the
//! processor's outcome and compares nothing: input for `replay-cpu`.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::{BTreeMap, HashMap};
use std::time::{Instant, SystemTime};
use testkit::cpu::campaign::{self, Goal, Plan, Report};
use testkit::cpu::native::Native;

fn main() {
    let clock = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("a clock");
    let mut plan = Plan {
        seed: clock.as_millis() as u64,
        families: campaign::families(),
        goal: Goal::Instructions(1_000_000),
        jobs: std::thread::available_parallelism().map_or(1, usize::from),
        show: 2,
        samples: 0,
        print: false,
    };
    let mut lines = false;
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        let mut value = || args.next().unwrap_or_else(|| panic!("{arg} needs a value"));
        let mut number = || value().parse().unwrap_or_else(|_| panic!("{arg} needs a number"));
        match arg.as_str() {
            "--count" => plan.goal = Goal::Cases(number()),
            "--instructions" => plan.goal = Goal::Instructions(number()),
            "--seed" => plan.seed = number(),
            "--jobs" => plan.jobs = number() as usize,
            "--show" => plan.show = number() as usize,
            "--samples" => plan.samples = number() as usize,
            "--lines" => lines = true,
            "--print" => plan.print = true,
            "--family" => plan.families = families(&value()),
            _ => panic!("{arg:?} is unknown"),
        }
    }
    if let Some(why) = Native::unsuitable() {
        println!("# skipped: {why}");
        return;
    }
    println!("# seed {}", plan.seed);
    let begin = Instant::now();
    let mut totals: BTreeMap<&str, Report> = BTreeMap::new();
    let mut shown: HashMap<String, usize> = HashMap::new();
    let mut sampled = HashMap::new();
    campaign::run(&plan, |family, report| {
        for line in &report.lines {
            println!("{line}");
        }
        totals.entry(family).or_default().add(&report);
        for finding in &report.findings {
            let n = shown.entry(finding.name.clone()).or_default();
            *n += 1;
            if *n > plan.show {
                continue;
            }
            println!("{}", finding.line);
            if !lines {
                println!("    # {}: {}", finding.name, finding.differences.join("; "));
            }
        }
        for (form, line) in &report.samples {
            let n = sampled.entry(*form).or_insert(0);
            *n += 1;
            if *n <= plan.samples {
                println!("{line}");
            }
        }
    });
    if !plan.print && summary(&totals, begin) {
        std::process::exit(1);
    }
}

fn families(text: &str) -> Vec<&'static str> {
    let known = campaign::families();
    if text == "all" {
        return known;
    }
    let find = |name: &str| {
        let found = known.iter().find(|k| **k == name);
        *found.unwrap_or_else(|| panic!("{name:?} is none of all {}", known.join(" ")))
    };
    text.split(',').map(find).collect()
}

/// Prints the numbers; true if anything diverged.
fn summary(totals: &BTreeMap<&str, Report>, begin: Instant) -> bool {
    let mut all = Report::default();
    eprintln!(
        "{:15} {:>12} {:>12} {:>8} {:>6}",
        "family", "cases", "instructions", "differ", "lost"
    );
    let row = |name: &str, r: &Report| {
        let differ: u64 = r.diverging.values().sum();
        eprintln!("{name:15} {:12} {:12} {differ:8} {:6}", r.cases, r.instructions, r.lost);
    };
    for (family, report) in totals {
        row(family, report);
        all.add(report);
    }
    row("all", &all);
    let list = |names: &BTreeMap<String, u64>| match names.is_empty() {
        true => "none".to_owned(),
        false => names.iter().map(|(k, n)| format!("{k} {n}")).collect::<Vec<_>>().join(", "),
    };
    eprintln!("diverging: {}", list(&all.diverging));
    eprintln!("not lifted: {}", list(&all.missing));
    let seconds = begin.elapsed().as_secs_f64();
    let rate = all.instructions as f64 / seconds / 1e6;
    eprintln!("{seconds:.1} s, {rate:.2} million instructions a second");
    !all.diverging.is_empty()
}
