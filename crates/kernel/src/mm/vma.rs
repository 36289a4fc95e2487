//! Mappings: what lies where in an address space, with which rights.

use std::collections::BTreeMap;
use std::rc::Rc;

use abi::mman::{PROT_EXEC, PROT_READ, PROT_WRITE};
use mem::PAGE_SHIFT;

use super::gaps::Gaps;
use super::table::Pte;
use crate::source::MapSource;

/// Protection and sharing of a mapping.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rights {
    /// `PROT_READ | PROT_WRITE | PROT_EXEC`.
    pub prot: u64,
    /// Of `MAP_SHARED`.
    pub shared: bool,
    /// mprotect may add `PROT_WRITE` (false for shared mappings of files opened read-only).
    pub may_write: bool,
    /// mprotect may add `PROT_EXEC` (false on a `noexec` mount).
    pub may_exec: bool,
    /// Grows down on faults below it (the stack, `MAP_GROWSDOWN`).
    pub grows_down: bool,
    /// Left out of a fork's child.
    pub dont_fork: bool,
    /// Empty in a fork's child.
    pub wipe_on_fork: bool,
    /// Counts as locked (mlock(2)).
    pub locked: bool,
}

impl Rights {
    /// Rights of a private anonymous mapping.
    pub fn private(prot: u64) -> Rights {
        Rights { prot, may_write: true, may_exec: true, ..Rights::default() }
    }

    /// Page-table bits without write (which copy-on-write decides). On x86 every accessible page is readable.
    pub fn base_bits(&self) -> u32 {
        let mut bits = 0;
        if self.prot & (PROT_READ | PROT_WRITE | PROT_EXEC) != 0 {
            bits |= Pte::R;
        }
        if self.prot & PROT_EXEC != 0 {
            bits |= Pte::X;
        }
        bits
    }

    /// Counts for `RLIMIT_DATA`: private, writable and no stack.
    pub fn is_data(&self) -> bool {
        !self.shared && self.prot & PROT_WRITE != 0 && !self.grows_down
    }
}

/// One mapping: `start .. end`, page-aligned. The start is the key in [`Vmas`].
#[derive(Clone)]
pub struct Vma {
    /// First address after it.
    pub end: u64,
    /// Rights.
    pub rights: Rights,
    /// The object; `None` = private anonymous memory.
    pub source: Option<Rc<dyn MapSource>>,
    /// Page of the object that the start shows.
    pub page: u64,
}

impl Vma {
    /// The part of the mapping from `at` on.
    fn tail(&self, start: u64, at: u64) -> Vma {
        Vma { page: self.page.wrapping_add((at - start) >> PAGE_SHIFT), ..self.clone() }
    }

    fn continues(&self, start: u64, next: &Vma) -> bool {
        if self.rights != next.rights || self.rights.grows_down {
            return false;
        }
        match (&self.source, &next.source) {
            (None, None) => true,
            (Some(a), Some(b)) => {
                Rc::ptr_eq(a, b)
                    && self.page.wrapping_add((self.end - start) >> PAGE_SHIFT) == next.page
            }
            _ => false,
        }
    }
}

/// The mappings of one address space, by start address; they never overlap.
#[derive(Clone, Default)]
pub struct Vmas {
    map: BTreeMap<u64, Vma>,
    /// What is free between them.
    gaps: Gaps,
    /// Sum of all lengths in bytes.
    total: u64,
}

impl Vmas {
    /// Bytes mapped.
    pub fn total(&self) -> u64 {
        self.total
    }

    /// Number of mappings.
    pub fn len(&self) -> usize {
        self.map.len()
    }

    /// True without mappings.
    pub fn is_empty(&self) -> bool {
        self.map.is_empty()
    }

    /// All mappings in order.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = (u64, &Vma)> {
        self.map.iter().map(|(&start, vma)| (start, vma))
    }

    /// The mapping that holds `addr`.
    pub fn find(&self, addr: u64) -> Option<(u64, &Vma)> {
        let (&start, vma) = self.map.range(..=addr).next_back()?;
        (addr < vma.end).then_some((start, vma))
    }

    /// The first mapping that starts above `addr`.
    pub fn above(&self, addr: u64) -> Option<(u64, &Vma)> {
        self.map.range(addr.checked_add(1)?..).next().map(|(&s, v)| (s, v))
    }

    /// The last mapping that starts below `addr`.
    pub fn below(&self, addr: u64) -> Option<(u64, &Vma)> {
        self.map.range(..addr).next_back().map(|(&s, v)| (s, v))
    }

    /// The mappings that overlap `start .. end`, in order.
    pub fn overlapping(&self, start: u64, end: u64) -> impl Iterator<Item = (u64, &Vma)> {
        let first = self.find(start).map_or(start, |(s, _)| s);
        self.map.range(first..end.max(first)).map(|(&s, v)| (s, v))
    }

    /// Whether nothing is mapped in `start .. end`.
    pub fn is_free(&self, start: u64, end: u64) -> bool {
        self.overlapping(start, end).next().is_none()
    }

    /// Whether every page of `start .. end` is mapped.
    pub fn is_covered(&self, start: u64, end: u64) -> bool {
        let mut at = start;
        for (s, vma) in self.overlapping(start, end) {
            if s > at {
                return false;
            }
            at = vma.end;
        }
        at >= end
    }

    /// Makes `at` a border between mappings.
    fn split(&mut self, at: u64) {
        let Some((start, vma)) = self.find(at) else { return };
        if start == at {
            return;
        }
        let tail = vma.tail(start, at);
        if let Some(head) = self.map.get_mut(&start) {
            head.end = at;
        }
        self.map.insert(at, tail);
    }

    /// Takes out what is mapped in `start .. end`.
    pub fn remove(&mut self, start: u64, end: u64) -> Vec<(u64, Vma)> {
        self.split(start);
        self.split(end);
        let keys: Vec<u64> = self.map.range(start..end.max(start)).map(|(&s, _)| s).collect();
        let mut out = Vec::new();
        for key in keys {
            if let Some(vma) = self.map.remove(&key) {
                self.total -= vma.end - key;
                self.gaps.give(key, vma.end);
                out.push((key, vma));
            }
        }
        out
    }

    /// Enters a mapping into free space, joined with equal neighbours.
    pub fn insert(&mut self, start: u64, vma: Vma) {
        self.total += vma.end - start;
        let end = vma.end;
        self.gaps.take(start, end);
        self.map.insert(start, vma);
        self.join(end);
        self.join(start);
    }

    /// Joins the mappings that meet at `at`, if they continue each other.
    fn join(&mut self, at: u64) {
        let Some((start, head)) = self.below(at) else { return };
        if head.end != at {
            return;
        }
        let Some(next) = self.map.get(&at) else { return };
        if !head.continues(start, next) {
            return;
        }
        let end = next.end;
        self.map.remove(&at);
        if let Some(head) = self.map.get_mut(&start) {
            head.end = end;
        }
    }

    /// Changes the rights of what is mapped in `start .. end`.
    pub fn change(&mut self, start: u64, end: u64, mut f: impl FnMut(&mut Rights)) {
        for (s, mut vma) in self.remove(start, end) {
            f(&mut vma.rights);
            self.insert(s, vma);
        }
    }

    /// Moves the start of the growing-down mapping at `start` to `new_start` (free space below it).
    pub fn grow_down(&mut self, start: u64, new_start: u64) {
        if let Some(mut vma) = self.map.remove(&start) {
            let pages = (start - new_start) >> PAGE_SHIFT;
            vma.page = vma.page.wrapping_sub(pages);
            self.total += start - new_start;
            self.gaps.take(new_start, start);
            self.map.insert(new_start, vma);
        }
    }

    /// The highest free range of `len` bytes within `low .. high`.
    pub fn gap_below(&self, len: u64, low: u64, high: u64) -> Option<u64> {
        self.gaps.below(len, low, high)
    }

    /// The lowest free range of `len` bytes within `low .. high`.
    pub fn gap_above(&self, len: u64, low: u64, high: u64) -> Option<u64> {
        self.gaps.above(len, low, high)
    }
}
