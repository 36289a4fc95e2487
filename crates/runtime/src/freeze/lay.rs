//! How a state that was captured is laid into a memory: what is mapped, and what is copied over that.

use link::{Extent, WORTH_MAPPING};
use std::sync::Arc;

/// What to map and then to copy, both in order of address, so that memory is as `extents` (in order, without overlap) say. Small ones are
/// copied; what lies on both sides of them and belongs together in its file is mapped as one, because a process has only so many mappings, and
/// who has written to these pages once will most likely do so again.
pub fn lay(extents: &[Extent]) -> (Vec<Extent>, Vec<Extent>) {
    let (mut mapped, mut copied): (Vec<Extent>, Vec<Extent>) = Default::default();
    // Up to where the last mapping and what is copied behind it leave no gap.
    let mut reached = 0;
    for extent in extents {
        match mapped.last_mut() {
            Some(last) if reached == start(extent) && continues(last, extent) => {
                last.len = extent.address - last.address + extent.len;
            }
            _ if (extent.len as usize) < WORTH_MAPPING => {
                copied.push(extent.clone());
                if reached != start(extent) {
                    // A gap is zero, and not what the file has there.
                    continue;
                }
            }
            _ => mapped.push(extent.clone()),
        }
        reached = start(extent) + u64::from(extent.len);
    }
    (mapped, copied)
}

fn start(extent: &Extent) -> u64 {
    u64::from(extent.address)
}

/// Whether `next` is what a mapping of `last` would show if it were longer.
fn continues(last: &Extent, next: &Extent) -> bool {
    let between = start(next) - start(last);
    Arc::ptr_eq(&last.file, &next.file) && last.offset.checked_add(between) == Some(next.offset)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test")]
mod tests {
    use super::*;
    use link::PAGE;
    use std::fs::File;

    fn pages(file: &Arc<File>, first: u32, count: u32, offset: u64) -> Extent {
        let page = PAGE as u32;
        let (address, len) = (first * page, count * page);
        Extent { address, len, file: file.clone(), offset: offset * PAGE as u64 }
    }

    fn seen(extents: &[Extent]) -> Vec<(u32, u32)> {
        let page = PAGE as u32;
        extents.iter().map(|extent| (extent.address / page, extent.len / page)).collect()
    }

    #[test]
    fn small_changes_do_not_cut_what_is_mapped() {
        let file = || Arc::new(tempfile::tempfile().unwrap());
        let (base, own) = (file(), file());
        let extents = [
            pages(&base, 10, 40, 5),
            pages(&own, 50, 2, 0),
            pages(&base, 52, 3, 47),
            pages(&own, 55, 1, 2),
            pages(&base, 56, 44, 51),
            // Large.
            pages(&own, 100, 20, 3),
            pages(&base, 120, 30, 115),
            // Behind a gap.
            pages(&own, 151, 1, 23),
            pages(&base, 152, 20, 147),
            // Elsewhere in the file.
            pages(&base, 172, 20, 200),
            pages(&own, 192, 3, 24),
        ];
        let (mapped, copied) = lay(&extents);
        assert_eq!(seen(&mapped), [(10, 90), (100, 20), (120, 30), (152, 20), (172, 20)]);
        assert_eq!(seen(&copied), [(50, 2), (55, 1), (151, 1), (192, 3)]);
    }
}
