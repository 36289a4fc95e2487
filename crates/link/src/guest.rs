//! The guest program that was built into this library.

use crate::LinkError;

static GUEST: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/guest.wasm"));

/// The guest program, a core module for WASI preview 1.
pub fn guest_wasm() -> Result<&'static [u8], LinkError> {
    if GUEST.is_empty() { Err(LinkError::NoGuest) } else { Ok(GUEST) }
}
