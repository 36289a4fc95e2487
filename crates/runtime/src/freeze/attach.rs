//! What a running box has that can be frozen, and what happens when it has come to that.

use super::capture::capture;
use super::freezer::{FreezeError, Freezer, Next};
use super::{Ground, Taken};
use link::{Extent, MEMORY, Segment};
use mux::freeze::{
    END, EXPORT, GO_ON, NEXT_AT, STATE_AT, STATUS_AT, TEXT_AT, TEXT_LEN_AT, UNFIT, VERSION,
    VERSION_AT, WHOLE,
};
use std::fs::File;
use std::ops::Range;
use std::sync::Arc;
use wasmtime::{Caller, Instance, Memory, Store, Val};

/// Longest reason that is passed on, in bytes.
const MAX_TEXT: usize = 4096;

/// A box that can be frozen.
pub struct Freezing {
    freezer: Freezer,
    ground: Ground,
    memory: Memory,
    /// Address of the [`mux::freeze::Moment`].
    moment: usize,
    /// What its memory shows of files, where nobody has written.
    backing: Vec<Extent>,
}

impl Drop for Freezing {
    fn drop(&mut self) {
        self.freezer.end();
    }
}

/// What of a segment is mapped.
pub fn mapped(segment: Segment, mapped: Range<u32>, file: &Arc<File>) -> Option<Extent> {
    let len = mapped.end - mapped.start;
    let offset = segment.offset + u64::from(mapped.start - segment.address);
    (len > 0).then(|| Extent { address: mapped.start, len, file: file.clone(), offset })
}

impl Freezing {
    /// Lets `freezer` freeze a box that has not been started; none if it cannot be frozen.
    pub fn attach<T>(
        store: &mut Store<T>,
        instance: Instance,
        freezer: &Freezer,
        ground: Ground,
        mut backing: Vec<Extent>,
    ) -> Option<Freezing> {
        backing.sort_by_key(|extent| extent.address);
        let memory = instance.get_memory(&mut *store, MEMORY);
        let global = instance.get_global(&mut *store, EXPORT);
        let moment = match global.map(|global| global.get(&mut *store)) {
            Some(Val::I32(address)) => address as u32 as usize,
            _ => 0,
        };
        match memory {
            Some(memory) if word(memory.data(&*store), moment + VERSION_AT) == Some(VERSION) => {
                freezer.begin(None);
                Some(Freezing { freezer: freezer.clone(), ground, memory, moment, backing })
            }
            _ => {
                freezer.begin(Some(FreezeError::Version));
                None
            }
        }
    }

    /// The box has come by, perhaps because its state is whole.
    pub fn visit<T>(&self, caller: &mut Caller<'_, T>) {
        let Freezing { freezer, ground, memory, moment, backing } = self;
        let state = match word(memory.data(&*caller), moment + STATE_AT) {
            Some(state @ (WHOLE | UNFIT)) => state,
            _ => return,
        };
        let Some(take) = freezer.take_asked() else { return };
        let bytes = memory.data(&*caller);
        let taken = match state {
            WHOLE => capture(bytes, backing)
                .map(|extents| Taken {
                    ground: ground.clone(),
                    pages: memory.size(&*caller),
                    extents,
                })
                .map_err(|error| FreezeError::Copy(error.to_string())),
            _ => Err(FreezeError::Unfit(text(bytes, *moment).unwrap_or_default())),
        };
        let can = taken.is_ok();
        let (next, status) = match take(taken) {
            Next::Ends(status) if can => (END, u32::from(status)),
            _ => (GO_ON, 0),
        };
        let bytes = memory.data_mut(&mut *caller);
        set(bytes, moment + STATUS_AT, status);
        set(bytes, moment + NEXT_AT, next);
    }
}

fn text(bytes: &[u8], moment: usize) -> Option<String> {
    let start = word(bytes, moment + TEXT_AT)? as usize;
    let len = (word(bytes, moment + TEXT_LEN_AT)? as usize).min(MAX_TEXT);
    Some(String::from_utf8_lossy(bytes.get(start..start.checked_add(len)?)?).into_owned())
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..at.checked_add(4)?)?.try_into().ok().map(u32::from_le_bytes)
}

fn set(bytes: &mut [u8], at: usize, value: u32) {
    if let Some(place) = bytes.get_mut(at..at + 4) {
        place.copy_from_slice(&value.to_le_bytes());
    }
}
