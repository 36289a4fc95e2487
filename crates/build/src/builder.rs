//! Carries a plan out: a thread for each stage, steps with their numbers and events.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use dockerfile::plan::{Plan, Source};
use dockerfile::{Cause as DockerfileCause, Instruction, InstructionKind, Span};
use oci::{Client, Digest, ImageHandle, Store};
use runtime::Interrupt;

use crate::cache::{Cache, Cached, key};
use crate::cache_transfer::{Imported, Known};
use crate::config::{add_labels, apply, take_environment};
use crate::error::{Cause, Error, Result};
use crate::events::{self, Events, StepId};
use crate::history;
use crate::image_tree::ImageTree;
use crate::options::BuildOptions;
use crate::origin::{Images, Named, Origin};
use crate::schedule::{Gate, Stages, Turn};
use crate::stage::{Flat, Stage};
use crate::title::Titles;

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
    /// Ends a build from outside: it fails with [`Cause::Cancelled`] and leaves nothing behind.
    pub interrupt: Interrupt,
}

/// A finished build.
pub struct Built {
    /// The image, stored without a name.
    pub image: ImageHandle,
    files: Flat,
    /// The number of the next step.
    next_step: AtomicU32,
}

impl Built {
    /// The files.
    pub(crate) fn tree(&self, store: &Store) -> Result<Arc<ImageTree>> {
        self.files.of(store, &self.image.layers)
    }

    /// The number of a step after the build.
    pub(crate) fn next_step(&self) -> StepId {
        StepId(self.next_step.fetch_add(1, Ordering::Relaxed))
    }

    /// An image that is in the store already, to be made a box.
    pub fn from_image(image: ImageHandle) -> Self {
        Self { image, files: Flat::default(), next_step: AtomicU32::new(1) }
    }
}

/// Most stages at work at once; those that only wait count.
const MOST_STAGES: usize = 32;

/// Most RUN steps at once for each processor: some wait for a network, and each has its own copy of an image in memory.
const RUNS_FOR_EACH_CORE: usize = 2;

/// Builds the target stage, and at the same time those that it needs, and stores it as an image without a name.
///
/// # Errors
/// The first step that fails, with the lines of the Dockerfile it is on; the others are ended then.
pub fn build(workshop: &Workshop, options: &BuildOptions) -> Result<Built> {
    let plan = Plan::new(&options.dockerfile, &options.plan_options())?;
    let context = match &options.context {
        Some(context) => Some(context.origin(options.dockerfile_path.as_deref())?),
        None => None,
    };
    let steps = options.context.as_ref().map_or(0, |context| context.steps);
    let stop = workshop.interrupt.child();
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let mut builder = Builder {
        workshop,
        options,
        client: workshop.client.interruptible(stop.flag()),
        cache: Cache::beside(&workshop.store),
        context,
        named: Named::default(),
        images: Images::default(),
        imports: Vec::new(),
        known: Known::default(),
        stages: Stages::new(plan.stages.len()),
        running: Gate::new(RUNS_FOR_EACH_CORE * cores.max(2)),
        failure: Mutex::default(),
        stop,
        plan,
        next_step: AtomicU32::new(steps + 1),
    };
    builder.imports = builder.import_caches()?;
    let mut stage = (*builder.build_all()?).clone();
    add_labels(&mut stage.config, &options.labels);
    stage.config.created = options.created().or(stage.config.created.take());
    builder.inline_cache(&mut stage)?;
    builder.export_caches(&stage)?;
    let files = stage.files;
    let image = workshop.store.write_image(stage.config, stage.layers, None)?;
    Ok(Built { image, files, next_step: builder.next_step })
}

pub(crate) struct Builder<'a> {
    pub workshop: &'a Workshop,
    pub options: &'a BuildOptions,
    /// The workshop's, which ends with the build.
    pub client: Client,
    pub cache: Cache,
    pub context: Option<Origin>,
    /// Named contexts used so far that are no images.
    pub named: Named,
    /// Images used so far.
    pub images: Images,
    /// What other machines know.
    pub imports: Vec<Imported>,
    /// What this build knows.
    pub known: Known,
    stages: Stages,
    /// RUN steps go through here.
    pub running: Gate,
    /// The first step that failed.
    failure: Mutex<Option<Error>>,
    /// Given when the build is cancelled or a step has failed.
    pub stop: Interrupt,
    pub plan: Plan,
    next_step: AtomicU32,
}

impl Builder<'_> {
    /// Builds every needed stage; gives the target's end.
    fn build_all(&self) -> Result<Arc<Stage>> {
        let order = &self.plan.order;
        let next = AtomicUsize::new(0);
        let work = || {
            while let Some(index) = order.get(next.fetch_add(1, Ordering::Relaxed)) {
                if let Err(error) = self.stage(*index, None, Span::line(1)) {
                    self.fail(error);
                    return;
                }
            }
        };
        std::thread::scope(|scope| {
            for _ in 1..order.len().min(MOST_STAGES) {
                // With fewer threads it only takes longer.
                let _ =
                    std::thread::Builder::new().name("stage".to_owned()).spawn_scoped(scope, work);
            }
            work();
        });
        if let Some(error) = self.failure().take() {
            return Err(error);
        }
        self.stage(self.plan.target, None, Span::line(1))
    }

    fn failure(&self) -> MutexGuard<'_, Option<Error>> {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends the build with this error, unless it is only the consequence of another.
    fn fail(&self, error: Error) {
        {
            let mut failure = self.failure();
            let first = failure.as_ref().is_none_or(|known| known.is_cancelled());
            if first {
                *failure = Some(error);
            }
        }
        self.stop.give();
    }

    /// Carries a step out between its start and end events.
    pub fn step<T>(&self, name: &str, work: impl FnOnce(StepId) -> Result<(T, bool)>) -> Result<T> {
        if self.stop.is_given() {
            return Err(Cause::Cancelled.into());
        }
        let step = StepId(self.next_step.fetch_add(1, Ordering::Relaxed));
        events::step(self.workshop.events.as_ref(), step, name, || work(step))
    }

    /// A stage's end, built if it is not yet, on behalf of another stage or of nobody.
    pub fn stage(&self, index: usize, asking: Option<usize>, asked_on: Span) -> Result<Arc<Stage>> {
        let planned = self.plan.stages.get(index);
        let circular = || {
            let stage = planned.map(dockerfile::plan::Stage::display_name).unwrap_or_default();
            Error::new(Cause::Dockerfile(DockerfileCause::Circular { stage })).on(asked_on)
        };
        match self.stages.ask(index, asking, &self.stop) {
            Turn::Done(stage) => return Ok(stage),
            Turn::Circular => return Err(circular()),
            Turn::Stopped => return Err(Cause::Cancelled.into()),
            Turn::Build => {}
        }
        let built = planned.ok_or_else(circular).and_then(|planned| self.build_stage(planned));
        match built {
            Ok(stage) => {
                let stage = Arc::new(stage);
                self.stages.finish(index, asking, Some(Arc::clone(&stage)));
                Ok(stage)
            }
            Err(error) => {
                // Before anybody who waits for the stage is told, so that this error is the first.
                self.fail(error);
                self.stages.finish(index, asking, None);
                Err(Cause::Cancelled.into())
            }
        }
    }

    fn build_stage(&self, planned: &dockerfile::plan::Stage) -> Result<Stage> {
        if let Some(platform) =
            planned.platform.as_deref().filter(|platform| !is_linux_amd64(platform))
        {
            return Err(
                Error::new(Cause::Platform { platform: platform.to_owned() }).on(planned.span)
            );
        }
        let mut stage = self.base(planned)?;
        stage.index = Some(planned.index);
        let filter = &self.options.no_cache_stages;
        stage.uncached = planned.name.as_ref().is_some_and(|name| filter.contains(name));
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
        let titles = Titles::new(planned, &instructions, self.plan.stages.len());
        if let Some((image, fetched)) = stage.image.take() {
            self.step(&titles.base(&image), |_| Ok(((), !fetched)))?;
        }
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
            let name = titles.step(number, &instruction.text, &stage.scope);
            self.wait_for_inputs(instruction, planned.index)?;
            self.step(&name, |step| self.layer_step(instruction, &mut stage, step))
                .map_err(|error| error.on(instruction.span))?;
        }
        take_environment(&mut stage.config, &stage.scope);
        Ok(stage)
    }

    /// Waits for the stages that an instruction reads, so that it begins when they are there.
    fn wait_for_inputs(&self, instruction: &Instruction, index: usize) -> Result<()> {
        let wait = |name: &str, line: u32| {
            let span = Span::line(line);
            match self.plan.source_named(name, span)? {
                Source::Stage(other) => self.stage(other, Some(index), span).map(drop),
                _ => Ok(()),
            }
        };
        match &instruction.kind {
            InstructionKind::Copy(copy) => {
                copy.from.iter().try_for_each(|from| wait(&from.text, from.line))
            }
            InstructionKind::Run(run) => {
                run.mounts.iter().try_for_each(|mount| match mount.from() {
                    Some(name) => wait(name, mount.word.line),
                    None => Ok(()),
                })
            }
            _ => Ok(()),
        }
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

    /// What the cache says, unless it is not to be asked.
    pub fn cached(&self, key: &Digest, stage: &Stage) -> Option<Cached> {
        if self.options.no_cache || stage.uncached {
            return None;
        }
        if let Some(known) = self.cache.get(key, &self.workshop.store) {
            return Some(known);
        }
        let imported = self.imported(key)?;
        self.remember(key, &imported);
        Some(imported)
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

fn is_linux_amd64(platform: &str) -> bool {
    matches!(
        platform.to_ascii_lowercase().as_str(),
        "linux/amd64" | "linux/x86_64" | "linux/x86-64" | "amd64" | "linux"
    )
}

/// Where temporary files go: beside the store, which is where there is room for an image.
pub(crate) fn temporary_folder(store: &Store) -> PathBuf {
    store.path().join("tmp")
}
