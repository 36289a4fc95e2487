//! Regions that serve in place of others: what a program asks for depends on when it was found hot, so that of two runs many
//! regions are nearly the same. Beside the compiled code stands what it was made from, by the region's root.

use link::{CodeCache, Digest, digest_of, hex, trust};
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::OnceLock;
use translate::{CpuLevel, Layout, Shape, Source};

/// Version of the files.
const FORMAT: u64 = 0x626F_7865_7241_0001;
/// Most shapes that are kept of one root, the newest ones.
const MOST: usize = 8;
/// Most words of a file that is looked at.
const MAX_WORDS: usize = 1 << 16;
/// Words of a digest.
const DIGEST: usize = size_of::<Digest>() / size_of::<u64>();

/// A region that is compiled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alike {
    /// The key of its module.
    pub key: Digest,
    /// The digest of its code ([`Source::code_of`]).
    code: Digest,
    shape: Shape,
}

impl Alike {
    /// The region of `shape`, made from `source`.
    pub fn new(key: Digest, source: &Source, shape: Shape) -> Option<Alike> {
        let code = digest_of(&source.code_of(&shape.blocks)?);
        Some(Alike { key, code, shape })
    }

    /// Of its functions, one for each place where `source` asks to enter, if it serves there: its code is the same, all places
    /// can be entered, and it has seven eighths of the blocks.
    fn serves(&self, source: &Source) -> Option<Vec<u32>> {
        let entry = |pc: &u64| {
            let n = self.shape.entries.iter().position(|entry| entry == pc)?;
            Some(n as u32 + 1)
        };
        let others = source.request.entries.iter().map(entry).collect::<Option<Vec<u32>>>()?;
        let known: BTreeSet<u64> = self.shape.blocks.iter().map(|(pc, _)| *pc).collect();
        let all = source.request.blocks.len();
        let there = source.request.blocks.iter().filter(|block| known.contains(&block.pc)).count();
        let same = || Some(digest_of(&source.code_of(&self.shape.blocks)?) == self.code);
        let serves = known.contains(&source.request.root) && there * 8 >= all * 7 && same()?;
        serves.then(|| std::iter::once(0).chain(others).collect())
    }

    fn encode(&self, words: &mut Vec<u64>) {
        for digest in [&self.key, &self.code] {
            words.extend(digest.as_chunks().0.iter().map(|word| u64::from_le_bytes(*word)));
        }
        words.push(self.shape.blocks.len() as u64);
        words.extend(self.shape.blocks.iter().flat_map(|(pc, len)| [*pc, u64::from(*len)]));
        words.push(self.shape.entries.len() as u64);
        words.extend(&self.shape.entries);
    }

    fn decode(words: &mut impl Iterator<Item = u64>) -> Option<Alike> {
        let mut digest = || {
            let mut digest = Digest::default();
            for place in digest.as_chunks_mut::<{ size_of::<u64>() }>().0.iter_mut().take(DIGEST) {
                *place = words.next()?.to_le_bytes();
            }
            Some(digest)
        };
        let (key, code) = (digest()?, digest()?);
        let count = |n: u64| usize::try_from(n).ok().filter(|n| *n <= MAX_WORDS);
        let mut shape = Shape::default();
        for _ in 0..count(words.next()?)? {
            shape.blocks.push((words.next()?, u32::try_from(words.next()?).ok()?));
        }
        for _ in 0..count(words.next()?)? {
            shape.entries.push(words.next()?);
        }
        Some(Alike { key, code, shape })
    }
}

/// What tells this program from others, with another translator: its version, and size and time of its file.
fn translator() -> &'static str {
    static TRANSLATOR: OnceLock<String> = OnceLock::new();
    TRANSLATOR.get_or_init(|| {
        let meta = std::env::current_exe().and_then(std::fs::metadata);
        let file = meta.and_then(|meta| Ok((meta.len(), meta.modified()?))).ok();
        format!("{} {file:?}", env!("CARGO_PKG_VERSION"))
    })
}

/// The compiled regions of one root.
pub struct Known {
    path: PathBuf,
    alike: Vec<Alike>,
}

impl Known {
    /// Those with the root of `source`, the page that this lies in, and for the same guest and processor, made by this program:
    /// another one may translate otherwise.
    pub fn of(
        cache: &CodeCache,
        source: &Source,
        level: CpuLevel,
        layout: &Layout,
    ) -> Option<Known> {
        let root = source.request.blocks.iter().find(|block| block.pc == source.request.root)?;
        let page = source.pages.get(&(root.phys & !(translate::PAGE_SIZE as u32 - 1)))?;
        let Layout { cpu, read, write, shared, helper } = *layout;
        let by = translator();
        let about = format!("{:x} {level:?} {cpu} {read} {write} {shared} {helper} {by}", root.pc);
        let key = digest_of(&[about.as_bytes(), page.as_slice()].concat());
        let path = cache.dir().join(format!("{}.{}", hex(&key), link::NOTES));
        let alike = trust::read_own(&path).and_then(|bytes| decode(&bytes)).unwrap_or_default();
        Some(Known { path, alike })
    }

    /// The newest of them that serves, and its functions in the order in which `source` asks for them.
    pub fn serving(&self, source: &Source) -> Option<(&Digest, Vec<u32>)> {
        self.alike.iter().find_map(|alike| Some((&alike.key, alike.serves(source)?)))
    }

    /// Adds one that was compiled. That it cannot be written costs time only.
    pub fn add(mut self, alike: Alike) {
        self.alike.retain(|known| known.key != alike.key);
        self.alike.insert(0, alike);
        self.alike.truncate(MOST);
        let mut words = vec![FORMAT];
        self.alike.iter().for_each(|alike| alike.encode(&mut words));
        if words.len() <= MAX_WORDS {
            let bytes: Vec<u8> = words.into_iter().flat_map(u64::to_le_bytes).collect();
            let _ = trust::write_whole(&self.path, &bytes);
        }
    }
}

fn decode(bytes: &[u8]) -> Option<Vec<Alike>> {
    let (words, rest) = bytes.as_chunks();
    let mut words = words.iter().map(|word| u64::from_le_bytes(*word)).peekable();
    if words.next()? != FORMAT || !rest.is_empty() {
        return None;
    }
    let mut alike = Vec::new();
    while words.peek().is_some() {
        alike.push(Alike::decode(&mut words)?);
    }
    Some(alike)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;
    use translate::desk::{BlockAt, Request};

    /// A request for eight blocks of four bytes in a page, two of them entries.
    fn source() -> Source {
        let blocks: Vec<BlockAt> = (0..8_u32)
            .map(|n| BlockAt { pc: 0x40_0000 + u64::from(4 * n), phys: 0x9000 + 4 * n, next: 0 })
            .collect();
        let entries = vec![0x40_0008, 0x40_0010];
        let request = Request { id: 3, root: 0x40_0000, blocks, entries, ..Request::default() };
        let page = Box::new(std::array::from_fn(|n| n as u8));
        Source { request, pages: BTreeMap::from([(0x9000, page)]) }
    }

    fn shape() -> Shape {
        let blocks = (0..8).map(|n| (0x40_0000 + 4 * n, 4)).collect();
        Shape { blocks, entries: vec![0x40_0010, 0x40_0004, 0x40_0008] }
    }

    fn alike(n: u8) -> Alike {
        Alike::new([n; 32], &source(), shape()).unwrap()
    }

    #[test]
    fn the_same_code_with_all_entries_and_most_blocks_serves() {
        let (alike, asked) = (alike(1), source());
        assert_eq!(alike.serves(&asked), Some(vec![0, 3, 1]));
        let changed = |change: &dyn Fn(&mut Source)| {
            let mut asked = source();
            change(&mut asked);
            alike.serves(&asked)
        };
        // Other code, another entry, blocks that it does not have, a page that nobody asked for.
        assert_eq!(changed(&|asked| asked.pages.get_mut(&0x9000).unwrap()[31] ^= 1), None);
        assert_eq!(changed(&|asked| asked.request.entries.push(0x40_000C)), None);
        let more = |count: u64| {
            changed(&move |asked: &mut Source| {
                for n in 0..count {
                    let at = BlockAt { pc: 0x40_0100 + n, phys: 0x9100, next: 0 };
                    asked.request.blocks.push(at);
                }
            })
        };
        assert_eq!((more(1).is_some(), more(2)), (true, None));
        assert_eq!(changed(&|asked| asked.request.blocks.truncate(0)), None);
        // Behind the pages' code nothing is looked at.
        assert!(changed(&|asked| asked.pages.get_mut(&0x9000).unwrap()[32] ^= 1).is_some());
        let outside = Shape { blocks: vec![(0x40_0FFE, 4)], ..shape() };
        assert_eq!(Alike::new([1; 32], &source(), outside), None);
    }

    #[test]
    fn what_is_kept_is_found_again_the_newest_first_and_damage_is_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let engine = link::engine().unwrap();
        let cache = CodeCache::new(engine, dir.path());
        let layout = Layout { cpu: 1, read: 2, write: 3, shared: 4, helper: 5 };
        let known = |source: &Source| Known::of(&cache, source, CpuLevel::V2, &layout).unwrap();
        assert!(known(&source()).serving(&source()).is_none());
        for n in 0..12 {
            known(&source()).add(alike(n));
        }
        known(&source()).add(alike(9));
        let found = known(&source());
        assert_eq!(found.alike.len(), MOST);
        assert_eq!(found.serving(&source()), Some((&[9; 32], vec![0, 3, 1])));
        let mut other = source();
        other.pages.get_mut(&0x9000).unwrap()[4095] ^= 1;
        assert!(known(&other).alike.is_empty());
        let whole = std::fs::read(&found.path).unwrap();
        for len in (0..whole.len()).step_by(4) {
            std::fs::write(&found.path, &whole[..len]).unwrap();
            known(&source()).serving(&source());
        }
        for at in 0..whole.len() / 8 {
            let mut bytes = whole.clone();
            bytes[8 * at..8 * at + 8].fill(0xFF);
            std::fs::write(&found.path, &bytes).unwrap();
            known(&source()).serving(&source());
        }
    }
}
