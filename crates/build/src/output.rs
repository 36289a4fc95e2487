//! A finished image to a box or an archive.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use link::{LinkError, LinkInput, Linker, Program};
use oci::{BoxHandle, BoxOptions, Digest, ImageConfig, LayerBlob, Reference, Store};
use rootfs::config::{BoxConfig, CpuLevel};

use crate::builder::{Built, Workshop};
use crate::cache::{Cache, Cached, key};
use crate::error::{Cause, Error, Result};
use crate::events::{self, StepId};
use crate::files::{Entry, Files, Kind, resolve};
use crate::freeze::{self, Freezing, Known};
use crate::snapshot::Snapshot;

/// The form of a box.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BoxForm {
    /// A core module for WASI preview 1.
    #[default]
    Module,
    /// The same for hosts without SIMD; without compiled code, which needs it.
    ModuleWithoutSimd,
    /// A component for WASI preview 2, which may ask for a network (wasi:sockets).
    Component,
    /// The same for hosts without wasi:sockets.
    ComponentWithoutNetwork,
}

/// Linker, translator and all else that is part of what a box looks like, beside the guest program.
pub(crate) const MAKERS: &str = concat!(env!("CARGO_PKG_VERSION"), " ", env!("BOXER_LINKER"));

/// A box in the store.
#[derive(Clone, Debug)]
pub struct LinkedBox {
    /// Digest of the Wasm file.
    pub digest: Digest,
    /// The file itself. It belongs to the store: read it, do not change it.
    pub path: PathBuf,
    /// It was linked before.
    pub known: bool,
}

/// Links an image with the guest program and what `freezing` makes of its code, after the life that `snapshot` says. The same image,
/// guest and processor are linked once; the result stays in the store.
///
/// # Errors
/// The image is too large for a box, linking fails, or the store cannot be written.
pub fn link_box(
    workshop: &Workshop,
    built: &Built,
    cpu: CpuLevel,
    form: BoxForm,
    freezing: &Freezing,
    snapshot: &Snapshot,
) -> Result<LinkedBox> {
    let guest = match form {
        BoxForm::Component => link::component_guest_wasm()?,
        BoxForm::ModuleWithoutSimd => link::guest_wasm_without_simd()?,
        _ => workshop.guest.ok_or(LinkError::NoGuest)?,
    };
    let program_guest = link::program_guest_wasm()?;
    let key = key([
        b"box".as_slice(),
        MAKERS.as_bytes(),
        built.image.manifest.config.digest.as_str().as_bytes(),
        &link::guest_digest(guest),
        // Which of the two it is follows from the image.
        &link::guest_digest(program_guest),
        format!("{form:?}").as_bytes(),
        cpu.name().as_bytes(),
        &freezing.key(),
        &snapshot.key(),
    ]);
    let mut name = match form {
        BoxForm::Module => "link wasm",
        BoxForm::ModuleWithoutSimd => "link wasm without SIMD",
        BoxForm::Component | BoxForm::ComponentWithoutNetwork => "link component",
    }
    .to_owned();
    if snapshot.happens() {
        let title = snapshot.title(&box_config(&built.image.config));
        name = format!("{name}, {title}");
    }
    let name = name.as_str();
    // A damaged box counts as none.
    let store = &workshop.store;
    if let Some(Cached::Layer(blob)) = Cache::beside(store).get(&key, store) {
        let path = store.blob_file(&blob.digest)?;
        let linked = LinkedBox { path, digest: blob.digest, known: true };
        let step = built.next_step();
        let linked = events::step(workshop.events.as_ref(), step, name, || Ok((linked, true)))?;
        tell_size(workshop, &linked);
        return Ok(linked);
    }
    if let Some((path, bytes)) = module_of(workshop, built)? {
        let refuse = |reason: String| Error::new(Cause::Program { path: path.clone(), reason });
        let program = Program::read(&bytes).map_err(|error| refuse(error.to_string()))?;
        if snapshot.happens() {
            return Err(refuse("a snapshot is of programs of Linux alone".to_owned()));
        }
        let step = built.next_step();
        let linked = events::step(workshop.events.as_ref(), step, name, || {
            let guest = program_guest;
            let input =
                Input { guest, cpu, form, frozen: None, snapshot, step, program: Some(&program) };
            match link(workshop, built, &key, input) {
                Ok((linked, _)) => Ok((linked, false)),
                Err(error) => match *error.cause {
                    Cause::Link(LinkError::Program(error)) => Err(refuse(error.to_string())),
                    _ => Err(error),
                },
            }
        })?;
        tell_size(workshop, &linked);
        return Ok(linked);
    }
    if oci::is_wasi(&built.image.config) {
        return Err(Cause::NoProgram.into());
    }
    let attempt = |known: Known| {
        let trained = freeze::trained(workshop, built, cpu, freezing, known)?;
        let frozen =
            trained.as_ref().map(|trained| trained.frozen(cpu, freezing.budget, freezing.spare()));
        let step = built.next_step();
        events::step(workshop.events.as_ref(), step, name, || {
            let input = Input { guest, cpu, form, frozen, snapshot, step, program: None };
            let (linked, report) = link(workshop, built, &key, input)?;
            if let Some(report) = report {
                freeze::tell(workshop, step, &report, freezing.budget);
            }
            Ok((linked, false))
        })
    };
    let linked = match attempt(Known::Counts) {
        // Images were laid out differently when it was trained.
        Err(error) if matches!(*error.cause, Cause::Link(LinkError::OtherImage)) => {
            attempt(Known::IsMadeAnew)
        }
        result => result,
    }?;
    tell_size(workshop, &linked);
    Ok(linked)
}

/// The largest module that JavaScript hosts load, in bytes ("Implementation-defined limits" of the WebAssembly JavaScript interface).
const MAX_JS_MODULE: u64 = 1 << 30;

/// Warns of a box that not every host loads.
fn tell_size(workshop: &Workshop, linked: &LinkedBox) {
    let len = std::fs::metadata(&linked.path).map_or(0, |meta| meta.len());
    if let Some(text) = size_warning(len) {
        workshop.events.warning(&text);
    }
}

fn size_warning(len: u64) -> Option<String> {
    let gib = len as f64 / MAX_JS_MODULE as f64;
    (len > MAX_JS_MODULE).then(|| {
        format!(
            "the box has {gib:.2} GiB: browsers, Node, Deno and Bun load no module above 1 GiB; boxer run and wasmtime do"
        )
    })
}

/// An image's first program, if it is a WebAssembly module: where it is, and its bytes.
fn module_of(workshop: &Workshop, built: &Built) -> Result<Option<(String, Vec<u8>)>> {
    let image = &built.image.config;
    let config = box_config(image);
    let Some(word) = config.entrypoint.first().or(config.cmd.first()) else { return Ok(None) };
    let tree = built.tree(&workshop.store)?;
    let here = || match word.starts_with('/') {
        true => word.clone(),
        false => format!("{}/{word}", config.workdir.trim_end_matches('/')),
    };
    let mut candidates = Vec::new();
    if !word.contains('/') {
        let path = config.env.iter().find_map(|entry| entry.strip_prefix("PATH="));
        let folders = path.unwrap_or_default().split(':');
        candidates.extend(folders.map(|folder| format!("{folder}/{word}")));
    }
    // What runs such images looks at no PATH.
    if word.contains('/') || oci::is_wasi(image) {
        candidates.push(here());
    }
    for candidate in candidates {
        // Whatever cannot be followed or read is no program; that is said when it starts.
        let Ok(path) = resolve(&*tree, candidate.as_bytes(), true) else { continue };
        let Ok(Some(Entry { kind: Kind::File(_), .. })) = tree.entry(&path) else { continue };
        let Ok(mut file) = tree.open(&path) else { return Ok(None) };
        let mut bytes = vec![0; MAGIC.len()];
        if file.read_exact(&mut bytes).is_err() || bytes != MAGIC {
            return Ok(None);
        }
        let read = file.take(MAX_MODULE).read_to_end(&mut bytes);
        read.map_err(|error| Cause::Copy { path: candidate.clone(), reason: error.to_string() })?;
        return Ok(Some((candidate, bytes)));
    }
    Ok(None)
}

/// How a WebAssembly module or component begins.
const MAGIC: &[u8] = b"\0asm";

/// The most that is read of a module, in bytes: engines take none that is larger than what JavaScript hosts do.
const MAX_MODULE: u64 = MAX_JS_MODULE;

struct Input<'a> {
    guest: &'a [u8],
    cpu: CpuLevel,
    form: BoxForm,
    frozen: Option<link::Frozen<'a>>,
    snapshot: &'a Snapshot,
    step: StepId,
    program: Option<&'a Program<'a>>,
}

fn link(
    workshop: &Workshop,
    built: &Built,
    key: &Digest,
    input: Input<'_>,
) -> Result<(LinkedBox, Option<link::FrozenReport>)> {
    let store = &workshop.store;
    let Input { guest, cpu, form, frozen, snapshot, step, program } = input;
    let config_digest = &built.image.manifest.config.digest;
    let config_json = store.read_blob(config_digest, oci::manifest::MAX_CONFIG)?;
    let mut wasm = store.writer()?;
    let tree = built.tree(store)?;
    let report = tree.with_rootfs(|image, summary| {
        let mut out = io::BufWriter::with_capacity(1 << 20, &mut wasm);
        let mut linker = Linker::new(guest, workshop.runtime.cache().clone());
        if let Some(program) = program {
            linker = linker.with_program(program);
        }
        let input = LinkInput {
            image,
            image_len: summary.bytes,
            boot_len: summary.metadata,
            config: &BoxConfig { cpu, ..box_config(&built.image.config) },
            image_config_json: Some(&config_json),
            output: match form {
                BoxForm::Module | BoxForm::ModuleWithoutSimd => link::Output::Module,
                BoxForm::Component | BoxForm::ComponentWithoutNetwork => link::Output::Component,
            },
            frozen,
        };
        let report = if snapshot.happens() {
            let shell = built.image.config.config.shell.as_deref();
            snapshot.with_life(
                workshop,
                step,
                shell,
                || tree.newest_mtime(),
                |life| Ok(linker.link_after(input, life, &mut out)?),
            )?
        } else {
            linker.link(input, &mut out)?
        };
        out.flush().map_err(|source| write_error(store.path(), source))?;
        Ok(report)
    })?;
    let (digest, size) = wasm.finish()?;
    let media_type = oci::manifest::media::WASM_LAYER.to_owned();
    let record = LayerBlob { digest: digest.clone(), media_type, size, diff_id: digest.clone() };
    if let Err(error) = Cache::beside(store).put(key, &Cached::Layer(record)) {
        workshop.events.warning(&format!("the build cache cannot be written: {error}"));
    }
    let path = store.blob_path(&digest);
    Ok((LinkedBox { path, digest, known: false }, report))
}

/// Gives a box a name in the store (or none), as an artifact that can be pushed; under the name also the image is found.
///
/// # Errors
/// The store cannot be written.
pub fn store_box(
    workshop: &Workshop,
    built: &Built,
    linked: &LinkedBox,
    name: Option<&Reference>,
) -> Result<BoxHandle> {
    let options = BoxOptions {
        created: built.image.config.created.clone(),
        annotations: built.image.manifest.annotations.clone(),
        ..BoxOptions::default()
    };
    let handle = workshop.store.write_box(&linked.path, options, name)?;
    if let Some(name) = name {
        workshop.store.tag_image_of(name, &built.image.descriptor)?;
    }
    Ok(handle)
}

/// Leaves what a box's first run would have to find out, and its code compiled. Boxes of one guest program share that.
pub fn ready_box(workshop: &Workshop, path: &Path) {
    if let Err(error) = workshop.runtime.settle_file(path) {
        workshop.events.warning(&format!("the box is not compiled yet: {error}"));
    }
}

/// Copies a box to a file, which appears whole or not at all. Where the file system can share blocks (btrfs, XFS), nothing is
/// written twice.
///
/// # Errors
/// The file cannot be written.
pub fn copy_box(store: &Store, linked: &LinkedBox, destination: &Path) -> Result<()> {
    let mut source = store.open_blob(&linked.digest)?;
    let whole = store.verify(&linked.digest).ok().and_then(|()| File::open(&linked.path).ok());
    write_whole(destination, |out| {
        if whole.is_some_and(|blob| rustix::fs::ioctl_ficlone(&*out, blob).is_ok()) {
            return Ok(());
        }
        io::copy(&mut source, out).map(drop)
    })
}

/// Writes the image as an OCI archive (a tar), or as a layout directory if the destination is one.
///
/// # Errors
/// The destination cannot be written.
pub fn write_oci(
    workshop: &Workshop,
    built: &Built,
    name: Option<&Reference>,
    destination: &Path,
) -> Result<()> {
    let (store, digest) = (&workshop.store, &built.image.digest);
    if destination.is_dir() {
        return Ok(oci::export_layout(store, digest, destination, name)?);
    }
    write_file(destination, |out| Ok(oci::export_archive(store, digest, out, name)?))
}

/// Writes a file that appears whole or not at all.
///
/// # Errors
/// Those of `write`, or the file cannot be written.
pub fn write_file(
    destination: &Path,
    write: impl FnOnce(&mut dyn Write) -> Result<()>,
) -> Result<()> {
    let mut failure = None;
    let result = write_whole(destination, |out| {
        write(out).map_err(|error| {
            let text = error.to_string();
            failure = Some(error);
            io::Error::other(text)
        })
    });
    match failure {
        Some(error) => Err(error),
        None => result,
    }
}

/// Writes the image's files as one tar, plain.
///
/// # Errors
/// The layers cannot be read, or `out` takes no more.
pub fn write_tar(workshop: &Workshop, built: &Built, out: &mut dyn Write) -> Result<()> {
    let tree = built.tree(&workshop.store)?;
    tree.write_tar(io::BufWriter::with_capacity(1 << 20, out))
}

/// Writes the image's files into a directory, which is made; with their owners where root builds.
///
/// # Errors
/// The layers cannot be read or the directory cannot be written.
pub fn write_local(workshop: &Workshop, built: &Built, folder: &Path) -> Result<()> {
    std::fs::create_dir_all(folder).map_err(|source| write_error(folder, source))?;
    built.tree(&workshop.store)?.write_host(folder)
}

/// What the guest needs of an image's config.
pub fn box_config(config: &ImageConfig) -> BoxConfig {
    let run = &config.config;
    let mut env = run.env.clone();
    if !env.iter().any(|entry| entry.starts_with("PATH=")) {
        env.insert(0, format!("PATH={}", crate::config::DEFAULT_PATH));
    }
    BoxConfig {
        entrypoint: run.entrypoint.clone().unwrap_or_default(),
        cmd: run.cmd.clone().unwrap_or_default(),
        env,
        workdir: run.working_dir.clone(),
        user: run.user.clone(),
        stop_signal: run.stop_signal.clone(),
        // Made up at each start, as docker does.
        hostname: String::new(),
        cpu: CpuLevel::default(),
    }
}

/// Writes a file beside its place and moves it there. Something that is no regular file (a pipe,
/// `/dev/stdout`) is written to directly.
fn write_whole(destination: &Path, write: impl FnOnce(&mut File) -> io::Result<()>) -> Result<()> {
    let fail = |source| write_error(destination, source);
    if destination.metadata().is_ok_and(|meta| !meta.is_file() && !meta.is_dir()) {
        let mut file = File::options().write(true).open(destination).map_err(fail)?;
        return write(&mut file).map_err(fail);
    }
    let folder = match destination.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let mut file = tempfile::Builder::new()
        .prefix(".boxer-")
        .permissions(std::os::unix::fs::PermissionsExt::from_mode(0o644))
        .tempfile_in(folder)
        .map_err(fail)?;
    write(file.as_file_mut()).map_err(fail)?;
    file.persist(destination).map_err(|error| fail(error.error))?;
    Ok(())
}

fn write_error(path: &Path, source: io::Error) -> Error {
    Error::new(Cause::Write { path: path.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_some_hosts_refuse_is_warned_of() {
        assert_eq!(size_warning(MAX_JS_MODULE), None);
        let text = size_warning(MAX_JS_MODULE * 3 / 2).unwrap_or_default();
        assert!(text.starts_with("the box has 1.50 GiB: browsers"), "{text}");
    }
}
