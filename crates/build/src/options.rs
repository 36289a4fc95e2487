//! What a caller asks of a build.

use rootfs::config::CpuLevel;
use rootfs::limits::Limits;
use rootfs::rights::Ulimit;
use runtime::Translation;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use dockerfile::Dockerfile;
use dockerfile::scope::Platform;

use crate::cache_transfer::{CacheExport, CacheImport};
use crate::main_context::MainContext;
use crate::ssh::Agent;

/// The network of RUN steps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RunNetwork {
    /// What this host reaches, but for its own loopback, link-local and metadata addresses.
    #[default]
    Default,
    /// Nothing.
    None,
    /// As default, and the loopback of this host at `host-gateway`.
    Host,
}

impl RunNetwork {
    /// As the command line and `RUN --network` write it.
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "default" => Some(RunNetwork::Default),
            "none" => Some(RunNetwork::None),
            "host" => Some(RunNetwork::Host),
            _ => None,
        }
    }
}

/// Where the content of a `--secret` is.
#[derive(Clone, PartialEq, Eq)]
pub enum SecretSource {
    /// In a file.
    File(PathBuf),
    /// Here.
    Value(Vec<u8>),
}

/// A secret's content is not for logs.
impl std::fmt::Debug for SecretSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            SecretSource::File(path) => f.debug_tuple("File").field(path).finish(),
            SecretSource::Value(_) => f.write_str("Value(..)"),
        }
    }
}

/// What a layer may have where a box is made of it: no box can hold more.
pub const LARGEST_IN_BOX: u64 = link::MAX_IMAGE;
/// What it may have where no box is made.
pub const LARGEST_LAYER: u64 = 32 << 30;

/// One build.
#[derive(Clone, Debug)]
pub struct BuildOptions {
    /// The parsed Dockerfile.
    pub dockerfile: Dockerfile,
    /// Where it was read from, if from a file: its `NAME.dockerignore` counts.
    pub dockerfile_path: Option<PathBuf>,
    /// The main context; none for a build without one.
    pub context: Option<MainContext>,
    /// `--build-context NAME=VALUE`.
    pub named_contexts: BTreeMap<String, String>,
    /// `--build-arg`.
    pub build_args: BTreeMap<String, String>,
    /// `--secret`, by id.
    pub secrets: BTreeMap<String, SecretSource>,
    /// `--ssh`, by id.
    pub ssh: BTreeMap<String, Agent>,
    /// `--target`.
    pub target: Option<String>,
    /// `--label`.
    pub labels: BTreeMap<String, String>,
    /// The processor that RUN steps and the box see (`--cpu`).
    pub cpu: CpuLevel,
    /// What each RUN step may use.
    pub limits: Limits,
    /// Resource limits of RUN steps other than docker's (`--ulimit`).
    pub ulimits: Vec<Ulimit>,
    /// Most bytes in /dev/shm of RUN steps (`--shm-size`); docker's 64 MiB where absent.
    pub shm_size: Option<u64>,
    /// Compiling hot code in RUN steps (`--translate`).
    pub translation: Translation,
    /// Run every step even if its result is known (`--no-cache`).
    pub no_cache: bool,
    /// The stages, by name in lower case, of which every step is run (`--no-cache-filter`).
    pub no_cache_stages: BTreeSet<String>,
    /// `--cache-from`, in the order in which they are asked.
    pub cache_from: Vec<CacheImport>,
    /// `--cache-to`.
    pub cache_to: Vec<CacheExport>,
    /// The platform of bases that do not say (`--platform`): linux/amd64 or wasi/wasm.
    pub platform: Platform,
    /// Ask the registry for base images even if the store has them (`--pull`).
    pub pull: bool,
    /// The most bytes of files in one layer, holes filled: more is refused before it is read or compressed.
    pub largest_layer: u64,
    /// The network of RUN steps that do not say (`--network`).
    pub network: RunNetwork,
    /// Further lines of `/etc/hosts` in RUN steps: name and address, or `host-gateway` (`--add-host`).
    pub hosts: Vec<(String, String)>,
    /// RUN steps get a clock that counts instructions, fixed randomness and fixed scheduling, so that they give the same
    /// result every time (`--reproducible`).
    pub reproducible: bool,
    /// `SOURCE_DATE_EPOCH`, seconds: the time of what the build makes; no file is younger.
    pub source_date_epoch: Option<i64>,
}

impl BuildOptions {
    /// A build of this Dockerfile and nothing else.
    pub fn new(dockerfile: Dockerfile) -> Self {
        Self {
            dockerfile,
            dockerfile_path: None,
            context: None,
            named_contexts: BTreeMap::new(),
            build_args: BTreeMap::new(),
            secrets: BTreeMap::new(),
            ssh: BTreeMap::new(),
            target: None,
            labels: BTreeMap::new(),
            platform: Platform::linux_amd64(),
            cpu: CpuLevel::default(),
            limits: Limits::default(),
            ulimits: Vec::new(),
            shm_size: None,
            translation: Translation::default(),
            no_cache: false,
            no_cache_stages: BTreeSet::new(),
            cache_from: Vec::new(),
            cache_to: Vec::new(),
            pull: false,
            largest_layer: LARGEST_IN_BOX,
            network: RunNetwork::default(),
            hosts: Vec::new(),
            reproducible: false,
            source_date_epoch: None,
        }
    }

    /// The plan's part of the options.
    pub(crate) fn plan_options(&self) -> dockerfile::plan::Options {
        let mut build_args = self.build_args.clone();
        if let Some(epoch) = self.source_date_epoch {
            build_args.entry("SOURCE_DATE_EPOCH".to_owned()).or_insert_with(|| epoch.to_string());
        }
        dockerfile::plan::Options {
            build_args,
            target: self.target.clone(),
            contexts: self.named_contexts.keys().cloned().collect(),
            platform: self.platform.clone(),
        }
    }

    /// The time of directories and files that the builder itself makes, in seconds: nothing in
    /// the inputs says one, so it is the epoch unless `SOURCE_DATE_EPOCH` says another.
    pub(crate) fn made_at(&self) -> i64 {
        self.source_date_epoch.unwrap_or(0)
    }

    /// `SOURCE_DATE_EPOCH` as RFC 3339.
    pub(crate) fn created(&self) -> Option<String> {
        self.source_date_epoch.map(rfc3339)
    }
}

/// Seconds since the epoch as `YYYY-MM-DDTHH:MM:SSZ`.
pub fn rfc3339(seconds: i64) -> String {
    let days = seconds.div_euclid(86_400);
    let second = seconds.rem_euclid(86_400);
    // Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms", civil_from_days.
    let shifted = days.saturating_add(719_468);
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    let (hour, minute) = (second / 3600, second / 60 % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{:02}Z", second % 60)
}

#[cfg(test)]
mod tests {
    use super::rfc3339;

    #[test]
    fn times_are_calendar_times() {
        assert_eq!(rfc3339(0), "1970-01-01T00:00:00Z");
        assert_eq!(rfc3339(951_782_399), "2000-02-28T23:59:59Z");
        assert_eq!(rfc3339(951_782_400), "2000-02-29T00:00:00Z");
        assert_eq!(rfc3339(1_700_000_000), "2023-11-14T22:13:20Z");
        assert_eq!(rfc3339(-1), "1969-12-31T23:59:59Z");
    }
}
