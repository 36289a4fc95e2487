//! Memory mapping.

use super::{Arg::*, Row};
use crate::syscall::{memory, mempolicy, pkey};
use abi::mman::*;

const PROT: &[(u64, &str)] = &[
    (0, "PROT_NONE"),
    (PROT_READ, "PROT_READ"),
    (PROT_WRITE, "PROT_WRITE"),
    (PROT_EXEC, "PROT_EXEC"),
];
const MAP: &[(u64, &str)] = &[
    (MAP_SHARED, "MAP_SHARED"),
    (MAP_PRIVATE, "MAP_PRIVATE"),
    (MAP_FIXED, "MAP_FIXED"),
    (MAP_ANONYMOUS, "MAP_ANONYMOUS"),
    (MAP_32BIT, "MAP_32BIT"),
    (MAP_GROWSDOWN, "MAP_GROWSDOWN"),
    (MAP_DENYWRITE, "MAP_DENYWRITE"),
    (MAP_LOCKED, "MAP_LOCKED"),
    (MAP_NORESERVE, "MAP_NORESERVE"),
    (MAP_POPULATE, "MAP_POPULATE"),
    (MAP_NONBLOCK, "MAP_NONBLOCK"),
    (MAP_STACK, "MAP_STACK"),
    (MAP_HUGETLB, "MAP_HUGETLB"),
    (MAP_SYNC, "MAP_SYNC"),
    (MAP_FIXED_NOREPLACE, "MAP_FIXED_NOREPLACE"),
];
const MREMAP: &[(u64, &str)] = &[
    (MREMAP_MAYMOVE, "MREMAP_MAYMOVE"),
    (MREMAP_FIXED, "MREMAP_FIXED"),
    (MREMAP_DONTUNMAP, "MREMAP_DONTUNMAP"),
];
const MS: &[(u64, &str)] =
    &[(MS_ASYNC, "MS_ASYNC"), (MS_INVALIDATE, "MS_INVALIDATE"), (MS_SYNC, "MS_SYNC")];
const MADV: &[(u64, &str)] = &[
    (0, "MADV_NORMAL"),
    (1, "MADV_RANDOM"),
    (2, "MADV_SEQUENTIAL"),
    (3, "MADV_WILLNEED"),
    (MADV_DONTNEED, "MADV_DONTNEED"),
    (MADV_FREE, "MADV_FREE"),
    (MADV_REMOVE, "MADV_REMOVE"),
    (MADV_DONTFORK, "MADV_DONTFORK"),
    (MADV_DOFORK, "MADV_DOFORK"),
    (14, "MADV_HUGEPAGE"),
    (15, "MADV_NOHUGEPAGE"),
    (16, "MADV_DONTDUMP"),
    (17, "MADV_DODUMP"),
    (MADV_WIPEONFORK, "MADV_WIPEONFORK"),
    (MADV_KEEPONFORK, "MADV_KEEPONFORK"),
    (MADV_POPULATE_READ, "MADV_POPULATE_READ"),
    (MADV_POPULATE_WRITE, "MADV_POPULATE_WRITE"),
    (MADV_DONTNEED_LOCKED, "MADV_DONTNEED_LOCKED"),
    (MADV_COLLAPSE, "MADV_COLLAPSE"),
];

pub(super) static ROWS: &[Row] = crate::syscall_rows! {
    9 mmap(addr: Ptr, len: Size, prot: Flags(PROT), flags: Flags(MAP), fd: Fd, offset: Hex) = memory::mmap, Full, "huge pages refuse", hex;
    10 mprotect(addr: Ptr, len: Size, prot: Flags(PROT)) = memory::mprotect, Full, "";
    11 munmap(addr: Ptr, len: Size) = memory::munmap, Full, "";
    12 brk(addr: Ptr) = memory::brk, Full, "", hex;
    25 mremap(old: Ptr, old_len: Size, new_len: Size, flags: Flags(MREMAP), new: Ptr) = memory::mremap, Full, "", hex;
    26 msync(addr: Ptr, len: Size, flags: Flags(MS)) = memory::msync, Full, "";
    27 mincore(addr: Ptr, len: Size, vec: Ptr) = memory::mincore, Full, "";
    28 madvise(addr: Ptr, len: Size, advice: Enum(MADV)) = memory::madvise, Full, "";
    149 mlock(addr: Ptr, len: Size) = memory::mlock, Full, "";
    150 munlock(addr: Ptr, len: Size) = memory::munlock, Full, "";
    151 mlockall(flags: Hex) = memory::mlockall, Full, "";
    152 munlockall() = memory::munlockall, Full, "";
    216 remap_file_pages(addr: Ptr, size: Size, prot: Hex, page: Size, flags: Hex) = memory::remap_file_pages, Full, "";
    237 mbind(addr: Ptr, len: Size, mode: Int, mask: Ptr, max: Size, flags: Hex) = mempolicy::mbind, Partial, "one node; policies of ranges are checked, not remembered";
    238 set_mempolicy(mode: Int, mask: Ptr, max: Size) = mempolicy::set_mempolicy, Full, "one node";
    239 get_mempolicy(mode: Ptr, mask: Ptr, max: Size, addr: Ptr, flags: Hex) = mempolicy::get_mempolicy, Partial, "one node; ranges have the default policy";
    256 migrate_pages(pid: Int, max: Size, from: Ptr, to: Ptr) = mempolicy::migrate_pages, Full, "one node";
    279 move_pages(pid: Int, count: Size, pages: Ptr, nodes: Ptr, status: Ptr, flags: Hex) = mempolicy::move_pages, Full, "one node";
    325 mlock2(addr: Ptr, len: Size, flags: Hex) = memory::mlock2, Full, "";
    329 pkey_mprotect(addr: Ptr, len: Size, prot: Flags(PROT), key: Int) = pkey::pkey_mprotect, Full, "a processor without keys";
    330 pkey_alloc(flags: Hex, rights: Hex) = pkey::pkey_alloc, Full, "ENOSPC: a processor without keys";
    331 pkey_free(key: Int) = pkey::pkey_free, Full, "a processor without keys";
};
