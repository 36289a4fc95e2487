//! A tree as files of the host: what `--output type=local` writes and what a RUN step mounts.

use std::collections::HashMap;
use std::fs::{self, File, Permissions};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt, chown, lchown, symlink};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::{NodeId, Tree};
use crate::{Error, FileType, Result};

/// How a tree is written to the host.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HostOptions {
    /// Files get their owners, and devices are made. Only root may do that.
    pub owners: bool,
}

impl Tree {
    /// Writes what is in the tree into the directory `into`, which exists; files that are there are replaced. Directories merge, and
    /// no link that is there is followed. Without `owners`, devices are left out.
    pub fn write_host(&self, into: &Path, options: HostOptions) -> Result<()> {
        let mut links: HashMap<NodeId, PathBuf> = HashMap::new();
        let mut directories = vec![(self.root(), into.to_owned())];
        for (path, id) in self.walk(self.root()) {
            let host = into.join(std::ffi::OsStr::from_bytes(&path));
            let fail = |source| Error::Host { path: host.clone(), source };
            if let Some(first) = links.get(&id) {
                clear(&host, false).and_then(|()| fs::hard_link(first, &host)).map_err(fail)?;
                continue;
            }
            let node = self.node(id);
            clear(&host, node.is_dir()).map_err(fail)?;
            self.write_node(id, &host, options).map_err(fail)?;
            if node.is_dir() {
                directories.push((id, host));
            } else if node.links() > 1 {
                links.insert(id, host);
            }
        }
        // The mode and time of a directory last: before, something is still to be put into it.
        for (id, host) in directories.iter().rev() {
            let meta = &self.node(*id).meta;
            let set = || -> io::Result<()> {
                if options.owners {
                    chown(host, Some(meta.uid), Some(meta.gid))?;
                }
                fs::set_permissions(host, Permissions::from_mode(meta.mode & 0o7777))?;
                File::open(host)?.set_modified(time(meta.mtime, meta.mtime_nsec))
            };
            match set() {
                // A directory that its owner may not read cannot be opened to set its time.
                Err(error) if error.kind() != io::ErrorKind::PermissionDenied => {
                    return Err(Error::Host { path: host.clone(), source: error });
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn write_node(&self, id: NodeId, host: &Path, options: HostOptions) -> io::Result<()> {
        let node = self.node(id);
        let meta = &node.meta;
        let mode = Permissions::from_mode(meta.mode & 0o7777);
        match node.kind() {
            FileType::Directory => {
                return match fs::create_dir(host) {
                    Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
                    other => other,
                };
            }
            FileType::Regular => {
                let mut file =
                    File::options().write(true).create_new(true).mode(0o600).open(host)?;
                if let Some(content) = node.content() {
                    io::copy(&mut content.reader(), &mut file)?;
                }
                if options.owners {
                    chown(host, Some(meta.uid), Some(meta.gid))?;
                }
                file.set_permissions(mode)?;
                return file.set_modified(time(meta.mtime, meta.mtime_nsec));
            }
            FileType::Symlink => {
                symlink(std::ffi::OsStr::from_bytes(node.target().unwrap_or_default()), host)?;
                return match options.owners {
                    true => lchown(host, Some(meta.uid), Some(meta.gid)),
                    false => Ok(()),
                };
            }
            FileType::Fifo => make_node(host, rustix::fs::FileType::Fifo, 0)?,
            FileType::CharDevice if options.owners => {
                make_node(host, rustix::fs::FileType::CharacterDevice, node.rdev())?;
            }
            FileType::BlockDevice if options.owners => {
                make_node(host, rustix::fs::FileType::BlockDevice, node.rdev())?;
            }
            _ => return Ok(()),
        }
        if options.owners {
            chown(host, Some(meta.uid), Some(meta.gid))?;
        }
        fs::set_permissions(host, mode)
    }
}

fn make_node(host: &Path, kind: rustix::fs::FileType, rdev: u32) -> io::Result<()> {
    let device = rustix::fs::makedev(rootfs::dev_major(rdev), rootfs::dev_minor(rdev));
    let mode = rustix::fs::Mode::from_raw_mode(0o600);
    Ok(rustix::fs::mknodat(rustix::fs::CWD, host, kind, mode, device)?)
}

fn time(seconds: i64, nanoseconds: u32) -> SystemTime {
    let whole = Duration::from_secs(seconds.unsigned_abs());
    let base = match seconds < 0 {
        true => SystemTime::UNIX_EPOCH.checked_sub(whole),
        false => SystemTime::UNIX_EPOCH.checked_add(whole),
    };
    base.unwrap_or(SystemTime::UNIX_EPOCH) + Duration::from_nanos(nanoseconds.into())
}

/// Takes away what is in the way.
fn clear(host: &Path, keep_directory: bool) -> io::Result<()> {
    match fs::symlink_metadata(host) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
        Ok(meta) if meta.is_dir() && keep_directory => Ok(()),
        Ok(meta) if meta.is_dir() => Err(io::ErrorKind::IsADirectory.into()),
        Ok(_) => fs::remove_file(host),
    }
}
