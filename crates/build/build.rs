//! Finds the page that `--output type=web` writes: what is in packages/js/page, the compiled package (`npm run build`), and xterm.js. Without them the
//! library builds with no page, and refuses to write one.
//!
//! And sums up the sources that a box is made by, for the keys of boxes (`BOXER_LINKER`).

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

/// Crates that have a part in what a box looks like. What runs in it is in the guest programs, whose digests are in the keys.
const MAKERS: [&str; 10] =
    ["build", "ir", "layers", "link", "mem", "rootfs", "runtime", "translate", "wasmgen", "x86"];

fn main() {
    let manifest = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").unwrap_or_default());
    println!("cargo::rustc-env=BOXER_LINKER={:016x}", makers(&manifest));
    println!("cargo::rerun-if-changed=build.rs");
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

/// A sum of the makers' sources and of the versions of what they use. A package from a registry is alone: its version says it all.
fn makers(manifest: &Path) -> u64 {
    let sources = MAKERS.map(|name| manifest.with_file_name(name).join("src"));
    let lock = manifest.join("../../Cargo.lock");
    let mut sum = Fnv(Fnv::OFFSET);
    for place in sources.iter().chain([&lock]) {
        if place.exists() {
            println!("cargo::rerun-if-changed={}", place.display());
            sum.add(place, manifest);
        }
    }
    sum.0
}

/// FNV-1a of 64 bits: the same everywhere, and nobody is to be kept from making two that are alike.
struct Fnv(u64);

impl Fnv {
    const OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
    const PRIME: u64 = 0x0000_0100_0000_01b3;

    /// A file's name and content, or all that is in a directory.
    fn add(&mut self, path: &Path, manifest: &Path) {
        let Ok(entries) = fs::read_dir(path) else {
            let name = path.strip_prefix(manifest.parent().unwrap_or(manifest)).unwrap_or(path);
            self.bytes(name.to_string_lossy().as_bytes());
            return self.bytes(&fs::read(path).unwrap_or_default());
        };
        let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
        paths.sort();
        paths.iter().for_each(|path| self.add(path, manifest));
    }

    fn bytes(&mut self, bytes: &[u8]) {
        for byte in (bytes.len() as u64).to_le_bytes().iter().chain(bytes) {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(Fnv::PRIME);
        }
    }
}

fn names(folder: &Path, wanted: Wanted) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    let mut names: Vec<String> = names.filter(|name| wanted(name)).collect();
    names.sort();
    names
}
