//! Dockerfiles, variables and ignore files that nobody would write: each is understood or refused, in bounded time.
//!
//! `cargo xtask fuzz-build --inputs N --seed S` is the long run.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod pieces;

use std::collections::{BTreeMap, BTreeSet};

use dockerfile::ignore::IgnoreFile;
use dockerfile::plan::{Options, Plan};
use dockerfile::scope::Scope;
use dockerfile::{Dockerfile, expand, lint, pattern};
use pieces::PIECES;
use testkit::fuzz;

const FILES: &[&str] = &[
    "# syntax=docker/dockerfile:1\n# check=error=true\nARG V=3\nFROM --platform=$BUILDPLATFORM debian:${V:-12} AS base\nARG V\n\
     ENV A=1 B=\"$A ${V:+x}\" C='${A}'\nRUN --mount=type=cache,target=/c,sharing=locked --mount=type=secret,id=s echo \"$B\" && \\\n  # note\n  true\n",
    "FROM a AS b\nCOPY --from=0 --chown=1:2 --chmod=u=rwX,go=rX <<EOF <<-\"X\" /d/\n$A ${B#*/}\nEOF\n\ttext\n\tX\nRUN <<E python3\nprint(1)\nE\n",
    "FROM b\nHEALTHCHECK --interval=1m30s --retries=3 CMD [\"curl\", \"-f\", \"http://localhost\"]\nONBUILD ADD --checksum=sha256:0 https://x/y /z\n\
     SHELL [\"/bin/sh\", \"-c\"]\nVOLUME [\"/a b\"]\nEXPOSE 80/tcp 1-3\nLABEL \"a b\"=\"c\" d=e\\ f\nUSER ${U}:${G}\nSTOPSIGNAL 9\nCMD echo hi\n",
];

#[test]
fn dockerfiles() {
    fuzz::run(20_000, |random| {
        let bytes = random.text(FILES, PIECES, 2, 40);
        let Ok(file) = Dockerfile::parse_bytes(&bytes) else { return };
        let options = Options {
            build_args: BTreeMap::from([
                ("V".into(), "a/b".into()),
                ("HTTP_PROXY".into(), "x".into()),
            ]),
            ..Options::default()
        };
        let image_env = BTreeMap::from([("a".to_owned(), BTreeSet::from(["PATH".to_owned()]))]);
        let knowledge = lint::Knowledge { image_env, ignore: None };
        for warning in lint::check(&file, &options, &knowledge) {
            assert!(!warning.message.is_empty() && warning.url().starts_with("https://"));
        }
        let Ok(plan) = Plan::new(&file, &options) else { return };
        for stage in &plan.stages {
            let mut scope = Scope::new(plan.escape);
            for instruction in &stage.instructions {
                let _ = scope.apply(&instruction.kind, &plan.globals);
            }
        }
    });
}

#[test]
fn variables() {
    const WORDS: &[&str] = &[
        "$",
        "${",
        "}",
        "a",
        "b",
        "A",
        "_1",
        "0",
        ":-",
        ":+",
        ":?",
        "-",
        "+",
        "?",
        "#",
        "##",
        "%",
        "%%",
        "/",
        "//",
        "*",
        "?",
        "[a-z]",
        "[",
        "]",
        "\\",
        "`",
        "\"",
        "'",
        " ",
        "\n",
        "é",
        "$a",
        "${a}",
        "${a:-${b}}",
        "${a//x/yy}",
        "${b%%*x}",
        "\\$",
        "$$",
        "${}",
        "${a",
        "x",
    ];
    const FILES: &[&str] =
        &["${a:-${b:+${c%%/*}}}/${a//x*/${b}}\"'$a'\"", "\\${a} ${b##*/} '${c}' ${a:?no $b}"];
    let long = "x/y.".repeat(40);
    let values = |name: &str| match name {
        "a" => Some("xx/yxz.tar.gz"),
        "b" => Some(""),
        "A" => Some("*[$]\\"),
        _ => None,
    };
    fuzz::run(20_000, |random| {
        let text = String::from_utf8_lossy(&random.text(FILES, WORDS, 2, 40)).into_owned();
        let escape = if random.once_in(2) { '\\' } else { '`' };
        // Each character can bring a value in, and a replacement each character of a value.
        let bound = (text.len() + 1) * (long.len() + 1) * 40;
        for expansion in [expand::word(&text, &values, escape), expand::body(&text, &values)] {
            assert!(expansion.is_ok_and(|e| e.text.len() <= bound) || !text.is_empty());
        }
    });
}

#[test]
fn ignore_files() {
    const WORDS: &[&str] = &[
        "a",
        "b",
        "/",
        "//",
        "*",
        "**",
        "**/",
        "/**",
        "!",
        "#",
        "?",
        "[",
        "]",
        "[a-",
        "[^",
        "\\",
        ".",
        "..",
        "./",
        "\n",
        "\n",
        " ",
        "\r",
        "é",
        "\u{feff}",
        ".git",
        "node_modules",
        "{",
        "}",
        "(",
        "|",
        "+",
        "$",
        "^",
    ];
    const FILES: &[&str] =
        &["# c\n*\n!src/**/*.rs\nsrc/[a-m]*/\n**/.git\n", "/a/**/b?\n!/a/x/b1\n..\n"];
    const PATHS: &[&str] = &["a", "a/b", "a/b/c", ".git", "src/x/y.rs", "a\\b", "é", "a/*/b", ""];
    fuzz::run(20_000, |random| {
        let text = String::from_utf8_lossy(&random.text(FILES, WORDS, 2, 40)).into_owned();
        if let Ok(file) = IgnoreFile::parse(&text) {
            for _ in 0..4 {
                let path = random.pick(PATHS);
                // What is ignored stays so however often it is asked.
                assert_eq!(file.ignores(path), file.ignores(path));
                file.may_hold_exceptions(path);
            }
        }
        let _ =
            (pattern::go_match(&text), pattern::shell(&text, random.once_in(2), random.once_in(2)));
    });
}
