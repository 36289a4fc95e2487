//! The variables an instruction sees: which ARG and ENV, whose value, and who wins.

use std::collections::{BTreeMap, HashMap};

use crate::error::{Cause, Error};
use crate::expand::{self, Expansion, Variables};
use crate::instruction::{ArgDefinition, InstructionKind};
use crate::words::Word;

/// ARGs that need no declaration in a stage to reach RUN, and that stay out of the cache key and
/// the image's history.
pub const PREDEFINED: [&str; 10] = [
    "HTTP_PROXY",
    "http_proxy",
    "HTTPS_PROXY",
    "https_proxy",
    "FTP_PROXY",
    "ftp_proxy",
    "NO_PROXY",
    "no_proxy",
    "ALL_PROXY",
    "all_proxy",
];

/// An operating system and architecture, as `linux/amd64` or `linux/arm/v7` names them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Platform {
    /// `linux`
    pub os: String,
    /// `amd64`
    pub architecture: String,
    /// `v7`, or empty.
    pub variant: String,
}

impl Platform {
    /// That of the programs which a box runs, and which build.
    pub fn linux_amd64() -> Self {
        Self { os: "linux".to_owned(), architecture: "amd64".to_owned(), variant: String::new() }
    }

    /// That of images whose program is a WASI module.
    pub fn wasi() -> Self {
        Self { os: "wasi".to_owned(), architecture: "wasm".to_owned(), variant: String::new() }
    }

    /// The same, saying which WASI it is.
    pub fn wasip1() -> Self {
        Self { os: "wasip1".to_owned(), ..Self::wasi() }
    }
}

impl std::fmt::Display for Platform {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        if self.variant.is_empty() { Ok(()) } else { write!(f, "/{}", self.variant) }
    }
}

/// What is known outside the stages: the command line's build arguments, the platform's
/// variables, and the ARGs before the first FROM.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Globals {
    build_args: BTreeMap<String, String>,
    platform: BTreeMap<String, String>,
    declared: BTreeMap<String, Option<String>>,
}

impl Globals {
    pub(crate) fn new(build_args: &BTreeMap<String, String>, platform: &Platform) -> Self {
        let mut variables = BTreeMap::new();
        for (prefix, platform) in [("TARGET", platform), ("BUILD", &Platform::linux_amd64())] {
            variables.insert(format!("{prefix}PLATFORM"), platform.to_string());
            variables.insert(format!("{prefix}OS"), platform.os.clone());
            variables.insert(format!("{prefix}ARCH"), platform.architecture.clone());
            variables.insert(format!("{prefix}VARIANT"), platform.variant.clone());
        }
        Self { build_args: build_args.clone(), platform: variables, declared: BTreeMap::new() }
    }

    pub(crate) fn declare(
        &mut self,
        definition: &ArgDefinition,
        escape: char,
    ) -> Result<(), Error> {
        let value = match (self.build_args.get(&definition.name), &definition.default) {
            (Some(value), _) => Some(value.clone()),
            (None, Some(default)) => Some(
                expand::word(&default.text, self, escape)
                    .map_err(|cause| default.error(cause))?
                    .text,
            ),
            (None, None) => self.platform.get(&definition.name).cloned(),
        };
        self.declared.insert(definition.name.clone(), value);
        Ok(())
    }

    /// The value an ARG within a stage takes: the command line's, its default, the one declared
    /// before the first FROM, the platform's; in this order.
    ///
    /// # Errors
    /// The default's expansion fails.
    pub fn resolve(
        &self,
        definition: &ArgDefinition,
        scope: &Scope,
    ) -> Result<Option<String>, Error> {
        if let Some(value) = self.build_args.get(&definition.name) {
            return Ok(Some(value.clone()));
        }
        if let Some(default) = &definition.default {
            return Ok(Some(scope.expand(default)?.text));
        }
        if let Some(value) = self.declared.get(&definition.name) {
            return Ok(value.clone());
        }
        Ok(self.platform.get(&definition.name).cloned())
    }

    /// The predefined proxy variables the command line sets, for RUN's environment: each in both spellings, whichever was given.
    pub fn predefined(&self) -> impl Iterator<Item = (&str, &str)> {
        PREDEFINED.chunks(2).flat_map(|names| {
            let value = names.iter().rev().find_map(|name| self.build_args.get(*name));
            names.iter().filter_map(move |name| Some((*name, value?.as_str())))
        })
    }
}

/// FROM sees the ARGs before the first FROM and the platform's variables.
impl Variables for Globals {
    fn get(&self, name: &str) -> Option<&str> {
        match self.declared.get(name) {
            Some(value) => value.as_deref(),
            None => self.platform.get(name).map(String::as_str),
        }
    }
}

/// The variables within a stage: of an ARG and an ENV of one name the later one wins. A stage built on another starts with a copy of
/// that one's scope.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scope {
    escape: char,
    /// What is seen: the values of ARG and ENV.
    seen: Table,
    /// The image's environment: the values of ENV alone.
    env: Table,
    /// The declared ARGs.
    args: Table,
    /// Those that this stage itself declares, as often as it does.
    own: Vec<String>,
}

/// Names and values in the order in which the names came, found by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Table {
    entries: Vec<(String, String)>,
    places: HashMap<String, usize>,
}

impl Table {
    fn set(&mut self, name: &str, value: &str) {
        match self.places.get(name).and_then(|place| self.entries.get_mut(*place)) {
            Some((_, known)) => value.clone_into(known),
            None => {
                self.places.insert(name.to_owned(), self.entries.len());
                self.entries.push((name.to_owned(), value.to_owned()));
            }
        }
    }

    fn get(&self, name: &str) -> Option<&str> {
        let place = self.places.get(name)?;
        self.entries.get(*place).map(|(_, value)| value.as_str())
    }
}

impl Scope {
    /// No variables.
    pub fn new(escape: char) -> Self {
        let empty = Table::default;
        Self { escape, seen: empty(), env: empty(), args: empty(), own: Vec::new() }
    }

    /// Declares an ARG. Without a value it leaves what was there as it was.
    pub fn set_arg(&mut self, name: &str, value: Option<&str>) {
        if let Some(value) = value {
            self.seen.set(name, value);
        }
        self.args.set(name, value.unwrap_or_default());
        self.own.push(name.to_owned());
    }

    /// From here on it is the scope of a stage that is built on this one.
    pub fn begin_stage(&mut self) {
        self.own.clear();
    }

    /// Sets an ENV, in place if it exists.
    pub fn set_env(&mut self, name: &str, value: &str) {
        self.seen.set(name, value);
        self.env.set(name, value);
    }

    /// The image's environment, in order.
    pub fn env(&self) -> &[(String, String)] {
        &self.env.entries
    }

    /// The declared ARGs with the values that RUN sees, in order.
    pub fn args(&self) -> impl Iterator<Item = (&str, &str)> {
        self.args
            .entries
            .iter()
            .map(|(name, value)| (name.as_str(), self.seen.get(name).unwrap_or(value.as_str())))
    }

    /// The ARGs of this stage alone, one entry for each declaration, with the values that RUN sees: what history names.
    pub fn stage_args(&self) -> impl Iterator<Item = (&str, &str)> {
        self.own.iter().map(|name| {
            let value = self.seen.get(name).or_else(|| self.args.get(name));
            (name.as_str(), value.unwrap_or_default())
        })
    }

    /// What RUN gets.
    pub fn run_environment(&self) -> &[(String, String)] {
        &self.seen.entries
    }

    /// Expands a word of an instruction.
    ///
    /// # Errors
    /// [`Cause::Expansion`] on the word's line.
    pub fn expand(&self, word: &Word) -> Result<Expansion, Error> {
        expand::word(&word.text, self, self.escape).map_err(|cause| word.error(cause))
    }

    /// As [`Scope::expand`], for text without a line of its own.
    ///
    /// # Errors
    /// [`Cause::Expansion`].
    pub fn expand_text(&self, text: &str) -> Result<String, Cause> {
        Ok(expand::word(text, self, self.escape)?.text)
    }

    /// Carries out what an instruction does to the variables: ARG and ENV, nothing else. The
    /// instruction sees the environment as it was at its start.
    ///
    /// # Errors
    /// An expansion fails.
    pub fn apply(&mut self, kind: &InstructionKind, globals: &Globals) -> Result<(), Error> {
        match kind {
            InstructionKind::Arg(definitions) => {
                let values = definitions
                    .iter()
                    .map(|definition| globals.resolve(definition, self))
                    .collect::<Result<Vec<_>, _>>()?;
                for (definition, value) in definitions.iter().zip(values) {
                    self.set_arg(&definition.name, value.as_deref());
                }
            }
            InstructionKind::Env(pairs) => {
                let expanded = pairs
                    .iter()
                    .map(|pair| Ok((self.expand(&pair.key)?.text, self.expand(&pair.value)?.text)))
                    .collect::<Result<Vec<_>, Error>>()?;
                for (key, value) in expanded {
                    self.set_env(&key, &value);
                }
            }
            _ => {}
        }
        Ok(())
    }
}

impl Variables for Scope {
    fn get(&self, name: &str) -> Option<&str> {
        self.seen.get(name)
    }
}
