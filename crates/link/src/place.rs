//! Puts bytes of a file into linear memory without reading them: their pages are mapped there, and copied when somebody
//! writes to them.
#![allow(unsafe_code)] // mmap(2), below

use crate::Content;
use rustix::mm::{Advice, MapFlags, MremapFlags, ProtFlags, madvise, mmap, mremap_fixed, munmap};
use std::fs::File;
use std::io;
use std::ops::Range;
use std::ptr::null_mut;
use std::sync::Arc;
use wasmtime::{AsContextMut, Memory};

/// Pages are mapped whole.
pub const PAGE: usize = 4096;

/// Fewer bytes than this are sooner copied than mapped.
pub const WORTH_MAPPING: usize = 16 * PAGE;

/// Some of linear memory, and where its bytes come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    /// First byte in linear memory.
    pub address: u32,
    /// Number of bytes.
    pub len: u32,
    /// Place of the first byte in the [`Content`].
    pub offset: u64,
}

/// Bytes of linear memory and where they lie in a file.
#[derive(Clone, Debug)]
pub struct Extent {
    /// First byte in linear memory.
    pub address: u32,
    /// Number of bytes.
    pub len: u32,
    /// Where they are.
    pub file: Arc<File>,
    /// Place of the first one there.
    pub offset: u64,
}

/// Gives a part of `memory` the bytes of `content` that `segment` says, and tells which addresses show pages of the file now. Whole pages are mapped where address and offset have
/// the same place in a page; all else is copied. Nothing else of the file can be seen in memory. What is written to the
/// file while it is mapped may or may not show, and reading beyond its end when it has become shorter is SIGBUS.
///
/// # Errors
/// The segment does not fit the memory, or the content cannot be read or has fewer bytes.
pub fn place(
    mut store: impl AsContextMut,
    memory: Memory,
    segment: Segment,
    content: Content<'_>,
) -> io::Result<Range<u32>> {
    let Segment { address, len, offset } = segment;
    let (address, len) = (address as usize, len as usize);
    let bytes = memory
        .data_mut(store.as_context_mut())
        .get_mut(address..)
        .and_then(|bytes| bytes.get_mut(..len));
    let bytes = bytes.ok_or_else(|| io::Error::other("a segment lies outside of memory"))?;
    if let Content::File(file) = content
        && len >= WORTH_MAPPING
        && address as u64 % PAGE as u64 == offset % PAGE as u64
        && file.metadata()?.len().checked_sub(offset).is_some_and(|left| left >= len as u64)
    {
        let head = address.next_multiple_of(PAGE) - address;
        let pages = (len - head) / PAGE * PAGE;
        if map(&mut bytes[head..head + pages], file, offset + head as u64).is_ok() {
            content.read_at(&mut bytes[..head], offset)?;
            let tail = head + pages;
            content.read_at(&mut bytes[tail..], offset + tail as u64)?;
            // No more than the segment's, which are 32 bits.
            return Ok((address + head) as u32..(address + tail) as u32);
        }
    }
    content.read_at(bytes, offset)?;
    Ok(segment.address..segment.address)
}

/// Lets pages be there that will be written to: all at once, which costs less than one after the other when that happens. What cannot be had
/// so is had then.
pub fn populate(mut store: impl AsContextMut, memory: Memory, ranges: &[Range<u32>]) {
    let bytes = memory.data_mut(store.as_context_mut());
    for range in ranges {
        let pages = bytes.get_mut(range.start as usize..range.end as usize).unwrap_or_default();
        let start = pages.as_mut_ptr();
        if pages.is_empty() || !start.addr().is_multiple_of(PAGE) {
            continue;
        }
        // SAFETY: The pages are exclusively borrowed; what they hold does not change.
        let done = unsafe { madvise(start.cast(), pages.len(), Advice::LinuxPopulateWrite) };
        if done.is_err() {
            return;
        }
    }
}

/// Replaces whole pages of a linear memory by a file's, at `offset`, which must be in it.
fn map(pages: &mut [u8], file: &File, offset: u64) -> io::Result<()> {
    let start = pages.as_mut_ptr();
    if !start.addr().is_multiple_of(PAGE) || !pages.len().is_multiple_of(PAGE) {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let protection = ProtFlags::READ | ProtFlags::WRITE;
    let flags = MapFlags::PRIVATE | MapFlags::NORESERVE;
    // SAFETY: The pages are exclusively borrowed and belong to a linear memory. With `engine`'s settings that is an anonymous
    // mapping of wasmtime's, accessible there, which it unmaps as a whole and does not move (4 GiB are reserved). So what is
    // replaced are private, writable pages by private, writable pages with other bytes.
    unsafe {
        // First elsewhere: a file system that maps no files may say so when what was there before is gone.
        let elsewhere = mmap(null_mut(), pages.len(), protection, flags, file, offset)?;
        let move_it = MremapFlags::MAYMOVE;
        let moved = mremap_fixed(elsewhere, pages.len(), pages.len(), move_it, start.cast());
        if let Err(error) = moved {
            let _ = munmap(elsewhere, pages.len());
            return Err(error.into());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use wasmtime::{Engine, MemoryType, Store};

    const PAGES: usize = 40;

    /// `PAGES` pages and a bit, no two alike.
    fn file() -> (File, Vec<u8>) {
        let bytes: Vec<u8> =
            (0..(PAGES * PAGE + 100) as u32).map(|n| (n ^ (n / PAGE as u32)) as u8 | 1).collect();
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&bytes).unwrap();
        (file, bytes)
    }

    fn memory(engine: &Engine) -> (Store<()>, Memory) {
        let mut store = Store::new(engine, ());
        let memory = Memory::new(&mut store, MemoryType::new(4, None)).unwrap();
        (store, memory)
    }

    #[test]
    fn a_file_s_bytes_are_in_memory_and_nothing_else() {
        let engine = crate::engine().unwrap();
        let (file, bytes) = file();
        for (address, offset, len) in [
            (PAGE, 0, PAGES * PAGE),
            (PAGE + 10, 10, PAGES * PAGE + 50),
            (2 * PAGE - 3, PAGE - 3, 20 * PAGE),
            (10, 0, 30 * PAGE),
            (PAGE, PAGE, 7),
            (4 * 65536, 0, 0),
        ] {
            let (mut store, memory) = memory(&engine);
            let segment =
                Segment { address: address as u32, len: len as u32, offset: offset as u64 };
            for content in [Content::File(&file), Content::Bytes(&bytes)] {
                place(&mut store, memory, segment, content).unwrap();
                let data = memory.data_mut(&mut store);
                assert!(data[address..address + len] == bytes[offset..offset + len], "{segment:?}");
                assert!(data[..address].iter().all(|byte| *byte == 0), "before {segment:?}");
                assert!(data[address + len..].iter().all(|byte| *byte == 0), "after {segment:?}");
                data[address..address + len].fill(0);
            }
        }
        assert!(Content::File(&file).bytes_at(0, bytes.len() as u64).unwrap() == bytes);
    }

    #[test]
    fn what_is_mapped_grows_with_memory_and_leaves_the_file_alone() {
        let engine = crate::engine().unwrap();
        let (file, bytes) = file();
        let (mut store, memory) = memory(&engine);
        let segment = Segment { address: 0, len: (PAGES * PAGE) as u32, offset: 0 };
        place(&mut store, memory, segment, Content::File(&file)).unwrap();
        memory.data_mut(&mut store)[5 * PAGE] = 99;
        memory.grow(&mut store, 1000).unwrap();
        let data = memory.data(&store);
        assert_eq!(data[5 * PAGE], 99);
        assert!(data[6 * PAGE..PAGES * PAGE] == bytes[6 * PAGE..PAGES * PAGE]);
        assert!(Content::File(&file).bytes_at(0, bytes.len() as u64).unwrap() == bytes);
    }

    #[test]
    fn what_does_not_fit_or_is_not_there_is_refused() {
        let engine = crate::engine().unwrap();
        let (file, bytes) = file();
        let (mut store, memory) = memory(&engine);
        let (len, end) = ((20 * PAGE) as u32, bytes.len() as u64);
        for content in [Content::File(&file), Content::Bytes(&bytes)] {
            for (address, offset) in
                [(4 * 65536 - len + 1, 0), (u32::MAX, 0), (0, end - 1), (0, u64::MAX - 5)]
            {
                let segment = Segment { address, len, offset };
                place(&mut store, memory, segment, content).unwrap_err();
            }
        }
    }
}
