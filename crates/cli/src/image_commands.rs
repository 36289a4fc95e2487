//! `boxer push`, `pull` and `images`.

use std::process::ExitCode;

use oci::{Artifact, Digest, Kind, NoProgress, Progress, Reference, Store};

use crate::args::{Global, ImagesArgs, PullArgs, PushArgs};
use crate::failure::Failure;
use crate::freeze_commands::PARENT;
use crate::progress::{Transfers, megabytes};
use crate::session;

pub fn push(global: &Global, args: &PushArgs) -> Result<ExitCode, Failure> {
    let reference = Reference::parse(&args.name).map_err(Failure::usage)?;
    let store = session::store(global)?;
    let client = session::client(global)?;
    let image = match (args.image, store.artifact(&reference)?) {
        (true, _) => store.image(&reference)?,
        (false, Artifact::Image(_)) if args.form.is_some() => {
            return Err(Failure::usage(format!(
                "{} is a Linux image, which is pushed as it is: --as is for boxes",
                reference.familiar()
            )));
        }
        (false, Artifact::Image(image)) => image,
        (false, Artifact::Box(handle)) => {
            let form = args.form.unwrap_or_default();
            for pushed in client.push_box(&reference, &store, &handle, form, &Transfers)? {
                match pushed.reference == reference {
                    true => say!("{}@{}", name_of(&reference), pushed.digest),
                    false => say!("{}@{}", pushed.reference.canonical(), pushed.digest),
                }
            }
            return Ok(ExitCode::SUCCESS);
        }
    };
    client.push(&reference, &store, &image.digest, &Transfers)?;
    say!("{}@{}", name_of(&reference), image.digest);
    Ok(ExitCode::SUCCESS)
}

pub fn pull(global: &Global, args: &PullArgs) -> Result<ExitCode, Failure> {
    let reference = Reference::parse(&args.name).map_err(Failure::usage)?;
    let store = session::store(global)?;
    let progress: &dyn Progress = if args.quiet { &NoProgress } else { &Transfers };
    let client = session::client(global)?;
    let pulled = client.pull_any(&reference, &store, progress)?;
    if args.attestations {
        let count = client.pull_attestations(&reference, &pulled.digest, &store, progress)?;
        tell!("{count} attestations");
    }
    say!("{}@{}", name_of(&reference), pulled.digest);
    Ok(ExitCode::SUCCESS)
}

/// Registry and repository.
fn name_of(reference: &Reference) -> String {
    format!("{}/{}", reference.registry(), reference.repository())
}

pub fn images(global: &Global, args: &ImagesArgs) -> Result<ExitCode, Failure> {
    let store = session::store(global)?;
    let mut rows = Vec::new();
    for entry in store.images()? {
        if entry.name.is_none() && !args.all {
            continue;
        }
        let name = entry.name.as_deref().map(|name| match Reference::parse(name) {
            Ok(reference) => reference.familiar(),
            Err(_) => name.to_owned(),
        });
        let name = name.unwrap_or_else(|| "<none>".to_owned());
        if args.name.as_ref().is_some_and(|wanted| !name.contains(wanted.as_str())) {
            continue;
        }
        if let Some(damage) = &entry.damage {
            tell!("boxer: warning: {name}: {damage}");
        }
        let kind = match entry.kind {
            Kind::Image => "image",
            Kind::Box => "box",
            Kind::Other => "other",
        };
        let parent = match entry.kind {
            Kind::Box => parent_of(&store, &entry.digest),
            _ => String::new(),
        };
        let digest = entry.digest.to_string();
        rows.push([name, kind.to_owned(), digest, megabytes(entry.size), parent]);
    }
    if args.quiet {
        rows.iter().for_each(|row| say!("{}", row[2]));
        return Ok(ExitCode::SUCCESS);
    }
    // Who has frozen nothing needs no column for it.
    let parents = rows.iter().any(|row| !row[4].is_empty());
    let last = if parents { "PARENT" } else { "" };
    let header = ["NAME", "KIND", "DIGEST", "SIZE", last].map(str::to_owned);
    let all: Vec<&[String; 5]> = std::iter::once(&header).chain(&rows).collect();
    let width =
        |column: usize| all.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let [a, b, c, d] = [width(0), width(1), width(2), width(3)];
    for [name, kind, digest, size, parent] in all {
        let line = format!("{name:<a$}   {kind:<b$}   {digest:<c$}   {size:<d$}   {parent}");
        say!("{}", line.trim_end());
    }
    Ok(ExitCode::SUCCESS)
}

/// The file that a frozen box came from: a name that leads to it, or its digest.
fn parent_of(store: &Store, digest: &Digest) -> String {
    let Ok(Artifact::Box(frozen)) = store.artifact_by_digest(digest) else { return String::new() };
    let Some(parent) = frozen.manifest.annotations.get(PARENT) else { return String::new() };
    let boxes = store.images().unwrap_or_default().into_iter().filter(|e| e.kind == Kind::Box);
    let named = boxes.filter_map(|entry| Some((entry.name?, entry.digest)));
    let is_parent = |digest: &Digest| {
        matches!(store.artifact_by_digest(digest), Ok(Artifact::Box(handle))
            if handle.wasm.digest.as_str() == parent)
    };
    let found = named.into_iter().find(|(_, digest)| is_parent(digest));
    let found = found.and_then(|(name, _)| Reference::parse(&name).ok());
    found.map_or_else(|| parent.clone(), |reference| reference.familiar())
}
