//! Trees as tar archives, on their way into a box and out of it.

use std::collections::{BTreeMap, HashMap};
use std::ffi::OsStr;
use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use runtime::{Files, OpenFlags, Stat};
use tar::{Archive, Builder, EntryType, Header};

const S_IFMT: u32 = 0o170_000;
const S_IFREG: u32 = 0o100_000;
const S_IFDIR: u32 = 0o040_000;
const S_IFLNK: u32 = 0o120_000;
const S_IFIFO: u32 = 0o010_000;
const S_IFCHR: u32 = 0o020_000;
const S_IFBLK: u32 = 0o060_000;
const NS: u64 = 1_000_000_000;
/// A file that says that it is empty is read all the same (proc(5)), up to so many bytes.
const UNSIZED: u64 = 16 << 20;

/// Whose files are after a copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owners {
    /// Those that they had.
    Kept,
    /// Whoever writes them: in a box root.
    New,
}

/// Writes the tree at `path` of a box as an archive in which it is called `name`.
///
/// # Errors
/// Something cannot be read, or `out` takes no more.
pub fn from_box(files: &Files, path: &[u8], name: &[u8], out: impl Write) -> io::Result<()> {
    let mut builder = Builder::new(out);
    let mut first_names: HashMap<(u64, u64), Vec<u8>> = HashMap::new();
    let mut left = vec![(path.to_vec(), name.to_vec(), files.lstat(path)?)];
    while let Some((path, name, stat)) = left.pop() {
        let attributes = &stat.attributes;
        let kind = attributes.mode & S_IFMT;
        let mut header = header(&stat);
        let entry = Path::new(OsStr::from_bytes(&name));
        let file = (attributes.dev, attributes.ino);
        if kind != S_IFDIR && attributes.nlink > 1 {
            if let Some(first) = first_names.get(&file) {
                header.set_entry_type(EntryType::Link);
                builder.append_link(&mut header, entry, OsStr::from_bytes(first))?;
                continue;
            }
            first_names.insert(file, name.clone());
        }
        match kind {
            S_IFDIR => {
                header.set_entry_type(EntryType::Directory);
                builder.append_data(&mut header, entry, io::empty())?;
                for child in files.list(&path)? {
                    // A box is not believed in what its names are.
                    if matches!(&*child.name, b"" | b"." | b"..") || child.name.contains(&b'/') {
                        return Err(io::Error::other("the box has a file of an impossible name"));
                    }
                    let below = |at: &[u8]| [at, b"/", &child.name].concat();
                    left.push((below(&path), below(&name), child.stat));
                }
            }
            S_IFREG if attributes.size == 0 => {
                let mut bytes = Vec::new();
                open(files, &path)?.take(UNSIZED).read_to_end(&mut bytes)?;
                header.set_size(bytes.len() as u64);
                builder.append_data(&mut header, entry, bytes.as_slice())?;
            }
            S_IFREG => {
                header.set_size(attributes.size);
                // One that grows or shrinks meanwhile keeps the size that it was said to have.
                let content = open(files, &path)?.chain(io::repeat(0)).take(attributes.size);
                builder.append_data(&mut header, entry, content)?;
            }
            S_IFLNK => {
                header.set_entry_type(EntryType::Symlink);
                let held = files.readlink(&path)?;
                builder.append_link(&mut header, entry, OsStr::from_bytes(&held))?;
            }
            S_IFIFO | S_IFCHR | S_IFBLK => {
                header.set_entry_type(match kind {
                    S_IFIFO => EntryType::Fifo,
                    S_IFCHR => EntryType::Char,
                    _ => EntryType::Block,
                });
                let (major, minor) = (rustix::fs::major(stat.rdev), rustix::fs::minor(stat.rdev));
                header.set_device_major(major)?;
                header.set_device_minor(minor)?;
                builder.append_data(&mut header, entry, io::empty())?;
            }
            // Sockets have no place in archives.
            _ => {}
        }
    }
    builder.finish()
}

fn open(files: &Files, path: &[u8]) -> io::Result<runtime::File> {
    let flags = OpenFlags { read: true, no_follow: true, ..OpenFlags::default() };
    files.open(path, flags, 0)
}

fn header(stat: &Stat) -> Header {
    let attributes = &stat.attributes;
    let mut header = Header::new_gnu();
    header.set_mode(attributes.mode & 0o7777);
    header.set_uid(u64::from(attributes.uid));
    header.set_gid(u64::from(attributes.gid));
    header.set_mtime(attributes.mtime / NS);
    header.set_size(0);
    header
}

/// Writes the tree at `path` of this system as an archive in which it is called `name`.
///
/// # Errors
/// Something cannot be read, or `out` takes no more.
pub fn from_directory(path: &Path, name: &[u8], out: impl Write) -> io::Result<()> {
    let mut builder = Builder::new(out);
    builder.follow_symlinks(false);
    let name = OsStr::from_bytes(name);
    if std::fs::symlink_metadata(path)?.is_dir() {
        builder.append_dir_all(name, path)?;
    } else {
        builder.append_path_with_name(path, name)?;
    }
    builder.finish()
}

/// Unpacks an archive into a directory of this system. Nothing is written outside of it.
///
/// # Errors
/// The archive is damaged, or something cannot be written.
pub fn to_directory(from: impl Read, dir: &Path, owners: Owners) -> io::Result<()> {
    let mut archive = Archive::new(from);
    archive.set_preserve_permissions(true);
    archive.set_preserve_mtime(true);
    archive.set_preserve_ownerships(owners == Owners::Kept);
    archive.unpack(dir)
}

/// Unpacks an archive into a directory of a box.
///
/// # Errors
/// The archive is damaged, or something cannot be written.
pub fn to_box(from: impl Read, files: &Files, dir: &[u8], owners: Owners) -> io::Result<()> {
    let mut archive = Archive::new(from);
    // What is written into a directory changes its time.
    let mut times = BTreeMap::new();
    for entry in archive.entries()? {
        let mut entry = entry?;
        let Some(below) = inside(&entry.path_bytes()) else {
            let name = entry.path()?.display().to_string();
            return Err(io::Error::other(format!("{name}: it leads out of the archive")));
        };
        let path = if below.is_empty() { dir.to_vec() } else { [dir, b"/", &below].concat() };
        let header = entry.header();
        let (mode, mtime) = (header.mode()? & 0o7777, header.mtime()?.saturating_mul(NS));
        let kind = header.entry_type();
        if below.is_empty() {
            // The directory itself, which is there and stays as it is.
            continue;
        }
        let at = |error: io::Error| {
            io::Error::new(error.kind(), format!("{}: {error}", String::from_utf8_lossy(&path)))
        };
        match kind {
            EntryType::Directory => {
                files.mkdir(&path, mode, true).map_err(at)?;
                times.insert(path.clone(), mtime);
            }
            EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => {
                write(files, &path, &mut entry).map_err(at)?;
            }
            EntryType::Symlink => {
                let held = entry.link_name_bytes().unwrap_or_default().into_owned();
                make_room(files, &path).map_err(at)?;
                files.symlink(held, &path).map_err(at)?;
            }
            EntryType::Link => {
                let held = entry.link_name_bytes().unwrap_or_default().into_owned();
                let Some(first) = inside(&held) else {
                    return Err(at(io::Error::other("its link leads out of the archive")));
                };
                make_room(files, &path).map_err(at)?;
                files.link([dir, b"/", &first].concat(), &path).map_err(at)?;
                continue;
            }
            EntryType::Fifo | EntryType::Char | EntryType::Block => {
                let bits = match kind {
                    EntryType::Fifo => S_IFIFO,
                    EntryType::Char => S_IFCHR,
                    _ => S_IFBLK,
                };
                let (major, minor) = (header.device_major()?, header.device_minor()?);
                let rdev =
                    rustix::fs::makedev(major.unwrap_or_default(), minor.unwrap_or_default());
                make_room(files, &path).map_err(at)?;
                files.mknod(&path, bits | mode, rdev).map_err(at)?;
            }
            // Notes about the entries that follow, or about the archive.
            _ => continue,
        }
        if owners == Owners::Kept {
            let header = entry.header();
            let id = |id: u64| u32::try_from(id).unwrap_or(u32::MAX - 1);
            files.lchown(&path, id(header.uid()?), id(header.gid()?)).map_err(at)?;
        }
        if kind != EntryType::Symlink {
            // Changing the owner takes set-id bits away.
            files.chmod(&path, mode).map_err(at)?;
        }
        files.set_mtime(&path, mtime).map_err(at)?;
    }
    for (path, mtime) in times.iter().rev() {
        files.set_mtime(path, *mtime)?;
    }
    Ok(())
}

/// Writes a regular file in place of what is there.
fn write(files: &Files, path: &[u8], content: &mut impl Read) -> io::Result<()> {
    // What is mounted there is written into.
    match make_room(files, path) {
        Err(error) if error.kind() == io::ErrorKind::ResourceBusy => {}
        result => result?,
    }
    let flags = OpenFlags {
        write: true,
        create: true,
        truncate: true,
        no_follow: true,
        ..OpenFlags::default()
    };
    let mut file = files.open(path, flags, 0o600)?;
    io::copy(content, &mut file).map(drop)
}

/// Removes what is there, if it is no directory.
fn make_room(files: &Files, path: &[u8]) -> io::Result<()> {
    match files.lstat(path) {
        Ok(stat) if stat.attributes.mode & S_IFMT == S_IFDIR => {
            Err(io::Error::from(io::ErrorKind::IsADirectory))
        }
        Ok(_) => files.remove(path, false),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

/// A path of an archive, without what it does not need; none if it leads out of it.
fn inside(path: &[u8]) -> Option<Vec<u8>> {
    let names = path.split(|byte| *byte == b'/').filter(|n| !n.is_empty() && *n != b".");
    let names: Vec<&[u8]> = names.collect();
    (!names.contains(&b"..".as_slice())).then(|| names.join(&b'/'))
}

#[cfg(test)]
mod tests {
    use super::inside;

    #[test]
    fn paths_stay_inside() {
        assert_eq!(inside(b"./a//b/."), Some(b"a/b".to_vec()));
        assert_eq!(inside(b"/etc/passwd"), Some(b"etc/passwd".to_vec()));
        assert_eq!(inside(b"."), Some(Vec::new()));
        assert_eq!(inside(b"a/../b"), None);
    }
}
