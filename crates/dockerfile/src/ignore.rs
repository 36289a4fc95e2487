//! `.dockerignore`: which paths of the context a build does not see.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::OnceLock;

use aho_corasick::AhoCorasick;
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
    /// Finds those among them that may match a path.
    finder: OnceLock<Finder>,
    exceptions: Exceptions,
}

/// Which patterns with wildcards may match a path: those of which it has the part without wildcards that fewest others have.
#[derive(Clone, Debug)]
struct Finder {
    parts: Option<AhoCorasick>,
    /// The pattern of each part.
    owners: Vec<usize>,
    /// Patterns without such a part.
    always: Vec<usize>,
}

/// Below which directories something may be taken back in.
#[derive(Clone, Debug, Default)]
struct Exceptions {
    /// Paths that are named, and what stands before the first wildcard, each with a slash behind it.
    prefixes: BTreeSet<String>,
    /// Directories below which anything may be named.
    wild: HashSet<String>,
}

#[derive(Clone, Debug)]
struct Pattern {
    text: String,
    /// Made when it is first asked; none where the text is without wildcards.
    expression: Option<OnceLock<Option<Regex>>>,
    /// `!`: takes back in.
    negated: bool,
    /// The number of components, to match against parents of a path.
    depth: usize,
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
        let prefix = literal.join("/");
        if negated {
            self.exceptions.prefixes.insert(format!("{prefix}/"));
            if !plain {
                self.exceptions.wild.insert(prefix);
            }
        }
        if plain {
            self.literal.insert(text.clone(), self.patterns.len());
        } else {
            self.wild.push(self.patterns.len());
        }
        let expression = match plain {
            true => None,
            false => Some(pattern::ignore_later(&text)?),
        };
        self.finder = OnceLock::new();
        let depth = text.split('/').count();
        self.patterns.push(Pattern { expression, depth, text, negated });
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
        for place in self.candidates(path).into_iter().rev() {
            // A pattern before the one that decides so far changes nothing.
            if decides.is_some_and(|decides| place < decides) {
                break;
            }
            if self.patterns.get(place).is_some_and(|pattern| pattern.matches(path)) {
                decides = Some(place);
                break;
            }
        }
        decides.and_then(|place| self.patterns.get(place)).is_some_and(|pattern| !pattern.negated)
    }

    /// Whether a directory that is left out may still hold something that is not: if so, a walk
    /// must go into it.
    pub fn may_hold_exceptions(&self, directory: &str) -> bool {
        let below = format!("{directory}/");
        let Exceptions { prefixes, wild } = &self.exceptions;
        let next = std::ops::Bound::Excluded(below.clone());
        let named = prefixes.range::<String, _>((next, std::ops::Bound::Unbounded)).next();
        let mut above = directory.match_indices('/').map(|(at, _)| &directory[..at]);
        named.is_some_and(|prefix| prefix.starts_with(&below))
            || wild.contains("")
            || wild.contains(directory)
            || above.any(|parent| wild.contains(parent))
    }

    /// The places of patterns with wildcards that may match, in order.
    fn candidates(&self, path: &str) -> Vec<usize> {
        if self.wild.len() < FEW {
            return self.wild.clone();
        }
        let finder = self.finder.get_or_init(|| self.make_finder());
        let mut found = finder.always.clone();
        if let Some(parts) = &finder.parts {
            let hits = parts.find_overlapping_iter(path);
            found.extend(hits.filter_map(|hit| finder.owners.get(hit.pattern().as_usize())));
        }
        found.sort_unstable();
        found.dedup();
        found
    }

    fn make_finder(&self) -> Finder {
        let text = |place: &usize| self.patterns.get(*place).map_or("", |it| it.text.as_str());
        let mut counts: HashMap<&str, usize> = HashMap::new();
        for part in self.wild.iter().flat_map(|place| literals(text(place))) {
            *counts.entry(part).or_default() += 1;
        }
        let (mut parts, mut owners, mut always) = (Vec::new(), Vec::new(), Vec::new());
        for place in &self.wild {
            let count = |part: &&str| counts.get(part).copied().unwrap_or_default();
            match literals(text(place)).min_by_key(count) {
                None => always.push(*place),
                Some(part) => {
                    parts.push(part);
                    owners.push(*place);
                }
            }
        }
        match AhoCorasick::new(&parts) {
            Ok(parts) => Finder { parts: Some(parts), owners, always },
            // Too large for one automaton: each is tried.
            Err(_) => Finder { parts: None, owners: Vec::new(), always: self.wild.clone() },
        }
    }
}

/// With fewer patterns than this, each is tried.
const FEW: usize = 64;

/// The parts of a pattern that whatever matches it must have.
fn literals(text: &str) -> impl Iterator<Item = &str> {
    // A class or an escape makes too many cases; what stands before counts.
    let end = text.find(['[', '\\']).unwrap_or(text.len());
    let parts = text.get(..end).unwrap_or_default().split(['*', '?']);
    // The slash of a leading `**/` may match nothing.
    parts.map(|part| part.trim_matches('/')).filter(|part| !part.is_empty())
}

impl Pattern {
    fn matches(&self, path: &str) -> bool {
        let Some(expression) = &self.expression else { return false };
        let made = expression.get_or_init(|| pattern::ignore(&self.text).ok());
        let Some(expression) = made else { return false };
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
