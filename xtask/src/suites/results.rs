//! What the suites print, as cases that passed or failed. A case that was skipped, or that began and never ended, is in neither state.

use std::collections::BTreeMap;

/// Name of a case, and whether it passed.
pub type Results = BTreeMap<String, bool>;

/// `python3 -m test -v`: `NAME (CLASS) ... ok`, where other output may stand between the dots and the word, and a line of
/// description between the name and the dots.
pub fn python(output: &str) -> Results {
    let mut results = Results::new();
    let mut current: Option<(String, bool)> = None;
    for line in output.lines() {
        let failed = ["ERROR: ", "FAIL: "].iter().find_map(|word| line.strip_prefix(word));
        if let Some(case) = failed.and_then(python_case) {
            results.insert(case, false);
            current = None;
            continue;
        }
        if let Some(case) = python_case(line) {
            current = Some((case, false));
        }
        let Some((case, dots)) = &mut current else { continue };
        *dots |= line.contains(" ...");
        if !*dots {
            continue;
        }
        let word = line.rsplit(' ').next().unwrap_or_default();
        let end = if line.contains("skipped ") {
            None
        } else if word.ends_with("ok") || line.ends_with("expected failure") {
            Some(true)
        } else if word.ends_with("FAIL") || word.ends_with("ERROR") {
            Some(false)
        } else {
            continue;
        };
        if let Some(passed) = end {
            // A failed part of a case has spoken before.
            results.entry(case.clone()).or_insert(passed);
        }
        current = None;
    }
    results
}

/// `test_x (test.test_os.FileTests.test_x)` at the beginning of a line: `test.test_os.FileTests.test_x`.
fn python_case(line: &str) -> Option<String> {
    let (name, rest) = line.split_once(" (")?;
    let (path, _) = rest.split_once(')')?;
    let plain =
        |text: &str| text.bytes().all(|b| b.is_ascii_alphanumeric() || b"_.<>".contains(&b));
    let is_case = !name.is_empty() && plain(name) && path.contains('.') && plain(path);
    is_case.then(|| path.to_owned())
}

/// `go test -v`: `--- PASS: NAME (0.00s)`, parts of a test with spaces before.
pub fn go(output: &str) -> Results {
    let mut results = Results::new();
    for line in output.lines() {
        for (mark, passed) in [("--- PASS: ", true), ("--- FAIL: ", false)] {
            if let Some((_, rest)) = line.split_once(mark) {
                let name = rest.split(' ').next().unwrap_or_default();
                results.insert(name.to_owned(), passed);
            }
        }
    }
    results
}

/// stress-ng, with a line `suite NAME STATUS` from the script. A stressor that says `fail:` failed; one that the kernel or the rights
/// do not allow ends with another status than 0 and is no case.
pub fn stress(output: &str) -> Results {
    let failed = output.contains("fail:");
    let line = output.lines().find_map(|line| line.strip_prefix("suite "));
    let mut results = Results::new();
    if let Some((name, "0")) = line.and_then(|line| line.split_once(' ')) {
        results.insert(name.to_owned(), !failed);
    }
    results
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn python_prints_cases_in_many_ways() {
        let results = python(
            "test_a (test.test_x.A.test_a) ... ok\n\
             test_b (test.test_x.A.test_b)\nWhat it does. ... ok\n\
             test_c (test.test_x.A.test_c) ... noise\nmore noise ok\n\
             test_d (test.test_x.A.test_d) ... skipped 'no ok'\n\
             test_e (test.test_x.A.test_e) ... FAIL\n\
             test_f (test.test_x.A.test_f) ... expected failure\n\
             test_g (test.test_x.A.test_g) ... \n\
             test_h (test.test_x.A.test_h) ... ok\n\
             ERROR: test_h (test.test_x.A.test_h)\n",
        );
        let names = |ok| {
            let of = results.iter().filter(|(_, passed)| **passed == ok);
            of.map(|(case, _)| case.rsplit('_').next().unwrap()).collect::<String>()
        };
        assert_eq!((names(true), names(false)), ("abcf".to_owned(), "eh".to_owned()));
    }

    #[test]
    fn a_stressor_that_is_refused_is_no_case() {
        assert_eq!(stress("suite mmap 0\ninfo: x 1\nstatus 0\n").get("mmap"), Some(&true));
        assert_eq!(stress("suite mmap 0\nfail: x\nstatus 0\n").get("mmap"), Some(&false));
        assert!(stress("suite aio 3\nstatus 0\n").is_empty());
    }
}
