//! The steps COPY and ADD: what they read, their keys, and the layer.

use std::io;
use std::sync::Arc;

use dockerfile::ignore::IgnoreFile;
use dockerfile::{CopySource, Instruction, InstructionKind, Span, Word};
use oci::Digest;

use crate::builder::Builder;
use crate::cache::{Cached, key};
use crate::context::Context;
use crate::copy::content::{Unreadable, content_key};
use crate::copy::place::place;
use crate::copy::select::{Selected, select};
use crate::copy::{FetchedFile, Request, Source, shown, source_error};
use crate::error::{Cause, Error, Result};
use crate::events::StepId;
use crate::files::{Entry, Files, Kind, components, resolve};
use crate::foresight::unforeseeable;
use crate::history;
use crate::image_tree::ImageTree;
use crate::mode::Mode;
use crate::origin::Origin;
use crate::remote::Remote;
use crate::stage::Stage;
use crate::users::owner;

/// What COPY and ADD have in common, not expanded.
pub(crate) struct Transfer<'a> {
    pub name: &'static str,
    pub sources: &'a [CopySource],
    pub destination: &'a Word,
    pub from: Option<&'a Word>,
    pub chown: Option<&'a Word>,
    pub chmod: Option<&'a Word>,
    pub exclude: &'a [Word],
    pub parents: bool,
    pub link: bool,
    /// Archives of the context are taken apart.
    pub unpack: bool,
    /// ADD: files from elsewhere, `None` for COPY.
    pub remote: Option<RemoteOptions<'a>>,
}

impl<'a> Transfer<'a> {
    /// COPY or ADD; `None` for other instructions.
    pub fn of(kind: &'a InstructionKind) -> Option<Self> {
        match kind {
            InstructionKind::Copy(copy) => Some(Transfer {
                name: "COPY",
                sources: &copy.sources,
                destination: &copy.destination,
                from: copy.from.as_ref(),
                chown: copy.chown.as_ref(),
                chmod: copy.chmod.as_ref(),
                exclude: &copy.exclude,
                parents: copy.parents,
                link: copy.link,
                unpack: false,
                remote: None,
            }),
            InstructionKind::Add(add) => Some(Transfer {
                name: "ADD",
                sources: &add.sources,
                destination: &add.destination,
                from: None,
                chown: add.chown.as_ref(),
                chmod: add.chmod.as_ref(),
                exclude: &add.exclude,
                parents: false,
                link: add.link,
                unpack: add.unpack.unwrap_or(true),
                remote: Some(RemoteOptions {
                    checksum: add.checksum.as_ref(),
                    keep_git: add.keep_git_dir,
                    unpack: add.unpack.unwrap_or(false),
                }),
            }),
            _ => None,
        }
    }
}

/// What ADD says about sources from elsewhere.
#[derive(Clone, Copy)]
pub(crate) struct RemoteOptions<'a> {
    pub checksum: Option<&'a Word>,
    pub keep_git: bool,
    /// Fetched archives are taken apart.
    pub unpack: bool,
}

/// A tree that a step reads, and what it is called in messages.
pub(crate) struct From {
    origin: Origin,
    place: String,
    /// The stage that reads.
    asking: Option<usize>,
    /// The files of an origin that is a stage, once they are needed.
    tree: Option<Arc<ImageTree>>,
}

impl From {
    /// What it is called in messages.
    pub fn name(&self) -> &str {
        &self.place
    }

    /// A file of the host that was not the same each time it was read.
    fn changed(&self) -> Option<Vec<u8>> {
        match &self.origin {
            Origin::Context(context) => context.changed(),
            _ => None,
        }
    }

    pub fn files(&mut self, builder: &Builder<'_>) -> Result<&dyn Files> {
        match &self.origin {
            Origin::Context(context) => Ok(context.as_ref()),
            Origin::Tree(tree) => Ok(tree.as_ref()),
            Origin::Repository(checkout) => Ok(checkout.context.as_ref()),
            Origin::Stage(stage) => {
                if self.tree.is_none() {
                    let store = &builder.workshop.store;
                    self.tree = Some(match stage.index.filter(|_| stage.foretold) {
                        None => stage.tree(store)?,
                        Some(_) if !builder.foresight.is_over() => return Err(unforeseeable()),
                        // What was known is lost.
                        Some(index) => {
                            builder.stage(index, self.asking, Span::line(1))?.tree(store)?
                        }
                    });
                }
                match &self.tree {
                    Some(tree) => Ok(tree.as_ref()),
                    None => Err(copy_failed(&self.place, &io::ErrorKind::NotFound.into())),
                }
            }
        }
    }

    /// The last name of a path that leads to something that is not a directory.
    pub fn file_name(&mut self, builder: &Builder<'_>, path: &str) -> Result<Option<String>> {
        let place = self.place.clone();
        let files = self.files(builder)?;
        let fail = |error: io::Error| copy_failed(&place, &error);
        let real = resolve(files, path.as_bytes(), true).map_err(fail)?;
        let entry = files.entry(&real).map_err(fail)?;
        let directory = real.is_empty() || entry.is_some_and(|entry| entry.kind == Kind::Directory);
        let parts = components(path.as_bytes());
        let name = parts.last().map(|name| String::from_utf8_lossy(name).into_owned());
        Ok(name.filter(|_| !directory))
    }

    /// Mode, owner and time of a directory.
    pub fn directory(&mut self, builder: &Builder<'_>, path: &str) -> Result<layers::Metadata> {
        let place = self.place.clone();
        let files = self.files(builder)?;
        let fail = |error: io::Error| copy_failed(&place, &error);
        let real = resolve(files, path.as_bytes(), true).map_err(fail)?;
        let entry = files.entry(&real).map_err(fail)?;
        Ok(entry.map_or_else(
            || crate::copy::place::plain_directory(None, 0),
            |entry| {
                let ((mtime, mtime_nsec), mode) = (entry.mtime, entry.mode);
                let (uid, gid, xattrs) = (entry.uid, entry.gid, entry.xattrs);
                layers::Metadata { mode, uid, gid, mtime, mtime_nsec, xattrs }
            },
        ))
    }

    pub fn select(&mut self, builder: &Builder<'_>, request: &Request) -> Result<Vec<Selected>> {
        let place = self.place.clone();
        let files = self.files(builder)?;
        let selected = select(request, files, &place);
        match &self.origin {
            Origin::Context(context) => selected.map_err(|error| explain_missing(error, context)),
            _ => selected,
        }
    }
}

impl Builder<'_> {
    /// Carries out COPY or ADD; true if the result was known. `loaded` is what [`Builder::load_context`] found.
    pub fn copy_step(
        &self,
        transfer: &Transfer<'_>,
        stage: &mut Stage,
        step: StepId,
        loaded: Option<Digest>,
    ) -> Result<bool> {
        let mut request = self.request(transfer, stage, step)?;
        let reads = request.sources.iter().any(|source| matches!(source, Source::Path(_)));
        let mut from = match transfer.from {
            None if self.context.is_none() && !reads => self.nothing(),
            None => self.open_from(None, stage.index, 0)?,
            Some(word) => self.open_from(Some(&word.text), stage.index, word.line)?,
        };
        let chown = expand(transfer.chown, stage)?.filter(|chown| !chown.is_empty());
        let numbers = |text: &String| text.bytes().all(|b| b.is_ascii_digit() || b == b':');
        // A linked copy does not depend on what is below it, unless names of users have to be looked up there.
        let apart = transfer.link && chown.as_ref().is_none_or(numbers);
        let own = format!(
            "{} chown={chown:?} chmod={:?} workdir={} to={:?} made_at={} unpack={} link={} parents={} exclude={:?} below={}",
            transfer.name,
            request.mode,
            request.workdir,
            request.destination,
            self.options.source_date_epoch.unwrap_or(-1),
            transfer.unpack,
            transfer.link,
            request.parents,
            // Also what a source names is left out, which its content does not show.
            excluded(transfer),
            if apart { "" } else { stage.key.as_str() },
        );
        let content = match loaded {
            Some(content) => content,
            None => self.content_of(&request, &excluded(transfer), &mut from, stage)?,
        };
        let mut own_key = key([own.as_bytes(), content.as_str().as_bytes()]);
        let mut chain = match apart {
            true => key([stage.key.as_str().as_bytes(), own_key.as_str().as_bytes()]),
            false => own_key.clone(),
        };
        if stage.foretold {
            return Ok(self.foretell(stage, &own_key, chain));
        }
        let known = self.cached(&own_key, stage);
        let hit = known.is_some();
        let result = match known {
            Some(result) => result,
            None => {
                let lower = stage.tree(&self.workshop.store)?;
                if let Some(chown) = &chown {
                    let warn = |text: &str| self.workshop.events.warning(text);
                    request.owner = Some(owner(chown, lower.as_ref(), &warn)?);
                }
                let result = self.copied(&request, &mut from, &lower, transfer.link)?;
                if let Some(path) = from.changed() {
                    let text = format!("{} changed while it was read", shown(&path));
                    self.workshop.events.warning(&text);
                    // What was hashed is not what was copied: nobody else is to find this.
                    let found = format!("changed {result:?}");
                    own_key = key([own_key.as_str().as_bytes(), found.as_bytes()]);
                    chain = own_key.clone();
                }
                self.remember(&own_key, &result);
                result
            }
        };
        let by = history::copy(
            &history::Copy {
                name: transfer.name,
                sources: transfer.sources,
                destination: transfer.destination,
                chown: chown.as_deref(),
                chmod: expand(transfer.chmod, stage)?.as_deref(),
            },
            &stage.scope,
        )?;
        self.conclude(stage, (own_key, chain), &result, by)?;
        Ok(hit)
    }

    /// Reads what COPY or ADD takes from a directory that is the main context, before its own step begins: the key of the
    /// content. `None` where there is nothing to read, and where it fails, which the step then says.
    pub fn load_context(&self, instruction: &Instruction, stage: &Stage) -> Option<Digest> {
        let transfer = &Transfer::of(&instruction.kind)?;
        let Some(Origin::Context(_)) = self.context.as_ref().filter(|_| transfer.from.is_none())
        else {
            return None;
        };
        for source in transfer.sources {
            let CopySource::Path(word) = source else { continue };
            let text = stage.scope.expand(word).ok()?.text;
            if transfer.remote.is_some() && !matches!(Remote::parse(&text), Ok(None)) {
                return None;
            }
        }
        // Nothing is fetched, so that the number of the step does not matter.
        let request = self.request(transfer, stage, StepId(0)).ok()?;
        if !request.sources.iter().any(|source| matches!(source, Source::Path(_))) {
            return None;
        }
        let mut from = self.open_from(None, stage.index, 0).ok()?;
        if let Some(known) = self.hashed().get(&same(&from, &request, &excluded(transfer))) {
            return Some(known.clone());
        }
        from.select(self, &request).ok()?;
        self.loading.during(self, || self.input_key(&request, &excluded(transfer), &mut from).ok())
    }

    /// The content of what a step of `stage` reads. If that comes from a stage whose cache was not to be asked, and is not what it was,
    /// then the cache does not know this step either, nor what follows.
    pub fn content_of(
        &self,
        request: &Request,
        excluded: &[&str],
        from: &mut From,
        stage: &mut Stage,
    ) -> Result<Digest> {
        let before = match &from.origin {
            Origin::Stage(source) if source.uncached => {
                Some(self.cache.content_key(&described(source, request, excluded)))
            }
            _ => None,
        };
        let (content, _) = self.input_key(request, excluded, from)?;
        stage.uncached |= before.is_some_and(|before| before.as_ref() != Some(&content));
        Ok(content)
    }

    /// The content of what is read, and its size where it had to be read. That of a stage is looked up by what made the stage first:
    /// then its files need not be there.
    pub fn input_key(
        &self,
        request: &Request,
        excluded: &[&str],
        from: &mut From,
    ) -> Result<(Digest, u64)> {
        let described = match &from.origin {
            Origin::Stage(stage) => Some(described(stage, request, excluded)),
            _ => None,
        };
        let uncached = matches!(&from.origin, Origin::Stage(stage) if stage.uncached);
        if let Some(described) = described.as_ref().filter(|_| !self.options.no_cache && !uncached)
            && let Some(known) =
                self.cache.content_key(described).or_else(|| self.imported_input(described))
        {
            self.known.input(described, &known);
            return Ok((known, 0));
        }
        let same = same(from, request, excluded);
        if described.is_none()
            && let Some(known) = self.hashed().get(&same)
        {
            return Ok((known.clone(), 0));
        }
        let selected = from.select(self, request)?;
        let most = self.options.largest_layer;
        let hashed = content_key(request, &selected, from.files(self)?, most)
            .map_err(|failed| unreadable(&failed, &from.origin))?;
        let found = hashed.key;
        if described.is_none() {
            self.hashed().insert(same, found.clone());
        }
        if let Some(described) = described {
            self.known.input(&described, &found);
            if let Err(error) = self.cache.put_content_key(&described, &found) {
                self.cache_is_unwritable(&error);
            }
        }
        Ok((found, hashed.bytes))
    }

    /// The layer that a copy makes.
    fn copied(
        &self,
        request: &Request,
        from: &mut From,
        lower: &ImageTree,
        link: bool,
    ) -> Result<Cached> {
        let selected = from.select(self, request)?;
        let empty;
        let lower = match link {
            true => {
                empty = ImageTree::empty(&self.workshop.store)?;
                &empty
            }
            false => lower,
        };
        let mut upper = lower.clone();
        let (tree, spool) = upper.parts();
        place(request, &selected, from.files(self)?, tree, spool)?;
        self.difference(lower, &upper)
    }

    /// The tree that `--from` names, or the main context.
    pub fn open_from(&self, name: Option<&str>, asking: Option<usize>, line: u32) -> Result<From> {
        let Some(name) = name else {
            let Some(context) = &self.context else {
                let reason =
                    "this build has no context (the Dockerfile came from standard input alone)"
                        .to_owned();
                return Err(Cause::Copy { path: "the build context".to_owned(), reason }.into());
            };
            let place = "the build context".to_owned();
            return Ok(From { origin: context.clone(), place, asking, tree: None });
        };
        let span = Span::line(line);
        let source = self.plan.source_named(name, span)?;
        let place = match &source {
            dockerfile::plan::Source::Stage(index) => {
                let stage = self.plan.stages.get(*index).map(dockerfile::plan::Stage::display_name);
                format!("stage {}", stage.unwrap_or_default())
            }
            dockerfile::plan::Source::Context(name) => format!("build context {name}"),
            dockerfile::plan::Source::Image(name) => format!("image {name}"),
            dockerfile::plan::Source::Scratch => "scratch".to_owned(),
        };
        match self.origin(&source, asking, span)? {
            Some(origin) => Ok(From { origin, place, asking, tree: None }),
            None => Ok(From { place, ..self.nothing() }),
        }
    }

    /// A tree without files.
    fn nothing(&self) -> From {
        let stage = Stage::new(
            oci::ImageConfig::scratch(),
            Vec::new(),
            dockerfile::scope::Scope::new('\\'),
            key([b"no context".as_slice()]),
        );
        From {
            origin: Origin::Stage(Arc::new(stage)),
            place: "the Dockerfile".to_owned(),
            asking: None,
            tree: None,
        }
    }

    fn request(&self, transfer: &Transfer<'_>, stage: &Stage, step: StepId) -> Result<Request> {
        let mut sources = Vec::new();
        let checksum = match transfer.remote.and_then(|remote| remote.checksum) {
            None => None,
            Some(word) => Some(stage.scope.expand(word)?.text).filter(|text| !text.is_empty()),
        };
        if checksum.is_some() && transfer.sources.len() > 1 {
            let reason = "it is for one source".to_owned();
            return Err(Cause::Checksum { reason }.into());
        }
        for source in transfer.sources {
            sources.push(match source {
                CopySource::Path(word) => {
                    let text = stage.scope.expand(word)?.text;
                    match transfer.remote {
                        Some(options) => self
                            .maybe_remote(text, options, checksum.as_deref(), step)
                            .map_err(|error| error.on(Span::line(word.line)))?,
                        None => Source::Path(text),
                    }
                }
                CopySource::Inline(file) => {
                    let content = if file.expand {
                        dockerfile::expand::body(&file.content, &stage.scope)
                            .map_err(|cause| {
                                Error::new(Cause::Dockerfile(cause)).on(Span::line(file.line))
                            })?
                            .text
                    } else {
                        file.content.clone()
                    };
                    Source::Inline { name: file.name.clone(), content: content.into_bytes() }
                }
            });
        }
        let mode = match expand(transfer.chmod, stage)? {
            None => None,
            Some(value) => Some(Mode::parse(&value).ok_or(Cause::Chmod { value })?),
        };
        let mut excluded = Vec::new();
        for word in transfer.exclude {
            excluded.push(stage.scope.expand(word)?.text);
        }
        let exclude = IgnoreFile::from_patterns(excluded.iter().map(String::as_str))
            .map_err(|cause| Error::new(Cause::Dockerfile(cause)))?;
        Ok(Request {
            sources,
            destination: stage.scope.expand(transfer.destination)?.text,
            workdir: stage.config.config.working_dir.clone(),
            owner: None,
            mode,
            exclude,
            parents: transfer.parents,
            literal: false,
            unpack: transfer.unpack,
            made_at: self.options.made_at(),
        })
    }

    /// A source of ADD: fetched now if it is elsewhere.
    fn maybe_remote(
        &self,
        text: String,
        options: RemoteOptions<'_>,
        checksum: Option<&str>,
        step: StepId,
    ) -> Result<Source> {
        let wrong = |reason: &str| Error::new(Cause::Checksum { reason: reason.to_owned() });
        match Remote::parse(&text)? {
            None if checksum.is_some() => Err(wrong("it is for files from a URL and repositories")),
            None => Ok(Source::Path(text)),
            Some(_) if !self.foresight.is_over() => Err(unforeseeable()),
            Some(Remote::Http(url)) => {
                let digest = checksum.map(Digest::parse).transpose();
                let digest = digest.map_err(|error| wrong(&error.to_string()))?;
                let file = self.fetch_file(&url, digest.as_ref(), step)?;
                Ok(Source::File(FetchedFile {
                    name: crate::remote::file_name(&url),
                    path: self.workshop.store.blob_path(&file.digest),
                    digest: file.digest,
                    size: file.size,
                    modified: file.modified.unwrap_or_else(|| self.options.made_at()),
                    unpack: options.unpack,
                }))
            }
            Some(Remote::Git(mut source)) => {
                if let Some(checksum) = checksum {
                    checksum.clone_into(&mut source.commit);
                }
                Ok(Source::Repository(self.fetch_repository(&source, options.keep_git)?))
            }
        }
    }

    /// All files of a context as a layer.
    pub fn layer_of(&self, origin: Origin) -> Result<Cached> {
        let request = Request::whole("/".to_owned(), self.options.made_at());
        let place = "the build context".to_owned();
        let mut from = From { origin, place, asking: None, tree: None };
        self.copied(&request, &mut from, &ImageTree::empty(&self.workshop.store)?, false)
    }
}

fn expand(word: Option<&Word>, stage: &Stage) -> Result<Option<String>> {
    match word {
        Some(word) => Ok(Some(stage.scope.expand(word)?.text)),
        None => Ok(None),
    }
}

/// The same text for all who read the same of the main context or of an image: it is hashed once.
fn same(from: &From, request: &Request, excluded: &[&str]) -> String {
    let sources: Vec<String> = request.sources.iter().map(Source::describe).collect();
    format!("{} {sources:?} {excluded:?} {} {}", from.place, request.parents, request.literal)
}

/// The key of what is read from a stage, by what made the stage.
fn described(stage: &Stage, request: &Request, excluded: &[&str]) -> Digest {
    let sources: Vec<String> = request.sources.iter().map(Source::describe).collect();
    let text = format!("{} {sources:?} {excluded:?} {}", stage.key, request.parents);
    key([b"input".as_slice(), text.as_bytes()])
}

/// The patterns of `--exclude`, not expanded.
fn excluded<'a>(transfer: &Transfer<'a>) -> Vec<&'a str> {
    transfer.exclude.iter().map(|word| word.text.as_str()).collect()
}

/// Names the file, and says what to do about it.
fn unreadable(failed: &Unreadable, origin: &Origin) -> Error {
    let error = source_error(&failed.path, &failed.error);
    match origin {
        Origin::Context(_) => {
            error.hint("what the build does not need can be named in .dockerignore")
        }
        _ => error,
    }
}

fn copy_failed(what: &str, error: &io::Error) -> Error {
    Error::new(Cause::Copy { path: what.to_owned(), reason: error.to_string() })
}

/// A file that is there but ignored gets an error that says so.
fn explain_missing(error: Error, context: &Context) -> Error {
    let Cause::SourceNotFound { path, .. } = error.cause.as_ref() else { return error };
    let parts = components(path.as_bytes());
    for end in 1..=parts.len() {
        let prefix = crate::files::join(parts.get(..end).unwrap_or_default());
        if let Some(file) = context.hidden_by(&prefix) {
            let ignore_file = file.display().to_string();
            return Error {
                cause: Box::new(Cause::SourceIgnored { path: path.clone(), ignore_file }),
                ..error
            };
        }
    }
    let directory = crate::files::split(&crate::files::join(&parts)).0.to_vec();
    let name =
        parts.last().map(|name| String::from_utf8_lossy(name).into_owned()).unwrap_or_default();
    let there = match context.entry(&directory) {
        Ok(Some(Entry { kind: Kind::Directory, .. })) => {
            context.names(&directory).unwrap_or_default()
        }
        _ => Vec::new(),
    };
    let there: Vec<String> =
        there.iter().map(|name| String::from_utf8_lossy(name).into_owned()).collect();
    match dockerfile::did_you_mean(&name, there.iter().map(String::as_str)) {
        Some(near) => {
            let near = crate::files::child(&directory, near.as_bytes());
            error.hint(format!("did you mean {}?", String::from_utf8_lossy(&near)))
        }
        None => error,
    }
}
