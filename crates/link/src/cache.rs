//! Compiled code on disk, so that a module is compiled once.
//!
//! Each entry is two files: `KEY-ENGINE.cwasm`, which wasmtime maps into memory, and
//! `KEY-ENGINE.sum`, which says that the first one was written whole (its length and a digest of
//! its first and last 64 KiB: a full digest would make each start as slow as the image is large).
//! `ENGINE` stands for wasmtime's version and settings. An entry that does not check is compiled
//! again. Files appear by renaming, so readers and concurrent writers never see a partial one.
#![allow(unsafe_code)] // loading compiled code, below

use crate::prune;
use sha2::{Digest as _, Sha256};
use std::fs::File;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::Relaxed;
use wasmtime::component::Component;
use wasmtime::{Engine, Module};

/// A SHA-256 digest.
pub type Digest = [u8; 32];

/// The SHA-256 digest of `bytes`.
pub fn digest_of(bytes: &[u8]) -> Digest {
    Sha256::digest(bytes).into()
}

/// Bytes at each end of a compiled file that its digest covers.
const EDGE: u64 = 64 << 10;

/// Entries written between two looks for what has not been used for long.
const STORES_A_PRUNE: u32 = 128;

/// What went wrong with compiled code.
#[derive(Debug, thiserror::Error)]
pub enum CacheError {
    /// The module is not valid, or uses what the engine does not support.
    #[error("cannot compile: {0}")]
    Compile(String),
    /// A cache file could not be written or read.
    #[error("cache of compiled code: {path}: {source}")]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
}

/// A directory of compiled code, and the engine it is for.
#[derive(Clone)]
pub struct CodeCache {
    engine: Engine,
    dir: PathBuf,
    engine_tag: u64,
    /// Bytes to keep.
    kept: u64,
    /// Entries written.
    stores: Arc<AtomicU32>,
}

impl CodeCache {
    /// A cache in `dir`, which is created when something is stored.
    pub fn new(engine: Engine, dir: impl Into<PathBuf>) -> Self {
        let mut hasher = DefaultHasher::new();
        engine.precompile_compatibility_hash().hash(&mut hasher);
        let (engine_tag, stores) = (hasher.finish(), Arc::default());
        CodeCache { engine_tag, engine, dir: dir.into(), kept: prune::KEPT, stores }
    }

    /// A cache beside this one for modules of a few functions, of which there are many.
    pub fn regions(&self) -> CodeCache {
        let (dir, kept) = (self.dir.join("regions"), prune::KEPT_REGIONS);
        CodeCache { dir, kept, stores: Arc::default(), ..self.clone() }
    }

    /// The engine that the code is for.
    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    /// The directory.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The compiled core module for `key` (a digest of what was compiled); `wasm` gives its bytes when needed.
    pub fn module<E: From<CacheError>>(
        &self,
        key: &Digest,
        wasm: impl FnOnce() -> Result<Vec<u8>, E>,
    ) -> Result<Module, E> {
        let path = self.path(key);
        if checks(&path)
            // SAFETY: see `load`.
            && let Ok(module) = unsafe { Module::deserialize_file(&self.engine, &path) }
        {
            prune::used(&path);
            return Ok(module);
        }
        let bytes = wasm()?;
        let compiled = self.engine.precompile_module(&bytes).map_err(compile_error)?;
        drop(bytes);
        self.store(&path, compiled)?;
        // SAFETY: see `load`.
        Ok(unsafe { Module::deserialize_file(&self.engine, &path) }.map_err(compile_error)?)
    }

    /// As [`module`](Self::module), for a component.
    pub fn component<E: From<CacheError>>(
        &self,
        key: &Digest,
        wasm: impl FnOnce() -> Result<Vec<u8>, E>,
    ) -> Result<Component, E> {
        let path = self.path(key);
        if checks(&path)
            // SAFETY: see `load`.
            && let Ok(component) = unsafe { Component::deserialize_file(&self.engine, &path) }
        {
            prune::used(&path);
            return Ok(component);
        }
        let bytes = wasm()?;
        let compiled = self.engine.precompile_component(&bytes).map_err(compile_error)?;
        drop(bytes);
        self.store(&path, compiled)?;
        // SAFETY: see `load`.
        Ok(unsafe { Component::deserialize_file(&self.engine, &path) }.map_err(compile_error)?)
    }

    fn path(&self, key: &Digest) -> PathBuf {
        self.dir.join(format!("{}-{:016x}.cwasm", hex(key), self.engine_tag))
    }

    fn store(&self, path: &Path, compiled: Vec<u8>) -> Result<(), CacheError> {
        let io = |source| CacheError::Io { path: path.to_path_buf(), source };
        std::fs::create_dir_all(&self.dir).map_err(io)?;
        let sum = edges_of(&compiled);
        // The sum is removed first and written last: it never vouches for another writer's half.
        let sum_path = path.with_extension("sum");
        match std::fs::remove_file(&sum_path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(io(error)),
            _ => {}
        }
        write_whole(&self.dir, path, &compiled).map_err(io)?;
        write_whole(&self.dir, &sum_path, &sum).map_err(io)?;
        // It looks at every entry.
        if self.stores.fetch_add(1, Relaxed).is_multiple_of(STORES_A_PRUNE) {
            prune::prune(&self.dir, path, self.kept);
        }
        Ok(())
    }
}

/// Lower-case hexadecimal digits.
pub(crate) fn hex(digest: &Digest) -> String {
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn compile_error(error: wasmtime::Error) -> CacheError {
    CacheError::Compile(format!("{error:#}"))
}

fn write_whole(dir: &Path, path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let mut file = tempfile::NamedTempFile::new_in(dir)?;
    file.write_all(bytes)?;
    file.persist(path).map_err(|error| error.error)?;
    Ok(())
}

/// SAFETY argument of the `deserialize_file` calls: wasmtime asks that the file is its own output,
/// unchanged while mapped. Entries are written only by [`CodeCache::store`], into new files that are
/// renamed into place and never modified; [`checks`] refuses truncated or replaced ones and wasmtime
/// itself those of another version, target or setting. The directory is the user's own, as trusted as
/// the program file of Boxer itself.
fn checks(path: &Path) -> bool {
    let load = || -> std::io::Result<bool> {
        let sum = std::fs::read(path.with_extension("sum"))?;
        let mut file = File::open(path)?;
        let len = file.metadata()?.len();
        let mut head = Vec::new();
        (&file).take(EDGE).read_to_end(&mut head)?;
        file.seek(SeekFrom::Start(len.saturating_sub(EDGE)))?;
        let mut tail = Vec::new();
        file.take(EDGE).read_to_end(&mut tail)?;
        Ok(sum == edges(len, &head, &tail))
    };
    load().unwrap_or(false)
}

fn edges_of(bytes: &[u8]) -> Digest {
    let edge = (EDGE as usize).min(bytes.len());
    edges(bytes.len() as u64, &bytes[..edge], &bytes[bytes.len() - edge..])
}

fn edges(len: u64, head: &[u8], tail: &[u8]) -> Digest {
    let mut hasher = Sha256::new();
    hasher.update(len.to_le_bytes());
    hasher.update(head);
    hasher.update(tail);
    hasher.finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `(module (func (export "f") (result i32) i32.const N))`
    fn module_returning(n: u8) -> Vec<u8> {
        let mut wasm = b"\0asm\x01\0\0\0".to_vec();
        wasm.extend_from_slice(&[1, 5, 1, 0x60, 0, 1, 0x7f]);
        wasm.extend_from_slice(&[3, 2, 1, 0]);
        wasm.extend_from_slice(&[7, 5, 1, 1, b'f', 0, 0]);
        wasm.extend_from_slice(&[10, 6, 1, 4, 0, 0x41, n, 0x0b]);
        wasm
    }

    fn call(cache: &CodeCache, key: &Digest, n: u8, compiled: &mut bool) -> i32 {
        let wasm = || {
            *compiled = true;
            Ok::<_, CacheError>(module_returning(n))
        };
        let module = cache.module(key, wasm).unwrap();
        let mut store = wasmtime::Store::new(cache.engine(), ());
        let instance = wasmtime::Instance::new(&mut store, &module, &[]).unwrap();
        instance.get_typed_func::<(), i32>(&mut store, "f").unwrap().call(&mut store, ()).unwrap()
    }

    #[test]
    fn damaged_entries_are_compiled_again() {
        let dir = tempfile::tempdir().unwrap();
        let cache = CodeCache::new(crate::engine().unwrap(), dir.path().join("code"));
        let key = digest_of(b"seven");
        let mut compiled = false;
        assert_eq!(call(&cache, &key, 7, &mut compiled), 7);
        assert!(std::mem::take(&mut compiled));
        assert_eq!(call(&cache, &key, 7, &mut compiled), 7);
        assert!(!compiled, "the second time comes from the cache");

        type Damage = fn(&Path);
        let cwasm = cache.path(&key);
        let damages: [Damage; 4] = [
            |cwasm| std::fs::write(cwasm, b"nothing").unwrap(),
            |cwasm| {
                let bytes = std::fs::read(cwasm).unwrap();
                std::fs::write(cwasm, &bytes[..bytes.len() / 2]).unwrap();
            },
            |cwasm| std::fs::remove_file(cwasm.with_extension("sum")).unwrap(),
            |cwasm| {
                // A file that is whole but not wasmtime's.
                std::fs::remove_file(cwasm).unwrap();
                std::fs::write(cwasm, [0; 4096]).unwrap();
                std::fs::write(cwasm.with_extension("sum"), edges_of(&[0; 4096])).unwrap();
            },
        ];
        for (i, damage) in damages.iter().enumerate() {
            damage(&cwasm);
            compiled = false;
            assert_eq!(call(&cache, &key, 7, &mut compiled), 7, "damage {i}");
            assert!(compiled, "damage {i} goes unnoticed");
        }
    }
}
