//! Names that nobody can guess.

use crate::error::Error;
use std::fs::File;
use std::io::Read;

/// Bytes of the name of a sandbox or a context.
const NAME: usize = 12;

/// A new name.
///
/// # Errors
/// This system has no entropy.
pub fn new() -> Result<String, Error> {
    secret::<NAME>()
}

/// So many random bytes, in hexadecimal digits.
///
/// # Errors
/// This system has no entropy.
pub fn secret<const BYTES: usize>() -> Result<String, Error> {
    let mut bytes = [0; BYTES];
    let read = File::open("/dev/urandom").and_then(|mut file| file.read_exact(&mut bytes));
    read.map_err(Error::io("read /dev/urandom"))?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}
