//! A program for wasm32-wasip1 that says what its host does: `wasi-probe WHAT [WORD…]`. It is run as a WASI module in a directory of
//! the host, and as the program of a box with the same files; both must say the same.
//!
//! Made by `cargo xtask fixtures`; for `crates/runtime/tests/program.rs`.
#![allow(unsafe_code)] // functions of the C library that std has no stable name for on WASI

use std::ffi::{CString, c_char, c_int};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

unsafe extern "C" {
    fn symlink(target: *const c_char, path: *const c_char) -> c_int;
    fn readlink(path: *const c_char, buffer: *mut c_char, len: usize) -> isize;
}

fn main() {
    let args: Vec<String> = std::env::args().collect();
    let words: Vec<&str> = args.iter().skip(1).map(String::as_str).collect();
    match words.as_slice() {
        ["args", ..] => println!("{args:?}"),
        ["env", names @ ..] => {
            for name in names {
                println!("{name}={:?}", std::env::var(name).ok());
            }
        }
        ["cat", paths @ ..] => {
            for path in paths {
                match fs::read(path) {
                    Ok(bytes) => io::stdout().write_all(&bytes).unwrap_or_default(),
                    Err(error) => say(path, &Err::<(), _>(error)),
                }
            }
        }
        ["upper"] => {
            let mut text = String::new();
            say("read", &io::stdin().read_to_string(&mut text));
            print!("{}", text.to_uppercase());
        }
        ["exit", status] => std::process::exit(status.parse().unwrap_or(99)),
        ["memory", megabytes] => memory(megabytes.parse().unwrap_or(1)),
        ["clocks"] => clocks(),
        ["files"] => files(),
        ["spin", rounds] => spin(rounds.parse().unwrap_or(1)),
        ["panic"] => panic!("as asked"),
        other => {
            eprintln!("what is {other:?}?");
            std::process::exit(2);
        }
    }
}

/// Prints an outcome; of an error its number, which WASI has.
fn say<T: std::fmt::Debug>(what: &str, outcome: &io::Result<T>) {
    match outcome {
        Ok(value) => println!("{what}: {value:?}"),
        Err(error) => println!("{what}: error {:?} {:?}", error.raw_os_error(), error.kind()),
    }
}

/// Takes memory, writes all of it, and grows it in place.
fn memory(megabytes: usize) {
    let len = megabytes << 20;
    let mut all: Vec<u8> = Vec::with_capacity(len);
    for n in 0..len {
        all.push((n / 4096) as u8);
    }
    all.extend_from_within(..len / 2);
    all.copy_within(len / 4.., 0);
    let sum: u64 = all.iter().map(|byte| u64::from(*byte)).sum();
    println!("{} bytes, sum {sum}", all.len());
}

fn clocks() {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    println!("after 2020: {}", now > Duration::from_secs(1_577_836_800));
    let start = Instant::now();
    std::thread::sleep(Duration::from_millis(20));
    println!("slept: {}", start.elapsed() >= Duration::from_millis(20));
    // Its keys are the host's entropy.
    let one = std::collections::hash_map::RandomState::new();
    let hash = std::hash::BuildHasher::hash_one(&one, 1);
    println!("random: {}", hash != 0);
}

/// Loads and stores all over a table.
fn spin(rounds: u32) {
    let mut table = vec![1_u32; 1 << 16];
    let mut at = 1_usize;
    for round in 0..rounds {
        for _ in 0..1 << 16 {
            at = (at.wrapping_mul(25_173).wrapping_add(13_849)) & 0xffff;
            let value = table[at].wrapping_mul(31).wrapping_add(round);
            table[at ^ 1] ^= value;
        }
    }
    println!("{}", table.iter().fold(0_u32, |sum, value| sum.wrapping_add(*value)));
}

fn link_to(target: &str, path: &str) -> io::Result<()> {
    let (target, path) = (CString::new(target)?, CString::new(path)?);
    // SAFETY: both are strings that end.
    match unsafe { symlink(target.as_ptr(), path.as_ptr()) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

fn target_of(path: &str) -> io::Result<String> {
    let path = CString::new(path)?;
    let mut buffer = [0_u8; 256];
    // SAFETY: the buffer is as long as it says.
    let len = unsafe { readlink(path.as_ptr(), buffer.as_mut_ptr().cast(), buffer.len()) };
    let len = usize::try_from(len).map_err(|_| io::Error::last_os_error())?;
    Ok(String::from_utf8_lossy(&buffer[..len]).into_owned())
}

/// What is at a path, without what differs from place to place.
fn look(path: &str) {
    let meta = fs::symlink_metadata(path);
    let kind = |meta: &fs::Metadata| match meta.file_type() {
        kind if kind.is_dir() => "directory".to_owned(),
        kind if kind.is_symlink() => "link".to_owned(),
        _ => format!("file of {}", meta.len()),
    };
    say(&format!("look {path}"), &meta.map(|meta| kind(&meta)));
}

fn list(path: &str) {
    let entries = fs::read_dir(path).and_then(|entries| {
        let mut names = Vec::new();
        for entry in entries {
            let entry = entry?;
            let slash = if entry.file_type()?.is_dir() { "/" } else { "" };
            names.push(format!("{}{slash}", entry.file_name().to_string_lossy()));
        }
        names.sort();
        Ok(names)
    });
    say(&format!("list {path}"), &entries);
}

/// All that can be done with files, right and wrong, in `/shelf` and with what the tree has: `/shelf/lower.txt` and `/shelf/dir/inner`.
fn files() {
    list("/shelf");
    look("/shelf/lower.txt");
    say("read lower", &fs::read_to_string("/shelf/lower.txt"));
    say("write lower", &fs::write("/shelf/lower.txt", "changed\n"));
    say("read lower", &fs::read_to_string("/shelf/lower.txt"));
    say("read missing", &fs::read("/shelf/missing"));
    say("read directory", &fs::read("/shelf/dir"));
    say("open below a file", &fs::read("/shelf/lower.txt/x"));
    say("open empty", &File::open("").map(drop));
    say("open up", &File::open("/../../etc").map(drop));
    say("up and down", &fs::read_to_string("/shelf/dir/../lower.txt"));

    let all =
        |options: &mut OpenOptions| options.read(true).write(true).create(true).open("/shelf/new");
    say("create", &all(&mut OpenOptions::new()).map(drop));
    let again = OpenOptions::new().write(true).create_new(true).open("/shelf/new");
    say("create again", &again.map(drop));
    if let Ok(mut file) = all(&mut OpenOptions::new()) {
        say("write", &file.write(b"0123456789"));
        say("seek", &file.seek(SeekFrom::Start(4)));
        let mut four = [0; 4];
        say("read", &file.read(&mut four));
        say("position", &file.stream_position());
        say("seek end", &file.seek(SeekFrom::End(-3)));
        say("seek before", &file.seek(SeekFrom::Current(-100)));
        say("seek far", &file.seek(SeekFrom::Start(1 << 20)));
        say("write far", &file.write(b"x"));
        say("length", &file.metadata().map(|meta| meta.len()));
        say("truncate", &file.set_len(5));
        say("sync", &file.sync_all());
        say("sync data", &file.sync_data());
        say("rewind", &file.rewind());
        let mut text = String::new();
        say("rest", &file.read_to_string(&mut text).map(|_| text.clone()));
        println!("{four:?}");
        let time = UNIX_EPOCH + Duration::new(1_000_000_000, 5_000);
        say("set times", &file.set_modified(time));
        let modified = file.metadata().and_then(|meta| meta.modified());
        say("times", &modified.map(|at| at.duration_since(UNIX_EPOCH).unwrap_or_default()));
    }
    if let Ok(mut file) = OpenOptions::new().append(true).open("/shelf/new") {
        say("append", &file.write(b"tail"));
    }
    say("read new", &fs::read_to_string("/shelf/new"));
    if let Ok(mut file) = File::open("/shelf/new") {
        say("write to read-only", &file.write(b"x"));
    }
    if let Ok(mut file) = OpenOptions::new().write(true).open("/shelf/new") {
        say("read from write-only", &file.read(&mut [0; 4]));
    }
    say("write directory", &fs::write("/shelf/dir", "x"));

    say("mkdir", &fs::create_dir("/shelf/made"));
    say("mkdir again", &fs::create_dir("/shelf/made"));
    say("mkdir deep", &fs::create_dir("/shelf/no/where"));
    say("mkdir all", &fs::create_dir_all("/shelf/a/b/c"));
    for n in 0..300 {
        if let Err(error) = fs::write(format!("/shelf/made/file-with-a-long-name-{n:03}"), "") {
            say("many", &Err::<(), _>(error));
        }
    }
    println!("many: {:?}", fs::read_dir("/shelf/made").map(Iterator::count).ok());
    say("rmdir full", &fs::remove_dir("/shelf/made"));
    say("rmdir file", &fs::remove_dir("/shelf/new"));
    say("unlink directory", &fs::remove_file("/shelf/dir"));
    say("unlink missing", &fs::remove_file("/shelf/missing"));
    say("remove all", &fs::remove_dir_all("/shelf/made"));
    look("/shelf/made");

    say("rename", &fs::rename("/shelf/new", "/shelf/dir/renamed"));
    say("rename missing", &fs::rename("/shelf/new", "/shelf/x"));
    say("rename onto", &fs::rename("/shelf/dir/renamed", "/shelf/dir/inner"));
    say("rename directory", &fs::rename("/shelf/dir", "/shelf/moved"));
    say("rename into itself", &fs::rename("/shelf/moved", "/shelf/moved/x"));
    say("rename onto full", &fs::rename("/shelf/a", "/shelf/moved"));
    say("rename file onto directory", &fs::rename("/shelf/lower.txt", "/shelf/a"));
    list("/shelf/moved");
    say("read moved", &fs::read_to_string("/shelf/moved/inner"));

    say("link", &fs::hard_link("/shelf/lower.txt", "/shelf/second"));
    say("link onto", &fs::hard_link("/shelf/lower.txt", "/shelf/second"));
    say("link directory", &fs::hard_link("/shelf/moved", "/shelf/third"));
    say("write second", &fs::write("/shelf/second", "both\n"));
    say("read first", &fs::read_to_string("/shelf/lower.txt"));

    say("symlink", &link_to("lower.txt", "/shelf/soft"));
    say("symlink onto", &link_to("lower.txt", "/shelf/soft"));
    say("symlink absolute", &link_to("/shelf/lower.txt", "/shelf/absolute"));
    say("readlink", &target_of("/shelf/soft"));
    say("readlink of file", &target_of("/shelf/lower.txt"));
    look("/shelf/soft");
    say("read link", &fs::read_to_string("/shelf/soft"));
    say("dangling", &link_to("nowhere", "/shelf/dangling"));
    say("read dangling", &fs::read("/shelf/dangling"));
    say("loop", &link_to("loop", "/shelf/loop"));
    say("read loop", &fs::read("/shelf/loop"));
    say("to directory", &link_to("moved", "/shelf/to"));
    list("/shelf/to");
    say("unlink link", &fs::remove_file("/shelf/soft"));
    look("/shelf/lower.txt");

    if let Ok(mut file) = File::open("/shelf/lower.txt") {
        say("unlink open", &fs::remove_file("/shelf/lower.txt"));
        let mut text = String::new();
        say("read unlinked", &file.read_to_string(&mut text).map(|_| text.clone()));
    }
    look("/shelf/lower.txt");
    list("/shelf");
}
