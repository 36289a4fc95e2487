//! Code that a training did not find hot, of the programs and libraries in which it found something: all of it, or what is
//! hot in most programs.

use crate::training::{Besides, Hot, Trained};
use rootfs::{FileType, Image, Nid};
use std::collections::{BTreeMap, BTreeSet};
use translate::CpuLevel;
use translate::program::{Placement, Program, Which};

/// Most directories that may lie in each other.
const DEPTH: usize = 256;

impl Trained {
    /// Adds functions of the files in `image` that regions were found in, at the addresses where they were mapped. No time
    /// was spent in these, so they come last; those that are always hot before others.
    pub(crate) fn add_whole(&mut self, image: &[u8], besides: Besides, level: CpuLevel) {
        let Ok(image) = Image::open(image) else { return };
        let files = files(image);
        let program = |(start, biases)| Some((start, biases, Program::new(files.get(&start)?)?));
        let programs: Vec<_> = self.places(&files).into_iter().filter_map(program).collect();
        self.add_functions(&programs, Which::Hot, level);
        if besides == Besides::All {
            self.add_functions(&programs, Which::All, level);
        }
    }

    /// Of programs, each with the place of its file in the image and what was added to its addresses.
    fn add_functions(
        &mut self,
        programs: &[(u32, BTreeSet<u64>, Program<'_>)],
        which: Which,
        level: CpuLevel,
    ) {
        // Of a function that was found hot only a part may be known.
        let found = |region: &&Hot| which == Which::Hot || region.share.is_none();
        let regions = self.regions.iter().filter(found);
        let mut known: BTreeSet<(u64, u32)> = regions.filter_map(Hot::root).collect();
        for (start, biases, program) in programs {
            for &bias in biases {
                let at = Placement { phys: *start, bias };
                let (requests, pages) =
                    program.requests(at, which, level, |pc, phys| known.contains(&(pc, phys)));
                for request in requests {
                    let region = Hot { request, share: None };
                    known.extend(region.root());
                    self.regions.push(region);
                }
                for (page, content) in pages {
                    self.pages.entry(page).or_insert(content);
                }
            }
        }
    }

    /// The programs that regions lie in, by the place of their file in the image, with what was added to their addresses.
    fn places(&self, files: &BTreeMap<u32, &[u8]>) -> BTreeMap<u32, BTreeSet<u64>> {
        let mut places: BTreeMap<u32, BTreeSet<u64>> = BTreeMap::new();
        // Few are looked at twice: regions of a program lie beside each other.
        let mut last: Option<(u32, Option<Program<'_>>)> = None;
        for block in self.regions.iter().filter_map(|region| region.request.blocks.first()) {
            let Some((&start, bytes)) = files.range(..=block.phys).next_back() else { continue };
            if last.as_ref().is_none_or(|(known, _)| *known != start) {
                last = Some((start, Program::headers(bytes)));
            }
            let program = last.as_ref().and_then(|(_, program)| program.as_ref());
            let bias = program.and_then(|p| p.bias(u64::from(block.phys - start), block.pc));
            if let Some(bias) = bias {
                places.entry(start).or_default().insert(bias);
            }
        }
        places
    }
}

/// Files that are not empty, by the place of their first byte in the image.
fn files(image: Image<'_>) -> BTreeMap<u32, &[u8]> {
    let mut files = BTreeMap::new();
    let mut seen: BTreeSet<Nid> = BTreeSet::new();
    let mut todo = vec![(image.root(), 0)];
    while let Some((dir, depth)) = todo.pop() {
        let Ok(entries) = image.read_dir(dir) else { continue };
        for entry in entries.map_while(Result::ok) {
            let is_dir = entry.kind == FileType::Directory;
            if entry.name == b"." || entry.name == b".." || !seen.insert(entry.nid) {
                continue;
            }
            if is_dir && depth < DEPTH {
                todo.push((entry.nid, depth + 1));
            } else if entry.kind == FileType::Regular
                && let (Ok(offset), Ok(bytes)) =
                    (image.data_offset(entry.nid), image.data(entry.nid))
                && let Ok(offset) = u32::try_from(offset)
                && !bytes.is_empty()
            {
                files.insert(offset, bytes);
            }
        }
    }
    files
}
