//! Options for compiling hot code while a box runs.

use std::sync::Arc;

use build::limits::Limits;
use build::{Choice, Freezing};
use clap::{Args, ValueEnum};
use runtime::Translation;

/// Whether hot code is compiled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Translate {
    /// What turns out to be hot
    Auto,
    /// In a box also the rest of the programs that were trained
    All,
    /// Nothing: all is interpreted
    None,
}

#[derive(Debug, Args)]
pub struct TranslateArgs {
    /// Compile what is hot while programs run: auto (all is the same here) or none [default: auto]
    #[arg(
        long,
        value_enum,
        default_value = "auto",
        env = "BOXER_TRANSLATE",
        hide_env_values = true,
        value_name = "WHAT",
        hide_possible_values = true,
        hide_default_value = true
    )]
    translate: Translate,
    #[command(flatten)]
    tuning: Tuning,
}

/// How hot code is found.
#[derive(Debug, Args)]
struct Tuning {
    /// Samples that must fall on a block until it is compiled
    #[arg(long, hide = true, env = "BOXER_TRANSLATE_THRESHOLD", value_name = "COUNT")]
    translate_threshold: Option<u32>,
    /// Interpreted instructions between two samples
    #[arg(long, hide = true, env = "BOXER_TRANSLATE_SAMPLE", value_name = "COUNT")]
    translate_sample: Option<u32>,
    /// Wait for what is compiled, so that it runs in any case
    #[arg(long, hide = true, env = "BOXER_TRANSLATE_WAIT", value_parser = clap::builder::FalseyValueParser::new(),
          action = clap::ArgAction::SetTrue)]
    translate_wait: bool,
}

impl TranslateArgs {
    /// What was asked for; with `report` a line on standard error at the end.
    pub fn translation(&self, report: bool) -> Translation {
        Translation {
            on: self.translate != Translate::None,
            report: if report { Some(Arc::new(|line| tell!("boxer: {line}"))) } else { None },
            ..self.tuning.translation()
        }
    }
}

impl Tuning {
    fn translation(&self) -> Translation {
        let usual = Translation::default();
        Translation {
            threshold: self.translate_threshold.unwrap_or(usual.threshold),
            sample: self.translate_sample.unwrap_or(usual.sample),
            wait: self.translate_wait,
            ..usual
        }
    }
}

#[derive(Debug, Args)]
pub struct BuildTranslateArgs {
    /// Compile code of the image into the box, so that it is fast on every host: auto (what trainings find hot, and what is
    /// hot in most programs), all (what trainings find hot, and the rest of the programs and libraries that it lies in) or none;
    /// with none, RUN steps are interpreted, too [default: auto]
    #[arg(
        long,
        value_enum,
        default_value = "auto",
        env = "BOXER_TRANSLATE",
        hide_env_values = true,
        value_name = "WHAT",
        hide_possible_values = true,
        hide_default_value = true
    )]
    translate: Translate,
    /// Most bytes that such code may take, as 512k or 8m; what takes most time for its size comes first [default: 8m,
    /// with --translate=all 64m]
    #[arg(long, value_parser = size, value_name = "SIZE")]
    translate_budget: Option<u64>,
    /// A command to find hot code with, run in the finished image for at most a minute; what it changes is dropped
    /// (repeatable). Text is for the image's shell, a JSON array of words is not; http:[PORT]/PATH is what the server of the
    /// image's own command is asked for, some hundred times [default: the image's own
    /// command, until it waits for something or 5 s are over]
    #[arg(long, value_parser = training, value_name = "COMMAND")]
    train: Vec<String>,
    #[command(flatten)]
    tuning: Tuning,
}

fn training(text: &str) -> Result<String, String> {
    if text.starts_with("http:") {
        build::SnapshotWhen::parse(text)?;
    }
    Ok(text.to_owned())
}

fn size(text: &str) -> Result<u64, String> {
    build::limits::size(text).map(|bytes| bytes.unwrap_or(u64::MAX))
}

impl BuildTranslateArgs {
    /// How RUN steps are translated.
    pub fn translation(&self) -> Translation {
        Translation { on: self.translate != Translate::None, ..self.tuning.translation() }
    }

    /// Whether more was asked for than there is unasked.
    pub fn wants_code(&self) -> bool {
        self.translate == Translate::All
            || self.translate_budget.is_some()
            || !self.train.is_empty()
    }

    /// What becomes part of the box. What a training finds depends on the time it takes, so a box that is to be the same each
    /// time gets nothing.
    pub fn freezing(&self, reproducible: bool, limits: Limits) -> Freezing {
        let mut translation = self.tuning.translation();
        if self.tuning.translate_sample.is_none() {
            (translation.sample, translation.threshold) = TRAINING;
        }
        // What comes late is not found to be left again elsewhere, and the share that is told would be that of the compiler's speed.
        translation.wait = true;
        let choice = match self.translate {
            _ if reproducible => Choice::None,
            Translate::None => Choice::None,
            Translate::Auto => Choice::Auto,
            Translate::All => Choice::All,
        };
        Freezing {
            choice,
            budget: self.translate_budget.unwrap_or(choice.default_budget()),
            commands: self.train.clone(),
            translation,
            limits,
        }
    }
}

/// Instructions between two samples in a training, and how many samples a block must have: programs are short there.
const TRAINING: (u32, u32) = (2_000, 1);
