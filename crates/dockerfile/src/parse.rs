//! Logical lines to typed instructions.

use crate::copy::{Add, Copy, CopySource, InlineFile};
use crate::error::{Cause, Error, Span};
use crate::flags::Flags;
use crate::heredoc::parse_introducer;
use crate::instruction::{
    ArgDefinition, Command, From, HealthTest, Healthcheck, Instruction, InstructionKind, KeyValue,
    Run,
};
use crate::mount::MountSpec;
use crate::reader::{Directives, LogicalLine, read};
use crate::suggest::did_you_mean;
use crate::timing::nanoseconds;
use crate::words::{Piece, Word, is_separator, split_flags, split_plain, split_quoted};

/// A parsed Dockerfile.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dockerfile {
    /// The parser directives at the top.
    pub directives: Directives,
    /// The instructions, in order.
    pub instructions: Vec<Instruction>,
}

const KEYWORDS: [&str; 18] = [
    "FROM",
    "ARG",
    "ENV",
    "LABEL",
    "RUN",
    "COPY",
    "ADD",
    "WORKDIR",
    "USER",
    "EXPOSE",
    "VOLUME",
    "CMD",
    "ENTRYPOINT",
    "SHELL",
    "STOPSIGNAL",
    "HEALTHCHECK",
    "ONBUILD",
    "MAINTAINER",
];

impl Dockerfile {
    /// Parses a whole file.
    ///
    /// # Errors
    /// The first thing that is wrong, with its lines.
    ///
    /// ```
    /// let file = dockerfile::Dockerfile::parse("FROM scratch\nCOPY --chmod=755 a /a\n").unwrap();
    /// assert_eq!(file.instructions[1].span.start, 2);
    /// let error = dockerfile::Dockerfile::parse("FROM scratch\nCOPPY a /a\n").unwrap_err();
    /// assert_eq!(error.to_string(), "unknown instruction: COPPY");
    /// assert_eq!(error.hint.as_deref(), Some("did you mean COPY?"));
    /// ```
    pub fn parse(text: &str) -> Result<Self, Error> {
        if let Some(at) = text.find('\0') {
            return Err(Error::new(Span::line(line_at(&text.as_bytes()[..at])), Cause::Nul));
        }
        let (directives, lines) = read(text)?;
        if lines.is_empty() {
            return Err(Error::new(Span::line(1), Cause::Empty));
        }
        let escape = directives.escape;
        let instructions =
            lines.iter().map(|line| parse_line(line, escape)).collect::<Result<Vec<_>, _>>()?;
        Ok(Self { directives, instructions })
    }

    /// As [`Dockerfile::parse`], for bytes that may not be text.
    ///
    /// # Errors
    /// [`Cause::NotUtf8`] with the line, and those of [`Dockerfile::parse`].
    pub fn parse_bytes(bytes: &[u8]) -> Result<Self, Error> {
        match std::str::from_utf8(bytes) {
            Ok(text) => Self::parse(text),
            Err(error) => {
                let good = bytes.get(..error.valid_up_to()).unwrap_or_default();
                Err(Error::new(Span::line(line_at(good)), Cause::NotUtf8))
            }
        }
    }

    /// Parses one instruction as an image's `OnBuild` list holds it.
    ///
    /// # Errors
    /// As for [`Dockerfile::parse`]; the lines are those within the trigger.
    pub fn parse_trigger(text: &str) -> Result<Instruction, Error> {
        let file = Self::parse(text)?;
        let span = Span::line(1);
        let mut instructions = file.instructions.into_iter();
        let Some(first) = instructions.next() else { return Err(Error::new(span, Cause::Empty)) };
        check_trigger(&first)?;
        Ok(first)
    }
}

/// The number of the line that follows these bytes.
fn line_at(before: &[u8]) -> u32 {
    let newlines = before.iter().filter(|byte| **byte == b'\n').count();
    u32::try_from(newlines).unwrap_or(u32::MAX).saturating_add(1)
}

/// The arguments of one instruction on their way to a type.
struct Arguments<'a> {
    name: &'static str,
    /// Trimmed at both ends.
    text: &'a str,
    /// Where `text` starts in the logical line.
    offset: usize,
    flags: Flags,
    line: &'a LogicalLine,
    escape: char,
}

fn parse_line(line: &LogicalLine, escape: char) -> Result<Instruction, Error> {
    parse_from(line, 0, escape, true)
}

fn parse_from(
    line: &LogicalLine,
    start: usize,
    escape: char,
    outer: bool,
) -> Result<Instruction, Error> {
    let text = line.text.get(start..).unwrap_or_default();
    let indent = text.len() - text.trim_start().len();
    let body = text.trim();
    let end = body.find(is_separator).unwrap_or(body.len());
    let (keyword, tail) = body.split_at(end);
    let at = start + indent;
    let upper = keyword.to_ascii_uppercase();
    let Some(name) = KEYWORDS.into_iter().find(|known| *known == upper) else {
        let hint = did_you_mean(&upper, KEYWORDS).map(|near| format!("did you mean {near}?"));
        let span = Span::new(line.line_at(at), line.span.end);
        return Err(Error::new(span, Cause::UnknownInstruction { name: keyword.to_owned() })
            .with_hint(hint));
    };
    let (flag_pieces, arguments_start) = split_flags(tail);
    let flag_words = flag_pieces.into_iter().map(|piece| word_at(line, at + end, piece)).collect();
    let flags = Flags::parse(name, flag_words)?;
    let arguments = tail.get(arguments_start..).unwrap_or_default();
    let lead = arguments.len() - arguments.trim_start().len();
    let arguments = Arguments {
        name,
        text: arguments.trim(),
        offset: at + end + arguments_start + lead,
        flags,
        line,
        escape,
    };
    let kind = arguments.parse(outer)?;
    Ok(Instruction {
        span: line.span,
        keyword: keyword.to_owned(),
        text: body.to_owned(),
        heredocs: line.heredocs.clone(),
        empty_continuation: line.empty_continuation,
        kind,
    })
}

fn word_at(line: &LogicalLine, base: usize, piece: Piece) -> Word {
    Word { line: line.line_at(base + piece.offset), text: piece.text }
}

fn check_trigger(instruction: &Instruction) -> Result<(), Error> {
    match &instruction.kind {
        InstructionKind::Onbuild(_) => Err(instruction.error(Cause::OnbuildChain)),
        InstructionKind::From(_) | InstructionKind::Maintainer(_) => {
            let name = instruction.kind.name().to_owned();
            Err(instruction.error(Cause::OnbuildTrigger { name }))
        }
        _ => Ok(()),
    }
}

impl Arguments<'_> {
    fn parse(&self, outer: bool) -> Result<InstructionKind, Error> {
        Ok(match self.name {
            "FROM" => InstructionKind::From(self.from()?),
            "ARG" => InstructionKind::Arg(self.arg()?),
            "ENV" => InstructionKind::Env(self.pairs()?),
            "LABEL" => InstructionKind::Label(self.pairs()?),
            "RUN" => InstructionKind::Run(self.run()?),
            "COPY" => InstructionKind::Copy(self.copy()?),
            "ADD" => InstructionKind::Add(self.add()?),
            "WORKDIR" => InstructionKind::Workdir(self.whole()?),
            "USER" => InstructionKind::User(self.whole()?),
            "STOPSIGNAL" => InstructionKind::StopSignal(self.whole()?),
            "MAINTAINER" => InstructionKind::Maintainer(self.whole()?.text),
            "EXPOSE" => InstructionKind::Expose(self.at_least_one(self.words())?),
            "VOLUME" => InstructionKind::Volume(self.volume()?),
            "CMD" => InstructionKind::Cmd(self.command()?),
            "ENTRYPOINT" => InstructionKind::Entrypoint(self.command()?),
            "SHELL" => InstructionKind::Shell(self.shell()?),
            "HEALTHCHECK" => InstructionKind::Healthcheck(self.healthcheck()?),
            _ if !outer => return Err(self.error(Cause::OnbuildChain)),
            _ => {
                if self.text.is_empty() {
                    return Err(self.argument_error("at least one argument"));
                }
                let inner = parse_from(self.line, self.offset, self.escape, false)?;
                check_trigger(&inner)?;
                InstructionKind::Onbuild(Box::new(inner))
            }
        })
    }

    fn error(&self, cause: Cause) -> Error {
        Error::new(self.line.span, cause)
    }

    fn argument_error(&self, what: &str) -> Error {
        self.error(Cause::Arguments { instruction: self.name.to_owned(), what: what.to_owned() })
    }

    fn word(&self, piece: Piece) -> Word {
        word_at(self.line, self.offset, piece)
    }

    fn words(&self) -> Vec<Word> {
        split_plain(self.text, 0).into_iter().map(|piece| self.word(piece)).collect()
    }

    /// The whole text as one word.
    fn whole(&self) -> Result<Word, Error> {
        if self.text.is_empty() {
            return Err(self.argument_error("exactly one argument"));
        }
        Ok(self.word(Piece { offset: 0, text: self.text.to_owned() }))
    }

    fn at_least_one(&self, words: Vec<Word>) -> Result<Vec<Word>, Error> {
        if words.is_empty() { Err(self.argument_error("at least one argument")) } else { Ok(words) }
    }

    /// The JSON array of strings that the text begins with, whatever is behind it; `None` if it is not JSON at all.
    fn json(&self, text: &str) -> Result<Option<Vec<String>>, Error> {
        if !text.starts_with('[') {
            return Ok(None);
        }
        let mut stream = serde_json::Deserializer::from_str(text).into_iter();
        let Some(Ok(serde_json::Value::Array(values))) = stream.next() else { return Ok(None) };
        let strings = values.into_iter().map(|value| match value {
            serde_json::Value::String(text) if text.contains('\0') => Err(self.error(Cause::Nul)),
            serde_json::Value::String(text) => Ok(text),
            _ => Err(self.error(Cause::JsonNotStrings)),
        });
        strings.collect::<Result<_, _>>().map(Some)
    }

    fn json_or_words(&self) -> Result<Vec<Word>, Error> {
        let line = self.line.line_at(self.offset);
        Ok(match self.json(self.text)? {
            Some(strings) => strings.into_iter().map(|text| Word { text, line }).collect(),
            None => self.words(),
        })
    }

    fn command_of(&self, text: &str) -> Result<Command, Error> {
        Ok(match self.json(text)? {
            Some(words) => Command::Exec(words),
            None => Command::Shell(text.to_owned()),
        })
    }

    fn command(&self) -> Result<Command, Error> {
        if self.text.is_empty() {
            return Ok(Command::Shell(String::new()));
        }
        self.command_of(self.text)
    }

    fn from(&self) -> Result<From, Error> {
        let platform = self.flags.one("platform").filter(|word| !word.text.is_empty());
        let mut words = self.words().into_iter();
        match (words.next(), words.next(), words.next(), words.next()) {
            (Some(base), None, None, None) => {
                Ok(From { base, platform, name: None, as_keyword: None })
            }
            (Some(base), Some(keyword), Some(name), None)
                if keyword.text.eq_ignore_ascii_case("as") =>
            {
                let lower = name.text.to_lowercase();
                let good = lower.starts_with(|c: char| c.is_ascii_lowercase())
                    && lower
                        .chars()
                        .all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'));
                if !good {
                    return Err(name.error(Cause::BadStageName { name: name.text.clone() }));
                }
                Ok(From { base, platform, name: Some(name), as_keyword: Some(keyword.text) })
            }
            _ => Err(self.argument_error("either one argument, or three: FROM <image> AS <name>")),
        }
    }

    fn arg(&self) -> Result<Vec<ArgDefinition>, Error> {
        let (pieces, _) = split_quoted(self.text, 0, self.escape);
        if pieces.is_empty() {
            return Err(self.argument_error("at least one argument"));
        }
        let mut definitions = Vec::new();
        for piece in pieces {
            let word = self.word(piece);
            let (name, default) = match word.text.split_once('=') {
                Some((name, value)) => {
                    (name, Some(Word { text: value.to_owned(), line: word.line }))
                }
                None => (word.text.as_str(), None),
            };
            if name.is_empty() {
                return Err(word.error(Cause::BlankName { instruction: self.name.to_owned() }));
            }
            definitions.push(ArgDefinition { name: name.to_owned(), default, line: word.line });
        }
        Ok(definitions)
    }

    fn pairs(&self) -> Result<Vec<KeyValue>, Error> {
        let (pieces, _) = split_quoted(self.text, 0, self.escape);
        let Some(first) = pieces.first() else {
            return Err(self.argument_error("at least one argument"));
        };
        if !first.text.contains('=') {
            let end = self.text.find(is_separator).unwrap_or(self.text.len());
            let (key, rest) = self.text.split_at(end);
            let value = rest.trim_start_matches(is_separator);
            if value.is_empty() {
                return Err(self.argument_error("two arguments: a name and a value"));
            }
            let offset = self.text.len() - value.len();
            return Ok(vec![KeyValue {
                key: self.word(Piece { offset: 0, text: key.to_owned() }),
                value: self.word(Piece { offset, text: value.to_owned() }),
                legacy: true,
            }]);
        }
        let mut pairs = Vec::new();
        for piece in pieces {
            let word = self.word(piece);
            let Some((key, value)) = word.text.split_once('=') else {
                return Err(word.error(Cause::NoEquals { word: word.text.clone() }));
            };
            if key.is_empty() {
                return Err(word.error(Cause::BlankName { instruction: self.name.to_owned() }));
            }
            pairs.push(KeyValue {
                key: Word { text: key.to_owned(), line: word.line },
                value: Word { text: value.to_owned(), line: word.line },
                legacy: false,
            });
        }
        Ok(pairs)
    }

    fn run(&self) -> Result<Run, Error> {
        let mounts = self.flags.many("mount").into_iter().map(MountSpec::parse);
        let run = Run {
            // BuildKit runs even nothing at all.
            command: self.command_of(self.text)?,
            mounts: mounts.collect::<Result<_, _>>()?,
            network: self.flags.one("network"),
            security: self.flags.one("security"),
            devices: self.flags.many("device"),
        };
        check_choice(run.network.as_ref(), "network", &["default", "none", "host"])?;
        check_choice(run.security.as_ref(), "security", &["sandbox", "insecure"])?;
        Ok(run)
    }

    fn sources(&self) -> Result<(Vec<CopySource>, Word), Error> {
        let mut words = self.json_or_words()?;
        let (Some(destination), false) = (words.pop(), words.is_empty()) else {
            return Err(self.argument_error("at least two arguments: a source and a destination"));
        };
        if parse_introducer(&destination.text, self.escape).is_some() {
            let place = "a destination".to_owned();
            return Err(destination
                .error(Cause::HeredocMisplaced { instruction: self.name.to_owned(), place }));
        }
        let sources = words.into_iter().map(|word| {
            let Some(introducer) = parse_introducer(&word.text, self.escape) else {
                return CopySource::Path(word);
            };
            let found =
                self.line.heredocs.iter().rev().find(|heredoc| heredoc.name == introducer.name);
            CopySource::Inline(InlineFile {
                content: found.map(crate::heredoc::Heredoc::content).unwrap_or_default(),
                name: introducer.name,
                expand: introducer.expand,
                line: word.line,
            })
        });
        // Files come before what is inline, whatever their order, as in BuildKit.
        let (inline, paths): (Vec<CopySource>, Vec<CopySource>) =
            sources.partition(|source| matches!(source, CopySource::Inline(_)));
        Ok((paths.into_iter().chain(inline).collect(), destination))
    }

    fn copy(&self) -> Result<Copy, Error> {
        let (sources, destination) = self.sources()?;
        let from = self.flags.one("from").filter(|word| !word.text.is_empty());
        if let Some(from) = from.as_ref().filter(|from| from.text.contains('$')) {
            let hint = "define a new stage with FROM using ARG from global scope as a workaround";
            let cause = Cause::FromExpansion { value: from.text.clone() };
            return Err(from.error(cause).with_hint(Some(hint.to_owned())));
        }
        Ok(Copy {
            sources,
            destination,
            from,
            chown: self.flags.one("chown"),
            chmod: self.flags.one("chmod"),
            link: self.flags.bool("link").unwrap_or(false),
            parents: self.flags.bool("parents").unwrap_or(false),
            exclude: self.flags.many("exclude"),
        })
    }

    fn add(&self) -> Result<Add, Error> {
        let (sources, destination) = self.sources()?;
        Ok(Add {
            sources,
            destination,
            chown: self.flags.one("chown"),
            chmod: self.flags.one("chmod"),
            link: self.flags.bool("link").unwrap_or(false),
            keep_git_dir: self.flags.bool("keep-git-dir").unwrap_or(false),
            checksum: self.flags.one("checksum"),
            exclude: self.flags.many("exclude"),
            unpack: self.flags.bool("unpack"),
        })
    }

    fn volume(&self) -> Result<Vec<Word>, Error> {
        let words = self.at_least_one(self.json_or_words()?)?;
        match words.iter().find(|word| word.text.trim().is_empty()) {
            Some(blank) => Err(blank.error(Cause::Arguments {
                instruction: self.name.to_owned(),
                what: "paths that are not empty".to_owned(),
            })),
            None => Ok(words),
        }
    }

    fn shell(&self) -> Result<Vec<String>, Error> {
        match self.json(self.text)? {
            Some(words) if !words.is_empty() => Ok(words),
            Some(_) => Err(self.argument_error("at least one argument")),
            None => Err(self.argument_error("the arguments to be in JSON form")),
        }
    }

    fn healthcheck(&self) -> Result<Healthcheck, Error> {
        let end = self.text.find(char::is_whitespace).unwrap_or(self.text.len());
        let (word, rest) = self.text.split_at(end);
        let rest = rest.trim_start();
        let test = match word.to_ascii_uppercase().as_str() {
            "" => return Err(self.argument_error("at least one argument: CMD or NONE")),
            "NONE" if rest.is_empty() => HealthTest::None,
            "NONE" => return Err(self.argument_error("no arguments after NONE")),
            "CMD" if rest.is_empty() => return Err(self.argument_error("a command after CMD")),
            "CMD" => HealthTest::Command(self.command_of(rest)?),
            _ => return Err(self.error(Cause::HealthcheckType { word: word.to_owned() })),
        };
        let duration = |flag: &str| -> Result<i64, Error> {
            let Some(word) = self.flags.one(flag) else { return Ok(0) };
            let fail = |reason| {
                word.error(Cause::FlagValue {
                    flag: flag.to_owned(),
                    value: word.text.clone(),
                    reason,
                })
            };
            match nanoseconds(&word.text).map_err(fail)? {
                value if value != 0 && value < 1_000_000 => {
                    Err(fail("must be 0 or at least 1ms".to_owned()))
                }
                value => Ok(value),
            }
        };
        let retries = match self.flags.one("retries") {
            None => 0,
            Some(word) => word.text.parse().map_err(|_| {
                let reason = "must be a number, 0 or more".to_owned();
                word.error(Cause::FlagValue {
                    flag: "retries".to_owned(),
                    value: word.text.clone(),
                    reason,
                })
            })?,
        };
        Ok(Healthcheck {
            test,
            interval: duration("interval")?,
            timeout: duration("timeout")?,
            start_period: duration("start-period")?,
            start_interval: duration("start-interval")?,
            retries,
        })
    }
}

fn check_choice(word: Option<&Word>, flag: &str, choices: &[&str]) -> Result<(), Error> {
    let Some(word) = word.filter(|word| !word.text.contains('$')) else { return Ok(()) };
    if choices.contains(&word.text.as_str()) {
        return Ok(());
    }
    let hint = did_you_mean(&word.text, choices.iter().copied())
        .map(|near| format!("did you mean {near}?"));
    let reason = format!("it is one of {}", choices.join(", "));
    let cause = Cause::FlagValue { flag: flag.to_owned(), value: word.text.clone(), reason };
    Err(word.error(cause).with_hint(hint))
}
