//! Failures as people see them: the place, the excerpt, the cause, a hint.

use std::fmt::Write as _;
use std::process::ExitCode;

use dockerfile::Span;

/// Lines shown before and after the marked ones.
const AROUND: u32 = 2;
/// At most so many marked lines are shown.
const MOST: u32 = 20;

/// Why a command failed.
#[derive(Debug)]
pub struct Failure {
    /// The cause, for people.
    pub message: String,
    /// What may help.
    pub hint: Option<String>,
    /// The Dockerfile's excerpt.
    pub excerpt: Option<String>,
    /// The exit code.
    pub code: u8,
}

impl Failure {
    /// A failure of the command itself.
    pub fn new(message: impl std::fmt::Display) -> Self {
        Self { message: message.to_string(), hint: None, excerpt: None, code: 1 }
    }

    /// Wrong usage.
    pub fn usage(message: impl std::fmt::Display) -> Self {
        Self { code: 2, ..Self::new(message) }
    }

    /// The same with another exit code.
    pub fn code(self, code: u8) -> Self {
        Self { code, ..self }
    }

    /// The same with advice.
    pub fn hint(self, hint: impl Into<String>) -> Self {
        Self { hint: Some(hint.into()), ..self }
    }

    /// A failed build of a Dockerfile with this name and text.
    pub fn build(error: &build::Error, name: &str, text: &str) -> Self {
        Self {
            message: error.to_string(),
            hint: error.hint.clone().or_else(|| registry_hint(&error.cause)),
            excerpt: error.span.map(|span| excerpt(name, text, span)),
            code: if matches!(*error.cause, build::Cause::Cancelled) { 130 } else { 1 },
        }
    }

    /// Prints the failure and gives the exit code.
    pub fn report(self) -> ExitCode {
        if let Some(excerpt) = &self.excerpt {
            tell!("{}", excerpt.trim_end());
        }
        tell!("ERROR: {}", self.message);
        if let Some(hint) = &self.hint {
            tell!("hint: {hint}");
        }
        ExitCode::from(self.code)
    }
}

impl From<oci::Error> for Failure {
    fn from(error: oci::Error) -> Self {
        let hint = oci_hint(&error);
        Self { hint, ..Self::new(error) }
    }
}

impl From<build::Error> for Failure {
    fn from(error: build::Error) -> Self {
        Self {
            hint: error.hint.clone().or_else(|| registry_hint(&error.cause)),
            ..Self::new(error)
        }
    }
}

fn registry_hint(cause: &build::Cause) -> Option<String> {
    match cause {
        build::Cause::Oci(error) | build::Cause::Base { source: error, .. } => oci_hint(error),
        _ => None,
    }
}

fn oci_hint(error: &oci::Error) -> Option<String> {
    let hint = match error {
        oci::Error::Unauthorized { registry, .. } => {
            format!(
                "log in with `boxer login {registry}` (or docker's or podman's), or name a file with --authfile"
            )
        }
        oci::Error::ArtifactRefused { .. } => {
            "push it as a container image, with --as image".to_owned()
        }
        oci::Error::Tls { .. } => {
            "trust the certificate with --ca-file, or use --insecure".to_owned()
        }
        oci::Error::DiskFull { .. } => {
            "make room, or put the store elsewhere with --store".to_owned()
        }
        oci::Error::NotInStore { .. } => {
            "`boxer images` lists what is there; `boxer pull` fetches".to_owned()
        }
        _ => return None,
    };
    Some(hint)
}

/// The lines of a file around a span, the span's own marked.
pub fn excerpt(name: &str, text: &str, span: Span) -> String {
    const RULE: &str = "--------------------";
    let lines: Vec<&str> = text.lines().collect();
    let first = span.start.saturating_sub(AROUND).max(1);
    let last = span.end.min(span.start.saturating_add(MOST)).saturating_add(AROUND);
    let mut out = String::new();
    // Writing to a string cannot fail.
    let _ = writeln!(out, "{name}:{}\n{RULE}", span.start);
    for (number, line) in (1u32..).zip(lines) {
        if (first..=last).contains(&number) {
            let mark = if (span.start..=span.end).contains(&number) { ">>>" } else { "   " };
            let _ = writeln!(out, "{}", format!("{number:4} | {mark} {line}").trim_end());
        }
    }
    let _ = writeln!(out, "{RULE}");
    out
}

#[cfg(test)]
mod tests {
    use super::excerpt;
    use dockerfile::Span;

    #[test]
    fn the_marked_lines_stand_between_others() {
        let text = "FROM scratch\n\nCOPY a \\\n  b\nCMD c\nCMD d\nCMD e\n";
        let expected = "Dockerfile:3\n--------------------\n   1 |     FROM scratch\n   2 |\n   3 | >>> COPY a \\\n   \
                        4 | >>>   b\n   5 |     CMD c\n   6 |     CMD d\n--------------------\n";
        assert_eq!(excerpt("Dockerfile", text, Span::new(3, 4)), expected);
    }
}
