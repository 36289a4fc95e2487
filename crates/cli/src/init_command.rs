//! `boxer init`: a Dockerfile and a `.dockerignore` for the project at hand.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;

use crate::failure::Failure;

#[derive(Debug, Args)]
pub struct InitArgs {
    /// The project's directory
    #[arg(default_value = ".")]
    folder: PathBuf,
}

/// A kind of project.
struct Kind {
    name: &'static str,
    /// Any of these files tells.
    marks: &'static [&'static str],
    dockerfile: &'static str,
    /// What the build has no use for.
    ignored: &'static [&'static str],
}

/// The first whose mark is there counts.
const KINDS: [Kind; 6] = [
    Kind {
        name: "Node",
        marks: &["package-lock.json", "package.json"],
        dockerfile: "FROM node:22-bookworm-slim\nWORKDIR /app\nENV NODE_ENV=production\nCOPY package*.json ./\n\
                     RUN --mount=type=cache,target=/var/cache/npm npm install --omit=dev --cache /var/cache/npm\nCOPY . .\nUSER node\nCMD [\"npm\", \"start\"]\n",
        ignored: &["node_modules", "npm-debug.log*"],
    },
    Kind {
        name: "Python",
        marks: &["requirements.txt"],
        dockerfile: "FROM python:3.12-slim-bookworm\nWORKDIR /app\nENV PYTHONUNBUFFERED=1\nCOPY requirements.txt ./\n\
                     RUN --mount=type=cache,target=/var/cache/pip pip install --cache-dir /var/cache/pip -r requirements.txt\nCOPY . .\n\
                     # The file that starts the program.\nCMD [\"python\", \"main.py\"]\n",
        ignored: &["**/__pycache__", "**/*.pyc", ".venv", "venv"],
    },
    Kind {
        name: "Python",
        marks: &["pyproject.toml", "setup.py"],
        dockerfile: "FROM python:3.12-slim-bookworm\nWORKDIR /app\nENV PYTHONUNBUFFERED=1\nCOPY . .\n\
                     RUN --mount=type=cache,target=/var/cache/pip pip install --cache-dir /var/cache/pip .\n\
                     # The file that starts the program.\nCMD [\"python\", \"main.py\"]\n",
        ignored: &["**/__pycache__", "**/*.pyc", ".venv", "venv", "dist", "build"],
    },
    Kind {
        name: "Go",
        marks: &["go.mod"],
        dockerfile: "FROM golang:1.23-bookworm AS build\nWORKDIR /src\nCOPY . .\n\
                     RUN --mount=type=cache,target=/go/pkg/mod --mount=type=cache,target=/var/cache/go \\\n    \
                     CGO_ENABLED=0 GOCACHE=/var/cache/go go build -trimpath -o /program .\n\nFROM scratch\nCOPY --from=build /program /program\nENTRYPOINT [\"/program\"]\n",
        ignored: &["bin"],
    },
    Kind {
        name: "Rust",
        marks: &["Cargo.toml"],
        dockerfile: "FROM rust:1-bookworm AS build\nWORKDIR /src\nCOPY . .\n\
                     RUN --mount=type=cache,target=/usr/local/cargo/registry cargo install --path . --root /out\n\n\
                     FROM debian:bookworm-slim\nCOPY --from=build /out/bin/ /usr/local/bin/\n\
                     # The program's name.\nCMD [\"program\"]\n",
        ignored: &["target"],
    },
    Kind {
        name: "static site",
        marks: &["index.html"],
        dockerfile: "FROM nginx:1-alpine\nCOPY . /usr/share/nginx/html\n",
        ignored: &[],
    },
];

/// Where nothing is known of the project.
const UNKNOWN: Kind = Kind {
    name: "unknown",
    marks: &[],
    dockerfile: "FROM debian:bookworm-slim\nWORKDIR /app\nCOPY . .\n# What starts the program.\nCMD [\"/bin/sh\"]\n",
    ignored: &[],
};

/// Never of use in an image.
const ALWAYS: [&str; 5] = [".git", ".gitignore", ".dockerignore", "Dockerfile", "*.wasm"];

pub fn run(args: &InitArgs) -> Result<ExitCode, Failure> {
    let folder = &args.folder;
    if !folder.is_dir() {
        return Err(Failure::usage(format!("{}: not a directory", folder.display())));
    }
    let marked = |kind: &&Kind| kind.marks.iter().any(|mark| folder.join(mark).is_file());
    let kind = KINDS.iter().find(marked).unwrap_or(&UNKNOWN);
    let (dockerfile, ignore) = (folder.join("Dockerfile"), folder.join(".dockerignore"));
    // Either both are written or none.
    if let Some(there) =
        [&dockerfile, &ignore].into_iter().find(|path| path.symlink_metadata().is_ok())
    {
        return Err(Failure::new(format!("{} is there already", there.display())));
    }
    let ignored: String =
        ALWAYS.iter().chain(kind.ignored).map(|pattern| format!("{pattern}\n")).collect();
    write(&dockerfile, kind.dockerfile)?;
    write(&ignore, &ignored)?;
    say!("{}: wrote {} and {}", kind.name, dockerfile.display(), ignore.display());
    say!("look them over, then: boxer build -t NAME {}", folder.display());
    Ok(ExitCode::SUCCESS)
}

fn write(path: &Path, text: &str) -> Result<(), Failure> {
    let fail = |error| Failure::new(format!("cannot write {}: {error}", path.display()));
    let mut file = OpenOptions::new().write(true).create_new(true).open(path).map_err(fail)?;
    file.write_all(text.as_bytes()).map_err(fail)
}
