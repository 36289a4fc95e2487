//! The functions that the linker puts in the place of the program's imports: `preview1:NAME` for the import NAME of
//! `wasi_snapshot_preview1`. Addresses are those of the program.
#![allow(unsafe_code)] // exported symbols

use super::call;

/// A function for each row, which carries out the method of the same name.
macro_rules! calls {
    ($($export:literal => $name:ident($($arg:ident: $ty:ty),*);)*) => {
        $(
            #[unsafe(export_name = $export)]
            #[allow(clippy::too_many_arguments)] // WASI's own
            extern "C" fn $name($($arg: $ty),*) -> i32 {
                call(|program| program.$name($($arg),*))
            }
        )*
    };
}

calls! {
    "preview1:args_get" => args_get(list: u32, bytes: u32);
    "preview1:args_sizes_get" => args_sizes_get(count: u32, bytes: u32);
    "preview1:environ_get" => environ_get(list: u32, bytes: u32);
    "preview1:environ_sizes_get" => environ_sizes_get(count: u32, bytes: u32);
    "preview1:clock_res_get" => clock_res_get(id: u32, out: u32);
    "preview1:clock_time_get" => clock_time_get(id: u32, precision: u64, out: u32);
    "preview1:fd_advise" => fd_advise(fd: u32, offset: u64, len: u64, advice: u32);
    "preview1:fd_allocate" => fd_allocate(fd: u32, offset: u64, len: u64);
    "preview1:fd_close" => fd_close(fd: u32);
    "preview1:fd_datasync" => fd_datasync(fd: u32);
    "preview1:fd_fdstat_get" => fd_fdstat_get(fd: u32, out: u32);
    "preview1:fd_fdstat_set_flags" => fd_fdstat_set_flags(fd: u32, flags: u32);
    "preview1:fd_fdstat_set_rights" => fd_fdstat_set_rights(fd: u32, base: u64, inheriting: u64);
    "preview1:fd_filestat_get" => fd_filestat_get(fd: u32, out: u32);
    "preview1:fd_filestat_set_size" => fd_filestat_set_size(fd: u32, size: u64);
    "preview1:fd_filestat_set_times" => fd_filestat_set_times(fd: u32, atime: u64, mtime: u64, flags: u32);
    "preview1:fd_pread" => fd_pread(fd: u32, iovs: u32, count: u32, offset: u64, out: u32);
    "preview1:fd_prestat_get" => fd_prestat_get(fd: u32, out: u32);
    "preview1:fd_prestat_dir_name" => fd_prestat_dir_name(fd: u32, at: u32, len: u32);
    "preview1:fd_pwrite" => fd_pwrite(fd: u32, iovs: u32, count: u32, offset: u64, out: u32);
    "preview1:fd_read" => fd_read(fd: u32, iovs: u32, count: u32, out: u32);
    "preview1:fd_readdir" => fd_readdir(fd: u32, at: u32, len: u32, cookie: u64, out: u32);
    "preview1:fd_renumber" => fd_renumber(from: u32, to: u32);
    "preview1:fd_seek" => fd_seek(fd: u32, offset: i64, whence: u32, out: u32);
    "preview1:fd_sync" => fd_sync(fd: u32);
    "preview1:fd_tell" => fd_tell(fd: u32, out: u32);
    "preview1:fd_write" => fd_write(fd: u32, iovs: u32, count: u32, out: u32);
    "preview1:path_create_directory" => path_create_directory(fd: u32, path: u32, len: u32);
    "preview1:path_filestat_get" => path_filestat_get(fd: u32, lookup: u32, path: u32, len: u32, out: u32);
    "preview1:path_filestat_set_times" => path_filestat_set_times(fd: u32, lookup: u32, path: u32, len: u32, atime: u64, mtime: u64, flags: u32);
    "preview1:path_link" => path_link(from: u32, lookup: u32, old: u32, old_len: u32, to: u32, new: u32, new_len: u32);
    "preview1:path_open" => path_open(fd: u32, lookup: u32, path: u32, len: u32, oflags: u32, rights: u64, inheriting: u64, fdflags: u32, out: u32);
    "preview1:path_readlink" => path_readlink(fd: u32, path: u32, len: u32, buffer: u32, room: u32, out: u32);
    "preview1:path_remove_directory" => path_remove_directory(fd: u32, path: u32, len: u32);
    "preview1:path_rename" => path_rename(from: u32, old: u32, old_len: u32, to: u32, new: u32, new_len: u32);
    "preview1:path_symlink" => path_symlink(target: u32, target_len: u32, fd: u32, path: u32, len: u32);
    "preview1:path_unlink_file" => path_unlink_file(fd: u32, path: u32, len: u32);
    "preview1:poll_oneoff" => poll_oneoff(subscriptions: u32, events: u32, count: u32, out: u32);
    "preview1:proc_raise" => proc_raise(signal: u32);
    "preview1:random_get" => random_get(at: u32, len: u32);
    "preview1:sched_yield" => sched_yield();
}

#[unsafe(export_name = "preview1:proc_exit")]
extern "C" fn proc_exit(status: u32) {
    call(|program| program.proc_exit(status));
}

#[unsafe(export_name = "preview1:sock_accept")]
extern "C" fn sock_accept(fd: u32, _flags: u32, _out: u32) -> i32 {
    call(|program| program.no_socket(fd))
}

#[unsafe(export_name = "preview1:sock_recv")]
extern "C" fn sock_recv(
    fd: u32,
    _iovs: u32,
    _count: u32,
    _flags: u32,
    _out: u32,
    _out_flags: u32,
) -> i32 {
    call(|program| program.no_socket(fd))
}

#[unsafe(export_name = "preview1:sock_send")]
extern "C" fn sock_send(fd: u32, _iovs: u32, _count: u32, _flags: u32, _out: u32) -> i32 {
    call(|program| program.no_socket(fd))
}

#[unsafe(export_name = "preview1:sock_shutdown")]
extern "C" fn sock_shutdown(fd: u32, _how: u32) -> i32 {
    call(|program| program.no_socket(fd))
}
