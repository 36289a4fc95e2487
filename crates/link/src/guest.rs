//! The guest programs that were built into this library.

use crate::LinkError;

static GUEST: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/guest.wasm"));
static COMPONENT_GUEST: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/guest-sockets.wasm"));

/// The guest program, a core module for WASI preview 1.
pub fn guest_wasm() -> Result<&'static [u8], LinkError> {
    if GUEST.is_empty() { Err(LinkError::NoGuest) } else { Ok(GUEST) }
}

/// The same for components with a network: it also imports wasi:sockets.
pub fn component_guest_wasm() -> Result<&'static [u8], LinkError> {
    if COMPONENT_GUEST.is_empty() { Err(LinkError::NoGuest) } else { Ok(COMPONENT_GUEST) }
}
