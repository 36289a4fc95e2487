//! Scripts: the `#!` line (execve(2), "Interpreter scripts").

/// Bytes of the file that are looked at (`BINPRM_BUF_SIZE`).
pub const LINE_MAX: usize = 256;

/// Interpreter and its one optional argument.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shebang {
    /// Path of the interpreter.
    pub interpreter: Vec<u8>,
    /// The rest of the line, blanks at both ends removed.
    pub argument: Option<Vec<u8>>,
}

/// Parses the start of a file. `None` = no script. `Some(None)` = a script whose line is malformed (`ENOEXEC`).
pub fn parse(start: &[u8]) -> Option<Option<Shebang>> {
    let rest = start.strip_prefix(b"#!")?;
    let blank = |b: &u8| *b == b' ' || *b == b'\t';
    let newline = rest.iter().position(|&b| b == b'\n' || b == 0);
    let line = &rest[..newline.unwrap_or(rest.len())];
    let Some(first) = line.iter().position(|b| !blank(b)) else {
        // Without an end of the line it is a name of nothing: that of the working directory.
        let ends =
            rest.get(line.len()) == Some(&b'\n') || start.len() >= LINE_MAX && newline.is_none();
        let nothing = Shebang { interpreter: Vec::new(), argument: None };
        return Some((!ends).then_some(nothing));
    };
    let line = &line[first..];
    let end = line.iter().position(blank);
    // A line that does not end within the buffer must at least hold the whole interpreter path.
    if newline.is_none() && end.is_none() && start.len() >= LINE_MAX {
        return Some(None);
    }
    let interpreter = line[..end.unwrap_or(line.len())].to_vec();
    let tail = &line[interpreter.len()..];
    let argument = tail.iter().position(|b| !blank(b)).map(|from| {
        let to = tail.iter().rposition(|b| !blank(b)).map_or(tail.len(), |i| i + 1);
        tail[from..to].to_vec()
    });
    Some(Some(Shebang { interpreter, argument }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines() {
        type Want = Option<Option<(&'static [u8], Option<&'static [u8]>)>>;
        let cases: [(&[u8], Want); 10] = [
            (b"#!/bin/sh\n", Some(Some((b"/bin/sh", None)))),
            (b"#! /bin/sh -e \t\necho", Some(Some((b"/bin/sh", Some(b"-e"))))),
            (b"#!/usr/bin/env  python3 -u\n", Some(Some((b"/usr/bin/env", Some(b"python3 -u"))))),
            (b"#!/bin/sh", Some(Some((b"/bin/sh", None)))),
            (b"#!\n/bin/sh", Some(None)),
            (b"#!   \n", Some(None)),
            (b"#!", Some(Some((b"", None)))),
            (b"#!  \0", Some(Some((b"", None)))),
            (b"\x7fELF", None),
            (b"", None),
        ];
        for (text, want) in cases {
            let want = want.map(|w| {
                w.map(|(i, a)| Shebang { interpreter: i.to_vec(), argument: a.map(<[u8]>::to_vec) })
            });
            assert_eq!(parse(text), want, "{:?}", String::from_utf8_lossy(text));
        }
        let mut long = b"#!/".to_vec();
        long.resize(LINE_MAX, b'x');
        assert_eq!(parse(&long), Some(None));
    }
}
