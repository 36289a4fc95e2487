//! Carries a plan out: a thread for each stage, steps with their numbers and events.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use dockerfile::plan::{Plan, Source};
use dockerfile::scope::Platform;
use dockerfile::{Cause as DockerfileCause, Instruction, InstructionKind, Span};
use oci::{Client, Digest, ImageHandle, Store};
use runtime::Interrupt;

use crate::cache::{Cache, Cached, key};
use crate::cache_transfer::{Imported, Known};
use crate::config::{add_labels, apply, take_environment};
use crate::error::{Cause, Error, Result};
use crate::events::{self, Events, StepId};
use crate::foresight::{self, Foresight};
use crate::history;
use crate::image_tree::ImageTree;
use crate::loading::{self, Loading};
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
    /// Names of build arguments that triggers of base images declared.
    pub trigger_args: BTreeSet<String>,
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
        let (trigger_args, files) = (BTreeSet::new(), Flat::default());
        Self { image, trigger_args, files, next_step: AtomicU32::new(1) }
    }
}

/// Most stages at work at once; those that only wait count.
const MOST_STAGES: usize = 32;

/// Stages that one thread builds one for the other. In the plan's order each is there when it is asked for; only triggers of base
/// images ask for others.
const DEEPEST: usize = 300;

thread_local! {
    /// How many of them this thread is at.
    static DEPTH: Cell<usize> = const { Cell::new(0) };
}

/// Most RUN steps at once for each processor: some wait for a network, and each has its own copy of an image in memory.
const RUNS_FOR_EACH_CORE: usize = 2;

/// Builds the target stage, and at the same time those that it needs, and stores it as an image without a name.
///
/// # Errors
/// The first step that fails, with the lines of the Dockerfile it is on; the others are ended then.
pub fn build(workshop: &Workshop, options: &BuildOptions) -> Result<Built> {
    let plan = Plan::new(&options.dockerfile, &options.plan_options())?;
    let mut steps = options.context.as_ref().map_or(0, |context| context.steps);
    let context = match &options.context {
        Some(context) => Some(loading::origin(workshop, options, context, &mut steps)?),
        None => None,
    };
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
        stages: Stages::new(&plan),
        loading: Loading::default(),
        shown_bases: Mutex::default(),
        trigger_args: Mutex::default(),
        foresight: Foresight::default(),
        hashed: Mutex::default(),
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
    let trigger_args = builder.trigger_args.into_inner().unwrap_or_else(PoisonError::into_inner);
    Ok(Built { image, trigger_args, files, next_step: builder.next_step })
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
    /// Images whose FROM was shown: as in BuildKit, one image is one step.
    shown_bases: Mutex<BTreeSet<String>>,
    /// Arguments that triggers declare.
    trigger_args: Mutex<BTreeSet<String>>,
    /// The step that reads the context.
    pub loading: Loading,
    /// What need not be built.
    pub foresight: Foresight,
    /// The keys of what was read and is no stage's, by what it is.
    hashed: Mutex<BTreeMap<String, Digest>>,
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
        self.foresee()?;
        let order: Vec<usize> =
            self.plan.order.iter().copied().filter(|index| !self.foresight.skips(*index)).collect();
        self.each(&order, |index| self.finished(*index, None, Span::line(1)).map(drop))?;
        self.stage(self.plan.target, None, Span::line(1))
    }

    /// Does something for each of these, several at a time, in this order. The first failure ends the build.
    pub fn each<T: Sync>(&self, all: &[T], work: impl Fn(&T) -> Result<()> + Sync) -> Result<()> {
        let next = AtomicUsize::new(0);
        let work = || {
            while let Some(one) = all.get(next.fetch_add(1, Ordering::Relaxed)) {
                if let Err(error) = work(one) {
                    self.fail(error);
                    return;
                }
            }
        };
        std::thread::scope(|scope| {
            for _ in 1..all.len().min(MOST_STAGES) {
                // With fewer threads it only takes longer.
                let thread = std::thread::Builder::new().name("stage".to_owned());
                let _ = thread.spawn_scoped(scope, work);
            }
            work();
        });
        match self.failure().take() {
            Some(error) => Err(error),
            None => Ok(()),
        }
    }

    /// What was read so far and is no stage's.
    pub fn hashed(&self) -> MutexGuard<'_, BTreeMap<String, Digest>> {
        self.hashed.lock().unwrap_or_else(PoisonError::into_inner)
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
        let step = self.next_step();
        events::step(self.workshop.events.as_ref(), step, name, || work(step))
    }

    /// The number of a step that begins.
    pub fn next_step(&self) -> StepId {
        StepId(self.next_step.fetch_add(1, Ordering::Relaxed))
    }

    /// A stage's end, built if it is not yet, on behalf of another stage or of nobody.
    pub fn stage(&self, index: usize, asking: Option<usize>, asked_on: Span) -> Result<Arc<Stage>> {
        let stage = self.finished(index, asking, asked_on)?;
        stage.ok_or_else(|| self.circular(index, asked_on))
    }

    fn circular(&self, index: usize, asked_on: Span) -> Error {
        let planned = self.plan.stages.get(index);
        let stage = planned.map(dockerfile::plan::Stage::display_name).unwrap_or_default();
        Error::new(Cause::Dockerfile(DockerfileCause::Circular { stage })).on(asked_on)
    }

    /// The same; `None` where nobody asks for it and nobody will.
    fn finished(
        &self,
        index: usize,
        asking: Option<usize>,
        asked_on: Span,
    ) -> Result<Option<Arc<Stage>>> {
        let planned = self.plan.stages.get(index);
        let circular = || self.circular(index, asked_on);
        match self.stages.ask(index, asking, &self.stop) {
            Turn::Done(stage) => return Ok(Some(stage)),
            Turn::Spent => return Ok(None),
            Turn::Circular => return Err(circular()),
            Turn::Stopped => return Err(Cause::Cancelled.into()),
            Turn::Build => {}
        }
        let depth = DEPTH.get();
        DEPTH.set(depth + 1);
        let built = match planned {
            Some(_) if depth == DEEPEST => {
                Err(Error::new(Cause::TooDeep { most: DEEPEST }).on(asked_on))
            }
            Some(planned) => self.build_stage(planned, false),
            None => Err(circular()),
        };
        DEPTH.set(depth);
        match built {
            Ok((stage, _)) => {
                let stage = Arc::new(stage);
                self.stages.finish(index, asking, Some(Arc::clone(&stage)));
                Ok(Some(stage))
            }
            Err(error) => {
                // Before anybody who waits for the stage is told, so that this error is the first.
                self.fail(error);
                self.stages.finish(index, asking, None);
                Err(Cause::Cancelled.into())
            }
        }
    }

    /// Carries out a stage's instructions; with `foretold` only their keys are found. Besides, the stages that steps read whose
    /// results were not known, where that is foretold.
    pub fn build_stage(
        &self,
        planned: &dockerfile::plan::Stage,
        foretold: bool,
    ) -> Result<(Stage, Vec<usize>)> {
        let other = |platform: &str| {
            Error::new(Cause::Platform { platform: platform.to_owned() }).on(planned.span)
        };
        let asked = match (&planned.platform, &planned.base) {
            (Some(platform), _) => platform.to_ascii_lowercase(),
            // It has its own.
            (None, Source::Stage(_)) => Platform::linux_amd64().to_string(),
            (None, _) => self.options.platform.to_string(),
        };
        let asks_wasi = WASI.contains(&asked.as_str());
        if !asks_wasi && !is_linux_amd64(&asked) {
            return Err(other(planned.platform.as_deref().unwrap_or(&asked)));
        }
        let mut stage = self.base(planned)?;
        if asks_wasi
            && planned.base_name == "scratch"
            && let Some((os, architecture)) = asked.split_once('/')
        {
            (stage.config.os, stage.config.architecture) = (os.into(), architecture.into());
        }
        if asks_wasi && !oci::is_wasi(&stage.config) {
            return Err(
                other(&asked).hint(format!(
                    "{} is an image for linux/amd64; a stage that builds says FROM --platform=$BUILDPLATFORM",
                    planned.base_name
                ))
            );
        }
        stage.index = Some(planned.index);
        let filter = &self.options.no_cache_stages;
        stage.uncached |= planned.name.as_ref().is_some_and(|name| filter.contains(name));
        stage.foretold = foretold;
        let mut reads = Vec::new();
        let triggers = std::mem::take(&mut stage.config.config.on_build);
        let mut parsed = Vec::new();
        for text in &triggers {
            let instruction = dockerfile::Dockerfile::parse_trigger(text).map_err(|error| {
                let error = Error::from(error);
                let hint =
                    format!("the ONBUILD trigger `{text}` of the image {}", planned.base_name);
                Error { span: Some(planned.span), ..error }.hint(hint)
            })?;
            if let InstructionKind::Arg(definitions) = &instruction.kind {
                let names = definitions.iter().map(|definition| definition.name.clone());
                let args = self.trigger_args.lock();
                args.unwrap_or_else(PoisonError::into_inner).extend(names);
            }
            parsed.push(Instruction { span: planned.span, ..instruction });
        }
        let instructions: Vec<&Instruction> = parsed.iter().chain(&planned.instructions).collect();
        let titles = Titles::new(planned, &instructions, self.plan.stages.len());
        let is_new = |image: &str| {
            let mut shown = self.shown_bases.lock().unwrap_or_else(PoisonError::into_inner);
            shown.insert(image.to_owned())
        };
        let image = stage.image.take();
        if let Some((image, fetched)) = image.filter(|(image, _)| !foretold && is_new(image)) {
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
            if foretold {
                let loaded = self.load_context(instruction, &stage);
                let ((), known) = self.layer_step(instruction, &mut stage, StepId(0), loaded)?;
                if !known {
                    reads.extend(foresight::read_by(&self.plan, instruction));
                }
                continue;
            }
            number += 1;
            let name = titles.step(number, &instruction.text, &stage.scope);
            self.wait_for_inputs(instruction, planned.index)?;
            let loaded = self.load_context(instruction, &stage);
            self.step(&name, |step| self.layer_step(instruction, &mut stage, step, loaded))
                .map_err(|error| error.on(instruction.span))?;
        }
        take_environment(&mut stage.config, &stage.scope);
        Ok((stage, reads))
    }

    /// Waits for the stages that an instruction reads, so that it begins when they are there.
    fn wait_for_inputs(&self, instruction: &Instruction, index: usize) -> Result<()> {
        let wait = |name: &str, line: u32| {
            let span = Span::line(line);
            match self.plan.source_named(name, span)? {
                Source::Stage(other) if self.foresight.skips(other) => Ok(()),
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

/// The platforms of images whose program is a WASI module.
const WASI: [&str; 2] = ["wasi/wasm", "wasip1/wasm"];

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
