//! Splitting an instruction's text into words, as BuildKit's line parsers do.

use crate::error::{Cause, Error, Span};

/// A word as written, quotes and all, and the line it starts on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Word {
    /// The text, not expanded.
    pub text: String,
    /// The physical line, 1-based.
    pub line: u32,
}

impl Word {
    /// An error on this word's line.
    pub fn error(&self, cause: Cause) -> Error {
        Error::new(Span::line(self.line), cause)
    }
}

/// What separates words on a logical line (newlines are gone by then).
pub(crate) fn is_separator(c: char) -> bool {
    matches!(c, '\t' | '\u{b}' | '\u{c}' | '\r' | ' ')
}

/// A piece of a logical line and where it starts in it, in bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Piece {
    pub offset: usize,
    pub text: String,
}

/// Splits on white space alone; quotes mean nothing (FROM, EXPOSE, COPY, ADD, VOLUME).
pub(crate) fn split_plain(text: &str, base: usize) -> Vec<Piece> {
    let mut pieces = Vec::new();
    let mut start = None;
    for (at, c) in text.char_indices() {
        match (is_separator(c), start) {
            (false, None) => start = Some(at),
            (true, Some(from)) => {
                pieces.push(Piece { offset: base + from, text: text[from..at].to_owned() });
                start = None;
            }
            _ => {}
        }
    }
    if let Some(from) = start {
        pieces.push(Piece { offset: base + from, text: text[from..].to_owned() });
    }
    pieces
}

/// Splits on white space outside quotes; quotes and escapes stay in the words (ARG, ENV, LABEL,
/// heredoc introducers). The flag tells whether every quote was closed.
pub(crate) fn split_quoted(text: &str, base: usize, escape: char) -> (Vec<Piece>, bool) {
    let mut pieces = Vec::new();
    let mut current: Option<Piece> = None;
    let mut quote: Option<char> = None;
    let mut chars = text.char_indices().peekable();
    while let Some((at, c)) = chars.next() {
        if quote.is_none() && c.is_whitespace() {
            pieces.extend(current.take());
            continue;
        }
        let word = current.get_or_insert_with(|| Piece { offset: base + at, text: String::new() });
        if c == escape && quote != Some('\'') {
            // An escape at the very end of the line is dropped.
            if let Some((_, next)) = chars.next() {
                word.text.push(c);
                word.text.push(next);
            }
            continue;
        }
        match quote {
            Some(open) if c == open => quote = None,
            None if c == '\'' || c == '"' => quote = Some(c),
            _ => {}
        }
        word.text.push(c);
    }
    pieces.extend(current.filter(|word| !word.text.is_empty()));
    (pieces, quote.is_none())
}

/// Takes the `--flag` words off the front. Quotes and backslashes are undone within flags, as
/// BuildKit does (always with a backslash, whatever the escape directive says). A lone `--` ends
/// the flags. Returns the flags and the offset at which the arguments start.
pub(crate) fn split_flags(text: &str) -> (Vec<Piece>, usize) {
    let mut flags = Vec::new();
    let mut chars = text.char_indices().peekable();
    loop {
        while chars.next_if(|(_, c)| c.is_whitespace()).is_some() {}
        let Some(&(start, _)) = chars.peek() else { return (flags, text.len()) };
        if !text[start..].starts_with("--") {
            return (flags, start);
        }
        let mut word = String::new();
        let mut quote: Option<char> = None;
        while let Some(&(_, c)) = chars.peek() {
            if quote.is_none() && c.is_whitespace() {
                break;
            }
            chars.next();
            match (c, quote) {
                ('\\', _) => {
                    if let Some((_, next)) = chars.next() {
                        word.push(next);
                    }
                }
                (_, Some(open)) if c == open => quote = None,
                ('\'' | '"', None) => quote = Some(c),
                _ => word.push(c),
            }
        }
        if word == "--" {
            let at = chars.peek().map_or(text.len(), |(at, _)| *at);
            return (flags, at);
        }
        flags.push(Piece { offset: start, text: word });
    }
}
