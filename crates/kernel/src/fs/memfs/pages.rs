//! Content of a regular file: frames over an optional read-only lower content. A page is copied up when it is first
//! changed, so a small change to a large file of the image costs one page.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::rc::Rc;

use abi::Errno;
use mem::{Frame, PAGE_SHIFT, PAGE_SIZE, Phys, Purpose};

use crate::fs::Res;
use crate::fs::lower::LowerData;

const PAGE: u64 = PAGE_SIZE as u64;

/// How many pages the files of a file system may have (tmpfs(5), `size=`), and have.
pub struct Quota {
    most: u64,
    used: Cell<u64>,
}

impl Quota {
    /// None are used.
    pub fn new(most: u64) -> Rc<Quota> {
        Rc::new(Quota { most, used: Cell::new(0) })
    }

    /// Pages that are free, and pages in all.
    pub fn room(&self) -> (u64, u64) {
        (self.most.saturating_sub(self.used.get()), self.most)
    }
}

/// Pages of one file. Offsets are bounded by the caller to `i64::MAX`.
pub struct Pages {
    /// Pages that differ from the lower content; `None` is a hole punched in it.
    own: BTreeMap<u64, Option<Frame>>,
    lower: LowerData,
    /// Bytes of the lower content that still show: shrinks with truncation.
    lower_len: u64,
    quota: Option<Rc<Quota>>,
}

impl Pages {
    /// No content, or that of the lower file.
    pub fn new(lower: LowerData, quota: Option<Rc<Quota>>) -> Pages {
        Pages { own: BTreeMap::new(), lower, lower_len: Pages::length(&lower), quota }
    }

    /// So many pages were given back.
    fn give_back(&self, pages: u64) {
        if let Some(quota) = &self.quota {
            quota.used.set(quota.used.get().saturating_sub(pages));
        }
    }

    fn length(lower: &LowerData) -> u64 {
        (lower.bytes.len() + lower.tail.len()) as u64
    }

    /// Allocated size in units of 512 bytes.
    pub fn blocks(&self) -> u64 {
        let lower_pages = self.lower_len.div_ceil(PAGE);
        let own = self.own.values().filter(|p| p.is_some()).count() as u64;
        let hidden = self.own.range(..lower_pages).count() as u64;
        (lower_pages + own).saturating_sub(hidden) * 8
    }

    /// The lower bytes of page `index` that show.
    fn lower_page(&self, index: u64) -> &'static [u8] {
        let start = index.saturating_mul(PAGE).min(self.lower_len);
        let end = start.saturating_add(PAGE).min(self.lower_len);
        if start >= self.lower.bytes.len() as u64 {
            return self.lower.tail.get(..(end - start) as usize).unwrap_or(&[]);
        }
        self.lower.bytes.get(start as usize..end as usize).unwrap_or(&[])
    }

    /// Makes the lower bytes from `start` to `end` that lie in place be in memory. EIO if whoever has them does not give them.
    fn bring(&self, phys: &mut Phys, start: u64, end: u64) -> Res<()> {
        let Some(first) = self.lower.frame else { return Ok(()) };
        let end = end.min(self.lower_len).min(self.lower.bytes.len() as u64);
        let Some(len) = end.checked_sub(start) else { return Ok(()) };
        // The image lies below 4 GiB.
        match phys.bring(first.addr().saturating_add(start as u32), len as u32) {
            true => Ok(()),
            false => Err(Errno::EIO),
        }
    }

    /// Copies content from `offset`; the caller has clamped the range to the file's size. EIO if it cannot be had.
    pub fn read(&self, phys: &mut Phys, offset: u64, buf: &mut [u8]) -> Res<()> {
        if self.own.is_empty() && self.lower.tail.is_empty() {
            let start = offset.min(self.lower_len) as usize;
            let end = offset.saturating_add(buf.len() as u64).min(self.lower_len) as usize;
            self.bring(phys, start as u64, end as u64)?;
            let bytes = self.lower.bytes.get(start..end).unwrap_or(&[]);
            let (head, tail) = buf.split_at_mut(bytes.len().min(buf.len()));
            head.copy_from_slice(bytes);
            tail.fill(0);
            return Ok(());
        }
        let mut done = 0;
        while done < buf.len() {
            let at = offset + done as u64;
            let (index, within) = (at >> PAGE_SHIFT, (at % PAGE) as usize);
            let n = (PAGE_SIZE - within).min(buf.len() - done);
            let out = &mut buf[done..done + n];
            match self.own.get(&index) {
                Some(Some(frame)) => {
                    out.copy_from_slice(&phys.bytes(*frame)[within..within + n]);
                }
                Some(None) => out.fill(0),
                None => {
                    self.bring(phys, at, at + n as u64)?;
                    let lower = self.lower_page(index);
                    let bytes = lower.get(within..(within + n).min(lower.len())).unwrap_or(&[]);
                    out[..bytes.len()].copy_from_slice(bytes);
                    out[bytes.len()..].fill(0);
                }
            }
            done += n;
        }
        Ok(())
    }

    /// Stores `buf` at `offset`; fewer bytes than asked when memory runs out, ENOSPC if none.
    pub fn write(&mut self, phys: &mut Phys, offset: u64, buf: &[u8]) -> Res<usize> {
        let mut done = 0;
        while done < buf.len() {
            let at = offset + done as u64;
            let (index, within) = (at >> PAGE_SHIFT, (at % PAGE) as usize);
            let n = (PAGE_SIZE - within).min(buf.len() - done);
            let frame = match self.own_frame(phys, index) {
                Ok(frame) => frame,
                Err(_) if done > 0 => break,
                Err(e) => return Err(e),
            };
            if phys.is_code(frame) {
                phys.code_written(frame);
            }
            phys.bytes_mut(frame)[within..within + n].copy_from_slice(&buf[done..done + n]);
            done += n;
        }
        Ok(done)
    }

    /// The file's own frame for page `index`, made (with the lower content) if need be.
    pub fn own_frame(&mut self, phys: &mut Phys, index: u64) -> Res<Frame> {
        if let Some(Some(frame)) = self.own.get(&index) {
            return Ok(*frame);
        }
        if self.quota.as_ref().is_some_and(|quota| quota.room().0 == 0) {
            return Err(Errno::ENOSPC);
        }
        let has_lower = !self.own.contains_key(&index);
        if has_lower {
            self.bring(
                phys,
                index.saturating_mul(PAGE),
                index.saturating_add(1).saturating_mul(PAGE),
            )?;
        }
        let Some(frame) = phys.alloc_for(Purpose::Files) else {
            phys.account().note_refused_file();
            return Err(Errno::ENOSPC);
        };
        if let Some(quota) = &self.quota {
            quota.used.set(quota.used.get() + 1);
        }
        if has_lower {
            let lower = self.lower_page(index);
            phys.bytes_mut(frame)[..lower.len()].copy_from_slice(lower);
        }
        self.own.insert(index, Some(frame));
        Ok(frame)
    }

    /// The frame of page `index` for a mapping that will not write and need not see later writes.
    pub fn private_frame(&mut self, phys: &mut Phys, index: u64) -> Res<Frame> {
        if let Some(Some(frame)) = self.own.get(&index) {
            return Ok(*frame);
        }
        let end = index.saturating_add(1).saturating_mul(PAGE);
        let whole = end <= self.lower_len || self.lower_len == Pages::length(&self.lower);
        let in_place = self.lower_len.min(self.lower.bytes.len() as u64);
        let in_lower = index.saturating_mul(PAGE) < in_place;
        if let (Some(first), true, false) =
            (self.lower.frame, whole && in_lower, self.own.contains_key(&index))
        {
            let start = index * PAGE;
            self.bring(phys, start, start + PAGE)?;
            let index = u32::try_from(index).map_err(|_| Errno::ENXIO)?;
            return Ok(first.offset(index));
        }
        self.own_frame(phys, index)
    }

    /// Cuts the content at `size`.
    pub fn truncate(&mut self, phys: &mut Phys, size: u64) {
        self.lower_len = self.lower_len.min(size);
        let first = size.div_ceil(PAGE);
        for (_, page) in self.own.split_off(&first) {
            if let Some(frame) = page {
                phys.release(frame);
                self.give_back(1);
            }
        }
        let within = (size % PAGE) as usize;
        if within != 0
            && let Some(Some(frame)) = self.own.get(&(size >> PAGE_SHIFT))
        {
            phys.code_written(*frame);
            phys.bytes_mut(*frame)[within..].fill(0);
        }
    }

    /// Makes `start .. end` read as zeros, giving memory back where whole pages are concerned.
    pub fn punch(&mut self, phys: &mut Phys, start: u64, end: u64) -> Res<()> {
        let (first, last) = (start.div_ceil(PAGE), end / PAGE);
        if first > last {
            return self.zero(phys, start, end);
        }
        self.zero(phys, start, first * PAGE)?;
        self.zero(phys, last * PAGE, end)?;
        let owned: Vec<u64> = self.own.range(first..last.max(first)).map(|(i, _)| *i).collect();
        for index in owned {
            if let Some(Some(frame)) = self.own.remove(&index) {
                phys.release(frame);
                self.give_back(1);
            }
        }
        for index in first..last.min(self.lower_len.div_ceil(PAGE)) {
            self.own.insert(index, None);
        }
        Ok(())
    }

    fn zero(&mut self, phys: &mut Phys, start: u64, end: u64) -> Res<()> {
        if start >= end || !self.is_data(start >> PAGE_SHIFT) {
            return Ok(());
        }
        let frame = self.own_frame(phys, start >> PAGE_SHIFT)?;
        let within = (start % PAGE) as usize;
        let len = (end - start) as usize;
        phys.code_written(frame);
        if let Some(bytes) = phys.bytes_mut(frame).get_mut(within..within + len) {
            bytes.fill(0);
        }
        Ok(())
    }

    fn is_data(&self, index: u64) -> bool {
        match self.own.get(&index) {
            Some(page) => page.is_some(),
            None => index.saturating_mul(PAGE) < self.lower_len,
        }
    }

    /// The first offset at or after `offset` (below `size`) that is data (or, with `hole`, is not).
    pub fn seek(&self, offset: u64, size: u64, hole: bool) -> Res<u64> {
        let mut index = offset >> PAGE_SHIFT;
        let lower_end = self.lower_len.div_ceil(PAGE);
        loop {
            if index.saturating_mul(PAGE) >= size {
                return if hole { Ok(size) } else { Err(Errno::ENXIO) };
            }
            if self.is_data(index) != hole {
                return Ok((index * PAGE).max(offset));
            }
            // Skip a whole gap at once: files may be sparse and large.
            index = if hole || index < lower_end {
                index + 1
            } else {
                let next = self.own.range(index + 1..).find(|(_, p)| p.is_some());
                next.map_or(u64::MAX >> PAGE_SHIFT, |(i, _)| *i)
            };
        }
    }

    /// Gives up all frames, for the file's end.
    pub fn take_frames(&mut self) -> impl Iterator<Item = Frame> {
        let frames: Vec<Frame> = std::mem::take(&mut self.own).into_values().flatten().collect();
        self.give_back(frames.len() as u64);
        frames.into_iter()
    }
}
