//! What a step is called in the progress: buildx's `[STAGE 2/3] RUN make all`, with the values of variables.

use dockerfile::expand::Variables;
use dockerfile::plan::Stage;
use dockerfile::{Instruction, InstructionKind};

/// The longest name of a step, in characters.
const LONGEST: usize = 160;

/// Where a stage's steps stand: the stage's name, if it has one or is one of several, and the number of its steps, FROM included.
pub(crate) struct Titles {
    place: String,
    total: usize,
}

impl Titles {
    pub fn new(stage: &Stage, instructions: &[&Instruction], stages: usize) -> Self {
        let place = match (&stage.name, stages) {
            (None, 1) => String::new(),
            _ => format!("{} ", stage.display_name()),
        };
        let steps = instructions.iter().filter(|instruction| makes_step(&instruction.kind)).count();
        Self { place, total: steps + 1 }
    }

    /// FROM, with the image that it led to.
    pub fn base(&self, image: &str) -> String {
        format!("[{}1/{}] FROM {image}", self.place, self.total)
    }

    /// Step `number`, from 2 on.
    pub fn step(&self, number: usize, text: &str, variables: &dyn Variables) -> String {
        format!("[{}{number}/{}] {}", self.place, self.total, shown(text, variables))
    }
}

/// Whether an instruction is a step of its own in the progress.
fn makes_step(kind: &InstructionKind) -> bool {
    matches!(
        kind,
        InstructionKind::Run(_)
            | InstructionKind::Copy(_)
            | InstructionKind::Add(_)
            | InstructionKind::Workdir(_)
    )
}

/// An instruction on one line.
fn shown(text: &str, variables: &dyn Variables) -> String {
    let words = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let words = expanded(&words, variables);
    if words.chars().count() <= LONGEST {
        return words;
    }
    let cut: String = words.chars().take(LONGEST).collect();
    format!("{cut}...")
}

/// `$NAME` and `${NAME}` that are set give their values; all else stays as it is written, quotes and unset variables too, as in
/// BuildKit, which expands titles with `RawQuotes` and `SkipUnsetEnv`.
fn expanded(text: &str, variables: &dyn Variables) -> String {
    let mut out = String::with_capacity(text.len());
    let (mut rest, mut single, mut double) = (text, false, false);
    while let Some(c) = rest.chars().next() {
        match c {
            '\'' if !double => single = !single,
            '"' if !single => double = !double,
            '\\' if !single => {
                let end = rest.char_indices().nth(2).map_or(rest.len(), |(at, _)| at);
                out.push_str(rest.get(..end).unwrap_or_default());
                rest = rest.get(end..).unwrap_or_default();
                continue;
            }
            '$' if !single => {
                let value =
                    reference(rest).and_then(|(name, len)| Some((variables.get(name)?, len)));
                if let Some((value, len)) = value {
                    out.push_str(value);
                    rest = rest.get(len..).unwrap_or_default();
                    // No title needs more, and a value may be long.
                    if out.len() > 8 * LONGEST {
                        break;
                    }
                    continue;
                }
            }
            _ => {}
        }
        out.push(c);
        rest = rest.get(c.len_utf8()..).unwrap_or_default();
    }
    out
}

/// The name that a text starting with `$` refers to, and the length of the reference in bytes.
fn reference(text: &str) -> Option<(&str, usize)> {
    let after = text.strip_prefix('$')?;
    let (braced, body) = match after.strip_prefix('{') {
        Some(body) => (2, body),
        None => (0, after),
    };
    let len = body.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).unwrap_or(body.len());
    let name = body.get(..len).filter(|name| !name.starts_with(|c: char| c.is_ascii_digit()))?;
    if name.is_empty() || (braced > 0 && !body.get(len..)?.starts_with('}')) {
        return None;
    }
    Some((name, 1 + braced + len))
}

#[cfg(test)]
mod tests {
    use super::{LONGEST, shown};

    fn values(name: &str) -> Option<&'static str> {
        match name {
            "A" => Some("one"),
            "LONG" => Some(
                "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx",
            ),
            _ => None,
        }
    }

    #[test]
    fn set_variables_are_expanded_and_all_else_stays() {
        for (text, expected) in [
            ("RUN echo  $A \n ${A}", "RUN echo one one"),
            (
                "RUN echo \"$A\" '$A' \\$A $B ${A:-x} $1 $",
                "RUN echo \"one\" '$A' \\$A $B ${A:-x} $1 $",
            ),
            ("RUN echo \"it's $A\"", "RUN echo \"it's one\""),
            ("COPY ä$A\u{1f980} /", "COPY äone\u{1f980} /"),
            ("RUN ${A", "RUN ${A"),
        ] {
            assert_eq!(shown(text, &values), expected);
        }
        let long = shown(&"$LONG".repeat(1000), &values);
        assert_eq!(long.chars().count(), LONGEST + 3);
    }
}
