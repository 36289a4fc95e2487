//! Names that nobody can guess.

use crate::error::Error;
use std::fs::File;
use std::io::Read;

/// A new one, in hexadecimal digits.
///
/// # Errors
/// This system has no entropy.
pub fn new() -> Result<String, Error> {
    let mut bytes = [0; 12];
    let read = File::open("/dev/urandom").and_then(|mut file| file.read_exact(&mut bytes));
    read.map_err(Error::io("read /dev/urandom"))?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}
