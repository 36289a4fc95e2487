//! Bounds on what a layer may cost.

/// Bounds on what a layer may cost. They hold for all layers of one [`crate::Flatten`] together,
/// except where they say otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of uncompressed archives, and of file contents with their holes filled.
    pub bytes: u64,
    /// Bytes of holes in files: they cost nothing to send, and much to write.
    pub holes: u64,
    /// Entries of all archives.
    pub entries: u64,
    /// Bytes of names, link targets and extended attributes, which are held in memory.
    pub metadata: u64,
    /// Bytes of one path (Linux's `PATH_MAX`).
    pub path: usize,
    /// Bytes of one extended header (PAX records, GNU long name, sparse map).
    pub extended_header: u64,
    /// Uncompressed bytes for each compressed one, in one layer...
    pub ratio: u64,
    /// ...looked at from this many uncompressed bytes on: a small layer of zeros is harmless.
    pub ratio_from: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            bytes: 64 << 30,
            // More than a box can hold.
            holes: 4 << 30,
            entries: 4_000_000,
            metadata: 1 << 30,
            path: 4096,
            extended_header: 4 << 20,
            ratio: 150,
            ratio_from: 1 << 30,
        }
    }
}

/// What has been used up.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Usage {
    pub bytes: u64,
    pub holes: u64,
    pub entries: u64,
    pub metadata: u64,
}
