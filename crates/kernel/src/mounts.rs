//! The mount table of a box, as docker's default container has it. Docker's files over the image's `/etc/hosts`,
//! `/etc/hostname` and `/etc/resolv.conf` come when the box starts (`crate::etc`).

use std::cell::Cell;
use std::rc::Rc;

use abi::Errno;
use abi::stat::{
    CGROUP2_SUPER_MAGIC, DEVPTS_SUPER_MAGIC, MQUEUE_MAGIC, OVERLAYFS_SUPER_MAGIC, PROC_SUPER_MAGIC,
    ST_NODEV, ST_NOEXEC, ST_NOSUID, ST_RDONLY, ST_RELATIME, SYSFS_MAGIC, TMPFS_MAGIC, V9FS_MAGIC,
    makedev, minor,
};

use crate::file::socket::Forwards;
use crate::file::tty::{self, Terminals, devpts};
use crate::file::{moment, mqueue};
use crate::fs::inode::{InodeRef, Kind, Meta, NewNode, SetAttr};
use crate::fs::lower::Lower;
use crate::fs::memfs::{MemFs, Node};
use crate::fs::walk::{Lookup, PathCx, resolve};
use crate::fs::{Cx, Dentry, Mount, Res, Shared, Time, hostfs, procfs, synth};
use crate::host::{HostSocket, HostTmpfs, Preopen};

/// Device nodes of `/dev`: name, minor, major, permission bits.
const DEVICES: &[(&[u8], u32, u32)] = &[
    (b"full", 1, 7),
    (b"null", 1, 3),
    (b"random", 1, 8),
    (b"tty", 5, 0),
    (b"urandom", 1, 9),
    (b"zero", 1, 5),
];
/// Symbolic links of `/dev`.
const LINKS: &[(&[u8], &[u8])] = &[
    (b"core", b"/proc/kcore"),
    (b"fd", b"/proc/self/fd"),
    (b"ptmx", b"pts/ptmx"),
    (b"stderr", b"/proc/self/fd/2"),
    (b"stdin", b"/proc/self/fd/0"),
    (b"stdout", b"/proc/self/fd/1"),
];

/// Files of proc(5) that docker lays `/dev/null` over.
const MASKED: [&[u8]; 3] = [b"/proc/kcore", b"/proc/keys", b"/proc/timer_list"];

/// How a filesystem is mounted.
pub struct Spec<'a> {
    /// Type.
    pub fstype: &'static str,
    /// What is mounted.
    pub source: &'a str,
    /// The mounted directory or file, within the filesystem.
    pub root: String,
    /// `ST_*` flags.
    pub flags: u64,
    /// Options, comma separated.
    pub options: &'a str,
    /// Magic number for statfs(2).
    pub magic: u64,
    /// Device number.
    pub dev: u64,
}

/// A device number for a further filesystem.
pub fn new_dev(shared: &Shared) -> u64 {
    let mounts = shared.mounts.borrow();
    // Mounts may have gone since, and no two file systems share a number.
    let after = mounts.iter().map(|root| minor(root.mount().dev) + 1).max();
    // Unnamed device numbers: major 0.
    makedev(0, after.unwrap_or(0).max(64 + mounts.len() as u32))
}

fn new_root(shared: &Shared, inode: InodeRef, parent: u32, spec: Spec) -> Rc<Dentry> {
    let after = shared.mounts.borrow().iter().map(|root| root.mount().id + 1).max();
    let mount = Mount {
        id: after.unwrap_or(512),
        parent,
        dev: spec.dev,
        fstype: spec.fstype,
        source: spec.source.to_string(),
        root: spec.root,
        flags: Cell::new(spec.flags),
        options: spec.options.to_string(),
        magic: spec.magic,
    };
    let root = Dentry::root(inode, Rc::new(mount), b"");
    shared.mounts.borrow_mut().push(root.clone());
    root
}

/// An empty directory outside every tree: the root before anything is mounted.
pub fn nowhere(shared: &Rc<Shared>) -> Rc<Dentry> {
    let node = MemFs::tmpfs(shared, "rootfs", makedev(0, 2), 0o755, Time::default());
    let mount = Mount {
        id: 1,
        parent: 0,
        dev: makedev(0, 2),
        fstype: "rootfs",
        source: "none".to_string(),
        root: "/".to_string(),
        flags: Cell::new(0),
        options: String::new(),
        magic: TMPFS_MAGIC,
    };
    Dentry::root(node, Rc::new(mount), b"")
}

/// Mounts the image at the root, and proc, dev, devpts, shm and sys on it: the root of the tree. EIO if the image is
/// not valid.
pub fn boot(cx: &mut Cx, image: &'static [u8], image_base: u32) -> Res<Rc<Dentry>> {
    let shared = cx.shared.clone();
    let dev = new_dev(&shared);
    let node = MemFs::over(&shared, "overlay", dev, Lower::open(image, image_base)?)?;
    let options = "lowerdir=/image,upperdir=/upper,workdir=/work";
    let spec = Spec {
        fstype: "overlay",
        source: "overlay",
        root: "/".to_owned(),
        flags: ST_RELATIME,
        options,
        magic: OVERLAYFS_SUPER_MAGIC,
        dev,
    };
    let root = new_root(&shared, node, 0, spec);
    mount_system(cx, &root)?;
    Ok(root)
}

/// As [`boot`], on an empty tmpfs instead of an image.
pub fn boot_empty(cx: &mut Cx) -> Res<Rc<Dentry>> {
    let shared = cx.shared.clone();
    let dev = new_dev(&shared);
    let now = cx.now();
    let node = MemFs::tmpfs(&shared, "tmpfs", dev, 0o755, now);
    let root = new_root(&shared, node, 0, tmpfs_spec("tmpfs", ST_RELATIME, "mode=755", dev));
    mount_system(cx, &root)?;
    Ok(root)
}

fn tmpfs_spec<'a>(source: &'a str, flags: u64, options: &'a str, dev: u64) -> Spec<'a> {
    Spec { fstype: "tmpfs", source, root: "/".to_owned(), flags, options, magic: TMPFS_MAGIC, dev }
}

/// Pages of the files in `/dev`, and in `/dev/shm`: docker's 64 MiB.
const DEV_PAGES: Option<u64> = Some((64 << 20) / mem::PAGE_SIZE as u64);

fn mount_system(cx: &mut Cx, root: &Rc<Dentry>) -> Res<()> {
    let shared = cx.shared.clone();
    let now = cx.now();
    let careful = ST_NOSUID | ST_NODEV | ST_NOEXEC | ST_RELATIME;
    let dev = new_dev(&shared);
    let spec = Spec {
        fstype: "proc",
        source: "proc",
        root: "/".to_owned(),
        flags: careful,
        options: "",
        magic: PROC_SUPER_MAGIC,
        dev,
    };
    mount_at(cx, root, b"/proc", Kind::Dir, procfs::root(dev), spec)?;
    let spec = Spec {
        fstype: "proc",
        source: "proc",
        root: "/sys".to_owned(),
        flags: careful | ST_RDONLY,
        options: "",
        magic: PROC_SUPER_MAGIC,
        dev,
    };
    mount_at(cx, root, b"/proc/sys", Kind::Dir, procfs::directory(dev, "sys"), spec)?;

    let dev = new_dev(&shared);
    let node = MemFs::sized_tmpfs(&shared, "tmpfs", dev, 0o755, now, DEV_PAGES);
    let spec = tmpfs_spec("tmpfs", ST_NOSUID, "size=65536k,mode=755", dev);
    let dev_root = mount_at(cx, root, b"/dev", Kind::Dir, node, spec)?;
    fill_dev(cx, &dev_root)?;
    // What docker hides of the kernel.
    for path in MASKED {
        let null = dev_root.inode().lookup(cx, b"null")?;
        let mut spec = tmpfs_spec("tmpfs", ST_NOSUID, "size=65536k,mode=755", dev);
        spec.root = "/null".to_owned();
        mount_at(cx, root, path, Kind::Char, null, spec)?;
    }

    let dev = new_dev(&shared);
    let pts = mount_at(cx, root, b"/dev/pts", Kind::Dir, devpts::root(dev), devpts_spec(dev))?;
    shared.registry::<Terminals>().mounted(&pts);

    let dev = new_dev(&shared);
    let spec = Spec {
        fstype: "mqueue",
        source: "mqueue",
        root: "/".to_owned(),
        flags: careful,
        options: "",
        magic: MQUEUE_MAGIC,
        dev,
    };
    let names = mqueue::names::root(cx, dev);
    mount_at(cx, root, b"/dev/mqueue", Kind::Dir, names, spec)?;

    let dev = new_dev(&shared);
    let node = MemFs::sized_tmpfs(&shared, "tmpfs", dev, 0o1777, now, DEV_PAGES);
    mount_at(
        cx,
        root,
        b"/dev/shm",
        Kind::Dir,
        node,
        tmpfs_spec("shm", careful, "size=65536k", dev),
    )?;

    let dev = new_dev(&shared);
    let spec = Spec {
        fstype: "sysfs",
        source: "sysfs",
        root: "/".to_owned(),
        flags: careful | ST_RDONLY,
        options: "",
        magic: SYSFS_MAGIC,
        dev,
    };
    mount_at(cx, root, b"/sys", Kind::Dir, synth::root("sysfs", dev, synth::SYSFS), spec)?;

    let dev = new_dev(&shared);
    let spec = Spec {
        fstype: "cgroup2",
        source: "cgroup",
        root: "/".to_owned(),
        flags: careful | ST_RDONLY,
        options: "",
        magic: CGROUP2_SUPER_MAGIC,
        dev,
    };
    let group = synth::root("cgroup2", dev, synth::CGROUP);
    mount_at(cx, root, b"/sys/fs/cgroup", Kind::Dir, group, spec)?;

    // Docker hides it.
    let dev = new_dev(&shared);
    let node = MemFs::tmpfs(&shared, "tmpfs", dev, 0o1777, now);
    let spec = tmpfs_spec("tmpfs", ST_RDONLY | ST_RELATIME, "", dev);
    mount_at(cx, root, b"/sys/firmware", Kind::Dir, node, spec)?;
    Ok(())
}

fn fill_dev(cx: &mut Cx, dev: &Rc<Dentry>) -> Res<()> {
    let inode = dev.inode();
    let new = |mode, rdev, target| NewNode { mode, uid: 0, gid: 0, rdev, target };
    for (name, major, minor) in DEVICES {
        let mode = Kind::Char.bits() | 0o666;
        inode.create(cx, name, &new(mode, makedev(*major, *minor), &[]))?;
    }
    for (name, target) in LINKS {
        inode.create(cx, name, &new(Kind::Symlink.bits() | 0o777, 0, target))?;
    }
    for (name, perm) in [(&b"pts"[..], 0o755), (&b"shm"[..], 0o1777), (&b"mqueue"[..], 0o1777)] {
        inode.create(cx, name, &new(Kind::Dir.bits() | perm, 0, &[]))?;
    }
    let own = inode.create(cx, b"boxer", &new(Kind::Dir.bits() | 0o755, 0, &[]))?;
    for (name, minor, perm) in moment::DEVICES {
        own.create(cx, name, &new(Kind::Char.bits() | perm, makedev(moment::MAJOR, minor), &[]))?;
    }
    Ok(())
}

/// Gives the box a terminal, and lays it over `/dev/console`, as docker does.
pub fn add_console(cx: &mut Cx, root: &Rc<Dentry>) -> Res<()> {
    let index = tty::make_console(cx)?;
    let inode = tty::dentry(cx, index)?.inode().clone();
    let dev = inode.meta(cx)?.dev;
    let spec = Spec { root: format!("/{index}"), ..devpts_spec(dev) };
    // Not where something strange was mounted over /dev.
    let _ = mount_at(cx, root, b"/dev/console", Kind::Char, inode, spec);
    Ok(())
}

fn devpts_spec(dev: u64) -> Spec<'static> {
    Spec {
        fstype: "devpts",
        source: "devpts",
        root: "/".to_owned(),
        flags: ST_NOSUID | ST_NOEXEC | ST_RELATIME,
        options: "gid=5,mode=620,ptmxmode=666",
        magic: DEVPTS_SUPER_MAGIC,
        dev,
    }
}

/// Lets nobody change the image's files any more (`docker run --read-only`); what is mounted stays as it is.
pub fn protect(root: &Rc<Dentry>) {
    let mount = root.mount();
    mount.flags.set(mount.flags.get() | ST_RDONLY);
}

/// Mounts what the host gives: its directories, files and sockets, and file systems in memory. Those nearer to the root come first,
/// so that each is seen. An error says where it was.
pub fn mount_given(cx: &mut Cx, root: &Rc<Dentry>) -> Result<(), (Vec<u8>, Errno)> {
    enum Given {
        Host(Preopen),
        Memory(HostTmpfs),
        Socket(HostSocket),
    }
    let host = cx.host();
    let directories = host.preopens().into_iter().map(|p| (p.guest_path.clone(), Given::Host(p)));
    let memory = host.tmpfs().into_iter().map(|t| (t.guest_path.clone(), Given::Memory(t)));
    let sockets = host.sockets().into_iter().map(|s| (s.guest_path.clone(), Given::Socket(s)));
    let mut all: Vec<(String, Given)> = directories.chain(memory).chain(sockets).collect();
    all.sort_by_key(|(path, _)| path.split('/').filter(|name| !name.is_empty()).count());
    for (path, given) in all {
        let path = match path.as_bytes() {
            b"" | b"/" | b"." => continue,
            path if path.starts_with(b"/") => path.to_vec(),
            path => [b"/", path].concat(),
        };
        let mounted = match given {
            Given::Host(preopen) => mount_preopen(cx, root, &path, &preopen),
            Given::Memory(tmpfs) => {
                let dev = new_dev(&cx.shared);
                let read_only = if tmpfs.writable { 0 } else { ST_RDONLY };
                let no_exec = if tmpfs.executable { 0 } else { ST_NOEXEC };
                let flags = ST_NOSUID | ST_NODEV | ST_RELATIME | no_exec | read_only;
                let (shared, now) = (cx.shared.clone(), cx.now());
                // As Linux, whole pages.
                let pages = tmpfs.size.map(|size| size.div_ceil(mem::PAGE_SIZE as u64));
                let node = MemFs::sized_tmpfs(&shared, "tmpfs", dev, tmpfs.perm, now, pages);
                let size = pages.map(|pages| format!("size={}k", pages.saturating_mul(4)));
                let spec = tmpfs_spec("tmpfs", flags, size.as_deref().unwrap_or_default(), dev);
                mount_at(cx, root, &path, Kind::Dir, node, spec).map(drop)
            }
            Given::Socket(socket) => mount_socket(cx, root, &path, &socket),
        };
        mounted.map_err(|errno| (path, errno))?;
    }
    Ok(())
}

/// File system type of host directories.
pub const HOST_FILES: &str = "9p";

/// Takes what [`mount_given`] has mounted of the host's directories out of the tree: nobody holds a file there
/// (`moments::held`), and another host may give others.
pub fn unmount_host(shared: &Shared) {
    // Later ones may lie over earlier ones.
    shared.mounts.borrow_mut().retain(|root| root.mount().fstype != HOST_FILES || !root.unmount());
}

/// A socket that the outside serves, in a file system of its own.
fn mount_socket(cx: &mut Cx, root: &Rc<Dentry>, path: &[u8], socket: &HostSocket) -> Res<()> {
    const NAME: &[u8] = b"socket";
    let (shared, now) = (cx.shared.clone(), cx.now());
    let dev = new_dev(&shared);
    let node: InodeRef = MemFs::tmpfs(&shared, "tmpfs", dev, 0o755, now);
    let mode = Kind::Socket.bits() | socket.perm & 0o7777;
    let new = NewNode { mode, uid: socket.uid, gid: socket.gid, rdev: 0, target: &[] };
    let inode = node.create(cx, NAME, &new)?;
    shared.registry::<Forwards>().listen(cx, path, &inode, socket.port)?;
    let flags = ST_NOSUID | ST_NODEV | ST_NOEXEC | ST_RELATIME;
    let mut spec = tmpfs_spec("tmpfs", flags, "", dev);
    spec.root = "/socket".to_owned();
    // The mount point is a file, as docker's.
    mount_at(cx, root, path, Kind::File, inode, spec).map(drop)
}

fn mount_preopen(cx: &mut Cx, root: &Rc<Dentry>, path: &[u8], preopen: &Preopen) -> Res<()> {
    if preopen.yields
        && let Ok(image) = find(cx, root, path)
        && (image.inode().kind() != Kind::Dir || !image.inode().list(cx)?.is_empty())
    {
        return Ok(());
    }
    let dev = new_dev(&cx.shared);
    let read_only = if preopen.writable { 0 } else { ST_RDONLY };
    let directory = hostfs::root(dev, preopen.dir);
    let (inode, kind, within) = match &preopen.file {
        Some(name) => {
            let inode = directory.lookup(cx, name)?;
            (inode, Kind::File, format!("/{}", String::from_utf8_lossy(name)))
        }
        None => (directory, Kind::Dir, "/".to_owned()),
    };
    if preopen.volume
        && let Ok(image) = find(cx, root, path)
        && image.inode().kind() == Kind::Dir
        && inode.list(cx)?.is_empty()
    {
        copy_tree(cx, image.inode().clone(), inode.clone())?;
    }
    let spec = Spec {
        fstype: HOST_FILES,
        source: "host",
        root: within,
        flags: ST_RELATIME | read_only,
        options: "",
        magic: V9FS_MAGIC,
        dev,
    };
    mount_at(cx, root, path, kind, inode, spec).map(drop)
}

/// Copies what is in a directory into an empty one, as docker does for a new volume.
fn copy_tree(cx: &mut Cx, from: InodeRef, to: InodeRef) -> Res<()> {
    copy_attributes(cx, &from, &to)?;
    let mut directories = vec![(from, to)];
    let mut buf = vec![0; 1 << 16];
    while let Some((from, to)) = directories.pop() {
        for item in from.list(cx)? {
            let source = from.lookup(cx, &item.name)?;
            let meta = source.meta(cx)?;
            let target = match item.kind {
                Kind::Symlink => source.read_link(cx)?,
                _ => Vec::new(),
            };
            let Meta { mode, uid, gid, rdev, .. } = meta;
            let new = NewNode { mode, uid, gid, rdev, target: &target };
            let copy = match to.create(cx, &item.name, &new) {
                // A device, or what the host cannot have.
                Err(Errno::EPERM) => continue,
                copy => copy?,
            };
            let mut offset = 0;
            while item.kind == Kind::File && offset < meta.size {
                let n = source.read_at(cx, offset, &mut buf)?;
                if n == 0 {
                    break;
                }
                let mut rest = buf.get(..n).unwrap_or_default();
                while !rest.is_empty() {
                    let written = copy.write_at(cx, offset, rest)?;
                    if written == 0 {
                        return Err(Errno::EIO);
                    }
                    offset += written as u64;
                    rest = rest.get(written..).unwrap_or_default();
                }
            }
            copy_attributes(cx, &source, &copy)?;
            if item.kind == Kind::Dir {
                directories.push((source, copy));
            }
        }
    }
    Ok(())
}

fn copy_attributes(cx: &mut Cx, from: &InodeRef, to: &InodeRef) -> Res<()> {
    let meta = from.meta(cx)?;
    let perm = (from.kind() != Kind::Symlink).then_some(meta.mode & 0o7777);
    let attr = SetAttr {
        perm,
        uid: Some(meta.uid),
        gid: Some(meta.gid),
        mtime: Some(meta.mtime),
        ..SetAttr::default()
    };
    to.set_attr(cx, &attr)
}

/// Paths as from the root of the tree.
pub fn at_root(root: &Rc<Dentry>) -> PathCx {
    PathCx { root: root.clone(), cwd: root.clone(), umask: 0 }
}

fn find(cx: &mut Cx, root: &Rc<Dentry>, path: &[u8]) -> Res<Rc<Dentry>> {
    resolve(cx, &at_root(root), root, path, Lookup::FOLLOW)
}

/// Mounts `inode` as a filesystem at absolute `path`, making the mount point if it is missing (not as a change of the
/// image). Returns the mounted root.
pub fn mount_at(
    cx: &mut Cx,
    root: &Rc<Dentry>,
    path: &[u8],
    kind: Kind,
    inode: InodeRef,
    spec: Spec,
) -> Res<Rc<Dentry>> {
    let place = match find(cx, root, path) {
        Ok(place) if (place.inode().kind() == Kind::Dir) == (kind == Kind::Dir) => place,
        Ok(_) => return Err(Errno::ENOTDIR),
        Err(Errno::ENOENT) => make_mountpoint(cx, root, path, kind)?,
        Err(e) => return Err(e),
    };
    let shared = cx.shared.clone();
    let parent = place.mount().id;
    let mounted = new_root(&shared, inode, parent, spec);
    // The mounted tree hangs on its mount point, which must stay.
    place.mount_on(&mounted);
    Ok(mounted)
}

fn make_mountpoint(cx: &mut Cx, root: &Rc<Dentry>, path: &[u8], kind: Kind) -> Res<Rc<Dentry>> {
    let names: Vec<&[u8]> = path.split(|b| *b == b'/').filter(|n| !n.is_empty()).collect();
    let mut here = root.clone();
    for (i, name) in names.iter().enumerate() {
        if *name == b"." || *name == b".." {
            return Err(Errno::EINVAL);
        }
        let next = match here.lookup(cx, name) {
            Ok(next) => next.down(),
            Err(Errno::ENOENT) => {
                let kind = if i + 1 == names.len() { kind } else { Kind::Dir };
                let perm = if kind == Kind::Dir { 0o755 } else { 0o644 };
                let now = cx.now();
                let dir = here.inode().clone().as_any().downcast::<Node>();
                let inode: InodeRef = match dir {
                    Ok(dir) => dir.add_mountpoint(name, kind.bits() | perm, now)?,
                    Err(_) => {
                        let mode = kind.bits() | perm;
                        let new = NewNode { mode, uid: 0, gid: 0, rdev: 0, target: &[] };
                        here.inode().create(cx, name, &new)?
                    }
                };
                here.child(name, inode)
            }
            Err(e) => return Err(e),
        };
        if next.inode().kind() == Kind::Symlink {
            return Err(Errno::ELOOP);
        }
        here = next;
    }
    Ok(here)
}

/// A dentry outside the tree for a file in memory (memfd_create(2)), shown as `name`.
pub fn unnamed_file(shared: &Shared, inode: InodeRef, name: &[u8]) -> Rc<Dentry> {
    let mount = Mount {
        id: 0,
        parent: 0,
        dev: new_dev(shared),
        fstype: "tmpfs",
        source: String::new(),
        root: String::new(),
        flags: Cell::new(0),
        options: String::new(),
        magic: TMPFS_MAGIC,
    };
    Dentry::root(inode, Rc::new(mount), name)
}
