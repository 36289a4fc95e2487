//! `.dockerignore`: which paths of the context a build does not see.

use std::collections::HashMap;

use regex::Regex;

use crate::error::{Cause, Error, Span};
use crate::pattern;

/// The most patterns taken from one file.
const MOST: usize = 100_000;

/// A parsed `.dockerignore`, or the patterns of `--exclude`.
#[derive(Clone, Debug, Default)]
pub struct IgnoreFile {
    patterns: Vec<Pattern>,
    /// The last place of each pattern without wildcards, by its text: a path is looked up by itself and its parents.
    literal: HashMap<String, usize>,
    /// The places of the others, in order.
    wild: Vec<usize>,
}

#[derive(Clone, Debug)]
struct Pattern {
    text: String,
    /// None where the text is without wildcards.
    expression: Option<Regex>,
    /// `!`: takes back in.
    negated: bool,
    /// The number of components, to match against parents of a path.
    depth: usize,
    /// The components before the first wildcard.
    literal_prefix: String,
}

impl IgnoreFile {
    /// Parses the file. Byte order mark, blank lines and lines with `#` in the first column do
    /// not count; white space around a pattern goes; a leading `/` means nothing.
    ///
    /// # Errors
    /// [`Cause::Pattern`] with the line.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let mut file = Self::default();
        for (number, line) in (1u32..).zip(text.lines()) {
            if line.starts_with('#') {
                continue;
            }
            file.push(line).map_err(|cause| Error::new(Span::line(number), cause))?;
        }
        Ok(file)
    }

    /// The patterns of `--exclude` flags.
    ///
    /// # Errors
    /// [`Cause::Pattern`].
    pub fn from_patterns<'a>(patterns: impl IntoIterator<Item = &'a str>) -> Result<Self, Cause> {
        let mut file = Self::default();
        for pattern in patterns {
            file.push(pattern)?;
        }
        Ok(file)
    }

    fn push(&mut self, line: &str) -> Result<(), Cause> {
        let line = line.trim();
        let (negated, body) = match line.strip_prefix('!') {
            Some(body) => (true, body.trim()),
            None => (false, line),
        };
        if line.is_empty() {
            return Ok(());
        }
        let fail =
            |reason: &str| Cause::Pattern { pattern: line.to_owned(), reason: reason.to_owned() };
        if body.is_empty() {
            return Err(fail("illegal exclusion pattern: nothing after !"));
        }
        if self.patterns.len() >= MOST {
            return Err(fail("too many patterns"));
        }
        let cleaned = clean(body);
        let text =
            if cleaned.len() > 1 { cleaned.trim_start_matches('/').to_owned() } else { cleaned };
        let literal: Vec<&str> =
            text.split('/').take_while(|part| !pattern::has_wildcard(part)).collect();
        let plain = !pattern::has_wildcard(&text);
        if plain {
            self.literal.insert(text.clone(), self.patterns.len());
        } else {
            self.wild.push(self.patterns.len());
        }
        self.patterns.push(Pattern {
            expression: if plain { None } else { Some(pattern::ignore(&text)?) },
            depth: text.split('/').count(),
            literal_prefix: literal.join("/"),
            text,
            negated,
        });
        Ok(())
    }

    /// True if nothing is left out.
    pub fn is_empty(&self) -> bool {
        self.patterns.is_empty()
    }

    /// Whether a path (relative to the context, `/` between components, none at the ends) is left
    /// out: the last pattern that matches it or one of its parents decides.
    ///
    /// ```
    /// let file = dockerfile::ignore::IgnoreFile::parse("*.log\ntarget\n!target/keep\n").unwrap();
    /// assert!(file.ignores("a.log") && file.ignores("target/x") && !file.ignores("target/keep"));
    /// ```
    pub fn ignores(&self, path: &str) -> bool {
        let prefixes = path.match_indices('/').map(|(at, _)| &path[..at]).chain([path]);
        let mut decides = prefixes.filter_map(|prefix| self.literal.get(prefix).copied()).max();
        for place in self.wild.iter().rev() {
            // A pattern before the one that decides so far changes nothing.
            if decides.is_some_and(|decides| *place < decides) {
                break;
            }
            if self.patterns.get(*place).is_some_and(|pattern| pattern.matches(path)) {
                decides = Some(*place);
                break;
            }
        }
        decides.and_then(|place| self.patterns.get(place)).is_some_and(|pattern| !pattern.negated)
    }

    /// Whether a directory that is left out may still hold something that is not: if so, a walk
    /// must go into it.
    pub fn may_hold_exceptions(&self, directory: &str) -> bool {
        let below = format!("{directory}/");
        self.patterns.iter().filter(|pattern| pattern.negated).any(|pattern| {
            let prefix = &pattern.literal_prefix;
            let whole = *prefix == pattern.text;
            prefix.starts_with(&below)
                || (!whole && (below.starts_with(&format!("{prefix}/")) || prefix.is_empty()))
        })
    }
}

impl Pattern {
    fn matches(&self, path: &str) -> bool {
        let Some(expression) = &self.expression else { return false };
        if expression.is_match(path) {
            return true;
        }
        // The parent that has as many components as the pattern; `**` may match any of them.
        let parents = path.match_indices('/').map(|(at, _)| &path[..at]);
        if self.text.contains("**") {
            return parents.into_iter().any(|parent| expression.is_match(parent));
        }
        parents
            .into_iter()
            .nth(self.depth.saturating_sub(1))
            .is_some_and(|parent| expression.is_match(parent))
    }
}

/// Go's `filepath.Clean`, for a slash-separated path: `.` and doubled slashes go, `..` takes the
/// component before it away (and is dropped at the root). An empty path is `.`.
pub fn clean(path: &str) -> String {
    let rooted = path.starts_with('/');
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => match parts.last() {
                Some(&"..") => parts.push(".."),
                Some(_) => {
                    parts.pop();
                }
                None if rooted => {}
                None => parts.push(".."),
            },
            part => parts.push(part),
        }
    }
    let joined = parts.join("/");
    match (rooted, joined.is_empty()) {
        (true, _) => format!("/{joined}"),
        (false, true) => ".".to_owned(),
        (false, false) => joined,
    }
}
