//! `boxer rmi`, `tag`, `save`, `load`, `history`, `prune`, `df` and `diff`: the local store as docker's commands show it.

use std::collections::BTreeSet;
use std::io::{IsTerminal, Write};
use std::process::ExitCode;

use oci::{Artifact, Kind, NoProgress, Reference, Selector};

use crate::args::{DiffArgs, Global, HistoryArgs, LoadArgs, PruneArgs, RmiArgs, SaveArgs, TagArgs};
use crate::failure::Failure;
use crate::progress::megabytes;
use crate::session;

pub fn rmi(global: &Global, args: &RmiArgs) -> Result<ExitCode, Failure> {
    let store = session::store(global)?;
    let mut missing = false;
    for name in &args.names {
        let reference = Reference::parse(name).map_err(Failure::usage)?;
        if store.untag(&reference)? {
            say!("Untagged: {}", reference.familiar());
        } else {
            tell!("ERROR: no such image or box in the local store: {}", reference.familiar());
            missing = true;
        }
    }
    Ok(if missing { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

pub fn tag(global: &Global, args: &TagArgs) -> Result<ExitCode, Failure> {
    let store = session::store(global)?;
    let source = Reference::parse(&args.source).map_err(Failure::usage)?;
    let target = Reference::parse(&args.target).map_err(Failure::usage)?;
    let found = store.resolve(&source)?;
    let image = store.resolve_image(&source)?;
    store.tag(&target, &found)?;
    if image.digest != found.digest {
        store.tag_image_of(&target, &image)?;
    }
    Ok(ExitCode::SUCCESS)
}

pub fn save(global: &Global, args: &SaveArgs) -> Result<ExitCode, Failure> {
    let store = session::store(global)?;
    let reference = Reference::parse(&args.name).map_err(Failure::usage)?;
    let digest = match (args.image, store.artifact(&reference)?) {
        (false, Artifact::Box(handle)) => handle.digest,
        _ => store.image(&reference)?.digest,
    };
    let write = |out: &mut dyn Write| match store.artifact_by_digest(&digest)? {
        Artifact::Box(_) => oci::export_archive(&store, &digest, out, Some(&reference)),
        Artifact::Image(_) => {
            oci::export_docker_archive(&store, &digest, out, std::slice::from_ref(&reference))
        }
    };
    match &args.output {
        Some(path) => build::write_file(path, |out| Ok(write(out)?))?,
        None if std::io::stdout().is_terminal() => {
            return Err(Failure::usage("an archive is not for a terminal: give --output FILE"));
        }
        None => write(&mut std::io::stdout().lock())?,
    }
    Ok(ExitCode::SUCCESS)
}

pub fn load(global: &Global, args: &LoadArgs) -> Result<ExitCode, Failure> {
    let store = session::store(global)?;
    let held;
    let path = match &args.input {
        Some(path) => path.clone(),
        None => {
            let mut file = tempfile::NamedTempFile::new().map_err(Failure::new)?;
            std::io::copy(&mut std::io::stdin().lock(), &mut file).map_err(Failure::new)?;
            held = file;
            held.path().to_owned()
        }
    };
    let names = oci::archive_names(&path, &store)?;
    if names.is_empty() {
        let artifact = oci::import_archive(&path, None, &store, None, &NoProgress)?;
        say!("Loaded: {}", artifact.digest());
    }
    for name in names {
        let reference = Reference::parse(&name)?;
        let selector = Selector::Name(name);
        oci::import_archive(&path, Some(&selector), &store, Some(&reference), &NoProgress)?;
        say!("Loaded: {}", reference.familiar());
    }
    Ok(ExitCode::SUCCESS)
}

pub fn history(global: &Global, args: &HistoryArgs) -> Result<ExitCode, Failure> {
    let store = session::store(global)?;
    let image = store.image(&Reference::parse(&args.name).map_err(Failure::usage)?)?;
    let mut sizes = image.layers.iter().map(|layer| layer.size);
    let mut rows = Vec::new();
    for entry in &image.config.history {
        let size = if entry.empty_layer { 0 } else { sizes.next().unwrap_or(0) };
        let by = entry.created_by.clone().unwrap_or_default();
        rows.push((entry.created.clone().unwrap_or_default(), by, size));
    }
    say!("{:<20}   {:<45}   SIZE", "CREATED", "CREATED BY");
    for (created, by, size) in rows.iter().rev() {
        let by = by.replace('\n', " ");
        let short = match by.chars().count() > 45 && !args.no_trunc {
            true => by.chars().take(44).chain(['…']).collect(),
            false => by,
        };
        say!("{created:<20}   {short:<45}   {}", megabytes(*size));
    }
    Ok(ExitCode::SUCCESS)
}

pub fn prune(global: &Global, args: &PruneArgs) -> Result<ExitCode, Failure> {
    let mut store = session::store(global)?;
    if args.repair {
        for digest in store.repair()? {
            say!("Damaged, removed: {digest}");
        }
    }
    store.forget_unnamed()?;
    let mut freed = 0;
    if args.all {
        freed += build::forget_cache(&store)?;
    }
    freed += store.collect_garbage()?;
    let runtime = session::runtime()?;
    freed += if args.all { runtime.cache().clear() } else { runtime.cache().prune() };
    say!("Total reclaimed space: {}", megabytes(freed));
    Ok(ExitCode::SUCCESS)
}

pub fn df(global: &Global) -> Result<ExitCode, Failure> {
    let store = session::store(global)?;
    let images = store.images()?;
    let garbage: u64 = store.garbage()?.iter().map(|(_, size)| size).sum();
    let row = |what: &str, count: usize, size: u64, free: u64| {
        say!("{what:<13}   {count:>6}   {:>9}   {:>11}", megabytes(size), megabytes(free));
    };
    say!("{:<13}   {:>6}   {:>9}   {:>11}", "TYPE", "COUNT", "SIZE", "RECLAIMABLE");
    for (what, kind) in [("Boxes", Kind::Box), ("Images", Kind::Image)] {
        let mine: Vec<_> = images.iter().filter(|entry| entry.kind == kind).collect();
        let mut seen = BTreeSet::new();
        let mine_once = mine.iter().filter(|entry| seen.insert(entry.digest.clone()));
        row(what, mine.len(), mine_once.map(|entry| entry.size).sum(), 0);
    }
    row("Blobs unnamed", store.garbage()?.len(), garbage, garbage);
    let cache = build::cache_size(&store);
    row("Cache mounts", cache.mounts, cache.mount_bytes, cache.mount_bytes);
    row("Build cache", cache.records, cache.record_bytes, cache.record_bytes);
    let (entries, bytes) = session::runtime()?.cache().size();
    row("Compiled code", entries, bytes, bytes);
    Ok(ExitCode::SUCCESS)
}

pub fn diff(global: &Global, args: &DiffArgs) -> Result<ExitCode, Failure> {
    let store = session::store(global)?;
    let image = |name: &str| -> Result<_, Failure> {
        Ok(store.image(&Reference::parse(name).map_err(Failure::usage)?)?)
    };
    for (mark, path) in build::changes(&store, &image(&args.from)?, &image(&args.to)?)? {
        say!("{mark} {path}");
    }
    Ok(ExitCode::SUCCESS)
}
