//! Where the Dockerfile and the context come from, by buildx's rules.

use std::io::Read;
use std::path::{Path, PathBuf};

use build::{FoundDockerfile, MainContext, Workshop};

use crate::args::BuildArgs;
use crate::failure::{Failure, excerpt};

/// A Dockerfile that was read.
pub struct Input {
    /// As errors name it.
    pub name: String,
    /// The text, for excerpts.
    pub text: String,
    /// The file on the host, if it is one: its ignore file counts.
    pub path: Option<PathBuf>,
    /// What it says.
    pub file: dockerfile::Dockerfile,
    /// The context.
    pub context: MainContext,
}

impl Input {
    /// The context's directory, if it is one of the host's.
    pub fn directory(&self) -> Option<&Path> {
        self.context.host_directory()
    }

    /// The file's name without its folders.
    pub fn short_name(&self) -> &str {
        self.name.rsplit('/').next().unwrap_or(&self.name)
    }
}

/// The largest Dockerfile that is read from standard input.
const LARGEST: u64 = 16 << 20;

/// As much of standard input as tells an archive from a Dockerfile.
const HEAD: u64 = 1024;

/// Reads and parses the Dockerfile; fetches a context that is elsewhere.
pub fn read(workshop: &Workshop, args: &BuildArgs, keep_git: bool) -> Result<Input, Failure> {
    let place = args.context.as_str();
    let file = args.file.as_deref();
    let (context, found) = if place == "-" {
        from_stdin(workshop, file)?
    } else if Path::new(place).is_dir() {
        let context = MainContext::directory(Path::new(place))?;
        let found = dockerfile(workshop, &context, file)?;
        (context, found)
    } else if build::is_remote(place) {
        let context = MainContext::remote(workshop, place, keep_git)?;
        let found = dockerfile(workshop, &context, file)?;
        (context, found)
    } else {
        let failure = Failure::new(format!("unable to prepare context: path {place:?} not found"));
        return Err(match Path::new(place).is_file() {
            true => failure.hint(format!(
                "a file is no context; `boxer build - < {place}` takes a Dockerfile or an archive from standard input"
            )),
            false => failure,
        });
    };
    let FoundDockerfile { name, bytes, path } = found;
    let text = String::from_utf8_lossy(&bytes).into_owned();
    let file = dockerfile::Dockerfile::parse_bytes(&bytes).map_err(|error| Failure {
        message: format!("dockerfile parse error on line {}: {error}", error.span.start),
        hint: error.hint.clone(),
        excerpt: Some(excerpt(&name, &text, error.span)),
        code: 1,
    })?;
    Ok(Input { name, text, path, file, context })
}

/// The Dockerfile that `--file` names, for a context that is no part of standard input.
fn dockerfile(
    workshop: &Workshop,
    context: &MainContext,
    file: Option<&str>,
) -> Result<FoundDockerfile, Failure> {
    match file {
        Some("-") => Ok(unnamed(limited(std::io::stdin().lock())?)),
        Some(url) if url.starts_with("http://") || url.starts_with("https://") => {
            Ok(unnamed(build::fetch_dockerfile(workshop, url)?))
        }
        other => Ok(context.dockerfile(other)?),
    }
}

/// An archive that is the context, or a Dockerfile without one.
fn from_stdin(
    workshop: &Workshop,
    file: Option<&str>,
) -> Result<(MainContext, FoundDockerfile), Failure> {
    if file == Some("-") {
        return Err(Failure::usage(
            "invalid argument: can't use stdin for both build context and dockerfile",
        ));
    }
    let mut stdin = std::io::stdin().lock();
    let mut head = Vec::new();
    stdin.by_ref().take(HEAD).read_to_end(&mut head).map_err(|error| unreadable(&error))?;
    if build::is_archive(&head) {
        let archive = std::io::Cursor::new(head).chain(stdin);
        let context = MainContext::archive(workshop, archive, "the archive on standard input")?;
        let found = dockerfile(workshop, &context, file)?;
        return Ok((context, found));
    }
    if file.is_some() {
        return Err(Failure::usage(
            "ambiguous Dockerfile source: both stdin and flag correspond to Dockerfiles",
        ));
    }
    Ok((MainContext::empty(workshop)?, unnamed(limited(std::io::Cursor::new(head).chain(stdin))?)))
}

/// A Dockerfile that has no name of its own.
fn unnamed(bytes: Vec<u8>) -> FoundDockerfile {
    FoundDockerfile { name: "Dockerfile".to_owned(), bytes, path: None }
}

fn unreadable(error: &std::io::Error) -> Failure {
    Failure::new(format!("read from standard input: {error}"))
}

fn limited(source: impl Read) -> Result<Vec<u8>, Failure> {
    let mut bytes = Vec::new();
    source.take(LARGEST + 1).read_to_end(&mut bytes).map_err(|error| unreadable(&error))?;
    if bytes.len() as u64 > LARGEST {
        return Err(Failure::new(format!("the Dockerfile is larger than {LARGEST} bytes")));
    }
    Ok(bytes)
}
