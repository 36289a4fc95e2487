//! Named volumes: directories in the store that outlive boxes. `boxer volume`.

use std::path::PathBuf;
use std::process::ExitCode;

use crate::args::{Global, VolumeArgs, VolumeVerb};
use crate::failure::Failure;
use crate::session;

/// One volume.
pub struct Volume {
    dir: PathBuf,
}

impl Volume {
    /// The volume of this name; made if there is none.
    pub fn open(global: &Global, name: &str) -> Result<Volume, String> {
        check_name(name)?;
        let dir = folder(global)?.join(name);
        let volume = Volume { dir };
        std::fs::create_dir_all(volume.data())
            .map_err(|error| format!("{}: {error}", volume.dir.display()))?;
        Ok(volume)
    }

    /// The directory that boxes see.
    pub fn data(&self) -> PathBuf {
        self.dir.join("_data")
    }
}

/// The directory with all volumes.
pub fn folder(global: &Global) -> Result<PathBuf, String> {
    let store = session::store(global).map_err(|failure| failure.message)?;
    let folder = store.path().join("volumes");
    std::fs::create_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    // A relative store would be another one for the box.
    folder.canonicalize().map_err(|error| format!("{}: {error}", folder.display()))
}

/// Docker's rule for names.
fn check_name(name: &str) -> Result<(), String> {
    let good = |c: char| c.is_ascii_alphanumeric() || "_.-".contains(c);
    if name.len() >= 2
        && name.len() <= 255
        && name.chars().all(good)
        && name.starts_with(|c: char| c.is_ascii_alphanumeric())
    {
        return Ok(());
    }
    Err(format!(
        "{name:?} includes invalid characters for a local volume name, only \"[a-zA-Z0-9][a-zA-Z0-9_.-]\" are allowed. If you intended to pass a host directory, use absolute path"
    ))
}

/// `boxer volume`.
pub fn run(global: &Global, args: &VolumeArgs) -> Result<ExitCode, Failure> {
    match &args.verb {
        VolumeVerb::Create { name } => {
            Volume::open(global, name).map_err(Failure::new)?;
            say!("{name}");
        }
        VolumeVerb::Ls => {
            let folder = folder(global).map_err(Failure::new)?;
            let entries = std::fs::read_dir(&folder)
                .map_err(|error| Failure::new(format!("{}: {error}", folder.display())))?;
            let mut names: Vec<String> = entries
                .flatten()
                .filter_map(|entry| entry.file_name().into_string().ok())
                .filter(|name| check_name(name).is_ok())
                .collect();
            names.sort();
            names.iter().for_each(|name| say!("{name}"));
        }
        VolumeVerb::Rm { names } => {
            let folder = folder(global).map_err(Failure::new)?;
            for name in names {
                let dir = folder.join(name);
                if check_name(name).is_err() || !dir.is_dir() {
                    return Err(Failure::new(format!("no such volume: {name}")));
                }
                std::fs::remove_dir_all(&dir)
                    .map_err(|error| Failure::new(format!("{}: {error}", dir.display())))?;
                say!("{name}");
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use super::check_name;

    #[test]
    fn names() {
        for good in ["db", "a.b-c_d", "0x"] {
            assert!(check_name(good).is_ok(), "{good}");
        }
        for bad in ["", "a", ".x", "-x", "a/b", "..", "ä1"] {
            assert!(check_name(bad).is_err(), "{bad}");
        }
    }
}
