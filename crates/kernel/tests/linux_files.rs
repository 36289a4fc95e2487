//! The same sequences of file operations on the Linux that runs the test and in the box: every result must agree.
//!
//! `tests/files/*.seq` holds one operation a line (see `run`); `#` starts a comment. The real side works in a fresh
//! directory of `/dev/shm` (tmpfs) or the temporary directory.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod harness;

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use abi::Errno;
use abi::fcntl::*;
use harness::Sys;
use rustix::fs::{AtFlags, FileType, Mode, OFlags, RenameFlags};

/// One side: each operation gives `ok`, a value, or the error's name.
trait Side {
    fn mkdir(&mut self, path: &str, mode: u32) -> Result<(), Errno>;
    fn remove(&mut self, path: &str, dir: bool) -> Result<(), Errno>;
    fn link(&mut self, old: &str, new: &str) -> Result<(), Errno>;
    fn symlink(&mut self, target: &str, path: &str) -> Result<(), Errno>;
    fn rename(&mut self, old: &str, new: &str, flags: u32) -> Result<(), Errno>;
    fn fifo(&mut self, path: &str, mode: u32) -> Result<(), Errno>;
    fn chmod(&mut self, path: &str, mode: u32) -> Result<(), Errno>;
    fn readlink(&mut self, path: &str) -> Result<Vec<u8>, Errno>;
    /// Opens and closes.
    fn open(&mut self, path: &str, flags: u32, mode: u32) -> Result<(), Errno>;
    fn write(&mut self, path: &str, at: u64, text: &[u8]) -> Result<usize, Errno>;
    fn read(&mut self, path: &str, at: u64, len: usize) -> Result<Vec<u8>, Errno>;
    fn truncate(&mut self, path: &str, size: u64) -> Result<(), Errno>;
    /// Mode, links, size (not of directories).
    fn stat(&mut self, path: &str) -> Result<(u32, u64, u64), Errno>;
    fn list(&mut self, path: &str) -> Result<Vec<Vec<u8>>, Errno>;
}

struct Linux {
    dir: OwnedFd,
    path: PathBuf,
}

impl Linux {
    fn new(name: &str) -> Linux {
        let shm = Path::new("/dev/shm");
        let base = if shm.is_dir() { shm.to_path_buf() } else { std::env::temp_dir() };
        let path = base.join(format!("boxer-files-{}-{name}", std::process::id()));
        std::fs::create_dir(&path).unwrap();
        let dir = rustix::fs::open(&path, OFlags::DIRECTORY, Mode::empty()).unwrap();
        Linux { dir, path }
    }
}

impl Drop for Linux {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.path);
    }
}

fn errno(e: rustix::io::Errno) -> Errno {
    Errno::from_raw(e.raw_os_error()).unwrap()
}

fn open_host(side: &Linux, path: &str, flags: u32, mode: u32) -> Result<OwnedFd, Errno> {
    let flags = OFlags::from_bits_retain(flags);
    rustix::fs::openat(&side.dir, path, flags, Mode::from_raw_mode(mode)).map_err(errno)
}

impl Side for Linux {
    fn mkdir(&mut self, path: &str, mode: u32) -> Result<(), Errno> {
        rustix::fs::mkdirat(&self.dir, path, Mode::from_raw_mode(mode)).map_err(errno)
    }
    fn remove(&mut self, path: &str, dir: bool) -> Result<(), Errno> {
        let flags = if dir { AtFlags::REMOVEDIR } else { AtFlags::empty() };
        rustix::fs::unlinkat(&self.dir, path, flags).map_err(errno)
    }
    fn link(&mut self, old: &str, new: &str) -> Result<(), Errno> {
        rustix::fs::linkat(&self.dir, old, &self.dir, new, AtFlags::empty()).map_err(errno)
    }
    fn symlink(&mut self, target: &str, path: &str) -> Result<(), Errno> {
        rustix::fs::symlinkat(target, &self.dir, path).map_err(errno)
    }
    fn rename(&mut self, old: &str, new: &str, flags: u32) -> Result<(), Errno> {
        let flags = RenameFlags::from_bits_retain(flags);
        rustix::fs::renameat_with(&self.dir, old, &self.dir, new, flags).map_err(errno)
    }
    fn fifo(&mut self, path: &str, mode: u32) -> Result<(), Errno> {
        let mode = Mode::from_raw_mode(mode);
        rustix::fs::mknodat(&self.dir, path, FileType::Fifo, mode, 0).map_err(errno)
    }
    fn chmod(&mut self, path: &str, mode: u32) -> Result<(), Errno> {
        let mode = Mode::from_raw_mode(mode);
        rustix::fs::chmodat(&self.dir, path, mode, AtFlags::empty()).map_err(errno)
    }
    fn readlink(&mut self, path: &str) -> Result<Vec<u8>, Errno> {
        let target = rustix::fs::readlinkat(&self.dir, path, Vec::new()).map_err(errno)?;
        Ok(target.into_bytes())
    }
    fn open(&mut self, path: &str, flags: u32, mode: u32) -> Result<(), Errno> {
        open_host(self, path, flags, mode).map(drop)
    }
    fn write(&mut self, path: &str, at: u64, text: &[u8]) -> Result<usize, Errno> {
        let fd = open_host(self, path, O_WRONLY, 0)?;
        rustix::io::pwrite(&fd, text, at).map_err(errno)
    }
    fn read(&mut self, path: &str, at: u64, len: usize) -> Result<Vec<u8>, Errno> {
        let fd = open_host(self, path, O_RDONLY, 0)?;
        let mut buf = vec![0; len];
        let n = rustix::io::pread(&fd, &mut buf, at).map_err(errno)?;
        buf.truncate(n);
        Ok(buf)
    }
    fn truncate(&mut self, path: &str, size: u64) -> Result<(), Errno> {
        let fd = open_host(self, path, O_WRONLY, 0)?;
        rustix::fs::ftruncate(&fd, size).map_err(errno)
    }
    fn stat(&mut self, path: &str) -> Result<(u32, u64, u64), Errno> {
        let stat = rustix::fs::statat(&self.dir, path, AtFlags::SYMLINK_NOFOLLOW).map_err(errno)?;
        Ok((stat.st_mode, stat.st_nlink, stat.st_size as u64))
    }
    fn list(&mut self, path: &str) -> Result<Vec<Vec<u8>>, Errno> {
        let fd = open_host(self, path, O_RDONLY | O_DIRECTORY, 0)?;
        let dir = rustix::fs::Dir::new(fd).map_err(errno)?;
        dir.map(|e| Ok(e.map_err(errno)?.file_name().to_bytes().to_vec())).collect()
    }
}

/// The umask of this process, which both sides must have.
fn host_umask() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|l| l.strip_prefix("Umask:")).unwrap();
    u64::from_str_radix(line.trim(), 8).unwrap()
}

/// The box: system calls by number, relative to descriptor `dir`.
struct Boxed {
    sys: Sys,
    dir: u64,
    buf: u64,
    paths: [u64; 2],
}

impl Boxed {
    fn new() -> Boxed {
        let mut sys = Sys::new();
        sys.ok(95, &[host_umask()]);
        let at = sys.string("/w");
        sys.ok(83, &[at, 0o755]);
        let dir = sys.ok(2, &[at, u64::from(O_DIRECTORY), 0]);
        let (buf, one, two) = (sys.map(65536), sys.map(8192), sys.map(8192));
        Boxed { sys, dir, buf, paths: [one, two] }
    }

    fn path(&mut self, slot: usize, path: &str) -> u64 {
        let at = self.paths[slot];
        self.sys.poke(at, &[path.as_bytes(), b"\0"].concat());
        at
    }

    fn call(&mut self, nr: u64, args: &[u64]) -> Result<u64, Errno> {
        match self.sys.call(nr, args) {
            n if n < 0 => Err(Errno::from_raw(-n as i32).unwrap()),
            n => Ok(n as u64),
        }
    }

    fn with_fd<T>(
        &mut self,
        path: &str,
        flags: u32,
        mode: u32,
        f: impl FnOnce(&mut Boxed, u64) -> Result<T, Errno>,
    ) -> Result<T, Errno> {
        let at = self.path(0, path);
        let fd = self.call(257, &[self.dir, at, u64::from(flags), u64::from(mode)])?;
        let result = f(self, fd);
        self.call(3, &[fd]).unwrap();
        result
    }

    fn peek(&mut self, len: u64) -> Vec<u8> {
        let mut out = vec![0; len as usize];
        self.sys.k.mm.read_user(self.buf, &mut out).unwrap();
        out
    }
}

impl Side for Boxed {
    fn mkdir(&mut self, path: &str, mode: u32) -> Result<(), Errno> {
        let at = self.path(0, path);
        self.call(258, &[self.dir, at, u64::from(mode)]).map(drop)
    }
    fn remove(&mut self, path: &str, dir: bool) -> Result<(), Errno> {
        let at = self.path(0, path);
        let flags = if dir { AT_REMOVEDIR } else { 0 };
        self.call(263, &[self.dir, at, u64::from(flags)]).map(drop)
    }
    fn link(&mut self, old: &str, new: &str) -> Result<(), Errno> {
        let (a, b) = (self.path(0, old), self.path(1, new));
        self.call(265, &[self.dir, a, self.dir, b, 0]).map(drop)
    }
    fn symlink(&mut self, target: &str, path: &str) -> Result<(), Errno> {
        let (a, b) = (self.path(0, target), self.path(1, path));
        self.call(266, &[a, self.dir, b]).map(drop)
    }
    fn rename(&mut self, old: &str, new: &str, flags: u32) -> Result<(), Errno> {
        let (a, b) = (self.path(0, old), self.path(1, new));
        self.call(316, &[self.dir, a, self.dir, b, u64::from(flags)]).map(drop)
    }
    fn fifo(&mut self, path: &str, mode: u32) -> Result<(), Errno> {
        let at = self.path(0, path);
        self.call(259, &[self.dir, at, u64::from(mode | abi::stat::S_IFIFO), 0]).map(drop)
    }
    fn chmod(&mut self, path: &str, mode: u32) -> Result<(), Errno> {
        let at = self.path(0, path);
        self.call(268, &[self.dir, at, u64::from(mode)]).map(drop)
    }
    fn readlink(&mut self, path: &str) -> Result<Vec<u8>, Errno> {
        let (at, buf) = (self.path(0, path), self.buf);
        let n = self.call(267, &[self.dir, at, buf, 4096])?;
        Ok(self.peek(n))
    }
    fn open(&mut self, path: &str, flags: u32, mode: u32) -> Result<(), Errno> {
        self.with_fd(path, flags, mode, |_, _| Ok(()))
    }
    fn write(&mut self, path: &str, at: u64, text: &[u8]) -> Result<usize, Errno> {
        self.with_fd(path, O_WRONLY, 0, |this, fd| {
            this.sys.poke(this.buf, text);
            let n = this.call(18, &[fd, this.buf, text.len() as u64, at])?;
            Ok(n as usize)
        })
    }
    fn read(&mut self, path: &str, at: u64, len: usize) -> Result<Vec<u8>, Errno> {
        self.with_fd(path, O_RDONLY, 0, |this, fd| {
            let n = this.call(17, &[fd, this.buf, len as u64, at])?;
            Ok(this.peek(n))
        })
    }
    fn truncate(&mut self, path: &str, size: u64) -> Result<(), Errno> {
        self.with_fd(path, O_WRONLY, 0, |this, fd| this.call(77, &[fd, size]).map(drop))
    }
    fn stat(&mut self, path: &str) -> Result<(u32, u64, u64), Errno> {
        let (at, buf) = (self.path(0, path), self.buf);
        self.call(262, &[self.dir, at, buf, u64::from(AT_SYMLINK_NOFOLLOW)])?;
        let links = self.sys.peek64(buf + 16);
        Ok((self.sys.peek32(buf + 24), links, self.sys.peek64(buf + 48)))
    }
    fn list(&mut self, path: &str) -> Result<Vec<Vec<u8>>, Errno> {
        self.with_fd(path, O_RDONLY | O_DIRECTORY, 0, |this, fd| {
            let mut names = Vec::new();
            loop {
                // A small buffer, so that the position matters.
                let n = this.call(217, &[fd, this.buf, 100])?;
                if n == 0 {
                    return Ok(names);
                }
                let bytes = this.peek(n);
                let mut at = 0;
                while at < bytes.len() {
                    let len = usize::from(u16::from_le_bytes([bytes[at + 16], bytes[at + 17]]));
                    let name = &bytes[at + 19..at + len];
                    let end = name.iter().position(|b| *b == 0).unwrap();
                    names.push(name[..end].to_vec());
                    at += len;
                }
            }
        })
    }
}

fn open_flags(words: &str) -> u32 {
    words.split(',').fold(0, |flags, word| {
        flags
            | match word {
                "read" => O_RDONLY,
                "write" => O_WRONLY,
                "trunc" => O_WRONLY | O_TRUNC,
                "creat" => O_CREAT | O_WRONLY,
                "excl" => O_EXCL,
                "directory" => O_DIRECTORY,
                "nofollow" => O_NOFOLLOW,
                "nonblock" => O_NONBLOCK,
                other => panic!("no open flag {other}"),
            }
    })
}

fn text(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).unwrap().escape_default().to_string()
}

/// Runs one line: what it gave.
fn run(side: &mut dyn Side, line: &str) -> String {
    let words: Vec<&str> = line.split(' ').collect();
    let octal = |i: usize| u32::from_str_radix(words[i], 8).unwrap();
    let number = |i: usize| words[i].parse::<u64>().unwrap();
    let ok = |()| "ok".to_string();
    let result = match words[0] {
        "mkdir" => side.mkdir(words[1], octal(2)).map(ok),
        "rmdir" => side.remove(words[1], true).map(ok),
        "unlink" => side.remove(words[1], false).map(ok),
        "link" => side.link(words[1], words[2]).map(ok),
        "symlink" => side.symlink(words[1], words[2]).map(ok),
        "rename" => side.rename(words[1], words[2], 0).map(ok),
        "renameat2" => {
            let flags = if words[3] == "noreplace" { RENAME_NOREPLACE } else { RENAME_EXCHANGE };
            side.rename(words[1], words[2], flags).map(ok)
        }
        "fifo" => side.fifo(words[1], octal(2)).map(ok),
        "chmod" => side.chmod(words[1], octal(2)).map(ok),
        "readlink" => side.readlink(words[1]).map(text),
        "open" => {
            let mode = if words.len() > 3 { octal(3) } else { 0 };
            side.open(words[1], open_flags(words[2]), mode).map(ok)
        }
        "write" => side.write(words[1], number(2), words[3].as_bytes()).map(|n| n.to_string()),
        "read" => side.read(words[1], number(2), number(3) as usize).map(text),
        "truncate" => side.truncate(words[1], number(2)).map(ok),
        "stat" => side.stat(words[1]).map(|(mode, links, size)| {
            let size = if mode & 0o170000 == 0o040000 { 0 } else { size };
            format!("{mode:o} {links} {size}")
        }),
        "ls" => side.list(words[1]).map(|mut names| {
            names.sort();
            names.into_iter().map(text).collect::<Vec<_>>().join(" ")
        }),
        other => panic!("no operation {other}"),
    };
    result.unwrap_or_else(|errno| errno.name().to_string())
}

#[test]
fn box_and_linux_agree() {
    let dir = std::env::current_dir().unwrap().join("tests/files");
    let mut files: Vec<_> = std::fs::read_dir(dir).unwrap().map(|e| e.unwrap().path()).collect();
    files.sort();
    let mut differences = Vec::new();
    let mut lines = 0;
    for file in files.iter().filter(|f| f.extension().is_some_and(|e| e == "seq")) {
        let name = file.file_stem().unwrap().to_str().unwrap();
        let (mut linux, mut boxed) = (Linux::new(name), Boxed::new());
        for (i, line) in std::fs::read_to_string(file).unwrap().lines().enumerate() {
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            lines += 1;
            let (want, got) = (run(&mut linux, line), run(&mut boxed, line));
            if want != got {
                differences.push(format!("{name}.seq:{}: {line}: Linux {want}, box {got}", i + 1));
            }
        }
    }
    assert!(lines > 100, "the sequences are missing");
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}
