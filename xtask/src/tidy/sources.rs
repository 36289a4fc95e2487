//! File sizes, module names, crate documentation and texts that must not be in the tree.

use super::Report;
use crate::paths::Workspace;
use crate::process;
use anyhow::Result;
use std::path::Path;
use std::process::Command;

/// Lines from which a file should be split, and from which it must be.
const WARN_LINES: usize = 500;
const MAX_LINES: usize = 800;

/// Files that are one long table and may be longer.
const DATA_TABLES: &[&str] = &["crates/kernel/src/syscall/table.rs", "crates/ir/src/ops.rs"];

/// Names that say nothing of what a module holds.
const EMPTY_NAMES: [&str; 6] = ["utils", "util", "helpers", "helper", "misc", "common"];

/// Texts that say where the tree was worked on rather than what it is. In halves, so that this file passes.
const FORBIDDEN: [(&str, &str); 5] = [
    ("/wo", "rk/"),
    ("/ro", "ot/."),
    ("deb.deb", "ian.org"),
    ("registry.npm", "js"),
    ("pypi.", "org"),
];

/// Checks every file that git knows, or would add.
pub fn check(workspace: &Workspace, report: &mut Report) -> Result<()> {
    let mut git = Command::new("git");
    git.current_dir(&workspace.root).args([
        "ls-files",
        "--cached",
        "--others",
        "--exclude-standard",
    ]);
    for name in process::stdout(&mut git)?.lines() {
        if name == "Cargo.lock" {
            continue;
        }
        // Files that are not text, or were just removed, have nothing to check.
        let Ok(text) = std::fs::read_to_string(workspace.root.join(name)) else { continue };
        check_text(name, &text, report);
        if name.ends_with(".rs") {
            check_rust(name, &text, report);
        }
    }
    Ok(())
}

fn check_text(name: &str, text: &str, report: &mut Report) {
    for (number, line) in text.lines().enumerate() {
        let lower = line.to_lowercase();
        for (head, tail) in FORBIDDEN {
            let word = format!("{head}{tail}");
            if lower.contains(&word) {
                report.errors.push(format!("{name}:{}: must not say {word:?}", number + 1));
            }
        }
    }
}

fn check_rust(name: &str, text: &str, report: &mut Report) {
    let lines = text.lines().count();
    if !DATA_TABLES.contains(&name) {
        if lines > MAX_LINES {
            report.errors.push(format!("{name}: {lines} lines; the limit is {MAX_LINES}"));
        } else if lines > WARN_LINES {
            report.warnings.push(format!("{name}: {lines} lines; split it"));
        }
    }
    let path = Path::new(name);
    let stem = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
    let parent =
        path.parent().and_then(Path::file_name).and_then(|dir| dir.to_str()).unwrap_or_default();
    for word in [stem, parent] {
        if EMPTY_NAMES.contains(&word) {
            report.errors.push(format!("{name}: `{word}` says nothing of what it holds"));
        }
    }
    let is_crate_root = ["src/lib.rs", "src/main.rs"].iter().any(|root| name.ends_with(root));
    if is_crate_root && !text.starts_with("//!") {
        report.errors.push(format!("{name}: a crate starts with its documentation"));
    }
}
