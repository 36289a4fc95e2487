//! The kernel's [`Host`] on WASI preview 1.

use crate::files::Files;
use crate::invocation::{Invocation, Terminal};
use crate::network::Way;
use crate::stdio::{self, STDERR, Stdin, Stdout};
use crate::wasi::{self, filetype};
use crate::watched;
use abi::Errno;
use kernel::host::{
    Host, HostDirent, HostFd, HostKind, HostOpen, HostSocket, HostStat, HostTmpfs, Preopen,
};
use mux::files::What;
use std::rc::Rc;

/// Where a host directory without a usable absolute name is mounted.
const HOST_MOUNT: &str = "/host";

/// The host that WASI offers.
pub struct WasiHost {
    terminal: Terminal,
    stdin: Rc<Stdin>,
    stdout: Rc<Stdout>,
    preopens: Vec<Preopen>,
    fixed: Option<FixedWorld>,
    /// What the monotonic clock is ahead of the host's, ns (wrapping): a box that was a snapshot goes on where it was.
    ahead: u64,
    /// The host has a clock of CPU time, and this is no world where clocks count instructions.
    tells_cpu: bool,
    files: Files,
    tmpfs: Vec<HostTmpfs>,
    sockets: Vec<HostSocket>,
    ways: Ways,
}

/// The ways out of the box.
#[derive(Clone, Default)]
pub struct Ways {
    /// To a network.
    pub network: Option<Way>,
    /// To sockets that the host serves.
    pub sockets: Option<Way>,
}

impl Ways {
    /// Those that there are.
    pub fn all(&self) -> impl Iterator<Item = &Way> {
        self.network.iter().chain(&self.sockets)
    }
}

/// Where the monotonic clock starts, ns, on hosts whose own starts at 0 with each program: programs take a time near 0 for one that was
/// never set (ping(8) then sends without pause). No machine runs a program in the first minute after it was switched on.
const UP: u64 = 60_000_000_000;

/// Time and chance of a build step that must give the same result every time.
struct FixedWorld {
    /// Start of the step, ns since the epoch.
    start: u64,
    /// Nanoseconds since then.
    elapsed: u64,
    /// State of the generator (SplitMix64).
    random: u64,
}

impl FixedWorld {
    fn random(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let z = (self.random ^ self.random >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ z >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ z >> 31
    }
}

impl WasiHost {
    /// Takes up the directories that the host gave. `hidden` is the guest path of one that stays out of sight.
    pub fn new(
        invocation: &Invocation,
        hidden: Option<&str>,
        (stdin, stdout): (Rc<Stdin>, Rc<Stdout>),
        ways: Ways,
    ) -> Self {
        let mut preopens = Vec::new();
        for (fd, name) in wasi::preopens() {
            let name = String::from_utf8_lossy(&name);
            let guest_path = mount_point(&name);
            if hidden != Some(guest_path.as_str()) {
                let preopen = invocation.mounts.preopen(guest_path, fd);
                // Some hosts take absolute names and tell them without their slash.
                let as_named = preopen.guest_path.strip_prefix(HOST_MOUNT).map(str::to_owned);
                if let Some(guest_path) = as_named
                    && !name.starts_with('/')
                    && !guest_path.is_empty()
                {
                    preopens.push(Preopen { guest_path, yields: true, ..preopen.clone() });
                }
                preopens.push(preopen);
            }
        }
        let fixed = invocation.clock.map(|seconds| FixedWorld {
            start: seconds.saturating_mul(1_000_000_000),
            elapsed: 0,
            random: seconds,
        });
        let files = Files::new(invocation.files);
        let tells_cpu = fixed.is_none() && wasi::clock_cpu().is_some();
        WasiHost {
            terminal: invocation.terminal,
            stdin,
            stdout,
            preopens,
            fixed,
            ahead: UP,
            tells_cpu,
            files,
            tmpfs: invocation.mounts.tmpfs(),
            sockets: invocation.mounts.sockets(),
            ways,
        }
    }
}

/// The guest path of a preopen: its own name when that is absolute; `/` itself (which is the image's)
/// and relative names lie below `/host`. Those are seen from the root, too, where the image has nothing.
pub fn mount_point(name: &str) -> String {
    let parts = || name.split('/').filter(|part| !part.is_empty() && *part != "." && *part != "..");
    let base = if name.starts_with('/') && parts().next().is_some() { "" } else { HOST_MOUNT };
    parts().fold(base.to_owned(), |path, part| path + "/" + part)
}

fn kind(filetype: filetype::Filetype) -> HostKind {
    match filetype {
        filetype::FILETYPE_REGULAR_FILE => HostKind::File,
        filetype::FILETYPE_DIRECTORY => HostKind::Dir,
        filetype::FILETYPE_SYMBOLIC_LINK => HostKind::Symlink,
        _ => HostKind::Other,
    }
}

fn host_stat(stat: wasi::Filestat) -> HostStat {
    HostStat {
        dev: stat.dev,
        ino: stat.ino,
        kind: kind(stat.filetype),
        nlink: stat.nlink,
        size: stat.size,
        atime: stat.atim,
        mtime: stat.mtim,
        ctime: stat.ctim,
        unix: None,
    }
}

impl Host for WasiHost {
    fn clock_realtime(&self) -> u64 {
        match &self.fixed {
            Some(world) => world.start.saturating_add(world.elapsed),
            None => wasi::clock(true),
        }
    }

    fn clock_monotonic(&self) -> u64 {
        let elapsed = match &self.fixed {
            Some(world) => world.elapsed,
            None => wasi::clock(false),
        };
        elapsed.wrapping_add(self.ahead)
    }

    fn clock_cpu(&self) -> u64 {
        match self.tells_cpu {
            true => wasi::clock_cpu().unwrap_or(0),
            false => self.clock_monotonic(),
        }
    }

    fn continue_at(&mut self, monotonic: u64) {
        let shown = self.clock_monotonic();
        self.ahead = self.ahead.wrapping_add(monotonic).wrapping_sub(shown);
    }

    fn advance(&mut self, ns: u64) {
        if let Some(world) = &mut self.fixed {
            world.elapsed = world.elapsed.saturating_add(ns);
        }
    }

    fn executed(&mut self, instructions: u64) {
        self.advance(instructions);
        watched::executed(instructions);
    }

    fn called(&mut self) {
        watched::called();
    }

    fn random(&mut self, buf: &mut [u8]) {
        if let Some(world) = &mut self.fixed {
            for chunk in buf.chunks_mut(8) {
                chunk.copy_from_slice(&world.random().to_le_bytes()[..chunk.len()]);
            }
            return;
        }
        if wasi::random(buf).is_err() {
            // Programs would go on with predictable keys.
            eprintln!("boxer: the host has no entropy");
            wasi::exit(125);
        }
    }

    fn stdin_read(&mut self, buf: &mut [u8]) -> Result<usize, Errno> {
        // It may block.
        self.stdout.flush();
        self.stdin.read(buf)
    }

    fn stdin_ready(&mut self) -> bool {
        self.stdin.is_ready()
    }

    fn stdout_write(&mut self, buf: &[u8]) -> Result<usize, Errno> {
        self.stdout.write(buf)
    }

    fn stderr_write(&mut self, buf: &[u8]) -> Result<usize, Errno> {
        // Both may be one file.
        self.stdout.flush();
        self.stdout.count(buf.len());
        stdio::write(STDERR, buf)
    }

    fn wrote_much(&self) -> bool {
        self.stdout.wrote_much()
    }

    fn log(&mut self, line: &str) {
        if watched::logs() {
            return watched::log(line);
        }
        let end = if matches!(self.terminal, Terminal::Yes(_)) { "\r\n" } else { "\n" };
        let _ = self.stderr_write([line, end].concat().as_bytes());
    }

    fn is_terminal(&self, fd: u32) -> bool {
        match self.terminal {
            Terminal::Detect => wasi::is_terminal(fd),
            Terminal::No => false,
            Terminal::Lines | Terminal::Yes(_) => fd <= STDERR,
        }
    }

    fn edits_lines(&self) -> bool {
        // Nothing in WASI makes a terminal raw.
        matches!(self.terminal, Terminal::Detect | Terminal::Lines)
    }

    fn window_size(&self) -> Option<(u16, u16)> {
        match self.terminal {
            Terminal::Yes(size) => size.map(|size| (size.rows, size.columns)),
            _ => None,
        }
    }

    fn tmpfs(&self) -> Vec<HostTmpfs> {
        self.tmpfs.clone()
    }

    fn network(&mut self) -> Option<&mut dyn net::Outside> {
        self.ways.network.as_mut().map(|way| way as &mut dyn net::Outside)
    }

    fn sockets_way(&mut self) -> Option<&mut dyn net::Outside> {
        self.ways.sockets.as_mut().map(|way| way as &mut dyn net::Outside)
    }

    fn sockets(&self) -> Vec<HostSocket> {
        self.sockets.clone()
    }

    fn preopens(&self) -> Vec<Preopen> {
        self.preopens.clone()
    }

    fn open(&mut self, dir: HostFd, path: &[u8], how: HostOpen) -> Result<HostFd, Errno> {
        let HostOpen { read, write, create, exclusive, truncate, directory, follow } = how;
        let how = wasi::Open { read, write, create, exclusive, truncate, directory, follow };
        wasi::open(dir.0, here(path), how).map(HostFd)
    }

    fn close(&mut self, fd: HostFd) {
        wasi::close(fd.0);
    }

    fn read(&mut self, fd: HostFd, offset: u64, buf: &mut [u8]) -> Result<usize, Errno> {
        wasi::pread(fd.0, offset, buf)
    }

    fn write(&mut self, fd: HostFd, offset: u64, buf: &[u8]) -> Result<usize, Errno> {
        wasi::pwrite(fd.0, offset, buf)
    }

    fn readdir(&mut self, dir: HostFd) -> Result<Vec<HostDirent>, Errno> {
        let mut entries = wasi::readdir(dir.0)?;
        entries.retain(|entry| entry.name != b"." && entry.name != b"..");
        let convert = |entry: wasi::Dirent| HostDirent {
            name: entry.name,
            ino: entry.ino,
            kind: kind(entry.kind),
        };
        Ok(entries.into_iter().map(convert).collect())
    }

    fn list(&mut self, dir: HostFd, path: &[u8]) -> Result<Vec<HostDirent>, Errno> {
        match self.files.list(dir, path) {
            Err(Errno::ENOSYS) => {}
            answer => return answer,
        }
        let how = HostOpen { read: true, directory: true, ..HostOpen::default() };
        let fd = self.open(dir, path, how)?;
        let entries = self.readdir(fd);
        self.close(fd);
        entries
    }

    fn fstat(&mut self, fd: HostFd) -> Result<HostStat, Errno> {
        wasi::fstat(fd.0).map(host_stat)
    }

    fn stat(&mut self, dir: HostFd, path: &[u8], follow: bool) -> Result<HostStat, Errno> {
        if !follow {
            match self.files.stat(dir, path) {
                Err(Errno::ENOSYS) => {}
                answer => return answer,
            }
        }
        match wasi::stat(dir.0, here(path), follow) {
            // A host that does not know `.` knows the directory.
            Err(_) if path.is_empty() => self.fstat(dir),
            stat => stat.map(host_stat),
        }
    }

    fn mkdir(&mut self, dir: HostFd, path: &[u8]) -> Result<(), Errno> {
        wasi::mkdir(dir.0, path)
    }

    fn unlink(&mut self, dir: HostFd, path: &[u8]) -> Result<(), Errno> {
        wasi::unlink(dir.0, path)
    }

    fn rmdir(&mut self, dir: HostFd, path: &[u8]) -> Result<(), Errno> {
        wasi::rmdir(dir.0, path)
    }

    fn rename(&mut self, from: HostFd, old: &[u8], to: HostFd, new: &[u8]) -> Result<(), Errno> {
        wasi::rename(from.0, old, to.0, new)
    }

    fn symlink(&mut self, target: &[u8], dir: HostFd, path: &[u8]) -> Result<(), Errno> {
        match self.files.ask(dir, path, What::Symlink(target)) {
            Err(Errno::ENOSYS) => wasi::symlink(target, dir.0, path),
            answer => answer.map(drop),
        }
    }

    fn link(&mut self, from: HostFd, old: &[u8], to: HostFd, new: &[u8]) -> Result<(), Errno> {
        wasi::link(from.0, old, to.0, new)
    }

    fn readlink(&mut self, dir: HostFd, path: &[u8]) -> Result<Vec<u8>, Errno> {
        match self.files.ask(dir, path, What::Readlink) {
            Err(Errno::ENOSYS) => wasi::readlink(dir.0, path),
            answer => answer,
        }
    }

    fn utimes(
        &mut self,
        dir: HostFd,
        path: &[u8],
        atime: Option<u64>,
        mtime: Option<u64>,
        follow: bool,
    ) -> Result<(), Errno> {
        wasi::utimes(dir.0, here(path), atime, mtime, follow)
    }

    fn set_perm(&mut self, dir: HostFd, path: &[u8], perm: u32) -> Result<(), Errno> {
        self.files.ask(dir, path, What::SetPerm(perm)).map(drop)
    }

    fn set_owner(
        &mut self,
        dir: HostFd,
        path: &[u8],
        uid: Option<u32>,
        gid: Option<u32>,
    ) -> Result<(), Errno> {
        self.files.ask(dir, path, What::SetOwner(uid, gid)).map(drop)
    }

    fn mknod(&mut self, dir: HostFd, path: &[u8], mode: u32) -> Result<(), Errno> {
        self.files.ask(dir, path, What::Mknod(mode)).map(drop)
    }

    fn truncate(&mut self, fd: HostFd, len: u64) -> Result<(), Errno> {
        wasi::truncate(fd.0, len)
    }

    fn sync(&mut self, fd: HostFd) -> Result<(), Errno> {
        wasi::sync(fd.0)
    }
}

/// WASI has no empty path.
fn here(path: &[u8]) -> &[u8] {
    if path.is_empty() { b"." } else { path }
}
