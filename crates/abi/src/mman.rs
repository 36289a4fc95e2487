//! Memory mapping (`asm-generic/mman-common.h`, `asm-generic/mman.h`).

/// Pages may be read.
pub const PROT_READ: u64 = 1;
/// Pages may be written.
pub const PROT_WRITE: u64 = 2;
/// Pages may be executed.
pub const PROT_EXEC: u64 = 4;
/// For atomic operations, on processors that make a difference.
pub const PROT_SEM: u64 = 8;
/// mprotect: extend to the start of a growing-down mapping.
pub const PROT_GROWSDOWN: u64 = 0x0100_0000;
/// mprotect: extend to the end of a growing-up mapping.
pub const PROT_GROWSUP: u64 = 0x0200_0000;

/// Changes are shared.
pub const MAP_SHARED: u64 = 1;
/// Changes are private.
pub const MAP_PRIVATE: u64 = 2;
/// Shared, with unknown flags refused.
pub const MAP_SHARED_VALIDATE: u64 = 3;
/// The bits that hold the mapping type.
pub const MAP_TYPE: u64 = 0xf;
/// Place exactly at the address.
pub const MAP_FIXED: u64 = 0x10;
/// No file.
pub const MAP_ANONYMOUS: u64 = 0x20;
/// Place in the first 2 GiB.
pub const MAP_32BIT: u64 = 0x40;
/// Stack-like segment.
pub const MAP_GROWSDOWN: u64 = 0x100;
/// Ignored.
pub const MAP_DENYWRITE: u64 = 0x800;
/// Lock pages.
pub const MAP_LOCKED: u64 = 0x2000;
/// Do not reserve swap.
pub const MAP_NORESERVE: u64 = 0x4000;
/// Fault in at once.
pub const MAP_POPULATE: u64 = 0x8000;
/// With MAP_POPULATE: do not block.
pub const MAP_NONBLOCK: u64 = 0x1_0000;
/// Stack.
pub const MAP_STACK: u64 = 0x2_0000;
/// Huge pages.
pub const MAP_HUGETLB: u64 = 0x4_0000;
/// Synchronous faults.
pub const MAP_SYNC: u64 = 0x8_0000;
/// Place exactly at the address, `EEXIST` if something is there.
pub const MAP_FIXED_NOREPLACE: u64 = 0x10_0000;

/// mremap: the mapping may move.
pub const MREMAP_MAYMOVE: u64 = 1;
/// mremap: move to the given address.
pub const MREMAP_FIXED: u64 = 2;
/// mremap: leave the old mapping, empty.
pub const MREMAP_DONTUNMAP: u64 = 4;

/// msync: asynchronously.
pub const MS_ASYNC: u64 = 1;
/// msync: invalidate other mappings.
pub const MS_INVALIDATE: u64 = 2;
/// msync: synchronously.
pub const MS_SYNC: u64 = 4;

/// madvise: drop the pages.
pub const MADV_DONTNEED: u64 = 4;
/// madvise: the pages may be dropped.
pub const MADV_FREE: u64 = 8;
/// madvise: drop the pages and their backing.
pub const MADV_REMOVE: u64 = 9;
/// madvise: not inherited by fork.
pub const MADV_DONTFORK: u64 = 10;
/// madvise: undo MADV_DONTFORK.
pub const MADV_DOFORK: u64 = 11;
/// madvise: zero in the child of a fork.
pub const MADV_WIPEONFORK: u64 = 18;
/// madvise: undo MADV_WIPEONFORK.
pub const MADV_KEEPONFORK: u64 = 19;
/// madvise: fault in for reading.
pub const MADV_POPULATE_READ: u64 = 22;
/// madvise: fault in for writing.
pub const MADV_POPULATE_WRITE: u64 = 23;
/// madvise: as MADV_DONTNEED, of locked pages as well.
pub const MADV_DONTNEED_LOCKED: u64 = 24;
/// madvise: bring in huge pages in the place of small ones.
pub const MADV_COLLAPSE: u64 = 25;
/// madvise: mergeable to do-dump (12 to 17), hints without effect here.
pub const MADV_DODUMP_RANGE: core::ops::RangeInclusive<u64> = 12..=17;
