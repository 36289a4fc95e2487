//! What tasks do with their descriptor tables as a whole: standard streams, execve, the end, and mmap's look at a
//! descriptor.

use std::cell::RefCell;
use std::rc::Rc;

use abi::Errno;
use abi::mman::{PROT_EXEC, PROT_WRITE};
use abi::stat::ST_NOEXEC;
use abi::time::RLIMIT_NOFILE;

use super::ThreadId;
use crate::Kernel;
use crate::file::{FdTable, console};
use crate::mm::MapSource;

/// An object to map, whether mprotect may make it writable, whether executable.
pub type Mapping = (Rc<dyn MapSource>, bool, bool);

impl Kernel {
    /// Descriptors 0, 1 and 2 of the first process.
    pub(crate) fn standard_files(&mut self, tid: ThreadId, tty: bool) -> Result<FdTable, Errno> {
        let files = console::standard_files(&mut self.cx(tid), tty)?;
        let mut table = FdTable::new(&self.shared);
        let pid = self.tasks[tid].pid;
        let limit = self.tasks[pid].limits.soft(RLIMIT_NOFILE).max(3);
        for file in files {
            table.add(file, false, 0, limit)?;
        }
        Ok(table)
    }

    /// execve(2): an own table without the descriptors marked close-on-exec.
    pub(crate) fn close_on_exec(&mut self, tid: ThreadId) {
        let thread = &mut self.tasks[tid];
        if Rc::strong_count(&thread.files) > 1 {
            let copy = thread.files.borrow().fork();
            thread.files = Rc::new(RefCell::new(copy));
        }
        thread.files.borrow_mut().close_on_exec();
    }

    /// The object behind `fd` for mmap(2), with its checks of access mode and mount.
    pub(crate) fn mapping(
        &mut self,
        tid: ThreadId,
        fd: i32,
        prot: u64,
        shared: bool,
    ) -> Result<Mapping, Errno> {
        let file = self.tasks[tid].files.borrow().get_io(fd)?;
        if !file.is_readable() {
            return Err(Errno::EACCES);
        }
        let may_write = !shared || file.is_writable();
        if prot & PROT_WRITE != 0 && !may_write {
            return Err(Errno::EACCES);
        }
        let may_exec = file.dentry().mount().flags.get() & ST_NOEXEC == 0;
        if prot & PROT_EXEC != 0 && !may_exec {
            return Err(Errno::EPERM);
        }
        // A seal against writing also forbids shared writable mappings (memfd_create(2)).
        if let Some(seals) = file.dentry().inode().seals()
            && shared
            && seals.get() & (abi::fcntl::F_SEAL_WRITE | abi::fcntl::F_SEAL_FUTURE_WRITE) != 0
        {
            if prot & PROT_WRITE != 0 {
                return Err(Errno::EPERM);
            }
            let source = file.ops().clone().map(&mut self.cx(tid), &file)?;
            return Ok((source, false, may_exec));
        }
        let source = file.ops().clone().map(&mut self.cx(tid), &file)?;
        Ok((source, may_write, may_exec))
    }
}
