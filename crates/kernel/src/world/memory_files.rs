//! `/proc/meminfo`, `vmstat`, `zoneinfo`, `buddyinfo` and `slabinfo` (proc(5)): one node with one zone.

use std::fmt::Write;

use mem::Purpose;

use crate::Kernel;

/// Orders of free areas that `buddyinfo` lists.
const ORDERS: u32 = 11;
/// Largest area, in pages.
const LARGEST: u64 = 1 << (ORDERS - 1);

/// The head of `slabinfo`; nothing is kept in slabs.
pub(super) const SLABINFO: &str = "slabinfo - version: 2.1\n\
# name            <active_objs> <num_objs> <objsize> <objperslab> <pagesperslab> : tunables <limit> <batchcount> \
<sharedfactor> : slabdata <active_slabs> <num_slabs> <sharedavail>\n";

impl Kernel {
    pub(super) fn meminfo(&self) -> String {
        let (free, total) = self.memory();
        let (free, total) = (free >> 10, total >> 10);
        let used = total.saturating_sub(free);
        let account = self.mm.phys.account();
        let anonymous = account.used(Purpose::Programs) >> 10;
        // Files lie in memory: they are their own cache.
        let files = account.used(Purpose::Files) >> 10;
        let rows: [(&str, u64); 53] = [
            ("MemTotal", total),
            ("MemFree", free),
            ("MemAvailable", free),
            ("Buffers", 0),
            ("Cached", files),
            ("SwapCached", 0),
            ("Active", used),
            ("Inactive", 0),
            ("Active(anon)", used),
            ("Inactive(anon)", 0),
            ("Active(file)", 0),
            ("Inactive(file)", 0),
            ("Unevictable", 0),
            ("Mlocked", 0),
            ("SwapTotal", 0),
            ("SwapFree", 0),
            ("Zswap", 0),
            ("Zswapped", 0),
            ("Dirty", 0),
            ("Writeback", 0),
            ("AnonPages", anonymous),
            ("Mapped", 0),
            ("Shmem", files),
            ("KReclaimable", 0),
            ("Slab", 0),
            ("SReclaimable", 0),
            ("SUnreclaim", 0),
            ("KernelStack", 0),
            ("PageTables", 0),
            ("SecPageTables", 0),
            ("NFS_Unstable", 0),
            ("Bounce", 0),
            ("WritebackTmp", 0),
            ("CommitLimit", total / 2),
            ("Committed_AS", used),
            ("VmallocTotal", 34_359_738_367),
            ("VmallocUsed", 0),
            ("VmallocChunk", 0),
            ("Percpu", 0),
            ("AnonHugePages", 0),
            ("ShmemHugePages", 0),
            ("ShmemPmdMapped", 0),
            ("FileHugePages", 0),
            ("FilePmdMapped", 0),
            ("HugePages_Total", 0),
            ("HugePages_Free", 0),
            ("HugePages_Rsvd", 0),
            ("HugePages_Surp", 0),
            ("Hugepagesize", 2048),
            ("Hugetlb", 0),
            ("DirectMap4k", total),
            ("DirectMap2M", 0),
            ("DirectMap1G", 0),
        ];
        let mut out = String::new();
        for (name, value) in rows {
            let unit = if name.starts_with("HugePages") { "" } else { " kB" };
            let _ = writeln!(out, "{:<16}{value:>8}{unit}", format!("{name}:"));
        }
        out
    }

    pub(super) fn vmstat(&self) -> String {
        let (free, total) = self.memory();
        let used = total.saturating_sub(free) >> 12;
        let faults: u64 = self.mm.spaces().map(|s| s.faults).sum();
        let rows = [
            ("nr_free_pages", free >> 12),
            ("nr_zone_active_anon", used),
            ("nr_mlock", 0),
            ("numa_hit", faults),
            ("numa_miss", 0),
            ("numa_foreign", 0),
            ("numa_interleave", 0),
            ("numa_local", faults),
            ("numa_other", 0),
            ("nr_inactive_anon", 0),
            ("nr_active_anon", used),
            ("nr_inactive_file", 0),
            ("nr_active_file", 0),
            ("nr_unevictable", 0),
            ("nr_slab_reclaimable", 0),
            ("nr_slab_unreclaimable", 0),
            ("nr_anon_pages", used),
            ("nr_mapped", 0),
            ("nr_file_pages", 0),
            ("nr_dirty", 0),
            ("nr_writeback", 0),
            ("nr_shmem", 0),
            ("nr_dirtied", 0),
            ("nr_written", 0),
            ("nr_kernel_stack", 0),
            ("nr_page_table_pages", 0),
            ("pgpgin", 0),
            ("pgpgout", 0),
            ("pswpin", 0),
            ("pswpout", 0),
            ("pgalloc_normal", faults),
            ("pgfree", 0),
            ("pgactivate", 0),
            ("pgdeactivate", 0),
            ("pgfault", faults),
            ("pgmajfault", 0),
            ("pgsteal_kswapd", 0),
            ("pgsteal_direct", 0),
            ("pgscan_kswapd", 0),
            ("pgscan_direct", 0),
            ("oom_kill", 0),
        ];
        rows.iter().map(|(name, value)| format!("{name} {value}\n")).collect()
    }

    pub(super) fn buddyinfo(&self) -> String {
        let free = self.memory().0 >> 12;
        let mut out = String::from("Node 0, zone   Normal ");
        for order in 0..ORDERS {
            let areas = if order == ORDERS - 1 { free / LARGEST } else { free >> order & 1 };
            let _ = write!(out, "{areas:>6} ");
        }
        out + "\n"
    }

    pub(super) fn zoneinfo(&self) -> String {
        let (free, total) = self.memory();
        let (free, total) = (free >> 12, total >> 12);
        let used = total.saturating_sub(free);
        format!(
            "Node 0, zone   Normal\n  per-node stats\n      nr_inactive_anon 0\n      nr_active_anon {used}\n\
             \x20     nr_inactive_file 0\n      nr_active_file 0\n      nr_unevictable 0\n      nr_anon_pages {used}\n\
             \x20     nr_mapped    0\n      nr_file_pages 0\n      nr_dirty     0\n      nr_writeback 0\n      nr_shmem     0\n\
             \x20 pages free     {free}\n        boost    0\n        min      0\n        low      0\n        high     0\n\
             \x20       spanned  {total}\n        present  {total}\n        managed  {total}\n        cma      0\n\
             \x20       protection: (0, 0, 0, 0)\n      nr_free_pages {free}\n  pagesets\n    cpu: 0\n\
             \x20             count: 0\n              high:  0\n              batch: 1\n  vm stats threshold: 1\n\
             \x20 node_unreclaimable:  0\n  start_pfn:           0\n"
        )
    }
}
