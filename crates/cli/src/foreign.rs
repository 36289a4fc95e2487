//! Options of docker's programs that boxer does not carry out: each is refused by its name and a reason, unless it asks for nothing.
//! They are not in `--help`.

use std::marker::PhantomData;

use clap::{Arg, ArgAction, ArgMatches, Args, Command, Error, FromArgMatches};

use crate::failure::Failure;

/// What an option takes.
#[derive(Clone, Copy)]
enum Takes {
    /// A value, once.
    One,
    /// A value each time.
    Many,
    /// `true` or `false`; without a value `true`.
    Switch,
}

/// An option.
pub struct Row {
    name: &'static str,
    short: Option<char>,
    alias: Option<&'static str>,
    takes: Takes,
    /// Values may begin with a hyphen.
    signed: bool,
    /// The values that ask for nothing, and why the others are refused; none: it is let pass.
    refused: Option<(&'static [&'static str], &'static str)>,
}

/// An option given once at most, `idle` being the values that ask for nothing.
pub const fn one(name: &'static str, idle: &'static [&'static str], reason: &'static str) -> Row {
    row(name, Takes::One, Some((idle, reason)))
}

/// As [`one`], given any number of times.
pub const fn many(name: &'static str, idle: &'static [&'static str], reason: &'static str) -> Row {
    row(name, Takes::Many, Some((idle, reason)))
}

/// As [`one`], a switch.
pub const fn switch(
    name: &'static str,
    idle: &'static [&'static str],
    reason: &'static str,
) -> Row {
    row(name, Takes::Switch, Some((idle, reason)))
}

/// An option given once at most that is let pass.
pub const fn one_passed(name: &'static str) -> Row {
    row(name, Takes::One, None)
}

/// As [`one_passed`], given any number of times.
pub const fn many_passed(name: &'static str) -> Row {
    row(name, Takes::Many, None)
}

/// As [`one_passed`], a switch.
pub const fn switch_passed(name: &'static str) -> Row {
    row(name, Takes::Switch, None)
}

const fn row(
    name: &'static str,
    takes: Takes,
    refused: Option<(&'static [&'static str], &'static str)>,
) -> Row {
    Row { name, short: None, alias: None, takes, signed: false, refused }
}

impl Row {
    /// With a letter.
    pub const fn short(mut self, letter: char) -> Row {
        self.short = Some(letter);
        self
    }

    /// With another name.
    pub const fn alias(mut self, name: &'static str) -> Row {
        self.alias = Some(name);
        self
    }

    /// Its values may begin with a hyphen.
    pub const fn signed(mut self) -> Row {
        self.signed = true;
        self
    }

    fn arg(&self) -> Arg {
        let arg = Arg::new(self.name).long(self.name).hide(true).allow_hyphen_values(self.signed);
        let arg = self.short.iter().fold(arg, |arg, short| arg.short(*short));
        let arg = self.alias.iter().fold(arg, |arg, alias| arg.alias(*alias));
        match self.takes {
            Takes::One => arg.action(ArgAction::Set),
            Takes::Many => arg.action(ArgAction::Append),
            Takes::Switch => arg.num_args(0..=1).default_missing_value("true").require_equals(true),
        }
    }

    /// Why what was given is refused.
    fn refusal(&self, matches: &ArgMatches) -> Option<String> {
        let (idle, reason) = self.refused?;
        let mut values = matches.get_many::<String>(self.name)?;
        let asks = values.any(|value| !idle.contains(&value.as_str()));
        asks.then(|| format!("--{} is not supported: {reason}", self.name))
    }
}

/// The options of a program.
pub trait Table {
    /// Each of them.
    const ROWS: &'static [Row];
}

/// What was given of a program's options.
#[derive(Debug)]
pub struct Foreign<T> {
    refusal: Option<String>,
    program: PhantomData<T>,
}

impl<T> Foreign<T> {
    /// Refuses the first that asks for something.
    pub fn check(&self) -> Result<(), Failure> {
        self.refusal.as_ref().map_or(Ok(()), |refusal| Err(Failure::usage(refusal.clone())))
    }
}

impl<T: Table> FromArgMatches for Foreign<T> {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, Error> {
        let refusal = T::ROWS.iter().find_map(|row| row.refusal(matches));
        Ok(Foreign { refusal, program: PhantomData })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

impl<T: Table> Args for Foreign<T> {
    fn augment_args(command: Command) -> Command {
        command.args(T::ROWS.iter().map(Row::arg))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}
