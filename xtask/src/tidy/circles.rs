//! Imports go one way: the modules of a crate, as its `lib.rs` names them, form no circle.

use super::Report;
use crate::paths::Workspace;
use anyhow::{Context, Result};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// Modules that count as one, since they are one thing in several files.
const GROUPS: &[(&str, &[&str])] = &[
    // The kernel's state, and the system calls, signals and clocks that change it: each adds methods to `Kernel`.
    (
        "kernel",
        &[
            "kernel",
            "task",
            "signal",
            "syscall",
            "strace",
            "sched",
            "exec",
            "attach",
            "world",
            "exception",
            "ipc",
        ],
    ),
    // The network's state, and the listeners to packets, which add methods to `Net`.
    ("net", &["net", "tap"]),
];

/// Crates that still have circles. Whoever takes the last one out of a crate takes it out of this list.
const NOT_YET: &[&str] = &["build", "ir", "oci", "x86"];

/// Who is imported, by importer, with a file that does it.
type Imports = BTreeMap<String, BTreeMap<String, String>>;

/// Checks every crate that has a `lib.rs` with modules.
pub fn check(workspace: &Workspace, report: &mut Report) -> Result<()> {
    let crates = workspace.root.join("crates");
    for entry in std::fs::read_dir(&crates).context("no crates")? {
        let path = entry?.path();
        let name = path.file_name().and_then(|n| n.to_str()).unwrap_or_default().to_string();
        let Ok(lib) = std::fs::read_to_string(path.join("src/lib.rs")) else { continue };
        let group = GROUPS.iter().find(|(of, _)| *of == name).map_or(&[][..], |(_, group)| group);
        let imports = imports_of(&path.join("src"), &without_comments(&lib), group)?;
        let found = circles(&imports);
        if NOT_YET.contains(&name.as_str()) {
            if found.is_empty() {
                report.errors.push(format!("crate `{name}` has no circles: take it off the list"));
            }
            continue;
        }
        for circle in found {
            let mut text = format!("crate `{name}`: modules import each other in a circle:");
            for (from, to) in circle.iter().zip(circle.iter().cycle().skip(1)) {
                let by = imports.get(from).and_then(|i| i.get(to)).map_or("", String::as_str);
                text.push_str(&format!(" {from} → {to} ({by})"));
            }
            report.errors.push(text);
        }
    }
    Ok(())
}

fn imports_of(src: &Path, lib: &str, group: &[&str]) -> Result<Imports> {
    let modules: Vec<&str> = lib.lines().filter_map(module_of).collect();
    let exports = exports_of(lib);
    let mut imports = Imports::new();
    let known_as = |name: &str| match group.first() {
        Some(first) if group.contains(&name) => first.to_string(),
        _ => name.to_string(),
    };
    for module in &modules {
        let mut files = vec![src.join(format!("{module}.rs"))];
        list_files(&src.join(module), &mut files)?;
        for file in files {
            let Ok(text) = std::fs::read_to_string(&file) else { continue };
            for name in names_below_crate(&without_comments(&text)) {
                let name = exports.get(&name).unwrap_or(&name);
                let (from, to) = (known_as(module), known_as(name));
                if modules.contains(&name.as_str()) && from != to {
                    let shown = file.strip_prefix(src).unwrap_or(&file).display().to_string();
                    imports.entry(from).or_default().entry(to).or_insert(shown);
                }
            }
        }
    }
    Ok(imports)
}

fn module_of(line: &str) -> Option<&str> {
    let line = line.trim().strip_suffix(';')?;
    let (before, name) = line.rsplit_once("mod ")?;
    let plain = before.is_empty() || before.starts_with("pub");
    plain.then_some(name)
}

/// What `lib.rs` exports under the crate's name, and from which module.
fn exports_of(lib: &str) -> BTreeMap<String, String> {
    let mut exports = BTreeMap::new();
    for piece in lib.split("pub use ").skip(1) {
        let Some((what, _)) = piece.split_once(';') else { continue };
        let Some((module, names)) = what.split_once("::") else { continue };
        for name in words(names) {
            exports.insert(name.to_string(), module.trim().to_string());
        }
    }
    exports
}

fn list_files(dir: &Path, files: &mut Vec<std::path::PathBuf>) -> Result<()> {
    let Ok(entries) = std::fs::read_dir(dir) else { return Ok(()) };
    for entry in entries {
        let path = entry?.path();
        if path.is_dir() {
            list_files(&path, files)?;
        } else if path.extension().is_some_and(|e| e == "rs") {
            files.push(path);
        }
    }
    Ok(())
}

fn without_comments(text: &str) -> String {
    text.lines()
        .map(|line| line.split("//").next().unwrap_or_default().to_string() + "\n")
        .collect()
}

/// The names that follow `crate::`, also in braces.
fn names_below_crate(text: &str) -> Vec<String> {
    let mut names = Vec::new();
    for rest in text.split("crate::").skip(1) {
        let Some(group) = rest.strip_prefix('{') else {
            names.extend(words(rest).next().map(str::to_string));
            continue;
        };
        let mut depth = 1;
        let mut starts = true;
        let mut name = String::new();
        for c in group.chars() {
            match c {
                '{' => depth += 1,
                '}' => depth -= 1,
                ',' if depth == 1 => {
                    names.push(std::mem::take(&mut name));
                    starts = true;
                    continue;
                }
                c if starts && (c.is_alphanumeric() || c == '_') => name.push(c),
                c if c.is_whitespace() => {}
                _ => starts = false,
            }
            if depth == 0 {
                break;
            }
        }
        names.push(name);
    }
    names
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !(c.is_alphanumeric() || c == '_')).filter(|w| !w.is_empty())
}

/// A shortest circle through each module that is on one, each set of modules once.
fn circles(imports: &Imports) -> Vec<Vec<String>> {
    let mut found: BTreeMap<BTreeSet<String>, Vec<String>> = BTreeMap::new();
    for start in imports.keys() {
        let mut paths = vec![vec![start.clone()]];
        let mut seen = BTreeSet::new();
        let mut next = 0;
        while let Some(path) = paths.get(next).cloned() {
            next += 1;
            let Some(targets) = path.last().and_then(|last| imports.get(last)) else { continue };
            if targets.contains_key(start) {
                found.entry(path.iter().cloned().collect()).or_insert(path);
                break;
            }
            for target in targets.keys() {
                if seen.insert(target.clone()) {
                    paths.push([&path[..], std::slice::from_ref(target)].concat());
                }
            }
        }
    }
    found.into_values().collect()
}

#[cfg(test)]
mod tests {
    use super::{Imports, circles, names_below_crate};

    fn imports(edges: &[(&str, &str)]) -> Imports {
        let mut all = Imports::new();
        for (from, to) in edges {
            let file = format!("{from}.rs");
            all.entry(from.to_string()).or_default().insert(to.to_string(), file);
        }
        all
    }

    #[test]
    fn circles_are_found_once_and_only_where_they_are() {
        assert!(circles(&imports(&[("a", "b"), ("b", "c"), ("a", "c")])).is_empty());
        let found = circles(&imports(&[("a", "b"), ("b", "c"), ("c", "b"), ("c", "d")]));
        assert_eq!(found, [["b", "c"]]);
    }

    #[test]
    fn names_are_found_in_every_form() {
        let text = "use crate::a::B;\nuse crate::{b::{C, D}, e, F};\nlet x = crate::g();";
        assert_eq!(names_below_crate(text), ["a", "b", "e", "F", "g"]);
    }
}
