//! The state of a box, from which others start.

use crate::error::{RunError, start_error};
use crate::exec::Attach;
use crate::freeze::{self, FreezeError, FreezeOn, Freezer, Freezing, Ground, Next, Taken, mapped};
use crate::identity::{Form, Source};
use crate::load::{self, grown};
use crate::options::RunOptions;
use crate::preview1::{self, State};
use crate::run::{Outcome, Sinks, call_start, listen, module_store};
use crate::translator::Translation;
use link::{CodeCache, Content, Extent, LinkError, MEMORY, Segment, place, populate};
use std::io::Write;
use std::sync::{Arc, OnceLock, mpsc};
use std::time::SystemTime;
use wasmtime::{ExternType, Instance, InstancePre, Store};

/// The state of a box that was frozen: an image of its memory, which boxes that start from it share until they write. Clones are the same
/// one. What came unchanged from the box's file is mapped from there, so that must stay as it is.
#[derive(Clone)]
pub struct Frozen(Arc<Inner>);

struct Inner {
    taken: Taken,
    /// The code with what it imports, once somebody has asked for it.
    code: OnceLock<InstancePre<State>>,
    at: SystemTime,
}

/// Pages that a life may write to for others to have theirs ahead: 16 MiB.
const MOST_AHEAD: usize = 4096;

impl Freezer {
    /// Lets the box come to a point between two steps and gives `take` its state there, on the thread that runs the box. Waits until that
    /// was done; what `take` gives back beside what the box does next comes back.
    ///
    /// # Errors
    /// There is no state to be had, and the box, unless it has ended, goes on.
    pub fn freeze<T: Send + 'static>(
        &self,
        take: impl FnOnce(Frozen) -> (Next, T) + Send + 'static,
    ) -> Result<T, FreezeError> {
        let (tell, told) = mpsc::channel();
        self.ask(Box::new(move |taken| {
            let (next, answer) = match taken {
                Ok(taken) => {
                    let (next, answer) = take(Frozen::new(taken));
                    (next, Ok(answer))
                }
                Err(error) => (Next::GoesOn, Err(error)),
            };
            // Nobody waits for it if the caller is gone.
            let _ = tell.send(answer);
            next
        }))?;
        told.recv().unwrap_or(Err(FreezeError::Over))
    }

    /// Has `take` called, on the thread that runs the box, with its state, or why there is none, when one of these comes to pass for the
    /// first time.
    pub fn expect(
        &self,
        when: &[FreezeOn],
        take: impl FnOnce(Result<Frozen, FreezeError>) -> Next + Send + 'static,
    ) {
        self.expect_state(when, Box::new(move |taken| take(taken.map(Frozen::new))));
    }
}

/// A box that has started from a [`Frozen`] one, before its first step.
pub struct Fork {
    ground: Ground,
    store: Store<State>,
    instance: Instance,
    sinks: Sinks,
    translation: Translation,
}

impl Frozen {
    fn new(taken: Taken) -> Frozen {
        Frozen(Arc::new(Inner { taken, code: OnceLock::new(), at: SystemTime::now() }))
    }

    /// The state in which the box in `source` starts.
    pub(crate) fn of(cache: &CodeCache, source: &Source<'_>) -> Result<Frozen, RunError> {
        let loaded = match source.form {
            Form::Module => load::module(cache, source)?,
            Form::Component => return Err(RunError::Whole("a component")),
        };
        let (code, contents) =
            loaded.into_parts().ok_or(RunError::Whole("not a box of boxer's"))?;
        let file = source.keep().map_err(|error| source.error(error))?;
        let there = match code.get_export(MEMORY) {
            Some(ExternType::Memory(memory)) => memory.minimum(),
            _ => 0,
        };
        let extents = contents.segments.iter().map(|segment| {
            let Segment { address, len, offset } = *segment;
            Extent { address, len, file: file.clone(), offset }
        });
        let extents = extents.collect();
        let ground = Ground::new(cache.clone(), code, file);
        Ok(Frozen::new(Taken { ground, pages: there + contents.pages, extents }))
    }

    fn code(&self) -> Result<&InstancePre<State>, RunError> {
        let Inner { taken: Taken { ground, .. }, code, .. } = &*self.0;
        if let Some(code) = code.get() {
            return Ok(code);
        }
        let linker = preview1::linker(&ground.cache)?;
        let made = linker.instantiate_pre(&ground.code).map_err(start_error)?;
        Ok(code.get_or_init(|| made))
    }

    /// Starts a box that goes on from here, with its own entropy. Its arguments and what else is for the first program cannot be given
    /// any more.
    ///
    /// # Errors
    /// What it is given cannot be had, or there is no memory.
    pub fn start(&self, options: RunOptions) -> Result<Fork, RunError> {
        let (freezer, attach) = (options.freezer.clone(), options.attach.clone());
        self.start_with(options).inspect_err(|_| {
            freezer.iter().for_each(Freezer::end);
            attach.iter().for_each(Attach::end);
        })
    }

    fn start_with(&self, mut options: RunOptions) -> Result<Fork, RunError> {
        let Taken { ground, pages, extents } = &self.0.taken;
        options.descriptors.extend(options.attach.as_ref().and_then(Attach::descriptor));
        let freezer = listen(&mut options)?;
        let translation = options.translation.clone();
        let (mut store, sinks) = module_store(&ground.cache, options)?;
        let instance = self.code()?.instantiate(&mut store).map_err(start_error)?;
        let memory = grown(instance, &mut store, |there| pages.saturating_sub(there))?;
        let (maps, copies) = freeze::lay(extents);
        let mut backing = Vec::new();
        let mut put = |store: &mut Store<State>, extent: &Extent| -> Result<(), RunError> {
            let Extent { address, len, ref file, offset } = *extent;
            let segment = Segment { address, len, offset };
            let range = place(store, memory, segment, Content::File(file))
                .map_err(|error| RunError::Start(format!("its state cannot be read: {error}")))?;
            backing.extend(mapped(segment, range, file));
            Ok(())
        };
        maps.iter().try_for_each(|extent| put(&mut store, extent))?;
        populate(&mut store, memory, ground.written.get().map_or(&[], Vec::as_slice));
        copies.iter().try_for_each(|extent| put(&mut store, extent))?;
        if let Some(freezer) = freezer {
            let freezing =
                Freezing::attach(&mut store, instance, &freezer, ground.clone(), backing);
            store.data_mut().freeze_by(freezer, freezing);
        }
        let ground = ground.clone();
        Ok(Fork { ground, store, instance, sinks, translation })
    }

    /// Writes it as a box, a module that any host runs.
    ///
    /// # Errors
    /// The box is not like ours, or `out` takes no more.
    pub fn write(&self, out: &mut dyn Write) -> Result<(), LinkError> {
        let Inner { taken: Taken { ground, pages, extents }, at, .. } = &*self.0;
        let content = Content::File(&ground.source);
        let io = |source| LinkError::Io { what: "read the box", source };
        let parent = link::hex(&content.digest().map_err(io)?);
        let life = link::inspect(&mut &*ground.source)?.life_json.unwrap_or_default();
        let number = number(&life).saturating_add(1);
        let at = at.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |time| time.as_secs());
        let life =
            format!("{{\"number\":{number},\"parent\":\"sha256:{parent}\",\"frozenAt\":{at}}}");
        link::refill(content, *pages, extents, life.as_bytes(), out)
    }

    /// Bytes of memory that are not in the box's file.
    pub fn own_bytes(&self) -> u64 {
        let Taken { ground, extents, .. } = &self.0.taken;
        let own = extents.iter().filter(|extent| !Arc::ptr_eq(&extent.file, &ground.source));
        own.map(|extent| u64::from(extent.len)).sum()
    }
}

impl Fork {
    /// Runs it to its end.
    ///
    /// # Errors
    /// See [`RunError`].
    pub fn run(mut self) -> Result<Outcome, RunError> {
        let Ground { cache, written, .. } = &self.ground;
        let status = call_start(cache, &mut self.store, self.instance, &self.translation);
        written.get_or_init(|| {
            let memory = self.instance.get_memory(&mut self.store, MEMORY);
            let bytes = memory.map(|memory| memory.data(&self.store)).unwrap_or_default();
            freeze::written(bytes, MOST_AHEAD)
        });
        let status = status?;
        Ok(self.sinks.outcome(status))
    }
}

/// The number of a life, by its section.
fn number(json: &[u8]) -> u32 {
    let text = std::str::from_utf8(json).unwrap_or_default();
    let rest = text.split_once("\"number\":").map_or("", |(_, rest)| rest.trim_start());
    let digits = rest.find(|c: char| !c.is_ascii_digit()).map_or(rest, |end| &rest[..end]);
    digits.parse().unwrap_or(0)
}
