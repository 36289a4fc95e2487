//! `.dockerignore`: which paths of the context a build does not see.

use regex::Regex;

use crate::error::{Cause, Error, Span};
use crate::pattern;

/// The most patterns taken from one file.
const MOST: usize = 100_000;

/// A parsed `.dockerignore`, or the patterns of `--exclude`.
#[derive(Clone, Debug, Default)]
pub struct IgnoreFile {
    patterns: Vec<Pattern>,
}

#[derive(Clone, Debug)]
struct Pattern {
    text: String,
    expression: Regex,
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
        self.patterns.push(Pattern {
            expression: pattern::ignore(&text)?,
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
        let mut ignored = false;
        for pattern in &self.patterns {
            // A pattern that would change nothing need not be tried.
            if pattern.negated == ignored && pattern.matches(path) {
                ignored = !pattern.negated;
            }
        }
        ignored
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
        if self.expression.is_match(path) {
            return true;
        }
        // The parent that has as many components as the pattern; `**` may match any of them.
        let parents = path.match_indices('/').map(|(at, _)| &path[..at]);
        if self.text.contains("**") {
            return parents.into_iter().any(|parent| self.expression.is_match(parent));
        }
        parents
            .into_iter()
            .nth(self.depth.saturating_sub(1))
            .is_some_and(|parent| self.expression.is_match(parent))
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
