//! `/proc/pid/maps`, `/proc/pid/smaps` and `/proc/pid/pagemap`.

use std::fmt::Write;

use abi::mman::{PROT_EXEC, PROT_READ, PROT_WRITE};
use mem::PAGE_SHIFT;

use crate::mm::{Space, Vma};

/// The header line of one mapping.
fn line(out: &mut String, space: &Space, start: u64, vma: &Vma) {
    let prot = vma.rights.prot;
    let bit = |set: bool, c: char| if set { c } else { '-' };
    let name = vma.source.as_ref().map(|s| s.name());
    let (dev, ino) = name.as_ref().map_or((0, 0), |n| (n.dev, n.ino));
    let offset = if vma.source.is_some() { vma.page << PAGE_SHIFT } else { 0 };
    let head = format!(
        "{start:08x}-{:08x} {}{}{}{} {offset:08x} {:02x}:{:02x} {ino} ",
        vma.end,
        bit(prot & PROT_READ != 0, 'r'),
        bit(prot & PROT_WRITE != 0, 'w'),
        bit(prot & PROT_EXEC != 0, 'x'),
        if vma.rights.shared { 's' } else { 'p' },
        dev >> 8,
        dev & 0xff,
    );
    let layout = &space.layout;
    let text = match name {
        Some(name) => String::from_utf8_lossy(&name.path).into_owned(),
        None if vma.rights.grows_down && vma.end == layout.stack_top => "[stack]".into(),
        None if start < layout.brk && vma.end > layout.brk_start => "[heap]".into(),
        None => String::new(),
    };
    if text.is_empty() {
        let _ = writeln!(out, "{head}");
    } else {
        // Names start in column 73.
        let _ = writeln!(out, "{head:<73}{}", text.replace('\n', "\\012"));
    }
}

/// `/proc/pid/maps`.
pub(super) fn maps(space: &Space) -> String {
    let mut out = String::new();
    for (start, vma) in space.vmas().iter() {
        line(&mut out, space, start, vma);
    }
    out
}

/// `/proc/pid/pagemap` from page `first` on. Where pages lie is shown to nobody without CAP_SYS_ADMIN, and so not here.
pub(super) fn page_map(space: &Space, first: u64, out: &mut [u64]) {
    const PRESENT: u64 = 1 << 63;
    /// A page of a file, or shared anonymous memory.
    const FILE: u64 = 1 << 61;
    let last = first + out.len() as u64;
    for (page, writable) in space.resident_pages(first, last) {
        let vma = space.vmas().find(page << PAGE_SHIFT).map(|(_, vma)| vma);
        // A private page of a file that may be written to at once is the process's own.
        let of_file =
            vma.is_some_and(|vma| vma.rights.shared || (vma.source.is_some() && !writable));
        out[(page - first) as usize] = if of_file { PRESENT | FILE } else { PRESENT };
    }
}

/// Resident bytes of a mapping, by what they are.
#[derive(Clone, Copy, Default)]
struct Usage {
    rss: u64,
    anonymous: u64,
    file: u64,
    shared: u64,
}

fn usage(space: &Space, start: u64, vma: &Vma) -> Usage {
    let rss = space.resident_in(start, vma.end) << PAGE_SHIFT >> 10;
    match (&vma.source, vma.rights.shared) {
        (None, _) => Usage { rss, anonymous: rss, ..Usage::default() },
        (Some(_), true) => Usage { rss, shared: rss, ..Usage::default() },
        (Some(_), false) => Usage { rss, file: rss, ..Usage::default() },
    }
}

/// The fields that `smaps` and `smaps_rollup` share, in Linux's order.
fn fields(out: &mut String, of: Usage, rollup: bool) {
    let kib = |out: &mut String, name: &str, value: u64| {
        let _ = writeln!(out, "{:<16}{value:>8} kB", format!("{name}:"));
    };
    kib(out, "Rss", of.rss);
    kib(out, "Pss", of.rss);
    kib(out, "Pss_Dirty", of.anonymous + of.shared);
    if rollup {
        kib(out, "Pss_Anon", of.anonymous);
        kib(out, "Pss_File", of.file);
        kib(out, "Pss_Shmem", of.shared);
    }
    kib(out, "Shared_Clean", 0);
    kib(out, "Shared_Dirty", of.shared);
    kib(out, "Private_Clean", of.file);
    kib(out, "Private_Dirty", of.anonymous);
    kib(out, "Referenced", of.rss);
    kib(out, "Anonymous", of.anonymous);
    for name in ["KSM", "LazyFree", "AnonHugePages", "ShmemPmdMapped", "FilePmdMapped"] {
        kib(out, name, 0);
    }
    for name in ["Shared_Hugetlb", "Private_Hugetlb", "Swap", "SwapPss", "Locked"] {
        kib(out, name, 0);
    }
}

/// `/proc/pid/smaps`.
pub(super) fn smaps(space: &Space) -> String {
    let mut out = String::new();
    for (start, vma) in space.vmas().iter() {
        line(&mut out, space, start, vma);
        let size = (vma.end - start) >> 10;
        let _ = writeln!(
            out,
            "Size:           {size:>8} kB\nKernelPageSize:        4 kB\nMMUPageSize:           4 kB"
        );
        fields(&mut out, usage(space, start, vma), false);
        let rights = &vma.rights;
        let flags = [
            (rights.prot & PROT_READ != 0, "rd"),
            (rights.prot & PROT_WRITE != 0, "wr"),
            (rights.prot & PROT_EXEC != 0, "ex"),
            (rights.shared, "sh"),
            (true, "mr"),
            (rights.may_write, "mw"),
            (rights.may_exec, "me"),
            (rights.shared && rights.may_write, "ms"),
            (rights.grows_down, "gd"),
            (rights.locked, "lo"),
            (!rights.shared && vma.source.is_none(), "ac"),
            (rights.dont_fork, "dc"),
            (rights.wipe_on_fork, "wf"),
        ];
        out.push_str("THPeligible:           0\nVmFlags: ");
        flags.iter().filter(|(on, _)| *on).for_each(|(_, name)| {
            out.push_str(name);
            out.push(' ');
        });
        out.push('\n');
    }
    out
}

/// `/proc/pid/smaps_rollup`.
pub(super) fn smaps_rollup(space: &Space) -> String {
    let (mut first, mut last, mut sum) = (None, 0, Usage::default());
    for (start, vma) in space.vmas().iter() {
        let one = usage(space, start, vma);
        first.get_or_insert(start);
        last = vma.end;
        sum.rss += one.rss;
        sum.anonymous += one.anonymous;
        sum.file += one.file;
        sum.shared += one.shared;
    }
    let head = format!("{:08x}-{last:08x} ---p 00000000 00:00 0 ", first.unwrap_or(0));
    let mut out = format!("{head:<73}[rollup]\n");
    fields(&mut out, sum, true);
    out
}
