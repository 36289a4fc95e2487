//! The `--flag` words of an instruction, checked against the ones it knows.

use crate::error::{Cause, Error, Span};
use crate::suggest::did_you_mean;
use crate::words::Word;

/// How a flag takes its value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FlagKind {
    /// `--x`, `--x=true`, `--x=false`.
    Bool,
    /// `--x=value`, once.
    One,
    /// `--x=value`, as often as wanted.
    Many,
}

/// The flags each instruction knows. One row is the only list.
const TABLE: &[(&str, &[(&str, FlagKind)])] = {
    use FlagKind::{Bool, Many, One};
    &[
        ("FROM", &[("platform", One)]),
        ("RUN", &[("mount", Many), ("network", One), ("security", One), ("device", Many)]),
        (
            "COPY",
            &[
                ("from", One),
                ("chown", One),
                ("chmod", One),
                ("link", Bool),
                ("parents", Bool),
                ("exclude", Many),
            ],
        ),
        (
            "ADD",
            &[
                ("chown", One),
                ("chmod", One),
                ("link", Bool),
                ("keep-git-dir", Bool),
                ("checksum", One),
                ("exclude", Many),
                ("unpack", Bool),
            ],
        ),
        (
            "HEALTHCHECK",
            &[
                ("interval", One),
                ("timeout", One),
                ("start-period", One),
                ("start-interval", One),
                ("retries", One),
            ],
        ),
    ]
};

/// The flags given to one instruction.
#[derive(Debug, Default)]
pub(crate) struct Flags {
    given: Vec<(String, Word)>,
}

impl Flags {
    /// Checks the words, each with its line, against the instruction's flags.
    pub fn parse(instruction: &str, words: Vec<Word>) -> Result<Self, Error> {
        let known =
            TABLE.iter().find(|(name, _)| *name == instruction).map_or(&[][..], |row| row.1);
        let mut flags = Self::default();
        for word in words {
            let span = Span::line(word.line);
            let body = word.text.strip_prefix("--").unwrap_or(&word.text);
            let (name, value) = match body.split_once('=') {
                Some((name, value)) => (name, Some(value)),
                None => (body, None),
            };
            let Some((_, kind)) = known.iter().find(|(known, _)| *known == name) else {
                let cause = Cause::UnknownFlag {
                    instruction: instruction.to_owned(),
                    flag: name.to_owned(),
                };
                let near = did_you_mean(name, known.iter().map(|(known, _)| *known));
                let hint = near.map(|near| format!("did you mean --{near}?"));
                return Err(Error::new(span, cause).with_hint(hint));
            };
            if *kind != FlagKind::Many && flags.given.iter().any(|(given, _)| given == name) {
                return Err(Error::new(span, Cause::DuplicateFlag { flag: name.to_owned() }));
            }
            let text = match (kind, value) {
                (FlagKind::Bool, None) => "true".to_owned(),
                (FlagKind::Bool, Some(value)) if !matches!(value, "true" | "false") => {
                    return Err(Error::new(
                        span,
                        Cause::FlagValue {
                            flag: name.to_owned(),
                            value: value.to_owned(),
                            reason: "expecting boolean value, true or false".to_owned(),
                        },
                    ));
                }
                (_, Some(value)) => value.to_owned(),
                (_, None) => {
                    return Err(Error::new(
                        span,
                        Cause::FlagValueMissing { flag: name.to_owned() },
                    ));
                }
            };
            flags.given.push((name.to_owned(), Word { text, line: word.line }));
        }
        Ok(flags)
    }

    pub fn one(&self, name: &str) -> Option<Word> {
        self.given.iter().find(|(given, _)| given == name).map(|(_, word)| word.clone())
    }

    pub fn many(&self, name: &str) -> Vec<Word> {
        self.given.iter().filter(|(given, _)| given == name).map(|(_, word)| word.clone()).collect()
    }

    pub fn bool(&self, name: &str) -> Option<bool> {
        self.one(name).map(|word| word.text == "true")
    }
}
