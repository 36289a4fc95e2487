//! A program in an image, and what runs it.

use link::{LinkError, LinkInput, Output as Form};
use rootfs::config::BoxConfig;
use rootfs::{Metadata, Writer};
use runtime::Runtime;
use std::io::Cursor;
use std::sync::OnceLock;

/// A program of one segment at 0x400000.
pub fn elf(code: &[u8]) -> Vec<u8> {
    const BASE: u64 = 0x40_0000;
    const HEAD: u64 = 64 + 56;
    let mut file = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x02\0\x3e\0\x01\0\0\0".to_vec();
    [BASE + HEAD, 64, 0].iter().for_each(|word| file.extend(word.to_le_bytes()));
    [0_u16, 0, 64, 56, 1, 64, 0, 0].iter().for_each(|half| file.extend(half.to_le_bytes()));
    [1_u32, 5].iter().for_each(|word| file.extend(word.to_le_bytes()));
    let len = HEAD + code.len() as u64;
    [0, BASE, BASE, len, len, 4096].iter().for_each(|word| file.extend(word.to_le_bytes()));
    file.extend(code);
    file
}

/// An image with this program as `/program`.
pub fn image(program: &[u8]) -> Vec<u8> {
    let meta = |mode| Metadata { mode, ..Metadata::default() };
    let mut tree = Writer::new(meta(0o755));
    tree.file(tree.root(), b"program", meta(0o755), program.len() as u64).unwrap();
    let mut bytes = Vec::new();
    tree.write(&mut bytes, |_| Ok(Cursor::new(program.to_vec()))).unwrap();
    bytes
}

/// For a box of this image that starts its program.
pub fn input<'a>(image: &'a mut &[u8], config: &'a BoxConfig, output: Form) -> LinkInput<'a> {
    let image_len = image.len() as u64;
    let (image_config_json, frozen) = (None, None);
    LinkInput { image, image_len, boot_len: image_len, config, image_config_json, output, frozen }
}

/// What [`image`] is started with.
pub fn config() -> BoxConfig {
    BoxConfig { entrypoint: vec!["/program".into()], ..BoxConfig::default() }
}

/// The guest program for boxes of this form.
pub fn guest(form: Form) -> Result<&'static [u8], LinkError> {
    match form {
        Form::Module => link::guest_wasm(),
        Form::Component => link::component_guest_wasm(),
    }
}

/// With a cache of this name, one in each test program. None where there is no guest program.
pub fn runtime(name: &str) -> Option<&'static Runtime> {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    if link::guest_wasm().is_err() {
        println!("skipped: no guest program");
        return None;
    }
    let cache = std::env::temp_dir().join("boxer-tests").join(name);
    Some(RUNTIME.get_or_init(|| Runtime::with_cache_dir(&cache).unwrap()))
}
