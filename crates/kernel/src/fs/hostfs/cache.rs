//! The pages of host files that are mapped: one set for each file, shared by all its mappings and kept in step with
//! read(2) and write(2) of the box. Pages that a mapping may write go back to the host at msync(2), fsync(2), a read of the
//! file, the last munmap(2) and the end of the box. What others change on the host shows at the next first mapping.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::{Rc, Weak};

use abi::Errno;
use mem::{FaultKind, Frame, PAGE_SIZE, Phys, Purpose};

use super::{HostInode, read_full};
use crate::fs::chore::{Chore, Chores, digest, within};
use crate::fs::inode::Inode;
use crate::fs::{Cx, Dentry, Res};
use crate::host::HostFd;
use crate::source::{MapSource, SourceName, Use};

/// Largest host file that can be mapped, in pages: a mapping is a copy of the whole.
const MAX_PAGES: u64 = 1 << 16;
const PAGE: u64 = PAGE_SIZE as u64;

/// The files that are mapped.
#[derive(Default)]
struct Mapped(RefCell<Vec<Weak<PageCache>>>);

/// A descriptor of the host, which is closed when nobody holds it any more.
pub struct OpenHost {
    /// The descriptor.
    pub fd: HostFd,
    /// It can be read.
    pub read: bool,
    /// It can be written.
    pub write: bool,
    chores: Chores,
}

impl OpenHost {
    /// Takes hold of a descriptor.
    pub fn new(cx: &Cx, fd: HostFd, read: bool, write: bool) -> Rc<OpenHost> {
        Rc::new(OpenHost { fd, read, write, chores: cx.shared.host_chores.clone() })
    }
}

impl Drop for OpenHost {
    fn drop(&mut self) {
        self.chores.borrow_mut().push(Chore::Close(self.fd));
    }
}

/// Brings everything that mappings have changed to the host: the box ends.
pub fn save_all(cx: &mut Cx) {
    let mapped: Rc<Mapped> = cx.shared.registry();
    let mapped: Vec<Rc<PageCache>> = mapped.0.borrow().iter().filter_map(Weak::upgrade).collect();
    for cache in mapped {
        // There is nobody to tell of an error.
        let _ = cache.write_back(cx);
    }
}

fn write_full(cx: &mut Cx, fd: HostFd, offset: u64, bytes: &[u8]) -> Res<()> {
    let mut done = 0;
    while let Some(rest) = bytes.get(done..).filter(|rest| !rest.is_empty()) {
        match cx.host().write(fd, offset + done as u64, rest)? {
            0 => return Err(Errno::EIO),
            n => done += n,
        }
    }
    Ok(())
}

/// The pages of one file.
pub struct PageCache {
    open: Rc<OpenHost>,
    size: Cell<u64>,
    frames: RefCell<BTreeMap<u64, Frame>>,
    /// Pages that a mapping may write, with their digests when the host last had them.
    dirty: RefCell<BTreeMap<u64, u64>>,
    name: SourceName,
    chores: Chores,
    trash: crate::source::FrameTrash,
}

impl PageCache {
    /// No pages yet.
    pub fn open(cx: &mut Cx, inode: &HostInode, at: &Rc<Dentry>) -> Res<Rc<PageCache>> {
        let meta = inode.meta(cx)?;
        let open = inode.for_mapping(cx)?;
        let cache = Rc::new(PageCache {
            open,
            size: Cell::new(meta.size),
            frames: RefCell::default(),
            dirty: RefCell::default(),
            name: SourceName { path: at.path(), dev: meta.dev, ino: meta.ino },
            chores: cx.shared.host_chores.clone(),
            trash: cx.shared.trash.clone(),
        });
        let all: Rc<Mapped> = cx.shared.registry();
        let mut mapped = all.0.borrow_mut();
        mapped.retain(|cache| cache.strong_count() > 0);
        mapped.push(Rc::downgrade(&cache));
        Ok(cache)
    }

    /// Size of the file in bytes.
    pub fn size(&self) -> u64 {
        self.size.get()
    }

    /// Loads what is missing. ENOMEM if the file is too large or memory runs out.
    pub fn load(&self, cx: &mut Cx) -> Res<()> {
        let size = cx.host().fstat(self.open.fd)?.size;
        self.size.set(size);
        let pages = size.div_ceil(PAGE);
        if pages > MAX_PAGES {
            return Err(Errno::ENOMEM);
        }
        let mut page = [0; PAGE_SIZE];
        for index in 0..pages {
            if self.frames.borrow().contains_key(&index) {
                continue;
            }
            page.fill(0);
            read_full(cx, self.open.fd, index * PAGE, &mut page)?;
            let frame = cx.phys().alloc_for(Purpose::Files).ok_or(Errno::ENOMEM)?;
            cx.phys().bytes_mut(frame).copy_from_slice(&page);
            self.frames.borrow_mut().insert(index, frame);
        }
        Ok(())
    }

    /// write(2) has put `bytes` there.
    pub fn written(&self, phys: &mut Phys, offset: u64, bytes: &[u8]) {
        let end = offset.saturating_add(bytes.len() as u64);
        self.size.set(self.size.get().max(end));
        let mut frames = self.frames.borrow_mut();
        let mut done = 0;
        while let Some(rest) = bytes.get(done..).filter(|rest| !rest.is_empty()) {
            let at = offset + done as u64;
            let within = (at % PAGE) as usize;
            let n = rest.len().min(PAGE_SIZE - within);
            let index = at / PAGE;
            let known = frames.get(&index).copied();
            // A page that was not loaded lay beyond the end: it was zeros.
            let frame = known
                .or_else(|| (index < MAX_PAGES).then(|| phys.alloc_for(Purpose::Files)).flatten());
            let Some(frame) = frame else {
                self.size.set(self.size.get().min(index * PAGE));
                return;
            };
            if known.is_none() {
                phys.bytes_mut(frame).fill(0);
                frames.insert(index, frame);
            }
            phys.code_written(frame);
            phys.bytes_mut(frame)[within..within + n].copy_from_slice(&rest[..n]);
            done += n;
        }
    }

    /// The file has another size.
    pub fn resize(&self, phys: &mut Phys, size: u64) {
        self.size.set(size);
        let first = size.div_ceil(PAGE);
        for (_, frame) in self.frames.borrow_mut().split_off(&first) {
            phys.release(frame);
        }
        self.dirty.borrow_mut().split_off(&first);
        let within = (size % PAGE) as usize;
        if within != 0
            && let Some(frame) = self.frames.borrow().get(&(size / PAGE))
        {
            phys.code_written(*frame);
            phys.bytes_mut(*frame)[within..].fill(0);
        }
    }

    /// The pages that have changed since the host had them: offset and bytes.
    fn changes(&self, phys: &Phys) -> Vec<(u64, Vec<u8>)> {
        let frames = self.frames.borrow();
        let mut changes = Vec::new();
        for (index, before) in self.dirty.borrow_mut().iter_mut() {
            let Some(frame) = frames.get(index) else { continue };
            let now = digest(phys.bytes(*frame));
            if now != *before {
                *before = now;
                changes.push((index * PAGE, within(phys, *frame, *index, self.size.get())));
            }
        }
        changes
    }

    /// Brings changed pages to the host.
    pub fn write_back(&self, cx: &mut Cx) -> Res<()> {
        if self.dirty.borrow().is_empty() {
            return Ok(());
        }
        for (offset, bytes) in self.changes(cx.phys()) {
            write_full(cx, self.open.fd, offset, &bytes)?;
        }
        Ok(())
    }
}

impl MapSource for PageCache {
    fn page(&self, phys: &mut Phys, index: u64, how: Use) -> Result<Frame, FaultKind> {
        if index >= self.size.get().div_ceil(PAGE).min(MAX_PAGES) {
            return Err(FaultKind::PastEnd);
        }
        let known = self.frames.borrow().get(&index).copied();
        let frame = match known {
            Some(frame) => frame,
            // The file has grown since it was mapped: by zeros, or by writes that went through `written`.
            None => {
                let frame = phys.alloc_for(Purpose::Files).ok_or(FaultKind::OutOfMemory)?;
                phys.bytes_mut(frame).fill(0);
                self.frames.borrow_mut().insert(index, frame);
                frame
            }
        };
        if how == (Use::Shared { write: true }) {
            if !self.open.write {
                return Err(FaultKind::PastEnd);
            }
            let now = || digest(phys.bytes(frame));
            self.dirty.borrow_mut().entry(index).or_insert_with(now);
        }
        Ok(frame)
    }

    fn name(&self) -> SourceName {
        self.name.clone()
    }

    fn sync(&self, phys: &mut Phys) {
        for (offset, bytes) in self.changes(phys) {
            self.chores.borrow_mut().push(Chore::Write(self.open.fd, offset, bytes));
        }
    }
}

impl Drop for PageCache {
    fn drop(&mut self) {
        let mut frames = std::mem::take(&mut *self.frames.borrow_mut());
        let mut pages = Vec::new();
        for (index, before) in self.dirty.borrow().iter() {
            if let Some(frame) = frames.remove(index) {
                pages.push((*index, frame, *before));
            }
        }
        self.trash.borrow_mut().extend(frames.into_values());
        // The descriptor is closed after this, as the list is worked off in order.
        self.chores.borrow_mut().push(Chore::Save(self.open.fd, self.size.get(), pages));
    }
}
