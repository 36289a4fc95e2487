//! Which stages a build can do without: what a stage's keys are is found before anything runs, and a stage whose files only known
//! steps copy or mount need not be built, even if its own steps are not known (`--cache-to mode=min` keeps those of the result alone).
//!
//! A stage that is foretold has its keys, variables and config, but no layers. One of which all steps are known is built as
//! usual, which costs nothing; so is one of which something cannot be foretold: a file from elsewhere, or files of a stage that
//! nobody has hashed yet.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use dockerfile::plan::{self as planned, Plan, Source};
use dockerfile::{Instruction, InstructionKind, Span};
use oci::Digest;

use crate::builder::Builder;
use crate::error::{Cause, Error, Result};
use crate::stage::Stage;

/// Stages as their keys tell them.
#[derive(Default)]
pub(crate) struct Foresight {
    /// By their number in the plan.
    stages: Mutex<Vec<Option<Foretold>>>,
    /// Which of them are not built, once that is decided.
    skipped: OnceLock<Vec<bool>>,
}

#[derive(Clone)]
struct Foretold {
    stage: Arc<Stage>,
    /// Every step's result is known.
    whole: bool,
    /// The stages that steps read whose results are not known.
    reads: Vec<usize>,
}

impl Foresight {
    /// What stands for a stage where it is only named: `None` if it is to be built.
    ///
    /// # Errors
    /// It cannot be foretold, while that is what is being tried.
    pub fn stand_in(&self, index: usize) -> Result<Option<Arc<Stage>>> {
        let stages = self.state();
        let foretold = stages.get(index).and_then(Option::as_ref).map(|it| Arc::clone(&it.stage));
        match self.skipped.get() {
            Some(_) if !self.skips(index) => Ok(None),
            Some(_) => Ok(foretold),
            None => foretold.map(Some).ok_or_else(unforeseeable),
        }
    }

    fn state(&self) -> MutexGuard<'_, Vec<Option<Foretold>>> {
        self.stages.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a stage is not built.
    pub fn skips(&self, index: usize) -> bool {
        self.skipped.get().is_some_and(|skipped| skipped.get(index) == Some(&true))
    }

    /// Whether it is decided what is built.
    pub fn is_over(&self) -> bool {
        self.skipped.get().is_some()
    }
}

/// Ends the attempt to foretell a stage.
pub(crate) fn unforeseeable() -> Error {
    Cause::Cancelled.into()
}

impl Builder<'_> {
    /// Finds the stages that need not be built.
    ///
    /// # Errors
    /// A base image cannot be had.
    pub fn foresee(&self) -> Result<()> {
        let count = self.plan.stages.len();
        let mut skipped = vec![false; count];
        // A single stage is needed; but so all of the context is read in one step, before the others.
        let worthwhile = self.plan.order.len() == 1 || something_is_only_read(&self.plan);
        if worthwhile && !self.options.no_cache {
            self.fetch_bases()?;
            *self.foresight.state() = vec![None; count];
            for &index in &self.plan.order {
                let foretold = self.foretell_stage(index);
                if let Some(place) = self.foresight.state().get_mut(index) {
                    *place = foretold;
                }
            }
            let all = self.foresight.state();
            let needed = needed(&self.plan, &all);
            for &index in &self.plan.order {
                let whole = all.get(index).is_some_and(|it| it.as_ref().is_some_and(|it| it.whole));
                if let (Some(place), Some(needed)) = (skipped.get_mut(index), needed.get(index)) {
                    *place = !whole && !needed;
                }
            }
        }
        // Nobody else sets it.
        let _ = self.foresight.skipped.set(skipped);
        Ok(())
    }

    /// Fetches base images at the same time, as the stages do that are built.
    fn fetch_bases(&self) -> Result<()> {
        let stages = self.plan.order.iter().filter_map(|index| self.plan.stages.get(*index));
        let bases: BTreeMap<&str, &planned::Stage> = stages
            .filter(|stage| matches!(stage.base, Source::Image(_)))
            .map(|stage| (stage.base_name.as_str(), stage))
            .collect();
        let bases: Vec<&planned::Stage> = bases.into_values().collect();
        self.each(&bases, |stage| self.origin(&stage.base, None, stage.span).map(drop))
    }

    fn foretell_stage(&self, index: usize) -> Option<Foretold> {
        let planned = self.plan.stages.get(index)?;
        let name = planned.name.as_ref();
        if name.is_some_and(|name| self.options.no_cache_stages.contains(name)) {
            return None;
        }
        if let Source::Context(name) = &planned.base
            && !self.context_is_image(name)
        {
            return None;
        }
        // Whatever goes wrong is said when the stage is built.
        let (stage, reads) = self.build_stage(planned, true).ok()?;
        let whole = stage.misses == 0;
        Some(Foretold { stage: Arc::new(stage), whole, reads })
    }

    /// Enters in a stage that is being foretold whether a step's result is known, which is returned.
    pub fn foretell(&self, stage: &mut Stage, known_by: &Digest, key: Digest) -> bool {
        let known = self.cache.has(known_by, &self.workshop.store)
            || self.imports.iter().any(|cache| cache.has(known_by));
        if !known {
            stage.misses += 1;
        }
        stage.key = key;
        known
    }
}

/// Whether any stage is not the base of the target or of its bases.
fn something_is_only_read(plan: &Plan) -> bool {
    let mut chain = 1;
    let mut at = plan.stages.get(plan.target);
    while let Some(Source::Stage(base)) = at.map(|stage| &stage.base) {
        chain += 1;
        at = plan.stages.get(*base);
    }
    plan.order.len() > chain
}

/// Which stages the target needs, if known steps need none of what they read.
fn needed(plan: &Plan, all: &[Option<Foretold>]) -> Vec<bool> {
    let mut needed = vec![false; plan.stages.len()];
    let mut open = vec![plan.target];
    while let Some(index) = open.pop() {
        let Some(place) = needed.get_mut(index).filter(|place| !**place) else { continue };
        *place = true;
        let Some(stage) = plan.stages.get(index) else { continue };
        if let Source::Stage(base) = stage.base {
            open.push(base);
        }
        match all.get(index).and_then(Option::as_ref) {
            Some(foretold) => open.extend(&foretold.reads),
            None => stage.instructions.iter().for_each(|it| open.extend(read_by(plan, it))),
        }
    }
    needed
}

/// The stages whose files an instruction reads.
pub(crate) fn read_by(plan: &Plan, instruction: &Instruction) -> Vec<usize> {
    let names: Vec<&str> = match &instruction.kind {
        InstructionKind::Copy(copy) => copy.from.iter().map(|from| from.text.as_str()).collect(),
        InstructionKind::Run(run) => run.mounts.iter().filter_map(|mount| mount.from()).collect(),
        _ => Vec::new(),
    };
    // A number that no stage has is an error of the step.
    let source = |name| plan.source_named(name, Span::line(1)).ok();
    let stage = |source| match source {
        Source::Stage(index) => Some(index),
        _ => None,
    };
    names.into_iter().filter_map(source).filter_map(stage).collect()
}
