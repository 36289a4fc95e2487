//! What lies on a box's desk. Every address and length in it is the box's word, and checked.

use std::collections::VecDeque;
use translate::desk::{Desk, Field, Install, MAX_HEAT, MAX_TALLY, Request};
use translate::{CpuLevel, Layout, Pages, Source};

/// Words of requests that are read at a time: more than a box of ours ever has there.
const MAX_WORDS: usize = 1 << 17;
/// Requests that are looked at at a time.
const MAX_REQUESTS: usize = 256;
/// Pages that one region may come from.
const MAX_PAGES: usize = 256;
/// Answers written at a time.
const MAX_ANSWERS: u32 = 4096;

/// A box's memory, and its desk in it.
pub struct View<'a> {
    bytes: &'a mut [u8],
    desk: u32,
}

impl<'a> View<'a> {
    /// The desk at this address.
    pub fn new(bytes: &'a mut [u8], desk: u32) -> View<'a> {
        View { bytes, desk }
    }

    fn place(&mut self, field: Field) -> Option<&mut [u8; 4]> {
        const { assert!(size_of::<Desk>() < 1 << 16) };
        let at = self.desk.checked_add(field.offset())? as usize;
        self.bytes.get_mut(at..)?.first_chunk_mut()
    }

    /// A word; none if the desk is not in memory.
    pub fn get(&mut self, field: Field) -> Option<u32> {
        self.place(field).map(|bytes| u32::from_le_bytes(*bytes))
    }

    /// Sets a word.
    pub fn set(&mut self, field: Field, value: u32) -> Option<()> {
        *self.place(field)? = value.to_le_bytes();
        Some(())
    }

    fn range(&self, address: u32, len: usize) -> Option<std::ops::Range<usize>> {
        let start = address as usize;
        let end = start.checked_add(len)?;
        (end <= self.bytes.len()).then_some(start..end)
    }

    /// The tally.
    pub fn tally(&mut self) -> Option<Vec<u32>> {
        self.words(Field::TallyPtr, Field::TallyLen, MAX_TALLY)
    }

    /// The words that lie at an address on the desk, at most so many.
    fn words(&mut self, address: Field, len: Field, most: usize) -> Option<Vec<u32>> {
        let (address, len) = (self.get(address)?, self.get(len)?);
        let len = usize::try_from(len).ok().filter(|len| *len <= most)?;
        let bytes = self.bytes.get(self.range(address, len * 4)?)?;
        Some(bytes.as_chunks().0.iter().map(|word| u32::from_le_bytes(*word)).collect())
    }

    fn requests(&mut self) -> Option<Vec<u64>> {
        let (address, len) = (self.get(Field::RequestsPtr)?, self.get(Field::RequestsLen)?);
        let len = usize::try_from(len).ok().filter(|len| *len <= MAX_WORDS)?;
        let bytes = self.bytes.get(self.range(address, len * 8)?)?;
        Some(bytes.as_chunks().0.iter().map(|word| u64::from_le_bytes(*word)).collect())
    }

    fn layout(&mut self) -> Option<Layout> {
        Some(Layout {
            cpu: self.get(Field::Cpu)?,
            read: self.get(Field::ReadTable)?,
            write: self.get(Field::WriteTable)?,
            shared: self.get(Field::Shared)?,
            helper: self.get(Field::Helper)?,
        })
    }

    /// Copies of the pages that a request needs; none if there are too many, or one lies nowhere.
    fn pages(&self, request: &Request) -> Option<Pages> {
        let mut pages = Pages::new();
        for page in Source::pages_of(request) {
            if pages.contains_key(&page) {
                continue;
            }
            if pages.len() >= MAX_PAGES {
                return None;
            }
            let bytes = self.bytes.get(page as usize..)?.first_chunk()?;
            pages.insert(page, Box::new(*bytes));
        }
        Some(pages)
    }
}

/// What a box wants.
#[derive(Default)]
pub struct Asked {
    /// Where things lie in it.
    pub layout: Layout,
    /// Its processor.
    pub level: CpuLevel,
    /// The regions.
    pub sources: Vec<Source>,
    /// Regions that cannot be had.
    pub refused: Vec<u32>,
    /// Regions asked for earlier, as often as they were found to be hot.
    pub heat: Vec<u32>,
}

/// Reads the requests. A desk or request that makes no sense ends the list.
pub fn take(mut view: View<'_>) -> Asked {
    let heat = view.words(Field::HeatPtr, Field::HeatLen, MAX_HEAT).unwrap_or_default();
    let mut asked = Asked { heat, ..Asked::default() };
    let (Some(words), Some(layout)) = (view.requests(), view.layout()) else { return asked };
    asked.layout = layout;
    if view.get(Field::Level) == Some(3) {
        asked.level = CpuLevel::V3;
    }
    let mut words = words.into_iter();
    while let Some(request) = Request::decode(&mut words) {
        if asked.sources.len() + asked.refused.len() >= MAX_REQUESTS {
            break;
        }
        match view.pages(&request) {
            Some(pages) => asked.sources.push(Source { request, pages }),
            None => asked.refused.push(request.id),
        }
    }
    asked
}

/// Writes as many answers as there is room for.
pub fn answer(view: &mut View<'_>, answers: &mut VecDeque<Install>) -> Option<()> {
    let (address, room) = (view.get(Field::InstallsPtr)?, view.get(Field::InstallsCap)?);
    let count = room.min(MAX_ANSWERS).min(answers.len() as u32);
    let place = view.range(address, count as usize * 8)?;
    for (place, Install { id, slot }) in
        view.bytes[place].as_chunks_mut().0.iter_mut().zip(answers.drain(..count as usize))
    {
        *place = (u64::from(id) | u64::from(slot) << 32).to_le_bytes();
    }
    view.set(Field::InstallsLen, count)
}

#[cfg(test)]
mod tests {
    use super::*;
    use translate::desk::BlockAt;

    const DESK: u32 = 0x100;
    const REQUESTS: u32 = 0x1000;
    const ANSWERS: u32 = 0x2000;

    /// Memory of 16 pages with one request of one block on the desk.
    fn memory(block: BlockAt) -> Vec<u8> {
        let mut bytes = vec![0; 16 << 12];
        let mut words = Vec::new();
        Request { id: 5, root: block.pc, blocks: vec![block], ..Request::default() }
            .encode(&mut words);
        for (n, word) in words.iter().enumerate() {
            let at = REQUESTS as usize + 8 * n;
            bytes[at..at + 8].copy_from_slice(&word.to_le_bytes());
        }
        let mut view = View::new(&mut bytes, DESK);
        view.set(Field::RequestsPtr, REQUESTS).unwrap();
        view.set(Field::RequestsLen, words.len() as u32).unwrap();
        view.set(Field::InstallsPtr, ANSWERS).unwrap();
        view.set(Field::InstallsCap, 2).unwrap();
        bytes
    }

    fn take_from(bytes: &mut [u8]) -> (usize, Vec<u32>) {
        let asked = take(View::new(bytes, DESK));
        (asked.sources.len(), asked.refused)
    }

    const BLOCK: BlockAt = BlockAt { pc: 0x40_0123, phys: 0x3123, next: 0 };

    #[test]
    fn a_request_comes_with_its_pages() {
        let mut bytes = memory(BlockAt { next: 0x7000, ..BLOCK });
        bytes[0x3123] = 0x90;
        let asked = take(View::new(&mut bytes, DESK));
        let pages = &asked.sources[0].pages;
        assert_eq!(pages.keys().copied().collect::<Vec<_>>(), [0x3000, 0x7000]);
        assert_eq!(pages[&0x3000][0x123], 0x90);
    }

    #[test]
    fn pages_outside_of_memory_are_refused() {
        for phys in [16 << 12, 0xFFFF_F000, 0xFFFF_FFFF] {
            assert_eq!(
                take_from(&mut memory(BlockAt { phys, ..BLOCK })),
                (0, vec![5]),
                "{phys:#x}"
            );
            assert_eq!(
                take_from(&mut memory(BlockAt { next: phys, ..BLOCK })),
                (0, vec![5]),
                "{phys:#x}"
            );
        }
    }

    #[test]
    fn more_pages_than_a_region_may_have_are_refused() {
        let mut bytes = vec![0; (MAX_PAGES + 1) << 12];
        let blocks = (0..=MAX_PAGES as u32).map(|n| BlockAt { pc: 7, phys: n << 12, next: 0 });
        let request = Request { id: 1, root: 7, blocks: blocks.collect(), ..Request::default() };
        assert!(View::new(&mut bytes, DESK).pages(&request).is_none());
        let request = Request { blocks: request.blocks[1..].to_vec(), ..request };
        assert_eq!(View::new(&mut bytes, DESK).pages(&request).map(|p| p.len()), Some(MAX_PAGES));
    }

    #[test]
    fn wild_addresses_and_lengths_are_no_requests() {
        let wild = [
            (Field::RequestsPtr, 0xFFFF_FFF8),
            (Field::RequestsPtr, (16 << 12) - 8),
            (Field::RequestsLen, u32::MAX),
            (Field::RequestsLen, MAX_WORDS as u32 + 1),
            (Field::RequestsLen, 0),
            (Field::RequestsLen, 4),
        ];
        for (field, value) in wild {
            let mut bytes = memory(BLOCK);
            View::new(&mut bytes, DESK).set(field, value).unwrap();
            assert_eq!(take_from(&mut bytes), (0, vec![]), "{field:?} {value:#x}");
        }
        assert_eq!(take_from(&mut memory(BLOCK)), (1, vec![]));
        for desk in [u32::MAX, 16 << 12, (16 << 12) - 20] {
            assert_eq!(take(View::new(&mut memory(BLOCK), desk)).sources.len(), 0, "{desk:#x}");
        }
    }

    #[test]
    fn answers_go_where_there_is_room_and_the_rest_waits() {
        let answers = |n: u32| (1..=n).map(|id| Install { id, slot: id + 10 }).collect();
        let mut bytes = memory(BLOCK);
        let mut waiting: VecDeque<Install> = answers(3);
        let mut view = View::new(&mut bytes, DESK);
        assert_eq!(answer(&mut view, &mut waiting), Some(()));
        assert_eq!((view.get(Field::InstallsLen), waiting.len()), (Some(2), 1));
        assert_eq!(
            bytes[ANSWERS as usize..][..16],
            [1, 0, 0, 0, 11, 0, 0, 0, 2, 0, 0, 0, 12, 0, 0, 0]
        );
        let mut view = View::new(&mut bytes, DESK);
        view.set(Field::InstallsPtr, u32::MAX).unwrap();
        assert_eq!(answer(&mut view, &mut waiting), None);
        assert_eq!(waiting.len(), 1);
    }
}
