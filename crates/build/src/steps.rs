//! COPY, ADD and WORKDIR: the steps whose layer the builder itself makes.

use std::io::{self, Seek};
use std::rc::Rc;

use dockerfile::ignore::IgnoreFile;
use dockerfile::{CopySource, Instruction, InstructionKind, Word};

use crate::builder::{Builder, Origin, temporary_folder};
use crate::cache::{Cached, key};
use crate::context::Context;
use crate::copy::{Items, Request, Source, make_directories, plan};
use crate::error::{Cause, Error, Result};
use crate::events::StepId;
use crate::files::{Entry, Files, Kind, components, resolve};
use crate::image_tree::ImageTree;
use crate::layer::{content_key, write};
use crate::mode::Mode;
use crate::stage::Stage;
use crate::users::owner;

/// A tree with nothing in it.
pub(crate) struct Nowhere;

impl Files for Nowhere {
    fn entry(&self, _path: &[u8]) -> io::Result<Option<Entry>> {
        Ok(None)
    }

    fn names(&self, _path: &[u8]) -> io::Result<Vec<Vec<u8>>> {
        Ok(Vec::new())
    }

    fn open(&self, _path: &[u8]) -> io::Result<Box<dyn io::Read + '_>> {
        Err(io::ErrorKind::NotFound.into())
    }
}

/// What COPY and ADD have in common, not expanded.
struct Transfer<'a> {
    name: &'static str,
    sources: &'a [CopySource],
    destination: &'a Word,
    from: Option<&'a Word>,
    chown: Option<&'a Word>,
    chmod: Option<&'a Word>,
    exclude: &'a [Word],
    parents: bool,
    unpack: bool,
}

impl Builder<'_> {
    /// Carries out an instruction that may make a layer; true if its result was known.
    pub fn layer_step(
        &mut self,
        instruction: &Instruction,
        stage: &mut Stage,
        step: StepId,
    ) -> Result<((), bool)> {
        let cached = match &instruction.kind {
            InstructionKind::Run(run) => self.run_step(instruction, run, stage, step)?,
            InstructionKind::Workdir(word) => self.workdir_step(word, instruction, stage)?,
            InstructionKind::Copy(copy) => {
                let transfer = Transfer {
                    name: "COPY",
                    sources: &copy.sources,
                    destination: &copy.destination,
                    from: copy.from.as_ref(),
                    chown: copy.chown.as_ref(),
                    chmod: copy.chmod.as_ref(),
                    exclude: &copy.exclude,
                    parents: copy.parents,
                    unpack: false,
                };
                self.copy_step(&transfer, instruction, stage)?
            }
            InstructionKind::Add(add) => {
                refuse_remote(add)?;
                let transfer = Transfer {
                    name: "ADD",
                    sources: &add.sources,
                    destination: &add.destination,
                    from: None,
                    chown: add.chown.as_ref(),
                    chmod: add.chmod.as_ref(),
                    exclude: &add.exclude,
                    parents: false,
                    unpack: add.unpack.unwrap_or(true),
                };
                self.copy_step(&transfer, instruction, stage)?
            }
            _ => false,
        };
        Ok(((), cached))
    }

    fn workdir_step(
        &mut self,
        word: &Word,
        instruction: &Instruction,
        stage: &mut Stage,
    ) -> Result<bool> {
        let text = stage.scope.expand(word)?.text;
        let joined =
            if text.starts_with('/') { text } else { format!("{}/{text}", stage.workdir()) };
        let path = dockerfile::ignore::clean(&joined);
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
        let store = &self.workshop.store;
        let known = self.cached(&key);
        let hit = known.is_some();
        let result = match known {
            Some(result) => result,
            None => {
                let tree = stage.tree(store)?;
                let fail = |error: io::Error| {
                    Error::new(Cause::Destination { path: path.clone(), reason: error.to_string() })
                };
                let resolved = resolve(tree.as_ref(), path.as_bytes(), true).map_err(fail)?;
                let uid_gid = if user.is_empty() { (0, 0) } else { owner(&user, tree.as_ref())? };
                let mut items = Items::new();
                make_directories(
                    &mut items,
                    tree.as_ref(),
                    &resolved,
                    uid_gid,
                    self.options.made_at(),
                )?;
                self.layer_of(&items, &Nowhere, &tree)?
            }
        };
        self.conclude(stage, &key, &result, hit, instruction.text.clone())?;
        Ok(hit)
    }

    fn copy_step(
        &mut self,
        transfer: &Transfer<'_>,
        instruction: &Instruction,
        stage: &mut Stage,
    ) -> Result<bool> {
        let mut request = self.request(transfer, stage)?;
        let (origin, place) = self.copy_origin(transfer)?;
        let chown = expand(transfer.chown, stage)?;
        let own_key = format!(
            "{} chown={chown:?} chmod={:?} workdir={} to={:?} made_at={} unpack={}",
            transfer.name,
            request.mode,
            request.workdir,
            request.destination,
            self.options.source_date_epoch.unwrap_or(-1),
            transfer.unpack,
        );
        let workshop = self.workshop;
        // What is read decides: a stage or an image by what made it, a directory by its contents.
        let input_key = match &origin {
            Origin::Stage(from) => {
                let words: Vec<String> =
                    transfer.sources.iter().map(|source| format!("{source:?}")).collect();
                let expanded: Vec<String> = request.sources.iter().map(Source::describe).collect();
                let excluded: Vec<&str> =
                    transfer.exclude.iter().map(|word| word.text.as_str()).collect();
                let text =
                    format!("{} {words:?} {expanded:?} {excluded:?} {}", from.key, request.parents);
                key([text.as_bytes()])
            }
            Origin::Context(context) => {
                let items = plan(&request, context.as_ref(), &Nowhere, &place)
                    .map_err(|error| explain_missing(error, context))?;
                content_key(&items, context.as_ref())
                    .map_err(|error| copy_failed(&place, &error))?
            }
        };
        let key =
            key([stage.key.as_str().as_bytes(), own_key.as_bytes(), input_key.as_str().as_bytes()]);
        let known = self.cached(&key);
        let hit = known.is_some();
        let result = match known {
            Some(result) => result,
            None => {
                let target = stage.tree(&workshop.store)?;
                if let Some(chown) = &chown {
                    request.owner = Some(owner(chown, target.as_ref())?);
                }
                let (from, from_tree);
                let from: &dyn Files = match &origin {
                    Origin::Context(context) => {
                        from = Rc::clone(context);
                        from.as_ref()
                    }
                    Origin::Stage(stage) => {
                        from_tree = stage.tree(&workshop.store)?;
                        from_tree.as_ref()
                    }
                };
                let items = plan(&request, from, target.as_ref(), &place)?;
                self.layer_of(&items, from, &target)?
            }
        };
        self.conclude(stage, &key, &result, hit, instruction.text.clone())?;
        Ok(hit)
    }

    fn copy_origin(&mut self, transfer: &Transfer<'_>) -> Result<(Origin, String)> {
        if let Some(from) = transfer.from {
            let span = dockerfile::Span::line(from.line);
            let source = self.plan.source_named(&from.text, span)?;
            let place = match &source {
                dockerfile::plan::Source::Stage(index) => {
                    let stage =
                        self.plan.stages.get(*index).map(dockerfile::plan::Stage::display_name);
                    format!("stage {}", stage.unwrap_or_default())
                }
                dockerfile::plan::Source::Context(name) => format!("build context {name}"),
                dockerfile::plan::Source::Image(name) => format!("image {name}"),
                dockerfile::plan::Source::Scratch => {
                    let reason = "--from=scratch has no files".to_owned();
                    return Err(Cause::Copy { path: "scratch".to_owned(), reason }.into());
                }
            };
            return match self.origin(&source, span)? {
                Some(origin) => Ok((origin, place)),
                None => Err(Cause::Copy {
                    path: from.text.clone(),
                    reason: "it has no files".to_owned(),
                }
                .into()),
            };
        }
        match &self.context {
            Some(context) => {
                Ok((Origin::Context(Rc::clone(context)), "the build context".to_owned()))
            }
            None => {
                let only_inline =
                    transfer.sources.iter().all(|source| matches!(source, CopySource::Inline(_)));
                let stage = Stage::new(
                    oci::ImageConfig::scratch(),
                    Vec::new(),
                    dockerfile::scope::Scope::new('\\'),
                    key([b"no context".as_slice()]),
                );
                if only_inline {
                    return Ok((Origin::Stage(Rc::new(stage)), "the Dockerfile".to_owned()));
                }
                let reason =
                    "this build has no context (the Dockerfile came from standard input alone)"
                        .to_owned();
                Err(Cause::Copy { path: "the build context".to_owned(), reason }.into())
            }
        }
    }

    fn request(&self, transfer: &Transfer<'_>, stage: &Stage) -> Result<Request> {
        let mut sources = Vec::new();
        for source in transfer.sources {
            sources.push(match source {
                CopySource::Path(word) => Source::Path(stage.scope.expand(word)?.text),
                CopySource::Inline(file) => {
                    let content = if file.expand {
                        dockerfile::expand::body(&file.content, &stage.scope)
                            .map_err(|cause| {
                                Error::new(Cause::Dockerfile(cause))
                                    .on(dockerfile::Span::line(file.line))
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
            instruction: transfer.name,
            sources,
            destination: stage.scope.expand(transfer.destination)?.text,
            workdir: stage.config.config.working_dir.clone(),
            owner: None,
            mode,
            exclude,
            parents: transfer.parents,
            unpack: transfer.unpack,
            made_at: self.options.made_at(),
        })
    }

    /// A whole directory as a layer.
    pub fn directory_layer(&mut self, context: &Rc<Context>) -> Result<Cached> {
        let request = Request {
            instruction: "FROM",
            sources: vec![Source::Path("/".to_owned())],
            destination: "/".to_owned(),
            workdir: "/".to_owned(),
            owner: None,
            mode: None,
            exclude: IgnoreFile::default(),
            parents: false,
            unpack: false,
            made_at: self.options.made_at(),
        };
        let items = plan(&request, context.as_ref(), &Nowhere, "the build context")?;
        self.layer_of(&items, context.as_ref(), &ImageTree::empty(&self.workshop.store)?)
    }

    /// The layer that puts the entries on a tree.
    fn layer_of(&self, items: &Items, from: &dyn Files, lower: &ImageTree) -> Result<Cached> {
        if items.is_empty() {
            return Ok(Cached::Nothing);
        }
        let folder = temporary_folder(&self.workshop.store);
        let fail = |source| Error::new(Cause::Write { path: folder.clone(), source });
        let mut file = tempfile::tempfile_in(&folder).map_err(fail)?;
        write(items, from, io::BufWriter::new(&mut file))
            .map_err(|error| copy_failed("the files", &error))?;
        file.rewind().map_err(fail)?;
        let upper = lower.with(io::BufReader::new(file), "the files to copy", false)?;
        self.difference(lower, &upper)
    }

    /// The layer between two trees.
    pub fn difference(&self, lower: &ImageTree, upper: &ImageTree) -> Result<Cached> {
        let latest = self.options.source_date_epoch;
        let layer = lower.layer_to(upper, &self.workshop.store, latest)?;
        Ok(layer.map_or(Cached::Nothing, Cached::Layer))
    }

    /// Enters a step's result in the stage and, if it is new, in the cache.
    pub fn conclude(
        &self,
        stage: &mut Stage,
        key: &oci::Digest,
        result: &Cached,
        hit: bool,
        by: String,
    ) -> Result<()> {
        if !hit {
            self.remember(key, result);
        }
        stage.key = key.clone();
        let layer = match result {
            Cached::Layer(layer) => Some(layer.clone()),
            Cached::Nothing => None,
        };
        stage.add(&self.workshop.store, layer, self.options.created(), by)
    }
}

fn expand(word: Option<&Word>, stage: &Stage) -> Result<Option<String>> {
    match word {
        Some(word) => Ok(Some(stage.scope.expand(word)?.text)),
        None => Ok(None),
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

fn refuse_remote(add: &dockerfile::Add) -> Result<()> {
    if add.checksum.is_some() {
        return Err(Cause::Unsupported { what: "ADD --checksum".to_owned() }.into());
    }
    for source in &add.sources {
        let CopySource::Path(word) = source else { continue };
        let remote = ["http://", "https://", "git://", "git@", "ssh://"];
        if remote.iter().any(|prefix| word.text.to_ascii_lowercase().starts_with(prefix)) {
            let what = format!("ADD from a URL ({})", word.text);
            let error =
                Error::new(Cause::Unsupported { what }).on(dockerfile::Span::line(word.line));
            return Err(error.hint("fetch it before the build and ADD the local file"));
        }
    }
    Ok(())
}
