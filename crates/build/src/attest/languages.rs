//! Packages of languages, by the files their installers leave: Python, Node, Ruby, Rust.

use std::collections::BTreeSet;

use serde_json::Value;

use super::packages::{Package, field, url};

/// Whether [`read`] knows this file.
pub(super) fn concerns(path: &[u8]) -> bool {
    Form::of(path).is_some()
}

enum Form {
    Python,
    Node,
    Ruby,
    CargoLock,
}

impl Form {
    fn of(path: &[u8]) -> Option<Self> {
        let path = String::from_utf8_lossy(path);
        let mut parts = path.rsplit('/');
        let (name, folder) = (parts.next()?, parts.next().unwrap_or_default());
        Some(match name {
            // PEP 376, PEP 566.
            "METADATA" if folder.ends_with(".dist-info") => Form::Python,
            "PKG-INFO" if folder.ends_with(".egg-info") => Form::Python,
            name if name.ends_with(".egg-info") => Form::Python,
            "package.json" => {
                let above = parts.next().unwrap_or_default();
                let scoped = folder_is_scope(above) && parts.next() == Some("node_modules");
                (above == "node_modules" || scoped).then_some(Form::Node)?
            }
            name if name.ends_with(".gemspec") && folder == "specifications" => Form::Ruby,
            name if name.ends_with(".gemspec")
                && folder == "default"
                && parts.next() == Some("specifications") =>
            {
                Form::Ruby
            }
            "Cargo.lock" => Form::CargoLock,
            _ => return None,
        })
    }
}

fn folder_is_scope(name: &str) -> bool {
    name.starts_with('@')
}

/// Adds what a file says.
pub(super) fn read(path: &[u8], bytes: &[u8], found: &mut BTreeSet<Package>) {
    let Some(form) = Form::of(path) else { return };
    let path = String::from_utf8_lossy(path).into_owned();
    let text = String::from_utf8_lossy(bytes);
    match form {
        Form::Python => found.extend(python(&path, &text)),
        Form::Node => found.extend(node(&path, bytes)),
        Form::Ruby => found.extend(ruby(&path, &text)),
        Form::CargoLock => found.extend(cargo_lock(&path, &text)),
    }
}

fn python(path: &str, text: &str) -> Option<Package> {
    let head = text.split("\n\n").next()?;
    let (name, version) = (field(head, "Name")?, field(head, "Version")?);
    let license = field(head, "License-Expression").or_else(|| field(head, "License"));
    // The package URL specification: lower case, and hyphens.
    let normal = name.to_lowercase().replace(['_', '.'], "-");
    Some(Package {
        kind: "pypi",
        name: name.to_owned(),
        version: version.to_owned(),
        license: license.filter(|text| !text.is_empty()).map(str::to_owned),
        url: url("pypi", "", &normal, version),
        path: path.to_owned(),
    })
}

fn node(path: &str, bytes: &[u8]) -> Option<Package> {
    let value: Value = serde_json::from_slice(bytes).ok()?;
    let (name, version) = (value["name"].as_str()?, value["version"].as_str()?);
    let license = value["license"].as_str().or_else(|| value["license"]["type"].as_str());
    let (scope, short) = name.rsplit_once('/').unwrap_or(("", name));
    Some(Package {
        kind: "npm",
        name: name.to_owned(),
        version: version.to_owned(),
        license: license.map(str::to_owned),
        url: url("npm", scope, short, version),
        path: path.to_owned(),
    })
}

/// A gemspec as RubyGems writes it: `s.name = "rake".freeze`.
fn ruby(path: &str, text: &str) -> Option<Package> {
    let value = |key: &str| {
        let line = text.lines().find_map(|line| {
            let rest = line.trim().strip_prefix("s.")?.strip_prefix(key)?.trim_start();
            rest.strip_prefix('=')
        })?;
        let quote = line.find(['"', '\''])?;
        let mark = line[quote..].chars().next()?;
        let rest = &line[quote + 1..];
        Some(rest[..rest.find(mark)?].to_owned())
    };
    let (name, version) = (value("name")?, value("version")?);
    Some(Package {
        kind: "gem",
        license: value("licenses"),
        url: url("gem", "", &name, &version),
        name,
        version,
        path: path.to_owned(),
    })
}

/// `[[package]]` tables with `name`, `version` and, of what is not the project's own, `source`.
fn cargo_lock(path: &str, text: &str) -> Vec<Package> {
    let mut packages = Vec::new();
    for table in text.split("[[package]]").skip(1) {
        let value = |key: &str| {
            table.lines().find_map(|line| {
                let (name, value) = line.split_once('=')?;
                (name.trim() == key).then(|| value.trim().trim_matches('"').to_owned())
            })
        };
        if let (Some(name), Some(version)) = (value("name"), value("version")) {
            packages.push(cargo(&name, &version, path));
        }
    }
    packages
}

/// A crate.
pub(super) fn cargo(name: &str, version: &str, path: &str) -> Package {
    Package {
        kind: "cargo",
        name: name.to_owned(),
        version: version.to_owned(),
        license: None,
        url: url("cargo", "", name, version),
        path: path.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::{concerns, read};
    use std::collections::BTreeSet;

    #[test]
    fn installers_leave_their_marks() {
        let mut found = BTreeSet::new();
        for (path, text) in [
            (
                "usr/lib/python3/dist-packages/typing_extensions-4.4.0.dist-info/METADATA",
                "Metadata-Version: 2.1\nName: typing_extensions\nVersion: 4.4.0\n\nName: no\n",
            ),
            (
                "app/node_modules/@babel/core/package.json",
                r#"{"name":"@babel/core","version":"7.1.0","license":"MIT"}"#,
            ),
            (
                "var/lib/gems/3.1.0/specifications/rake-13.0.6.gemspec",
                "Gem::Specification.new do |s|\n  s.name = \"rake\".freeze\n  s.version = \"13.0.6\"\n  s.licenses = [\"MIT\".freeze]\nend\n",
            ),
            (
                "src/Cargo.lock",
                "version = 4\n\n[[package]]\nname = \"serde\"\nversion = \"1.0.1\"\nsource = \"x\"\n",
            ),
        ] {
            assert!(concerns(path.as_bytes()), "{path}");
            read(path.as_bytes(), text.as_bytes(), &mut found);
        }
        let urls: Vec<&str> = found.iter().map(|package| package.url.as_str()).collect();
        assert_eq!(
            urls,
            [
                "pkg:cargo/serde@1.0.1",
                "pkg:gem/rake@13.0.6",
                "pkg:npm/%40babel/core@7.1.0",
                "pkg:pypi/typing-extensions@4.4.0",
            ]
        );
        for path in ["app/package.json", "METADATA", "specifications/x", "app/x/core/package.json"]
        {
            assert!(!concerns(path.as_bytes()), "{path}");
        }
        read(b"x/node_modules/a/package.json", b"[]", &mut found);
        assert_eq!(found.len(), 4);
    }
}
