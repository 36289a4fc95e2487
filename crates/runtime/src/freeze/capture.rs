//! What lies in a box's memory, without copying what still lies in the file that it was mapped from.

use link::{Extent, PAGE};
use rustix::fs::{MemfdFlags, memfd_create};
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

/// Pages that lie between changed ones are copied with them if they are no more than this; the second where there would be too many runs.
const GAPS: [usize; 2] = [1, 8];
/// Runs of changed pages that are many: a box's file that is made of them has a segment for each.
const MANY: usize = 8192;

/// Pages that lie between some that are populated are populated with them if they are no more than this.
const NEAR: usize = 1;

/// Entries of the page map that are read at once.
const ENTRIES: usize = 8192;

/// The contents of a memory, of whose pages `backing` (in order of address, whole pages) shows those that nobody has written to: where
/// they are, in the same form. What is nowhere yet is copied into memory of its own.
///
/// # Errors
/// There is no memory for the copy.
pub fn capture(bytes: &[u8], backing: &[Extent]) -> io::Result<Vec<Extent>> {
    let pages = bytes.len() / PAGE;
    let mut covered = vec![false; pages];
    for extent in backing {
        let first = extent.address as usize / PAGE;
        let end = first + extent.len as usize / PAGE;
        covered.get_mut(first..end).unwrap_or_default().fill(true);
    }
    // Where this system does not tell, every page may have been written to.
    let private = private_pages(bytes).unwrap_or_else(|_| vec![true; pages]);
    let copied = |page: usize| {
        private[page] && (covered[page] || !is_zero(&bytes[page * PAGE..(page + 1) * PAGE]))
    };
    let changed: Vec<usize> = (0..pages).filter(|page| copied(*page)).collect();
    let [near, far] = GAPS;
    let mut runs = runs_of(&changed, near);
    if runs.len() > MANY {
        runs = runs_of(&changed, far);
    }
    let file = Arc::new(File::from(memfd_create("boxer-frozen", MemfdFlags::CLOEXEC)?));
    let mut extents = Vec::new();
    let mut offset = 0;
    for run in &runs {
        let part = &bytes[run.start * PAGE..run.end * PAGE];
        file.write_all_at(part, offset)?;
        // Memories end below 4 GiB, or there, where no run of pages that are all in use begins at 0.
        let (address, len) = ((run.start * PAGE) as u32, part.len() as u32);
        extents.push(Extent { address, len, file: file.clone(), offset });
        offset += part.len() as u64;
    }
    extents.extend(backing.iter().flat_map(|extent| left(extent, &runs)));
    extents.sort_by_key(|extent| extent.address);
    Ok(extents)
}

/// Pages in order as runs, in which up to `gap` others lie between two.
fn runs_of(pages: &[usize], gap: usize) -> Vec<Range<usize>> {
    let mut runs: Vec<Range<usize>> = Vec::new();
    for &page in pages {
        match runs.last_mut() {
            Some(run) if page - run.end <= gap => run.end = page + 1,
            _ => runs.push(page..page + 1),
        }
    }
    runs
}

/// The pages that were written to, as ranges of addresses in order; few that were not lie between. None if they are more than `most`, or nobody
/// tells.
pub fn written(bytes: &[u8], most: usize) -> Vec<Range<u32>> {
    let private = private_pages(bytes).unwrap_or_default();
    let pages = private.iter().enumerate().filter_map(|(page, private)| private.then_some(page));
    let runs = runs_of(&pages.collect::<Vec<_>>(), NEAR);
    let total: usize = runs.iter().map(Range::len).sum();
    if total > most {
        return Vec::new();
    }
    let address = |page: usize| (page * PAGE).min(u32::MAX as usize) as u32;
    runs.into_iter().map(|run| address(run.start)..address(run.end)).collect()
}

/// The parts of an extent that are not in `runs`, which are in order.
fn left(extent: &Extent, runs: &[Range<usize>]) -> Vec<Extent> {
    let end = extent.address as usize + extent.len as usize;
    let mut at = extent.address as usize;
    let mut parts = Vec::new();
    let mut keep = |from: usize, to: usize| {
        if from < to {
            let offset = extent.offset + (from - extent.address as usize) as u64;
            let (address, len) = (from as u32, (to - from) as u32);
            parts.push(Extent { address, len, file: extent.file.clone(), offset });
        }
    };
    let first = runs.partition_point(|run| run.end * PAGE <= at);
    for run in runs.get(first..).unwrap_or_default() {
        let start = run.start * PAGE;
        if start >= end {
            break;
        }
        keep(at, start);
        at = (run.end * PAGE).min(end);
    }
    keep(at, end);
    parts
}

fn is_zero(page: &[u8]) -> bool {
    // In words: the compiler makes vectors of them.
    page.as_chunks().0.iter().all(|word| u128::from_ne_bytes(*word) == 0)
}

/// For each page whether it is this process's own: neither untouched nor a file's. (Linux, `Documentation/admin-guide/mm/pagemap.rst`)
fn private_pages(bytes: &[u8]) -> io::Result<Vec<bool>> {
    const ENTRY: usize = 8;
    const PRESENT: u64 = 1 << 63;
    const SWAPPED: u64 = 1 << 62;
    const FILE: u64 = 1 << 61;
    if rustix::param::page_size() != PAGE || !bytes.as_ptr().addr().is_multiple_of(PAGE) {
        return Err(io::ErrorKind::Unsupported.into());
    }
    let map = File::open("/proc/self/pagemap")?;
    let first = bytes.as_ptr().addr() / PAGE;
    let pages = bytes.len() / PAGE;
    let mut private = Vec::with_capacity(pages);
    let mut buffer = vec![0; ENTRIES * ENTRY];
    while private.len() < pages {
        let part = buffer.len().min((pages - private.len()) * ENTRY);
        let part = &mut buffer[..part];
        map.read_exact_at(part, ((first + private.len()) * ENTRY) as u64)?;
        private.extend(part.as_chunks::<ENTRY>().0.iter().map(|entry| {
            let entry = u64::from_le_bytes(*entry);
            entry & (PRESENT | SWAPPED) != 0 && entry & FILE == 0
        }));
    }
    Ok(private)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test")]
mod tests {
    use super::*;
    use link::{Content, Segment, place};
    use wasmtime::{Memory, MemoryType, Store};

    const FILE_PAGES: usize = 64;

    fn content(extents: &[Extent], len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        let mut end = 0;
        for extent in extents {
            assert!(extent.address as usize >= end, "they overlap");
            end = extent.address as usize + extent.len as usize;
            let place = &mut bytes[extent.address as usize..end];
            extent.file.read_exact_at(place, extent.offset).unwrap();
        }
        bytes
    }

    #[test]
    fn what_was_not_written_to_stays_in_its_file() {
        let engine = link::engine().unwrap();
        let mut store = Store::new(&engine, ());
        let memory = Memory::new(&mut store, MemoryType::new(16, None)).unwrap();
        let file = tempfile::tempfile().unwrap();
        let bytes: Vec<u8> = (0..FILE_PAGES * PAGE).map(|n| (n / 7) as u8 | 1).collect();
        file.write_all_at(&bytes, 0).unwrap();
        let len = bytes.len() as u32;
        let segment = Segment { address: PAGE as u32, len, offset: 0 };
        let mapped = place(&mut store, memory, segment, Content::File(&file)).unwrap();
        assert_eq!(mapped, PAGE as u32..PAGE as u32 + len);
        let file = Arc::new(file);
        let base = Extent { address: PAGE as u32, len, file: file.clone(), offset: 0 };
        let data = memory.data_mut(&mut store);
        let read: u32 = data.iter().map(|byte| u32::from(*byte)).sum();
        assert!(read > 0);
        // One page of the file is cleared, and one far from it changed; one page elsewhere is written to.
        data[11 * PAGE..12 * PAGE].fill(0);
        data[40 * PAGE + 5] = 99;
        data[200 * PAGE] = 7;
        let first = capture(data, &[base]).unwrap();
        assert!(content(&first, data.len()) == data);
        let copied = |extents: &[Extent]| -> usize {
            let own = extents.iter().filter(|extent| !Arc::ptr_eq(&extent.file, &file));
            own.map(|extent| extent.len as usize).sum()
        };
        let told = private_pages(data).is_ok();
        assert_eq!(copied(&first), if told { 3 * PAGE } else { (FILE_PAGES + 1) * PAGE });
        // Without what it was mapped from, all is copied.
        let whole = capture(data, &[]).unwrap();
        assert!(content(&whole, data.len()).len() == data.len());
    }

    #[test]
    fn extents_are_cut() {
        let file = Arc::new(tempfile::tempfile().unwrap());
        let (address, len) = (10 * PAGE as u32, 10 * PAGE as u32);
        let extent = Extent { address, len, file, offset: 4096 };
        let cut = |runs: &[Range<usize>]| -> Vec<(usize, usize, u64)> {
            let pages = |n: u32| n as usize / PAGE;
            left(&extent, runs)
                .iter()
                .map(|part| (pages(part.address), pages(part.len), part.offset / PAGE as u64))
                .collect()
        };
        assert_eq!(cut(&[]), [(10, 10, 1)]);
        assert_eq!(cut(&[0..5, 30..31]), [(10, 10, 1)]);
        assert_eq!(cut(&[0..11, 13..14, 19..40]), [(11, 2, 2), (14, 5, 5)]);
        assert_eq!(cut(&[5..15, 15..40]), []);
    }
}
