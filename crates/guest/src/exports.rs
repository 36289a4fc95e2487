//! The exports that the linker calls while it makes a box; `link`'s documentation has the contract.
#![allow(unsafe_code)] // exported symbols, memory.grow and the statics between two calls from outside

use rootfs::config::BoxConfig;
use std::sync::Mutex;

/// Size of a Wasm page.
const WASM_PAGE: usize = 65536;

/// What was handed in so far. Addresses, because memory comes from outside of any allocator.
struct Handed {
    image: (usize, usize),
    config: (usize, usize),
}

static HANDED: Mutex<Handed> = Mutex::new(Handed { image: (0, 0), config: (0, 0) });

/// Runs `f` with what the linker handed in.
pub fn with_boxed(f: impl FnOnce(&'static [u8], BoxConfig)) {
    let (image, config) = match HANDED.lock() {
        Ok(handed) => (handed.image, handed.config),
        Err(_) => return,
    };
    // SAFETY: `grow` returned these ranges; nobody else has them and they are never freed.
    let (image, config) = unsafe { (slice(image), slice(config)) };
    if let Ok(config) = BoxConfig::decode(config) {
        f(image, config);
    }
}

/// # Safety
/// The range comes from [`grow`].
unsafe fn slice((start, len): (usize, usize)) -> &'static [u8] {
    if len == 0 {
        return &[];
    }
    // SAFETY: as the caller promises.
    unsafe { std::slice::from_raw_parts(start as *const u8, len) }
}

/// New zeroed linear memory; its address, or 0.
fn grow(len: usize) -> usize {
    #[cfg(target_arch = "wasm32")]
    {
        // The allocator takes hold of its first piece of memory before this one comes behind it.
        drop(std::hint::black_box(Box::new(0_u8)));
        match core::arch::wasm32::memory_grow(0, len.div_ceil(WASM_PAGE).max(1)) {
            usize::MAX => 0,
            page => page * WASM_PAGE,
        }
    }
    #[cfg(not(target_arch = "wasm32"))]
    {
        let _ = len.div_ceil(WASM_PAGE);
        0
    }
}

#[unsafe(export_name = "boxer-reserve")]
extern "C" fn boxer_reserve(len: usize) -> usize {
    let start = grow(len);
    if let Ok(mut handed) = HANDED.lock() {
        handed.image = (start, len);
    }
    start
}

#[unsafe(export_name = "boxer-config-reserve")]
extern "C" fn boxer_config_reserve(len: usize) -> usize {
    let start = grow(len);
    if let Ok(mut handed) = HANDED.lock() {
        handed.config = (start, len);
    }
    start
}

#[unsafe(export_name = "wizer-initialize")]
extern "C" fn wizer_initialize() {
    with_boxed(|image, config| {
        std::hint::black_box((image.len(), config.cmd.len()));
    });
}
