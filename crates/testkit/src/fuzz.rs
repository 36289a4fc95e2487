//! Fuzzers that are tests: inputs follow from a number, a panic or an input that takes too long names it, and a short slice runs with
//! the other tests. `BOXER_FUZZ_INPUTS` and `BOXER_FUZZ_SEED` say how many, and from which number on.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// An input that takes longer hangs. Most take microseconds; the machine may be busy.
const HANGS: Duration = Duration::from_secs(60);

/// SplitMix64.
pub struct Random(u64);

impl Random {
    /// The numbers of one input.
    pub fn new(seed: u64) -> Random {
        Random(seed.wrapping_mul(0xd6e8_feb8_6659_fd93))
    }

    /// Any number.
    pub fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    /// A number below `n`; 0 for 0.
    pub fn below(&mut self, n: usize) -> usize {
        (self.number() % n.max(1) as u64) as usize
    }

    /// True once in `n`.
    pub fn once_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    /// One of several.
    pub fn pick<'a, T: ?Sized>(&mut self, of: &[&'a T]) -> &'a T {
        of[self.below(of.len())]
    }

    /// A few of these pieces, one behind the other.
    pub fn sentence(&mut self, pieces: &[&str], most: usize) -> String {
        (0..self.below(most + 1)).map(|_| self.pick(pieces)).collect()
    }

    /// A text: once in `alone` pieces by themselves, `most` at most; else one of the files, changed.
    pub fn text(&mut self, files: &[&str], pieces: &[&str], alone: usize, most: usize) -> Vec<u8> {
        if self.once_in(alone) {
            return self.sentence(pieces, most).into_bytes();
        }
        let mut bytes = self.pick(files).as_bytes().to_vec();
        self.mutate(&mut bytes, pieces);
        bytes
    }

    /// Changes a text at a few places: bytes flipped, parts removed, doubled, moved, pieces put in.
    pub fn mutate(&mut self, bytes: &mut Vec<u8>, pieces: &[&str]) {
        for _ in 0..=self.below(6) {
            let at = self.below(bytes.len() + 1);
            let end = (at + self.below(12)).min(bytes.len());
            match self.below(7) {
                0 => drop(bytes.drain(at..end)),
                1 => {
                    let part = bytes[at..end].to_vec();
                    bytes.splice(at..at, part);
                }
                2 if at < bytes.len() => bytes[at] = self.number() as u8,
                3 if at < bytes.len() => bytes[at] ^= 1 << self.below(8),
                4 => {
                    let to = self.below(bytes.len() + 1 - (end - at));
                    let part: Vec<u8> = bytes.drain(at..end).collect();
                    bytes.splice(to..to, part);
                }
                5 => bytes.truncate(at.max(1)),
                _ => drop(bytes.splice(at..at, self.pick(pieces).bytes())),
            }
        }
    }
}

/// Gives each input to `one`.
pub fn run(inputs: u64, one: impl Fn(&mut Random)) {
    let variable = |name: &str| std::env::var(name).ok().and_then(|text| text.parse().ok());
    let inputs = variable("BOXER_FUZZ_INPUTS").unwrap_or(inputs);
    let first = variable("BOXER_FUZZ_SEED").unwrap_or(1);
    let current = Arc::new(AtomicU64::new(first));
    watch(current.clone());
    let started = Instant::now();
    for seed in (first..).take(usize::try_from(inputs).unwrap_or(usize::MAX)) {
        current.store(seed, Ordering::Relaxed);
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| one(&mut Random::new(seed)))) {
            eprintln!("the input is BOXER_FUZZ_SEED={seed} BOXER_FUZZ_INPUTS=1");
            resume_unwind(panic);
        }
    }
    current.store(u64::MAX, Ordering::Relaxed);
    println!("{inputs} inputs from {first} on in {:.1} s", started.elapsed().as_secs_f64());
}

/// Ends the process when one input goes on for too long.
fn watch(current: Arc<AtomicU64>) {
    std::thread::spawn(move || {
        let mut last = (0, Instant::now());
        loop {
            std::thread::sleep(HANGS / 20);
            match current.load(Ordering::Relaxed) {
                u64::MAX => return,
                seed if seed != last.0 => last = (seed, Instant::now()),
                seed if last.1.elapsed() > HANGS => {
                    eprintln!("it hangs: BOXER_FUZZ_SEED={seed} BOXER_FUZZ_INPUTS=1");
                    std::process::abort();
                }
                _ => {}
            }
        }
    });
}
