//! Options for what a box's programs do before it becomes a file.

use std::time::Duration;

use build::{BuildOptions, SNAPSHOT_TIMEOUT, Snapshot, SnapshotLife, SnapshotWhen};
use clap::Args;

use crate::failure::Failure;

#[derive(Debug, Args)]
pub struct SnapshotArgs {
    /// What the box has done when it starts: boot (its files are mounted), ready (the image's own command has run until it
    /// waits for input or for somebody who connects, and goes on there), or a command that prepares and ends, whose
    /// files stay: text for the image's shell, or a JSON array of words. See docs/snapshots.md [default: boot]
    #[arg(long, value_name = "boot|ready|COMMAND")]
    snapshot: Option<String>,
    /// When the image's command is ready, if not when it waits: output:REGEX (in a line of its output), file:PATH (it is there)
    /// or http:[PORT]/PATH=STATUS (its server answers so)
    #[arg(long, value_parser = SnapshotWhen::parse, value_name = "CONDITION")]
    snapshot_when: Option<SnapshotWhen>,
    /// The longest that the snapshot may take, as 90s or 5m [default: 60s]
    #[arg(long, value_parser = timeout, value_name = "TIME")]
    snapshot_timeout: Option<Duration>,
}

fn timeout(text: &str) -> Result<Duration, String> {
    match build::limits::duration(text)? {
        Some(ns) if ns > 0 => Ok(Duration::from_nanos(ns)),
        _ => Err("it must be more than nothing".to_owned()),
    }
}

impl SnapshotArgs {
    /// What was asked for, in a build with these options.
    pub fn snapshot(&self, options: &BuildOptions) -> Result<Snapshot, Failure> {
        let life = match self.snapshot.as_deref() {
            None | Some("boot") => SnapshotLife::Boot,
            Some("ready") => SnapshotLife::Ready,
            Some(command) if command.trim().is_empty() => {
                return Err(Failure::usage("--snapshot is boot, ready or a command"));
            }
            Some(command) => SnapshotLife::Command(command.to_owned()),
        };
        if self.snapshot_when.is_some() && life != SnapshotLife::Ready {
            return Err(Failure::usage("--snapshot-when needs --snapshot=ready"));
        }
        Ok(Snapshot {
            life,
            when: self.snapshot_when.clone().unwrap_or_default(),
            timeout: self.snapshot_timeout.unwrap_or(SNAPSHOT_TIMEOUT),
            limits: options.limits,
            reproducible: options.reproducible,
            source_date_epoch: options.source_date_epoch,
        })
    }
}
