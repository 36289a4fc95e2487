//! Sources of ADD that are elsewhere: files by URL, and Git repositories, which the host's `git` fetches.

use std::io;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;
use std::time::Duration;

use oci::{Digest, Store};
use runtime::Interrupt;

use crate::builder::Builder;
use crate::context::Context;
use crate::error::{Cause, Error, Result};
use crate::events::StepId;
use crate::transfer::Transfers;

/// Where a remote source is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Remote {
    /// A file.
    Http(String),
    /// A repository.
    Git(GitSource),
}

/// A Git source: `URL#REF:SUBDIR`, or `URL?branch=…&tag=…&ref=…&subdir=…`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct GitSource {
    pub url: String,
    /// A branch, tag, other ref or commit; the remote's HEAD if empty.
    pub reference: String,
    /// A directory of the repository; all of it if empty.
    pub folder: String,
    /// The commit that it must be, or its beginning.
    pub commit: String,
}

/// A checked-out repository; it is there as long as this is.
#[derive(Clone)]
pub(crate) struct Checkout {
    pub context: Arc<Context>,
    /// The commit, the directory of it, and whether `.git` is there: what the files follow from.
    pub identity: String,
    _folder: Arc<tempfile::TempDir>,
}

impl Remote {
    /// What BuildKit takes for a URL or a repository; `None` for a path.
    ///
    /// # Errors
    /// The query of a repository has a key that means nothing.
    pub fn parse(text: &str) -> Result<Option<Self>> {
        let has =
            |prefix: &str| text.get(..prefix.len()).is_some_and(|p| p.eq_ignore_ascii_case(prefix));
        let http = has("http://") || has("https://");
        let (place, fragment) = text.split_once('#').unwrap_or((text, ""));
        let (place, query) = match place.split_once('?') {
            Some((before, query)) if before.ends_with(".git") || !http => (before, query),
            _ => (place, ""),
        };
        let path = place.split('?').next().unwrap_or_default();
        let scp = text.starts_with("git@") && text.contains(':');
        let git = has("git://") || has("ssh://") || scp || (http && path.ends_with(".git"));
        if !git {
            return Ok(http.then(|| Self::Http(text.to_owned())));
        }
        let (reference, folder) = fragment.split_once(':').unwrap_or((fragment, ""));
        let mut source = GitSource {
            url: place.to_owned(),
            reference: reference.to_owned(),
            folder: folder.to_owned(),
            commit: String::new(),
        };
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            match pair.split_once('=').unwrap_or((pair, "")) {
                ("ref", value) => value.clone_into(&mut source.reference),
                ("branch", value) => source.reference = format!("refs/heads/{value}"),
                ("tag", value) => source.reference = format!("refs/tags/{value}"),
                ("subdir", value) => value.clone_into(&mut source.folder),
                ("commit" | "checksum", value) => value.clone_into(&mut source.commit),
                _ => {
                    let reason =
                        format!("{pair:?} is none of ref=, branch=, tag=, commit=, subdir=");
                    return Err(Cause::Remote { url: text.to_owned(), reason }.into());
                }
            }
        }
        Ok(Some(Self::Git(source)))
    }
}

impl Remote {
    /// What is a URL or a repository as a build context: as for ADD, and `github.com/OWNER/NAME` as well.
    pub fn of_context(text: &str) -> Result<Option<Self>> {
        match text.strip_prefix("github.com/") {
            Some(rest) => {
                let (place, fragment) = rest.split_once('#').unwrap_or((rest, ""));
                let place = place.trim_end_matches('/').trim_end_matches(".git");
                Self::parse(&format!("https://github.com/{place}.git#{fragment}"))
            }
            None => Self::parse(text),
        }
    }
}

/// The file's name at the destination, as BuildKit takes it from the URL's path.
pub(crate) fn file_name(url: &str) -> String {
    let path = url.split(['#', '?']).next().unwrap_or_default();
    let path = path.split_once("://").map_or(path, |(_, rest)| rest);
    let name = path.split_once('/').map_or("", |(_, path)| path);
    let name = name.trim_end_matches('/').rsplit('/').next().unwrap_or_default();
    if name.is_empty() { "__unnamed__".to_owned() } else { name.to_owned() }
}

impl Builder<'_> {
    /// Fetches a file; its content is a blob of the store.
    pub fn fetch_file(
        &self,
        url: &str,
        checksum: Option<&Digest>,
        step: StepId,
    ) -> Result<oci::Download> {
        let workshop = self.workshop;
        let progress = Transfers { step, events: workshop.events.as_ref() };
        Ok(self.client.download(url, checksum, &workshop.store, &progress)?)
    }

    /// Checks a repository out.
    pub fn fetch_repository(&self, source: &GitSource, keep_git: bool) -> Result<Checkout> {
        source.check_out(&self.workshop.store, self.client.is_offline(), keep_git, &self.stop)
    }
}

impl GitSource {
    /// Checks it out below the store's temporary folder.
    pub fn check_out(
        &self,
        store: &Store,
        offline: bool,
        keep_git: bool,
        stop: &Interrupt,
    ) -> Result<Checkout> {
        let source = self;
        let wrong = |reason: String| Error::new(Cause::Remote { url: source.url.clone(), reason });
        if offline {
            return Err(wrong("the network is off (--offline)".to_owned()));
        }
        // Neither may look like an option to git.
        if source.url.starts_with('-') || source.reference.starts_with('-') {
            return Err(wrong("a URL or ref cannot start with a dash".to_owned()));
        }
        let folder = store.temp_dir()?;
        let path = folder.path();
        let git = |words: &[&str]| match git(path, words, stop) {
            Err(_) if stop.is_given() => Err(Cause::Cancelled.into()),
            other => other.map_err(&wrong),
        };
        git(&["init", "--quiet"])?;
        let reference = if source.reference.is_empty() { "HEAD" } else { &source.reference };
        let is_commit = reference.len() >= 7 && reference.bytes().all(|b| b.is_ascii_hexdigit());
        // Not every server can give a part of the history.
        let shallow = ["fetch", "--quiet", "--depth=1", "--", &source.url, reference];
        let whole = ["fetch", "--quiet", "--", &source.url, reference];
        match git(&shallow).or_else(|_| git(&whole)) {
            Ok(_) => drop(git(&["checkout", "--quiet", "--detach", "FETCH_HEAD"])?),
            // Not every server gives commits by name: then all of its history has to come.
            Err(_) if is_commit => {
                let all = [
                    "fetch",
                    "--quiet",
                    "--tags",
                    "--",
                    &source.url,
                    "+refs/heads/*:refs/remotes/o/*",
                ];
                git(&all)?;
                git(&["checkout", "--quiet", "--detach", reference])?;
            }
            Err(error) => return Err(error),
        }
        let commit = git(&["rev-parse", "HEAD"])?;
        if !source.commit.is_empty() && !commit.starts_with(&source.commit.to_ascii_lowercase()) {
            let wanted = &source.commit;
            return Err(wrong(format!("its commit is {commit}, expected {wanted}")));
        }
        git(&["submodule", "--quiet", "update", "--init", "--recursive", "--depth=1"])?;
        if !keep_git {
            let remove = || -> io::Result<()> {
                match std::fs::symlink_metadata(path.join(".git"))?.is_dir() {
                    true => std::fs::remove_dir_all(path.join(".git")),
                    false => std::fs::remove_file(path.join(".git")),
                }
            };
            remove()
                .map_err(|source| Error::new(Cause::Write { path: path.to_owned(), source }))?;
        }
        let mut inside = path.to_owned();
        for part in crate::files::components(source.folder.as_bytes()) {
            inside.push(String::from_utf8_lossy(&part).as_ref());
            // A link of the repository must not lead to the host's files.
            let real = std::fs::symlink_metadata(&inside).is_ok_and(|meta| meta.is_dir());
            if !real {
                return Err(wrong(format!("there is no directory {:?} in it", source.folder)));
            }
        }
        let context = Arc::new(Context::repository(&inside)?);
        let identity = format!("{commit} {:?} {keep_git}", source.folder);
        Ok(Checkout { context, identity, _folder: Arc::new(folder) })
    }
}

/// Waits for a program, or kills it where the build is to end.
fn ended(child: Child, stop: &Interrupt) -> io::Result<Output> {
    const LOOK: Duration = Duration::from_millis(5);
    let id = i32::try_from(child.id()).ok().and_then(rustix::process::Pid::from_raw);
    std::thread::scope(|scope| {
        let waiting = scope.spawn(move || child.wait_with_output());
        while !waiting.is_finished() {
            if let (true, Some(id)) = (stop.is_given(), id) {
                // It is not waited for yet, so that the number is still its own.
                let _ = rustix::process::kill_process(id, rustix::process::Signal::KILL);
            }
            std::thread::sleep(LOOK);
        }
        waiting.join().unwrap_or_else(|_| Err(io::ErrorKind::Other.into()))
    })
}

/// Runs git without asking anybody anything; gives its output.
fn git(folder: &Path, words: &[&str], stop: &Interrupt) -> std::result::Result<String, String> {
    let cannot = |error: io::Error| match error.kind() {
        io::ErrorKind::NotFound => "git is not installed on this host".to_owned(),
        _ => format!("git cannot be run: {error}"),
    };
    let child = Command::new("git")
        .args([
            "-c",
            "protocol.ext.allow=never",
            "-c",
            "core.autocrlf=false",
            "-c",
            "advice.detachedHead=false",
        ])
        .args(words)
        .current_dir(folder)
        .env("GIT_TERMINAL_PROMPT", "0")
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env_remove("GIT_DIR")
        .env_remove("GIT_WORK_TREE")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(cannot)?;
    let output = ended(child, stop).map_err(cannot)?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned());
    }
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let said: Vec<&str> = said.lines().rev().take(3).collect();
    let said: Vec<&str> = said.into_iter().rev().collect();
    Err(format!("git {}: {}", words.first().copied().unwrap_or_default(), said.join("; ")))
}

#[cfg(test)]
mod tests {
    use super::{GitSource, Remote, file_name};

    #[test]
    fn urls_and_repositories_are_told_apart() {
        let git = |url: &str, reference: &str, folder: &str| {
            let (url, reference, folder) =
                (url.to_owned(), reference.to_owned(), folder.to_owned());
            Some(Remote::Git(GitSource { url, reference, folder, commit: String::new() }))
        };
        for (text, expected) in [
            ("a.txt", None),
            ("dir/git@x", None),
            ("https://x/a.tar.gz", Some(Remote::Http("https://x/a.tar.gz".to_owned()))),
            ("HTTP://x/a?b=.git", Some(Remote::Http("HTTP://x/a?b=.git".to_owned()))),
            ("https://x/a.git", git("https://x/a.git", "", "")),
            ("https://x/a.git#v1", git("https://x/a.git", "v1", "")),
            ("https://x/a.git#v1:sub/dir", git("https://x/a.git", "v1", "sub/dir")),
            ("https://x/a.git#:sub", git("https://x/a.git", "", "sub")),
            ("https://x/a.git?tag=v1&subdir=s", git("https://x/a.git", "refs/tags/v1", "s")),
            ("git@x:a/b.git#r", git("git@x:a/b.git", "r", "")),
            ("ssh://git@x/a", git("ssh://git@x/a", "", "")),
            ("git://x/a", git("git://x/a", "", "")),
        ] {
            assert_eq!(Remote::parse(text).unwrap_or_default(), expected, "{text}");
        }
        assert!(Remote::parse("https://x/a.git?nonsense=1").is_err());
        for (url, name) in [
            ("https://x/a/b.txt?q#f", "b.txt"),
            ("https://x/a/", "a"),
            ("https://x/", "__unnamed__"),
            ("https://x", "__unnamed__"),
        ] {
            assert_eq!(file_name(url), name, "{url}");
        }
    }
}
