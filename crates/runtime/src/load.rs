//! From a box to an instance of its code whose memory holds what the box says.

use crate::error::{RunError, start_error};
use crate::identity::{Parts, Source};
use crate::truncated;
use link::{CacheError, CodeCache, Contents, Digest, MEMORY, Segment, place};
use std::ops::Range;
use wasmtime::component::Component;
use wasmtime::{AsContextMut, Instance, InstancePre, Memory, Module};

/// A box's compiled code, and what its memory has to be filled with.
pub struct Loaded {
    /// The code, or the whole box.
    pub module: Module,
    /// Where it is kept.
    pub key: Digest,
    contents: Option<Contents>,
}

/// Loads a core module.
pub fn module(cache: &CodeCache, source: &Source<'_>) -> Result<Loaded, RunError> {
    let key = match source.parts(cache)? {
        Parts::Split(key, contents) => match cache.module(&key, || source.code()) {
            Ok(module) => return Ok(Loaded { module, key, contents: Some(contents) }),
            // Its code may name data that is put into memory; or it is no module either way.
            Err(RunError::Cache(CacheError::Compile(_))) => match source.whole(cache)? {
                Parts::Split(key, _) | Parts::Whole(key) => key,
            },
            Err(error) => return Err(error),
        },
        Parts::Whole(key) => key,
    };
    let module = cache.module(&key, || source.read())?;
    Ok(Loaded { module, key, contents: None })
}

/// Loads a component; where it is kept.
pub fn component(cache: &CodeCache, source: &Source<'_>) -> Result<(Component, Digest), RunError> {
    let (Parts::Split(key, _) | Parts::Whole(key)) = source.parts(cache)?;
    Ok((cache.component(&key, || source.read())?, key))
}

/// Segments and the addresses of each that show pages of the box's file.
pub type Mapped = Vec<(Segment, Range<u32>)>;

/// The memory of an instance that has not been started, with as many more pages as `more` says of those it has, for files to be
/// mapped there.
pub fn grown(
    instance: Instance,
    mut store: impl AsContextMut,
    more: impl FnOnce(u64) -> u64,
) -> Result<Memory, RunError> {
    let missing = || RunError::Start("it exports no memory".to_owned());
    let memory = instance.get_memory(&mut store, MEMORY).ok_or_else(missing)?;
    let more = more(memory.size(&store));
    memory.grow(&mut store, more).map_err(start_error)?;
    truncated::explain();
    Ok(memory)
}

impl Loaded {
    /// The code and what its memory is filled with, if they are apart.
    pub fn into_parts(self) -> Option<(Module, Contents)> {
        Some((self.module, self.contents?))
    }

    /// An instance that has not been started, for which `source` must stay as it is: its memory is mapped. And which addresses of
    /// which segments are.
    pub fn instantiate<T: 'static>(
        &self,
        code: &InstancePre<T>,
        mut store: impl AsContextMut<Data = T>,
        source: &Source<'_>,
    ) -> Result<(Instance, Mapped), RunError> {
        let instance = code.instantiate(&mut store).map_err(start_error)?;
        let mut mapped = Vec::new();
        let Some(contents) = &self.contents else { return Ok((instance, mapped)) };
        let memory = grown(instance, &mut store, |_| contents.pages)?;
        for segment in &contents.segments {
            let range = place(&mut store, memory, *segment, source.content());
            mapped.push((*segment, range.map_err(|error| source.error(error))?));
        }
        Ok((instance, mapped))
    }
}
