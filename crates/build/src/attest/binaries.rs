//! Modules linked into programs: what the Go linker and cargo-auditable leave in a section of their own.

use std::collections::BTreeSet;
use std::io::{self, Read as _};

use serde_json::Value;

use super::languages::cargo;
use super::packages::{Package, url, whole};
use crate::files::Files;

/// Of Go's build information (debug/buildinfo): magic, size of a pointer, flags, and from 32 on two strings with lengths.
const GO_MAGIC: &[u8] = b"\xff Go buildinf:";
const GO_HEADER: usize = 32;
/// Flag: the strings follow in place (Go 1.18 and later).
const GO_INLINE: u8 = 2;
/// A build's list of modules stands between two marks of 16 bytes.
const GO_MARK: usize = 16;
/// The largest list of crates, unpacked.
const LARGEST_LIST: u64 = 64 << 20;

/// Adds what an executable says about itself.
pub(super) fn read(
    files: &dyn Files,
    path: &[u8],
    found: &mut BTreeSet<Package>,
) -> io::Result<()> {
    let mut magic = [0; 4];
    let mut head = files.open(path)?;
    if head.read_exact(&mut magic).is_err() || magic != *b"\x7fELF" {
        return Ok(());
    }
    drop(head);
    let bytes = whole(files, path)?;
    let path = String::from_utf8_lossy(path).into_owned();
    if let Some(section) = section(&bytes, ".go.buildinfo") {
        found.extend(go(&path, section).unwrap_or_default());
    }
    if let Some(section) = section(&bytes, ".dep-v0") {
        found.extend(crates(&path, section).unwrap_or_default());
    }
    Ok(())
}

/// The bytes of a section of an ELF file of 64 bits, little end first.
fn section<'a>(bytes: &'a [u8], name: &str) -> Option<&'a [u8]> {
    let number = |at: usize, length: usize| -> Option<usize> {
        let part = bytes.get(at..at.checked_add(length)?)?;
        let value = part.iter().rev().fold(0u64, |sum, byte| sum << 8 | u64::from(*byte));
        usize::try_from(value).ok()
    };
    // EI_CLASS, EI_DATA.
    if bytes.get(4..6)? != [2, 1] {
        return None;
    }
    let (table, size) = (number(0x28, 8)?, number(0x3a, 2)?);
    let (count, names) = (number(0x3c, 2)?, number(0x3e, 2)?);
    let header = |index: usize| table.checked_add(index.checked_mul(size)?);
    let place =
        |at: usize| Some((number(at.checked_add(0x18)?, 8)?, number(at.checked_add(0x20)?, 8)?));
    let (names, names_len) = place(header(names)?)?;
    let names = bytes.get(names..names.checked_add(names_len)?)?;
    (0..count).find_map(|index| {
        let at = header(index)?;
        let own = names.get(number(at, 4)?..)?;
        let own = own.split(|byte| *byte == 0).next()?;
        let (from, length) = place(at)?;
        (own == name.as_bytes()).then(|| bytes.get(from..from.checked_add(length)?)).flatten()
    })
}

fn go(path: &str, section: &[u8]) -> Option<Vec<Package>> {
    let rest = section.strip_prefix(GO_MAGIC)?;
    if rest.get(1)? & GO_INLINE == 0 {
        return None;
    }
    let (version, rest) = go_string(section.get(GO_HEADER..)?)?;
    let (modules, _) = go_string(rest)?;
    let modules = modules.get(GO_MARK..modules.len().checked_sub(GO_MARK)?)?;
    let mut packages = vec![module("stdlib", go_version(&String::from_utf8_lossy(version)), path)];
    let text = String::from_utf8_lossy(modules);
    for line in text.lines() {
        let mut fields = line.split('\t');
        let kind = fields.next()?;
        let (name, version) =
            (fields.next().unwrap_or_default(), fields.next().unwrap_or_default());
        match kind {
            "mod" | "dep" if !name.is_empty() => packages.push(module(name, version, path)),
            // The line before was replaced by this one.
            "=>" => {
                packages.pop();
                packages.push(module(name, version, path));
            }
            _ => {}
        }
    }
    Some(packages)
}

/// `1.22.1` of `go1.22.1 X:loopvar`.
fn go_version(text: &str) -> &str {
    let first = text.split(' ').next().unwrap_or_default();
    first.strip_prefix("go").unwrap_or(first)
}

/// A string behind its length, which is a variable-length number.
fn go_string(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (mut length, mut at) = (0u64, 0);
    loop {
        let byte = *bytes.get(at)?;
        if at > 4 {
            return None;
        }
        length |= u64::from(byte & 0x7f) << (7 * at);
        at += 1;
        if byte & 0x80 == 0 {
            break;
        }
    }
    bytes.get(at..)?.split_at_checked(usize::try_from(length).ok()?)
}

fn module(name: &str, version: &str, path: &str) -> Package {
    let (space, short) = name.rsplit_once('/').unwrap_or(("", name));
    let version = if version == "(devel)" { "" } else { version };
    Package {
        kind: "golang",
        name: name.to_owned(),
        version: version.to_owned(),
        license: None,
        url: url("golang", space, short, version),
        path: path.to_owned(),
    }
}

/// cargo-auditable: JSON, compressed with zlib.
fn crates(path: &str, section: &[u8]) -> Option<Vec<Package>> {
    let mut json = Vec::new();
    flate2::read::ZlibDecoder::new(section).take(LARGEST_LIST).read_to_end(&mut json).ok()?;
    let value: Value = serde_json::from_slice(&json).ok()?;
    let packages = value["packages"].as_array()?.iter().filter_map(|package| {
        // What only ran while building is not in the program.
        if package["kind"] == "build" {
            return None;
        }
        Some(cargo(package["name"].as_str()?, package["version"].as_str()?, path))
    });
    Some(packages.collect())
}

#[cfg(test)]
mod tests {
    use super::{crates, go, section};
    use std::io::Write as _;

    /// Build information as the Go linker of 1.22 writes it.
    fn build_info() -> Vec<u8> {
        let mut bytes = b"\xff Go buildinf:\x08\x02".to_vec();
        bytes.resize(32, 0);
        bytes.push(6);
        bytes.extend(b"go1.22");
        let modules = "path\texample.com/app\nmod\texample.com/app\t(devel)\t\n\
                       dep\tgithub.com/a/b\tv1.2.3\th1:x=\ndep\told.example/c\tv1.0.0\n=>\tnew.example/c\tv2.0.0\th1:y=\n";
        let whole = [&[b'm'; 16][..], modules.as_bytes(), &[b'e'; 16]].concat();
        bytes.extend([
            u8::try_from(whole.len() & 0x7f).unwrap_or(0) | 0x80,
            u8::try_from(whole.len() >> 7).unwrap_or(0),
        ]);
        bytes.extend(whole);
        bytes
    }

    #[test]
    fn go_programs_list_their_modules() {
        let packages = go("app", &build_info()).unwrap_or_default();
        let urls: Vec<&str> = packages.iter().map(|package| package.url.as_str()).collect();
        assert_eq!(
            urls,
            [
                "pkg:golang/stdlib@1.22",
                "pkg:golang/example.com/app",
                "pkg:golang/github.com/a/b@v1.2.3",
                "pkg:golang/new.example/c@v2.0.0",
            ]
        );
        for end in 0..build_info().len() {
            let _ = go("app", &build_info()[..end]);
        }
    }

    #[test]
    fn auditable_programs_list_their_crates() {
        let mut zlib = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::fast());
        let json = r#"{"packages":[{"name":"libc","version":"0.2.1","source":"registry"},{"name":"cc","version":"1.0.0","kind":"build"}]}"#;
        zlib.write_all(json.as_bytes()).unwrap_or_default();
        let packages = crates("app", &zlib.finish().unwrap_or_default()).unwrap_or_default();
        let names: Vec<&str> = packages.iter().map(|package| package.name.as_str()).collect();
        assert_eq!(names, ["libc"]);
    }

    #[test]
    fn sections_are_found_in_this_very_program() {
        let own = std::env::current_exe().and_then(std::fs::read).unwrap_or_default();
        assert!(section(&own, ".text").is_some_and(|text| text.len() > 10_000));
        assert!(section(&own, ".no-such-section").is_none());
        let mut broken = own.get(..4096).unwrap_or_default().to_vec();
        broken[0x28..0x30].fill(0xff);
        assert!(section(&broken, ".text").is_none());
    }
}
