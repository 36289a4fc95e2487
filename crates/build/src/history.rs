//! `created_by` of an image's history, in BuildKit's words: Go's `%q` and `%v` of what the instruction came to.

use std::fmt::Write as _;

use dockerfile::scope::{PREDEFINED, Scope};
use dockerfile::{ArgDefinition, CopySource, InstructionKind, KeyValue, Word};
use oci::{Health, ImageConfig};

use crate::config::exposed;
use crate::error::Result;

/// RUN, with the build arguments that its stage declares.
pub(crate) fn run(shown: &str, scope: &Scope) -> String {
    let args = scope.stage_args().filter(|(name, _)| !PREDEFINED.contains(name));
    let args: Vec<String> = args.map(|(name, value)| format!("{name}={value}")).collect();
    let count = if args.is_empty() { String::new() } else { format!("|{} ", args.len()) };
    let args: String = args.iter().map(|arg| format!("{arg} ")).collect();
    format!("RUN {count}{args}{shown} # buildkit")
}

/// What COPY and ADD say of themselves.
pub(crate) struct Copy<'a> {
    pub name: &'static str,
    pub sources: &'a [CopySource],
    pub destination: &'a Word,
    pub chown: Option<&'a str>,
    pub chmod: Option<&'a str>,
}

/// COPY and ADD.
pub(crate) fn copy(copy: &Copy<'_>, scope: &Scope) -> Result<String> {
    let mut text = copy.name.to_owned();
    for (flag, value) in [("chown", copy.chown), ("chmod", copy.chmod)] {
        if let Some(value) = value.filter(|value| !value.is_empty()) {
            let _ = write!(text, " --{flag}={value}");
        }
    }
    for source in copy.sources {
        match source {
            CopySource::Path(word) => {
                let _ = write!(text, " {}", scope.expand(word)?.text);
            }
            CopySource::Inline(file) => {
                let _ = write!(text, " <<{}", file.name);
            }
        }
    }
    let _ = write!(text, " {} # buildkit", scope.expand(copy.destination)?.text);
    Ok(text)
}

/// The instructions that change only the config; `scope` is the one they saw, `config` what they made. None for those that leave no
/// trace.
pub(crate) fn config(
    kind: &InstructionKind,
    scope: &Scope,
    config: &ImageConfig,
) -> Result<Option<String>> {
    let run = &config.config;
    let quoted = |words: &Option<Vec<String>>| {
        let words: Vec<String> = words.iter().flatten().map(|word| quote(word)).collect();
        words.join(" ")
    };
    let expand = |word: &Word| -> Result<String> { Ok(scope.expand(word)?.text) };
    Ok(Some(match kind {
        InstructionKind::Arg(definitions) => arg(definitions, scope)?,
        InstructionKind::Env(pairs) => format!("ENV {}", pairs_of(pairs, scope)?),
        InstructionKind::Label(pairs) => format!("LABEL {}", pairs_of(pairs, scope)?),
        InstructionKind::User(word) => format!("USER {}", expand(word)?),
        InstructionKind::StopSignal(word) => format!("STOPSIGNAL {}", expand(word)?),
        InstructionKind::Maintainer(name) => format!("MAINTAINER {name}"),
        InstructionKind::Cmd(_) => format!("CMD [{}]", quoted(&run.cmd)),
        InstructionKind::Entrypoint(_) => format!("ENTRYPOINT [{}]", quoted(&run.entrypoint)),
        InstructionKind::Shell(words) => format!("SHELL [{}]", words.join(" ")),
        InstructionKind::Volume(words) => {
            let words = words.iter().map(expand).collect::<Result<Vec<_>>>()?;
            format!("VOLUME [{}]", words.join(" "))
        }
        InstructionKind::Expose(words) => {
            let ports = exposed(words, scope)?;
            let ports: Vec<String> = ports.iter().map(|port| format!("{port}:{{}}")).collect();
            format!("EXPOSE map[{}]", ports.join(" "))
        }
        InstructionKind::Healthcheck(_) => match &run.healthcheck {
            Some(check) => health(check),
            None => return Ok(None),
        },
        _ => return Ok(None),
    }))
}

fn arg(definitions: &[ArgDefinition], scope: &Scope) -> Result<String> {
    let mut text = "ARG".to_owned();
    for definition in definitions {
        let _ = write!(text, " {}", definition.name);
        if let Some(default) = &definition.default {
            let _ = write!(text, "={}", scope.expand(default)?.text);
        }
    }
    Ok(text)
}

fn pairs_of(pairs: &[KeyValue], scope: &Scope) -> Result<String> {
    let mut words = Vec::new();
    for pair in pairs {
        words.push(format!(
            "{}={}",
            scope.expand(&pair.key)?.text,
            scope.expand(&pair.value)?.text
        ));
    }
    Ok(words.join(" "))
}

fn health(check: &Health) -> String {
    let test: Vec<String> = check.test.iter().map(|word| quote(word)).collect();
    let times = [check.interval, check.timeout, check.start_period, check.start_interval];
    let times: Vec<String> = times.iter().map(|time| format!("\"{}\"", duration(*time))).collect();
    let retries = u32::try_from(check.retries).ok().and_then(char::from_u32);
    let retries = quoted(retries.into_iter(), '\'');
    format!("HEALTHCHECK &{{[{}] {} {retries}}}", test.join(" "), times.join(" "))
}

/// Go's `%q` of a string.
fn quote(text: &str) -> String {
    quoted(text.chars(), '"')
}

fn quoted(text: impl Iterator<Item = char>, mark: char) -> String {
    let mut out = String::from(mark);
    for c in text {
        match c {
            '\\' => out.push_str("\\\\"),
            '\u{7}' => out.push_str("\\a"),
            '\u{8}' => out.push_str("\\b"),
            '\u{b}' => out.push_str("\\v"),
            '\u{c}' => out.push_str("\\f"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if c == mark => {
                out.push('\\');
                out.push(c);
            }
            c if (c as u32) < 0x20 || c as u32 == 0x7f => {
                let _ = write!(out, "\\x{:02x}", c as u32);
            }
            c if c.is_control() => {
                let _ = write!(out, "\\u{:04x}", c as u32);
            }
            c => out.push(c),
        }
    }
    out.push(mark);
    out
}

/// Go's `Duration.String`.
fn duration(nanoseconds: i64) -> String {
    let total = nanoseconds.unsigned_abs();
    let sign = if nanoseconds < 0 { "-" } else { "" };
    let fraction = |value: u64, unit: u64, digits: usize| -> String {
        let rest = format!("{:0digits$}", value % unit);
        let rest = rest.trim_end_matches('0');
        if rest.is_empty() {
            (value / unit).to_string()
        } else {
            format!("{}.{rest}", value / unit)
        }
    };
    const SECOND: u64 = 1_000_000_000;
    if total == 0 {
        return "0s".to_owned();
    }
    if total < SECOND {
        return match total {
            0..1_000 => format!("{sign}{total}ns"),
            1_000..1_000_000 => format!("{sign}{}µs", fraction(total, 1_000, 3)),
            _ => format!("{sign}{}ms", fraction(total, 1_000_000, 6)),
        };
    }
    let (minutes, rest) = (total / (60 * SECOND), total % (60 * SECOND));
    let seconds = fraction(rest, SECOND, 9);
    match (minutes / 60, minutes % 60) {
        (0, 0) => format!("{sign}{seconds}s"),
        (0, minutes) => format!("{sign}{minutes}m{seconds}s"),
        (hours, minutes) => format!("{sign}{hours}h{minutes}m{seconds}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::{duration, quote};

    #[test]
    fn words_are_those_of_go() {
        assert_eq!(quote("a\"b\\\n\u{1}\u{e4}"), "\"a\\\"b\\\\\\n\\x01\u{e4}\"");
        for (nanoseconds, text) in [
            (0, "0s"),
            (1_500_000, "1.5ms"),
            (90_000_000_000, "1m30s"),
            (3_600_000_000_000, "1h0m0s"),
            (2_050_000_000, "2.05s"),
        ] {
            assert_eq!(duration(nanoseconds), text);
        }
    }
}
