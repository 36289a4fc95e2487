//! Here-documents: `<<EOF`, `<<-EOF`, `3<<"EOF"`.

use crate::words::split_quoted;

/// A here-document of one instruction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heredoc {
    /// The delimiter, without quotes.
    pub name: String,
    /// False where the delimiter was quoted: variables are then left alone.
    pub expand: bool,
    /// `<<-`: leading tabs of each line do not count.
    pub strip_tabs: bool,
    /// The file descriptor written before `<<` (0 if none).
    pub fd: u32,
    /// The body as written, each line with its newline.
    pub body: String,
}

impl Heredoc {
    /// The body as a program sees it: without leading tabs where `<<-` was written.
    pub fn content(&self) -> String {
        if !self.strip_tabs {
            return self.body.clone();
        }
        self.body.split_inclusive('\n').map(|line| line.trim_start_matches('\t')).collect()
    }
}

/// Reads one word as a heredoc introducer; the body is empty yet.
pub(crate) fn parse_introducer(word: &str, escape: char) -> Option<Heredoc> {
    let digits = word.find(|c: char| !c.is_ascii_digit())?;
    let rest = word[digits..].strip_prefix("<<")?;
    let (strip_tabs, rest) = match rest.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, rest),
    };
    if rest.is_empty() || rest.contains('<') {
        return None;
    }
    let (words, closed) = split_quoted(rest, 0, escape);
    let [only] = words.as_slice() else { return None };
    if !closed || only.offset != 0 {
        return None;
    }
    let name = unquote(rest, escape);
    if name.is_empty() {
        return None;
    }
    let fd = if digits == 0 { 0 } else { word[..digits].parse().ok()? };
    Some(Heredoc { expand: name == rest, name, strip_tabs, fd, body: String::new() })
}

/// The heredocs a line announces, in order. A line whose quotes do not close has none.
pub(crate) fn introducers(line: &str, escape: char) -> Vec<Heredoc> {
    let (words, closed) = split_quoted(line, 0, escape);
    if !closed {
        return Vec::new();
    }
    words.iter().filter_map(|word| parse_introducer(&word.text, escape)).collect()
}

fn unquote(word: &str, escape: char) -> String {
    let mut out = String::new();
    let mut quote = None;
    let mut chars = word.chars();
    while let Some(c) = chars.next() {
        match (c, quote) {
            (c, q) if c == escape && q != Some('\'') => out.extend(chars.next()),
            (c, Some(open)) if c == open => quote = None,
            ('\'' | '"', None) => quote = Some(c),
            _ => out.push(c),
        }
    }
    out
}
