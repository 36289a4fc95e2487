//! Boxes that run under a name: a directory for each, with a lock that its process holds, what is known of it, and a socket on which
//! it is asked to freeze, or to be reached into.
//!
//! A question and its answer are each one line of JSON. Only this user may look into the directory.

use std::fs::{File, TryLockError};
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use runtime::Attach;
use serde::{Deserialize, Serialize};

use crate::failure::Failure;

/// Its process holds it as long as it runs.
const LOCK: &str = "lock";
/// What is known of the box.
const ABOUT: &str = "about.json";
/// Where it is asked.
const SOCKET: &str = "control";
/// Longest line of a question or an answer, in bytes.
const MAX_LINE: u64 = 64 << 10;
/// How long a question may take to arrive.
const PATIENCE: Duration = Duration::from_secs(5);
/// How the states begin that forks start from; the number of the process that uses it follows.
const STATE: &str = ".fork-";

/// What is known of a box that runs.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct About {
    /// The process.
    pub pid: u32,
    /// The box, as it was named.
    pub source: String,
    /// Seconds since the epoch.
    pub started: u64,
}

/// What is asked of a box.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Question {
    /// To freeze.
    Freeze {
        /// The file that its state is written to; an absolute path.
        to: PathBuf,
        /// The box goes on.
        keep_running: bool,
    },
    /// To be reached into: after the answer the connection is that.
    Attach,
}

/// What it says.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Answer {
    /// The state is written.
    Frozen,
    /// `docs/exec.md` says what follows.
    Attached,
    /// It is not, for this reason.
    Failed(String),
}

/// A name that this process has, until this is dropped.
pub struct Registration {
    dir: PathBuf,
    _lock: File,
    /// Held while a question is answered.
    answering: Arc<Mutex<()>>,
}

impl Drop for Registration {
    fn drop(&mut self) {
        // Who has ended the box by freezing it is still to hear of that.
        let _answered = self.answering.lock();
        // While it is locked, so that nobody else's is removed.
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

/// Takes a name for this process's box, and answers questions on a thread of its own.
///
/// # Errors
/// The name is no name or another box has it, or the directory cannot be written.
pub fn register(
    name: &str,
    source: &str,
    attach: Attach,
    answer: impl Fn(Question) -> Answer + Send + Sync + 'static,
) -> Result<Registration, Failure> {
    check_name(name)?;
    let dir = folder()?.join(name);
    let failed = |error: std::io::Error| {
        Failure::new(format!("cannot register the name {name:?} in {}: {error}", dir.display()))
    };
    let lock = loop {
        make(&dir).map_err(failed)?;
        let lock = match File::create(dir.join(LOCK)) {
            // Whoever had it is just removing it.
            Err(error) if error.kind() == ErrorKind::NotFound => continue,
            lock => lock.map_err(failed)?,
        };
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(in_use(name, &dir)),
            Err(TryLockError::Error(error)) => return Err(failed(error)),
        }
        // It may have been removed between the two.
        if is_at(&lock, &dir.join(LOCK)) {
            break lock;
        }
    };
    let answering = Arc::new(Mutex::new(()));
    let registration = Registration { dir: dir.clone(), _lock: lock, answering: answering.clone() };
    let started = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let started = started.map_or(0, |time| time.as_secs());
    let about = About { pid: std::process::id(), source: source.to_owned(), started };
    let about = serde_json::to_vec(&about).map_err(Failure::new)?;
    std::fs::write(dir.join(ABOUT), about).map_err(failed)?;
    let _ = std::fs::remove_file(dir.join(SOCKET));
    let listener = at_socket(&dir, |path| UnixListener::bind(path)).map_err(failed)?;
    let serve = move || {
        for stream in listener.incoming().flatten() {
            let _answering = answering.lock();
            // Who asks nothing holds nobody up.
            let _ = stream.set_read_timeout(Some(PATIENCE));
            if let Answer::Attached = serve(&stream, &answer) {
                // Who has asked hears of an end.
                let _ = attach.relay(stream);
            }
        }
    };
    std::thread::Builder::new().name("questions".to_owned()).spawn(serve).map_err(failed)?;
    Ok(registration)
}

fn in_use(name: &str, dir: &Path) -> Failure {
    let by = about(dir).map_or(String::new(), |about| format!(" by process {}", about.pid));
    Failure::new(format!("the name {name:?} is in use{by}")).hint("`boxer ps` lists the names")
}

/// Answers a question; what was said.
fn serve(stream: &UnixStream, answer: &impl Fn(Question) -> Answer) -> Answer {
    let mut line = String::new();
    let mut stream = stream;
    let said = match BufReader::new(stream).take(MAX_LINE).read_line(&mut line) {
        Ok(_) => match serde_json::from_str(&line) {
            Ok(question) => answer(question),
            Err(error) => Answer::Failed(format!("the question is not understood: {error}")),
        },
        Err(error) => Answer::Failed(error.to_string()),
    };
    if let Ok(mut text) = serde_json::to_string(&said) {
        text.push('\n');
        // Who has asked may be gone.
        let _ = stream.write_all(text.as_bytes());
    }
    said
}

/// Asks the box of this name to freeze.
///
/// # Errors
/// There is none, or it cannot do it.
pub fn freeze(name: &str, to: PathBuf, keep_running: bool) -> Result<(), Failure> {
    ask(name, &Question::Freeze { to, keep_running }).map(drop)
}

/// Reaches into the box of this name.
///
/// # Errors
/// There is none.
pub fn attach(name: &str) -> Result<Attach, Failure> {
    let stream = ask(name, &Question::Attach)?;
    Attach::over(stream).map_err(|error| Failure::new(format!("cannot reach {name:?}: {error}")))
}

/// Whether a box of this name runs.
///
/// # Errors
/// It is no name, or there is no directory of names.
pub fn is_running(name: &str) -> Result<bool, Failure> {
    check_name(name)?;
    Ok(runs(&folder()?.join(name)))
}

/// Asks the box of this name; the connection, after an answer that it can.
fn ask(name: &str, question: &Question) -> Result<UnixStream, Failure> {
    check_name(name)?;
    let dir = folder()?.join(name);
    if !runs(&dir) {
        return Err(Failure::new(format!("no box of the name {name:?} runs"))
            .hint("`boxer ps` lists those that do; `boxer run --name` gives a name"));
    }
    let failed = |error: std::io::Error| Failure::new(format!("cannot ask {name:?}: {error}"));
    let mut stream = at_socket(&dir, |path| UnixStream::connect(path)).map_err(failed)?;
    let mut text = serde_json::to_string(question).map_err(Failure::new)?;
    text.push('\n');
    stream.write_all(text.as_bytes()).map_err(failed)?;
    // Not a byte of what may follow is taken.
    let mut line = Vec::new();
    let mut byte = [0];
    while stream.read(&mut byte).map_err(failed)? == 1 && byte != *b"\n" {
        line.extend(byte);
        if line.len() as u64 > MAX_LINE {
            return Err(Failure::new(format!("{name}: the answer is too long")));
        }
    }
    match serde_json::from_slice(&line) {
        Ok(Answer::Frozen | Answer::Attached) => Ok(stream),
        Ok(Answer::Failed(why)) => Err(Failure::new(format!("{name}: {why}"))),
        Err(_) => Err(Failure::new(format!("{name}: the box has ended"))),
    }
}

/// Names and what is known of the boxes that run, in order; what others have left is removed.
///
/// # Errors
/// The directory cannot be read.
pub fn list() -> Result<Vec<(String, About)>, Failure> {
    let folder = folder()?;
    let failed = |error: std::io::Error| Failure::new(format!("{}: {error}", folder.display()));
    let mut found = Vec::new();
    for entry in std::fs::read_dir(&folder).map_err(failed)?.flatten() {
        let Ok(name) = entry.file_name().into_string() else { continue };
        if check_name(&name).is_err() {
            continue;
        }
        if let (true, Some(about)) = (runs(&entry.path()), about(&entry.path())) {
            found.push((name, about));
        }
    }
    found.sort_by(|a, b| a.0.cmp(&b.0));
    Ok(found)
}

/// A file for a state that boxes start from; removed when it is dropped.
///
/// # Errors
/// It cannot be made.
pub fn state_file() -> Result<tempfile::TempPath, Failure> {
    let folder = folder()?;
    forget_states(&folder);
    let prefix = format!("{STATE}{}-", std::process::id());
    let file = tempfile::Builder::new().prefix(&prefix).suffix(".wasm").tempfile_in(&folder);
    let failed = |error| Failure::new(format!("{}: {error}", folder.display()));
    file.map(tempfile::NamedTempFile::into_temp_path).map_err(failed)
}

/// Removes states whose processes are gone.
fn forget_states(folder: &Path) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let pid = name.to_str().and_then(|name| name.strip_prefix(STATE)?.split('-').next());
        if pid.is_some_and(|pid| !Path::new("/proc").join(pid).exists()) {
            let _ = std::fs::remove_file(entry.path());
        }
    }
}

/// Whether a process holds this directory's lock. If none does, what is left of it is removed.
fn runs(dir: &Path) -> bool {
    let Ok(lock) = File::open(dir.join(LOCK)) else { return false };
    match lock.try_lock() {
        Err(TryLockError::WouldBlock) => true,
        Ok(()) if is_at(&lock, &dir.join(LOCK)) => {
            let _ = std::fs::remove_dir_all(dir);
            false
        }
        _ => false,
    }
}

fn about(dir: &Path) -> Option<About> {
    serde_json::from_slice(&std::fs::read(dir.join(ABOUT)).ok()?).ok()
}

fn is_at(file: &File, path: &Path) -> bool {
    match (file.metadata(), std::fs::metadata(path)) {
        (Ok(a), Ok(b)) => (a.dev(), a.ino()) == (b.dev(), b.ino()),
        _ => false,
    }
}

/// Works on the socket of a directory. Its path may be longer than an address can be: it is reached by the directory's descriptor.
fn at_socket<T>(dir: &Path, work: impl FnOnce(&Path) -> std::io::Result<T>) -> std::io::Result<T> {
    let handle = File::open(dir)?;
    work(&PathBuf::from(format!("/proc/self/fd/{}", handle.as_raw_fd())).join(SOCKET))
}

/// The directory of names.
fn folder() -> Result<PathBuf, Failure> {
    let variable =
        |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let state = || {
        let home = || variable("HOME").map(|home| home.join(".local/state"));
        variable("XDG_STATE_HOME").or_else(home)
    };
    let base = variable("XDG_RUNTIME_DIR").filter(|dir| dir.is_dir()).or_else(state);
    let base = base.ok_or_else(|| {
        Failure::new("no directory for names of boxes: neither XDG_RUNTIME_DIR nor HOME is set")
    })?;
    let folder = base.join("boxer").join("run");
    make(&folder).map_err(|error| Failure::new(format!("{}: {error}", folder.display())))?;
    Ok(folder)
}

fn make(dir: &Path) -> std::io::Result<()> {
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)
}

/// Docker's rule for names.
fn check_name(name: &str) -> Result<(), Failure> {
    let good = |c: char| c.is_ascii_alphanumeric() || "_.-".contains(c);
    if name.len() <= 128
        && name.chars().all(good)
        && name.starts_with(|c: char| c.is_ascii_alphanumeric())
    {
        return Ok(());
    }
    Err(Failure::usage(format!(
        "invalid name {name:?}: only [a-zA-Z0-9][a-zA-Z0-9_.-]* are allowed, 128 characters at most"
    )))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test")]
mod tests {
    use super::*;

    #[test]
    fn names_are_docker_s() {
        for good in ["a", "a.b-c_9", "0"] {
            check_name(good).unwrap();
        }
        for bad in ["", ".", "..", "-a", "a/b", "a b", "ä", &"a".repeat(129)] {
            check_name(bad).unwrap_err();
        }
    }
}
