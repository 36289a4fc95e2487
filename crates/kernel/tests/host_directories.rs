//! Host directories on a host that knows no more than WASI preview 1: what the kernel keeps itself, and mappings.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod harness;

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::PathBuf;

use abi::Errno;
use abi::fcntl::{O_CREAT, O_RDONLY, O_RDWR};
use harness::{put_file, tiny_elf};
use kernel::fs::inode::Kind;
use kernel::fs::walk::{Lookup, resolve};
use kernel::fs::{Cred, Cx, Dentry, PathCx, ops};
use kernel::host::{HostDirent, HostFd, HostKind, HostOpen, HostStat, Preopen};
use kernel::source::Use;
use kernel::{Host, Kernel, StartSpec};
use mem::{PAGE_SIZE, Phys};
use std::rc::Rc;

/// One directory of this machine, without owners and modes.
struct Plain {
    dir: PathBuf,
    open: BTreeMap<u32, (File, PathBuf)>,
    next: u32,
}

fn errno(error: std::io::Error) -> Errno {
    error.raw_os_error().and_then(Errno::from_raw).unwrap_or(Errno::EIO)
}

fn stat_of(meta: &fs::Metadata) -> HostStat {
    let kind = match meta.file_type() {
        t if t.is_dir() => HostKind::Dir,
        t if t.is_symlink() => HostKind::Symlink,
        t if t.is_file() => HostKind::File,
        _ => HostKind::Other,
    };
    HostStat {
        dev: meta.dev(),
        ino: meta.ino(),
        kind,
        nlink: meta.nlink(),
        size: meta.len(),
        ..HostStat::default()
    }
}

impl Plain {
    fn at(&self, path: &[u8]) -> PathBuf {
        self.dir.join(std::str::from_utf8(path).unwrap())
    }
    fn file(&self, fd: HostFd) -> Result<&File, Errno> {
        self.open.get(&fd.0).map(|(file, _)| file).ok_or(Errno::EBADF)
    }
}

impl Host for Plain {
    fn clock_realtime(&self) -> u64 {
        1 << 60
    }
    fn clock_monotonic(&self) -> u64 {
        1 << 30
    }
    fn random(&mut self, _: &mut [u8]) {}
    fn stdin_read(&mut self, _: &mut [u8]) -> Result<usize, Errno> {
        Ok(0)
    }
    fn stdin_ready(&mut self) -> bool {
        true
    }
    fn stdout_write(&mut self, buf: &[u8]) -> Result<usize, Errno> {
        Ok(buf.len())
    }
    fn stderr_write(&mut self, buf: &[u8]) -> Result<usize, Errno> {
        Ok(buf.len())
    }
    fn preopens(&self) -> Vec<Preopen> {
        let at = |path: &str, yields| Preopen {
            guest_path: path.to_owned(),
            dir: HostFd(3),
            writable: true,
            file: None,
            volume: false,
            yields,
        };
        vec![at("/mnt", false), at("/absent", true), at("/init", true)]
    }
    fn open(&mut self, _: HostFd, path: &[u8], how: HostOpen) -> Result<HostFd, Errno> {
        let path = self.at(path);
        let mut options = OpenOptions::new();
        options.read(how.read || how.directory).write(how.write).truncate(how.truncate);
        options.create(how.create && !how.exclusive).create_new(how.exclusive);
        let file = options.open(&path).map_err(errno)?;
        self.next += 1;
        self.open.insert(self.next, (file, path));
        Ok(HostFd(self.next))
    }
    fn close(&mut self, fd: HostFd) {
        assert!(self.open.remove(&fd.0).is_some(), "closed twice");
    }
    fn read(&mut self, fd: HostFd, offset: u64, buf: &mut [u8]) -> Result<usize, Errno> {
        self.file(fd)?.read_at(buf, offset).map_err(errno)
    }
    fn write(&mut self, fd: HostFd, offset: u64, buf: &[u8]) -> Result<usize, Errno> {
        self.file(fd)?.write_at(buf, offset).map_err(errno)
    }
    fn readdir(&mut self, dir: HostFd) -> Result<Vec<HostDirent>, Errno> {
        let (_, path) = self.open.get(&dir.0).ok_or(Errno::EBADF)?;
        let entry = |entry: fs::DirEntry| HostDirent {
            name: entry.file_name().into_encoded_bytes(),
            ino: entry.metadata().map_or(0, |meta| meta.ino()),
            kind: entry.metadata().map_or(HostKind::Other, |meta| stat_of(&meta).kind),
        };
        Ok(fs::read_dir(path).map_err(errno)?.flatten().map(entry).collect())
    }
    fn fstat(&mut self, fd: HostFd) -> Result<HostStat, Errno> {
        self.file(fd)?.metadata().map(|meta| stat_of(&meta)).map_err(errno)
    }
    fn stat(&mut self, _: HostFd, path: &[u8], _: bool) -> Result<HostStat, Errno> {
        fs::symlink_metadata(self.at(path)).map(|meta| stat_of(&meta)).map_err(errno)
    }
    fn mkdir(&mut self, _: HostFd, path: &[u8]) -> Result<(), Errno> {
        fs::create_dir(self.at(path)).map_err(errno)
    }
    fn unlink(&mut self, _: HostFd, path: &[u8]) -> Result<(), Errno> {
        fs::remove_file(self.at(path)).map_err(errno)
    }
    fn rmdir(&mut self, _: HostFd, path: &[u8]) -> Result<(), Errno> {
        fs::remove_dir(self.at(path)).map_err(errno)
    }
    fn rename(&mut self, _: HostFd, old: &[u8], _: HostFd, new: &[u8]) -> Result<(), Errno> {
        fs::rename(self.at(old), self.at(new)).map_err(errno)
    }
    fn truncate(&mut self, fd: HostFd, len: u64) -> Result<(), Errno> {
        self.file(fd)?.set_len(len).map_err(errno)
    }
}

struct Bench {
    dir: tempfile::TempDir,
    kernel: Kernel,
    at: PathCx,
}

/// A kernel with the directory `dir` of this machine at `/mnt`, nothing started.
fn with_directory(dir: &tempfile::TempDir) -> Kernel {
    let host = Plain { dir: dir.path().to_owned(), open: BTreeMap::new(), next: 100 };
    let mut kernel = Kernel::with_empty_root(Phys::new(64 << 20), Box::new(host)).unwrap();
    put_file(&mut kernel, "/init", &tiny_elf(), 0o755);
    kernel
}

fn bench() -> Bench {
    let dir = tempfile::tempdir().unwrap();
    let mut kernel = with_directory(&dir);
    kernel.start(StartSpec { argv: vec![b"/init".to_vec()], ..StartSpec::default() }).unwrap();
    let at = PathCx { root: kernel.root.clone(), cwd: kernel.root.clone(), umask: 0o022 };
    Bench { dir, kernel, at }
}

impl Bench {
    fn cx(&mut self) -> (Cx<'_>, PathCx) {
        let at = self.at.clone();
        (Cx::new(&mut self.kernel, Cred::root()), at)
    }
    fn find(&mut self, path: &str) -> Result<Rc<Dentry>, Errno> {
        let (mut cx, at) = self.cx();
        resolve(&mut cx, &at, &at.root, path.as_bytes(), Lookup::NOFOLLOW)
    }
    fn open(&mut self, path: &str, flags: u32) -> Result<Rc<kernel::fs::OpenFile>, Errno> {
        let (mut cx, at) = self.cx();
        let how = ops::OpenHow { flags, mode: 0o640, resolve: 0 };
        ops::open(&mut cx, &at, &at.root, path.as_bytes(), how)
    }
    fn rename(&mut self, old: &str, new: &str) -> Result<(), Errno> {
        let (mut cx, at) = self.cx();
        let root = at.root.clone();
        let (from, to) = (
            ops::Place { dir: &root, path: old.as_bytes() },
            ops::Place { dir: &root, path: new.as_bytes() },
        );
        ops::rename(&mut cx, &at, from, to, 0)
    }
    fn mode(&mut self, path: &str) -> (u32, u32, u32) {
        let dentry = self.find(path).unwrap();
        let (mut cx, _) = self.cx();
        let meta = dentry.inode().meta(&mut cx).unwrap();
        (meta.mode & 0o7777, meta.uid, meta.gid)
    }
}

#[test]
fn modes_and_owners_are_kept_for_the_life_of_the_box() {
    let mut bench = bench();
    fs::write(bench.dir.path().join("there"), "x").unwrap();
    assert_eq!(bench.mode("/mnt/there"), (0o777, 0, 0));
    drop(bench.open("/mnt/new", O_CREAT | O_RDWR).unwrap());
    assert_eq!(bench.mode("/mnt/new"), (0o640, 0, 0));
    let dentry = bench.find("/mnt/new").unwrap();
    let (mut cx, _) = bench.cx();
    ops::chmod(&mut cx, &dentry, 0o4711).unwrap();
    ops::chown(&mut cx, &dentry, Some(5), None).unwrap();
    ops::chmod(&mut cx, &dentry, 0o4711).unwrap();
    drop(dentry);
    assert_eq!(bench.mode("/mnt/new"), (0o4711, 5, 0));
    bench.rename("/mnt/new", "/mnt/moved").unwrap();
    assert_eq!(bench.mode("/mnt/moved"), (0o4711, 5, 0));
    // A new file that happens to get the inode number of a removed one starts afresh.
    let (mut cx, at) = bench.cx();
    ops::remove(&mut cx, &at, &at.root.clone(), b"/mnt/moved", false).unwrap();
    drop(bench.open("/mnt/moved", O_CREAT | O_RDWR).unwrap());
    assert_eq!(bench.mode("/mnt/moved"), (0o640, 0, 0));
}

#[test]
fn a_directory_cannot_lie_over_a_file() {
    let dir = tempfile::tempdir().unwrap();
    let mut kernel = with_directory(&dir);
    put_file(&mut kernel, "/mnt", b"a file", 0o644);
    let spec = StartSpec { argv: vec![b"/init".to_vec()], ..StartSpec::default() };
    let error = kernel.start(spec).unwrap_err();
    assert_eq!(error, kernel::StartError::Mount("/mnt".to_owned(), Errno::ENOTDIR));
    assert_eq!(error.status(), 125);
}

#[test]
fn a_directory_that_yields_is_seen_where_the_image_has_nothing() {
    let mut bench = bench();
    fs::write(bench.dir.path().join("there"), "x").unwrap();
    assert!(bench.find("/absent/there").is_ok());
    assert_eq!(bench.find("/init").unwrap().inode().kind(), Kind::File);
}

#[test]
fn special_files_live_in_the_kernel() {
    let mut bench = bench();
    let (mut cx, at) = bench.cx();
    let root = at.root.clone();
    ops::mknod(&mut cx, &at, &root, b"/mnt/fifo", Kind::Fifo.bits() | 0o600, 0).unwrap();
    let device = ops::mknod(&mut cx, &at, &root, b"/mnt/null", Kind::Char.bits() | 0o600, 0x103);
    assert_eq!(device.err(), Some(Errno::EPERM));
    bench.rename("/mnt/fifo", "/mnt/pipe").unwrap();
    assert_eq!(bench.find("/mnt/pipe").unwrap().inode().kind(), Kind::Fifo);
    assert_eq!(bench.mode("/mnt/pipe"), (0o600, 0, 0));
    let dir = bench.find("/mnt").unwrap();
    let (mut cx, at) = bench.cx();
    assert_eq!(dir.inode().list(&mut cx).unwrap().len(), 1);
    ops::remove(&mut cx, &at, &at.root.clone(), b"/mnt/pipe", false).unwrap();
    assert_eq!(bench.find("/mnt/pipe").err(), Some(Errno::ENOENT));
    assert_eq!(fs::read_dir(bench.dir.path()).unwrap().count(), 0);
}

#[test]
fn an_open_file_outlives_its_name() {
    let mut bench = bench();
    fs::write(bench.dir.path().join("a"), "old").unwrap();
    fs::write(bench.dir.path().join("b"), "newer").unwrap();
    let file = bench.open("/mnt/a", O_RDONLY).unwrap();
    bench.rename("/mnt/b", "/mnt/a").unwrap();
    let mut buf = [0; 10];
    let (mut cx, _) = bench.cx();
    assert_eq!(file.ops().read(&mut cx, &file, &mut buf), Ok(3));
    let meta = file.dentry().inode().meta(&mut cx).unwrap();
    assert_eq!((meta.size, meta.nlink), (3, 0));
    let new = bench.open("/mnt/a", O_RDONLY).unwrap();
    assert!(!Rc::ptr_eq(new.dentry().inode(), file.dentry().inode()));
    let (mut cx, _) = bench.cx();
    assert_eq!(new.ops().read(&mut cx, &new, &mut buf), Ok(5));
}

#[test]
fn one_inode_whatever_it_is_called() {
    let mut bench = bench();
    fs::create_dir_all(bench.dir.path().join("d/e")).unwrap();
    fs::write(bench.dir.path().join("d/e/f"), "x").unwrap();
    let (dir, file) = (bench.find("/mnt/d/e").unwrap(), bench.find("/mnt/d/e/f").unwrap());
    bench.rename("/mnt/d", "/mnt/z").unwrap();
    assert_eq!(dir.path(), b"/mnt/z/e");
    assert!(Rc::ptr_eq(bench.find("/mnt/z/e/f").unwrap().inode(), file.inode()));
    let (mut cx, _) = bench.cx();
    assert_eq!(dir.inode().list(&mut cx).unwrap().len(), 1);
    assert_eq!(file.inode().meta(&mut cx).unwrap().size, 1);
}

#[test]
fn mapped_pages_follow_the_file_and_go_back_to_it() {
    let mut bench = bench();
    let path = bench.dir.path().join("m");
    fs::write(&path, vec![b'.'; PAGE_SIZE + 10]).unwrap();
    let file = bench.open("/mnt/m", O_RDWR).unwrap();
    let (mut cx, _) = bench.cx();
    let map = file.ops().map(&mut cx, &file).unwrap();
    let shared = Use::Shared { write: true };
    let (first, second) =
        (map.page(cx.phys(), 0, shared).unwrap(), map.page(cx.phys(), 1, shared).unwrap());
    assert!(map.page(cx.phys(), 2, shared).is_err());
    cx.phys().bytes_mut(first)[0] = b'A';
    // A read sees it, and so does the host.
    let mut buf = [0; 2];
    file.ops().read_at(&mut cx, &file, 0, &mut buf).unwrap();
    assert_eq!((&buf, fs::read(&path).unwrap()[0]), (b"A.", b'A'));
    // A write shows in the pages, also where the file grows.
    file.ops().write_at(&mut cx, &file, 1, b"B").unwrap();
    file.ops().write_at(&mut cx, &file, 2 * PAGE_SIZE as u64, b"end").unwrap();
    assert_eq!(cx.phys().bytes(first)[..3], *b"AB.");
    let third = map.page(cx.phys(), 2, shared).unwrap();
    assert_eq!(cx.phys().bytes(third)[..4], *b"end\0");
    // Both mappings of a file are one.
    let again = file.ops().map(&mut cx, &file).unwrap();
    assert_eq!(again.page(cx.phys(), 1, shared), Ok(second));
    drop(again);
    // The last one writes back, and not beyond the end.
    cx.phys().bytes_mut(second)[5] = b'C';
    cx.phys().bytes_mut(third)[100] = b'!';
    drop((map, file));
    let (_, _) = bench.cx();
    let bytes = fs::read(&path).unwrap();
    assert_eq!((bytes.len(), bytes[PAGE_SIZE + 5]), (2 * PAGE_SIZE + 3, b'C'));
}

#[test]
fn a_shorter_file_has_fewer_pages() {
    let mut bench = bench();
    fs::write(bench.dir.path().join("m"), vec![b'.'; 3 * PAGE_SIZE]).unwrap();
    let file = bench.open("/mnt/m", O_RDWR).unwrap();
    let (mut cx, _) = bench.cx();
    let map = file.ops().map(&mut cx, &file).unwrap();
    assert!(map.page(cx.phys(), 2, Use::Private).is_ok());
    ops::truncate(&mut cx, file.dentry(), 10, true).unwrap();
    assert!(map.page(cx.phys(), 1, Use::Private).is_err());
    let frame = map.page(cx.phys(), 0, Use::Private).unwrap();
    assert_eq!(cx.phys().bytes(frame)[8..12], *b"..\0\0");
}
