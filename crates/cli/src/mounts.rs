//! `--volume`, `--mount` and `--tmpfs`: what docker's words mean for a box.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use build::limits;
use runtime::{Mounted, Preopen, Tmpfs};

use crate::args::{Global, RunArgs};
use crate::failure::Failure;
use crate::volumes::{self, Volume};

/// Everything that is mounted. Unnamed volumes are gone when this is dropped.
#[derive(Default)]
pub struct Mounts {
    /// Host directories.
    pub preopens: Vec<Preopen>,
    /// File systems in memory.
    pub tmpfs: Vec<Tmpfs>,
    /// Unnamed volumes.
    unnamed: Vec<tempfile::TempDir>,
}

impl Mounts {
    /// Reads the options.
    pub fn new(global: &Global, args: &RunArgs) -> Result<Mounts, Failure> {
        let mut mounts = Mounts::default();
        for text in &args.volume {
            mounts.volume(global, text)?;
        }
        for text in &args.mount {
            mounts.mount(global, text)?;
        }
        if let Some(size) = &args.shm_size {
            let wrong =
                |reason: &str| Failure::usage(format!("invalid --shm-size {size:?}: {reason}"));
            mounts.memory("/dev/shm", [format!("size={size}").as_str()].into_iter(), &wrong)?;
        }
        for text in &args.tmpfs {
            let (guest, options) = text.split_once(':').unwrap_or((text, ""));
            let wrong =
                |reason: &str| Failure::usage(format!("invalid --tmpfs {text:?}: {reason}"));
            mounts.memory(guest, options.split(','), &wrong)?;
        }
        mounts.check_places()?;
        Ok(mounts)
    }

    /// As docker does: two mounts at one place are a mistake.
    fn check_places(&self) -> Result<(), Failure> {
        let mut places: Vec<&str> = self.preopens.iter().map(|p| p.guest.as_str()).collect();
        places.extend(self.tmpfs.iter().map(|t| t.guest.as_str()));
        places.sort_unstable();
        match places.windows(2).find(|pair| pair[0] == pair[1]) {
            Some(pair) => Err(Failure::usage(format!("duplicate mount point: {}", pair[0]))),
            None => Ok(()),
        }
    }

    /// `[HOST|NAME:]GUEST[:OPTIONS]`.
    fn volume(&mut self, global: &Global, text: &str) -> Result<(), Failure> {
        let wrong = |reason: &str| Failure::usage(format!("invalid --volume {text:?}: {reason}"));
        let words: Vec<&str> = text.split(':').collect();
        let (source, guest, options) = match words.as_slice() {
            [guest] => (None, *guest, ""),
            [source, guest] => (Some(*source), *guest, ""),
            [source, guest, options] => (Some(*source), *guest, *options),
            _ => return Err(wrong("must be of the form [HOST|NAME:]GUEST[:OPTIONS]")),
        };
        let mut how = How { writable: true, copy: true };
        for option in options.split(',').filter(|option| !option.is_empty()) {
            how.take(option).ok_or_else(|| wrong(&format!("unknown option {option:?}")))?;
        }
        let guest = guest_path(guest)
            .ok_or_else(|| wrong("the path in the box must be absolute, and not /"))?;
        match source {
            Some("") => Err(wrong("the host's part is empty")),
            Some(name) if !name.contains('/') && name != "." && name != ".." => {
                self.named(global, name, guest, how).map_err(|reason| wrong(&reason))
            }
            Some(host) => {
                let host = Path::new(host);
                if !host.exists() {
                    // As docker does.
                    std::fs::create_dir_all(host).map_err(|error| {
                        Failure::new(format!("--volume {text:?}: {}: {error}", host.display()))
                    })?;
                }
                self.bind(host, guest, how)
                    .map_err(|reason| Failure::new(format!("--volume {text:?}: {reason}")))
            }
            None => self.unnamed(global, guest, how),
        }
    }

    /// `type=bind|volume|tmpfs,source=…,target=…[,readonly]`.
    fn mount(&mut self, global: &Global, text: &str) -> Result<(), Failure> {
        let wrong = |reason: &str| Failure::usage(format!("invalid --mount {text:?}: {reason}"));
        let (mut kind, mut source, mut target) = ("volume", None, None);
        let mut how = How { writable: true, copy: true };
        let mut memory = Vec::new();
        for word in text.split(',').filter(|word| !word.is_empty()) {
            let (name, value) = word.split_once('=').unwrap_or((word, ""));
            let yes = matches!(value, "" | "1" | "true");
            match name {
                "type" => kind = value,
                "source" | "src" => source = Some(value),
                "target" | "destination" | "dst" => target = Some(value),
                "readonly" | "ro" => how.writable = !yes,
                "volume-nocopy" => how.copy = !yes,
                "tmpfs-mode" => memory.push(format!("mode={value}")),
                "tmpfs-size" => memory.push(format!("size={value}")),
                "bind-propagation" | "bind-recursive" | "consistency" => {}
                _ => return Err(wrong(&format!("unknown key {name:?}"))),
            }
        }
        let guest = target.and_then(guest_path);
        let guest = guest.ok_or_else(|| wrong("target must be an absolute path, and not /"))?;
        match (kind, source) {
            ("bind", Some(host)) => self
                .bind(Path::new(host), guest, how)
                .map_err(|reason| Failure::new(format!("--mount {text:?}: {reason}"))),
            ("bind", None) => Err(wrong("a bind mount needs a source")),
            ("volume", Some(name)) => {
                self.named(global, name, guest, how).map_err(|reason| wrong(&reason))
            }
            ("volume", None) => self.unnamed(global, guest, how),
            ("tmpfs", None) => {
                if !how.writable {
                    memory.push("ro".to_owned());
                }
                self.memory(&guest, memory.iter().map(String::as_str), &wrong)
            }
            ("tmpfs", Some(_)) => Err(wrong("a tmpfs has no source")),
            _ => Err(wrong("type must be bind, volume or tmpfs")),
        }
    }

    fn bind(&mut self, host: &Path, guest: String, how: How) -> Result<(), String> {
        let shown = |error: std::io::Error| format!("{}: {error}", host.display());
        let meta = std::fs::metadata(host).map_err(shown)?;
        let (host, mounted) = if meta.is_dir() {
            (host.to_owned(), Mounted::Directory)
        } else if meta.is_file() {
            // A box is given directories; of this one it sees the file alone.
            let whole = host.canonicalize().map_err(shown)?;
            let name = whole.file_name().and_then(|name| name.to_str());
            let name = name.ok_or_else(|| format!("{}: the name is not UTF-8", host.display()))?;
            (whole.parent().unwrap_or(Path::new("/")).to_owned(), Mounted::File(name.to_owned()))
        } else {
            return Err(format!(
                "{}: it is neither a directory nor a regular file",
                host.display()
            ));
        };
        self.preopens.push(Preopen { host, guest, writable: how.writable, mounted });
        Ok(())
    }

    fn named(
        &mut self,
        global: &Global,
        name: &str,
        guest: String,
        how: How,
    ) -> Result<(), String> {
        let volume = Volume::open(global, name)?;
        self.preopens.push(how.mounted(volume.data(), guest));
        Ok(())
    }

    fn unnamed(&mut self, global: &Global, guest: String, how: How) -> Result<(), Failure> {
        let folder = volumes::folder(global).map_err(Failure::new)?;
        let everybody = std::fs::Permissions::from_mode(0o755);
        let mut dir = tempfile::Builder::new();
        let dir = dir.prefix(".unnamed-").permissions(everybody).tempdir_in(folder);
        let dir = dir.map_err(|error| Failure::new(format!("cannot make a volume: {error}")))?;
        self.preopens.push(how.mounted(dir.path().to_owned(), guest));
        self.unnamed.push(dir);
        Ok(())
    }

    fn memory<'a>(
        &mut self,
        guest: &str,
        options: impl Iterator<Item = &'a str>,
        wrong: &dyn Fn(&str) -> Failure,
    ) -> Result<(), Failure> {
        let guest =
            guest_path(guest).ok_or_else(|| wrong("the path must be absolute, and not /"))?;
        let mut tmpfs = Tmpfs { guest, ..Tmpfs::default() };
        for option in options.filter(|option| !option.is_empty()) {
            match option.split_once('=').unwrap_or((option, "")) {
                ("ro", _) => tmpfs.read_only = true,
                ("mode", value) => {
                    let mode = u32::from_str_radix(value, 8).ok().filter(|mode| *mode <= 0o7777);
                    tmpfs.mode = Some(mode.ok_or_else(|| wrong("mode must be octal"))?);
                }
                ("size", value) => {
                    let size = limits::size(value).map_err(|reason| wrong(&reason))?;
                    tmpfs.size = size.filter(|size| *size > 0);
                }
                ("exec", "") => tmpfs.executable = true,
                ("noexec", "") => tmpfs.executable = false,
                ("rw" | "suid" | "nosuid" | "dev" | "nodev" | "uid" | "gid", _) => {}
                _ => return Err(wrong(&format!("unknown option {option:?}"))),
            }
        }
        self.tmpfs.push(tmpfs);
        Ok(())
    }
}

/// How something is mounted.
#[derive(Clone, Copy)]
struct How {
    writable: bool,
    /// A new volume takes over what the image has there.
    copy: bool,
}

impl How {
    /// One option of `--volume`; none if it is unknown.
    fn take(&mut self, option: &str) -> Option<()> {
        match option {
            "ro" | "readonly" => self.writable = false,
            "rw" => self.writable = true,
            "nocopy" => self.copy = false,
            // These are about SELinux, propagation and other systems' caches, which a box has not.
            "z" | "Z" | "consistent" | "cached" | "delegated" | "private" | "rprivate"
            | "shared" | "rshared" | "slave" | "rslave" => {}
            _ => return None,
        }
        Some(())
    }

    fn mounted(self, host: PathBuf, guest: String) -> Preopen {
        let mounted = if self.copy { Mounted::Volume } else { Mounted::Directory };
        Preopen { host, guest, writable: self.writable, mounted }
    }
}

/// An absolute path without `.`, `..` and tabs; none for `/` itself.
fn guest_path(text: &str) -> Option<String> {
    let mut parts = Vec::new();
    if !text.starts_with('/') || text.contains(['\t', '\n']) {
        return None;
    }
    for part in text.split('/').filter(|part| !part.is_empty() && *part != ".") {
        match part {
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    (!parts.is_empty()).then(|| format!("/{}", parts.join("/")))
}

#[cfg(test)]
mod tests {
    use super::{How, Mounted, Mounts, guest_path};
    use std::path::Path;

    #[test]
    fn paths_in_the_box() {
        assert_eq!(guest_path("/a//b/./c/../d/").as_deref(), Some("/a/b/d"));
        for bad in ["", "a", "/", "/..", "/a\tb"] {
            assert_eq!(guest_path(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn a_file_comes_through_its_directory() {
        let mut mounts = Mounts::default();
        let how = How { writable: false, copy: true };
        mounts.bind(Path::new("/etc/passwd"), "/users".into(), how).unwrap();
        mounts.bind(Path::new("/"), "/mnt".into(), how).unwrap();
        assert_eq!(mounts.preopens[0].host, Path::new("/etc"));
        assert_eq!(mounts.preopens[0].mounted, Mounted::File("passwd".into()));
        assert_eq!(mounts.preopens[1].mounted, Mounted::Directory);
        assert!(mounts.bind(Path::new("/dev/null"), "/null".into(), how).is_err());
        assert!(mounts.bind(Path::new("/no/such"), "/null".into(), how).is_err());
    }

    #[test]
    fn memory_has_options() {
        let mut mounts = Mounts::default();
        let wrong = |reason: &str| crate::failure::Failure::usage(reason);
        mounts.memory("/x", "mode=700,ro,size=1m".split(','), &wrong).unwrap();
        assert_eq!((mounts.tmpfs[0].mode, mounts.tmpfs[0].read_only), (Some(0o700), true));
        assert_eq!((mounts.tmpfs[0].size, mounts.tmpfs[0].executable), (Some(1 << 20), false));
        mounts.memory("/x", "exec,size=4096".split(','), &wrong).unwrap();
        assert_eq!((mounts.tmpfs[1].size, mounts.tmpfs[1].executable), (Some(4096), true));
        for bad in ["mode=9", "nonsense", "size=x"] {
            assert!(mounts.memory("/x", bad.split(','), &wrong).is_err(), "{bad}");
        }
    }
}
