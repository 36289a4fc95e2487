//! `SOURCE_DATE_EPOCH` in a finished tar stream: no entry is younger.

use std::io::{self, Read, Write};

const BLOCK: usize = 512;
const MTIME: std::ops::Range<usize> = 136..148;
const CHECKSUM: std::ops::Range<usize> = 148..156;

/// Copies a tar stream, lowering the times in its headers to `latest`. Times in pax records
/// (`mtime=`) are lowered as well; their length does not change.
pub(crate) fn clamp_times(
    source: &mut impl Read,
    out: &mut impl Write,
    latest: i64,
) -> io::Result<()> {
    let latest = latest.max(0);
    let mut header = [0u8; BLOCK];
    loop {
        match source.read_exact(&mut header) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(()),
            Err(error) => return Err(error),
        }
        if header.iter().all(|byte| *byte == 0) {
            out.write_all(&header)?;
            continue;
        }
        let size = octal(header.get(124..136).unwrap_or_default())?;
        let is_pax = header.get(156) == Some(&b'x');
        if octal(header.get(MTIME).unwrap_or_default())
            .is_ok_and(|mtime| mtime > latest.unsigned_abs())
        {
            if let Some(field) = header.get_mut(MTIME) {
                field.copy_from_slice(format!("{latest:011o}\0").as_bytes());
            }
            set_checksum(&mut header);
        }
        out.write_all(&header)?;
        let padded = size.div_ceil(BLOCK as u64).saturating_mul(BLOCK as u64);
        if is_pax {
            const LARGEST: u64 = 1 << 20;
            if padded > LARGEST {
                return Err(io::Error::other("a pax header is too large"));
            }
            let mut records = Vec::new();
            source.take(padded).read_to_end(&mut records)?;
            clamp_records(&mut records, latest);
            out.write_all(&records)?;
        } else if io::copy(&mut source.take(padded), out)? != padded {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
}

/// Lowers `mtime=SECONDS[.FRACTION]` in place, padded with zeros in front.
fn clamp_records(records: &mut [u8], latest: i64) {
    let mut at = 0;
    while let Some(rest) = records.get(at..) {
        let text: String =
            rest.iter().take_while(|b| b.is_ascii_digit()).map(|b| char::from(*b)).collect();
        let Ok(length) = text.parse::<usize>() else { return };
        let Some(end) =
            at.checked_add(length).filter(|end| *end <= records.len() && length > text.len() + 1)
        else {
            return;
        };
        let key = at + text.len() + 1;
        if records.get(key..end).is_some_and(|record| record.starts_with(b"mtime="))
            && let Some(value) = records.get_mut(key + 6..end - 1)
        {
            let seconds: String =
                value.iter().take_while(|b| b.is_ascii_digit()).map(|b| char::from(*b)).collect();
            if seconds.parse::<i64>().is_ok_and(|seconds| seconds >= latest) {
                let new = format!("{latest:0width$}", width = value.len());
                if new.len() == value.len() {
                    value.copy_from_slice(new.as_bytes());
                }
            }
        }
        at = end;
    }
}

fn octal(field: &[u8]) -> io::Result<u64> {
    let corrupt = || io::Error::other("a corrupt tar header");
    if field.first().is_some_and(|byte| byte & 0x80 != 0) {
        let mut value = 0u64;
        for (i, byte) in field.iter().enumerate() {
            let byte = if i == 0 { byte & 0x7f } else { *byte };
            value = value
                .checked_mul(256)
                .and_then(|v| v.checked_add(byte.into()))
                .ok_or_else(corrupt)?;
        }
        return Ok(value);
    }
    let text: String = field.iter().map(|byte| char::from(*byte)).collect();
    let text = text.trim_matches(['\0', ' ']);
    if text.is_empty() { Ok(0) } else { u64::from_str_radix(text, 8).map_err(|_| corrupt()) }
}

fn set_checksum(header: &mut [u8; BLOCK]) {
    header[CHECKSUM].fill(b' ');
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    header[CHECKSUM].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
}

#[cfg(test)]
mod tests {
    use super::clamp_times;

    #[test]
    fn times_are_lowered_and_the_rest_is_kept() {
        let mut tar = tar::Builder::new(Vec::new());
        for (name, mtime) in [("old", 5), ("young", 2_000_000_000)] {
            let mut header = tar::Header::new_gnu();
            header.set_mtime(mtime);
            header.set_mode(0o640);
            header.set_size(700);
            tar.append_pax_extensions([("mtime", b"1999999999.25".as_slice())]).unwrap();
            tar.append_data(&mut header, name, [7u8; 700].as_slice()).unwrap();
        }
        let bytes = tar.into_inner().unwrap();
        let mut out = Vec::new();
        clamp_times(&mut bytes.as_slice(), &mut out, 1000).unwrap();
        assert_eq!(out.len(), bytes.len());
        assert!(!out.windows(10).any(|window| window == b"1999999999"));
        let mut archive = tar::Archive::new(out.as_slice());
        let mut seen = Vec::new();
        for entry in archive.entries().unwrap() {
            let entry = entry.unwrap();
            assert_eq!(entry.size(), 700);
            seen.push((
                entry.path().unwrap().display().to_string(),
                entry.header().mtime().unwrap(),
            ));
        }
        assert_eq!(seen, [("old".to_owned(), 5), ("young".to_owned(), 1000)]);
    }
}
