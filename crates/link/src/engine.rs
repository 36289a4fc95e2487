//! One way to set up wasmtime, so that linking and running share compiled code.
#![allow(unsafe_code)] // a setting of the compiler, below

use wasmtime::{Config, Engine, Result};

/// Stack for Wasm frames, in bytes. The guest keeps no guest state there; its deepest need is the
/// interpreter's and the filesystem's own recursion.
const WASM_STACK: usize = 2 << 20;

/// An engine with Boxer's settings. Code compiled by one can be loaded by another.
pub fn engine() -> Result<Engine> {
    let mut config = Config::new();
    config.max_wasm_stack(WASM_STACK).async_stack_size(WASM_STACK + (1 << 20));
    // A box's memory image is mapped copy-on-write from the compiled file: start-up does not grow with it.
    config.memory_init_cow(true).memory_guaranteed_dense_image_size(64 << 20);
    // Address space, not memory: the accesses of a program that lies behind a box's own memory (`merge`) have offsets beyond any guard, and
    // are checked by the processor as all others if nothing can lie that far.
    config.memory_reservation(8 << 30);
    // Calls between translated functions go through the table: its elements need no look whether they are there already.
    config.table_lazy_init(false);
    // Translated code says which of its parts are hardly ever run.
    config.wasm_branch_hinting(true);
    // All that Cranelift makes of AVX-512's DQ is one instruction for products of quadwords, of three steps on Intel's processors. Without it
    // products of doublewords (pmuludq), which is what these nearly always are, are that.
    #[cfg(target_arch = "x86_64")]
    // SAFETY: code for fewer instructions than the processor has.
    unsafe {
        config.cranelift_flag_set("has_avx512dq", "false");
    }
    Engine::new(&config)
}
