//! Carries a plan out, stage by stage.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use dockerfile::plan::{Plan, Source};
use dockerfile::{Cause as DockerfileCause, Instruction, InstructionKind, Span};
use oci::{Client, Digest, ImageConfig, ImageHandle, Reference, Store};

use crate::cache::{Cache, Cached, key};
use crate::config::{add_labels, apply, scope_of, scratch, take_environment};
use crate::context::Context;
use crate::error::{Cause, Error, Result};
use crate::events::{Events, StepId};
use crate::history;
use crate::image_tree::ImageTree;
use crate::options::BuildOptions;
use crate::stage::Stage;
use crate::transfer::Transfers;

/// What a build works with.
pub struct Workshop {
    /// Where images, layers and the cache live.
    pub store: Store,
    /// Fetches base images.
    pub client: Client,
    /// Runs RUN steps.
    pub runtime: runtime::Runtime,
    /// The guest program; none makes RUN fail with a reason.
    pub guest: Option<&'static [u8]>,
    /// Hears what happens.
    pub events: Arc<dyn Events>,
}

/// A finished build.
pub struct Built {
    /// The image, stored without a name.
    pub image: ImageHandle,
    /// Its files, if they were needed already.
    tree: Option<Rc<ImageTree>>,
    /// The number of the next step.
    next_step: Cell<u32>,
}

impl Built {
    /// The files.
    pub(crate) fn tree(&self, store: &Store) -> Result<Rc<ImageTree>> {
        match &self.tree {
            Some(tree) => Ok(Rc::clone(tree)),
            None => Ok(Rc::new(ImageTree::of_layers(store, &self.image.layers)?)),
        }
    }

    /// The number of a step after the build.
    pub(crate) fn next_step(&self) -> StepId {
        let step = self.next_step.get();
        self.next_step.set(step + 1);
        StepId(step)
    }

    /// An image that is in the store already, to be made a box.
    pub fn from_image(image: ImageHandle) -> Self {
        Self { image, tree: None, next_step: Cell::new(1) }
    }
}

/// Builds the target stage and stores it as an image without a name.
///
/// # Errors
/// The first step that fails, with the lines of the Dockerfile it is on.
pub fn build(workshop: &Workshop, options: &BuildOptions) -> Result<Built> {
    let plan = Plan::new(&options.dockerfile, &options.plan_options())?;
    let context = match &options.context {
        Some(root) => Some(Rc::new(Context::open(root, options.dockerfile_path.as_deref())?)),
        None => None,
    };
    let mut builder = Builder {
        workshop,
        options,
        cache: Cache::beside(&workshop.store),
        context,
        named: BTreeMap::new(),
        images: BTreeMap::new(),
        stages: plan.stages.iter().map(|_| StageSlot::Waiting).collect(),
        uncached: false,
        plan: Rc::new(plan),
        next_step: 1,
    };
    let plan = Rc::clone(&builder.plan);
    for index in &plan.order {
        builder.stage(*index, Span::line(1))?;
    }
    let mut stage = (*builder.stage(plan.target, Span::line(1))?).clone();
    add_labels(&mut stage.config, &options.labels);
    stage.config.created = options.created().or(stage.config.created.take());
    let tree = stage.known_tree();
    let image = workshop.store.write_image(stage.config, stage.layers, None)?;
    Ok(Built { image, tree, next_step: Cell::new(builder.next_step) })
}

enum StageSlot {
    Waiting,
    /// Being built: whoever asks for it now waits for itself.
    Open,
    Done(Rc<Stage>),
}

pub(crate) struct Builder<'a> {
    pub workshop: &'a Workshop,
    pub options: &'a BuildOptions,
    pub cache: Cache,
    pub context: Option<Rc<Context>>,
    /// Named contexts that are directories.
    named: BTreeMap<String, Rc<Context>>,
    /// Images used so far, by what names them.
    images: BTreeMap<String, Rc<Stage>>,
    stages: Vec<StageSlot>,
    /// The stage at hand is one of those that are not to be taken from the cache.
    uncached: bool,
    pub plan: Rc<Plan>,
    next_step: u32,
}

/// What a FROM or `--from` leads to.
pub(crate) enum Origin {
    /// Files and a config.
    Stage(Rc<Stage>),
    /// A directory of the host.
    Context(Rc<Context>),
}

impl Builder<'_> {
    /// Carries a step out between its start and end events.
    pub fn step<T>(
        &mut self,
        name: &str,
        work: impl FnOnce(&mut Self, StepId) -> Result<(T, bool)>,
    ) -> Result<T> {
        let step = StepId(self.next_step);
        self.next_step += 1;
        let events = Arc::clone(&self.workshop.events);
        events.started(step, name);
        let start = Instant::now();
        match work(self, step) {
            Ok((value, true)) => {
                events.cached(step);
                Ok(value)
            }
            Ok((value, false)) => {
                events.done(step, start.elapsed());
                Ok(value)
            }
            Err(error) => {
                events.failed(step, &error.to_string());
                Err(error)
            }
        }
    }

    /// A stage's end, built if it is not yet.
    pub fn stage(&mut self, index: usize, asked_on: Span) -> Result<Rc<Stage>> {
        let plan = Rc::clone(&self.plan);
        let circular = || {
            let stage = plan
                .stages
                .get(index)
                .map(dockerfile::plan::Stage::display_name)
                .unwrap_or_default();
            Error::new(Cause::Dockerfile(DockerfileCause::Circular { stage })).on(asked_on)
        };
        match self.stages.get(index) {
            Some(StageSlot::Done(stage)) => return Ok(Rc::clone(stage)),
            Some(StageSlot::Waiting) => {}
            Some(StageSlot::Open) | None => return Err(circular()),
        }
        self.put(index, StageSlot::Open);
        let stage = plan.stages.get(index).ok_or_else(circular)?;
        let named = |name: &String| self.options.no_cache_stages.contains(name);
        let uncached = stage.name.as_ref().is_some_and(named);
        let outer = std::mem::replace(&mut self.uncached, uncached);
        let result = self.build_stage(stage);
        self.uncached = outer;
        let built = Rc::new(result?);
        self.put(index, StageSlot::Done(Rc::clone(&built)));
        Ok(built)
    }

    fn put(&mut self, index: usize, slot: StageSlot) {
        if let Some(place) = self.stages.get_mut(index) {
            *place = slot;
        }
    }

    fn build_stage(&mut self, planned: &dockerfile::plan::Stage) -> Result<Stage> {
        if let Some(platform) =
            planned.platform.as_deref().filter(|platform| !is_linux_amd64(platform))
        {
            return Err(
                Error::new(Cause::Platform { platform: platform.to_owned() }).on(planned.span)
            );
        }
        let mut stage = self.base(planned)?;
        let triggers = std::mem::take(&mut stage.config.config.on_build);
        let mut parsed = Vec::new();
        for text in &triggers {
            let instruction = dockerfile::Dockerfile::parse_trigger(text).map_err(|error| {
                let error = Error::from(error);
                let hint =
                    format!("the ONBUILD trigger `{text}` of the image {}", planned.base_name);
                Error { span: Some(planned.span), ..error }.hint(hint)
            })?;
            parsed.push(Instruction { span: planned.span, ..instruction });
        }
        let instructions: Vec<&Instruction> = parsed.iter().chain(&planned.instructions).collect();
        let total =
            1 + instructions.iter().filter(|instruction| makes_step(&instruction.kind)).count();
        let mut number = 1;
        for instruction in instructions {
            // The history shows what the instruction saw, and ARG and ENV change just that.
            let seen = match &instruction.kind {
                kind @ (InstructionKind::Arg(_) | InstructionKind::Env(_)) => {
                    history::config(kind, &stage.scope, &stage.config)
                        .map_err(|error| error.on(instruction.span))?
                }
                _ => None,
            };
            stage
                .scope
                .apply(&instruction.kind, &self.plan.globals)
                .map_err(|e| Error::from(e).on(instruction.span))?;
            let mut command_set = stage.command_set;
            let only_config = apply(instruction, &mut stage.config, &stage.scope, &mut command_set)
                .map_err(|error| error.on(instruction.span))?;
            stage.command_set = command_set;
            if only_config {
                self.note_config(instruction, seen, &mut stage)
                    .map_err(|error| error.on(instruction.span))?;
                continue;
            }
            number += 1;
            let place = match (&planned.name, self.plan.stages.len()) {
                (None, 1) => String::new(),
                _ => format!("{} ", planned.display_name()),
            };
            let name = format!("[{place}{number}/{total}] {}", first_line(&instruction.text));
            self.step(&name, |builder, step| builder.layer_step(instruction, &mut stage, step))
                .map_err(|error| error.on(instruction.span))?;
        }
        take_environment(&mut stage.config, &stage.scope);
        Ok(stage)
    }

    /// ARG and ENV decide what later steps see, so that they go into the key; LABEL and the like
    /// do not, and changing them costs no step.
    fn note_config(
        &self,
        instruction: &Instruction,
        seen: Option<String>,
        stage: &mut Stage,
    ) -> Result<()> {
        if let InstructionKind::Shell(words) = &instruction.kind {
            let shell = words.join("\0");
            stage.key = key([stage.key.as_str().as_bytes(), b"SHELL", shell.as_bytes()]);
        }
        let by = match seen {
            Some(by) => Some(by),
            None => history::config(&instruction.kind, &stage.scope, &stage.config)?,
        };
        match by {
            Some(by) => stage.add(&self.workshop.store, None, self.options.created(), by),
            None => Ok(()),
        }
    }

    /// What FROM starts with.
    fn base(&mut self, planned: &dockerfile::plan::Stage) -> Result<Stage> {
        let stage = match self.origin(&planned.base, planned.span)? {
            Some(Origin::Stage(stage)) => {
                let mut stage = (*stage).clone();
                stage.command_set = false;
                stage
            }
            Some(Origin::Context(context)) => {
                self.stage_of_directory(&planned.base_name, &context)?
            }
            None => Stage::new(
                scratch(),
                Vec::new(),
                scope_of(&scratch(), self.plan.escape),
                key([b"scratch".as_slice()]),
            ),
        };
        Ok(stage)
    }

    /// A directory as an image of one layer.
    fn stage_of_directory(&mut self, name: &str, context: &Rc<Context>) -> Result<Stage> {
        let layer = self.step(&format!("[context {name}] load files"), |builder, _| {
            Ok((builder.directory_layer(context)?, false))
        })?;
        let config = scratch();
        let scope = scope_of(&config, self.plan.escape);
        let layer = match layer {
            Cached::Layer(layer) => Some(layer),
            Cached::Nothing => None,
        };
        let content = layer.as_ref().map_or("", |layer| layer.diff_id.as_str());
        let key = key([b"directory".as_slice(), content.as_bytes()]);
        let mut stage = Stage::new(config, Vec::new(), scope, key);
        let by = format!("build context {name}");
        stage.add(&self.workshop.store, layer, self.options.created(), by)?;
        Ok(stage)
    }

    /// Resolves a source; `None` is scratch.
    pub fn origin(&mut self, source: &Source, span: Span) -> Result<Option<Origin>> {
        match source {
            Source::Scratch => Ok(None),
            Source::Stage(index) => {
                self.stage(*index, span).map(|stage| Some(Origin::Stage(stage)))
            }
            Source::Image(name) => {
                let stage = self
                    .image(name, &format!("docker-image://{name}"))
                    .map_err(|error| error.on(span));
                let stage = stage.map_err(|error| match self.plan.suggestion(name) {
                    Some(near) if error.hint.is_none() => {
                        error.hint(format!("did you mean {near}?"))
                    }
                    _ => error,
                });
                stage.map(|stage| Some(Origin::Stage(stage)))
            }
            Source::Context(name) => {
                self.named_context(name).map_err(|error| error.on(span)).map(Some)
            }
        }
    }

    fn named_context(&mut self, name: &str) -> Result<Origin> {
        let value = self.options.named_contexts.get(name).cloned().unwrap_or_default();
        let remote = ["http://", "https://", "git://", "git@", "ssh://"]
            .iter()
            .any(|prefix| value.starts_with(prefix));
        if remote {
            return Err(Cause::Unsupported {
                what: format!("the build context {name}={value} (a URL)"),
            }
            .into());
        }
        let kinds = ["docker-image:", "oci-layout:", "oci-archive:", "docker-archive:"];
        if kinds.iter().any(|prefix| value.starts_with(prefix)) {
            return self.image(name, &value).map(Origin::Stage);
        }
        if let Some(context) = self.named.get(name) {
            return Ok(Origin::Context(Rc::clone(context)));
        }
        let context = Rc::new(Context::open(Path::new(&value), None).map_err(|error| {
            Error::new(Cause::NamedContext { name: name.to_owned(), reason: error.to_string() })
        })?);
        self.named.insert(name.to_owned(), Rc::clone(&context));
        Ok(Origin::Context(context))
    }

    /// An image, from the store or fetched, as a stage that ends at once.
    fn image(&mut self, shown: &str, source: &str) -> Result<Rc<Stage>> {
        if let Some(stage) = self.images.get(source) {
            return Ok(Rc::clone(stage));
        }
        let name = format!("[internal] load {shown}");
        let handle = self.step(&name, |builder, step| {
            let progress = Transfers { step, events: builder.workshop.events.as_ref() };
            let workshop = builder.workshop;
            let fetch = || -> oci::Result<ImageHandle> {
                let Some(reference) = source.strip_prefix("docker-image://") else {
                    let source = oci::Source::parse(&source.replacen("://", ":", 1))?;
                    return workshop.client.fetch(&source, None, &workshop.store, &progress);
                };
                let reference = Reference::parse(reference)?;
                if builder.options.pull {
                    workshop.client.pull(&reference, &workshop.store, &progress)
                } else {
                    workshop.client.ensure(&reference, &workshop.store, &progress)
                }
            };
            let handle =
                fetch().map_err(|source| Cause::Base { name: shown.to_owned(), source })?;
            Ok((handle, false))
        })?;
        let stage = Rc::new(stage_of_image(&handle, self.plan.escape));
        self.images.insert(source.to_owned(), Rc::clone(&stage));
        Ok(stage)
    }

    /// What the cache says, unless it is not to be asked.
    pub fn cached(&self, key: &Digest) -> Option<Cached> {
        if self.options.no_cache || self.uncached {
            return None;
        }
        self.cache.get(key, &self.workshop.store)
    }

    /// Remembers a step's result; a cache that cannot be written costs only time.
    pub fn remember(&self, key: &Digest, result: &Cached) {
        if let Err(error) = self.cache.put(key, result) {
            self.cache_is_unwritable(&error);
        }
    }

    pub fn cache_is_unwritable(&self, error: &std::io::Error) {
        self.workshop.events.warning(&format!("the build cache cannot be written: {error}"));
    }
}

fn stage_of_image(handle: &ImageHandle, escape: char) -> Stage {
    let config: ImageConfig = handle.config.clone();
    let mut scope = scope_of(&config, escape);
    if dockerfile::expand::Variables::get(&scope, "PATH").is_none() {
        scope.set_env("PATH", crate::config::DEFAULT_PATH);
    }
    let key = key([b"image".as_slice(), handle.manifest.config.digest.as_str().as_bytes()]);
    Stage::new(config, handle.layers.clone(), scope, key)
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

fn is_linux_amd64(platform: &str) -> bool {
    matches!(
        platform.to_ascii_lowercase().as_str(),
        "linux/amd64" | "linux/x86_64" | "linux/x86-64" | "amd64" | "linux"
    )
}

fn first_line(text: &str) -> String {
    const LONGEST: usize = 160;
    let words = text.split_whitespace().collect::<Vec<_>>().join(" ");
    if words.chars().count() <= LONGEST {
        return words;
    }
    let cut: String = words.chars().take(LONGEST).collect();
    format!("{cut}...")
}

/// Where temporary files go: beside the store, which is where there is room for an image.
pub(crate) fn temporary_folder(store: &Store) -> PathBuf {
    store.path().join("tmp")
}
