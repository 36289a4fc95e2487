//! Options that limit what a box, or each RUN step of a build, may use.

use build::limits::{self, Limits};
use build::rights::Ulimit;
use clap::Args;

/// Docker's size of /dev/shm.
const DEFAULT_SHM: u64 = 64 << 20;

#[derive(Debug, Args)]
#[command(next_help_heading = "Limits")]
pub struct LimitArgs {
    /// Memory for programs, as 512m or 2g; when it is used up the largest process is killed
    /// [default: all that a box can have]
    #[arg(short, long, value_parser = bytes, value_name = "SIZE")]
    memory: Option<u64>,
    /// Memory for files; a full file system is ENOSPC [default: three quarters of what a box can have]
    #[arg(long, value_parser = bytes, value_name = "SIZE")]
    storage: Option<u64>,
    /// End the box with status 124 after this time, as 90s or 5m
    #[arg(long, value_parser = duration, value_name = "TIME")]
    timeout: Option<u64>,
    /// End the box with status 152 when its processes have used this much CPU time
    #[arg(long, value_parser = duration, value_name = "TIME")]
    cpus_time: Option<u64>,
    /// Threads that may live at once; clone fails with EAGAIN beyond it; -1 for no limit
    /// [default: 2048]
    #[arg(long, value_parser = threads, value_name = "COUNT", allow_hyphen_values = true)]
    pids_limit: Option<u32>,
    /// End the box with status 152 when its processes have executed so many instructions, as 500000 or 2g (billions)
    #[arg(long, value_parser = instructions, value_name = "COUNT")]
    instructions: Option<u64>,
    /// Open files of all processes at once; open fails with ENFILE beyond it [default: no limit]
    #[arg(long, value_parser = open_files, value_name = "COUNT")]
    open_files: Option<u64>,
}

impl LimitArgs {
    /// What was asked for.
    pub fn limits(&self) -> Limits {
        Limits {
            memory: self.memory,
            storage: self.storage,
            timeout: self.timeout,
            cpu_time: self.cpus_time,
            pids: self.pids_limit,
            instructions: self.instructions,
            open_files: self.open_files,
        }
    }
}

/// What docker's builds have besides; `boxer run` has these among its own.
#[derive(Debug, Args)]
#[command(next_help_heading = "Limits")]
pub struct StepLimitArgs {
    /// Set a resource limit of RUN steps, as nofile=1024:2048 (repeatable) [default: docker's]
    #[arg(long, value_name = "NAME=SOFT[:HARD]", value_parser = Ulimit::parse)]
    pub ulimit: Vec<Ulimit>,
    /// Size of /dev/shm of RUN steps [default: 64m]
    #[arg(long, value_parser = bytes, value_name = "SIZE")]
    shm_size: Option<u64>,
}

impl StepLimitArgs {
    /// The size of /dev/shm, where it is not docker's own.
    pub fn shm_size(&self) -> Option<u64> {
        // 0 asks docker for its default.
        self.shm_size.filter(|size| *size != u64::MAX && *size != DEFAULT_SHM)
    }
}

/// 0 is no limit.
fn bytes(text: &str) -> Result<u64, String> {
    Ok(limits::size(text)?.unwrap_or(u64::MAX))
}

fn duration(text: &str) -> Result<u64, String> {
    Ok(limits::duration(text)?.unwrap_or(u64::MAX))
}

fn instructions(text: &str) -> Result<u64, String> {
    Ok(limits::number_of(text, "instructions")?.unwrap_or(u64::MAX))
}

fn open_files(text: &str) -> Result<u64, String> {
    Ok(limits::number_of(text, "open files")?.unwrap_or(u64::MAX))
}

fn threads(text: &str) -> Result<u32, String> {
    Ok(limits::count(text)?.unwrap_or(u32::MAX))
}
