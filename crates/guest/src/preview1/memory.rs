//! The program's memory: what of linear memory lies behind the box's own.
#![allow(unsafe_code)] // the program's pointers become slices here

use abi::Errno;
use std::cell::Cell;

/// Bytes of a Wasm page.
const WASM_PAGE: u64 = 64 << 10;

thread_local! {
    /// Where the program's memory begins: the linker has moved all of its addresses by so much.
    static BASE: Cell<usize> = const { Cell::new(0) };
}

/// Takes the place of the program's memory from the linker.
pub fn begins_at(base: usize) {
    BASE.set(base);
}

/// Size of the program's memory, in bytes.
fn size() -> u64 {
    #[cfg(target_arch = "wasm32")]
    {
        #[link(wasm_import_module = "boxer")]
        unsafe extern "C" {
            /// Pages of the program's memory, which only the linker can tell from the box's own: it puts a function here.
            #[link_name = "program-pages"]
            safe fn program_pages() -> u32;
        }
        u64::from(program_pages()) * WASM_PAGE
    }
    #[cfg(not(target_arch = "wasm32"))]
    {
        0 * WASM_PAGE
    }
}

/// Where the bytes `at..at + len` of the program's memory are in linear memory; `EFAULT` if they are not all there.
pub fn place(at: u32, len: u32) -> Result<usize, Errno> {
    if u64::from(at) + u64::from(len) > size() {
        return Err(Errno::EFAULT);
    }
    Ok(BASE.get() + at as usize)
}

/// Bytes of the program's memory. No other slice of the same bytes may be in use: each caller is done with one before it asks for
/// the next.
pub fn bytes(at: u32, len: u32) -> Result<&'static mut [u8], Errno> {
    if len == 0 {
        return Ok(&mut []);
    }
    let start = place(at, len)?;
    // SAFETY: `place` has checked the range against the memory, which never shrinks. It is the program's: no Rust object lies there,
    // and the program stands still until the call returns.
    Ok(unsafe { std::slice::from_raw_parts_mut(start as *mut u8, len as usize) })
}

/// Writes bytes there.
pub fn put(at: u32, from: &[u8]) -> Result<(), Errno> {
    bytes(at, from.len() as u32)?.copy_from_slice(from);
    Ok(())
}

/// Writes a number there.
pub fn put_u32(at: u32, value: u32) -> Result<(), Errno> {
    put(at, &value.to_le_bytes())
}

/// Writes a number there.
pub fn put_u64(at: u32, value: u64) -> Result<(), Errno> {
    put(at, &value.to_le_bytes())
}

/// The number at a place of a record.
pub fn u32_at(record: &[u8], at: usize) -> u32 {
    let bytes = record.get(at..at + 4).and_then(|bytes| bytes.try_into().ok());
    bytes.map_or(0, u32::from_le_bytes)
}

/// The number at a place of a record.
pub fn u64_at(record: &[u8], at: usize) -> u64 {
    let bytes = record.get(at..at + 8).and_then(|bytes| bytes.try_into().ok());
    bytes.map_or(0, u64::from_le_bytes)
}

/// The buffers of an `iovec` or `ciovec` array: address and length of each.
pub fn vectors(at: u32, count: u32) -> Result<Vec<(u32, u32)>, Errno> {
    const RECORD: usize = 8;
    let len = count.checked_mul(RECORD as u32).ok_or(Errno::EFAULT)?;
    let records = bytes(at, len)?.chunks_exact(RECORD);
    Ok(records.map(|record| (u32_at(record, 0), u32_at(record, 4))).collect())
}

/// A path: WASI's are UTF-8.
pub fn path(at: u32, len: u32) -> Result<Vec<u8>, Errno> {
    let path = bytes(at, len)?.to_vec();
    if std::str::from_utf8(&path).is_err() {
        return Err(Errno::EILSEQ);
    }
    if path.contains(&0) {
        return Err(Errno::EINVAL);
    }
    Ok(path)
}
