//! `BOXER_MOUNTS`: a line for each mount that is not just a preopened directory, words between tabs.
//!
//! | line | meaning |
//! |---|---|
//! | `file` PREOPEN NAME PATH | the file NAME of that directory is mounted at PATH, the directory is not |
//! | `volume` PATH | the directory preopened as PATH takes over what the image has there, while it is empty |
//! | `ro` PREOPEN | that directory cannot be changed; not every host says so itself |
//! | `socket` PATH MODE UID GID PORT | a socket that the host serves, by the port of `BOXER_SOCKETS` |
//! | `tmpfs` PATH MODE `ro`\|`rw` [`exec`] [SIZE] | a file system in memory; MODE is octal, SIZE in bytes; without `exec` no program in it runs |

use crate::wasi;
use kernel::host::{HostFd, HostSocket, HostTmpfs, Preopen};

/// The lines.
#[derive(Clone, Debug, Default)]
pub struct Mounts(Vec<Vec<String>>);

impl Mounts {
    /// Reads the variable.
    pub fn new(text: &str) -> Mounts {
        Mounts(text.lines().map(|line| line.split('\t').map(str::to_owned).collect()).collect())
    }

    fn lines(&self) -> impl Iterator<Item = Vec<&str>> {
        self.0.iter().map(|line| line.iter().map(String::as_str).collect())
    }

    /// What the directory preopened as `name` is.
    pub fn preopen(&self, name: String, fd: wasi::Fd) -> Preopen {
        let (dir, writable) = (HostFd(fd), wasi::is_writable(fd));
        let mut preopen =
            Preopen { guest_path: name, dir, writable, file: None, volume: false, yields: false };
        let name = preopen.guest_path.clone();
        for line in self.lines() {
            match line.as_slice() {
                ["file", from, file, path] if *from == name => {
                    preopen.guest_path = (*path).to_owned();
                    preopen.file = Some(file.as_bytes().to_vec());
                }
                ["volume", path] if *path == name => preopen.volume = true,
                ["ro", from] if *from == name => preopen.writable = false,
                _ => {}
            }
        }
        preopen
    }

    /// Sockets that the host serves.
    pub fn sockets(&self) -> Vec<HostSocket> {
        let socket = |line: Vec<&str>| match line.as_slice() {
            ["socket", path, mode, uid, gid, port] => Some(HostSocket {
                guest_path: (*path).to_owned(),
                perm: u32::from_str_radix(mode, 8).ok()?,
                uid: uid.parse().ok()?,
                gid: gid.parse().ok()?,
                port: port.parse().ok()?,
            }),
            _ => None,
        };
        self.lines().filter_map(socket).collect()
    }

    /// File systems in memory.
    pub fn tmpfs(&self) -> Vec<HostTmpfs> {
        let mut found = Vec::new();
        for line in self.lines() {
            if let ["tmpfs", path, mode, how, more @ ..] = line.as_slice() {
                let perm = u32::from_str_radix(mode, 8).unwrap_or(0o1777) & 0o7777;
                let (guest_path, writable) = ((*path).to_owned(), *how == "rw");
                let executable = more.contains(&"exec");
                let size = more.iter().find_map(|word| word.parse().ok());
                found.push(HostTmpfs { guest_path, perm, writable, executable, size });
            }
        }
        found
    }
}
