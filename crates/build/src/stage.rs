//! What is known of a stage while its instructions are carried out.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use dockerfile::scope::Scope;
use oci::{Digest, History, ImageConfig, LayerBlob, Store};

use crate::cache::Cached;
use crate::error::Result;
use crate::image_tree::ImageTree;

/// A stage between two instructions. A stage built on another starts as a clone of its end.
#[derive(Clone)]
pub(crate) struct Stage {
    /// Its place in the plan; none for an image.
    pub index: Option<usize>,
    /// Its results are not to be taken from the cache (`--no-cache-filter`).
    pub uncached: bool,
    /// The image's config so far; history included, layers not.
    pub config: ImageConfig,
    /// The layers so far, base first.
    pub layers: Vec<LayerBlob>,
    /// The variables.
    pub scope: Scope,
    /// Stands for everything that led here; the next instruction's cache key starts with it.
    pub key: Digest,
    /// The keys and results of the steps so far, those of stages below included.
    pub trail: Vec<(Digest, Cached)>,
    /// The image that FROM led to, with its digest, and whether any of it had to be fetched.
    pub image: Option<(String, bool)>,
    /// This stage has had a CMD of its own.
    pub command_set: bool,
    /// Its keys are being found, or are all that it has (`foresight`).
    pub foretold: bool,
    /// Of a stage that is foretold, how many results are not known.
    pub misses: usize,
    /// The files; shared by all clones with the same layers.
    pub files: Flat,
}

/// The files of some layers, flattened once somebody asks. Clones share them.
#[derive(Clone, Default)]
pub struct Flat(Arc<Mutex<Option<Arc<ImageTree>>>>);

impl Flat {
    fn known(&self) -> MutexGuard<'_, Option<Arc<ImageTree>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The files of `layers`, which are the same each time. Who asks while another flattens them waits for that.
    pub fn of(&self, store: &Store, layers: &[LayerBlob]) -> Result<Arc<ImageTree>> {
        let mut known = self.known();
        if let Some(tree) = known.as_ref() {
            return Ok(Arc::clone(tree));
        }
        let tree = Arc::new(ImageTree::of_layers(store, layers)?);
        *known = Some(Arc::clone(&tree));
        Ok(tree)
    }

    /// Takes the files out, if there are any: those that others need as they are stay with them.
    fn take(self) -> Option<Arc<ImageTree>> {
        match Arc::try_unwrap(self.0) {
            Ok(own) => own.into_inner().unwrap_or_else(PoisonError::into_inner),
            Err(shared) => Flat(shared).known().clone(),
        }
    }
}

impl Stage {
    pub fn new(config: ImageConfig, layers: Vec<LayerBlob>, scope: Scope, key: Digest) -> Self {
        Self {
            index: None,
            uncached: false,
            config,
            layers,
            scope,
            key,
            trail: Vec::new(),
            image: None,
            command_set: false,
            foretold: false,
            misses: 0,
            files: Flat::default(),
        }
    }

    /// The stage's files.
    pub fn tree(&self, store: &Store) -> Result<Arc<ImageTree>> {
        self.files.of(store, &self.layers)
    }

    /// Adds a layer, or notes that the instruction made none.
    pub fn add(
        &mut self,
        store: &Store,
        layer: Option<LayerBlob>,
        created: Option<String>,
        by: String,
    ) -> Result<()> {
        self.config.history.push(History {
            created,
            created_by: Some(by),
            comment: Some("boxer.dockerfile.v0".to_owned()),
            empty_layer: layer.is_none(),
            ..History::default()
        });
        if let Some(layer) = layer {
            // Others may stand on the layers below and need their tree as it is.
            if let Some(tree) = std::mem::take(&mut self.files).take() {
                let mut tree = Arc::unwrap_or_clone(tree);
                tree.apply(store, &layer)?;
                *self.files.known() = Some(Arc::new(tree));
            }
            self.layers.push(layer);
        }
        Ok(())
    }

    /// The working directory as an absolute path.
    pub fn workdir(&self) -> &str {
        let set = self.config.config.working_dir.as_str();
        if set.is_empty() { "/" } else { set }
    }
}
