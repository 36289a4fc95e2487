//! `--chmod`: an octal mode, or the symbolic form of chmod(1), with BuildKit's meaning.

/// A parsed `--chmod` value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// These bits.
    Octal(u32),
    /// Changes, in order.
    Symbolic(Vec<Change>),
}

/// One `u+rwx` of a symbolic mode.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Change {
    /// The bits it may touch: those of user, group and others.
    who: u32,
    action: char,
    rights: Rights,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Rights {
    /// Letters of `rwxXst`.
    Letters(String),
    /// A copy of another class's bits: its shift.
    Copy(u32),
}

const USER: u32 = 0o4700;
const GROUP: u32 = 0o2070;
const OTHERS: u32 = 0o0007;
const STICKY: u32 = 0o1000;

impl Mode {
    /// Parses; `None` if it is neither form.
    pub fn parse(text: &str) -> Option<Self> {
        if text.starts_with(|c: char| c.is_ascii_digit()) {
            let bits = u32::from_str_radix(text, 8).ok()?;
            return (bits <= 0o7777).then_some(Self::Octal(bits));
        }
        let mut changes = Vec::new();
        for clause in text.split(',') {
            let actions = clause.find(['+', '-', '='])?;
            let (who, mut rest) = clause.split_at(actions);
            let who = who.chars().try_fold(0, |bits, c| match c {
                'u' => Some(bits | USER),
                'g' => Some(bits | GROUP),
                'o' => Some(bits | OTHERS),
                'a' => Some(bits | USER | GROUP | OTHERS | STICKY),
                _ => None,
            })?;
            let who = if who == 0 { USER | GROUP | OTHERS | STICKY } else { who };
            while let Some(action) = rest.chars().next() {
                let end = rest[1..].find(['+', '-', '=']).map_or(rest.len(), |at| at + 1);
                let letters = &rest[1..end];
                rest = &rest[end..];
                let rights = match letters {
                    "u" => Rights::Copy(6),
                    "g" => Rights::Copy(3),
                    "o" => Rights::Copy(0),
                    _ if letters.chars().all(|c| "rwxXst".contains(c)) => {
                        Rights::Letters(letters.to_owned())
                    }
                    _ => return None,
                };
                changes.push(Change { who, action, rights });
            }
        }
        Some(Self::Symbolic(changes))
    }

    /// The mode that an entry gets.
    pub fn apply(&self, mode: u32, directory: bool) -> u32 {
        match self {
            Self::Octal(bits) => *bits,
            Self::Symbolic(changes) => {
                changes.iter().fold(mode, |mode, change| change.apply(mode, directory))
            }
        }
    }
}

impl Change {
    fn apply(&self, mode: u32, directory: bool) -> u32 {
        let bits = match &self.rights {
            Rights::Copy(shift) => ((mode >> shift) & 7) * 0o111,
            Rights::Letters(letters) => letters.chars().fold(0, |bits, c| {
                bits | match c {
                    'r' => 0o444,
                    'w' => 0o222,
                    'x' => 0o111,
                    'X' if directory || mode & 0o111 != 0 => 0o111,
                    's' => 0o6000,
                    't' => STICKY,
                    _ => 0,
                }
            }),
        } & self.who;
        match self.action {
            '+' => mode | bits,
            '-' => mode & !bits,
            // BuildKit takes a directory's set-id bits away as well, where GNU's chmod(1) leaves them.
            _ => mode & !self.who | bits,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Mode;

    #[test]
    fn modes_are_those_of_buildkit() {
        for (text, before, directory, after) in [
            ("0755", 0o600, false, 0o755),
            ("4755", 0o600, false, 0o4755),
            ("u+x", 0o644, false, 0o744),
            ("+x", 0o644, false, 0o755),
            ("a=r", 0o777, false, 0o444),
            ("go-w,u=rwx", 0o666, false, 0o744),
            ("a+X", 0o644, false, 0o644),
            ("a+X", 0o744, false, 0o755),
            ("a+X", 0o644, true, 0o755),
            ("g=u", 0o750, false, 0o770),
            ("u+s,+t", 0o755, false, 0o5755),
            ("u=rw,go=", 0o777, false, 0o600),
            ("u+r-w", 0o300, false, 0o500),
            ("u=rwX,go=rX", 0o2750, true, 0o755),
            ("o=", 0o6757, true, 0o6750),
        ] {
            let mode = Mode::parse(text).unwrap_or_else(|| panic!("{text} does not parse"));
            assert_eq!(mode.apply(before, directory), after, "{text} on {before:o}");
        }
        for bad in ["", "x", "888", "77777", "u~x", "q+x", "u+q", "u+x,"] {
            assert_eq!(Mode::parse(bad), None, "{bad}");
        }
    }
}
