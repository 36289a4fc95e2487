//! How a caller watches transfers.

use crate::Digest;

/// Hears about the bytes of each blob as they move. Called from one thread at a time.
pub trait Progress: Send + Sync {
    /// A blob of `size` bytes begins at `position` (more than 0 when an earlier download is resumed).
    fn start(&self, _blob: &Digest, _size: u64, _position: u64) {}
    /// The transfer of `blob` is at `position` bytes. Goes back to 0 where a damaged download starts anew.
    fn advance(&self, _blob: &Digest, _position: u64) {}
    /// `blob` is whole and verified.
    fn finish(&self, _blob: &Digest) {}
    /// `blob` needs no transfer: it is already there.
    fn skip(&self, _blob: &Digest) {}
    /// A transfer failed with `reason` and is tried again (`attempt` counts from 1).
    fn retry(&self, _blob: &Digest, _attempt: u32, _reason: &str) {}
}

/// Watches nothing.
pub struct NoProgress;

impl Progress for NoProgress {}
