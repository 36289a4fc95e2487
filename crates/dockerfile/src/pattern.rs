//! The three pattern languages of a Dockerfile, each translated to a regular expression, whose
//! matching time is linear in the text: nothing a file says can make a match run away.

use std::sync::OnceLock;

use regex::{Regex, RegexBuilder};

use crate::error::Cause;

/// The longest pattern taken, in bytes.
const LONGEST: usize = 16 << 10;

fn compile(pattern: &str, expression: &str) -> Result<Regex, Cause> {
    let fail = |reason: String| Cause::Pattern { pattern: pattern.to_owned(), reason };
    if pattern.len() > LONGEST {
        return Err(fail(format!("longer than {LONGEST} bytes")));
    }
    RegexBuilder::new(expression)
        .dot_matches_new_line(true)
        .build()
        .map_err(|_| fail("syntax error in pattern".to_owned()))
}

fn push_literal(out: &mut String, c: char) {
    let mut buffer = [0u8; 4];
    out.push_str(&regex::escape(c.encode_utf8(&mut buffer)));
}

/// The pattern of `${x#p}` and its kin: `*` and `?` match anything, a backslash escapes them.
/// `greedy` makes `*` as long as can be; `anchored` ties the match to the start of the text.
///
/// # Errors
/// [`Cause::Pattern`] for a backslash before anything but `*`, `?`, `\`, `/` and `}`.
pub fn shell(pattern: &str, greedy: bool, anchored: bool) -> Result<Regex, Cause> {
    let mut out = String::from(if anchored { "^" } else { "" });
    let mut chars = pattern.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '*' => out.push_str(if greedy { ".*" } else { ".*?" }),
            '?' => out.push('.'),
            '\\' => match chars.next() {
                Some(c @ ('*' | '?' | '\\' | '/' | '}')) => push_literal(&mut out, c),
                other => {
                    let shown = other.map(String::from).unwrap_or_default();
                    return Err(Cause::Pattern {
                        pattern: pattern.to_owned(),
                        reason: format!("invalid escape '\\{shown}'"),
                    });
                }
            },
            c => push_literal(&mut out, c),
        }
    }
    compile(pattern, &out)
}

/// A wildcard as Go's `filepath.Match` reads it, which is what COPY and ADD use: `*` and `?` stay
/// within one path component, `[a-z]` and `[^a-z]` are classes, a backslash escapes.
///
/// # Errors
/// [`Cause::Pattern`] for an unclosed class or a trailing backslash.
pub fn go_match(pattern: &str) -> Result<Regex, Cause> {
    glob(pattern, false)
}

/// A `.dockerignore` or `--exclude` pattern, already cleaned (no leading `/`, no `..`): as
/// [`go_match`], plus `**` for any number of components.
///
/// # Errors
/// As for [`go_match`].
pub fn ignore(pattern: &str) -> Result<Regex, Cause> {
    glob(pattern, true)
}

/// As [`ignore`], found to be right but made when it is asked for: of thousands of patterns few are.
///
/// # Errors
/// As for [`go_match`].
pub(crate) fn ignore_later(pattern: &str) -> Result<OnceLock<Option<Regex>>, Cause> {
    /// With fewer wildcards and classes than this no expression is too large.
    const SURE: usize = 32;
    let expression = translate(pattern, true)?;
    let special = pattern.matches(['*', '?', '[']).count();
    match special < SURE && pattern.len() <= LONGEST {
        true => Ok(OnceLock::new()),
        false => Ok(OnceLock::from(Some(compile(pattern, &expression)?))),
    }
}

/// Go's `filepath.Match`, with or without `**`.
fn glob(pattern: &str, across_components: bool) -> Result<Regex, Cause> {
    compile(pattern, &translate(pattern, across_components)?)
}

fn translate(pattern: &str, across_components: bool) -> Result<String, Cause> {
    let mut out = String::from("^");
    let mut chars = pattern.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '*' if across_components && chars.next_if_eq(&'*').is_some() => {
                let slash = chars.next_if_eq(&'/').is_some();
                match (slash, chars.peek()) {
                    // `**/x`: x here or at any depth.
                    (true, Some(_)) => out.push_str("(?:.*/)?"),
                    // A trailing `**` takes all that is below.
                    (_, None) => out.push_str(".*"),
                    (false, Some(_)) => out.push_str("(?:.*/)?[^/]*"),
                }
            }
            '*' => out.push_str("[^/]*"),
            '?' => out.push_str("[^/]"),
            '[' => class(pattern, &mut chars, &mut out)?,
            '\\' => push_literal(
                &mut out,
                chars.next().ok_or_else(|| bad(pattern, "trailing backslash"))?,
            ),
            c => push_literal(&mut out, c),
        }
    }
    out.push('$');
    Ok(out)
}

/// True if the text has a character that [`go_match`] gives a meaning to.
pub fn has_wildcard(text: &str) -> bool {
    text.contains(['*', '?', '[', '\\'])
}

fn bad(pattern: &str, reason: &str) -> Cause {
    Cause::Pattern { pattern: pattern.to_owned(), reason: reason.to_owned() }
}

/// `[^a-z\]]`, the opening bracket already taken. Never matches a slash.
fn class(
    pattern: &str,
    chars: &mut std::iter::Peekable<std::str::Chars<'_>>,
    out: &mut String,
) -> Result<(), Cause> {
    let unclosed = || bad(pattern, "unclosed [");
    let negated = chars.next_if_eq(&'^').is_some();
    let mut members = String::new();
    let mut first = true;
    loop {
        let low = match chars.next().ok_or_else(unclosed)? {
            ']' if !first => break,
            ']' | '-' => return Err(bad(pattern, "empty range in []")),
            '\\' => chars.next().ok_or_else(unclosed)?,
            c => c,
        };
        first = false;
        let mut high = low;
        if chars.next_if_eq(&'-').is_some() {
            high = match chars.next().ok_or_else(unclosed)? {
                ']' | '-' => return Err(bad(pattern, "unfinished range in []")),
                '\\' => chars.next().ok_or_else(unclosed)?,
                c => c,
            };
        }
        if low > high {
            return Err(bad(pattern, "range in [] runs backwards"));
        }
        members.push_str(&format!("\\x{{{:x}}}-\\x{{{:x}}}", u32::from(low), u32::from(high)));
    }
    // `--` takes the slash out of whichever set it is.
    out.push_str(&if negated { format!("[^/{members}]") } else { format!("[[{members}]--[/]]") });
    Ok(())
}
