//! Content digests (OCI image spec, "Digests"), and readers that check them.

use std::fmt;
use std::io::{self, Read};
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::Digest as _;

use crate::{Error, Result};

/// `algorithm:hex`; sha256 or sha512, in lower case.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Digest(String);

impl Digest {
    /// Checks algorithm, length and alphabet.
    pub fn parse(input: &str) -> Result<Digest> {
        let bad =
            |reason| Error::InvalidDigest { input: input.chars().take(200).collect(), reason };
        let (algorithm, hex) =
            input.split_once(':').ok_or_else(|| bad("expected ALGORITHM:HEX"))?;
        let length = match algorithm {
            "sha256" => 64,
            "sha512" => 128,
            _ => return Err(bad("only sha256 and sha512 are supported")),
        };
        if hex.len() != length {
            return Err(bad("wrong number of hexadecimal digits"));
        }
        if !hex.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
            return Err(bad("expected lower-case hexadecimal digits"));
        }
        Ok(Digest(input.to_string()))
    }

    /// The sha256 of `bytes`.
    pub fn of(bytes: &[u8]) -> Digest {
        let mut hasher = Hasher::sha256();
        hasher.update(bytes);
        hasher.finish()
    }

    /// `sha256` or `sha512`.
    pub fn algorithm(&self) -> &str {
        self.0.split_once(':').map_or("", |(a, _)| a)
    }

    /// The hexadecimal part.
    pub fn hex(&self) -> &str {
        self.0.split_once(':').map_or("", |(_, h)| h)
    }

    /// The whole text, `sha256:…`.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// `algorithm-hex`, safe as one file name.
    pub(crate) fn file_name(&self) -> String {
        self.0.replace(':', "-")
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for Digest {
    type Err = Error;
    fn from_str(input: &str) -> Result<Digest> {
        Digest::parse(input)
    }
}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Digest::parse(&text).map_err(serde::de::Error::custom)
    }
}

/// Computes a [`Digest`] piece by piece.
#[derive(Clone)]
pub struct Hasher(Algorithm);

#[derive(Clone)]
enum Algorithm {
    Sha256(sha2::Sha256),
    Sha512(Box<sha2::Sha512>),
}

impl Hasher {
    /// The algorithm every new blob gets.
    pub fn sha256() -> Hasher {
        Hasher(Algorithm::Sha256(sha2::Sha256::new()))
    }

    /// The algorithm of `digest`, to compare with it.
    pub fn like(digest: &Digest) -> Hasher {
        match digest.algorithm() {
            "sha512" => Hasher(Algorithm::Sha512(Box::default())),
            _ => Hasher::sha256(),
        }
    }

    /// The same algorithm, with nothing added.
    pub(crate) fn fresh(&self) -> Hasher {
        match self.0 {
            Algorithm::Sha256(_) => Hasher::sha256(),
            Algorithm::Sha512(_) => Hasher(Algorithm::Sha512(Box::default())),
        }
    }

    /// Adds bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        match &mut self.0 {
            Algorithm::Sha256(h) => h.update(bytes),
            Algorithm::Sha512(h) => h.update(bytes),
        }
    }

    /// The digest of all bytes added.
    pub fn finish(self) -> Digest {
        match self.0 {
            Algorithm::Sha256(h) => Digest(format!("sha256:{}", hex(&h.finalize()))),
            Algorithm::Sha512(h) => Digest(format!("sha512:{}", hex(&h.finalize()))),
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    use fmt::Write as _;
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        let _ = write!(text, "{byte:02x}"); // writing to a String cannot fail
    }
    text
}

/// Passes a reader through and fails with [`io::ErrorKind::InvalidData`] at its end if the bytes are not the digest's.
/// The inner error is [`Error::WrongDigest`].
pub struct VerifyingReader<R> {
    inner: R,
    hasher: Option<Hasher>,
    expected: Digest,
    name: String,
    /// A blob of the store: a mismatch means that the store is damaged.
    stored: bool,
}

impl<R: Read> VerifyingReader<R> {
    /// `name` is what the error calls the stream.
    pub fn new(inner: R, expected: Digest, name: impl Into<String>) -> Self {
        VerifyingReader {
            inner,
            hasher: Some(Hasher::like(&expected)),
            expected,
            name: name.into(),
            stored: false,
        }
    }

    /// A blob of the store; the error is [`Error::CorruptStore`].
    pub(crate) fn of_store(inner: R, expected: Digest, path: std::path::PathBuf) -> Self {
        let name = path.display().to_string();
        VerifyingReader { stored: true, ..VerifyingReader::new(inner, expected, name) }
    }

    /// Reads what is left (a tar reader stops before the padding at the end) and checks the digest.
    pub fn finish(mut self) -> io::Result<()> {
        io::copy(&mut self, &mut io::sink()).map(|_| ())
    }
}

impl<R: Read> Read for VerifyingReader<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(buf)?;
        if n > 0 {
            if let (Some(hasher), Some(bytes)) = (&mut self.hasher, buf.get(..n)) {
                hasher.update(bytes);
            }
        } else if !buf.is_empty()
            && let Some(hasher) = self.hasher.take()
        {
            let actual = hasher.finish();
            if actual != self.expected {
                let error = if self.stored {
                    let reason = format!("its digest is {actual}");
                    Error::CorruptStore { path: self.name.clone().into(), reason }
                } else {
                    Error::wrong_digest(&self.name, "blob", &self.expected, &actual)
                };
                return Err(io::Error::new(io::ErrorKind::InvalidData, error));
            }
        }
        Ok(n)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_only_digests_that_can_be_checked() {
        let good = format!("sha256:{}", "a".repeat(64));
        assert_eq!(Digest::parse(&good).unwrap().as_str(), good);
        assert!(Digest::parse(&format!("sha512:{}", "0".repeat(128))).is_ok());
        for bad in ["", "sha256", "sha256:", "md5:00", "sha256:../../../../etc/passwd"] {
            assert!(matches!(Digest::parse(bad), Err(Error::InvalidDigest { .. })), "{bad}");
        }
        assert!(Digest::parse(&format!("sha256:{}", "A".repeat(64))).is_err());
    }

    #[test]
    fn verifying_reader_fails_only_at_the_end() {
        let digest = Digest::of(b"hello");
        let mut out = Vec::new();
        VerifyingReader::new(&b"hello"[..], digest.clone(), "x").read_to_end(&mut out).unwrap();
        assert_eq!(out, b"hello");
        let error = VerifyingReader::new(&b"hellO"[..], digest, "x").finish().unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
        assert!(error.to_string().contains("wrong digest"));
    }
}
