//! Instructions to stages, and the stages a target needs in the order to build them.

use std::collections::{BTreeMap, BTreeSet};

use crate::error::{Cause, Error, Span};
use crate::expand;
use crate::instruction::{From, Instruction, InstructionKind};
use crate::parse::Dockerfile;
use crate::scope::{Globals, Platform};
use crate::suggest::did_you_mean;

/// What the command line says about a build.
#[derive(Clone, Debug)]
pub struct Options {
    /// `--build-arg`.
    pub build_args: BTreeMap<String, String>,
    /// `--target`: a stage's name; the last stage if not given.
    pub target: Option<String>,
    /// The names of `--build-context`.
    pub contexts: BTreeSet<String>,
    /// The platform to build for.
    pub platform: Platform,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            build_args: BTreeMap::new(),
            target: None,
            contexts: BTreeSet::new(),
            platform: Platform::linux_amd64(),
        }
    }
}

/// Where files or a base image come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// `scratch`: nothing.
    Scratch,
    /// The stage of this index.
    Stage(usize),
    /// The `--build-context` of this name.
    Context(String),
    /// An image reference.
    Image(String),
}

/// One stage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stage {
    /// Its number, from 0.
    pub index: usize,
    /// The name in lower case.
    pub name: Option<String>,
    /// The FROM as written.
    pub from: From,
    /// The lines of the FROM.
    pub span: Span,
    /// What it starts from.
    pub base: Source,
    /// The base's name after expansion, as the writer would know it.
    pub base_name: String,
    /// `--platform`, expanded.
    pub platform: Option<String>,
    /// The instructions after FROM. Empty where a named context replaces the stage.
    pub instructions: Vec<Instruction>,
}

impl Stage {
    /// The name, or `stage-N`.
    pub fn display_name(&self) -> String {
        self.name.clone().unwrap_or_else(|| format!("stage-{}", self.index))
    }
}

/// The stages of a Dockerfile and which of them a build needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// The escape character in words.
    pub escape: char,
    /// Variables known outside stages.
    pub globals: Globals,
    /// All stages, needed or not.
    pub stages: Vec<Stage>,
    /// The index of the stage that is the result.
    pub target: usize,
    /// The needed stages, each after those it depends on; the target is last.
    pub order: Vec<usize>,
    contexts: BTreeSet<String>,
}

impl Plan {
    /// Plans a build.
    ///
    /// # Errors
    /// An instruction before the first FROM, a failing expansion in FROM, an unknown target, or
    /// stages that need each other.
    pub fn new(file: &Dockerfile, options: &Options) -> Result<Self, Error> {
        let escape = file.directives.escape;
        let mut globals = Globals::new(&options.build_args, &options.platform);
        let mut stages: Vec<Stage> = Vec::new();
        for instruction in &file.instructions {
            match (&instruction.kind, stages.last_mut()) {
                (InstructionKind::From(from), _) => {
                    let stage = open_stage(
                        instruction,
                        from,
                        &stages,
                        &globals,
                        escape,
                        &options.contexts,
                    )?;
                    stages.push(stage);
                }
                (_, Some(stage)) => stage.instructions.push(instruction.clone()),
                (InstructionKind::Arg(definitions), None) => {
                    for definition in definitions {
                        globals.declare(definition, escape)?;
                    }
                }
                (kind, None) => {
                    return Err(
                        instruction.error(Cause::BeforeFrom { name: kind.name().to_owned() })
                    );
                }
            }
        }
        for stage in &mut stages {
            if let Source::Context(name) = &stage.base
                && stage.name.as_ref() == Some(name)
            {
                stage.instructions.clear();
            }
        }
        let end = file.instructions.last().map_or(Span::line(1), |instruction| instruction.span);
        let Some(last) = stages.len().checked_sub(1) else {
            return Err(Error::new(end, Cause::NoStage));
        };
        let target = match &options.target {
            None => last,
            Some(name) => find_target(&stages, name, end)?,
        };
        let contexts = options.contexts.clone();
        let mut plan = Self { escape, globals, stages, target, order: Vec::new(), contexts };
        plan.order = plan.ordered()?;
        Ok(plan)
    }

    /// The stage with that name (any case); the last one of the name wins.
    pub fn stage_named(&self, name: &str) -> Option<usize> {
        let lower = name.to_lowercase();
        self.stages.iter().rposition(|stage| stage.name.as_ref() == Some(&lower))
    }

    /// What `--from=` of COPY or of a mount names: a stage by name or number, a named context, or
    /// an image.
    ///
    /// # Errors
    /// The number of a stage that does not exist.
    pub fn source_named(&self, name: &str, span: Span) -> Result<Source, Error> {
        if let Some(index) = self.stage_named(name) {
            return Ok(Source::Stage(index));
        }
        if let Ok(index) = name.parse::<usize>() {
            return match self.stages.get(index) {
                Some(_) => Ok(Source::Stage(index)),
                None => {
                    let hint = format!(
                        "the stages are numbered 0 to {}",
                        self.stages.len().saturating_sub(1)
                    );
                    let cause = Cause::StageNumber { value: name.to_owned() };
                    Err(Error::new(span, cause).with_hint(Some(hint)))
                }
            };
        }
        if let Some(context) = matching_context(&self.contexts, name) {
            return Ok(Source::Context(context));
        }
        if name.eq_ignore_ascii_case("scratch") {
            return Ok(Source::Scratch);
        }
        Ok(Source::Image(name.to_owned()))
    }

    /// The stage names a misspelt `--from` may have meant.
    pub fn suggestion(&self, name: &str) -> Option<String> {
        let names = self.stages.iter().filter_map(|stage| stage.name.as_deref());
        let names = names.chain(self.contexts.iter().map(String::as_str));
        did_you_mean(name, names).filter(|near| *near != name).map(str::to_owned)
    }

    /// The stages one stage needs; one that it needs twice stands there twice.
    ///
    /// # Errors
    /// The number of a stage that does not exist.
    pub fn needs(&self, stage: &Stage) -> Result<Vec<usize>, Error> {
        let mut needed = Vec::new();
        if let Source::Stage(index) = stage.base {
            needed.push(index);
        }
        for instruction in &stage.instructions {
            let mut names: Vec<(&str, Span)> = Vec::new();
            match &instruction.kind {
                InstructionKind::Copy(copy) => {
                    names.extend(
                        copy.from.iter().map(|word| (word.text.as_str(), Span::line(word.line))),
                    );
                }
                InstructionKind::Run(run) => names.extend(
                    run.mounts
                        .iter()
                        .filter_map(|mount| Some((mount.from()?, Span::line(mount.word.line)))),
                ),
                _ => {}
            }
            for (name, span) in names {
                if let Source::Stage(index) = self.source_named(name, span)? {
                    needed.push(index);
                }
            }
        }
        Ok(needed)
    }

    /// Depth first from the target, without recursion: a file may have very many stages.
    fn ordered(&self) -> Result<Vec<usize>, Error> {
        #[derive(Clone, Copy, PartialEq)]
        enum Mark {
            New,
            Open,
            Done,
        }
        let mut marks = vec![Mark::New; self.stages.len()];
        let mut order = Vec::new();
        let mut path: Vec<(usize, std::vec::IntoIter<usize>)> = Vec::new();
        let mut next = Some(self.target);
        loop {
            if let Some(index) = next.take() {
                match (marks.get(index).copied(), self.stages.get(index)) {
                    (Some(Mark::New), Some(stage)) => {
                        marks[index] = Mark::Open;
                        path.push((index, self.needs(stage)?.into_iter()));
                    }
                    (Some(Mark::Open), Some(stage)) => {
                        return Err(Error::new(
                            stage.span,
                            Cause::Circular { stage: stage.display_name() },
                        ));
                    }
                    _ => {}
                }
            }
            let Some((index, needed)) = path.last_mut() else { return Ok(order) };
            next = needed.next();
            if next.is_none() {
                marks[*index] = Mark::Done;
                order.push(*index);
                path.pop();
            }
        }
    }
}

fn open_stage(
    instruction: &Instruction,
    from: &From,
    earlier: &[Stage],
    globals: &Globals,
    escape: char,
    contexts: &BTreeSet<String>,
) -> Result<Stage, Error> {
    let expanded =
        expand::word(&from.base.text, globals, escape).map_err(|cause| from.base.error(cause))?;
    let base_name = expanded.text;
    if base_name.is_empty() {
        let hint = expanded.unset.iter().next().map(|name| {
            format!("{name} has no value here: declare it with ARG {name}=... before the first FROM, or give --build-arg {name}=...")
        });
        let cause = Cause::BlankBase { word: from.base.text.clone() };
        return Err(from.base.error(cause).with_hint(hint));
    }
    let platform = match &from.platform {
        None => None,
        Some(word) => {
            let text =
                expand::word(&word.text, globals, escape).map_err(|cause| word.error(cause))?.text;
            if text.is_empty() {
                let reason = format!("empty platform value from expression {}", word.text);
                return Err(word.error(Cause::FlagValue {
                    flag: "platform".to_owned(),
                    value: text,
                    reason,
                }));
            }
            Some(text)
        }
    };
    let name = from.name.as_ref().map(|name| name.text.to_lowercase());
    let lower = base_name.to_lowercase();
    let replaced = name.as_ref().filter(|name| contexts.contains(*name));
    let base = if let Some(name) = replaced {
        Source::Context(name.clone())
    } else if let Some(index) =
        earlier.iter().rposition(|stage| stage.name.as_ref() == Some(&lower))
    {
        Source::Stage(index)
    } else if let Some(context) = matching_context(contexts, &base_name) {
        Source::Context(context)
    } else if base_name == "scratch" {
        Source::Scratch
    } else {
        Source::Image(base_name.clone())
    };
    Ok(Stage {
        index: earlier.len(),
        name,
        from: from.clone(),
        span: instruction.span,
        base,
        base_name,
        platform,
        instructions: Vec::new(),
    })
}

fn find_target(stages: &[Stage], name: &str, span: Span) -> Result<usize, Error> {
    let lower = name.to_lowercase();
    if let Some(index) = stages.iter().rposition(|stage| stage.name.as_ref() == Some(&lower)) {
        return Ok(index);
    }
    let near = did_you_mean(name, stages.iter().filter_map(|stage| stage.name.as_deref()));
    let hint = near.map(|near| format!("did you mean {near}?"));
    Err(Error::new(span, Cause::UnknownTarget { name: name.to_owned() }).with_hint(hint))
}

/// A context matches an image however much of `docker.io/library/NAME:latest` is written out.
fn matching_context(contexts: &BTreeSet<String>, name: &str) -> Option<String> {
    let wanted = familiar(name);
    contexts.iter().find(|context| familiar(context) == wanted).cloned()
}

fn familiar(name: &str) -> String {
    let name = name.to_lowercase();
    let name = name.strip_prefix("docker.io/").unwrap_or(&name);
    let name = name.strip_prefix("library/").unwrap_or(name);
    name.strip_suffix(":latest").unwrap_or(name).to_owned()
}
