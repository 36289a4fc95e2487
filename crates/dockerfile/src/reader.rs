//! Physical lines to logical lines: directives, comments, continuations and heredoc bodies.

use crate::error::{Cause, Error, Span};
use crate::heredoc::{Heredoc, introducers};
use crate::words::is_separator;

/// The longest logical line we take, in bytes. BuildKit's scanner has a limit as well.
const LONGEST_LINE: usize = 4 << 20;

/// The `# key=value` lines at the top of the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Directives {
    /// `# syntax=`: noted; this crate is the only frontend there is.
    pub syntax: Option<String>,
    /// `# escape=`: a backslash unless the file says a backtick.
    pub escape: char,
    /// `# check=`.
    pub check: CheckDirective,
}

/// `# check=skip=A,B;error=true`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CheckDirective {
    /// The rules not to report; `all` means every one.
    pub skip: Vec<String>,
    /// Warnings fail the build.
    pub error: bool,
}

/// One instruction's text, continuations joined.
#[derive(Clone, Debug)]
pub(crate) struct LogicalLine {
    pub text: String,
    /// For each physical line that went into `text`: where it starts there, and its number.
    segments: Vec<(usize, u32)>,
    pub span: Span,
    pub heredocs: Vec<Heredoc>,
    /// The comment lines immediately above, `#` and blanks taken off.
    pub empty_continuation: Option<u32>,
}

impl LogicalLine {
    /// The physical line that holds byte `offset` of the text.
    pub fn line_at(&self, offset: usize) -> u32 {
        let after = self.segments.partition_point(|(start, _)| *start <= offset);
        after
            .checked_sub(1)
            .and_then(|i| self.segments.get(i))
            .map_or(self.span.start, |(_, line)| *line)
    }
}

/// Reads the whole file.
pub(crate) fn read(text: &str) -> Result<(Directives, Vec<LogicalLine>), Error> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut directives = DirectiveReader::default();
    let mut lines = Vec::new();
    let mut physical = (1u32..).zip(text.split_inclusive('\n'));
    while let Some((number, raw)) = physical.next() {
        let line = trim_newline(raw).trim_start();
        if directives.take(line, number)? || line.is_empty() || line.starts_with('#') {
            continue;
        }
        let escape = directives.found.escape;
        let mut logical = LogicalLine {
            text: String::new(),
            segments: vec![(0, number)],
            span: Span::line(number),
            heredocs: Vec::new(),
            empty_continuation: None,
        };
        let mut more = append(&mut logical.text, line, escape);
        if !more && logical.text.is_empty() {
            continue;
        }
        while more {
            let Some((number, raw)) = physical.next() else { break };
            let line = trim_newline(raw);
            if line.trim_start().starts_with('#') {
                continue;
            }
            if line.trim().is_empty() {
                logical.empty_continuation.get_or_insert(number);
                continue;
            }
            logical.span.end = number;
            logical.segments.push((logical.text.len(), number));
            more = append(&mut logical.text, line, escape);
            if logical.text.len() > LONGEST_LINE {
                return Err(Error::new(logical.span, Cause::LineTooLong { limit: LONGEST_LINE }));
            }
        }
        if takes_heredocs(&logical.text) && logical.text.contains("<<") {
            for mut heredoc in introducers(&logical.text, escape) {
                read_body(&mut heredoc, &mut physical, &mut logical.span)?;
                logical.heredocs.push(heredoc);
            }
        }
        if !logical.text.trim().is_empty() {
            lines.push(logical);
        }
    }
    Ok((directives.found, lines))
}

fn read_body<'a>(
    heredoc: &mut Heredoc,
    physical: &mut impl Iterator<Item = (u32, &'a str)>,
    span: &mut Span,
) -> Result<(), Error> {
    for (number, raw) in physical {
        span.end = number;
        let line = trim_newline(raw);
        let line = if heredoc.strip_tabs { line.trim_start_matches('\t') } else { line };
        if line == heredoc.name {
            return Ok(());
        }
        heredoc.body.push_str(raw);
    }
    Err(Error::new(*span, Cause::UnterminatedHeredoc { name: heredoc.name.clone() }))
}

/// RUN, COPY and ADD take heredocs, behind ONBUILD too; not in the exec form.
fn takes_heredocs(text: &str) -> bool {
    let mut rest = text.trim_start();
    for _ in 0..2 {
        let end = rest.find(is_separator).unwrap_or(rest.len());
        let (name, tail) = rest.split_at(end);
        rest = tail.trim_start();
        match name.to_ascii_uppercase().as_str() {
            "RUN" | "COPY" | "ADD" => {
                let (_, start) = crate::words::split_flags(rest);
                let arguments = &rest[start..];
                return !(arguments.starts_with('[')
                    && serde_json::from_str::<Vec<String>>(arguments).is_ok());
            }
            "ONBUILD" => {}
            _ => return false,
        }
    }
    false
}

/// Appends a physical line; true if it ends in a continuation.
fn append(text: &mut String, line: &str, escape: char) -> bool {
    let trimmed = line.trim_end_matches([' ', '\t']);
    let Some(body) = trimmed.strip_suffix(escape) else {
        text.push_str(line);
        return false;
    };
    // Two escapes at the end are an escaped escape, not a continuation.
    if body.ends_with(escape) {
        text.push_str(line);
        return false;
    }
    text.push_str(body);
    true
}

fn trim_newline(line: &str) -> &str {
    line.trim_end_matches(['\r', '\n'])
}

struct DirectiveReader {
    found: Directives,
    done: bool,
    seen: Vec<String>,
}

impl Default for DirectiveReader {
    fn default() -> Self {
        let found = Directives { syntax: None, escape: '\\', check: CheckDirective::default() };
        Self { found, done: false, seen: Vec::new() }
    }
}

impl DirectiveReader {
    /// True if the line is a directive. The first line that is none ends them all.
    fn take(&mut self, line: &str, number: u32) -> Result<bool, Error> {
        if self.done {
            return Ok(false);
        }
        let Some((key, value)) = split_directive(line) else {
            self.done = true;
            return Ok(false);
        };
        let key = key.to_ascii_lowercase();
        if !matches!(key.as_str(), "syntax" | "escape" | "check") {
            self.done = true;
            return Ok(false);
        }
        let span = Span::line(number);
        if self.seen.contains(&key) {
            return Err(Error::new(span, Cause::DuplicateDirective { name: key }));
        }
        match key.as_str() {
            "syntax" => self.found.syntax = Some(value.to_owned()),
            "escape" => {
                self.found.escape = match value {
                    "\\" => '\\',
                    "`" => '`',
                    _ => {
                        return Err(Error::new(span, Cause::BadEscape { token: value.to_owned() }));
                    }
                }
            }
            _ => {
                self.found.check = parse_check(value)
                    .map_err(|reason| Error::new(span, Cause::BadCheckDirective { reason }))?;
            }
        }
        self.seen.push(key);
        Ok(true)
    }
}

fn split_directive(line: &str) -> Option<(&str, &str)> {
    let (key, value) = line.strip_prefix('#')?.split_once('=')?;
    let (key, value) = (key.trim(), value.trim());
    let named = key.starts_with(|c: char| c.is_ascii_alphabetic())
        && key.chars().all(|c| c.is_ascii_alphanumeric());
    (named && !value.is_empty()).then_some((key, value))
}

fn parse_check(value: &str) -> Result<CheckDirective, String> {
    let mut check = CheckDirective::default();
    for part in value.split(';').map(str::trim).filter(|part| !part.is_empty()) {
        let (key, value) = part.split_once('=').ok_or_else(|| format!("no = in {part:?}"))?;
        match key.trim().to_ascii_lowercase().as_str() {
            "skip" => check.skip.extend(value.split(',').map(|rule| rule.trim().to_owned())),
            "error" => {
                check.error = match value.trim() {
                    "true" | "1" => true,
                    "false" | "0" => false,
                    other => return Err(format!("error={other} is neither true nor false")),
                }
            }
            "experimental" => {}
            other => return Err(format!("unknown option {other:?}")),
        }
    }
    Ok(check)
}
