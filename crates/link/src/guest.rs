//! The guest programs that were built into this library.

use crate::LinkError;
use crate::digest::{Digest, digest_of};
use std::sync::OnceLock;

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

/// The digest of a guest program; of one of these it is computed once.
pub fn guest_digest(guest: &'static [u8]) -> Digest {
    static KNOWN: [(&[u8], OnceLock<Digest>); 4] = [
        (GUEST, OnceLock::new()),
        (GUEST_WITHOUT_SIMD, OnceLock::new()),
        (COMPONENT_GUEST, OnceLock::new()),
        (PROGRAM_GUEST, OnceLock::new()),
    ];
    match KNOWN.iter().find(|(known, _)| std::ptr::eq(*known, guest)) {
        Some((known, digest)) => *digest.get_or_init(|| digest_of(known)),
        None => digest_of(guest),
    }
}

fn some(guest: &'static [u8]) -> Result<&'static [u8], LinkError> {
    if guest.is_empty() { Err(LinkError::NoGuest) } else { Ok(guest) }
}
