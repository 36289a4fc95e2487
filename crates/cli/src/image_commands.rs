//! `boxer push`, `pull` and `images`.

use std::process::ExitCode;

use oci::{Artifact, Kind, NoProgress, Progress, Reference};

use crate::args::{Global, ImagesArgs, PullArgs, PushArgs};
use crate::failure::Failure;
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
        rows.push([name, kind.to_owned(), entry.digest.to_string(), megabytes(entry.size)]);
    }
    if args.quiet {
        rows.iter().for_each(|row| say!("{}", row[2]));
        return Ok(ExitCode::SUCCESS);
    }
    let header = ["NAME", "KIND", "DIGEST", "SIZE"].map(str::to_owned);
    let all: Vec<&[String; 4]> = std::iter::once(&header).chain(&rows).collect();
    let width =
        |column: usize| all.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths = [width(0), width(1), width(2)];
    for row in all {
        let [name, kind, digest, size] = row;
        say!(
            "{name:<a$}   {kind:<b$}   {digest:<c$}   {size}",
            a = widths[0],
            b = widths[1],
            c = widths[2]
        );
    }
    Ok(ExitCode::SUCCESS)
}
