//! Reading directories: `fd_readdir`.

use super::{Answer, Program, memory, stat};
use abi::Errno;
use kernel::file::directory::Directory;

/// Bytes of `dirent`: d_next u64, d_ino u64, d_namlen u32, d_type u8, padding.
const DIRENT: usize = 24;

impl Program {
    /// The entries from the one with number `cookie` on, `.` and `..` first, as many as there is room for: the last may be cut off, which says
    /// that there are more.
    pub fn fd_readdir(&mut self, fd: u32, at: u32, len: u32, cookie: u64, out: u32) -> Answer {
        let file = self.table.directory(fd)?;
        let directory: &Directory = file.object().ok_or(Errno::ENOTDIR)?;
        let (mut cx, _) = self.cx();
        // Who begins anew sees what has changed.
        file.pos.set(cookie);
        let entries = directory.entries(&mut cx, &file)?;
        let mut buffer = memory::bytes(at, len)?;
        let mut used = 0;
        for (number, entry) in (0_u64..).zip(entries.iter()).skip(cookie as usize) {
            let mut record = vec![0; DIRENT];
            record[..8].copy_from_slice(&(number + 1).to_le_bytes());
            record[8..16].copy_from_slice(&entry.ino.to_le_bytes());
            record[16..20].copy_from_slice(&(entry.name.len() as u32).to_le_bytes());
            record[20] = stat::filetype(entry.kind);
            record.extend_from_slice(&entry.name);
            let n = record.len().min(buffer.len());
            let (place, rest) = buffer.split_at_mut(n);
            place.copy_from_slice(record.get(..n).unwrap_or_default());
            (buffer, used) = (rest, used + n);
            if n < record.len() {
                break;
            }
        }
        Ok(memory::put_u32(out, used as u32)?)
    }
}
