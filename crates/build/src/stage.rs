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
    /// The layers flattened, once somebody has asked; shared by all clones with the same layers.
    tree: Arc<Mutex<Option<Arc<ImageTree>>>>,
}

fn lock(tree: &Mutex<Option<Arc<ImageTree>>>) -> MutexGuard<'_, Option<Arc<ImageTree>>> {
    tree.lock().unwrap_or_else(PoisonError::into_inner)
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
            tree: Arc::default(),
        }
    }

    /// The stage's files. Who asks while another flattens the same layers waits for that.
    pub fn tree(&self, store: &Store) -> Result<Arc<ImageTree>> {
        let mut known = lock(&self.tree);
        if let Some(tree) = known.as_ref() {
            return Ok(Arc::clone(tree));
        }
        let tree = Arc::new(ImageTree::of_layers(store, &self.layers)?);
        *known = Some(Arc::clone(&tree));
        Ok(tree)
    }

    /// The stage's files, if they are flattened already.
    pub fn known_tree(&self) -> Option<Arc<ImageTree>> {
        lock(&self.tree).clone()
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
            let below = std::mem::take(&mut self.tree);
            // Others may stand on the layers below and need their tree as it is.
            let tree = match Arc::try_unwrap(below) {
                Ok(own) => own.into_inner().unwrap_or_else(PoisonError::into_inner),
                Err(shared) => lock(&shared).clone(),
            };
            if let Some(tree) = tree {
                let mut tree = Arc::unwrap_or_clone(tree);
                tree.apply(store, &layer)?;
                *lock(&self.tree) = Some(Arc::new(tree));
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
