//! Writes sections of a module, knowing where in the file.

use crate::LinkError;
use std::io::Write;
use wasm_encoder::Section;

/// Counts what is written.
pub struct Counted<'a> {
    out: &'a mut dyn Write,
    /// Bytes that have been written.
    pub at: u64,
}

impl<'a> Counted<'a> {
    pub fn new(out: &'a mut dyn Write) -> Counted<'a> {
        Counted { out, at: 0 }
    }

    pub fn flush(&mut self) -> Result<(), LinkError> {
        self.out.flush().map_err(write_error)
    }
}

fn write_error(source: std::io::Error) -> LinkError {
    LinkError::Io { what: "write the module", source }
}

pub fn damaged(error: impl std::fmt::Display) -> LinkError {
    LinkError::Guest(format!("the snapshot is damaged: {error}"))
}

pub fn section_bytes(section: &impl Section) -> Vec<u8> {
    let mut bytes = Vec::new();
    section.append_to(&mut bytes);
    bytes
}

pub fn put(out: &mut Counted<'_>, bytes: &[u8]) -> Result<(), LinkError> {
    out.at += bytes.len() as u64;
    out.out.write_all(bytes).map_err(write_error)
}
