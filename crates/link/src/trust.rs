//! When a file of the cache may be believed, and how long what was found out about a file stays true.

use crate::digest::{Digest, digest_of};
use std::fs::{File, Metadata};
use std::io::{Read, Write};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::OnceLock;
use std::time::{Duration, SystemTime};

/// How long a file must have been left alone for its stamp to mean something: the next change could otherwise leave the
/// times as they are, because the kernel's clock for files goes on every few milliseconds only.
const SETTLED: Duration = Duration::from_millis(50);

/// The same on file systems that keep no fractions of a second.
const SETTLED_COARSE: Duration = Duration::from_secs(2);

/// Entries up to this size, in bytes, are compared each time they are loaded.
pub const SMALL: u64 = 256 << 10;

/// Permission bits by which others than its owner write to a file.
const OTHERS_WRITE: u32 = 0o022;

/// What a file has only as long as nobody writes to it or puts another in its place: device, number, size and times. As git's
/// index does; but also the boot, because after a loss of power a file may have its size and times without its bytes. None
/// for a file that was changed a moment ago.
pub fn stamp(meta: &Metadata) -> Option<Digest> {
    // Times can be set back, but not that of the last change of the inode.
    let nanoseconds = u32::try_from(meta.ctime_nsec()).ok()?;
    let changed = Duration::new(u64::try_from(meta.ctime()).ok()?, nanoseconds);
    let age = SystemTime::UNIX_EPOCH.elapsed().ok()?.checked_sub(changed)?;
    if age <= if nanoseconds == 0 { SETTLED_COARSE } else { SETTLED } {
        return None;
    }
    let numbers = [
        meta.dev(),
        meta.ino(),
        meta.size(),
        meta.mtime() as u64,
        meta.mtime_nsec() as u64,
        meta.ctime() as u64,
        meta.ctime_nsec() as u64,
    ];
    let mut bytes: Vec<u8> = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
    bytes.extend_from_slice(boot()?);
    Some(digest_of(&bytes))
}

/// Waits until a file that was just written has a [`stamp`], if that is a matter of milliseconds.
pub fn settle(file: &File) {
    for _ in 0..6 {
        match file.metadata() {
            Ok(meta) if stamp(&meta).is_none() => std::thread::sleep(SETTLED / 5),
            _ => break,
        }
    }
}

/// What names this boot of the system; see random(4).
fn boot() -> Option<&'static [u8]> {
    static BOOT: OnceLock<Option<Vec<u8>>> = OnceLock::new();
    BOOT.get_or_init(|| std::fs::read("/proc/sys/kernel/random/boot_id").ok()).as_deref()
}

/// Whether nobody but this user, and root, can have written it.
fn is_own(meta: &Metadata) -> bool {
    let owner = meta.uid();
    (owner == rustix::process::geteuid().as_raw() || owner == 0) && meta.mode() & OTHERS_WRITE == 0
}

/// Opens a file of the cache, if it is one that may be believed.
pub fn open_own(path: &Path) -> Option<(File, Metadata)> {
    let file = File::open(path).ok()?;
    let meta = file.metadata().ok()?;
    (meta.is_file() && is_own(&meta)).then_some((file, meta))
}

/// All of a small file of the cache.
pub fn read_own(path: &Path) -> Option<Vec<u8>> {
    let (mut file, _) = open_own(path)?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes).ok()?;
    Some(bytes)
}

/// A folder for the cache: made, or found and this user's own.
///
/// # Errors
/// It cannot be made, or belongs to somebody else.
pub fn own_folder(path: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
    if !path.is_dir() {
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path)?;
    }
    let meta = std::fs::metadata(path)?;
    if is_own(&meta) {
        return Ok(());
    }
    if meta.uid() != rustix::process::geteuid().as_raw() {
        return Err(std::io::Error::other("it belongs to somebody else"));
    }
    // It was made under a generous umask(2).
    let mode = std::fs::Permissions::from_mode(meta.mode() & !OTHERS_WRITE & 0o7777);
    std::fs::set_permissions(path, mode)
}

/// Writes a file of the cache beside its place and moves it there; gives the file, which has never had another name.
///
/// # Errors
/// It cannot be written.
pub fn write_whole(path: &Path, bytes: &[u8]) -> std::io::Result<File> {
    let dir = path.parent().unwrap_or(Path::new("."));
    let mut file = tempfile::NamedTempFile::new_in(dir)?; // mode 0600
    file.write_all(bytes)?;
    file.persist(path).map_err(|error| error.error)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_stamp_changes_with_what_is_written() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        std::fs::write(&path, "one").unwrap();
        let file = File::open(&path).unwrap();
        assert!(stamp(&file.metadata().unwrap()).is_none(), "it was written just now");
        settle(&file);
        let before = file.metadata().unwrap();
        assert!(stamp(&before).is_some());
        assert_eq!(stamp(&before), stamp(&file.metadata().unwrap()));
        // As long as before, and the time of the last write set back.
        std::fs::write(&path, "two").unwrap();
        File::options()
            .append(true)
            .open(&path)
            .unwrap()
            .set_modified(before.modified().unwrap())
            .unwrap();
        settle(&file);
        let after = stamp(&file.metadata().unwrap());
        assert!(after.is_some() && after != stamp(&before));
    }

    #[test]
    fn what_others_can_write_is_not_believed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        std::fs::write(&path, "bytes").unwrap();
        for (mode, believed) in [(0o644, true), (0o600, true), (0o664, false), (0o602, false)] {
            std::fs::set_permissions(&path, PermissionsExt::from_mode(mode)).unwrap();
            assert_eq!(read_own(&path).is_some(), believed, "{mode:o}");
        }
        assert!(open_own(dir.path()).is_none(), "a folder");
        let folder = dir.path().join("a/b");
        own_folder(&folder).unwrap();
        std::fs::set_permissions(&folder, PermissionsExt::from_mode(0o777)).unwrap();
        own_folder(&folder).unwrap();
        assert_eq!(std::fs::metadata(&folder).unwrap().mode() & 0o777, 0o755);
    }
}
