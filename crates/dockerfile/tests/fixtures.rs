//! Each file of `fixtures/dockerfile` is parsed and planned, and the outcome compared with the
//! `.expected` file beside it. `BOXER_BLESS=1` writes those files anew.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::fmt::Write as _;
use std::path::PathBuf;

use dockerfile::ignore::IgnoreFile;
use dockerfile::lint::{Knowledge, check};
use dockerfile::plan::{Options, Plan};
use dockerfile::{Dockerfile, Error, Instruction};

fn folder() -> PathBuf {
    std::env::current_dir().unwrap().join("../../fixtures/dockerfile")
}

fn show_error(out: &mut String, error: &Error) {
    writeln!(out, "error on {}: {error}", error.span).unwrap();
    if let Some(hint) = &error.hint {
        writeln!(out, "hint: {hint}").unwrap();
    }
}

fn show_instruction(out: &mut String, instruction: &Instruction) {
    writeln!(out, "{} {} {:?}", instruction.span, instruction.keyword, instruction.kind).unwrap();
    for heredoc in &instruction.heredocs {
        writeln!(out, "    {heredoc:?}").unwrap();
    }
    if let Some(line) = instruction.empty_continuation {
        writeln!(out, "    empty continuation on {line}").unwrap();
    }
}

fn show(text: &str) -> String {
    let mut out = String::new();
    let file = match Dockerfile::parse(text) {
        Ok(file) => file,
        Err(error) => {
            show_error(&mut out, &error);
            return out;
        }
    };
    writeln!(out, "{:?}", file.directives).unwrap();
    for instruction in &file.instructions {
        show_instruction(&mut out, instruction);
    }
    match Plan::new(&file, &Options::default()) {
        Ok(plan) => {
            for stage in &plan.stages {
                writeln!(
                    out,
                    "{} from {:?} platform {:?}",
                    stage.display_name(),
                    stage.base,
                    stage.platform
                )
                .unwrap();
            }
            writeln!(out, "order {:?}", plan.order).unwrap();
        }
        Err(error) => show_error(&mut out, &error),
    }
    let ignore = IgnoreFile::parse("*.secret\nignored\n").unwrap();
    let knowledge = Knowledge { ignore: Some(&ignore), ..Knowledge::default() };
    for warning in check(&file, &Options::default(), &knowledge) {
        writeln!(out, "warning on {}: {}: {}", warning.span, warning.rule, warning.message)
            .unwrap();
    }
    out
}

#[test]
fn files_parse_as_expected() {
    let mut names: Vec<PathBuf> = std::fs::read_dir(folder())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "Dockerfile"))
        .collect();
    names.sort();
    assert!(names.len() > 20, "the fixtures are missing");
    let bless = std::env::var_os("BOXER_BLESS").is_some();
    let mut wrong = Vec::new();
    for name in names {
        let got = show(&std::fs::read_to_string(&name).unwrap());
        let bad = name.file_name().unwrap().to_string_lossy().starts_with("bad-");
        assert_eq!(got.contains("error on"), bad, "{}:\n{got}", name.display());
        let expected = name.with_extension("expected");
        if bless {
            std::fs::write(&expected, &got).unwrap();
        } else if std::fs::read_to_string(&expected).unwrap_or_default() != got {
            wrong.push(format!("{}:\n{got}", name.display()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn words_expand_as_expected() {
    let variables = |name: &str| match name {
        "EMPTY" => Some(""),
        "FOO" => Some("foo"),
        "PATTERN" => Some("a/b/c.tar.gz"),
        "STAR" => Some("a*b"),
        _ => None,
    };
    let table = std::fs::read_to_string(folder().join("expand.txt")).unwrap();
    let mut wrong = Vec::new();
    for line in table.lines().filter(|line| !line.starts_with('#')) {
        let (word, expected) = line.split_once(" => ").unwrap();
        let got = match dockerfile::expand::word(word, &variables, '\\') {
            Ok(expansion) => expansion.text,
            Err(dockerfile::Cause::Expansion { reason, .. }) => format!("ERROR {reason}"),
            Err(other) => panic!("{word}: {other}"),
        };
        if got != expected {
            wrong.push(format!("{word}: got {got:?}, expected {expected:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn paths_are_ignored_as_expected() {
    let table = std::fs::read_to_string(folder().join("ignore.txt")).unwrap();
    let mut wrong = Vec::new();
    for line in table.lines().skip(1) {
        let (patterns, paths) = line.split_once(" : ").unwrap();
        let file = IgnoreFile::parse(&patterns.replace('|', "\n")).unwrap();
        for path in paths.split(' ').filter(|path| path.starts_with(['-', '+'])) {
            let ignored = path.starts_with('-');
            if file.ignores(&path[1..]) != ignored {
                wrong.push(format!("{patterns}: {path}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_target_needs_only_its_stages() {
    let text =
        "FROM scratch AS a\nFROM scratch AS b\nFROM a AS c\nCOPY --from=b / /\nFROM b AS d\n";
    let file = Dockerfile::parse(text).unwrap();
    let order = |target: Option<&str>| {
        let options = Options { target: target.map(str::to_owned), ..Options::default() };
        Plan::new(&file, &options).map(|plan| plan.order)
    };
    assert_eq!(order(Some("C")).unwrap(), [0, 1, 2]);
    // BuildKit takes names alone.
    assert!(order(Some("0")).is_err());
    assert_eq!(order(None).unwrap(), [1, 3]);
    let error = order(Some("cc")).unwrap_err();
    assert_eq!(error.to_string(), "target stage \"cc\" could not be found");
    assert!(error.hint.is_some());
}
