//! Memory calls: what mmap(2), mprotect(2), mremap(2), brk(2), madvise(2) and fork(2) promise.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod harness;

use abi::Errno;
use harness::Sys;
use mem::{Access, FaultKind, Translate};

const MMAP: u64 = 9;
const MPROTECT: u64 = 10;
const MUNMAP: u64 = 11;
const BRK: u64 = 12;
const MREMAP: u64 = 25;
const MINCORE: u64 = 27;
const MADVISE: u64 = 28;
const ANON: u64 = 0x22;
const FIXED: u64 = 0x10;
const NOREPLACE: u64 = 0x10_0000;
const NONE: u64 = u64::MAX;

fn fault(sys: &mut Sys, va: u64, access: Access) -> FaultKind {
    sys.k.mm.translate(va, access).unwrap_err().kind
}

#[test]
fn placement_and_unmapping() {
    let mut sys = Sys::new();
    let a = sys.map(3 * 4096);
    assert!(a < 1 << 32);
    sys.poke(a + 4094, b"abcd");
    // A hole in the middle.
    sys.ok(MUNMAP, &[a + 4096, 4096]);
    assert_eq!(fault(&mut sys, a + 4096, Access::Read), FaultKind::Unmapped);
    assert_eq!(sys.peek32(a + 8192), 0);
    // The hint is taken when free, and is only a hint.
    assert_eq!(sys.ok(MMAP, &[a + 4096, 4096, 3, ANON, NONE, 0]), a + 4096);
    assert_ne!(sys.ok(MMAP, &[a + 4096, 4096, 3, ANON, NONE, 0]), a + 4096);
    assert_eq!(sys.peek32(a + 4096), 0, "fresh pages are zero");
    // Hints above 4 GiB count as taken.
    assert!(sys.ok(MMAP, &[0xc0_0000_0000, 4096, 3, ANON, NONE, 0]) < 1 << 32);
    // MAP_FIXED may lie there.
    let high = 0xc0_0000_0000;
    assert_eq!(sys.ok(MMAP, &[high, 4096, 3, ANON | FIXED, NONE, 0]), high);
    sys.poke64(high, 7);
    assert_eq!(sys.peek64(high), 7);
    assert_eq!(sys.err(MMAP, &[high, 4096, 3, ANON | NOREPLACE, NONE, 0]), Errno::EEXIST);
    assert_eq!(sys.ok(MMAP, &[high, 4096, 3, ANON | FIXED, NONE, 0]), high);
    assert_eq!(sys.peek64(high), 0, "replaced");
}

#[test]
fn refusals() {
    let mut sys = Sys::new();
    let cases: [(&[u64], Errno); 9] = [
        (&[MMAP, 0, 0, 3, ANON, NONE, 0], Errno::EINVAL),
        (&[MMAP, 0, 4096, 3, 0x20, NONE, 0], Errno::EINVAL),
        (&[MMAP, 0, u64::MAX, 3, ANON, NONE, 0], Errno::ENOMEM),
        (&[MMAP, 0x1001, 4096, 3, ANON | FIXED, NONE, 0], Errno::EINVAL),
        (&[MMAP, 0, 4096, 3, 2, 99, 0], Errno::EBADF),
        (&[MMAP, 0, 4096, 3, 2, 0, 1], Errno::EINVAL),
        (&[MUNMAP, 1, 4096], Errno::EINVAL),
        (&[MUNMAP, 4096, 0], Errno::EINVAL),
        (&[MPROTECT, 0x7000_0000, 4096, 1], Errno::ENOMEM),
    ];
    for (args, want) in cases {
        assert_eq!(sys.err(args[0], &args[1..]), want, "{args:x?}");
    }
    // The whole address range at once must not take long or panic.
    for nr in [MUNMAP, MPROTECT, MADVISE, MINCORE, 26, 149] {
        for (addr, len) in
            [(0, u64::MAX), (0, 0x7fff_ffff_f000), (u64::MAX, u64::MAX), (4096, 1 << 63)]
        {
            if nr == MUNMAP && addr == 0 && len == 0x7fff_ffff_f000 {
                continue;
            }
            let _ = sys.call(nr, &[addr, len, 4]);
        }
    }
}

#[test]
fn protection() {
    let mut sys = Sys::new();
    let a = sys.map(3 * 4096);
    sys.poke64(a + 4096, 5);
    sys.ok(MPROTECT, &[a + 4096, 4096, 1]);
    assert_eq!(fault(&mut sys, a + 4096, Access::Write), FaultKind::Protection);
    assert_eq!(sys.peek64(a + 4096), 5);
    sys.poke64(a, 1);
    sys.poke64(a + 8192, 1);
    sys.ok(MPROTECT, &[a, 3 * 4096, 0]);
    assert_eq!(fault(&mut sys, a, Access::Read), FaultKind::Protection);
    sys.ok(MPROTECT, &[a, 3 * 4096, 3]);
    assert_eq!(sys.peek64(a + 4096), 5, "contents survive PROT_NONE");
    assert_eq!(fault(&mut sys, a, Access::Fetch), FaultKind::Protection);
    sys.ok(MPROTECT, &[a, 4096, 5]);
    sys.k.mm.translate(a, Access::Fetch).unwrap();
}

#[test]
fn copy_on_write_after_fork() {
    let mut sys = Sys::new();
    let parent = sys.tid;
    let private = sys.map(8192);
    let shared = sys.ok(MMAP, &[0, 8192, 3, 0x21, NONE, 0]);
    sys.poke64(private, 1);
    sys.poke64(shared, 1);
    let used = sys.k.mm.phys.used_bytes();
    let child = sys.fork();
    assert_eq!(sys.k.mm.phys.used_bytes(), used, "fork copies no page");
    sys.poke64(private, 2);
    sys.poke64(shared, 2);
    // Untouched so far: shared all the same.
    sys.poke64(shared + 4096, 9);
    sys.run(child);
    assert_eq!(sys.rax(), 0);
    assert_eq!(sys.peek64(private), 1);
    assert_eq!(sys.peek64(shared), 2);
    assert_eq!(sys.peek64(shared + 4096), 9);
    sys.poke64(private, 3);
    sys.poke64(shared, 4);
    sys.run(parent);
    assert_eq!(sys.peek64(private), 2);
    assert_eq!(sys.peek64(shared), 4);
    // Fast-path tables never show another space's pages.
    let tables = sys.k.mm.look.tables(&sys.k.mm.phys);
    assert_eq!(tables.load::<u64>(private), Some(2));
    sys.run(child);
    let tables = sys.k.mm.look.tables(&sys.k.mm.phys);
    assert_eq!(tables.load::<u64>(private).unwrap_or(3), 3);
}

#[test]
fn wipe_and_dont_fork() {
    let mut sys = Sys::new();
    let a = sys.map(4096);
    let b = sys.map(4096);
    sys.poke64(a, 1);
    sys.poke64(b, 1);
    sys.ok(MADVISE, &[a, 4096, 18]);
    sys.ok(MADVISE, &[b, 4096, 10]);
    let child = sys.fork();
    sys.run(child);
    assert_eq!(sys.peek64(a), 0);
    assert_eq!(fault(&mut sys, b, Access::Read), FaultKind::Unmapped);
}

#[test]
fn madvise_dontneed_and_mincore() {
    let mut sys = Sys::new();
    let a = sys.map(3 * 4096);
    let vec = sys.map(4096);
    sys.poke64(a + 4096, 7);
    sys.ok(MINCORE, &[a, 3 * 4096, vec]);
    assert_eq!(sys.peek32(vec) & 0xff_ffff, 0x00_0100);
    sys.ok(MADVISE, &[a, 3 * 4096, 4]);
    assert_eq!(sys.peek64(a + 4096), 0);
    assert_eq!(sys.err(MADVISE, &[a, 4096, 77]), Errno::EINVAL);
    sys.ok(MUNMAP, &[a + 4096, 4096]);
    assert_eq!(sys.err(MADVISE, &[a, 3 * 4096, 4]), Errno::ENOMEM);
}

#[test]
fn remapping() {
    let mut sys = Sys::new();
    let a = sys.map(4 * 4096);
    sys.poke64(a, 11);
    sys.poke64(a + 3 * 4096, 14);
    assert_eq!(sys.ok(MREMAP, &[a, 4 * 4096, 2 * 4096, 0, 0]), a);
    assert_eq!(fault(&mut sys, a + 3 * 4096, Access::Read), FaultKind::Unmapped);
    assert_eq!(sys.ok(MREMAP, &[a, 2 * 4096, 4 * 4096, 0, 0]), a, "grows in place");
    assert_eq!(sys.peek64(a + 3 * 4096), 0);
    // Something in the way.
    sys.ok(MMAP, &[a + 4 * 4096, 4096, 3, ANON | FIXED, NONE, 0]);
    assert_eq!(sys.err(MREMAP, &[a, 4 * 4096, 6 * 4096, 0, 0]), Errno::ENOMEM);
    let b = sys.ok(MREMAP, &[a, 4 * 4096, 6 * 4096, 1, 0]);
    assert_ne!(a, b);
    assert_eq!(sys.peek64(b), 11);
    assert_eq!(fault(&mut sys, a, Access::Read), FaultKind::Unmapped);
    assert_eq!(sys.err(MREMAP, &[a, 4096, 4096, 1, 0]), Errno::EFAULT);
}

#[test]
fn heap() {
    let mut sys = Sys::new();
    let start = sys.ok(BRK, &[0]);
    assert_eq!(sys.ok(BRK, &[start + 10_000]), start + 10_000);
    sys.poke64(start + 9_000, 3);
    assert_eq!(sys.ok(BRK, &[start + 100]), start + 100);
    assert_eq!(fault(&mut sys, start + 9_000, Access::Read), FaultKind::Unmapped);
    assert_eq!(sys.ok(BRK, &[start - 1]), start + 100, "refused: the old end");
    assert_eq!(sys.ok(BRK, &[u64::MAX]), start + 100);
    sys.ok(BRK, &[start + 10_000]);
    assert_eq!(sys.peek64(start + 9_000), 0, "fresh again");
}

#[test]
fn stack_grows_to_its_limit_only() {
    let mut sys = Sys::new();
    let sp = sys.k.context(sys.tid).gpr[abi::RSP];
    sys.poke64(sp - (1 << 20), 1);
    sys.poke64(sp - (7 << 20), 1);
    assert_eq!(fault(&mut sys, sp - (9 << 20), Access::Write), FaultKind::Unmapped);
}

#[test]
fn limits_and_exhaustion() {
    let mut sys = Sys::with_memory(8 << 20);
    // Reserving more than there is works (overcommit) unless it is to be there; touching it runs out.
    assert_eq!(sys.err(MMAP, &[0, 64 << 20, 3, ANON, NONE, 0]), Errno::ENOMEM);
    let b = sys.map(1 << 20);
    sys.poke64(b, 1);
    let a = sys.ok(MMAP, &[0, 64 << 20, 3, ANON | 0x4000, NONE, 0]);
    let mut at = a;
    let kind = loop {
        match sys.k.mm.translate(at, Access::Write) {
            Ok(_) => at += 4096,
            Err(fault) => break fault.kind,
        }
    };
    assert_eq!(kind, FaultKind::OutOfMemory);
    // That kills: tests/limits.rs.
}

#[test]
fn address_space_has_a_limit() {
    let mut sys = Sys::new();
    let limit = sys.map(4096);
    sys.poke64(limit, 16 << 20);
    sys.poke64(limit + 8, 16 << 20);
    sys.ok(160, &[9, limit]);
    assert_eq!(sys.err(MMAP, &[0, 32 << 20, 3, ANON, NONE, 0]), Errno::ENOMEM);
}

#[test]
fn all_memory_comes_back() {
    let mut sys = Sys::new();
    let parent = sys.tid;
    let status = sys.map(4096);
    sys.poke64(status, 0);
    let before = sys.k.mm.phys.used_bytes();
    for _ in 0..20 {
        let child = sys.fork();
        sys.run(child);
        let a = sys.map(1 << 20);
        for page in 0..256 {
            sys.poke64(a + page * 4096, 1);
        }
        let s = sys.ok(MMAP, &[0, 1 << 20, 3, 0x21, NONE, 0]);
        sys.poke64(s, 1);
        sys.try_call(231, &[0]);
        sys.run(parent);
        assert_eq!(sys.ok(61, &[u64::MAX, status, 0, 0]), u64::from(child.0));
    }
    assert_eq!(sys.k.mm.phys.used_bytes(), before);
}
