//! What a sandbox may do, and how much of it. Nothing, unless it is said.

use crate::error::Error;
use rootfs::limits::Limits;
use runtime::{Grant, Mounted, NetworkReport, Preopen, Traffic};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// A directory of the host in a sandbox.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mount {
    /// On the host.
    pub host: PathBuf,
    /// In the sandbox; absolute.
    pub guest: String,
    /// Whether the sandbox may change it.
    #[serde(default)]
    pub writable: bool,
}

/// What a sandbox is given. The default is: no network, no directory, no variable, and the budgets of [`Policy::default`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Policy {
    /// What it may reach: `host`, or `allow=HOST:PORT,…` as for `boxer run --network`.
    pub network: Vec<String>,
    /// Directories of the host.
    pub mounts: Vec<Mount>,
    /// Environment of its programs, over that of the image.
    pub env: BTreeMap<String, String>,
    /// Seconds that it lives; at their end it ends.
    pub timeout: f64,
    /// Bytes of memory of its programs. Who asks for more gets `ENOMEM`, or is killed.
    pub memory: u64,
    /// Bytes of files that it may write; then `ENOSPC`.
    pub storage: u64,
    /// Processes and threads at once; then `EAGAIN`.
    pub processes: u32,
    /// Seconds of processor time of all its programs; at their end it ends. None: no limit.
    pub cpu_time: Option<f64>,
    /// Bytes of output of one call; what writes more is killed.
    pub output: u64,
    /// Instructions that all its programs execute together, counted one by one; after the last it ends. None: no limit.
    pub instructions: Option<u64>,
    /// Bytes that it exchanges with the network, in both directions together; then its connections are reset. None: no limit.
    pub network_bytes: Option<u64>,
    /// Open files of all its programs together; then `ENFILE`.
    pub open_files: u64,
}

impl Default for Policy {
    fn default() -> Self {
        Policy {
            network: Vec::new(),
            mounts: Vec::new(),
            env: BTreeMap::new(),
            timeout: 300.0,
            memory: 512 << 20,
            storage: 512 << 20,
            processes: 128,
            cpu_time: None,
            output: 8 << 20,
            instructions: None,
            network_bytes: None,
            open_files: 4096,
        }
    }
}

/// What a sandbox has used of its budgets before it was paused.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Spent {
    pub instructions: u64,
    pub cpu_ns: u64,
}

impl Policy {
    /// Whether every value makes sense.
    ///
    /// # Errors
    /// The first that does not.
    pub fn check(&self) -> Result<(), Error> {
        seconds("timeout", self.timeout)?;
        self.cpu_time.map(|time| seconds("cpu_time", time)).transpose()?;
        for (name, value) in
            [("memory", self.memory), ("storage", self.storage), ("output", self.output)]
        {
            if value == 0 {
                return Err(Error::Invalid(format!("{name}: 0 bytes are none to run with")));
            }
        }
        for (name, value) in
            [("instructions", self.instructions), ("open_files", Some(self.open_files))]
        {
            if value == Some(0) {
                return Err(Error::Invalid(format!("{name}: with 0 nothing runs")));
            }
        }
        if self.processes == 0 {
            return Err(Error::Invalid("processes: a sandbox has at least one".to_owned()));
        }
        for mount in &self.mounts {
            if !mount.guest.starts_with('/') || mount.guest == "/" {
                return Err(Error::Invalid(format!(
                    "mounts: {:?} is no absolute path below the root",
                    mount.guest
                )));
            }
        }
        if let Some(name) =
            self.env.keys().find(|name| name.is_empty() || name.contains(['=', '\0']))
        {
            return Err(Error::Invalid(format!("env: {name:?} is no name of a variable")));
        }
        self.granted().map(drop)
    }

    /// Whether it gives no more than `most` does: what a caller may ask for who was given `most`.
    ///
    /// # Errors
    /// What it gives beyond that.
    pub fn check_within(&self, most: &Policy) -> Result<(), Error> {
        let beyond = |what: String| Err(Error::Refused(what));
        let is_none = |word: &String| word == "none";
        if let Some(word) =
            self.network.iter().find(|word| !is_none(word) && !most.network.contains(word))
        {
            return beyond(format!("network {word:?}"));
        }
        for mount in &self.mounts {
            let covers =
                |other: &&Mount| other.host == mount.host && (other.writable || !mount.writable);
            if !most.mounts.iter().any(|other| covers(&other)) {
                let how = if mount.writable { "writable" } else { "read-only" };
                return beyond(format!("the directory {} ({how})", mount.host.display()));
            }
        }
        let bound = |limit: Option<f64>| limit.unwrap_or(f64::INFINITY);
        let count = |limit: Option<u64>| limit.map_or(f64::INFINITY, |limit| limit as f64);
        let bounds = [
            ("memory", self.memory as f64, most.memory as f64),
            ("storage", self.storage as f64, most.storage as f64),
            ("processes", f64::from(self.processes), f64::from(most.processes)),
            ("output", self.output as f64, most.output as f64),
            ("open_files", self.open_files as f64, most.open_files as f64),
            ("cpu_time", bound(self.cpu_time), bound(most.cpu_time)),
            ("instructions", count(self.instructions), count(most.instructions)),
            ("network_bytes", count(self.network_bytes), count(most.network_bytes)),
        ];
        match bounds.into_iter().find(|(_, asked, bound)| asked > bound) {
            Some((name, asked, bound)) => {
                beyond(format!("{name} of {asked}, where {bound} is the most"))
            }
            None => Ok(()),
        }
    }

    /// The limits that the box itself keeps, of which some is spent.
    pub(crate) fn limits(&self, spent: Spent) -> Limits {
        let nanoseconds = |seconds: f64| (seconds * 1e9) as u64;
        // What is used up is met at once; 0 would be no limit.
        let left = |limit: u64, spent: u64| limit.saturating_sub(spent).max(1);
        Limits {
            memory: Some(self.memory),
            storage: Some(self.storage),
            timeout: None,
            cpu_time: self.cpu_time.map(|limit| left(nanoseconds(limit), spent.cpu_ns)),
            pids: Some(self.processes),
            instructions: self.instructions.map(|limit| left(limit, spent.instructions)),
            open_files: Some(self.open_files),
        }
    }

    pub(crate) fn lifetime(&self) -> Duration {
        Duration::try_from_secs_f64(self.timeout).unwrap_or(Duration::MAX)
    }

    pub(crate) fn preopens(&self) -> Vec<Preopen> {
        let preopen = |mount: &Mount| Preopen {
            host: mount.host.clone(),
            guest: mount.guest.clone(),
            writable: mount.writable,
            mounted: Mounted::Directory,
        };
        self.mounts.iter().map(preopen).collect()
    }

    /// The network: always there, so that the host itself can call servers inside; a way out only where one is granted.
    pub(crate) fn grant(
        &self,
        report: NetworkReport,
        traffic: Arc<Traffic>,
    ) -> Result<Grant, Error> {
        Ok(Grant {
            policy: self.granted()?,
            report: Some(report),
            tell_all: true,
            traffic: Some(traffic),
            ..Grant::default()
        })
    }

    fn granted(&self) -> Result<runtime::Policy, Error> {
        let mut granted = runtime::Policy::none();
        for word in &self.network {
            granted.grant(word).map_err(|why| Error::Invalid(format!("network: {why}")))?;
        }
        Ok(granted)
    }
}

/// A number of seconds that is one.
pub(crate) fn seconds(name: &str, seconds: f64) -> Result<Duration, Error> {
    match Duration::try_from_secs_f64(seconds) {
        Ok(time) if !time.is_zero() => Ok(time),
        _ => Err(Error::Invalid(format!("{name}: {seconds} is no number of seconds"))),
    }
}

#[cfg(test)]
mod tests {
    use super::{Mount, Policy};

    #[test]
    fn nothing_is_given_that_is_not_said() {
        let policy = Policy::default();
        assert!(policy.network.is_empty() && policy.mounts.is_empty() && policy.env.is_empty());
        assert!(policy.check().is_ok());
        let read: Result<Policy, _> = serde_json::from_str(r#"{"memory": 1, "mermory": 2}"#);
        assert!(read.is_err());
        for bad in [
            Policy { timeout: -1.0, ..Policy::default() },
            Policy { timeout: f64::NAN, ..Policy::default() },
            Policy { processes: 0, ..Policy::default() },
            Policy { network: vec!["everything".to_owned()], ..Policy::default() },
            Policy { env: [("A=B".to_owned(), String::new())].into(), ..Policy::default() },
        ] {
            assert!(bad.check().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_caller_gets_no_more_than_it_was_given() {
        let mount = |writable| Mount { host: "/data".into(), guest: "/d".to_owned(), writable };
        let most = Policy {
            network: vec!["allow=a.example:443".to_owned()],
            mounts: vec![mount(false)],
            ..Policy::default()
        };
        let within = |policy: Policy| policy.check_within(&most).is_ok();
        assert!(within(Policy::default()) && within(most.clone()));
        assert!(!within(Policy { network: vec!["host".to_owned()], ..Policy::default() }));
        assert!(!within(Policy { mounts: vec![mount(true)], ..Policy::default() }));
        assert!(!within(Policy { memory: most.memory + 1, ..Policy::default() }));
        assert!(within(Policy { memory: most.memory - 1, ..Policy::default() }));
        assert!(!within(Policy { open_files: most.open_files + 1, ..Policy::default() }));
        let bounded = Policy { instructions: Some(5), network_bytes: Some(6), ..Policy::default() };
        assert!(within(bounded.clone()) && Policy::default().check_within(&bounded).is_err());
        assert!(Policy { instructions: Some(4), ..bounded.clone() }.check_within(&bounded).is_ok());
        assert!(Policy { network_bytes: None, ..bounded.clone() }.check_within(&bounded).is_err());
    }
}
