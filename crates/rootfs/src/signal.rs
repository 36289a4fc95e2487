//! Signals by the names that images and command lines give them.

/// Linux's numbers (signal(7), x86-64), by names without `SIG`.
const NAMES: [(&str, u8); 34] = [
    ("HUP", 1),
    ("INT", 2),
    ("QUIT", 3),
    ("ILL", 4),
    ("TRAP", 5),
    ("ABRT", 6),
    ("IOT", 6),
    ("BUS", 7),
    ("FPE", 8),
    ("KILL", 9),
    ("USR1", 10),
    ("SEGV", 11),
    ("USR2", 12),
    ("PIPE", 13),
    ("ALRM", 14),
    ("TERM", 15),
    ("STKFLT", 16),
    ("CHLD", 17),
    ("CLD", 17),
    ("CONT", 18),
    ("STOP", 19),
    ("TSTP", 20),
    ("TTIN", 21),
    ("TTOU", 22),
    ("URG", 23),
    ("XCPU", 24),
    ("XFSZ", 25),
    ("VTALRM", 26),
    ("PROF", 27),
    ("WINCH", 28),
    ("IO", 29),
    ("POLL", 29),
    ("PWR", 30),
    ("SYS", 31),
];

/// The first and last real-time signals that the C library leaves to programs.
const RTMIN: u8 = 34;
const RTMAX: u8 = 64;

/// The number of a signal: `15`, `TERM`, `SIGTERM`, `RTMIN+3`, `RTMAX-1`, in letters of any case.
pub fn number(text: &str) -> Option<u8> {
    if let Ok(number) = text.parse::<u8>() {
        return (1..=RTMAX).contains(&number).then_some(number);
    }
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    if let Some((_, number)) = NAMES.iter().find(|(known, _)| *known == name) {
        return Some(*number);
    }
    let from = |edge: &str, sign: char| {
        let rest = name.strip_prefix(edge)?;
        let steps = if rest.is_empty() { "0" } else { rest.strip_prefix(sign)? };
        steps.parse::<u8>().ok().filter(|steps| *steps <= RTMAX - RTMIN)
    };
    let up = from("RTMIN", '+').map(|steps| RTMIN + steps);
    up.or_else(|| from("RTMAX", '-').map(|steps| RTMAX - steps))
}

#[cfg(test)]
mod tests {
    use super::number;

    #[test]
    fn names_and_numbers() {
        for (text, expected) in [
            ("15", Some(15)),
            ("SIGTERM", Some(15)),
            ("term", Some(15)),
            ("SigWinch", Some(28)),
            ("RTMIN", Some(34)),
            ("SIGRTMIN+3", Some(37)),
            ("RTMAX-1", Some(63)),
            ("64", Some(64)),
            ("0", None),
            ("65", None),
            ("SIGNOPE", None),
            ("RTMIN+31", None),
            ("RTMIN-1", None),
            ("", None),
        ] {
            assert_eq!(number(text), expected, "{text}");
        }
    }
}
