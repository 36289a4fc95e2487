//! The functions of preview 1 that boxes import, a row each: whose they are, and what goes through memory. A record of a run is made, and
//! followed, by these rows alone.

/// The module that boxes import these from.
pub const MODULE: &str = "wasi_snapshot_preview1";

/// What lies in memory for a call.
#[derive(Clone, Copy, Debug)]
pub enum Part {
    /// Bytes at the address in argument `at`.
    Bytes { at: usize, len: Len },
    /// The buffers of `count` vectors at the address in argument `at` (address and length, 4 bytes each).
    Vectors { at: usize, count: usize, most: Option<Len> },
    /// `count` subscriptions of `poll_oneoff` at the address in argument `at`.
    Subscriptions { at: usize, count: usize },
    /// Strings that end with a zero byte, one behind the other, and a list of their addresses; how many, and their length, the call before
    /// has told.
    Strings { list: usize, bytes: usize },
}

/// How long that is, in bytes.
#[derive(Clone, Copy, Debug)]
pub enum Len {
    /// So long.
    Fixed(u32),
    /// Argument number so.
    Argument(usize),
    /// So many times the 32-bit word at the address in argument `of`.
    Word { of: usize, times: u32 },
}

/// A row: of each argument that is no address its place in `plain`; what is read in memory, and in order what is written if there is no
/// error.
pub struct Call {
    pub name: &'static str,
    pub plain: &'static [usize],
    pub asks: &'static [Part],
    pub answers: &'static [Part],
}

pub const fn fixed(at: usize, len: u32) -> Part {
    Part::Bytes { at, len: Len::Fixed(len) }
}

pub const fn sized(at: usize, of: usize) -> Part {
    Part::Bytes { at, len: Len::Argument(of) }
}

pub const fn told(at: usize, of: usize, times: u32) -> Part {
    Part::Bytes { at, len: Len::Word { of, times } }
}

pub const fn vectors(at: usize, count: usize) -> Part {
    Part::Vectors { at, count, most: None }
}

pub const fn filled(at: usize, count: usize, of: usize) -> Part {
    Part::Vectors { at, count, most: Some(Len::Word { of, times: 1 }) }
}

pub const fn strings(list: usize, bytes: usize) -> Part {
    Part::Strings { list, bytes }
}

/// Calls the macro `$then` with all rows. `ours` are functions of `preview1`, `theirs` wasmtime-wasi's, and so are the
/// `prompt` ones, which are no futures.
macro_rules! for_each_call {
    ($then:ident) => {
        $then! {
            prompt args_get(list: i32, bytes: i32) [] [] [strings(0, 1)];
            prompt args_sizes_get(count: i32, len: i32) [] [] [fixed(0, 4), fixed(1, 4)];
            prompt environ_get(list: i32, bytes: i32) [] [] [strings(0, 1)];
            prompt environ_sizes_get(count: i32, len: i32) [] [] [fixed(0, 4), fixed(1, 4)];
            prompt clock_res_get(id: i32, res: i32) [0] [] [fixed(1, 8)];
            ours clock_time_get(id: i32, precision: i64, time: i32) [0] [] [fixed(2, 8)];
            ours fd_close(fd: i32) [0] [] [];
            ours fd_fdstat_get(fd: i32, stat: i32) [0] [] [fixed(1, 24)];
            theirs fd_filestat_get(fd: i32, stat: i32) [0] [] [fixed(1, 64)];
            theirs fd_filestat_set_size(fd: i32, size: i64) [0, 1] [] [];
            ours fd_pread(fd: i32, vectors: i32, count: i32, offset: i64, done: i32)
                [0, 3] [] [fixed(4, 4), filled(1, 2, 4)];
            prompt fd_prestat_get(fd: i32, stat: i32) [0] [] [fixed(1, 8)];
            prompt fd_prestat_dir_name(fd: i32, path: i32, len: i32) [0, 2] [] [sized(1, 2)];
            theirs fd_pwrite(fd: i32, vectors: i32, count: i32, offset: i64, done: i32)
                [0, 3] [vectors(1, 2)] [fixed(4, 4)];
            ours fd_read(fd: i32, vectors: i32, count: i32, done: i32)
                [0] [] [fixed(3, 4), filled(1, 2, 3)];
            theirs fd_readdir(fd: i32, buffer: i32, len: i32, cookie: i64, used: i32)
                [0, 2, 3] [] [fixed(4, 4), told(1, 4, 1)];
            theirs fd_sync(fd: i32) [0] [] [];
            prompt fd_tell(fd: i32, offset: i32) [0] [] [fixed(1, 8)];
            ours fd_write(fd: i32, vectors: i32, count: i32, done: i32)
                [0] [vectors(1, 2)] [fixed(3, 4)];
            theirs path_create_directory(fd: i32, path: i32, len: i32) [0] [sized(1, 2)] [];
            theirs path_filestat_get(fd: i32, flags: i32, path: i32, len: i32, stat: i32)
                [0, 1] [sized(2, 3)] [fixed(4, 64)];
            theirs path_filestat_set_times(fd: i32, flags: i32, path: i32, len: i32, atime: i64, mtime: i64, which: i32)
                [0, 1, 4, 5, 6] [sized(2, 3)] [];
            theirs path_link(fd: i32, flags: i32, old: i32, old_len: i32, to: i32, new: i32, new_len: i32)
                [0, 1, 4] [sized(2, 3), sized(5, 6)] [];
            theirs path_open(fd: i32, follow: i32, path: i32, len: i32, how: i32, rights: i64, inherited: i64, flags: i32, opened: i32)
                [0, 1, 4, 5, 6, 7] [sized(2, 3)] [fixed(8, 4)];
            theirs path_readlink(fd: i32, path: i32, len: i32, buffer: i32, buffer_len: i32, used: i32)
                [0, 4] [sized(1, 2)] [fixed(5, 4), told(3, 5, 1)];
            theirs path_remove_directory(fd: i32, path: i32, len: i32) [0] [sized(1, 2)] [];
            theirs path_rename(fd: i32, old: i32, old_len: i32, to: i32, new: i32, new_len: i32)
                [0, 3] [sized(1, 2), sized(4, 5)] [];
            theirs path_symlink(target: i32, target_len: i32, fd: i32, path: i32, len: i32)
                [2] [sized(0, 1), sized(3, 4)] [];
            theirs path_unlink_file(fd: i32, path: i32, len: i32) [0] [sized(1, 2)] [];
            ours poll_oneoff(subscriptions: i32, events: i32, count: i32, done: i32)
                [2] [Part::Subscriptions { at: 0, count: 2 }] [fixed(3, 4), told(1, 3, 32)];
            prompt random_get(buffer: i32, len: i32) [1] [] [sized(0, 1)];
            ours sched_yield() [] [] [];
        }
    };
}
pub(crate) use for_each_call;

macro_rules! rows {
    ($($whose:ident $name:ident($($argument:ident: $type:ty),*) $plain:tt $asks:tt $answers:tt;)*) => {
        /// All of them; their order is part of a record's version.
        pub const CALLS: &[Call] = &[
            $(Call { name: stringify!($name), plain: &$plain, asks: &$asks, answers: &$answers },)*
        ];
    };
}
for_each_call!(rows);
