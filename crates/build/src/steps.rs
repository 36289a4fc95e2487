//! The instructions that may make a layer: which of them a step is, WORKDIR, and what they have in common.

use dockerfile::{Instruction, InstructionKind, Word};

use crate::builder::Builder;
use crate::cache::{Cached, key};
use crate::copy::place::plain_directory;
use crate::copy_step::Transfer;
use crate::error::{Cause, Result};
use crate::events::StepId;
use crate::image_tree::ImageTree;
use crate::stage::Stage;
use crate::users::owner;

impl Builder<'_> {
    /// Carries out an instruction that may make a layer; true if its result was known. `loaded` is the content of what it
    /// reads, if that is known.
    pub fn layer_step(
        &self,
        instruction: &Instruction,
        stage: &mut Stage,
        step: StepId,
        loaded: Option<oci::Digest>,
    ) -> Result<((), bool)> {
        let cached = match &instruction.kind {
            InstructionKind::Run(run) => self.run_step(instruction, run, stage, step)?,
            InstructionKind::Workdir(word) => self.workdir_step(word, stage)?,
            kind => match Transfer::of(kind) {
                Some(transfer) => self.copy_step(&transfer, stage, step, loaded)?,
                None => false,
            },
        };
        Ok(((), cached))
    }

    fn workdir_step(&self, word: &Word, stage: &mut Stage) -> Result<bool> {
        let text = stage.scope.expand(word)?.text;
        // As BuildKit keeps it: an absolute one as it is written, a relative one joined and cleaned.
        let path = if text.starts_with('/') {
            text
        } else {
            dockerfile::ignore::clean(&format!("{}/{text}", stage.workdir()))
        };
        stage.config.config.working_dir.clone_from(&path);
        let user = stage.config.config.user.clone();
        let made_at = self.options.made_at().to_string();
        let key = key([
            stage.key.as_str().as_bytes(),
            b"WORKDIR",
            path.as_bytes(),
            user.as_bytes(),
            made_at.as_bytes(),
        ]);
        if stage.foretold {
            return Ok(self.foretell(stage, &key, key.clone()));
        }
        let store = &self.workshop.store;
        let known = self.cached(&key, stage);
        let hit = known.is_some();
        let result = match known {
            Some(result) => result,
            None => {
                let tree = stage.tree(store)?;
                let warn = |text: &str| self.workshop.events.warning(text);
                let owner = match user.is_empty() {
                    true => None,
                    false => Some(owner(&user, tree.as_ref(), &warn)?),
                };
                let meta = plain_directory(owner, self.options.made_at());
                let mut upper = (*tree).clone();
                upper.parts().0.create_dir_all(&path, &meta).map_err(|error| {
                    Cause::Destination { path: path.clone(), reason: error.to_string() }
                })?;
                self.difference(&tree, &upper)?
            }
        };
        if !hit {
            self.remember(&key, &result);
        }
        self.conclude(stage, (key.clone(), key), &result, format!("WORKDIR {path}"))?;
        Ok(hit)
    }

    /// The layer between two trees.
    pub fn difference(&self, lower: &ImageTree, upper: &ImageTree) -> Result<Cached> {
        let latest = self.options.source_date_epoch;
        let most = self.options.largest_layer;
        let layer = lower.layer_to(upper, &self.workshop.store, latest, most)?;
        Ok(layer.map_or(Cached::Nothing, Cached::Layer))
    }

    /// Enters a step's result in the stage: the key that it is remembered by, and the one that stands for the stage from now on.
    pub fn conclude(
        &self,
        stage: &mut Stage,
        (known_by, key): (oci::Digest, oci::Digest),
        result: &Cached,
        by: String,
    ) -> Result<()> {
        stage.key = key;
        self.known.result(&known_by, result);
        stage.trail.push((known_by, result.clone()));
        let layer = match result {
            Cached::Layer(layer) => Some(layer.clone()),
            Cached::Nothing => None,
        };
        stage.add(&self.workshop.store, layer, self.options.created(), by)
    }
}
