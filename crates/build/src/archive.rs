//! ADD's archives: a tar, plain or compressed, known by its content and never by its name.

use std::io::{self, Read};

use crate::copy::shown;
use crate::error::{Cause, Error, Result};
use crate::files::Files;
use crate::image_tree::ImageTree;

/// Bytes of a tar header.
const HEADER: usize = 512;

/// The archive's tree; `None` if the file is not an archive.
pub(crate) fn open(files: &dyn Files, path: &[u8]) -> Result<Option<ImageTree>> {
    let fail =
        |error: io::Error| Error::new(Cause::Copy { path: shown(path), reason: error.to_string() });
    let head = head(files.open(path).map_err(fail)?).map_err(fail)?;
    let is_archive = match head.as_slice() {
        [0x1f, 0x8b, ..] => {
            let stream = flate2::read::MultiGzDecoder::new(files.open(path).map_err(fail)?);
            // A stream that cannot be unpacked is a file like any other.
            self::head(stream).is_ok_and(|head| is_tar(&head))
        }
        [0x28, 0xb5, 0x2f, 0xfd, ..] => {
            let stream =
                zstd::stream::read::Decoder::new(files.open(path).map_err(fail)?).map_err(fail)?;
            self::head(stream).is_ok_and(|head| is_tar(&head))
        }
        [b'B', b'Z', b'h', ..] => return Err(refused(path, "bzip2")),
        [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => return Err(refused(path, "xz")),
        head => is_tar(head),
    };
    if !is_archive {
        return Ok(None);
    }
    let mut stream = files.open(path).map_err(fail)?;
    ImageTree::of_archive(&shown(path), &mut stream).map(Some)
}

fn refused(path: &[u8], format: &str) -> Error {
    Error::new(Cause::Unsupported { what: format!("ADD of {}, which is compressed with {format},", shown(path)) })
        .hint("use COPY (or ADD --unpack=false) to copy the file as it is, or compress it with gzip or zstd")
}

fn head(stream: impl Read) -> io::Result<Vec<u8>> {
    let mut head = Vec::new();
    stream.take(HEADER as u64).read_to_end(&mut head)?;
    Ok(head)
}

/// A whole header with the ustar or GNU magic and a right checksum.
fn is_tar(head: &[u8]) -> bool {
    let (Some(magic), Some(field), HEADER) = (head.get(257..262), head.get(148..156), head.len())
    else {
        return false;
    };
    let sum: u64 = head
        .iter()
        .enumerate()
        .map(|(i, b)| if (148..156).contains(&i) { 32 } else { u64::from(*b) })
        .sum();
    let digits: String = field.iter().map(|b| char::from(*b)).collect();
    let written = u64::from_str_radix(digits.trim_matches(['\0', ' ']), 8);
    magic == b"ustar" && written == Ok(sum)
}
