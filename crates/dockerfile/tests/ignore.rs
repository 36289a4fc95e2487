//! Many patterns are found by an index; the result is that of trying each.
#![allow(clippy::unwrap_used, reason = "a test")]

use dockerfile::ignore::IgnoreFile;
use std::fmt::Write as _;
use std::time::{Duration, Instant};

/// The least random numbers that will do (Lehmer).
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0 * 48_271 % 0x7fff_ffff;
        self.0 as usize % end
    }

    fn pick(&mut self, from: &[&'static str]) -> &'static str {
        from[self.below(from.len())]
    }
}

/// Each pattern alone, the last one that matches decides.
fn one_by_one(patterns: &[String], path: &str) -> bool {
    let mut ignored = false;
    for pattern in patterns {
        let body = pattern.strip_prefix('!').unwrap_or(pattern);
        if IgnoreFile::parse(body).unwrap().ignores(path) {
            ignored = !pattern.starts_with('!');
        }
    }
    ignored
}

#[test]
fn many_patterns_are_as_each_of_them() {
    const PARTS: &[&str] =
        &["a", "b", "*", "**", "?", "a*", "*b", "[ab]", "[^a]", "ab", "x.y", "*.y", "\\a", "c"];
    const NAMES: &[&str] = &["a", "b", "ab", "ba", "x.y", "c", "aab", "z.y"];
    let mut numbers = Numbers(1);
    for _ in 0..20 {
        let mut patterns = Vec::new();
        for _ in 0..120 {
            let negated = if numbers.below(3) == 0 { "!" } else { "" };
            let parts: Vec<&str> = (0..=numbers.below(3)).map(|_| numbers.pick(PARTS)).collect();
            patterns.push(format!("{negated}{}", parts.join("/")));
        }
        let file = IgnoreFile::parse(&patterns.join("\n")).unwrap();
        for _ in 0..40 {
            let names: Vec<&str> = (0..=numbers.below(4)).map(|_| numbers.pick(NAMES)).collect();
            let path = names.join("/");
            assert_eq!(file.ignores(&path), one_by_one(&patterns, &path), "{path} {patterns:?}");
            if !file.ignores(&path) {
                for (at, _) in path.match_indices('/') {
                    let above = &path[..at];
                    let open = !file.ignores(above) || file.may_hold_exceptions(above);
                    assert!(open, "{path} below {above} {patterns:?}");
                }
            }
        }
    }
}

#[test]
fn many_patterns_take_linear_time() {
    let start = Instant::now();
    for form in ["**/f#.log", "!*/g#*", "*x#*.log", "d/f#", "!d#/e/*"] {
        let mut text = String::from("*\n");
        for number in 0..20_000 {
            writeln!(text, "{}", form.replace('#', &number.to_string())).unwrap();
        }
        let file = IgnoreFile::parse(&text).unwrap();
        for number in 0..20_000 {
            assert!(file.ignores(&format!("q{number}/r.log")));
            file.may_hold_exceptions(&format!("d/q{number}"));
        }
    }
    // One by one it takes an hour.
    assert!(start.elapsed() < Duration::from_secs(60), "{:?}", start.elapsed());
}
