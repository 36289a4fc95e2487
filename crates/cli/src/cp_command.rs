//! `boxer cp`, by docker cp's rules.

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::ExitCode;

use clap::Args;
use runtime::Files;

use crate::copy_archive::{self as archive, Owners};
use crate::failure::Failure;
use crate::running;

const S_IFMT: u32 = 0o170_000;
const S_IFDIR: u32 = 0o040_000;
const S_IFLNK: u32 = 0o120_000;
/// Links to links that are followed.
const MAX_LINKS: usize = 40;

/// `boxer cp`.
#[derive(Debug, Args)]
pub struct CpArgs {
    /// What is copied: NAME:PATH in a box that runs, a path of this system, or "-" for a tar archive on standard input
    #[arg(value_name = "SRC")]
    source: String,
    /// Where it is copied to: the same, "-" for a tar archive on standard output
    #[arg(value_name = "DEST")]
    destination: String,
    /// Keep owners and groups; otherwise files in a box are root's, and files here this user's
    #[arg(short, long)]
    archive: bool,
    /// Copy what a symbolic link as the source leads to, instead of the link
    #[arg(short = 'L', long)]
    follow_link: bool,
    /// Accepted for docker's sake: nothing is said of what was copied
    #[arg(short, long)]
    quiet: bool,
}

/// One side.
enum Side<'a> {
    /// A path in a box: name and path.
    Box(&'a str, &'a str),
    /// A path of this system.
    Local(&'a str),
    /// A tar archive on a standard stream.
    Stream,
}

impl Side<'_> {
    /// Docker's rule: what begins with `/` or `.` is a path of this system, whatever colons it has.
    fn parse(text: &str) -> Side<'_> {
        match text.split_once(':') {
            _ if text == "-" => Side::Stream,
            _ if text.starts_with(['/', '.']) => Side::Local(text),
            Some((name, path)) if !name.is_empty() && !name.contains('/') => Side::Box(name, path),
            _ => Side::Local(text),
        }
    }
}

/// Where a copy goes: a directory that is there, and the name in it; none for what is in the source, if that is a directory.
#[derive(Debug, PartialEq, Eq)]
struct Target {
    dir: Vec<u8>,
    name: Option<Vec<u8>>,
}

/// What is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Found {
    Directory,
    Other,
    Nothing,
}

pub fn run(args: &CpArgs) -> Result<ExitCode, Failure> {
    let owners = if args.archive { Owners::Kept } else { Owners::New };
    match (Side::parse(&args.source), Side::parse(&args.destination)) {
        (Side::Box(..), Side::Box(..)) => {
            return Err(Failure::usage("copying between boxes is not supported"));
        }
        (Side::Box(name, path), to) => {
            let files = running::attach(name)?.files();
            copy_out(&files, path, &to, owners, args.follow_link)
        }
        (from, Side::Box(name, path)) => {
            let files = running::attach(name)?.files();
            copy_in(&from, &files, path, owners, args.follow_link)
        }
        _ => {
            return Err(Failure::usage("one of the two must be in a box that runs: NAME:PATH"));
        }
    }
    .map(|()| ExitCode::SUCCESS)
}

fn copy_out(
    files: &Files,
    path: &str,
    to: &Side<'_>,
    owners: Owners,
    follow: bool,
) -> Result<(), Failure> {
    let failed = |error| failure(path, &error);
    let path_bytes = path.as_bytes();
    // A slash behind a link asks for the directory that it leads to.
    let follow = follow || ends_as_directory(path_bytes);
    let source = if follow { in_box(files, path_bytes) } else { Ok(path_bytes.to_vec()) };
    let source = source.map_err(failed)?;
    let mode = files.lstat(&source).map_err(failed)?.attributes.mode;
    let is_dir = mode & S_IFMT == S_IFDIR;
    if !is_dir && ends_as_directory(path_bytes) {
        return Err(Failure::new(format!("{path}: not a directory")));
    }
    let base = base(path_bytes).unwrap_or(b"/");
    match to {
        Side::Stream => {
            let name = if is_dir && path_bytes.ends_with(b"/.") { b"." } else { base };
            archive::from_box(files, &source, trimmed(name), io::stdout().lock()).map_err(failed)
        }
        Side::Local(destination) => {
            let local = |path: &[u8]| match std::fs::metadata(OsStr::from_bytes(path)) {
                Ok(found) if found.is_dir() => Found::Directory,
                Ok(_) => Found::Other,
                Err(_) => Found::Nothing,
            };
            let target = target(path_bytes, is_dir, destination.as_bytes(), local)
                .map_err(|why| Failure::new(format!("{destination}: {why}")))?;
            let (reader, writer) = io::pipe().map_err(failed)?;
            let name = target.name.unwrap_or_else(|| b".".to_vec());
            std::thread::scope(|scope| {
                let packing = scope.spawn(|| archive::from_box(files, &source, &name, writer));
                let dir = Path::new(OsStr::from_bytes(&target.dir));
                let unpacked = archive::to_directory(reader, dir, owners);
                let packed =
                    packing.join().map_err(|_| io::Error::other("packing failed")).flatten();
                // What is wrong there is why an archive ends too early.
                packed.and(unpacked)
            })
            .map_err(failed)
        }
        Side::Box(..) => Ok(()),
    }
}

fn copy_in(
    from: &Side<'_>,
    files: &Files,
    destination: &str,
    owners: Owners,
    follow: bool,
) -> Result<(), Failure> {
    let failed = |error| failure(destination, &error);
    let there = |path: &[u8]| match files.stat(path) {
        Ok(stat) if stat.attributes.mode & S_IFMT == S_IFDIR => Found::Directory,
        Ok(_) => Found::Other,
        Err(_) => Found::Nothing,
    };
    match from {
        Side::Stream => {
            if there(destination.as_bytes()) != Found::Directory {
                return Err(Failure::new(format!("{destination}: not a directory in the box")));
            }
            archive::to_box(io::stdin().lock(), files, destination.as_bytes(), owners)
                .map_err(failed)
        }
        Side::Local(path) => {
            let unreadable = |error| failure(path, &error);
            let follow = follow || ends_as_directory(path.as_bytes());
            let source = if follow {
                std::fs::canonicalize(path).map_err(unreadable)?
            } else {
                Path::new(path).to_owned()
            };
            let is_dir = std::fs::symlink_metadata(&source).map_err(unreadable)?.is_dir();
            // `.` and `..` have no name of their own.
            let named = match base(path.as_bytes()) {
                Some(_) => path.as_bytes().to_vec(),
                None => {
                    let whole = std::fs::canonicalize(path).map_err(unreadable)?;
                    let dot: &[u8] =
                        if path.ends_with('.') && !path.ends_with("..") { b"/." } else { b"" };
                    [whole.as_os_str().as_bytes(), dot].concat()
                }
            };
            let link = files.lstat(destination).ok();
            let is_link = link.is_some_and(|l| l.attributes.mode & S_IFMT == S_IFLNK);
            // What a link leads to is written, not the link.
            let destination = match is_link && there(destination.as_bytes()) == Found::Other {
                true => in_box(files, destination.as_bytes()).map_err(failed)?,
                false => destination.as_bytes().to_vec(),
            };
            let target = target(&named, is_dir, &destination, there).map_err(|why| {
                Failure::new(format!("{}: {why}", String::from_utf8_lossy(&destination)))
            })?;
            let name = target.name.unwrap_or_else(|| b".".to_vec());
            let (reader, writer) = io::pipe().map_err(failed)?;
            std::thread::scope(|scope| {
                let packing = scope.spawn(|| archive::from_directory(&source, &name, writer));
                let unpacked = archive::to_box(reader, files, &target.dir, owners);
                let packed =
                    packing.join().map_err(|_| io::Error::other("packing failed")).flatten();
                match (unpacked, packed) {
                    (Err(error), Err(other)) if other.kind() == io::ErrorKind::BrokenPipe => {
                        Err(failed(error))
                    }
                    (_, Err(error)) => Err(unreadable(error)),
                    (unpacked, Ok(())) => unpacked.map_err(failed),
                }
            })
        }
        Side::Box(..) => Ok(()),
    }
}

fn failure(path: &str, error: &io::Error) -> Failure {
    // The number says nothing that the words do not.
    let text = error.to_string();
    let words = text.split(" (os error").next().unwrap_or_default();
    Failure::new(format!("{path}: {words}"))
}

/// Where `source` goes; the rules are those of docker cp's documentation.
fn target(
    source: &[u8],
    is_dir: bool,
    destination: &[u8],
    look: impl Fn(&[u8]) -> Found,
) -> Result<Target, &'static str> {
    let destination = if destination.is_empty() { b"/" } else { destination };
    let contents = is_dir && source.ends_with(b"/.");
    match look(destination) {
        Found::Directory if contents => Ok(Target { dir: destination.to_vec(), name: None }),
        Found::Directory => {
            let name = base(source).unwrap_or(b".").to_vec();
            Ok(Target { dir: destination.to_vec(), name: Some(name) })
        }
        Found::Other if is_dir => Err("a directory cannot be copied to a file"),
        Found::Other if ends_as_directory(destination) => Err("not a directory"),
        Found::Nothing if !is_dir && ends_as_directory(destination) => {
            Err("the destination directory must exist")
        }
        Found::Other | Found::Nothing => {
            let (dir, name) = split(destination);
            if look(&dir) != Found::Directory {
                return Err("no such directory");
            }
            Ok(Target { dir, name: Some(name) })
        }
    }
}

fn ends_as_directory(path: &[u8]) -> bool {
    path.ends_with(b"/") || path.ends_with(b"/.")
}

fn trimmed(path: &[u8]) -> &[u8] {
    path.strip_prefix(b"/").unwrap_or(path)
}

/// The last name of a path; none of `/`, `.` and `..`.
fn base(path: &[u8]) -> Option<&[u8]> {
    let mut names = path.split(|byte| *byte == b'/').filter(|n| !n.is_empty() && *n != b".");
    names.next_back().filter(|name| *name != b"..")
}

/// Directory and name of a path that has one.
fn split(path: &[u8]) -> (Vec<u8>, Vec<u8>) {
    let mut end = path;
    while let Some(rest) = end.strip_suffix(b"/.").or_else(|| end.strip_suffix(b"/")) {
        end = rest;
    }
    match end.iter().rposition(|byte| *byte == b'/') {
        Some(0) => (b"/".to_vec(), end.get(1..).unwrap_or_default().to_vec()),
        Some(at) => {
            let (dir, name) = end.split_at(at);
            (dir.to_vec(), name.get(1..).unwrap_or_default().to_vec())
        }
        None => (b".".to_vec(), end.to_vec()),
    }
}

/// A path in a box, links as its last name followed.
fn in_box(files: &Files, path: &[u8]) -> io::Result<Vec<u8>> {
    let mut path = path.to_vec();
    while path.len() > 1 && path.ends_with(b"/") {
        path.pop();
    }
    for _ in 0..MAX_LINKS {
        if files.lstat(&path)?.attributes.mode & S_IFMT != S_IFLNK {
            return Ok(path);
        }
        let held = files.readlink(&path)?;
        path = if held.starts_with(b"/") { held } else { [split(&path).0, held].join(&b'/') };
    }
    Err(io::Error::from_raw_os_error(rustix::io::Errno::LOOP.raw_os_error()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_docker_s() {
        let look = |path: &[u8]| match path {
            b"/" | b"." | b"/dir" | b"/dir/" => Found::Directory,
            b"/file" | b"/file/" => Found::Other,
            _ => Found::Nothing,
        };
        let to = |source: &str, is_dir, destination: &str| {
            target(source.as_bytes(), is_dir, destination.as_bytes(), look).map(|target| {
                let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
                (text(target.dir), target.name.map(text))
            })
        };
        let at = |dir: &str, name: Option<&str>| Ok((dir.to_owned(), name.map(str::to_owned)));
        assert_eq!(to("a/x", false, "/dir"), at("/dir", Some("x")));
        assert_eq!(to("a/x", false, "/dir/"), at("/dir/", Some("x")));
        assert_eq!(to("a/x", false, "/file"), at("/", Some("file")));
        assert_eq!(to("a/x", false, "/new"), at("/", Some("new")));
        assert_eq!(to("a/x", false, "new"), at(".", Some("new")));
        assert_eq!(to("a/x", false, "/new/"), Err("the destination directory must exist"));
        assert_eq!(to("a/x", false, "/file/"), Err("not a directory"));
        assert_eq!(to("a/x", false, "/no/new"), Err("no such directory"));
        assert_eq!(to("a/d", true, "/dir"), at("/dir", Some("d")));
        assert_eq!(to("a/d/.", true, "/dir"), at("/dir", None));
        assert_eq!(to("a/d", true, "/new"), at("/", Some("new")));
        assert_eq!(to("a/d/.", true, "/new/"), at("/", Some("new")));
        assert_eq!(to("a/d", true, "/file"), Err("a directory cannot be copied to a file"));
        assert_eq!(to("/", true, "/dir"), at("/dir", Some(".")));
        assert_eq!(to("a/x", false, ""), at("/", Some("x")));
    }

    #[test]
    fn sides_are_told_apart() {
        let is_box = |text| matches!(Side::parse(text), Side::Box(..));
        assert!(is_box("work:/a") && is_box("work:") && is_box("work:a:b"));
        assert!(!is_box("/a:b") && !is_box("./a:b") && !is_box("a/b:c") && !is_box("a"));
        assert!(matches!(Side::parse("-"), Side::Stream));
    }
}
