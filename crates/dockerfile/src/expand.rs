//! Variable expansion in a word: `$x`, `${x:-w}` and the other modifiers BuildKit knows.

use std::collections::BTreeSet;

use crate::error::Cause;
use crate::pattern;

/// The longest expansion taken, in bytes: `ENV A=$A$A` doubles each time it is written.
const LONGEST: usize = 4 << 20;
/// How deep `${a:-${b:-...}}` may nest.
const DEEPEST: usize = 64;

/// Where the values come from.
pub trait Variables {
    /// The value of a variable, `None` if it is not set.
    fn get(&self, name: &str) -> Option<&str>;
}

impl<F> Variables for F
where
    F: Fn(&str) -> Option<&'static str>,
{
    fn get(&self, name: &str) -> Option<&str> {
        self(name)
    }
}

/// An expanded word.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Expansion {
    /// The text, quotes and escapes undone.
    pub text: String,
    /// The names that were looked up and not set (for the UndefinedVar check).
    pub unset: BTreeSet<String>,
}

/// Expands a word and takes its quotes off.
///
/// # Errors
/// [`Cause::Expansion`] for bad syntax, an unclosed quote, or a failing `${x:?message}`.
pub fn word(text: &str, variables: &dyn Variables, escape: char) -> Result<Expansion, Cause> {
    run(text, variables, escape, true)
}

/// Expands a heredoc's body: quotes are ordinary characters there.
///
/// # Errors
/// As for [`word`].
pub fn body(text: &str, variables: &dyn Variables) -> Result<Expansion, Cause> {
    run(text, variables, '\\', false)
}

fn run(
    text: &str,
    variables: &dyn Variables,
    escape: char,
    quotes: bool,
) -> Result<Expansion, Cause> {
    let mut lexer = Lexer {
        chars: text.chars().peekable(),
        variables,
        escape,
        quotes,
        unset: BTreeSet::new(),
        depth: 0,
    };
    match lexer.until(None, false) {
        Ok(text) => Ok(Expansion { text, unset: lexer.unset }),
        Err(reason) => {
            let mut shown: String = text.chars().take(200).collect();
            if shown.len() < text.len() {
                shown.push_str("...");
            }
            Err(Cause::Expansion { word: shown, reason })
        }
    }
}

struct Lexer<'a> {
    chars: std::iter::Peekable<std::str::Chars<'a>>,
    variables: &'a dyn Variables,
    escape: char,
    quotes: bool,
    unset: BTreeSet<String>,
    depth: usize,
}

type Text = Result<String, String>;

impl Lexer<'_> {
    /// Reads up to `stop` (taken, not returned) or, with `None`, to the end. With `raw_escapes`
    /// the escape character stays, for a pattern to interpret.
    fn until(&mut self, stop: Option<char>, raw_escapes: bool) -> Text {
        if self.depth > DEEPEST {
            return Err(format!("nested more than {DEEPEST} levels deep"));
        }
        self.depth += 1;
        let mut out = String::new();
        loop {
            if out.len() > LONGEST {
                return Err(format!("the result is longer than {LONGEST} bytes"));
            }
            let Some(&c) = self.chars.peek() else {
                self.depth -= 1;
                return match stop {
                    None => Ok(out),
                    Some(stop) => Err(format!(
                        "unexpected end of statement while looking for matching {stop}"
                    )),
                };
            };
            if Some(c) == stop {
                self.chars.next();
                self.depth -= 1;
                return Ok(out);
            }
            match c {
                '$' => out.push_str(&self.dollar()?),
                '\'' if self.quotes => self.single_quoted(&mut out)?,
                '"' if self.quotes => self.double_quoted(&mut out, raw_escapes)?,
                _ => {
                    self.chars.next();
                    if c != self.escape {
                        out.push(c);
                        continue;
                    }
                    if raw_escapes {
                        out.push(c);
                    }
                    out.extend(self.chars.next());
                }
            }
        }
    }

    fn single_quoted(&mut self, out: &mut String) -> Result<(), String> {
        self.chars.next();
        for c in self.chars.by_ref() {
            if c == '\'' {
                return Ok(());
            }
            out.push(c);
        }
        Err("unexpected end of statement while looking for matching single-quote".to_owned())
    }

    fn double_quoted(&mut self, out: &mut String, raw_escapes: bool) -> Result<(), String> {
        self.chars.next();
        loop {
            match self.chars.peek().copied() {
                None => {
                    return Err(
                        "unexpected end of statement while looking for matching double-quote"
                            .to_owned(),
                    );
                }
                Some('"') => {
                    self.chars.next();
                    return Ok(());
                }
                Some('$') => out.push_str(&self.dollar()?),
                Some(c) => {
                    self.chars.next();
                    if c != self.escape {
                        out.push(c);
                        continue;
                    }
                    if raw_escapes {
                        out.push(c);
                    }
                    match self.chars.peek().copied() {
                        None => {}
                        Some(next) if next == '"' || next == '$' || next == self.escape => {
                            out.push(next);
                            self.chars.next();
                        }
                        // Before anything else the escape is literal.
                        Some(_) => out.push(c),
                    }
                }
            }
        }
    }

    fn lookup(&mut self, name: &str) -> Option<String> {
        let value = self.variables.get(name).map(str::to_owned);
        if value.is_none() {
            self.unset.insert(name.to_owned());
        }
        value
    }

    fn dollar(&mut self) -> Text {
        self.chars.next();
        if self.chars.peek() != Some(&'{') {
            let name = self.name();
            if name.is_empty() {
                return Ok("$".to_owned());
            }
            return Ok(self.lookup(&name).unwrap_or_default());
        }
        self.chars.next();
        match self.chars.peek() {
            None => return Err("syntax error: missing '}'".to_owned()),
            Some('{' | '}' | ':') => return Err("syntax error: bad substitution".to_owned()),
            Some(_) => {}
        }
        let name = self.name();
        let missing = |_| "syntax error: missing '}'".to_owned();
        match self.chars.next() {
            Some('}') => Ok(self.lookup(&name).unwrap_or_default()),
            Some(':') => match self.chars.next() {
                Some(op @ ('-' | '+' | '?')) => {
                    let word = self.until(Some('}'), false)?;
                    let value = self.lookup(&name);
                    default_or_fail(&name, op, word, value.filter(|v| !v.is_empty()), "empty")
                }
                Some(op) => Err(format!("unsupported modifier (:{op}) in substitution")),
                None => Err("syntax error: missing '}'".to_owned()),
            },
            Some(op @ ('-' | '+' | '?')) => {
                let word = self.until(Some('}'), false)?;
                let value = self.lookup(&name);
                default_or_fail(&name, op, word, value, "unset")
            }
            Some(op @ ('#' | '%')) => {
                let longest = self.chars.next_if_eq(&op).is_some();
                let pattern = self.until(Some('}'), true).map_err(missing)?;
                let value = self.lookup(&name).unwrap_or_default();
                trim(&value, &pattern, op == '%', longest)
            }
            Some('/') => {
                let all = self.chars.next_if_eq(&'/').is_some();
                let pattern = self
                    .until(Some('/'), true)
                    .map_err(|_| "syntax error: missing '/' in ${}".to_owned())?;
                let replacement = self.until(Some('}'), true).map_err(missing)?;
                let value = self.lookup(&name).unwrap_or_default();
                let found =
                    pattern::shell(&pattern, true, false).map_err(|cause| cause.to_string())?;
                let limit = if all { 0 } else { 1 };
                let plain = regex::NoExpand(&replacement);
                if value.len().saturating_mul(replacement.len().max(1)) > LONGEST {
                    return Err(format!("the result may be longer than {LONGEST} bytes"));
                }
                Ok(found.replacen(&value, limit, plain).into_owned())
            }
            Some(other) => Err(format!("unsupported modifier ({other}) in substitution")),
            None => Err("syntax error: missing '}'".to_owned()),
        }
    }

    /// A name, one special parameter, or a run of digits.
    fn name(&mut self) -> String {
        let mut name = String::new();
        let Some(&first) = self.chars.peek() else { return name };
        if matches!(first, '@' | '*' | '#' | '?' | '-' | '$' | '!') {
            self.chars.next();
            return first.to_string();
        }
        let digits_only = first.is_numeric();
        while let Some(c) = self.chars.next_if(|c| {
            if digits_only { c.is_numeric() } else { c.is_alphanumeric() || *c == '_' }
        }) {
            name.push(c);
        }
        name
    }
}

fn default_or_fail(
    name: &str,
    op: char,
    word: String,
    value: Option<String>,
    absent: &str,
) -> Text {
    match (op, value) {
        ('-', value) => Ok(value.unwrap_or(word)),
        ('+', value) => Ok(value.map(|_| word).unwrap_or_default()),
        (_, Some(value)) => Ok(value),
        (_, None) if word.is_empty() => Err(format!("{name}: is not allowed to be {absent}")),
        (_, None) => Err(format!("{name}: {word}")),
    }
}

/// `${x#p}`, `${x##p}`, `${x%p}`, `${x%%p}`.
fn trim(value: &str, pattern: &str, suffix: bool, longest: bool) -> Text {
    let fail = |cause: Cause| cause.to_string();
    if !suffix {
        let found = pattern::shell(pattern, longest, true).map_err(fail)?;
        return Ok(found
            .find(value)
            .map_or(value, |m| value.get(m.end()..).unwrap_or_default())
            .to_owned());
    }
    // A suffix is a prefix of the text read backwards.
    let backwards: String = value.chars().rev().collect();
    let found = pattern::shell(&reverse_pattern(pattern), longest, true).map_err(fail)?;
    let rest = found
        .find(&backwards)
        .map_or(backwards.as_str(), |m| backwards.get(m.end()..).unwrap_or_default());
    Ok(rest.chars().rev().collect())
}

/// Turns a pattern round, keeping each escape before its character.
fn reverse_pattern(pattern: &str) -> String {
    let mut units: Vec<String> = Vec::new();
    let mut chars = pattern.chars();
    while let Some(c) = chars.next() {
        let mut unit = String::from(c);
        if c == '\\' {
            unit.extend(chars.next());
        }
        units.push(unit);
    }
    units.into_iter().rev().collect()
}
