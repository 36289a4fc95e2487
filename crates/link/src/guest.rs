//! The guest programs that were built into this library.

use crate::LinkError;

static GUEST: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/guest.wasm"));
static GUEST_WITHOUT_SIMD: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/guest-no-simd.wasm"));
static COMPONENT_GUEST: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/guest-sockets.wasm"));
static PROGRAM_GUEST: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/guest-program.wasm"));

/// The guest program, a core module for WASI preview 1.
pub fn guest_wasm() -> Result<&'static [u8], LinkError> {
    some(GUEST)
}

/// The same for hosts without SIMD.
pub fn guest_wasm_without_simd() -> Result<&'static [u8], LinkError> {
    some(GUEST_WITHOUT_SIMD)
}

/// The same for components with a network: it also imports wasi:sockets.
pub fn component_guest_wasm() -> Result<&'static [u8], LinkError> {
    some(COMPONENT_GUEST)
}

/// The same for images whose program is a WASI module: it has no processor.
pub fn program_guest_wasm() -> Result<&'static [u8], LinkError> {
    some(PROGRAM_GUEST)
}

fn some(guest: &'static [u8]) -> Result<&'static [u8], LinkError> {
    if guest.is_empty() { Err(LinkError::NoGuest) } else { Ok(guest) }
}
