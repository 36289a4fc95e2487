//! What a box asks of its host and what it holds, read without loading the image.

use crate::{CONFIG_SECTION, FROZEN_SECTION, LIFE_SECTION, LinkError, PROGRAM_SECTION};
use std::io::{Read, Seek, SeekFrom};
use std::ops::Range;
use wasmparser::{
    BinaryReader, CodeSectionReader, ComponentImportSectionReader, ImportSectionReader,
};

/// The form of a Wasm file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// A core module.
    Module,
    /// A component.
    Component,
}

/// What [`inspect`] finds.
#[derive(Clone, Debug)]
pub struct Inspection {
    /// Module or component.
    pub format: Format,
    /// What it imports: `module.name` for a module, the interface for a component.
    pub imports: Vec<String>,
    /// Length of the file in bytes.
    pub file_size: u64,
    /// Bytes of the code section (of a component: of all core modules in it, which include data).
    pub code_size: u64,
    /// Where a module's code section lies in the file.
    code_at: u64,
    /// Bytes of the data section, which holds the root filesystem.
    pub data_size: u64,
    /// The OCI image configuration (JSON), when the file has one.
    pub image_config_json: Option<Vec<u8>>,
    /// What [`crate::FROZEN_SECTION`] says (JSON), when the file has one.
    pub frozen_json: Option<Vec<u8>>,
    /// What [`crate::LIFE_SECTION`] says (JSON), when the file has one.
    pub life_json: Option<Vec<u8>>,
    /// Whether its program is a WASI module that is part of it ([`PROGRAM_SECTION`]).
    pub is_program: bool,
}

/// More than any import or configuration section needs; a larger one is refused.
const MAX_SECTION: u64 = 64 << 20;

/// More bytes than the name of a section of ours has.
const LONGEST_NAME: u64 = 64;

/// Reads the sections of a Wasm file, skipping code and data: each start of a box does this.
pub fn inspect(file: &mut (impl Read + Seek)) -> Result<Inspection, LinkError> {
    let file_size = file.seek(SeekFrom::End(0)).map_err(io)?;
    file.seek(SeekFrom::Start(0)).map_err(io)?;
    let mut header = [0; 8];
    file.read_exact(&mut header).map_err(io)?;
    let format = match header {
        [0, b'a', b's', b'm', 1, 0, 0, 0] => Format::Module,
        [0, b'a', b's', b'm', 0x0d, 0, 1, 0] => Format::Component,
        _ => {
            return Err(LinkError::NotWasm(
                "it is neither a Wasm module nor a component".to_owned(),
            ));
        }
    };
    let mut found = Inspection {
        format,
        imports: Vec::new(),
        file_size,
        code_size: 0,
        code_at: 0,
        data_size: 0,
        image_config_json: None,
        frozen_json: None,
        life_json: None,
        is_program: false,
    };
    let mut at = header.len() as u64;
    while at < file_size {
        let mut id = [0];
        file.read_exact(&mut id).map_err(io)?;
        let (len, len_bytes) = read_leb(file)?;
        at += 1 + len_bytes;
        if len > file_size - at {
            return Err(LinkError::NotWasm(format!("the section at byte {at} is truncated")));
        }
        section(file, id[0], at..at + len, &mut found)?;
        at += len;
        file.seek(SeekFrom::Start(at)).map_err(io)?;
    }
    Ok(found)
}

fn section(
    file: &mut impl Read,
    id: u8,
    place: Range<u64>,
    found: &mut Inspection,
) -> Result<(), LinkError> {
    let len = place.end - place.start;
    match (found.format, id) {
        (_, 0) => custom(file, len, found)?,
        (Format::Module, 2) => {
            let bytes = read(file, len)?;
            for group in ImportSectionReader::new(BinaryReader::new(&bytes, 0))
                .map_err(not_wasm)?
                .into_imports()
            {
                let import = group.map_err(not_wasm)?;
                found.imports.push(format!("{}.{}", import.module, import.name));
            }
        }
        (Format::Module, 10) => {
            found.code_size += len;
            found.code_at = place.start;
        }
        (Format::Module, 11) => found.data_size += len,
        (Format::Component, 1) => found.code_size += len,
        (Format::Component, 10) => {
            let bytes = read(file, len)?;
            for import in
                ComponentImportSectionReader::new(BinaryReader::new(&bytes, 0)).map_err(not_wasm)?
            {
                found.imports.push(import.map_err(not_wasm)?.name.name.to_owned());
            }
        }
        _ => {}
    }
    Ok(())
}

/// Takes what a custom section says if it is one of ours.
fn custom(file: &mut impl Read, len: u64, found: &mut Inspection) -> Result<(), LinkError> {
    let (name_len, len_bytes) = read_leb(file)?;
    let Some(rest) = len.checked_sub(len_bytes + name_len) else {
        return Err(LinkError::NotWasm("the name of a section is longer than it".to_owned()));
    };
    if name_len > LONGEST_NAME {
        return Ok(());
    }
    let name = read(file, name_len)?;
    let ours = [
        (CONFIG_SECTION, &mut found.image_config_json),
        (FROZEN_SECTION, &mut found.frozen_json),
        (LIFE_SECTION, &mut found.life_json),
    ];
    for (section, place) in ours {
        if name == section.as_bytes() {
            *place = Some(read(file, rest)?);
        }
    }
    found.is_program |= name == PROGRAM_SECTION.as_bytes();
    Ok(())
}

/// Whether there is an instruction on vectors (SIMD) in the code of a file that was inspected; a component counts as having one.
pub fn has_simd(file: &mut (impl Read + Seek), inspection: &Inspection) -> Result<bool, LinkError> {
    let len = inspection.code_size;
    if inspection.format == Format::Component || len > MAX_SECTION {
        return Ok(true);
    }
    if len == 0 {
        return Ok(false);
    }
    file.seek(SeekFrom::Start(inspection.code_at)).map_err(io)?;
    vectors_in(&read(file, len)?)
}

/// The first byte of each instruction on vectors.
const VECTOR_PREFIX: u8 = 0xfd;

fn vectors_in(code: &[u8]) -> Result<bool, LinkError> {
    for body in CodeSectionReader::new(BinaryReader::new(code, 0)).map_err(not_wasm)? {
        let mut operators = body.map_err(not_wasm)?.get_operators_reader().map_err(not_wasm)?;
        while !operators.eof() {
            if code.get(operators.original_position()) == Some(&VECTOR_PREFIX) {
                return Ok(true);
            }
            operators.read().map_err(not_wasm)?;
        }
    }
    Ok(false)
}

fn read(file: &mut impl Read, len: u64) -> Result<Vec<u8>, LinkError> {
    if len > MAX_SECTION {
        return Err(LinkError::NotWasm(format!("a section of {len} bytes is too large")));
    }
    let mut bytes = Vec::new();
    file.take(len).read_to_end(&mut bytes).map_err(io)?;
    Ok(bytes)
}

/// An unsigned LEB128 number of 32 bits, and how many bytes it took.
fn read_leb(file: &mut impl Read) -> Result<(u64, u64), LinkError> {
    let mut value = 0;
    for i in 0..5 {
        let mut byte = [0];
        file.read_exact(&mut byte).map_err(io)?;
        value |= u64::from(byte[0] & 0x7f) << (7 * i);
        if byte[0] & 0x80 == 0 {
            return Ok((value, i + 1));
        }
    }
    Err(LinkError::NotWasm("a section's length is malformed".to_owned()))
}

fn io(source: std::io::Error) -> LinkError {
    if source.kind() == std::io::ErrorKind::UnexpectedEof {
        return LinkError::NotWasm("it is truncated".to_owned());
    }
    LinkError::Io { what: "read the box", source }
}

fn not_wasm(error: wasmparser::BinaryReaderError) -> LinkError {
    LinkError::NotWasm(error.to_string())
}
