//! Options for compiling hot code while a box runs.

use std::sync::Arc;

use clap::{Args, ValueEnum};
use runtime::Translation;

/// Whether hot code is compiled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Translate {
    /// What turns out to be hot
    Auto,
    /// Nothing: all is interpreted
    None,
}

#[derive(Debug, Args)]
pub struct TranslateArgs {
    /// Compile what is hot while programs run: auto or none [default: auto]
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
        let usual = Translation::default();
        Translation {
            on: self.translate == Translate::Auto,
            threshold: self.translate_threshold.unwrap_or(usual.threshold),
            sample: self.translate_sample.unwrap_or(usual.sample),
            wait: self.translate_wait,
            report: if report { Some(Arc::new(|line| tell!("boxer: {line}"))) } else { None },
        }
    }
}
