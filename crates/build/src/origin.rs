//! What FROM and `--from` lead to: another stage, an image, a named context.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use dockerfile::Span;
use dockerfile::plan::Source;
use oci::{ImageConfig, ImageHandle, Reference};

use crate::builder::Builder;
use crate::cache::{Cached, key};
use crate::config::{scope_of, scratch};
use crate::context::Context;
use crate::error::{Cause, Error, Result};
use crate::image_tree::ImageTree;
use crate::main_context::single_file;
use crate::remote::{Checkout, Remote};
use crate::stage::Stage;
use crate::transfer::Transfers;

/// What a FROM or `--from` leads to.
#[derive(Clone)]
pub(crate) enum Origin {
    /// Files and a config.
    Stage(Arc<Stage>),
    /// A directory of the host.
    Context(Arc<Context>),
    /// The files of an archive, or one that was fetched.
    Tree(Arc<ImageTree>),
    Repository(Checkout),
}

/// What a build has used so far, by what names it. Each is fetched once: who asks at the same time waits.
pub(crate) struct Used<T>(Mutex<BTreeMap<String, Slot<T>>>);

type Slot<T> = Arc<Mutex<Option<T>>>;

/// Images used so far.
pub(crate) type Images = Used<Arc<Stage>>;
/// Named contexts used so far that are no images.
pub(crate) type Named = Used<Origin>;

impl<T> Default for Used<T> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<T: Clone> Used<T> {
    /// What `name` leads to, made the first time.
    fn once(&self, name: &str, make: impl FnOnce() -> Result<T>) -> Result<T> {
        let slot: Slot<T> = {
            let mut used = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(used.entry(name.to_owned()).or_default())
        };
        let mut known = slot.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(have) = known.as_ref() {
            return Ok(have.clone());
        }
        let made = make()?;
        *known = Some(made.clone());
        Ok(made)
    }
}

impl Builder<'_> {
    /// What FROM starts with.
    pub fn base(&self, planned: &dockerfile::plan::Stage) -> Result<Stage> {
        let stage = match self.origin(&planned.base, Some(planned.index), planned.span)? {
            Some(Origin::Stage(stage)) => {
                let mut stage = (*stage).clone();
                stage.command_set = false;
                stage.scope.begin_stage();
                stage
            }
            Some(origin) => self.stage_of_files(&planned.base_name, origin)?,
            None => Stage::new(
                scratch(),
                Vec::new(),
                scope_of(&scratch(), self.plan.escape),
                key([b"scratch".as_slice()]),
            ),
        };
        Ok(stage)
    }

    /// The files of a context as an image of one layer.
    fn stage_of_files(&self, name: &str, origin: Origin) -> Result<Stage> {
        let layer = self.step(&format!("[context {name}] load files"), |_| {
            Ok((self.layer_of(origin)?, false))
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
    pub fn origin(
        &self,
        source: &Source,
        asking: Option<usize>,
        span: Span,
    ) -> Result<Option<Origin>> {
        match source {
            Source::Scratch => Ok(None),
            Source::Stage(index) => {
                let stage = match self.foresight.stand_in(*index)? {
                    Some(foretold) => foretold,
                    None => self.stage(*index, asking, span)?,
                };
                Ok(Some(Origin::Stage(stage)))
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

    /// Whether a named context is an image.
    pub fn context_is_image(&self, name: &str) -> bool {
        let kinds = ["docker-image:", "oci-layout:", "oci-archive:", "docker-archive:"];
        let value = self.options.named_contexts.get(name);
        value.is_some_and(|value| kinds.iter().any(|prefix| value.starts_with(prefix)))
    }

    fn named_context(&self, name: &str) -> Result<Origin> {
        let value = self.options.named_contexts.get(name).cloned().unwrap_or_default();
        if self.context_is_image(name) {
            if value.trim_start_matches("docker-image:").trim_start_matches("//") == "scratch" {
                return Ok(Origin::Tree(Arc::new(ImageTree::empty(&self.workshop.store)?)));
            }
            return self.image(name, &value).map(Origin::Stage);
        }
        self.named.once(name, || self.open_context(name, &value))
    }

    /// A named context that is no image.
    fn open_context(&self, name: &str, value: &str) -> Result<Origin> {
        let failed = |error: Error| match error.is_cancelled() {
            true => error,
            false => {
                let reason = error.to_string();
                Error::new(Cause::NamedContext { name: name.to_owned(), reason })
            }
        };
        Ok(match Remote::of_context(value).map_err(failed)? {
            None => {
                Origin::Context(Arc::new(Context::open(Path::new(value), None).map_err(failed)?))
            }
            Some(Remote::Git(source)) => self
                .step(&format!("[context {name}] {value}"), |_| {
                    Ok((Origin::Repository(self.fetch_repository(&source, false)?), false))
                })
                .map_err(failed)?,
            Some(Remote::Http(url)) => self
                .step(&format!("[context {name}] {value}"), |step| {
                    let file = self.fetch_file(&url, None, step)?;
                    Ok((Origin::Tree(Arc::new(single_file(self.workshop, &file)?)), false))
                })
                .map_err(failed)?,
        })
    }

    /// An image, from the store or fetched, as a stage that ends at once.
    fn image(&self, shown: &str, source: &str) -> Result<Arc<Stage>> {
        self.images.once(source, || self.load_image(shown, source))
    }

    fn load_image(&self, shown: &str, source: &str) -> Result<Arc<Stage>> {
        let (client, store) = (&self.client, &self.workshop.store);
        let reference = match source.strip_prefix("docker-image://").map(Reference::parse) {
            Some(parsed) => Some(parsed.map_err(|source| Error::base(shown, source))?),
            None => None,
        };
        let place = reference.as_ref().map_or_else(|| shown.to_owned(), Reference::canonical);
        let name = format!("[internal] load metadata for {place}");
        let (handle, fetched) = self.step(&name, |step| {
            let progress = Transfers { step, events: self.workshop.events.as_ref() };
            let fetch = || -> oci::Result<(ImageHandle, bool)> {
                let Some(reference) = &reference else {
                    let source = oci::Source::parse(&source.replacen("://", ":", 1))?;
                    return Ok((client.fetch(&source, None, store, &progress)?, true));
                };
                let known = store.image(reference).ok().map(|image| image.digest);
                let image = match self.options.pull {
                    true => client.pull(reference, store, &progress)?,
                    false => client.ensure(reference, store, &progress)?,
                };
                let fetched = known.as_ref() != Some(&image.digest);
                Ok((image, fetched))
            };
            let fetched = fetch().map_err(|source| Error::base(shown, source))?;
            Ok((fetched, false))
        })?;
        let mut stage = stage_of_image(&handle, self.plan.escape);
        let digest = format!("@{}", handle.digest);
        let ending = if place.ends_with(&digest) { "" } else { &digest };
        stage.image = Some((format!("{place}{ending}"), fetched));
        Ok(Arc::new(stage))
    }
}

fn stage_of_image(handle: &ImageHandle, escape: char) -> Stage {
    let mut config: ImageConfig = handle.config.clone();
    crate::cache_transfer::forget_inline(&mut config);
    let mut scope = scope_of(&config, escape);
    if dockerfile::expand::Variables::get(&scope, "PATH").is_none() {
        scope.set_env("PATH", crate::config::DEFAULT_PATH);
    }
    let key = key([b"image".as_slice(), handle.manifest.config.digest.as_str().as_bytes()]);
    Stage::new(config, handle.layers.clone(), scope, key)
}
