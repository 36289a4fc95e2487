//! `/proc/pid/maps` and `/proc/pid/smaps`.

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

/// `/proc/pid/smaps`, with the fields that are known.
pub(super) fn smaps(space: &Space) -> String {
    let mut out = String::new();
    for (start, vma) in space.vmas().iter() {
        line(&mut out, space, start, vma);
        let size = (vma.end - start) >> 10;
        let rss = space.resident_in(start, vma.end) << PAGE_SHIFT >> 10;
        let anonymous = if vma.source.is_none() { rss } else { 0 };
        let _ = writeln!(
            out,
            "Size:           {size:>8} kB\nKernelPageSize:        4 kB\nMMUPageSize:           4 kB\n\
             Rss:            {rss:>8} kB\nPss:            {rss:>8} kB\nShared_Clean:          0 kB\n\
             Shared_Dirty:          0 kB\nPrivate_Clean:         0 kB\nPrivate_Dirty:  {anonymous:>8} kB\n\
             Referenced:     {rss:>8} kB\nAnonymous:      {anonymous:>8} kB\nSwap:                  0 kB\n\
             Locked:                0 kB\nVmFlags: mr mw me"
        );
    }
    out
}
