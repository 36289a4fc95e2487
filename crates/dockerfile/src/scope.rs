//! The variables an instruction sees: which ARG and ENV, whose value, and who wins.

use std::collections::BTreeMap;

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
    /// The one platform a box runs.
    pub fn linux_amd64() -> Self {
        Self { os: "linux".to_owned(), architecture: "amd64".to_owned(), variant: String::new() }
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
        for prefix in ["TARGET", "BUILD"] {
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

    /// The predefined proxy variables the command line sets, for RUN's environment.
    pub fn predefined(&self) -> impl Iterator<Item = (&str, &str)> {
        PREDEFINED
            .into_iter()
            .filter_map(|name| self.build_args.get(name).map(|value| (name, value.as_str())))
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

/// The variables within a stage. An ENV wins over an ARG of the same name. A stage built on
/// another starts with a copy of that one's scope.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scope {
    escape: char,
    args: Vec<(String, Option<String>)>,
    env: Vec<(String, String)>,
}

impl Scope {
    /// No variables.
    pub fn new(escape: char) -> Self {
        Self { escape, args: Vec::new(), env: Vec::new() }
    }

    /// Declares an ARG; a later one of the same name replaces it.
    pub fn set_arg(&mut self, name: &str, value: Option<String>) {
        self.args.retain(|(known, _)| known != name);
        self.args.push((name.to_owned(), value));
    }

    /// Sets an ENV, in place if it exists.
    pub fn set_env(&mut self, name: &str, value: &str) {
        match self.env.iter_mut().find(|(known, _)| known == name) {
            Some((_, known)) => value.clone_into(known),
            None => self.env.push((name.to_owned(), value.to_owned())),
        }
    }

    /// The image's environment, in order.
    pub fn env(&self) -> &[(String, String)] {
        &self.env
    }

    /// The declared ARGs, in order.
    pub fn args(&self) -> &[(String, Option<String>)] {
        &self.args
    }

    /// What RUN gets: the ARGs that have a value and no ENV of the name, then the ENV.
    pub fn run_environment(&self) -> Vec<(String, String)> {
        let shadowed = |name: &str| self.env.iter().any(|(known, _)| known == name);
        let args = self.args.iter().filter(|(name, _)| !shadowed(name));
        let args = args.filter_map(|(name, value)| Some((name.clone(), value.clone()?)));
        args.chain(self.env.iter().cloned()).collect()
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
                for definition in definitions {
                    let value = globals.resolve(definition, self)?;
                    self.set_arg(&definition.name, value);
                }
            }
            InstructionKind::Env(pairs) => {
                let before = self.clone();
                for pair in pairs {
                    let (key, value) =
                        (before.expand(&pair.key)?.text, before.expand(&pair.value)?.text);
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
        let env = self.env.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str());
        env.or_else(|| {
            self.args
                .iter()
                .find(|(known, _)| known == name)
                .and_then(|(_, value)| value.as_deref())
        })
    }
}
