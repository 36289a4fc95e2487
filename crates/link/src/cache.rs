//! Compiled code on disk, so that a module is compiled once.
//!
//! Each entry is two files: `KEY-ENGINE.cwasm`, which wasmtime maps into memory, and `KEY-ENGINE.sum`: the digest of the
//! first one, and the [`trust::stamp`] under which it was last compared with it. `ENGINE` stands for wasmtime's version and
//! settings. What is loaded is native code, so all of it is compared: small entries each time, large ones whenever their
//! stamp is another. An entry that does not check, or that others could have written, is compiled again. Files appear by
//! renaming and are never modified, so readers and concurrent writers never see a partial one. A cache that cannot be
//! written costs speed only.
#![allow(unsafe_code)] // loading compiled code, below

use crate::digest::{Digest, digest_of, hex};
use crate::trust::SMALL;
use crate::{Content, prune, trust};
use std::fs::File;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::Relaxed;
use wasmtime::component::Component;
use wasmtime::{Engine, Module};

/// Entries written between two looks for what has not been used for long.
const STORES_A_PRUNE: u32 = 128;

/// What went wrong with compiled code.
#[derive(Debug, thiserror::Error)]
pub enum CacheError {
    /// The module is not valid, or uses what the engine does not support.
    #[error("cannot compile: {0}")]
    Compile(String),
    /// What is to be compiled has not the digest under which it would be kept.
    #[error("the file changed while it was read")]
    Changed,
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

    /// The compiled core module; `wasm` gives its bytes when needed, of which `key` is the digest.
    pub fn module<E: From<CacheError>>(
        &self,
        key: &Digest,
        wasm: impl FnOnce() -> Result<Vec<u8>, E>,
    ) -> Result<Module, E> {
        self.code(key, wasm)
    }

    /// The compiled core module of this digest, if it was compiled before.
    pub fn known(&self, key: &Digest) -> Option<Module> {
        self.stored(&self.path(key))
    }

    fn stored<C: Code>(&self, path: &Path) -> Option<C> {
        let code = checked(path).and_then(|file| self.load(file))?;
        prune::used(&path.with_extension(prune::SUM));
        Some(code)
    }

    /// As [`module`](Self::module), for a component.
    pub fn component<E: From<CacheError>>(
        &self,
        key: &Digest,
        wasm: impl FnOnce() -> Result<Vec<u8>, E>,
    ) -> Result<Component, E> {
        self.code(key, wasm)
    }

    fn code<C: Code, E: From<CacheError>>(
        &self,
        key: &Digest,
        wasm: impl FnOnce() -> Result<Vec<u8>, E>,
    ) -> Result<C, E> {
        let path = self.path(key);
        if let Some(code) = self.stored(&path) {
            return Ok(code);
        }
        let bytes = wasm()?;
        // A file that changes must not become the code of another.
        if digest_of(&bytes) != *key {
            return Err(CacheError::Changed.into());
        }
        let compiled = C::compile(&self.engine, &bytes).map_err(compile_error)?;
        drop(bytes);
        if let Some(code) = self.store(&path, &compiled).ok().and_then(|file| self.load(file)) {
            return Ok(code);
        }
        // SAFETY: The compiler has just made it.
        Ok(unsafe { C::from_bytes(&self.engine, &compiled) }.map_err(compile_error)?)
    }

    /// Loads a file that is as [`store`](Self::store) wrote it.
    fn load<C: Code>(&self, file: File) -> Option<C> {
        // SAFETY: wasmtime asks that the file is its own output and stays unchanged while mapped. Entries are written only by
        // `store`, into new files that get their names when they are whole and are never modified. `checked` has compared all of
        // it, refuses files that others than this user and root can write, and wasmtime itself those of another version,
        // target or setting. So who could change it could change this program's memory, too.
        unsafe { C::from_file(&self.engine, file) }.ok()
    }

    /// Waits, some milliseconds at most, until what was just compiled is known to be whole: loading it is quick then.
    pub fn settle(&self, key: &Digest) {
        let path = self.path(key);
        if let Some((file, _)) = trust::open_own(&path) {
            trust::settle(&file);
            checked(&path);
        }
    }

    fn path(&self, key: &Digest) -> PathBuf {
        self.dir.join(format!("{}-{:016x}.{}", hex(key), self.engine_tag, prune::CODE))
    }

    /// How many entries there are, hot code's among them, and the bytes of everything.
    pub fn size(&self) -> (usize, u64) {
        let ((entries, bytes), (regions, more)) =
            (prune::size(&self.dir), prune::size(&self.regions().dir));
        (entries + regions, bytes + more)
    }

    /// Removes what was not used for long, as storing does from time to time; gives the bytes freed.
    pub fn prune(&self) -> u64 {
        let regions = self.regions();
        prune::prune(&self.dir, None, self.kept) + prune::prune(&regions.dir, None, regions.kept)
    }

    /// Removes everything; gives the bytes freed.
    pub fn clear(&self) -> u64 {
        prune::clear(&self.dir) + prune::clear(&self.regions().dir)
    }

    /// Writes an entry; its file.
    fn store(&self, path: &Path, compiled: &[u8]) -> std::io::Result<File> {
        trust::own_folder(&self.dir)?;
        // The sum is removed first and written last: it never vouches for another writer's half.
        let sum_path = path.with_extension(prune::SUM);
        match std::fs::remove_file(&sum_path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let file = trust::write_whole(path, compiled)?;
        trust::write_whole(&sum_path, &digest_of(compiled))?;
        // It looks at every entry.
        if self.stores.fetch_add(1, Relaxed).is_multiple_of(STORES_A_PRUNE) {
            prune::prune(&self.dir, Some(path), self.kept);
        }
        Ok(file)
    }
}

/// An entry's file, if it is whole.
fn checked(path: &Path) -> Option<File> {
    let sum_path = path.with_extension(prune::SUM);
    let sum = trust::read_own(&sum_path)?;
    let (digest, known) = sum.split_first_chunk::<32>()?;
    let (file, meta) = trust::open_own(path)?;
    let stamp = trust::stamp(&meta);
    if meta.len() > SMALL && stamp.is_some_and(|stamp| stamp == *known) {
        return Some(file);
    }
    if Content::File(&file).digest().ok()? != *digest {
        return None;
    }
    if meta.len() > SMALL
        && let Some(stamp) = stamp
        && Some(stamp) == trust::stamp(&file.metadata().ok()?)
    {
        // Only speed depends on it.
        let _ = trust::write_whole(&sum_path, &[*digest, stamp].concat());
    }
    Some(file)
}

/// What wasmtime compiles and loads.
trait Code: Sized {
    fn compile(engine: &Engine, wasm: &[u8]) -> wasmtime::Result<Vec<u8>>;

    /// # Safety
    /// The file is what `compile` gave, and is not modified.
    unsafe fn from_file(engine: &Engine, file: File) -> wasmtime::Result<Self>;

    /// # Safety
    /// The bytes are what `compile` gave.
    unsafe fn from_bytes(engine: &Engine, compiled: &[u8]) -> wasmtime::Result<Self>;
}

impl Code for Module {
    fn compile(engine: &Engine, wasm: &[u8]) -> wasmtime::Result<Vec<u8>> {
        engine.precompile_module(wasm)
    }

    unsafe fn from_file(engine: &Engine, file: File) -> wasmtime::Result<Self> {
        // SAFETY: as the caller says.
        unsafe { Module::deserialize_open_file(engine, file) }
    }

    unsafe fn from_bytes(engine: &Engine, compiled: &[u8]) -> wasmtime::Result<Self> {
        // SAFETY: as the caller says.
        unsafe { Module::deserialize(engine, compiled) }
    }
}

impl Code for Component {
    fn compile(engine: &Engine, wasm: &[u8]) -> wasmtime::Result<Vec<u8>> {
        engine.precompile_component(wasm)
    }

    unsafe fn from_file(engine: &Engine, file: File) -> wasmtime::Result<Self> {
        // The same open file by its name: wasmtime takes no open files for components.
        let name = format!("/proc/self/fd/{}", file.as_raw_fd());
        // SAFETY: as the caller says.
        unsafe { Component::deserialize_file(engine, name) }
    }

    unsafe fn from_bytes(engine: &Engine, compiled: &[u8]) -> wasmtime::Result<Self> {
        // SAFETY: as the caller says.
        unsafe { Component::deserialize(engine, compiled) }
    }
}

fn compile_error(error: wasmtime::Error) -> CacheError {
    CacheError::Compile(format!("{error:#}"))
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

    /// What `f` returns, having noted whether the module was compiled.
    fn call(cache: &CodeCache, wasm: &[u8], compiled: &mut bool) -> i32 {
        let bytes = || {
            *compiled = true;
            Ok::<_, CacheError>(wasm.to_vec())
        };
        let module = cache.module(&digest_of(wasm), bytes).unwrap();
        let mut store = wasmtime::Store::new(cache.engine(), ());
        let instance = wasmtime::Instance::new(&mut store, &module, &[]).unwrap();
        instance.get_typed_func::<(), i32>(&mut store, "f").unwrap().call(&mut store, ()).unwrap()
    }

    /// The same, large enough for its entry not to be compared each time: with many functions.
    fn large_module_returning(n: u8) -> Vec<u8> {
        const FUNCTIONS: u32 = 8_000;
        let mut module = wasm_encoder::Module::new();
        let mut types = wasm_encoder::TypeSection::new();
        types.ty().function([], [wasm_encoder::ValType::I32]);
        let mut functions = wasm_encoder::FunctionSection::new();
        let mut code = wasm_encoder::CodeSection::new();
        for k in 0..FUNCTIONS {
            functions.function(0);
            let mut body = wasm_encoder::Function::new([]);
            body.instructions().i32_const(k as i32 + i32::from(n)).end();
            code.function(&body);
        }
        let mut exports = wasm_encoder::ExportSection::new();
        exports.export("f", wasm_encoder::ExportKind::Func, 0);
        module.section(&types).section(&functions).section(&exports).section(&code);
        module.finish()
    }

    fn cache(dir: &Path) -> CodeCache {
        CodeCache::new(crate::engine().unwrap(), dir.join("code"))
    }

    type Damage = fn(&Path);

    /// What can happen to an entry, given its compiled file.
    const DAMAGES: [Damage; 6] = [
        |cwasm| std::fs::write(cwasm, b"nothing").unwrap(),
        |cwasm| {
            let bytes = std::fs::read(cwasm).unwrap();
            std::fs::write(cwasm, &bytes[..bytes.len() / 2]).unwrap();
        },
        |cwasm| std::fs::remove_file(cwasm.with_extension("sum")).unwrap(),
        |cwasm| std::fs::write(cwasm.with_extension("sum"), b"short").unwrap(),
        |cwasm| {
            // A bit in the middle, where the code is, with the times as before.
            let before = std::fs::metadata(cwasm).unwrap().modified().unwrap();
            let mut bytes = std::fs::read(cwasm).unwrap();
            let middle = bytes.len() / 2;
            bytes[middle] ^= 1;
            std::fs::write(cwasm, bytes).unwrap();
            File::options().append(true).open(cwasm).unwrap().set_modified(before).unwrap();
        },
        |cwasm| {
            // A file that is whole but not wasmtime's.
            std::fs::remove_file(cwasm).unwrap();
            std::fs::write(cwasm, [0; 4096]).unwrap();
            std::fs::write(cwasm.with_extension("sum"), digest_of(&[0; 4096])).unwrap();
        },
    ];

    #[test]
    fn damaged_entries_are_compiled_again() {
        let dir = tempfile::tempdir().unwrap();
        let cache = cache(dir.path());
        for (wasm, large) in [(module_returning(7), false), (large_module_returning(7), true)] {
            let mut compiled = false;
            assert_eq!(call(&cache, &wasm, &mut compiled), 7);
            assert!(std::mem::take(&mut compiled));
            assert_eq!(call(&cache, &wasm, &mut compiled), 7);
            assert!(!compiled, "the second time comes from the cache");
            let cwasm = cache.path(&digest_of(&wasm));
            for (i, damage) in DAMAGES.iter().enumerate() {
                // Compared a moment ago, too, it is not believed unseen.
                trust::settle(&File::open(&cwasm).unwrap());
                assert_eq!(call(&cache, &wasm, &mut compiled), 7);
                let sum = std::fs::read(cwasm.with_extension("sum")).unwrap();
                assert_eq!(sum.len(), if large { 64 } else { 32 });
                damage(&cwasm);
                compiled = false;
                assert_eq!(call(&cache, &wasm, &mut compiled), 7, "damage {i}");
                assert!(std::mem::take(&mut compiled), "damage {i} goes unnoticed");
            }
        }
    }

    #[test]
    fn what_others_can_write_is_compiled_again() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let cache = cache(dir.path());
        let (wasm, mut compiled) = (module_returning(9), false);
        assert_eq!(call(&cache, &wasm, &mut compiled), 9);
        for extension in ["cwasm", "sum"] {
            let file = cache.path(&digest_of(&wasm)).with_extension(extension);
            std::fs::set_permissions(&file, PermissionsExt::from_mode(0o666)).unwrap();
            compiled = false;
            assert_eq!(call(&cache, &wasm, &mut compiled), 9);
            assert!(compiled, "{extension}");
        }
    }

    #[test]
    fn a_cache_that_cannot_be_written_costs_only_time() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("code"), "no folder").unwrap();
        let mut compiled = false;
        assert_eq!(call(&cache(dir.path()), &module_returning(5), &mut compiled), 5);
        assert!(compiled);
    }

    #[test]
    fn code_is_kept_under_its_own_digest_only() {
        let dir = tempfile::tempdir().unwrap();
        let cache = cache(dir.path());
        let (first, second) = (module_returning(1), module_returning(2));
        let other = || Ok::<_, CacheError>(second.clone());
        let result = cache.module(&digest_of(&first), other);
        assert!(matches!(result, Err(CacheError::Changed)));
        let mut compiled = false;
        assert_eq!(call(&cache, &first, &mut compiled), 1);
        assert!(compiled);
    }

    #[test]
    fn many_may_compile_the_same_at_once() {
        let dir = tempfile::tempdir().unwrap();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                // Each as a process of its own would: with another engine.
                scope.spawn(|| {
                    for n in 0..6 {
                        let mut compiled = false;
                        assert_eq!(
                            call(&cache(dir.path()), &module_returning(n), &mut compiled),
                            i32::from(n)
                        );
                    }
                });
            }
        });
        let (cache, mut compiled) = (cache(dir.path()), false);
        assert_eq!(call(&cache, &module_returning(3), &mut compiled), 3);
        assert!(!compiled);
    }
}
