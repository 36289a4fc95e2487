//! PAX extended headers: `LENGTH KEY=VALUE\n` records.

use std::collections::BTreeMap;

use crate::{Error, Result};

/// The records that mean something here.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Records {
    pub path: Option<Vec<u8>>,
    pub link: Option<Vec<u8>>,
    pub size: Option<u64>,
    pub uid: Option<u32>,
    pub gid: Option<u32>,
    pub mtime: Option<(i64, u32)>,
    pub xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
    pub sparse: Sparse,
}

/// GNU's sparse formats 0.0 (repeated offset and numbytes), 0.1 (map), and 1.0 (a map in the data).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sparse {
    pub name: Option<Vec<u8>>,
    pub real_size: Option<u64>,
    pub major: Option<u64>,
    /// Offsets and lengths, alternating.
    pub map: Option<Vec<u64>>,
}

const XATTR: &[u8] = b"SCHILY.xattr.";

impl Records {
    /// An empty value means that the record is not there, as in other readers.
    pub fn parse(mut data: &[u8]) -> Result<Records> {
        let mut records = Records::default();
        while !data.is_empty() {
            let (key, value, rest) =
                split_record(data).ok_or(Error::Corrupt("a PAX extended header record"))?;
            data = rest;
            if let Some(name) = key.strip_prefix(XATTR) {
                records.xattrs.insert(name.to_vec(), value.to_vec());
            } else if !value.is_empty() {
                records.set(key, value)?;
            }
        }
        Ok(records)
    }

    fn set(&mut self, key: &[u8], value: &[u8]) -> Result<()> {
        let id = |value| {
            u32::try_from(decimal(value)?)
                .map_err(|_| Error::Corrupt("a user or group id above 32 bits"))
        };
        match key {
            b"path" => self.path = Some(without_nul(value)?),
            b"linkpath" => self.link = Some(without_nul(value)?),
            b"size" => self.size = Some(decimal(value)?),
            b"uid" => self.uid = Some(id(value)?),
            b"gid" => self.gid = Some(id(value)?),
            b"mtime" => self.mtime = Some(time(value).ok_or(Error::Corrupt("a PAX time"))?),
            b"GNU.sparse.name" => self.sparse.name = Some(without_nul(value)?),
            b"GNU.sparse.size" | b"GNU.sparse.realsize" => {
                self.sparse.real_size = Some(decimal(value)?);
            }
            b"GNU.sparse.major" => self.sparse.major = Some(decimal(value)?),
            b"GNU.sparse.offset" | b"GNU.sparse.numbytes" => {
                self.sparse.map.get_or_insert_default().push(decimal(value)?);
            }
            b"GNU.sparse.map" => {
                let numbers = value.split(|b| *b == b',').map(decimal).collect::<Result<_>>()?;
                self.sparse.map = Some(numbers);
            }
            _ => {}
        }
        Ok(())
    }
}

/// Key, value and what follows the record.
fn split_record(data: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let space = data.iter().take(20).position(|b| *b == b' ')?;
    let length = usize::try_from(decimal(data.get(..space)?).ok()?).ok()?;
    let body = data.get(space + 1..length)?.strip_suffix(b"\n")?;
    let equals = body.iter().position(|b| *b == b'=')?;
    let (key, value) = (body.get(..equals)?, body.get(equals + 1..)?);
    (!key.is_empty()).then_some((key, value, data.get(length..)?))
}

fn without_nul(value: &[u8]) -> Result<Vec<u8>> {
    match value.contains(&0) {
        true => Err(Error::Corrupt("a NUL in a PAX path")),
        false => Ok(value.to_vec()),
    }
}

pub fn decimal(digits: &[u8]) -> Result<u64> {
    let text = std::str::from_utf8(digits).ok().filter(|t| t.bytes().all(|b| b.is_ascii_digit()));
    text.and_then(|t| t.parse().ok()).ok_or(Error::Corrupt("a decimal number"))
}

/// `[-]SECONDS[.FRACTION]`, rounded down to nanoseconds.
fn time(value: &[u8]) -> Option<(i64, u32)> {
    let text = std::str::from_utf8(value).ok()?;
    let (negative, text) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let (seconds, fraction) = text.split_once('.').unwrap_or((text, ""));
    if !seconds.bytes().chain(fraction.bytes()).all(|b| b.is_ascii_digit()) {
        return None;
    }
    let seconds: i64 = seconds.parse().ok()?;
    let digits = fraction.get(..9.min(fraction.len()))?;
    let nanoseconds: u32 = format!("{digits:0<9}").parse().ok()?;
    Some(match (negative, nanoseconds) {
        (false, n) => (seconds, n),
        (true, 0) => (-seconds, 0),
        (true, n) => (-seconds - 1, 1_000_000_000 - n),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records() {
        let r =
            Records::parse(b"12 path=a/b\n21 SCHILY.xattr.a=\0\n1\n20 mtime=12.3456789\n").err();
        assert!(r.is_some(), "a length is wrong");
        let r =
            Records::parse(b"12 path=a/b\n22 SCHILY.xattr.a=\0\n1\n20 mtime=12.3456789\n").unwrap();
        assert_eq!(r.path.as_deref(), Some(&b"a/b"[..]));
        assert_eq!(r.xattrs[&b"a"[..]], b"\0\n1");
        assert_eq!(r.mtime, Some((12, 345_678_900)));
        for bad in [
            &b"5 a=b\n"[..],
            b"6 a=b",
            b"x a=b\n",
            b"7 aaab\n",
            b"99999999999999999999 a=b\n",
            b"0 \n",
            b"6 =bb\n",
            b" ",
        ] {
            assert!(Records::parse(bad).is_err(), "{:?}", String::from_utf8_lossy(bad));
        }
    }

    #[test]
    fn times() {
        assert_eq!(time(b"1.5"), Some((1, 500_000_000)));
        assert_eq!(time(b"-1.5"), Some((-2, 500_000_000)));
        assert_eq!(time(b"-1"), Some((-1, 0)));
        assert_eq!(time(b"1.1234567899"), Some((1, 123_456_789)));
        assert_eq!(time(b"1.-5"), None);
        assert_eq!(time(b""), None);
    }
}
