//! Writing a record while a box runs.

use super::blocks::Writer;
use super::event::{END, End, put};
use super::memory::{self, Sizes};
use super::{Counts, RecordError, VERSION};
use crate::calls::{CALLS, Part};
use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime};

/// Bytes after which a block is written.
const BLOCK: usize = 256 << 10;
/// Time after which one is, so that a run that is killed leaves nearly all of its record.
const SOON: Duration = Duration::from_secs(1);

/// Where a run is recorded.
#[derive(Clone, Debug)]
pub struct RecordTo {
    /// The file, which only this user may read: what the box is given is in it, secrets too.
    pub path: PathBuf,
    /// The box, as it was named.
    pub name: String,
}

/// The record of a box that runs.
pub struct Recording {
    out: Writer<File>,
    block: Vec<u8>,
    written: Instant,
    counts: Counts,
    retired: u64,
    sizes: Sizes,
}

impl Recording {
    /// Begins the record of a box with this digest (SHA-256, hexadecimal).
    pub fn begin(to: &RecordTo, digest: &str, counts: Counts) -> Result<Recording, RecordError> {
        let file =
            OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&to.path);
        let mut out =
            Writer::new(file.map_err(RecordError::Write)?, VERSION).map_err(RecordError::Write)?;
        let at =
            SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |at| at.as_secs());
        let name: String = to.name.chars().filter(|c| !c.is_control()).collect();
        let about = format!(
            "box sha256:{digest}\nname {name}\nat {at}\nby {}\n",
            env!("CARGO_PKG_VERSION")
        );
        out.write(about.as_bytes(), false).map_err(RecordError::Write)?;
        let (block, written) = (Vec::with_capacity(BLOCK), Instant::now());
        Ok(Recording { out, block, written, counts, retired: 0, sizes: Sizes::default() })
    }

    /// The box has called an import, and was answered.
    pub fn note(
        &mut self,
        row: usize,
        arguments: &[u64],
        answer: i32,
        memory: &[u8],
    ) -> Result<(), RecordError> {
        let Some(call) = CALLS.get(row) else { return Err(RecordError::Malformed("no such call")) };
        put(&mut self.block, row as u64);
        self.put_retired(memory)?;
        for index in call.plain {
            put(&mut self.block, arguments.get(*index).copied().unwrap_or_default());
        }
        if !call.asks.is_empty() {
            let asked = memory::asked(call, arguments, memory, self.sizes)?;
            self.block.extend(asked.to_le_bytes());
        }
        put(&mut self.block, u64::from(answer as u32));
        if answer == 0 {
            for part in call.answers {
                self.put_part(*part, arguments, memory)?;
            }
            self.sizes.told(call, arguments, memory)?;
        }
        if self.block.len() >= BLOCK || self.written.elapsed() >= SOON {
            self.flush(false)?;
        }
        Ok(())
    }

    fn put_part(
        &mut self,
        part: Part,
        arguments: &[u64],
        memory: &[u8],
    ) -> Result<(), RecordError> {
        let ranges = memory::ranges(part, arguments, memory, self.sizes)?;
        put(&mut self.block, ranges.iter().map(|range| range.len() as u64).sum());
        ranges.into_iter().for_each(|range| self.block.extend(&memory[range]));
        Ok(())
    }

    fn put_retired(&mut self, memory: &[u8]) -> Result<(), RecordError> {
        let retired = self.counts.retired(memory)?;
        put(&mut self.block, retired.wrapping_sub(self.retired));
        self.retired = retired;
        Ok(())
    }

    /// The box has ended.
    pub fn finish(mut self, end: &End, memory: &[u8]) -> Result<(), RecordError> {
        put(&mut self.block, END);
        self.put_retired(memory)?;
        put(&mut self.block, self.counts.calls(memory)?);
        match end {
            End::Exit(status) => {
                put(&mut self.block, 0);
                put(&mut self.block, u64::from(*status as u32));
            }
            End::Interrupted => put(&mut self.block, 1),
            End::Failed => put(&mut self.block, 2),
        }
        self.flush(true)
    }

    fn flush(&mut self, last: bool) -> Result<(), RecordError> {
        self.out.write(&self.block, last).map_err(RecordError::Write)?;
        self.block.clear();
        self.written = Instant::now();
        Ok(())
    }
}
