//! The program's descriptors.

use super::errno::Code;
use abi::Errno;
use kernel::fs::{Kind, OpenFile};
use std::rc::Rc;

/// How many standard streams there are. The root directory comes after them, where programs look for what was preopened.
const STREAMS: u32 = 3;

/// What a descriptor stands for.
#[derive(Clone)]
pub enum Descriptor {
    /// A standard stream: the host's descriptor.
    Stream(u32),
    /// A file or directory.
    Open(Rc<OpenFile>),
}

/// The open descriptors by their numbers.
pub struct Table {
    open: Vec<Option<Descriptor>>,
    /// The directory that was open from the start.
    root: Rc<OpenFile>,
}

/// The most descriptors at once, as docker's default limit; the kernel's own budget ends sooner.
const MOST: usize = 1 << 20;

impl Table {
    /// The standard streams, and the root directory.
    pub fn new(root: Rc<OpenFile>) -> Table {
        let streams = (0..STREAMS).map(Descriptor::Stream);
        let open = streams.chain([Descriptor::Open(root.clone())]).map(Some).collect();
        Table { open, root }
    }

    /// What a number stands for.
    pub fn get(&self, fd: u32) -> Result<Descriptor, Code> {
        let found = self.open.get(fd as usize).cloned().flatten();
        found.ok_or(Code::from(Errno::EBADF))
    }

    /// A directory.
    pub fn directory(&self, fd: u32) -> Result<Rc<OpenFile>, Code> {
        match self.get(fd)? {
            Descriptor::Open(file) if is_directory(&file) => Ok(file),
            Descriptor::Open(_) => Err(Errno::ENOTDIR.into()),
            Descriptor::Stream(_) => Err(Errno::EBADF.into()),
        }
    }

    /// Whether a number stands for the directory that was open from the start.
    pub fn is_preopened(&self, fd: u32) -> Result<bool, Code> {
        Ok(matches!(self.get(fd)?, Descriptor::Open(file) if Rc::ptr_eq(&file, &self.root)))
    }

    /// The directory that was open from the start.
    pub fn root(&self) -> &Rc<OpenFile> {
        &self.root
    }

    /// Takes a number away.
    pub fn close(&mut self, fd: u32) -> Result<(), Code> {
        let place = self.open.get_mut(fd as usize).filter(|place| place.is_some());
        *place.ok_or(Code::from(Errno::EBADF))? = None;
        Ok(())
    }

    /// Gives the smallest free number.
    pub fn add(&mut self, file: Rc<OpenFile>) -> Result<u32, Code> {
        let free = self.open.iter().position(Option::is_none).unwrap_or(self.open.len());
        if free >= MOST {
            return Err(Errno::EMFILE.into());
        }
        if free == self.open.len() {
            self.open.push(None);
        }
        if let Some(place) = self.open.get_mut(free) {
            *place = Some(Descriptor::Open(file));
        }
        Ok(free as u32)
    }

    /// Moves a descriptor to another number in use, whose own is closed.
    pub fn renumber(&mut self, from: u32, to: u32) -> Result<(), Code> {
        let moved = self.get(from)?;
        self.get(to)?;
        self.close(from)?;
        if let Some(place) = self.open.get_mut(to as usize) {
            *place = Some(moved);
        }
        Ok(())
    }
}

/// Whether a directory is open.
pub fn is_directory(file: &OpenFile) -> bool {
    file.dentry().inode().kind() == Kind::Dir
}
