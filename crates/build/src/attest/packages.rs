//! The packages in a tree, whatever brought them.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::io::{self, Read as _};

use super::{binaries, languages, system};
use crate::error::{Cause, Result};
use crate::files::{Files, Kind, child};

/// A package that is there.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Package {
    /// Where it comes from: `deb`, `apk`, `rpm`, `pypi`, `npm`, `gem`, `golang`, `cargo`.
    pub kind: &'static str,
    pub name: String,
    pub version: String,
    /// As the database has it; not always an SPDX expression.
    pub license: Option<String>,
    /// The package URL.
    pub url: String,
    /// The file that says so.
    pub path: String,
}

/// The largest file that is read for packages, in bytes.
pub(super) const LARGEST: u64 = 256 << 20;
/// The deepest directory that is looked into.
const DEEPEST: usize = 64;

/// Searches the whole tree. What is too large or cannot be understood is told and left out.
pub(super) fn find(files: &dyn Files, warn: &mut dyn FnMut(&str)) -> Result<Vec<Package>> {
    let fail = |source: io::Error| Cause::Layers(format!("search for packages: {source}"));
    let release = system::Release::read(files).map_err(fail)?;
    let mut found = BTreeSet::new();
    system::installed(files, &release, &mut found, warn).map_err(fail)?;
    walk(files, b"", 0, &mut found, warn).map_err(fail)?;
    Ok(found.into_iter().collect())
}

fn walk(
    files: &dyn Files,
    folder: &[u8],
    depth: usize,
    found: &mut BTreeSet<Package>,
    warn: &mut dyn FnMut(&str),
) -> io::Result<()> {
    if depth > DEEPEST {
        let shown = String::from_utf8_lossy(folder);
        warn(&format!("the SBOM leaves out what is in /{shown}: it is too deep"));
        return Ok(());
    }
    for name in files.names(folder)? {
        let path = child(folder, &name);
        let Some(entry) = files.entry(&path)? else { continue };
        match entry.kind {
            Kind::Directory => walk(files, &path, depth + 1, found, warn)?,
            Kind::File(size) => {
                let known = languages::concerns(&path) || (entry.mode & 0o111 != 0 && size > 64);
                if !known {
                    continue;
                }
                if size > LARGEST {
                    let shown = String::from_utf8_lossy(&path);
                    warn(&format!(
                        "the SBOM leaves /{shown} out: it is larger than {LARGEST} bytes"
                    ));
                    continue;
                }
                match languages::concerns(&path) {
                    true => languages::read(&path, &whole(files, &path)?, found),
                    false => binaries::read(files, &path, found)?,
                }
            }
            _ => {}
        }
    }
    Ok(())
}

/// A file's content.
pub(super) fn whole(files: &dyn Files, path: &[u8]) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    files.open(path)?.take(LARGEST).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// A component of a package URL, percent-encoded.
pub(super) fn escaped(text: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'.' | b'-' | b'_' | b'~' | b':' => {
                out.push(char::from(byte));
            }
            // Writing to a string cannot fail.
            byte => drop(write!(out, "%{byte:02X}")),
        }
    }
    out
}

/// `pkg:KIND/NAMESPACE/NAME@VERSION`.
pub(super) fn url(kind: &str, namespace: &str, name: &str, version: &str) -> String {
    let spaces: String = namespace
        .split('/')
        .filter(|part| !part.is_empty())
        .map(|part| format!("{}/", escaped(part)))
        .collect();
    let version = if version.is_empty() { String::new() } else { format!("@{}", escaped(version)) };
    format!("pkg:{kind}/{spaces}{}{version}", escaped(name))
}

/// The value of `Key: value` in the first paragraph of an RFC 822 text; case matters as it does to dpkg.
pub(super) fn field<'a>(paragraph: &'a str, key: &str) -> Option<&'a str> {
    paragraph.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        (name == key).then(|| value.trim())
    })
}
