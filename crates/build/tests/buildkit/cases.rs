//! The file of cases: `=== NAME [KEY=VALUE…]`, a Dockerfile, `--- buildkit` and its result, and where ours differs
//! `# why: …` and `--- boxer`.

use std::fmt::Write as _;
use std::path::Path;

pub struct Case {
    pub name: String,
    /// `arg:NAME=VALUE`, `target=STAGE`, `ignore:PATTERN` (a line of the Dockerfile's own ignore file), `secret:ID=VALUE`, `ssh` (an agent
    /// with the key `ssh-key`), `flag:OPTION` (of the command line), `base` (builds the Dockerfile before the line `# then` first, under the name `base`).
    pub options: Vec<String>,
    pub dockerfile: String,
    pub buildkit: String,
    /// Why ours differs.
    pub why: String,
    pub boxer: Option<String>,
}

pub struct CaseFile {
    head: String,
    pub cases: Vec<Case>,
}

impl CaseFile {
    pub fn read(path: &Path) -> CaseFile {
        let text = std::fs::read_to_string(path).unwrap();
        let mut parts = text.split("\n=== ");
        let head = format!("{}\n", parts.next().unwrap_or_default().trim_end());
        CaseFile { head, cases: parts.map(Case::parse).collect() }
    }

    pub fn write(&self, path: &Path) {
        let mut text = self.head.clone();
        for case in &self.cases {
            let options: String = case.options.iter().map(|option| format!(" {option}")).collect();
            write!(text, "\n=== {}{options}\n{}", case.name, case.dockerfile).unwrap();
            write!(text, "--- buildkit\n{}", case.buildkit).unwrap();
            if let Some(boxer) = &case.boxer {
                if !case.why.is_empty() {
                    writeln!(text, "# why: {}", case.why).unwrap();
                }
                write!(text, "--- boxer\n{boxer}").unwrap();
            }
        }
        std::fs::write(path, text).unwrap();
    }
}

impl Case {
    fn parse(text: &str) -> Case {
        let (title, rest) = text.split_once('\n').unwrap_or((text, ""));
        let mut words = title.split_whitespace().map(str::to_owned);
        let name = words.next().expect("a case has a name");
        let (dockerfile, results) = match rest.split_once("--- buildkit\n") {
            Some((dockerfile, results)) => (dockerfile, results),
            None => (rest, ""),
        };
        let end = |text: &str| {
            let text = text.trim_end_matches('\n');
            if text.is_empty() { String::new() } else { format!("{text}\n") }
        };
        let (buildkit, boxer) = match results.split_once("--- boxer\n") {
            Some((buildkit, boxer)) => (buildkit, Some(end(boxer))),
            None => (results, None),
        };
        let (buildkit, why) = buildkit.split_once("# why: ").unwrap_or((buildkit, ""));
        Case {
            name,
            options: words.collect(),
            dockerfile: end(dockerfile),
            buildkit: end(buildkit),
            why: why.trim().to_owned(),
            boxer,
        }
    }

    /// The values of an option.
    pub fn all<'a>(&'a self, key: &'a str) -> impl Iterator<Item = &'a str> {
        self.options.iter().filter_map(move |option| option.strip_prefix(key))
    }

    /// Dockerfiles to build before this one, with the name each gets.
    pub fn stages(&self) -> Vec<(String, String)> {
        let mut left = self.dockerfile.as_str();
        let mut found = Vec::new();
        while let Some((before, after)) = left.split_once("# then\n") {
            found.push((format!("base{}", found.len()), before.to_owned()));
            left = after;
        }
        found.push((String::new(), left.to_owned()));
        found
    }
}

/// The lines that only one of two results has.
pub fn difference(expected: &str, got: &str) -> String {
    let (old, new): (Vec<&str>, Vec<&str>) = (expected.lines().collect(), got.lines().collect());
    let mut out = String::new();
    for line in old.iter().filter(|line| !new.contains(line)) {
        writeln!(out, "- {line}").unwrap();
    }
    for line in new.iter().filter(|line| !old.contains(line)) {
        writeln!(out, "+ {line}").unwrap();
    }
    if out.is_empty() {
        write!(out, "the same lines in another order\n{got}").unwrap();
    }
    out
}

/// The page that lists every case and how ours compares.
pub fn page(files: &[std::path::PathBuf]) -> String {
    let mut rows = String::new();
    let (mut same, mut refused, mut other) = (0, 0, 0);
    for path in files {
        let topic = path.file_stem().unwrap().to_string_lossy().into_owned();
        let mut equal = Vec::new();
        let mut both = Vec::new();
        let mut different = Vec::new();
        for case in CaseFile::read(path).cases {
            match &case.boxer {
                None if case.buildkit.starts_with("error ") => both.push(case.name),
                None => equal.push(case.name),
                Some(ours) if ours.starts_with("error ") && case.buildkit.starts_with("error ") => {
                    both.push(case.name);
                }
                Some(_) => different.push(format!("`{}`: {}", case.name, case.why)),
            }
        }
        (same, refused, other) =
            (same + equal.len(), refused + both.len(), other + different.len());
        writeln!(rows, "\n## {topic}\n\nEqual: {}.", equal.join(", ")).unwrap();
        if !both.is_empty() {
            writeln!(rows, "\nRefused by both: {}.", both.join(", ")).unwrap();
        }
        if !different.is_empty() {
            writeln!(rows, "\nOtherwise here:").unwrap();
            different.iter().for_each(|line| writeln!(rows, "- {line}").unwrap());
        }
    }
    format!(
        "# Compared with BuildKit\n\nWritten by `BOXER_BLESS=1 cargo test -p boxer-build --test buildkit` from \
         `fixtures/buildkit/*.cases`: small Dockerfiles of which\nBuildKit's image config, history and layers are recorded \
         (its version is each file's first line). Of {} cases {same} come out equal, {refused}\nare refused by both, and {other} \
         differ for the reason given. What is not carried out at all stands in [DOCKERFILE.md](DOCKERFILE.md).\n{rows}",
        same + refused + other
    )
}
