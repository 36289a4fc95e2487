//! Where the Dockerfile and the context come from.

use std::io::Read;
use std::path::{Path, PathBuf};

use crate::args::BuildArgs;
use crate::failure::{Failure, excerpt};

/// A Dockerfile that was read.
pub struct Input {
    /// As errors name it.
    pub name: String,
    /// The text, for excerpts.
    pub text: String,
    /// The file, unless it came from standard input.
    pub path: Option<PathBuf>,
    /// What it says.
    pub file: dockerfile::Dockerfile,
    /// The context's directory, if there is one.
    pub context: Option<PathBuf>,
}

/// The largest Dockerfile that is read.
const LARGEST: u64 = 16 << 20;

/// Reads and parses the Dockerfile.
pub fn read(args: &BuildArgs) -> Result<Input, Failure> {
    let remote = ["http://", "https://", "git://", "git@", "ssh://", "github.com/"];
    if remote.iter().any(|prefix| args.context.starts_with(prefix)) {
        return Err(Failure::new(format!(
            "{}: a URL as build context is not supported yet",
            args.context
        ))
        .hint("clone or fetch it, and give the directory"));
    }
    let context = match args.context.as_str() {
        "-" => None,
        path => {
            let path = PathBuf::from(path);
            match std::fs::metadata(&path) {
                Ok(meta) if meta.is_dir() => Some(path),
                Ok(_) => {
                    return Err(Failure::new(format!(
                        "{}: the build context is not a directory",
                        path.display()
                    )));
                }
                Err(error) => {
                    return Err(Failure::new(format!(
                        "unable to prepare context: path {:?}: {error}",
                        args.context
                    )));
                }
            }
        }
    };
    let (name, bytes, path) = match (args.file.as_deref(), &context) {
        (Some("-"), None) => {
            return Err(Failure::usage(
                "standard input cannot be both the Dockerfile and the context",
            ));
        }
        (Some("-"), Some(_)) => ("Dockerfile".to_owned(), stdin()?, None),
        (Some(file), _) => read_file(PathBuf::from(file))?,
        (None, Some(context)) => {
            let usual = context.join("Dockerfile");
            let lower = context.join("dockerfile");
            read_file(if !usual.exists() && lower.exists() { lower } else { usual })?
        }
        (None, None) => ("Dockerfile".to_owned(), stdin()?, None),
    };
    if path.is_none() && (bytes.get(257..262) == Some(b"ustar") || bytes.starts_with(&[0x1f, 0x8b]))
    {
        return Err(Failure::new("a tar context on standard input is not supported yet")
            .hint("unpack it, and give the directory"));
    }
    let text = String::from_utf8_lossy(&bytes).into_owned();
    let file = dockerfile::Dockerfile::parse_bytes(&bytes).map_err(|error| Failure {
        message: format!("dockerfile parse error on line {}: {error}", error.span.start),
        hint: error.hint.clone(),
        excerpt: Some(excerpt(&name, &text, error.span)),
        code: 1,
    })?;
    Ok(Input { name, text, path, file, context })
}

fn read_file(path: PathBuf) -> Result<(String, Vec<u8>, Option<PathBuf>), Failure> {
    let fail = |error: &std::io::Error| {
        Failure::new(format!("failed to read dockerfile: open {}: {error}", path.display()))
    };
    let file = std::fs::File::open(&path).map_err(|error| fail(&error))?;
    let bytes = limited(file).map_err(|error| fail(&error))?;
    Ok((display_name(&path), bytes, Some(path)))
}

/// As the user would type it.
fn display_name(path: &Path) -> String {
    path.strip_prefix("./").unwrap_or(path).display().to_string()
}

fn stdin() -> Result<Vec<u8>, Failure> {
    limited(std::io::stdin().lock())
        .map_err(|error| Failure::new(format!("read the Dockerfile from standard input: {error}")))
}

fn limited(source: impl Read) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    source.take(LARGEST + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > LARGEST {
        return Err(std::io::Error::other(format!("larger than {LARGEST} bytes")));
    }
    Ok(bytes)
}
