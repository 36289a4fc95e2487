//! The configuration file: what options say unless they are given.

use std::path::{Path, PathBuf};

use clap::ValueEnum as _;
use serde::Deserialize;

use crate::args::{Cli, Global, ProgressMode, Verb};
use crate::failure::Failure;

/// The largest file that is read, in bytes.
const LARGEST: u64 = 1 << 20;

/// The file, in TOML. Its keys are the names of options.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
struct Config {
    store: Option<PathBuf>,
    insecure: bool,
    ca_file: Vec<PathBuf>,
    authfile: Option<PathBuf>,
    mirror: Vec<String>,
    offline: bool,
    progress: Option<String>,
}

/// Fills in what the command line and the environment leave open.
pub fn apply(cli: &mut Cli) -> Result<(), Failure> {
    let Some((path, text)) = read(&cli.global)? else { return Ok(()) };
    let wrong = |reason: &dyn std::fmt::Display| {
        Failure::usage(format!("{}: {}", path.display(), reason.to_string().trim_end()))
    };
    let config: Config = toml::from_str(&text).map_err(|error| wrong(&error))?;
    let folder = path.parent().unwrap_or(Path::new(""));
    let placed = |file: PathBuf| match (file.strip_prefix("~"), std::env::var_os("HOME")) {
        (Ok(rest), Some(home)) => Path::new(&home).join(rest),
        _ => folder.join(file),
    };
    let global = &mut cli.global;
    global.store = global.store.take().or(config.store.map(placed));
    global.authfile = global.authfile.take().or(config.authfile.map(placed));
    global.insecure |= config.insecure;
    global.offline |= config.offline;
    if global.ca_file.is_empty() {
        global.ca_file = config.ca_file.into_iter().map(placed).collect();
    }
    if global.mirror.is_empty() {
        global.mirror = config.mirror;
    }
    if let Some(text) = &config.progress {
        let mode = ProgressMode::from_str(text, false).map_err(|_| {
            wrong(&format!("progress = {text:?}: it is one of auto, tty, plain, rawjson, quiet"))
        })?;
        if let Verb::Build(args) = &mut cli.verb {
            args.progress.get_or_insert(mode);
        }
    }
    Ok(())
}

/// The file and its text: the one that was named, or the user's if there is one.
fn read(global: &Global) -> Result<Option<(PathBuf, String)>, Failure> {
    let variable =
        |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let folder = || {
        variable("XDG_CONFIG_HOME").or_else(|| variable("HOME").map(|home| home.join(".config")))
    };
    let (path, named) = match &global.config {
        Some(path) => (path.clone(), true),
        None => match folder() {
            Some(folder) => (folder.join("boxer/config.toml"), false),
            None => return Ok(None),
        },
    };
    let fail = |error: &dyn std::fmt::Display| {
        Failure::usage(format!("cannot read {}: {error}", path.display()))
    };
    let meta = match std::fs::metadata(&path) {
        Err(error) if !named && error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        other => other.map_err(|error| fail(&error))?,
    };
    if !meta.is_file() || meta.len() > LARGEST {
        return Err(fail(&"it is no file of at most 1 MiB"));
    }
    let text = std::fs::read_to_string(&path).map_err(|error| fail(&error))?;
    Ok(Some((path, text)))
}
