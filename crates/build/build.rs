//! Finds the page that `--output type=web` writes: what is in packages/js/page, the compiled package (`npm run build`), and xterm.js. Without them the
//! library builds with no page, and refuses to write one.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::{env, fs};

type Wanted = fn(&str) -> bool;

/// Folders of packages/js, what their files are called by the page, and which of them it needs.
const PARTS: [(&str, &str, Wanted); 4] = [
    ("page", "", |_| true),
    ("dist", "boxer-js/", |name| name.ends_with(".js") && !name.contains("node")),
    ("node_modules/@xterm/xterm/lib", "xterm/", |name| name == "xterm.mjs"),
    ("node_modules/@xterm/xterm/css", "xterm/", |name| name == "xterm.css"),
];

fn main() {
    let manifest = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").unwrap_or_default());
    let package = manifest.join("../../packages/js");
    let mut list = String::new();
    for (folder, prefix, wanted) in PARTS {
        let folder = package.join(folder);
        let names = names(&folder, wanted);
        if names.is_empty() {
            // It may come; where nothing is installed, little is looked at.
            println!("cargo::rerun-if-changed={}", package.display());
            // A part of a page is none.
            list.clear();
            break;
        }
        for name in names {
            let path = folder.join(&name);
            println!("cargo::rerun-if-changed={}", path.display());
            let path = path.display().to_string();
            let _ = writeln!(
                list,
                "    ({:?}, include_bytes!({path:?}) as &[u8]),",
                format!("{prefix}{name}")
            );
        }
    }
    let out = PathBuf::from(env::var_os("OUT_DIR").unwrap_or_default()).join("page.rs");
    let text = format!("&[\n{list}]\n");
    if let Err(error) = fs::write(&out, text) {
        panic!("cannot write {}: {error}", out.display());
    }
}

fn names(folder: &Path, wanted: Wanted) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    let mut names: Vec<String> = names.filter(|name| wanted(name)).collect();
    names.sort();
    names
}
