//! Packages of the distribution: the databases of dpkg, apk and rpm.

use std::collections::BTreeSet;
use std::io;

use super::packages::{LARGEST, Package, escaped, field, url, whole};
use super::rpm;
use crate::files::{Files, Kind, child, read_small, resolve};

/// What `/etc/os-release` says (os-release(5)).
pub(super) struct Release {
    id: String,
    version: String,
}

impl Release {
    pub fn read(files: &dyn Files) -> io::Result<Self> {
        let mut bytes = None;
        for path in [&b"etc/os-release"[..], b"usr/lib/os-release"] {
            bytes = bytes.or(read_small(files, path, 1 << 20)?);
        }
        let text = String::from_utf8_lossy(&bytes.unwrap_or_default()).into_owned();
        let value = |key: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
            line.unwrap_or_default().trim_matches(['"', '\'']).to_owned()
        };
        Ok(Self { id: value("ID"), version: value("VERSION_ID") })
    }

    /// `&distro=debian-12`, where it is known.
    fn qualifier(&self) -> String {
        match (self.id.as_str(), self.version.as_str()) {
            ("", _) => String::new(),
            (id, "") => format!("&distro={}", escaped(id)),
            (id, version) => format!("&distro={}", escaped(&format!("{id}-{version}"))),
        }
    }

    fn namespace(&self, usual: &'static str) -> String {
        if self.id.is_empty() { usual.to_owned() } else { self.id.clone() }
    }
}

/// Reads every database that is there.
pub(super) fn installed(
    files: &dyn Files,
    release: &Release,
    found: &mut BTreeSet<Package>,
    warn: &mut dyn FnMut(&str),
) -> io::Result<()> {
    for (path, bytes) in dpkg_files(files)? {
        dpkg(&path, &String::from_utf8_lossy(&bytes), release, found);
    }
    for path in ["lib/apk/db/installed", "usr/lib/apk/db/installed"] {
        if let Some(bytes) = read_small(files, path.as_bytes(), LARGEST)? {
            apk(path, &String::from_utf8_lossy(&bytes), release, found);
            break;
        }
    }
    for folder in ["usr/lib/sysimage/rpm", "var/lib/rpm"] {
        let sqlite = format!("{folder}/rpmdb.sqlite");
        if let Some(bytes) = read_small(files, sqlite.as_bytes(), LARGEST)? {
            match rpm::packages(&bytes) {
                Ok(packages) => {
                    let packages = packages.into_iter().filter(|rpm| rpm.name != "gpg-pubkey");
                    found.extend(packages.map(|rpm| rpm_package(rpm, &sqlite, release)));
                }
                Err(reason) => warn(&format!("the SBOM lacks rpm's packages: /{sqlite}: {reason}")),
            }
            break;
        }
        for old in ["Packages", "Packages.db"] {
            let path = format!("{folder}/{old}");
            if files.entry(&resolve(files, path.as_bytes(), true)?)?.is_some() {
                warn(&format!(
                    "the SBOM lacks rpm's packages: /{path} is a database of an older kind than sqlite"
                ));
            }
        }
    }
    Ok(())
}

/// The database, and the files that stand for it in images without dpkg (distroless).
fn dpkg_files(files: &dyn Files) -> io::Result<Vec<(String, Vec<u8>)>> {
    let mut all = Vec::new();
    let status = "var/lib/dpkg/status";
    if let Some(bytes) = read_small(files, status.as_bytes(), LARGEST)? {
        all.push((status.to_owned(), bytes));
    }
    let folder = resolve(files, b"var/lib/dpkg/status.d", true)?;
    if files.entry(&folder)?.is_some_and(|entry| entry.kind == Kind::Directory) {
        for name in files.names(&folder)? {
            let path = child(&folder, &name);
            let file = files.entry(&path)?.is_some_and(|entry| matches!(entry.kind, Kind::File(_)));
            if file && !name.ends_with(b".md5sums") {
                all.push((String::from_utf8_lossy(&path).into_owned(), whole(files, &path)?));
            }
        }
    }
    Ok(all)
}

fn dpkg(path: &str, text: &str, release: &Release, found: &mut BTreeSet<Package>) {
    for paragraph in text.split("\n\n") {
        let (Some(name), Some(version)) =
            (field(paragraph, "Package"), field(paragraph, "Version"))
        else {
            continue;
        };
        // Distroless leaves the status out.
        let status = field(paragraph, "Status").unwrap_or("install ok installed");
        if status.split(' ').next_back() != Some("installed") {
            continue;
        }
        let arch = field(paragraph, "Architecture").unwrap_or("amd64");
        let base = url("deb", &release.namespace("debian"), name, version);
        found.insert(Package {
            kind: "deb",
            name: name.to_owned(),
            version: version.to_owned(),
            license: None,
            url: format!("{base}?arch={}{}", escaped(arch), release.qualifier()),
            path: path.to_owned(),
        });
    }
}

/// The format of apk-tools' installed database: paragraphs of `P:`, `V:`, `A:`, `L:`.
fn apk(path: &str, text: &str, release: &Release, found: &mut BTreeSet<Package>) {
    for paragraph in text.split("\n\n") {
        let (Some(name), Some(version)) = (field(paragraph, "P"), field(paragraph, "V")) else {
            continue;
        };
        let arch = field(paragraph, "A").unwrap_or("x86_64");
        let base = url("apk", &release.namespace("alpine"), name, version);
        found.insert(Package {
            kind: "apk",
            name: name.to_owned(),
            version: version.to_owned(),
            license: field(paragraph, "L").map(str::to_owned),
            url: format!("{base}?arch={}{}", escaped(arch), release.qualifier()),
            path: path.to_owned(),
        });
    }
}

fn rpm_package(rpm: rpm::Rpm, path: &str, release: &Release) -> Package {
    let version = format!("{}-{}", rpm.version, rpm.release);
    let base = url("rpm", &release.namespace("redhat"), &rpm.name, &version);
    let epoch = rpm.epoch.map(|epoch| format!("&epoch={epoch}")).unwrap_or_default();
    Package {
        kind: "rpm",
        url: format!("{base}?arch={}{epoch}{}", escaped(&rpm.arch), release.qualifier()),
        name: rpm.name,
        version: rpm.epoch.map_or(version.clone(), |epoch| format!("{epoch}:{version}")),
        license: rpm.license,
        path: path.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::{Release, apk, dpkg};
    use std::collections::BTreeSet;

    #[test]
    fn databases_are_paragraphs() {
        let release = Release { id: "debian".into(), version: "12".into() };
        let mut found = BTreeSet::new();
        let status = "Package: libc6\nStatus: install ok installed\nArchitecture: amd64\nVersion: 2.36-9+deb12u8\n\n\
                      Package: gone\nStatus: deinstall ok config-files\nVersion: 1\n";
        dpkg("var/lib/dpkg/status", status, &release, &mut found);
        let urls: Vec<&str> = found.iter().map(|package| package.url.as_str()).collect();
        assert_eq!(urls, ["pkg:deb/debian/libc6@2.36-9%2Bdeb12u8?arch=amd64&distro=debian-12"]);
        let mut found = BTreeSet::new();
        let release = Release { id: "alpine".into(), version: "3.20.3".into() };
        apk("x", "C:Q1x=\nP:musl\nV:1.2.5-r0\nA:x86_64\nL:MIT\n\nP:broken\n", &release, &mut found);
        let musl = found.first().map(|package| (package.url.as_str(), package.license.as_deref()));
        let url = "pkg:apk/alpine/musl@1.2.5-r0?arch=x86_64&distro=alpine-3.20.3";
        assert_eq!((found.len(), musl), (1, Some((url, Some("MIT")))));
    }
}
