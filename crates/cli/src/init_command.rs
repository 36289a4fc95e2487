//! `boxer init`: a Dockerfile and a `.dockerignore` for the project at hand.
//!
//! `cargo xtask examples --all` is to build and run the templates, each for a project of its kind (`fixtures/init`); those of Maven, Gradle
//! and Composer are checked as Dockerfiles only.

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
    /// `@` is the name of what starts the program, of those in `starts`.
    dockerfile: &'static str,
    start: Start,
    /// What the build has no use for.
    ignored: &'static [&'static str],
}

/// What starts a program.
enum Start {
    /// The template says it.
    Given,
    /// The first of these files that is there; the first one of all where none is.
    File(&'static [&'static str]),
    /// The package's name in `Cargo.toml`.
    Package,
}

const PYTHON: Start = Start::File(&["main.py", "app.py", "server.py", "run.py", "manage.py"]);

/// The first whose mark is there counts.
const KINDS: [Kind; 13] = [
    Kind {
        name: "Node",
        marks: &["package-lock.json"],
        dockerfile: "FROM node:22-bookworm-slim\nWORKDIR /app\nENV NODE_ENV=production\nCOPY package.json package-lock.json ./\n\
                     RUN --mount=type=cache,target=/var/cache/npm npm ci --omit=dev --cache /var/cache/npm\nCOPY . .\nUSER node\nCMD [\"npm\", \"start\"]\n",
        start: Start::Given,
        ignored: NODE_IGNORED,
    },
    Kind {
        name: "Node",
        marks: &["package.json"],
        dockerfile: "FROM node:22-bookworm-slim\nWORKDIR /app\nENV NODE_ENV=production\nCOPY package.json ./\n\
                     RUN --mount=type=cache,target=/var/cache/npm npm install --omit=dev --cache /var/cache/npm\nCOPY . .\nUSER node\nCMD [\"npm\", \"start\"]\n",
        start: Start::Given,
        ignored: NODE_IGNORED,
    },
    Kind {
        name: "Python",
        marks: &["requirements.txt"],
        dockerfile: "FROM python:3.12-slim-bookworm\nWORKDIR /app\nENV PYTHONUNBUFFERED=1\nCOPY requirements.txt ./\n\
                     RUN --mount=type=cache,target=/var/cache/pip pip install --cache-dir /var/cache/pip -r requirements.txt\nCOPY . .\n\
                     # The file that starts the program.\nCMD [\"python\", \"@\"]\n",
        start: PYTHON,
        ignored: &["**/__pycache__", "**/*.pyc", ".venv", "venv"],
    },
    Kind {
        name: "Python",
        marks: &["pyproject.toml", "setup.py"],
        dockerfile: "FROM python:3.12-slim-bookworm\nWORKDIR /app\nENV PYTHONUNBUFFERED=1\nCOPY . .\n\
                     RUN --mount=type=cache,target=/var/cache/pip pip install --cache-dir /var/cache/pip .\n\
                     # The file that starts the program.\nCMD [\"python\", \"@\"]\n",
        start: PYTHON,
        ignored: &["**/__pycache__", "**/*.pyc", ".venv", "venv", "dist", "build"],
    },
    Kind {
        name: "Go",
        marks: &["go.mod"],
        dockerfile: "FROM golang:1.23-bookworm AS build\nWORKDIR /src\nCOPY . .\n\
                     RUN --mount=type=cache,target=/go/pkg/mod --mount=type=cache,target=/var/cache/go \\\n    \
                     CGO_ENABLED=0 GOCACHE=/var/cache/go go build -trimpath -o /program .\n\nFROM scratch\nCOPY --from=build /program /program\nENTRYPOINT [\"/program\"]\n",
        start: Start::Given,
        ignored: &["bin"],
    },
    Kind {
        name: "Rust",
        marks: &["Cargo.toml"],
        dockerfile: "FROM rust:1-bookworm AS build\nWORKDIR /src\nCOPY . .\n\
                     RUN --mount=type=cache,target=/usr/local/cargo/registry cargo install --path . --root /out\n\n\
                     FROM debian:bookworm-slim\nCOPY --from=build /out/bin/ /usr/local/bin/\n\
                     # The program's name.\nCMD [\"@\"]\n",
        start: Start::Package,
        ignored: &["target"],
    },
    Kind {
        name: "Java (Maven)",
        marks: &["pom.xml"],
        dockerfile: "FROM maven:3-eclipse-temurin-21 AS build\nWORKDIR /src\nCOPY . .\n\
                     RUN --mount=type=cache,target=/var/cache/maven mvn --batch-mode -Dmaven.repo.local=/var/cache/maven package && cp target/*.jar /app.jar\n\n\
                     FROM eclipse-temurin:21-jre\nCOPY --from=build /app.jar /app.jar\n# The jar's manifest has to name the main class.\n\
                     ENTRYPOINT [\"java\", \"-jar\", \"/app.jar\"]\n",
        start: Start::Given,
        ignored: &["target"],
    },
    Kind {
        name: "Java (Gradle)",
        marks: &["build.gradle", "build.gradle.kts"],
        dockerfile: "FROM gradle:8-jdk21 AS build\nWORKDIR /src\nCOPY . .\n\
                     RUN --mount=type=cache,target=/home/gradle/.gradle gradle --no-daemon build && cp build/libs/*.jar /app.jar\n\n\
                     FROM eclipse-temurin:21-jre\nCOPY --from=build /app.jar /app.jar\n# The jar's manifest has to name the main class.\n\
                     ENTRYPOINT [\"java\", \"-jar\", \"/app.jar\"]\n",
        start: Start::Given,
        ignored: &["build", ".gradle"],
    },
    Kind {
        name: "Java",
        marks: &["Main.java"],
        dockerfile: "FROM eclipse-temurin:21-jdk AS build\nWORKDIR /src\nCOPY . .\nRUN javac -d /classes *.java\n\n\
                     FROM eclipse-temurin:21-jre\nCOPY --from=build /classes /classes\nENTRYPOINT [\"java\", \"-cp\", \"/classes\", \"Main\"]\n",
        start: Start::Given,
        ignored: &["**/*.class"],
    },
    Kind {
        name: "Ruby",
        marks: &["Gemfile"],
        dockerfile: "FROM ruby:3.3-slim-bookworm\nWORKDIR /app\nCOPY Gemfile* ./\nRUN bundle install\nCOPY . .\n\
                     # The file that starts the program.\nCMD [\"bundle\", \"exec\", \"ruby\", \"@\"]\n",
        start: Start::File(&["main.rb", "app.rb", "server.rb"]),
        ignored: &[".bundle", "vendor/bundle", "log", "tmp"],
    },
    Kind {
        name: "PHP (Composer)",
        marks: &["composer.json"],
        dockerfile: "FROM composer:2 AS build\nWORKDIR /app\nCOPY . .\n\
                     RUN --mount=type=cache,target=/tmp/cache composer install --no-dev --no-interaction\n\n\
                     FROM php:8.2-apache\nCOPY --from=build /app /var/www/html\n",
        start: Start::Given,
        ignored: &["vendor"],
    },
    Kind {
        name: "PHP",
        marks: &["index.php"],
        dockerfile: "FROM php:8.2-apache\nCOPY . /var/www/html\n",
        start: Start::Given,
        ignored: &[],
    },
    Kind {
        name: "static site",
        marks: &["index.html"],
        dockerfile: "FROM nginx:1-alpine\nCOPY . /usr/share/nginx/html\n",
        start: Start::Given,
        ignored: &[],
    },
];

const NODE_IGNORED: &[&str] = &["node_modules", "npm-debug.log*"];

/// Where nothing is known of the project.
const UNKNOWN: Kind = Kind {
    name: "unknown",
    marks: &[],
    dockerfile: "FROM debian:bookworm-slim\nWORKDIR /app\nCOPY . .\n# What starts the program.\nCMD [\"/bin/sh\"]\n",
    start: Start::Given,
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
    write(&dockerfile, &kind.dockerfile.replace('@', &kind.start.find(folder)))?;
    write(&ignore, &ignored)?;
    say!("{}: wrote {} and {}", kind.name, dockerfile.display(), ignore.display());
    say!("look them over, then: boxer build -t NAME {}", folder.display());
    Ok(ExitCode::SUCCESS)
}

impl Start {
    /// The name for the template.
    fn find(&self, folder: &Path) -> String {
        match self {
            Start::Given => "@".into(),
            Start::File(names) => {
                let there = names.iter().find(|name| folder.join(name).is_file());
                there.or(names.first()).copied().unwrap_or_default().into()
            }
            Start::Package => package(folder).unwrap_or_else(|| "program".into()),
        }
    }
}

/// The name of the program that `Cargo.toml` promises. Cargo allows letters, digits, `-` and `_` in it.
fn package(folder: &Path) -> Option<String> {
    let text = std::fs::read_to_string(folder.join("Cargo.toml")).ok()?;
    let manifest: toml::Table = text.parse().ok()?;
    let programs = manifest.get("bin").and_then(toml::Value::as_array);
    let first = programs.and_then(|programs| programs.first()).and_then(|first| first.get("name"));
    let name = first.or_else(|| manifest.get("package")?.get("name"))?.as_str()?;
    let allowed = |letter: char| letter.is_alphanumeric() || matches!(letter, '-' | '_');
    name.chars().all(allowed).then(|| name.to_owned())
}

fn write(path: &Path, text: &str) -> Result<(), Failure> {
    let fail = |error| Failure::new(format!("cannot write {}: {error}", path.display()));
    let mut file = OpenOptions::new().write(true).create_new(true).open(path).map_err(fail)?;
    file.write_all(text.as_bytes()).map_err(fail)
}
