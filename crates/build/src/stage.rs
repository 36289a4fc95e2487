//! What is known of a stage while its instructions are carried out.

use std::cell::RefCell;
use std::rc::Rc;

use dockerfile::scope::Scope;
use oci::{Digest, History, ImageConfig, LayerBlob, Store};

use crate::error::Result;
use crate::image_tree::ImageTree;

/// A stage between two instructions. A stage built on another starts as a clone of its end.
#[derive(Clone)]
pub(crate) struct Stage {
    /// The image's config so far; history included, layers not.
    pub config: ImageConfig,
    /// The layers so far, base first.
    pub layers: Vec<LayerBlob>,
    /// The variables.
    pub scope: Scope,
    /// Stands for everything that led here; the next instruction's cache key starts with it.
    pub key: Digest,
    /// This stage has had a CMD of its own.
    pub command_set: bool,
    /// The layers flattened, once somebody has asked; shared by all clones with the same layers.
    tree: Rc<RefCell<Option<Rc<ImageTree>>>>,
}

impl Stage {
    pub fn new(config: ImageConfig, layers: Vec<LayerBlob>, scope: Scope, key: Digest) -> Self {
        Self { config, layers, scope, key, command_set: false, tree: Rc::default() }
    }

    /// The stage's files.
    pub fn tree(&self, store: &Store) -> Result<Rc<ImageTree>> {
        if let Some(tree) = self.known_tree() {
            return Ok(tree);
        }
        let tree = Rc::new(ImageTree::of_layers(store, &self.layers)?);
        *self.tree.borrow_mut() = Some(Rc::clone(&tree));
        Ok(tree)
    }

    /// The stage's files, if they are flattened already.
    pub fn known_tree(&self) -> Option<Rc<ImageTree>> {
        self.tree.borrow().clone()
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
            let tree =
                if Rc::strong_count(&below) == 1 { below.take() } else { below.borrow().clone() };
            if let Some(tree) = tree {
                let mut tree = Rc::unwrap_or_clone(tree);
                tree.apply(store, &layer)?;
                *self.tree.borrow_mut() = Some(Rc::new(tree));
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
