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

/// Loops over floats of every kind, in registers where a region is entered and in memory, under every rounding and with flags and masks of
/// MXCSR: what is looked at on the way into a loop, and left out within it.
#[test]
fn loops_hold_whatever_floats_they_begin_with() {
    const WIDE: [u64; 17] = [
        0,
        0x8000_0000_0000_0000, // -0
        0x3ff0_0000_0000_0000, // 1
        0x3fb9_9999_9999_999a, // 0.1
        0xc00c_0000_0000_0000, // -3.5
        0x7fef_ffff_ffff_ffff, // the largest
        0x7fe1_ccf3_85eb_c8a0, // 1e308
        0x0010_0000_0000_0000, // the least normal one
        0x8020_0000_0000_0000, // twice as much, negative
        0x0000_0000_0000_0001, // the least
        0x800f_ffff_ffff_ffff, // the largest denormal, negative
        0x7ff0_0000_0000_0000, // infinity
        0xfff0_0000_0000_0000,
        0xfff8_0000_0000_1234, // quiet, signalling
        0x7ff0_0000_0000_0001,
        0x2000_0000_0000_0000, // 2^-511
        0x5ff0_0000_0000_0000, // 2^512
    ];
    const NARROW: [u32; 13] = [
        0,
        0x8000_0000,
        0x3f80_0000,
        0x3dcc_cccd,
        0xc060_0000,
        0x7f7f_ffff,
        0x0080_0000,
        0x8100_0000,
        0x0000_0001,
        0x807f_ffff,
        0xff80_0000,
        0xffc0_1234,
        0x7f80_0001,
    ];
    const MXCSR: [u32; 12] =
        [0x1f80, 0x1fa0, 0x1fa0, 0x1fbf, 0x9fe0, 0x1fe0, 0x3fa0, 0x5f80, 0x7fa0, 0x0fa0, 0x1da0, 0];
    let mut rng = Rng::new(7);
    for (fuel, once) in [(1, false), (97, false), (10_000, false), (4096, true)] {
        // Scalar doubles and singles, packed ones of both.
        for prefix in [Some(0xf2), Some(0xf3), Some(0x66), None] {
            let double = matches!(prefix, Some(0xf2 | 0x66));
            let packed = matches!(prefix, Some(0x66) | None);
            let mut code: Vec<u8> = Vec::new();
            let op = |code: &mut Vec<u8>, bytes: &[u8]| {
                code.extend(prefix);
                code.extend(bytes);
            };
            // 1: movsd xmm3, [rbx]; addsd xmm1, xmm3; mulsd xmm0, xmm2; test cl, 1; jz 2f
            op(&mut code, &[0x0f, 0x10, 0x1b]);
            op(&mut code, &[0x0f, 0x58, 0xcb]);
            op(&mut code, &[0x0f, 0x59, 0xc2]);
            code.extend([0xf6, 0xc1, 1, 0x74, 0]);
            let skip = code.len();
            // divsd xmm5, xmm1; maxsd xmm6, xmm5; sqrtsd xmm7, xmm6
            op(&mut code, &[0x0f, 0x5e, 0xe9]);
            op(&mut code, &[0x0f, 0x5f, 0xf5]);
            op(&mut code, &[0x0f, 0x51, 0xfe]);
            code[skip - 1] = (code.len() - skip) as u8;
            // 2: subsd xmm4, xmm0; movsd [rbx + 16], xmm4; add rbx, 8; dec ecx; jnz 1b
            op(&mut code, &[0x0f, 0x5c, 0xe0]);
            op(&mut code, &[0x0f, 0x11, 0x63, 16]);
            code.extend([0x48, 0x83, 0xc3, 8, 0xff, 0xc9, 0x75]);
            code.push((-(code.len() as i8) - 1) as u8);
            let mut cases = Vec::new();
            for _ in 0..1500 {
                let mut state = testkit::cpu::State::default();
                state.set_mxcsr(rng.pick(&MXCSR));
                // Some cases have one odd number, some only odd ones.
                let odd = [1, 4, 40][rng.below(3)];
                let mut lane = || {
                    if double {
                        let usual = f64::to_bits(rng.below(1000) as f64 / 8.0);
                        if rng.one_in(odd) { rng.pick(&WIDE) } else { usual }
                    } else {
                        let mut number = || {
                            let usual = f32::to_bits(rng.below(1000) as f32 / 8.0);
                            if rng.one_in(odd) { rng.pick(&NARROW) } else { usual }
                        };
                        u64::from(number()) | u64::from(number()) << 32
                    }
                };
                for i in 0..8 {
                    state.set_xmm(i, u128::from(lane()) | u128::from(lane()) << 64);
                }
                let at = testkit::cpu::DATA + if packed { 0x200 } else { 0x208 };
                for i in 0..12 {
                    state.memory.put(at + 8 * i, &lane().to_le_bytes());
                }
                (state.regs[3], state.regs[1]) = (at, 1 + rng.below(6) as u64);
                cases.push(Case { code: code.clone(), state });
            }
            let manner = Manner { once, fuel, depth: 3 };
            let (tally, found) = differing(&without_entries(cases), manner);
            check(&format!("{prefix:x?}, {manner:?}"), &tally, &found);
        }
    }
}

/// Loops that go through pages in steps, with fuel for a turn, for some, and for all.
#[test]
fn loops_that_stride_hold_up_to_the_ends_of_pages() {
    let mut rng = Rng::new(11);
    for (fuel, once) in [(1, false), (97, false), (1_000, false), (10_000, false), (4096, true)] {
        let cases: Vec<Case> = (0..400).map(|_| shapes::striding(&mut rng)).collect();
        let manner = Manner { once, fuel, depth: 3 };
        let (tally, found) = differing(&without_entries(cases), manner);
        check(&format!("{manner:?}"), &tally, &found);
    }
}
