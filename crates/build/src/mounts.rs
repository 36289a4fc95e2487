//! `RUN --mount`: what each mount shows the command, and what of it a cached result depends on.
//!
//! Files of a context, stage or image are written to a directory of the host that lasts as long as the step; a cache is a directory
//! beside the store that stays. The guest mounts them as it does for `boxer run --volume`, so that nothing of them is in the layer.

use std::collections::BTreeMap;
use std::fs::{self, File, Permissions, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::time::Duration;

use dockerfile::{Mount, MountKind, Run, Sharing, Span};
use layers::HostOptions;
use oci::Digest;
use runtime::{Interrupt, Mounted, Preopen, Served, Tmpfs};

use crate::builder::Builder;
use crate::copy::Request;
use crate::copy_step::From;
use crate::error::{Cause, Error, Result};
use crate::files::{Files, Kind, resolve};
use crate::image_tree::ImageTree;
use crate::options::SecretSource;
use crate::stage::Stage;

/// Where caches lie beside the store.
pub(crate) const CACHE_FOLDER: &str = "cache-mounts";
/// Names the agent's socket.
const SSH_AUTH_SOCK: &str = "SSH_AUTH_SOCK=";
/// How often one who waits for a cache tries again.
const LOOK: Duration = Duration::from_millis(50);
/// The most bytes of a secret, as in BuildKit.
const LARGEST_SECRET: u64 = 500 << 10;

/// A mount with everything that it needs, not made yet.
pub(crate) struct Planned {
    mount: Mount,
    /// Absolute and clean; empty for a secret that is only a variable.
    target: String,
    from: Option<From>,
    line: u32,
}

/// Mounts that are ready.
#[derive(Default)]
pub(crate) struct Made {
    pub preopens: Vec<Preopen>,
    pub tmpfs: Vec<Tmpfs>,
    /// Agents.
    pub sockets: Vec<Served>,
    /// Further variables of the command.
    pub env: Vec<String>,
    /// Every place where something is mounted.
    pub targets: Vec<String>,
    /// What must live as long as the step.
    folders: Vec<tempfile::TempDir>,
    /// Of each cache its directory and its lock, which goes with the file.
    caches: BTreeMap<String, (PathBuf, File)>,
}

impl Made {
    /// Refuses files on directories of the image, and directories on its files. What lies in another mount is not looked at.
    pub fn check(&self, image: &ImageTree) -> Result<()> {
        let given = self
            .preopens
            .iter()
            .map(|preopen| (&preopen.guest, !matches!(preopen.mounted, Mounted::File(_))));
        let memory = self.tmpfs.iter().map(|tmpfs| (&tmpfs.guest, true));
        let sockets = self.sockets.iter().map(|socket| (&socket.guest, false));
        for (target, directory) in given.chain(memory).chain(sockets) {
            let Ok(path) = resolve(image, target.as_bytes(), true) else { continue };
            let Ok(Some(there)) = image.entry(&path) else { continue };
            let (what, on) = match (directory, there.kind == Kind::Directory) {
                (true, false) => ("directory", "file"),
                (false, true) => ("file", "directory"),
                _ => continue,
            };
            let reason = format!("cannot mount a {what} on the {on} {target}");
            return Err(Error::new(Cause::Mount { reason }));
        }
        Ok(())
    }
}

impl Builder<'_> {
    /// Puts the variables and defaults in, and gives what a cached result depends on.
    pub fn plan_mounts(&self, run: &Run, stage: &mut Stage) -> Result<(Vec<Planned>, String)> {
        let mut planned = Vec::new();
        let mut key = String::new();
        let mut agents = 0;
        for spec in &run.mounts {
            let line = spec.word.line;
            let mut mount = spec.resolve(|text| stage.scope.expand_text(text))?;
            if mount.kind == MountKind::Ssh {
                if mount.target.is_empty() {
                    mount.target = format!("/run/buildkit/ssh_agent.{agents}");
                }
                agents += 1;
            }
            let located = |error: Error| error.on(Span::line(line));
            let target = self.target(&mount, stage).map_err(located)?;
            let mut from = None;
            let mut content = String::new();
            let reads = match mount.kind {
                MountKind::Bind => true,
                MountKind::Cache => mount.from.is_some(),
                _ => false,
            };
            if reads {
                let mut opened = self.open_from(mount.from.as_deref(), stage.index, line)?;
                let request = Request::whole(format!("/{}", mount.source), self.options.made_at());
                let found = self.content_of(&request, &[], &mut opened, stage).map_err(located)?;
                content = found.to_string();
                from = Some(opened);
            }
            let depends = match mount.kind {
                MountKind::Bind => format!("bind {content} {}", mount.read_only),
                MountKind::Cache => format!("cache {} {content}", mount.id),
                MountKind::Tmpfs => format!("tmpfs {}", mount.size),
                MountKind::Secret => {
                    let Mount { id, env, mode, required, .. } = &mount;
                    format!("secret {id} {env:?} {mode:o} {required}")
                }
                MountKind::Ssh => {
                    let Mount { id, mode, uid, gid, required, .. } = &mount;
                    format!("ssh {id} {mode:o} {uid}:{gid} {required}")
                }
            };
            key.push_str(&format!("{target:?} {depends}\n"));
            planned.push(Planned { mount, target, from, line });
        }
        Ok((planned, key))
    }

    fn target(&self, mount: &Mount, stage: &Stage) -> Result<String> {
        if mount.kind == MountKind::Secret && mount.target.is_empty() {
            return Ok(String::new());
        }
        let joined = match mount.target.starts_with('/') {
            true => mount.target.clone(),
            false => format!("/{}/{}", stage.workdir(), mount.target),
        };
        let target = dockerfile::ignore::clean(&joined);
        if target == "/" {
            let reason =
                format!("invalid mount target {:?}: it is the root directory", mount.target);
            return Err(Error::new(Cause::Mount { reason }));
        }
        Ok(target)
    }

    /// Makes the mounts.
    pub fn make_mounts(&self, planned: &mut [Planned], env: &[String]) -> Result<Made> {
        let mut made = Made { caches: self.open_caches(planned)?, ..Made::default() };
        for planned in planned {
            let span = Span::line(planned.line);
            let Planned { mount, target, from, .. } = planned;
            match mount.kind {
                MountKind::Tmpfs => {
                    made.tmpfs.push(Tmpfs {
                        guest: target.clone(),
                        mode: Some(0o1777),
                        read_only: mount.read_only,
                        executable: true,
                        size: (mount.size > 0).then_some(mount.size),
                    });
                    made.targets.push(target.clone());
                }
                MountKind::Bind => {
                    if let Some(from) = from {
                        self.bind(mount, target, from, &mut made).map_err(|e| e.on(span))?;
                    }
                }
                MountKind::Cache => {
                    self.cache_mount(mount, target, from.as_mut(), &mut made)
                        .map_err(|error| error.on(span))?;
                }
                MountKind::Secret => {
                    self.secret(mount, target, &mut made).map_err(|e| e.on(span))?
                }
                MountKind::Ssh => {
                    // Without an agent BuildKit names a socket that is not there. Of several the first one counts.
                    let is_set =
                        |env: &[String]| env.iter().any(|it| it.starts_with(SSH_AUTH_SOCK));
                    if !is_set(env) && !is_set(&made.env) {
                        made.env.push(format!("{SSH_AUTH_SOCK}{target}"));
                    }
                    self.agent(mount, target, &mut made).map_err(|error| error.on(span))?;
                }
            }
        }
        Ok(made)
    }

    fn folder(&self) -> Result<tempfile::TempDir> {
        Ok(self.workshop.store.temp_dir()?)
    }

    /// Writes what a source names into a directory; the name of the file if it is one.
    fn write_source(&self, mount: &Mount, from: &mut From, into: &Path) -> Result<Option<String>> {
        let request = Request::whole(format!("/{}", mount.source), self.options.made_at());
        let mut tree = ImageTree::empty(&self.workshop.store)?;
        let selected = from.select(self, &request)?;
        let (files, spool) = tree.parts();
        crate::copy::place::place(&request, &selected, from.files(self)?, files, spool)?;
        let file = from.file_name(self, &mount.source)?;
        if file.is_none() {
            // Copying a directory's content leaves its own attributes; a mount shows them.
            let meta = from.directory(self, &mount.source)?;
            *files.meta_mut(files.root()) = meta;
        }
        let owners = rustix::process::geteuid().is_root();
        files
            .write_host(into, HostOptions { owners })
            .map_err(|error| Error::new(Cause::Layers(error.to_string())))?;
        Ok(file)
    }

    fn bind(&self, mount: &Mount, target: &str, from: &mut From, made: &mut Made) -> Result<()> {
        let folder = self.folder()?;
        let file = self.write_source(mount, from, folder.path())?;
        made.preopens.push(Preopen {
            host: folder.path().to_owned(),
            guest: target.to_owned(),
            writable: !mount.read_only,
            mounted: file.map_or(Mounted::Directory, Mounted::File),
        });
        made.targets.push(target.to_owned());
        made.folders.push(folder);
        Ok(())
    }

    /// Takes the locks of all caches of a step, in the order of their names: two steps that want the same two never wait for each other.
    fn open_caches(&self, planned: &[Planned]) -> Result<BTreeMap<String, (PathBuf, File)>> {
        let above = self.workshop.store.path().join(CACHE_FOLDER);
        let mut wanted: BTreeMap<String, Sharing> = BTreeMap::new();
        for Planned { mount, from, .. } in planned {
            if mount.kind == MountKind::Cache {
                let name = cache_name(mount, from.as_ref());
                let sharing = wanted.entry(name).or_insert(Sharing::Shared);
                if *sharing == Sharing::Shared {
                    *sharing = mount.sharing;
                }
            }
        }
        if !wanted.is_empty() {
            fs::create_dir_all(&above).map_err(|source| write_error(&above, source))?;
        }
        let open = |(name, sharing): (String, Sharing)| {
            let opened = open_cache(&above, &name, sharing, &self.stop)?;
            Ok((name, opened))
        };
        wanted.into_iter().map(open).collect()
    }

    /// A cache's directory, made with what `from` names the first time.
    fn cache_mount(
        &self,
        mount: &Mount,
        target: &str,
        from: Option<&mut From>,
        made: &mut Made,
    ) -> Result<()> {
        let name = cache_name(mount, from.as_deref());
        let Some((path, _)) = made.caches.get(&name) else { return Ok(()) };
        let path = path.clone();
        if !path.exists() {
            let fresh = self.folder()?;
            if let Some(from) = from {
                self.write_source(mount, from, fresh.path())?;
            }
            let set = || -> io::Result<()> {
                if rustix::process::geteuid().is_root() {
                    chown(fresh.path(), Some(mount.uid), Some(mount.gid))?;
                }
                fs::set_permissions(fresh.path(), Permissions::from_mode(mount.mode & 0o7777))?;
                match fs::rename(fresh.path(), &path) {
                    // Another build was quicker.
                    Err(_) if path.exists() => Ok(()),
                    other => other,
                }
            };
            set().map_err(|source| write_error(&path, source))?;
        }
        made.preopens.push(Preopen {
            host: path,
            guest: target.to_owned(),
            writable: !mount.read_only,
            mounted: Mounted::Directory,
        });
        made.targets.push(target.to_owned());
        Ok(())
    }

    fn agent(&self, mount: &Mount, target: &str, made: &mut Made) -> Result<()> {
        let Some(agent) = self.options.ssh.get(&mount.id) else {
            if !mount.required {
                return Ok(());
            }
            let reason = format!("unset ssh forward key {}", mount.id);
            let hint = format!("give it with --ssh {}, or --ssh {0}=SOCKET or KEY", mount.id);
            return Err(Error::new(Cause::Mount { reason }).hint(hint));
        };
        made.sockets.push(Served {
            guest: target.to_owned(),
            mode: mount.mode & 0o777,
            uid: mount.uid,
            gid: mount.gid,
            door: agent.door(),
        });
        made.targets.push(target.to_owned());
        Ok(())
    }

    fn secret(&self, mount: &Mount, target: &str, made: &mut Made) -> Result<()> {
        let Some(source) = self.options.secrets.get(&mount.id) else {
            if !mount.required {
                return Ok(());
            }
            let reason = format!("secret {}: not found", mount.id);
            let hint = format!("give it with --secret id={},src=FILE", mount.id);
            return Err(Error::new(Cause::Mount { reason }).hint(hint));
        };
        let bytes = read_secret(source)?;
        if let Some(name) = &mount.env {
            let text = String::from_utf8(bytes.clone()).map_err(|_| {
                let reason = format!("secret {}: it is not text, so no variable", mount.id);
                Error::new(Cause::Mount { reason })
            })?;
            made.env.push(format!("{name}={text}"));
        }
        if target.is_empty() {
            return Ok(());
        }
        let folder = self.folder()?;
        const NAME: &str = "secret";
        let path = folder.path().join(NAME);
        let write = || -> io::Result<()> {
            let mut file = File::options().write(true).create_new(true).mode(0o600).open(&path)?;
            file.write_all(&bytes)?;
            if rustix::process::geteuid().is_root() {
                chown(&path, Some(mount.uid), Some(mount.gid))?;
            }
            file.set_permissions(Permissions::from_mode(mount.mode & 0o777))
        };
        write().map_err(|source| write_error(&path, source))?;
        made.preopens.push(Preopen {
            host: folder.path().to_owned(),
            guest: target.to_owned(),
            writable: false,
            mounted: Mounted::File(NAME.to_owned()),
        });
        made.targets.push(target.to_owned());
        made.folders.push(folder);
        Ok(())
    }
}

fn read_secret(source: &SecretSource) -> Result<Vec<u8>> {
    match source {
        SecretSource::Value(bytes) => Ok(bytes.clone()),
        SecretSource::File(path) => {
            let read = |source| Error::new(Cause::Read { path: path.clone(), source });
            let size = fs::metadata(path).map_err(read)?.len();
            if size > LARGEST_SECRET {
                return Err(read(io::Error::other(format!(
                    "a secret has at most {LARGEST_SECRET} bytes"
                ))));
            }
            fs::read(path).map_err(read)
        }
    }
}

/// What a cache is called. As in BuildKit, caches of one name that start from other files are others.
fn cache_name(mount: &Mount, from: Option<&From>) -> String {
    let start = from.map(From::name).unwrap_or_default();
    let id = dockerfile::ignore::clean(&mount.id);
    let name = Digest::of(format!("{id}\0{start}\0{}", mount.source).as_bytes());
    name.hex().get(..32).unwrap_or_default().to_owned()
}

/// The directory of a cache and its lock, once it is to be had.
fn open_cache(
    above: &Path,
    name: &str,
    sharing: Sharing,
    stop: &Interrupt,
) -> Result<(PathBuf, File)> {
    const MOST: usize = 64;
    'numbers: for number in 0..MOST {
        let name = if number == 0 { name.to_owned() } else { format!("{name}-{number}") };
        let lock = above.join(format!("{name}.lock"));
        let fail = |source: io::Error| write_error(&lock, source);
        let file =
            File::options().create(true).truncate(false).write(true).open(&lock).map_err(fail)?;
        loop {
            let tried = match sharing {
                Sharing::Shared => file.try_lock_shared(),
                Sharing::Locked | Sharing::Private => file.try_lock(),
            };
            match tried {
                Ok(()) => break,
                Err(TryLockError::Error(error)) => return Err(fail(error)),
                Err(TryLockError::WouldBlock) if sharing == Sharing::Private => continue 'numbers,
                Err(TryLockError::WouldBlock) if stop.is_given() => {
                    return Err(Cause::Cancelled.into());
                }
                Err(TryLockError::WouldBlock) => std::thread::sleep(LOOK),
            }
        }
        return Ok((above.join(name), file));
    }
    let reason = "too many builds use this cache at once".to_owned();
    Err(Error::new(Cause::Mount { reason }))
}

fn write_error(path: &Path, source: io::Error) -> Error {
    Error::new(Cause::Write { path: path.to_owned(), source })
}
