//! Copies between the kernel and the current address space. A bad address is `EFAULT`; no panic, no partial surprise:
//! bytes before the bad one have been copied, as on Linux.

use abi::{Errno, Pod};
use mem::{Access, Fault, PAGE_MASK, PAGE_SIZE, Translate};

use super::Mm;

/// Largest [`Pod`] in use.
const POD_MAX: usize = 512;
/// Most bytes copied at once into kernel memory by [`Mm::read_vec`].
pub const COPY_MAX: usize = 1 << 20;

fn efault(_: Fault) -> Errno {
    Errno::EFAULT
}

/// Bytes of `len` that fit in the page of `va`.
fn in_page(va: u64, len: usize) -> usize {
    len.min(PAGE_SIZE - (va & PAGE_MASK) as usize)
}

impl Mm {
    /// The bytes at `va` up to the end of its page, at most `len`.
    pub fn user_chunk(&mut self, va: u64, len: usize) -> Result<&[u8], Errno> {
        let pa = self.translate(va, Access::Read).map_err(efault)?;
        let at = pa as usize % PAGE_SIZE;
        Ok(&self.phys.bytes(mem::Frame::containing(pa))[at..at + in_page(va, len)])
    }

    /// The bytes at `va` up to the end of its page, at most `len`, to be written.
    pub fn user_chunk_mut(&mut self, va: u64, len: usize) -> Result<&mut [u8], Errno> {
        let pa = self.translate(va, Access::Write).map_err(efault)?;
        let at = pa as usize % PAGE_SIZE;
        Ok(&mut self.phys.bytes_mut(mem::Frame::containing(pa))[at..at + in_page(va, len)])
    }

    /// Fills `buf` from user memory.
    pub fn read_user(&mut self, va: u64, buf: &mut [u8]) -> Result<(), Errno> {
        let mut done = 0;
        while done < buf.len() {
            let chunk = self.user_chunk(va.wrapping_add(done as u64), buf.len() - done)?;
            buf[done..done + chunk.len()].copy_from_slice(chunk);
            done += chunk.len();
        }
        Ok(())
    }

    /// Stores `buf` in user memory.
    pub fn write_user(&mut self, va: u64, buf: &[u8]) -> Result<(), Errno> {
        match self.write_user_partial(va, buf) {
            done if done == buf.len() => Ok(()),
            _ => Err(Errno::EFAULT),
        }
    }

    /// Stores as much of `buf` as the addresses allow: bytes stored.
    pub fn write_user_partial(&mut self, va: u64, buf: &[u8]) -> usize {
        let mut done = 0;
        while done < buf.len() {
            let Ok(chunk) = self.user_chunk_mut(va.wrapping_add(done as u64), buf.len() - done)
            else {
                break;
            };
            let n = chunk.len();
            chunk.copy_from_slice(&buf[done..done + n]);
            done += n;
        }
        done
    }

    /// Reads as much as the addresses allow: bytes read.
    pub fn read_user_partial(&mut self, va: u64, buf: &mut [u8]) -> usize {
        let mut done = 0;
        while done < buf.len() {
            let Ok(chunk) = self.user_chunk(va.wrapping_add(done as u64), buf.len() - done) else {
                break;
            };
            let n = chunk.len();
            buf[done..done + n].copy_from_slice(chunk);
            done += n;
        }
        done
    }

    /// `len` bytes (at most [`COPY_MAX`], else `EINVAL`).
    pub fn read_vec(&mut self, va: u64, len: usize) -> Result<Vec<u8>, Errno> {
        if len > COPY_MAX {
            return Err(Errno::EINVAL);
        }
        let mut buf = vec![0; len];
        self.read_user(va, &mut buf)?;
        Ok(buf)
    }

    /// Zeroes `len` bytes.
    pub fn zero_user(&mut self, va: u64, len: u64) -> Result<(), Errno> {
        let mut done = 0;
        while done < len {
            let want = (len - done).min(PAGE_SIZE as u64) as usize;
            let chunk = self.user_chunk_mut(va.wrapping_add(done), want)?;
            chunk.fill(0);
            done += chunk.len() as u64;
        }
        Ok(())
    }

    /// The bytes before the NUL at or after `va`. `None` within `Ok` if there is none in the first `max` bytes.
    fn cstr(&mut self, va: u64, max: usize) -> Result<Option<Vec<u8>>, Errno> {
        let mut out = Vec::new();
        while out.len() < max {
            let chunk = self.user_chunk(va.wrapping_add(out.len() as u64), max - out.len())?;
            match chunk.iter().position(|&b| b == 0) {
                Some(end) => {
                    out.extend_from_slice(&chunk[..end]);
                    return Ok(Some(out));
                }
                None => out.extend_from_slice(chunk),
            }
        }
        Ok(None)
    }

    /// A NUL-terminated string of fewer than `max` bytes; `ENAMETOOLONG` if there is no NUL in them.
    pub fn read_cstr(&mut self, va: u64, max: usize) -> Result<Vec<u8>, Errno> {
        self.cstr(va, max)?.ok_or(Errno::ENAMETOOLONG)
    }

    /// A path: a string of fewer than `PATH_MAX` (4096) bytes.
    pub fn read_path(&mut self, va: u64) -> Result<Vec<u8>, Errno> {
        self.read_cstr(va, 4096)
    }

    /// A record.
    pub fn read_pod<T: Pod>(&mut self, va: u64) -> Result<T, Errno> {
        let mut buf = [0; POD_MAX];
        let buf = buf.get_mut(..T::SIZE).ok_or(Errno::EFAULT)?;
        self.read_user(va, buf)?;
        Ok(T::from_bytes(buf))
    }

    /// Stores a record.
    pub fn write_pod<T: Pod>(&mut self, va: u64, value: &T) -> Result<(), Errno> {
        let mut buf = [0; POD_MAX];
        let buf = buf.get_mut(..T::SIZE).ok_or(Errno::EFAULT)?;
        value.to_bytes(buf);
        self.write_user(va, buf)
    }
}
