//! A box as a folder that any static file server serves: a small module, the contents of its files in chunks that a browser loads when they are touched, and a page.

use crate::builder::{Built, Workshop};
use crate::error::{Cause, Error, Result};
use crate::output::{LinkedBox, write_file};
use flate2::Compression;
use flate2::write::DeflateEncoder;
use link::Outside;
use rootfs::limits::Limits;
use runtime::{Chunks, Folder, Input, Output, Overrides, RunOptions};
use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::time::Duration;

/// The page's files.
const PAGE: &[(&str, &[u8])] = include!(concat!(env!("OUT_DIR"), "/page.rs"));

/// The module's name.
const MODULE: &str = "box.wasm";
/// The chunks' folder.
const CHUNKS: &str = "chunks";

/// What a start touches is what the image's command touches until it waits for so long,
const RESTS: Duration = Duration::from_millis(500);
/// or until so much time is over.
const TOTAL: Duration = Duration::from_secs(10);

/// What was written.
#[derive(Clone, Copy, Debug)]
pub struct Web {
    /// Bytes of the module.
    pub module: u64,
    /// How many chunks there are, and their bytes in the folder.
    pub chunks: (usize, u64),
    /// The same of those that a start touches.
    pub start: (usize, u64),
}

/// Writes a module that was linked as such a folder. Chunks that are there already stay, those of other boxes, too.
///
/// # Errors
/// This program has no page in it, the folder cannot be written, or the box does not start.
pub fn write_web(
    workshop: &Workshop,
    built: &Built,
    linked: &LinkedBox,
    folder: &Path,
) -> Result<Web> {
    if PAGE.is_empty() {
        return Err(Cause::NoPage.into());
    }
    let chunk_folder = folder.join(CHUNKS);
    make(&chunk_folder)?;
    let read = |source| Cause::Read { path: linked.path.clone(), source };
    let mut file = File::open(&linked.path).map_err(read)?;
    if link::inspect(&mut file)?.is_program {
        let what = "type=web of an image whose program is a WASI module".to_owned();
        return Err(Cause::Unsupported { what }.into());
    }
    let outside = Outside::new(file)?;
    let mut chunks = Chunks {
        version: Chunks::VERSION,
        chunk: outside.chunk_len(),
        length: outside.len(),
        digests: Vec::new(),
        start: Vec::new(),
    };
    let mut sizes = Vec::new();
    outside.chunks(|bytes| -> Result<()> {
        let name = link::hex(&link::digest_of(bytes));
        sizes.push(write_chunk(&chunk_folder.join(&name), bytes)?);
        chunks.digests.push(name);
        Ok(())
    })?;
    let module = folder.join(MODULE);
    let write = |chunks: &Chunks| -> Result<()> {
        let json = serde_json::to_vec(chunks).map_err(|error| Cause::Write {
            path: module.clone(),
            source: std::io::Error::other(error),
        })?;
        write_file(&module, |out| Ok(outside.write(&json, out)?))
    };
    write(&chunks)?;
    chunks.start = touched(workshop, built, &module, &chunk_folder, &chunks)?;
    write(&chunks)?;
    for (name, bytes) in PAGE {
        let path = folder.join(name);
        make(path.parent().unwrap_or(folder))?;
        write_file(&path, |out| {
            let wrote = out.write_all(bytes);
            wrote.map_err(|source| Cause::Write { path: path.clone(), source }.into())
        })?;
    }
    let size = |index: &u32| sizes.get(*index as usize).copied().unwrap_or(0);
    Ok(Web {
        module: std::fs::metadata(&module).map_or(0, |meta| meta.len()),
        chunks: (sizes.len(), sizes.iter().sum()),
        start: (chunks.start.len(), chunks.start.iter().map(size).sum()),
    })
}

/// Writes a chunk, compressed; the bytes that takes. One that is there is left alone: its name says what is in it.
fn write_chunk(path: &Path, bytes: &[u8]) -> Result<u64> {
    if let Ok(meta) = std::fs::metadata(path) {
        return Ok(meta.len());
    }
    let failed = |source| Error::from(Cause::Write { path: path.to_owned(), source });
    let mut encoder = DeflateEncoder::new(Vec::new(), Compression::best());
    let compressed = encoder.write_all(bytes).and_then(|()| encoder.finish()).map_err(failed)?;
    write_file(path, |out| out.write_all(&compressed).map_err(failed))?;
    Ok(compressed.len() as u64)
}

/// The chunks that the image's command touches at a terminal, in that order.
fn touched(
    workshop: &Workshop,
    built: &Built,
    module: &Path,
    folder: &Path,
    chunks: &Chunks,
) -> Result<Vec<u32>> {
    let run = &built.image.config.config;
    let words = |words: &Option<Vec<String>>| words.as_ref().is_some_and(|words| !words.is_empty());
    if !words(&run.entrypoint) && !words(&run.cmd) {
        return Ok(Vec::new());
    }
    let (outside, touched) = Folder::new(folder, chunks.clone());
    let limits = Limits { timeout: Some(TOTAL.as_nanos() as u64), ..Limits::default() };
    let options = RunOptions {
        stdin: Input::Silent,
        stdout: Output::Discard,
        stderr: Output::Discard,
        overrides: Overrides {
            tty: Some(true),
            tty_size: Some((80, 24)),
            limits,
            ..Overrides::default()
        },
        idle: Some(RESTS),
        interrupt: Some(workshop.interrupt.clone()),
        outside: Some(outside),
        ..RunOptions::default()
    };
    match workshop.runtime.run_file(module, options) {
        // Its status is of no account: a page may start something else.
        Ok(_) => {}
        Err(runtime::RunError::Interrupted) => return Err(Cause::Cancelled.into()),
        Err(error) => {
            let reason = error.to_string();
            return Err(Cause::Machine { command: module.display().to_string(), reason }.into());
        }
    }
    let mut start = touched.lock().map(|touched| touched.clone()).unwrap_or_default();
    let mut seen = std::collections::BTreeSet::new();
    start.retain(|index| seen.insert(*index));
    Ok(start)
}

fn make(folder: &Path) -> Result<()> {
    std::fs::create_dir_all(folder)
        .map_err(|source| Cause::Write { path: folder.to_owned(), source }.into())
}
