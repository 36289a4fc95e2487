//! The root over an image: what shows through, copy-up, whiteouts, renames of the image's directories, and the
//! changes as an OCI layer.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use abi::Errno;
use abi::fcntl::*;
use kernel::Kernel;
use kernel::fs::ops::{self, OpenHow, Place};
use kernel::fs::walk::{Lookup, resolve};
use kernel::fs::{Cred, Cx, Dentry, Meta, PathCx, Res};
use mem::Phys;
use rootfs::{Metadata, Writer};
use std::rc::Rc;
use testkit::host::TestHost;

const BIG: usize = 3 * 4096 + 100;

fn image() -> &'static [u8] {
    let meta = |mode| Metadata { mode, ..Metadata::default() };
    let mut w = Writer::new(meta(0o755));
    let root = w.root();
    let etc = w.dir(root, b"etc", meta(0o755)).unwrap();
    let mut sizes = vec![(w.file(etc, b"passwd", meta(0o644), 5).unwrap(), 5)];
    sizes.push((w.file(etc, b"shadow", meta(0o640), 6).unwrap(), 6));
    let big = w.file(root, b"big", meta(0o644), BIG as u64).unwrap();
    sizes.push((big, BIG));
    w.link(etc, b"hard", big).unwrap();
    w.symlink(root, b"link", meta(0o777), b"etc/passwd").unwrap();
    let usr = w.dir(root, b"usr", meta(0o755)).unwrap();
    let lib = w.dir(usr, b"lib", meta(0o755)).unwrap();
    sizes.push((w.file(lib, b"so", meta(0o755), 3).unwrap(), 3));
    let mut out = Vec::new();
    let content = |id| {
        let size = sizes.iter().find(|(f, _)| *f == id).unwrap().1;
        Ok(std::io::Cursor::new(vec![b'L'; size]))
    };
    w.write(&mut out, content).unwrap();
    out.leak()
}

struct Boxed {
    k: Kernel,
}

impl Boxed {
    fn new() -> Boxed {
        Boxed::of(image())
    }

    fn of(bytes: &'static [u8]) -> Boxed {
        let mut phys = Phys::new(64 << 20);
        let base = phys.adopt_static(bytes).unwrap();
        Boxed { k: Kernel::new(phys, Box::new(TestHost::default()), bytes, base).unwrap() }
    }

    fn with<T>(&mut self, f: impl FnOnce(&mut Cx, &PathCx) -> T) -> T {
        let root = self.k.root.clone();
        let at = PathCx { root: root.clone(), cwd: root, umask: 0o022 };
        f(&mut Cx::new(&mut self.k, Cred::root()), &at)
    }

    fn find(&mut self, path: &str) -> Res<Rc<Dentry>> {
        self.with(|cx, at| resolve(cx, at, &at.root, path.as_bytes(), Lookup::NOFOLLOW))
    }

    fn meta(&mut self, path: &str) -> Res<Meta> {
        let dentry = self.find(path)?;
        self.with(|cx, _| dentry.inode().meta(cx))
    }

    fn write(&mut self, path: &str, at: u64, text: &[u8]) {
        self.with(|cx, p| {
            let how = OpenHow { flags: O_CREAT | O_RDWR, mode: 0o644, resolve: 0 };
            let file = ops::open(cx, p, &p.root, path.as_bytes(), how).unwrap();
            let n = file.ops().write_at(cx, &file, at, text).unwrap();
            assert_eq!(n, text.len());
        });
    }

    fn read(&mut self, path: &str, at: u64, len: usize) -> Vec<u8> {
        let dentry = self.find(path).unwrap();
        self.with(|cx, _| {
            let mut buf = vec![0; len];
            let n = dentry.inode().read_at(cx, at, &mut buf).unwrap();
            buf.truncate(n);
            buf
        })
    }

    fn remove(&mut self, path: &str, dir: bool) -> Res<()> {
        self.with(|cx, at| ops::remove(cx, at, &at.root, path.as_bytes(), dir))
    }

    fn mkdir(&mut self, path: &str) -> Res<()> {
        self.with(|cx, at| ops::mkdir(cx, at, &at.root, path.as_bytes(), 0o755))
    }

    fn rename(&mut self, old: &str, new: &str) -> Res<()> {
        self.with(|cx, at| {
            let place = |path: &'static str| Place { dir: &at.root, path: path.as_bytes() };
            let (old, new) = (old.to_string().leak(), new.to_string().leak());
            ops::rename(cx, at, place(old), place(new), 0)
        })
    }

    fn list(&mut self, path: &str) -> Vec<String> {
        let dentry = self.find(path).unwrap();
        let items = self.with(|cx, _| dentry.inode().list(cx)).unwrap();
        items.into_iter().map(|i| String::from_utf8(i.name.into_vec()).unwrap()).collect()
    }

    /// Names and types in the exported layer, with sizes of files and targets of links.
    fn layer(&mut self) -> Vec<String> {
        let root = self.k.root.clone();
        let mut tar = Vec::new();
        self.with(|cx, _| kernel::fs::export::export_upper(cx, &root, &mut tar)).unwrap();
        assert_eq!(tar.len() % 512, 0);
        let mut names = Vec::new();
        let mut at = 0;
        while tar[at] != 0 {
            let header = &tar[at..at + 512];
            let field = |range: std::ops::Range<usize>| {
                let bytes = &header[range];
                let end = bytes.iter().position(|b| *b == 0).unwrap_or(bytes.len());
                String::from_utf8(bytes[..end].to_vec()).unwrap()
            };
            let size = usize::from_str_radix(field(124..136).trim(), 8).unwrap();
            let kind = header[156] as char;
            let mut line = format!("{kind} {}", field(0..100));
            if kind == '0' {
                line.push_str(&format!(" {size}"));
            }
            if matches!(kind, '1' | '2') {
                line.push_str(&format!(" -> {}", field(157..257)));
            }
            names.push(line);
            at += 512 + size.next_multiple_of(512);
        }
        names
    }
}

#[test]
fn the_image_shows_and_nothing_changed() {
    let mut b = Boxed::new();
    assert_eq!(b.read("/etc/passwd", 0, 10), b"LLLLL");
    assert_eq!(b.list("/etc"), ["hard", "passwd", "shadow"]);
    assert_eq!(b.meta("/big").unwrap().ino, b.meta("/etc/hard").unwrap().ino);
    assert_eq!(b.meta("/big").unwrap().nlink, 2);
    assert!(b.find("/proc/self").is_ok() && b.find("/dev/null").is_ok());
    assert_eq!(b.layer(), [""; 0], "mount points are no changes");
}

#[test]
fn a_page_is_copied_when_it_changes() {
    let mut b = Boxed::new();
    let before = b.k.mm.phys.used_bytes();
    b.write("/big", 4096, b"new");
    assert_eq!(b.k.mm.phys.used_bytes() - before, 4096);
    assert_eq!(b.read("/big", 4094, 6), b"LLnewL");
    assert_eq!(b.read("/etc/hard", 4096, 3), b"new", "the other name sees it");
    assert_eq!(b.meta("/big").unwrap().size, BIG as u64);
    assert_eq!(b.layer(), ["0 big 12388", "5 etc/", "1 etc/hard -> big"]);
}

#[test]
fn truncation_hides_the_image_for_good() {
    let mut b = Boxed::new();
    let dentry = b.find("/big").unwrap();
    b.with(|cx, _| ops::truncate(cx, &dentry, 5000, true)).unwrap();
    b.with(|cx, _| ops::truncate(cx, &dentry, 9000, true)).unwrap();
    assert_eq!(b.read("/big", 4998, 4), b"LL\0\0");
    assert_eq!(b.read("/big", 8190, 900), [0; 810]);
}

#[test]
fn removal_leaves_whiteouts_and_replacement_an_opaque_directory() {
    let mut b = Boxed::new();
    b.remove("/etc/shadow", false).unwrap();
    assert_eq!(b.meta("/etc/shadow"), Err(Errno::ENOENT));
    assert_eq!(b.list("/etc"), ["hard", "passwd"]);
    assert_eq!(b.remove("/usr", true), Err(Errno::ENOTEMPTY));
    b.remove("/usr/lib/so", false).unwrap();
    b.remove("/usr/lib", true).unwrap();
    b.remove("/usr", true).unwrap();
    b.mkdir("/usr").unwrap();
    assert_eq!(b.list("/usr"), [""; 0]);
    b.write("/usr/new", 0, b"1");
    b.remove("/big", false).unwrap();
    assert_eq!(b.meta("/etc/hard").unwrap().nlink, 1);
    assert_eq!(
        b.layer(),
        [
            "0 .wh.big 0",
            "5 etc/",
            "0 etc/.wh.shadow 0",
            "5 usr/",
            "0 usr/.wh..wh..opq 0",
            "0 usr/new 1"
        ]
    );
}

#[test]
fn directories_of_the_image_can_be_renamed() {
    let mut b = Boxed::new();
    b.rename("/usr/lib", "/lib").unwrap();
    assert_eq!(b.read("/lib/so", 0, 9), b"LLL");
    assert_eq!(b.meta("/usr/lib"), Err(Errno::ENOENT));
    b.write("/lib/so", 1, b"x");
    assert_eq!(b.layer(), ["5 lib/", "0 lib/so 3", "5 usr/", "0 usr/.wh.lib 0"]);
    // Back again: only the change itself is left.
    b.rename("/lib", "/usr/lib").unwrap();
    assert_eq!(b.layer(), ["5 usr/", "5 usr/lib/", "0 usr/lib/so 3"]);
}

#[test]
fn new_names_links_and_attributes_are_in_the_layer() {
    let mut b = Boxed::new();
    b.mkdir("/new").unwrap();
    b.write("/new/a", 0, b"abc");
    b.with(|cx, at| {
        let a = resolve(cx, at, &at.root, b"/new/a", Lookup::FOLLOW).unwrap();
        ops::link(cx, at, &a, &at.root, b"/new/b").unwrap();
        ops::symlink(cx, at, b"../etc", &at.root, b"/new/s").unwrap();
        ops::mknod(cx, at, &at.root, b"/new/fifo", 0o010644, 0).unwrap();
        let passwd = resolve(cx, at, &at.root, b"/etc/passwd", Lookup::FOLLOW).unwrap();
        ops::chmod(cx, &passwd, 0o600).unwrap();
    });
    // Below another mount: not part of the layer.
    b.write("/dev/shm/x", 0, b"x");
    assert_eq!(
        b.layer(),
        [
            "5 etc/",
            "0 etc/passwd 5",
            "5 new/",
            "0 new/a 3",
            "1 new/b -> new/a",
            "6 new/fifo",
            "2 new/s -> ../etc"
        ]
    );
}

#[test]
fn access_control_lists_are_in_no_layer() {
    let mut b = Boxed::new();
    b.write("/new", 0, b"x");
    // rw-, user 1000: rwx, r--, mask rwx, ---.
    let entries: [(u16, u16, u32); 5] =
        [(1, 6, !0), (2, 7, 1000), (4, 4, !0), (16, 7, !0), (32, 0, !0)];
    let mut list = 2u32.to_le_bytes().to_vec();
    for (tag, perm, id) in entries {
        list.extend([tag.to_le_bytes(), perm.to_le_bytes()].concat());
        list.extend(id.to_le_bytes());
    }
    let file = b.find("/new").unwrap();
    let name = b"system.posix_acl_access";
    b.with(|cx, _| ops::set_acl(cx, &file, name, Some(&list))).unwrap();
    assert_eq!(b.with(|cx, _| file.inode().get_xattr(cx, name)).unwrap(), Some(list));
    assert_eq!(b.meta("/new").unwrap().mode & 0o7777, 0o670);

    b.with(|cx, _| file.inode().set_xattr(cx, b"user.kept", Some(b"v"))).unwrap();
    let root = b.k.root.clone();
    let mut tar = Vec::new();
    b.with(|cx, _| kernel::fs::export::export_upper(cx, &root, &mut tar)).unwrap();
    let holds = |text: &[u8]| tar.windows(text.len()).any(|window| window == text);
    assert!(holds(b"SCHILY.xattr.user.kept=v") && !holds(b"posix_acl"));
}

#[test]
fn generated_files_lie_over_etc_and_are_in_no_layer() {
    let mut b = Boxed::new();
    // One is in the image as a link to nowhere, as systemd-resolved leaves it; the others are not there.
    let root = b.k.root.clone();
    b.with(|cx, at| ops::symlink(cx, at, b"../run/stub", &at.root, b"/etc/resolv.conf")).unwrap();
    let naming = kernel::etc::Naming::default();
    b.with(|cx, _| kernel::etc::lay(cx, &root, &naming, "web", None, false)).unwrap();
    assert_eq!(b.read("/etc/hostname", 0, 10), b"web\n");
    assert_eq!(b.list("/etc"), ["hard", "hostname", "hosts", "passwd", "resolv.conf", "shadow"]);
    assert!(b.read("/run/stub", 0, 100).starts_with(b"# Generated"));
    // Writable in place; neither removed nor replaced.
    b.write("/etc/hosts", 0, b"1.2.3.4 mine\n");
    assert!(b.read("/etc/hosts", 0, 100).starts_with(b"1.2.3.4 mine\n"));
    b.write("/etc/new", 0, b"x");
    assert_eq!(b.remove("/etc/hosts", false), Err(Errno::EBUSY));
    assert_eq!(b.rename("/etc/new", "/etc/hosts"), Err(Errno::EBUSY));
    assert_eq!(b.rename("/etc/hosts", "/etc/other"), Err(Errno::EBUSY));
    assert_eq!(b.layer(), ["5 etc/", "0 etc/new 1", "2 etc/resolv.conf -> ../run/stub"]);
    // They go along with a directory that is renamed.
    b.rename("/etc", "/etc2").unwrap();
    assert_eq!(b.read("/etc2/hostname", 0, 10), b"web\n");
    let layer = b.layer();
    assert!(layer.contains(&"0 etc2/new 1".to_owned()), "{layer:?}");
    assert!(!layer.iter().any(|l| l.contains("host")), "{layer:?}");
}

/// mkfs.erofs puts the end of a file beside its inode where it fits.
#[cfg(target_os = "linux")]
#[test]
fn images_with_inline_data_are_read() {
    let dir = tempfile::tempdir().unwrap();
    let (source, image) = (dir.path().join("tree"), dir.path().join("image"));
    std::fs::create_dir(&source).unwrap();
    let content = |size: usize| (0..size).map(|i| (i * 7 + i / 4096) as u8).collect::<Vec<u8>>();
    let sizes = [0, 10, 4095, 4096, 4100, 3 * 4096 + 200, 2 * 4096 + 4000];
    for size in sizes {
        std::fs::write(source.join(size.to_string()), content(size)).unwrap();
    }
    let mut mkfs = std::process::Command::new("mkfs.erofs");
    let Ok(made) = mkfs.arg("-T0").arg(&image).arg(&source).output() else {
        println!("skipped: no mkfs.erofs here");
        return;
    };
    assert!(made.status.success());
    let bytes: &'static [u8] = std::fs::read(&image).unwrap().leak();
    let tails = rootfs::Image::open(bytes).unwrap();
    let mut b = Boxed::of(bytes);
    let mut split = 0;
    for size in sizes {
        let name = format!("/{size}");
        let nid = b.meta(&name).unwrap().ino;
        split += usize::from(!tails.runs(nid).unwrap()[1].is_empty());
        assert_eq!(b.meta(&name).unwrap().size, size as u64);
        assert_eq!(b.read(&name, 0, 20_000), content(size), "{size}");
        assert_eq!(b.read(&name, 4090, 20), content(size)[4090.min(size)..4110.min(size)]);
        // In pages that were changed and beside them.
        b.write(&name, 0, b"new");
        let mut expected = content(size.max(3));
        expected[..3].copy_from_slice(b"new");
        assert_eq!(b.read(&name, 0, 20_000), expected, "{size}");
        b.write(&name, size as u64, b"more");
        expected.resize(size, 0);
        expected.extend(b"more");
        assert_eq!(b.read(&name, 0, 20_000), expected, "{size}");
    }
    assert!(split >= 2, "{split} files lie in two places: no test");
}
