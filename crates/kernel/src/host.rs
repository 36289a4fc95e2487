//! What the kernel asks of the world outside: clocks, entropy, the standard streams, host directories.

use abi::Errno;

/// An open file or directory of the host; its meaning is the host's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HostFd(pub u32);

/// A host directory that the box may use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Preopen {
    /// Where the guest sees it (absolute path).
    pub guest_path: String,
    /// The open directory.
    pub dir: HostFd,
    /// Whether the guest may change it.
    pub writable: bool,
    /// Only the file of this name in it is mounted.
    pub file: Option<Vec<u8>>,
    /// While it is empty it takes over what the image has at the guest path.
    pub volume: bool,
    /// It is not seen where the image has something at the guest path.
    pub yields: bool,
}

/// A file system in memory that the box shall have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostTmpfs {
    /// Absolute path.
    pub guest_path: String,
    /// Permission bits.
    pub perm: u32,
    /// Whether the guest may change it.
    pub writable: bool,
    /// Whether programs in it may be executed.
    pub executable: bool,
    /// Most bytes of its files, if there is a limit besides that of all files.
    pub size: Option<u64>,
}

/// A socket that somebody outside serves: programs connect to it by its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostSocket {
    /// Absolute path.
    pub guest_path: String,
    /// Permission bits.
    pub perm: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// The port that [`Host::sockets_way`] leads there by.
    pub port: u16,
}

/// Kind of a host file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum HostKind {
    /// Regular file.
    #[default]
    File,
    /// Directory.
    Dir,
    /// Symbolic link.
    Symlink,
    /// Named pipe, where the host tells.
    Fifo,
    /// Anything else (device, socket, pipe).
    Other,
}

/// What WASI's `filestat` lacks of a file's attributes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HostUnix {
    /// Permission bits with set-id and sticky bits.
    pub perm: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Allocated size in units of 512 bytes.
    pub blocks: u64,
}

impl Default for HostUnix {
    /// A host that does not tell.
    fn default() -> HostUnix {
        HostUnix { perm: 0o777, uid: 0, gid: 0, blocks: 0 }
    }
}

/// Attributes of a host file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HostStat {
    /// Device.
    pub dev: u64,
    /// Inode.
    pub ino: u64,
    /// Kind.
    pub kind: HostKind,
    /// Hard links.
    pub nlink: u64,
    /// Bytes.
    pub size: u64,
    /// Access time, ns since the epoch.
    pub atime: u64,
    /// Modification time, ns since the epoch.
    pub mtime: u64,
    /// Change time, ns since the epoch.
    pub ctime: u64,
    /// The rest, where the host tells.
    pub unix: Option<HostUnix>,
}

/// One entry of a host directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostDirent {
    /// Name without the path.
    pub name: Vec<u8>,
    /// Inode.
    pub ino: u64,
    /// Kind.
    pub kind: HostKind,
}

/// How [`Host::open`] opens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HostOpen {
    /// For reading.
    pub read: bool,
    /// For writing.
    pub write: bool,
    /// Create if missing.
    pub create: bool,
    /// Fail if it exists (with `create`).
    pub exclusive: bool,
    /// Cut to length zero.
    pub truncate: bool,
    /// Must be a directory.
    pub directory: bool,
    /// Follow a final symbolic link.
    pub follow: bool,
}

/// The host. No call may block; what would block returns `EAGAIN`. Directory operations have WASI preview 1's
/// power; a host without files keeps the defaults, which refuse with `ENOSYS`.
#[allow(unused_variables)]
pub trait Host {
    /// Nanoseconds since the epoch.
    fn clock_realtime(&self) -> u64;
    /// Nanoseconds since a fixed point.
    fn clock_monotonic(&self) -> u64;
    /// CPU time that the box has used, ns from a fixed point. A host that cannot tell gives the time that passes.
    fn clock_cpu(&self) -> u64 {
        self.clock_monotonic()
    }
    /// The monotonic clock goes on from here, whatever it showed: told to the host of a box that was a snapshot.
    fn continue_at(&mut self, monotonic: u64) {}
    /// That many nanoseconds pass: told to a host whose clocks count guest instructions, so that a build step gives the
    /// same result every time. Others have clocks of their own.
    fn advance(&mut self, ns: u64) {}
    /// Programs have executed so many instructions more. A clock that counts them runs at 1 GHz.
    fn executed(&mut self, instructions: u64) {
        self.advance(instructions);
    }
    /// Programs have made one more system call.
    fn called(&mut self) {}
    /// Fills `buf` with entropy.
    fn random(&mut self, buf: &mut [u8]);

    /// Reads from standard input: bytes read, 0 at the end, `EAGAIN` when nothing is there yet.
    fn stdin_read(&mut self, buf: &mut [u8]) -> Result<usize, Errno>;
    /// Whether [`Host::stdin_read`] would return at once.
    fn stdin_ready(&mut self) -> bool;
    /// Writes to standard output: bytes written.
    fn stdout_write(&mut self, buf: &[u8]) -> Result<usize, Errno>;
    /// Writes to standard error: bytes written.
    fn stderr_write(&mut self, buf: &[u8]) -> Result<usize, Errno>;

    /// Whether so much output was written since the driver looked last that it should look again: who reads it may be behind.
    fn wrote_much(&self) -> bool {
        false
    }
    /// Whether standard stream `fd` (0, 1, 2) is a terminal.
    fn is_terminal(&self, fd: u32) -> bool {
        false
    }
    /// Whether the host's terminal edits and echoes lines by itself and starts each at the left, since nobody has made it raw.
    fn edits_lines(&self) -> bool {
        false
    }
    /// Rows and columns of the terminal.
    fn window_size(&self) -> Option<(u16, u16)> {
        None
    }
    /// One line of `--strace` or `--debug` output, without the newline.
    fn log(&mut self, line: &str) {
        let _ = self.stderr_write(line.as_bytes());
        let _ = self.stderr_write(b"\n");
    }

    /// The way out, if the host grants one.
    fn network(&mut self) -> Option<&mut dyn net::Outside> {
        None
    }

    /// The way to what serves [`Host::sockets`]; it is not the box's network.
    fn sockets_way(&mut self) -> Option<&mut dyn net::Outside> {
        None
    }

    /// Sockets of the outside.
    fn sockets(&self) -> Vec<HostSocket> {
        Vec::new()
    }

    /// Host directories to mount.
    fn preopens(&self) -> Vec<Preopen> {
        Vec::new()
    }
    /// File systems in memory to mount.
    fn tmpfs(&self) -> Vec<HostTmpfs> {
        Vec::new()
    }
    /// Opens `path` (relative, without `..`) below `dir`.
    fn open(&mut self, dir: HostFd, path: &[u8], how: HostOpen) -> Result<HostFd, Errno> {
        Err(Errno::ENOSYS)
    }
    /// Closes what [`Host::open`] gave.
    fn close(&mut self, fd: HostFd) {}
    /// Reads at `offset`: bytes read, 0 at the end.
    fn read(&mut self, fd: HostFd, offset: u64, buf: &mut [u8]) -> Result<usize, Errno> {
        Err(Errno::ENOSYS)
    }
    /// Writes at `offset`: bytes written.
    fn write(&mut self, fd: HostFd, offset: u64, buf: &[u8]) -> Result<usize, Errno> {
        Err(Errno::ENOSYS)
    }
    /// Entries of the open directory, without `.` and `..`.
    fn readdir(&mut self, dir: HostFd) -> Result<Vec<HostDirent>, Errno> {
        Err(Errno::ENOSYS)
    }
    /// Entries of the directory `path` below `dir`, without `.` and `..`.
    fn list(&mut self, dir: HostFd, path: &[u8]) -> Result<Vec<HostDirent>, Errno> {
        let how = HostOpen { read: true, directory: true, ..HostOpen::default() };
        let fd = self.open(dir, if path.is_empty() { b"." } else { path }, how)?;
        let entries = self.readdir(fd);
        self.close(fd);
        entries
    }
    /// Attributes of an open file.
    fn fstat(&mut self, fd: HostFd) -> Result<HostStat, Errno> {
        Err(Errno::ENOSYS)
    }
    /// Attributes of `path` below `dir` (an empty path: of `dir`).
    fn stat(&mut self, dir: HostFd, path: &[u8], follow: bool) -> Result<HostStat, Errno> {
        Err(Errno::ENOSYS)
    }
    /// Makes a directory.
    fn mkdir(&mut self, dir: HostFd, path: &[u8]) -> Result<(), Errno> {
        Err(Errno::ENOSYS)
    }
    /// Removes a file.
    fn unlink(&mut self, dir: HostFd, path: &[u8]) -> Result<(), Errno> {
        Err(Errno::ENOSYS)
    }
    /// Removes an empty directory.
    fn rmdir(&mut self, dir: HostFd, path: &[u8]) -> Result<(), Errno> {
        Err(Errno::ENOSYS)
    }
    /// Renames within or across host directories.
    fn rename(&mut self, from: HostFd, old: &[u8], to: HostFd, new: &[u8]) -> Result<(), Errno> {
        Err(Errno::ENOSYS)
    }
    /// Makes a symbolic link `path` holding `target`.
    fn symlink(&mut self, target: &[u8], dir: HostFd, path: &[u8]) -> Result<(), Errno> {
        Err(Errno::ENOSYS)
    }
    /// Makes a hard link.
    fn link(&mut self, from: HostFd, old: &[u8], to: HostFd, new: &[u8]) -> Result<(), Errno> {
        Err(Errno::ENOSYS)
    }
    /// The target of a symbolic link.
    fn readlink(&mut self, dir: HostFd, path: &[u8]) -> Result<Vec<u8>, Errno> {
        Err(Errno::ENOSYS)
    }
    /// Sets times in ns since the epoch; `None` leaves one unchanged.
    fn utimes(
        &mut self,
        dir: HostFd,
        path: &[u8],
        atime: Option<u64>,
        mtime: Option<u64>,
        follow: bool,
    ) -> Result<(), Errno> {
        Err(Errno::ENOSYS)
    }
    /// Sets permission bits (without following a link). `ENOSYS` where the host keeps none.
    fn set_perm(&mut self, dir: HostFd, path: &[u8], perm: u32) -> Result<(), Errno> {
        Err(Errno::ENOSYS)
    }
    /// Sets owner and group (without following a link); `None` leaves one unchanged. `ENOSYS` where the host keeps none.
    fn set_owner(
        &mut self,
        dir: HostFd,
        path: &[u8],
        uid: Option<u32>,
        gid: Option<u32>,
    ) -> Result<(), Errno> {
        Err(Errno::ENOSYS)
    }
    /// Makes a named pipe or a socket's name; `mode` has type and permission bits. `ENOSYS` where the host has none.
    fn mknod(&mut self, dir: HostFd, path: &[u8], mode: u32) -> Result<(), Errno> {
        Err(Errno::ENOSYS)
    }
    /// Sets the length of an open file.
    fn truncate(&mut self, fd: HostFd, len: u64) -> Result<(), Errno> {
        Err(Errno::ENOSYS)
    }
    /// Flushes an open file.
    fn sync(&mut self, fd: HostFd) -> Result<(), Errno> {
        Ok(())
    }
}
