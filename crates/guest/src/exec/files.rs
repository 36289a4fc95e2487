//! The host's calls: about files, and what programs use.

use abi::Errno;
use abi::fcntl::{O_APPEND, O_CREAT, O_DIRECTORY, O_EXCL, O_NOFOLLOW, O_TRUNC};
use kernel::Kernel;
use kernel::attach::files;
use kernel::attach::measure::{Measured, Next};
use kernel::fs::{Kind, Meta, ops};
use mux::exec::{Bound, Call, Counted, Entry, MAX_DATA, MAX_FILES, OpenFlags, Stat, Usage};
use mux::files::Attributes;

type Answer = Result<Vec<u8>, Errno>;

/// Carries out a call: what was asked for.
pub fn answer(kernel: &mut Kernel, id: u32, user: &[u8], call: Call<'_>) -> Answer {
    let user = String::from_utf8_lossy(user);
    let nothing = |()| Vec::new();
    match call {
        Call::Open { .. } if kernel.held_files() >= MAX_FILES => Err(Errno::EMFILE),
        Call::Open { flags, mode, path } => {
            kernel.open_held(id, &user, path, open_flags(flags), mode).map(nothing)
        }
        Call::Read { file, offset, len } => {
            let mut bytes = vec![0; (len as usize).min(MAX_DATA)];
            let len = kernel.read_held(file, offset, &mut bytes)?;
            bytes.truncate(len);
            Ok(bytes)
        }
        Call::Write { file, offset, bytes } => {
            let written = kernel.write_held(file, offset, bytes)?;
            Ok((written as u32).to_le_bytes().to_vec())
        }
        Call::Close { file } => kernel.close_held(file).map(nothing),
        Call::List { file } => list(kernel, file),
        Call::Watch { .. } if kernel.watches() >= MAX_FILES => Err(Errno::ENOSPC),
        Call::Watch { recursive, path } => kernel.watch(id, &user, path, recursive).map(nothing),
        Call::Unwatch { watch } => kernel.unwatch(watch).map(nothing),
        Call::Kill { session, pid, signal } => {
            kernel.signal_by_host(pid, session, u32::from(signal)).map(nothing)
        }
        Call::Measure { .. } if kernel.measures() >= MAX_FILES => Err(Errno::ENOSPC),
        Call::Measure { started, bound, process, most } => {
            let next = match bound {
                Bound::Kill => Next::Kill,
                Bound::Interrupt => Next::Tell,
                Bound::InterruptAll => Next::TellAll,
            };
            let of = if started { Measured::Started(process) } else { Measured::Process(process) };
            kernel.begin_measure(id, of, most, next).map(nothing)
        }
        Call::Measured { measure } => {
            let (instructions, reached) = kernel.end_measure(measure)?;
            Ok(Counted { instructions, reached }.encode())
        }
        Call::Usage => Ok(usage(&kernel.usage()).encode()),
        _ => kernel.with_files(&user, |cx, at| {
            match call {
                Call::Stat { follow, path } => {
                    return files::stat(cx, at, path, follow).map(|meta| stat(&meta).encode());
                }
                Call::Readlink { path } => {
                    return files::find(cx, at, path, false)?.inode().read_link(cx);
                }
                Call::Mkdir { parents, mode, path } => files::mkdir(cx, at, path, mode, parents),
                Call::Remove { recursive, path } => files::remove(cx, at, path, recursive),
                Call::Rename { from, to } => files::rename(cx, at, from, to),
                Call::Symlink { target, path } => ops::symlink(cx, at, target, &at.root, path),
                Call::Link { from, to } => {
                    let old = files::find(cx, at, from, false)?;
                    ops::link(cx, at, &old, &at.root, to)
                }
                Call::Mknod { mode, rdev, path } => {
                    ops::mknod(cx, at, &at.root, path, mode, rdev).map(drop)
                }
                Call::Chmod { mode, path } => {
                    let found = files::find(cx, at, path, true)?;
                    ops::chmod(cx, &found, mode)
                }
                Call::Chown { follow, uid, gid, path } => {
                    let found = files::find(cx, at, path, follow)?;
                    ops::chown(cx, &found, uid, gid)
                }
                Call::SetTimes { follow, atime, mtime, path } => {
                    let found = files::find(cx, at, path, follow)?;
                    files::set_times(cx, &found, [atime, mtime])
                }
                // They need no user; see above.
                _ => Err(Errno::ENOSYS),
            }
            .map(nothing)
        }),
    }
}

fn usage(used: &kernel::Usage) -> Usage {
    Usage {
        instructions: used.instructions,
        cpu_ns: used.cpu_ns,
        memory: used.memory,
        storage: used.storage,
        threads: used.threads,
        open_files: used.open_files,
        met: [used.met.memory, used.met.storage, used.met.threads, used.met.open_files],
    }
}

fn open_flags(flags: OpenFlags) -> u32 {
    let bits = [
        (flags.create, O_CREAT),
        (flags.exclusive, O_EXCL),
        (flags.truncate, O_TRUNC),
        (flags.append, O_APPEND),
        (flags.directory, O_DIRECTORY),
        (flags.no_follow, O_NOFOLLOW),
    ];
    let on = bits.into_iter().filter(|(on, _)| *on).map(|(_, bit)| bit);
    on.fold(files::access_flags(flags.read, flags.write), |all, bit| all | bit)
}

/// As many entries as one packet takes.
fn list(kernel: &mut Kernel, file: u32) -> Answer {
    let mut out = Vec::new();
    kernel.list_held(file, |item, meta| {
        if out.len() >= MAX_DATA {
            return false;
        }
        let unknown = Meta { ino: item.ino, mode: item.kind.bits(), ..Meta::default() };
        let stat = stat(meta.unwrap_or(&unknown));
        Entry { name: item.name.to_vec(), stat }.encode(&mut out);
        true
    })?;
    Ok(out)
}

fn stat(meta: &Meta) -> Stat {
    let device = matches!(meta.kind(), Kind::Char | Kind::Block);
    Stat {
        attributes: Attributes {
            dev: meta.dev,
            ino: meta.ino,
            nlink: u64::from(meta.nlink),
            size: meta.size,
            blocks: meta.blocks,
            atime: meta.atime.as_ns(),
            mtime: meta.mtime.as_ns(),
            ctime: meta.ctime.as_ns(),
            mode: meta.mode,
            uid: meta.uid,
            gid: meta.gid,
        },
        rdev: if device { meta.rdev } else { 0 },
    }
}
