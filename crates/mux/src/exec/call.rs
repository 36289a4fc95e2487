//! What a host asks about files. Paths are the box's; a relative one begins at its root.

use super::message::put_bytes;
use crate::Broken;
use crate::files::Attributes;
use crate::packet::Reader;

/// Leaves an owner, a group or a time as it is.
const KEEP: u32 = u32::MAX;
const KEEP_TIME: u64 = u64::MAX;

const FOLLOW: u8 = 1;

/// How a file is opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OpenFlags {
    /// For reading; a directory for [`Call::List`].
    pub read: bool,
    /// For writing.
    pub write: bool,
    /// It is made if it is missing.
    pub create: bool,
    /// It must be missing (with `create`).
    pub exclusive: bool,
    /// Its content is dropped.
    pub truncate: bool,
    /// Writes go to its end, wherever they say.
    pub append: bool,
    /// It must be a directory.
    pub directory: bool,
    /// It must not be a symbolic link.
    pub no_follow: bool,
}

impl OpenFlags {
    fn number(self) -> u32 {
        let all = [
            self.read,
            self.write,
            self.create,
            self.exclusive,
            self.truncate,
            self.append,
            self.directory,
            self.no_follow,
        ];
        (0..).zip(all).map(|(bit, on)| u32::from(on) << bit).sum()
    }

    fn from_number(number: u32) -> Result<OpenFlags, Broken> {
        let on = |bit: u32| number >> bit & 1 != 0;
        if number >> 8 != 0 {
            return Err(Broken("unknown flags"));
        }
        Ok(OpenFlags {
            read: on(0),
            write: on(1),
            create: on(2),
            exclusive: on(3),
            truncate: on(4),
            append: on(5),
            directory: on(6),
            no_follow: on(7),
        })
    }
}

/// One request. What it gives is in brackets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call<'a> {
    /// Open a regular file or directory, under the number of this call \[nothing\].
    Open {
        /// How.
        flags: OpenFlags,
        /// Permission bits of a new file, as they are: there is no umask.
        mode: u32,
        /// Its path.
        path: &'a [u8],
    },
    /// Read at an offset \[bytes; fewer than asked for near the end, none at it\].
    Read {
        /// The number of the call that opened it.
        file: u32,
        /// Bytes from the beginning.
        offset: u64,
        /// Most bytes; no more than [`super::MAX_DATA`] come.
        len: u32,
    },
    /// Write at an offset \[number of bytes written, 4 bytes\].
    Write {
        /// The number of the call that opened it.
        file: u32,
        /// Bytes from the beginning.
        offset: u64,
        /// What is written.
        bytes: &'a [u8],
    },
    /// Close a file or directory \[nothing\].
    Close {
        /// The number of the call that opened it.
        file: u32,
    },
    /// The next entries of an open directory \[[`Entry`]s; none at its end\].
    List {
        /// The number of the call that opened it.
        file: u32,
    },
    /// Attributes \[[`Stat`]\].
    Stat {
        /// Of what a symbolic link leads to.
        follow: bool,
        /// The path.
        path: &'a [u8],
    },
    /// Make a directory \[nothing\].
    Mkdir {
        /// Those above it as well, where they are missing; that it exists is no error.
        parents: bool,
        /// Permission bits.
        mode: u32,
        /// The path.
        path: &'a [u8],
    },
    /// Remove a file, or a directory \[nothing\].
    Remove {
        /// With all that is in it; otherwise it must be empty.
        recursive: bool,
        /// The path.
        path: &'a [u8],
    },
    /// Give a file another name \[nothing\].
    Rename {
        /// Its name.
        from: &'a [u8],
        /// The new one.
        to: &'a [u8],
    },
    /// Make a symbolic link \[nothing\].
    Symlink {
        /// What it holds.
        target: &'a [u8],
        /// Its path.
        path: &'a [u8],
    },
    /// Give a file a further name \[nothing\].
    Link {
        /// Its name.
        from: &'a [u8],
        /// The further one.
        to: &'a [u8],
    },
    /// What a symbolic link holds \[bytes\].
    Readlink {
        /// Its path.
        path: &'a [u8],
    },
    /// Make a FIFO, socket or device \[nothing\].
    Mknod {
        /// Type and permission bits.
        mode: u32,
        /// Device number.
        rdev: u64,
        /// Its path.
        path: &'a [u8],
    },
    /// Set permission bits, following links \[nothing\].
    Chmod {
        /// The bits.
        mode: u32,
        /// The path.
        path: &'a [u8],
    },
    /// Set owner and group \[nothing\].
    Chown {
        /// Of what a symbolic link leads to.
        follow: bool,
        /// Owner, or none to keep it.
        uid: Option<u32>,
        /// Group, or none to keep it.
        gid: Option<u32>,
        /// The path.
        path: &'a [u8],
    },
    /// Set times, in ns since the epoch \[nothing\].
    SetTimes {
        /// Of what a symbolic link leads to.
        follow: bool,
        /// Access time, or none to keep it.
        atime: Option<u64>,
        /// Modification time, or none to keep it.
        mtime: Option<u64>,
        /// The path.
        path: &'a [u8],
    },
    /// Say what happens to a file, or in a directory, from now on, under the number of this call \[nothing; then [`Watched`]\].
    Watch {
        /// In the directories below it as well.
        recursive: bool,
        /// The path.
        path: &'a [u8],
    },
    /// End a watch \[nothing\].
    Unwatch {
        /// The number of the call that began it.
        watch: u32,
    },
    /// Send a signal, as who may do that to all \[nothing\].
    Kill {
        /// To all processes of the session of this number; otherwise to the process.
        session: bool,
        /// The number in the box.
        pid: u32,
        /// Linux's number; 0 only finds out whether there is somebody.
        signal: u8,
    },
    /// Count the instructions that a session executes from now on, under the number of this call \[nothing\].
    Measure {
        /// `process` is the number of a START; otherwise that of a process in the box.
        started: bool,
        /// What comes once they are too many.
        bound: Bound,
        /// Whose session.
        process: u32,
        /// The most.
        most: u64,
    },
    /// End a count \[[`Counted`]\].
    Measured {
        /// The number of the call that began it.
        measure: u32,
    },
    /// What the box uses \[[`Usage`]\].
    Usage,
}

/// What comes when a session has executed as many instructions as it may ([`Call::Measure`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Bound {
    /// SIGKILL to all of it.
    Kill = 0,
    /// SIGINT to the process, and a while later SIGKILL to all.
    Interrupt = 1,
    /// SIGINT to all, and a while later SIGKILL.
    InterruptAll = 2,
}

impl Bound {
    fn from_number(number: u8) -> Result<Bound, Broken> {
        match number {
            0 => Ok(Bound::Kill),
            1 => Ok(Bound::Interrupt),
            2 => Ok(Bound::InterruptAll),
            _ => Err(Broken("an unknown bound")),
        }
    }
}

/// A flag before what else a request has.
fn flagged(out: &mut Vec<u8>, follow: bool) {
    out.push(if follow { FOLLOW } else { 0 });
}

impl<'a> Call<'a> {
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        let word = |out: &mut Vec<u8>, word: u32| out.extend(word.to_le_bytes());
        let long = |out: &mut Vec<u8>, long: u64| out.extend(long.to_le_bytes());
        out.push(self.number());
        match *self {
            Call::Open { flags, mode, path } => {
                word(out, flags.number());
                word(out, mode);
                put_bytes(out, path);
            }
            Call::Read { file, offset, len } => {
                word(out, file);
                long(out, offset);
                word(out, len);
            }
            Call::Write { file, offset, bytes } => {
                word(out, file);
                long(out, offset);
                put_bytes(out, bytes);
            }
            Call::Close { file } | Call::List { file } => word(out, file),
            Call::Unwatch { watch } => word(out, watch),
            Call::Measured { measure } => word(out, measure),
            Call::Measure { started, bound, process, most } => {
                flagged(out, started);
                out.push(bound as u8);
                word(out, process);
                long(out, most);
            }
            Call::Usage => {}
            Call::Kill { session, pid, signal } => {
                flagged(out, session);
                word(out, pid);
                out.push(signal);
            }
            Call::Stat { follow: flag, path }
            | Call::Remove { recursive: flag, path }
            | Call::Watch { recursive: flag, path } => {
                flagged(out, flag);
                put_bytes(out, path);
            }
            Call::Mkdir { parents, mode, path } => {
                flagged(out, parents);
                word(out, mode);
                put_bytes(out, path);
            }
            Call::Rename { from: a, to: b }
            | Call::Link { from: a, to: b }
            | Call::Symlink { target: a, path: b } => {
                put_bytes(out, a);
                put_bytes(out, b);
            }
            Call::Readlink { path } => put_bytes(out, path),
            Call::Mknod { mode, rdev, path } => {
                word(out, mode);
                long(out, rdev);
                put_bytes(out, path);
            }
            Call::Chmod { mode, path } => {
                word(out, mode);
                put_bytes(out, path);
            }
            Call::Chown { follow, uid, gid, path } => {
                flagged(out, follow);
                word(out, uid.unwrap_or(KEEP));
                word(out, gid.unwrap_or(KEEP));
                put_bytes(out, path);
            }
            Call::SetTimes { follow, atime, mtime, path } => {
                flagged(out, follow);
                long(out, atime.unwrap_or(KEEP_TIME));
                long(out, mtime.unwrap_or(KEEP_TIME));
                put_bytes(out, path);
            }
        }
    }

    fn number(&self) -> u8 {
        match self {
            Call::Open { .. } => 1,
            Call::Read { .. } => 2,
            Call::Write { .. } => 3,
            Call::Close { .. } => 4,
            Call::List { .. } => 5,
            Call::Stat { .. } => 6,
            Call::Mkdir { .. } => 7,
            Call::Remove { .. } => 8,
            Call::Rename { .. } => 9,
            Call::Symlink { .. } => 10,
            Call::Link { .. } => 11,
            Call::Readlink { .. } => 12,
            Call::Mknod { .. } => 13,
            Call::Chmod { .. } => 14,
            Call::Chown { .. } => 15,
            Call::SetTimes { .. } => 16,
            Call::Watch { .. } => 17,
            Call::Unwatch { .. } => 18,
            Call::Kill { .. } => 19,
            Call::Measure { .. } => 20,
            Call::Measured { .. } => 21,
            Call::Usage => 22,
        }
    }

    pub(super) fn decode(r: &mut Reader<'a>) -> Result<Call<'a>, Broken> {
        let flag = |r: &mut Reader<'a>| Ok::<bool, Broken>(r.u8()? & FOLLOW != 0);
        let id = |r: &mut Reader<'a>| Ok::<_, Broken>(Some(r.u32()?).filter(|id| *id != KEEP));
        let time = |r: &mut Reader<'a>| Ok::<_, Broken>(Some(r.u64()?).filter(|t| *t != KEEP_TIME));
        // Fields are read in the order in which they stand.
        Ok(match r.u8()? {
            1 => Call::Open {
                flags: OpenFlags::from_number(r.u32()?)?,
                mode: r.u32()?,
                path: r.bytes()?,
            },
            2 => Call::Read { file: r.u32()?, offset: r.u64()?, len: r.u32()? },
            3 => Call::Write { file: r.u32()?, offset: r.u64()?, bytes: r.bytes()? },
            4 => Call::Close { file: r.u32()? },
            5 => Call::List { file: r.u32()? },
            6 => Call::Stat { follow: flag(r)?, path: r.bytes()? },
            7 => Call::Mkdir { parents: flag(r)?, mode: r.u32()?, path: r.bytes()? },
            8 => Call::Remove { recursive: flag(r)?, path: r.bytes()? },
            9 => Call::Rename { from: r.bytes()?, to: r.bytes()? },
            10 => Call::Symlink { target: r.bytes()?, path: r.bytes()? },
            11 => Call::Link { from: r.bytes()?, to: r.bytes()? },
            12 => Call::Readlink { path: r.bytes()? },
            13 => Call::Mknod { mode: r.u32()?, rdev: r.u64()?, path: r.bytes()? },
            14 => Call::Chmod { mode: r.u32()?, path: r.bytes()? },
            15 => Call::Chown { follow: flag(r)?, uid: id(r)?, gid: id(r)?, path: r.bytes()? },
            16 => Call::SetTimes {
                follow: flag(r)?,
                atime: time(r)?,
                mtime: time(r)?,
                path: r.bytes()?,
            },
            17 => Call::Watch { recursive: flag(r)?, path: r.bytes()? },
            18 => Call::Unwatch { watch: r.u32()? },
            19 => Call::Kill { session: flag(r)?, pid: r.u32()?, signal: r.u8()? },
            20 => Call::Measure {
                started: flag(r)?,
                bound: Bound::from_number(r.u8()?)?,
                process: r.u32()?,
                most: r.u64()?,
            },
            21 => Call::Measured { measure: r.u32()? },
            22 => Call::Usage,
            _ => return Err(Broken("an unknown call")),
        })
    }

    /// The same with other numbers of files, watches, measures and processes that were started.
    pub(super) fn map(self, number: impl Fn(u32) -> u32) -> Call<'a> {
        match self {
            Call::Read { file, offset, len } => Call::Read { file: number(file), offset, len },
            Call::Write { file, offset, bytes } => {
                Call::Write { file: number(file), offset, bytes }
            }
            Call::Close { file } => Call::Close { file: number(file) },
            Call::List { file } => Call::List { file: number(file) },
            Call::Unwatch { watch } => Call::Unwatch { watch: number(watch) },
            Call::Measured { measure } => Call::Measured { measure: number(measure) },
            Call::Measure { started: true, bound, process, most } => {
                Call::Measure { started: true, bound, process: number(process), most }
            }
            other => other,
        }
    }
}

/// What [`Call::Stat`] gives: attributes, and the number of a device.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stat {
    /// Attributes (stat(2)).
    pub attributes: Attributes,
    /// Device number, of a device.
    pub rdev: u64,
}

impl Stat {
    /// Bytes of one.
    pub const BYTES: usize = 84;

    /// Its bytes.
    pub fn encode(&self) -> Vec<u8> {
        [self.attributes.encode(), self.rdev.to_le_bytes().to_vec()].concat()
    }

    /// Reads one; none if there are too few bytes.
    pub fn decode(bytes: &[u8]) -> Option<Stat> {
        let (attributes, rdev) = bytes.get(..Stat::BYTES)?.split_last_chunk::<8>()?;
        Some(Stat { attributes: Attributes::decode(attributes)?, rdev: u64::from_le_bytes(*rdev) })
    }
}

/// What [`Call::Measured`] gives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counted {
    /// Instructions.
    pub instructions: u64,
    /// Whether they were too many.
    pub reached: bool,
}

impl Counted {
    /// Its bytes.
    pub fn encode(&self) -> Vec<u8> {
        [&self.instructions.to_le_bytes()[..], &[u8::from(self.reached)]].concat()
    }

    /// Reads one; none if there are too few bytes.
    pub fn decode(bytes: &[u8]) -> Option<Counted> {
        let (count, rest) = bytes.split_first_chunk::<8>()?;
        Some(Counted { instructions: u64::from_le_bytes(*count), reached: *rest.first()? != 0 })
    }
}

/// What [`Call::Usage`] gives: what the box uses now, and has used since it started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Instructions that programs have executed.
    pub instructions: u64,
    /// CPU time that they have had, ns.
    pub cpu_ns: u64,
    /// Bytes of memory of programs, and of what is kept for them.
    pub memory: u64,
    /// Bytes of files in memory.
    pub storage: u64,
    /// Threads that live.
    pub threads: u64,
    /// Open files.
    pub open_files: u64,
    /// How often a limit was met: processes killed for want of memory, files without room, threads and open files that were refused.
    pub met: [u64; 4],
}

impl Usage {
    /// Its bytes.
    pub fn encode(&self) -> Vec<u8> {
        let Usage { instructions, cpu_ns, memory, storage, threads, open_files, met } = *self;
        let own = [instructions, cpu_ns, memory, storage, threads, open_files];
        own.into_iter().chain(met).flat_map(u64::to_le_bytes).collect()
    }

    /// Reads one; none if there are too few bytes.
    pub fn decode(bytes: &[u8]) -> Option<Usage> {
        let mut reader = Reader(bytes);
        let mut next = || reader.u64().ok();
        Some(Usage {
            instructions: next()?,
            cpu_ns: next()?,
            memory: next()?,
            storage: next()?,
            threads: next()?,
            open_files: next()?,
            met: [next()?, next()?, next()?, next()?],
        })
    }
}

/// An entry of a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its name.
    pub name: Vec<u8>,
    /// Its attributes, of a symbolic link its own. Of what the caller may not look up only type and inode number are there.
    pub stat: Stat,
}

impl Entry {
    /// Appends its bytes.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.extend(self.stat.encode());
        put_bytes(out, &self.name);
    }
}

/// Takes the first entry; none at the end, or if it is malformed.
pub fn take_entry(bytes: &mut &[u8]) -> Option<Entry> {
    let stat = Stat::decode(bytes)?;
    let mut reader = Reader(bytes.get(Stat::BYTES..)?);
    let name = reader.bytes().ok()?.to_vec();
    *bytes = reader.0;
    Some(Entry { name, stat })
}

/// What a watch has seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Watched<'a> {
    /// `IN_*` bits of inotify(7). `IN_Q_OVERFLOW`: more happened than was told.
    pub mask: u32,
    /// The same for both halves of a rename.
    pub cookie: u32,
    /// Where, below what is watched; empty for itself.
    pub path: &'a [u8],
}
