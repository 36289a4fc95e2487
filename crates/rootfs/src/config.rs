//! What a box starts with: the image's run-time configuration, as the guest reads it.
//!
//! The guest program has no JSON reader, so the OCI image configuration is reduced to this record
//! and stored beside the root filesystem. The form is a magic number, then each field in the order
//! of [`BoxConfig`]: a string is its length (u32, little endian) and its UTF-8 bytes, a list is its
//! number of items (u32) and the items, an optional value is a byte 0 or 1 and the value.

/// First bytes of an encoded [`BoxConfig`]; the last one is the version.
pub const MAGIC: [u8; 4] = *b"BXC\x01";

/// More list items than any image has; a larger count is corruption.
const MAX_ITEMS: usize = 1 << 16;

/// The CPU that the guest's `cpuid` describes (the x86-64 psABI's micro-architecture levels).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CpuLevel {
    /// x86-64-v2: SSE3, SSSE3, SSE4.1, SSE4.2, POPCNT, CMPXCHG16B.
    #[default]
    V2,
    /// x86-64-v3: v2 with AVX, AVX2, BMI1, BMI2, F16C, FMA, LZCNT, MOVBE.
    V3,
}

impl CpuLevel {
    /// All levels, lowest first.
    pub const ALL: [CpuLevel; 2] = [CpuLevel::V2, CpuLevel::V3];

    /// The psABI's name, as `--cpu` takes it.
    pub fn name(self) -> &'static str {
        match self {
            CpuLevel::V2 => "x86-64-v2",
            CpuLevel::V3 => "x86-64-v3",
        }
    }

    /// The level with that name.
    pub fn from_name(name: &str) -> Option<CpuLevel> {
        CpuLevel::ALL.into_iter().find(|level| level.name() == name)
    }
}

/// Run-time configuration of a box, from the OCI image configuration's `config` object.
///
/// Source: the OCI image specification, `config.md`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BoxConfig {
    /// `Entrypoint`: the words before [`cmd`](Self::cmd).
    pub entrypoint: Vec<String>,
    /// `Cmd`: default arguments, which arguments given at run time replace.
    pub cmd: Vec<String>,
    /// `Env`: `NAME=value` entries.
    pub env: Vec<String>,
    /// `WorkingDir`; empty means `/`.
    pub workdir: String,
    /// `User`: `name`, `uid`, `name:group`, `uid:gid` …; empty means root.
    pub user: String,
    /// `StopSignal` as written (`SIGTERM`, `15`); none means SIGTERM.
    pub stop_signal: Option<String>,
    /// The host name; empty = twelve hexadecimal digits, new at each start.
    pub hostname: String,
    /// The CPU that the guest sees.
    pub cpu: CpuLevel,
}

/// Why bytes are not an encoded [`BoxConfig`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// The first bytes are not [`MAGIC`].
    #[error("not a box configuration, or one of another version")]
    Magic,
    /// The bytes end before the record does, or a length is out of range.
    #[error("box configuration is truncated at byte {0}")]
    Truncated(usize),
    /// A string is not UTF-8, or a tag byte has no meaning.
    #[error("box configuration has an invalid value at byte {0}")]
    Invalid(usize),
    /// Bytes follow the record.
    #[error("box configuration has {0} bytes too many")]
    Trailing(usize),
}

impl BoxConfig {
    /// The encoded record. Equal values give equal bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = MAGIC.to_vec();
        put_list(&mut out, &self.entrypoint);
        put_list(&mut out, &self.cmd);
        put_list(&mut out, &self.env);
        put_str(&mut out, &self.workdir);
        put_str(&mut out, &self.user);
        match &self.stop_signal {
            None => out.push(0),
            Some(signal) => {
                out.push(1);
                put_str(&mut out, signal);
            }
        }
        put_str(&mut out, &self.hostname);
        out.push(match self.cpu {
            CpuLevel::V2 => 2,
            CpuLevel::V3 => 3,
        });
        out
    }

    /// Reads an encoded record, which must fill `bytes`.
    pub fn decode(bytes: &[u8]) -> Result<Self, ConfigError> {
        let mut r = Reader { bytes, at: 0 };
        if r.take(MAGIC.len())? != MAGIC {
            return Err(ConfigError::Magic);
        }
        let config = BoxConfig {
            entrypoint: r.list()?,
            cmd: r.list()?,
            env: r.list()?,
            workdir: r.string()?,
            user: r.string()?,
            stop_signal: match r.byte()? {
                0 => None,
                1 => Some(r.string()?),
                _ => return Err(ConfigError::Invalid(r.at - 1)),
            },
            hostname: r.string()?,
            cpu: match r.byte()? {
                2 => CpuLevel::V2,
                3 => CpuLevel::V3,
                _ => return Err(ConfigError::Invalid(r.at - 1)),
            },
        };
        match bytes.len() - r.at {
            0 => Ok(config),
            extra => Err(ConfigError::Trailing(extra)),
        }
    }
}

fn put_str(out: &mut Vec<u8>, s: &str) {
    out.extend_from_slice(&(s.len() as u32).to_le_bytes());
    out.extend_from_slice(s.as_bytes());
}

fn put_list(out: &mut Vec<u8>, items: &[String]) {
    out.extend_from_slice(&(items.len() as u32).to_le_bytes());
    for item in items {
        put_str(out, item);
    }
}

/// A cursor; `at` never passes `bytes.len()`.
struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn take(&mut self, len: usize) -> Result<&'a [u8], ConfigError> {
        let end = self.at.checked_add(len).ok_or(ConfigError::Truncated(self.at))?;
        let taken = self.bytes.get(self.at..end).ok_or(ConfigError::Truncated(self.at))?;
        self.at = end;
        Ok(taken)
    }

    fn byte(&mut self) -> Result<u8, ConfigError> {
        Ok(self.take(1)?[0])
    }

    fn length(&mut self) -> Result<usize, ConfigError> {
        let b = self.take(4)?;
        Ok(u32::from_le_bytes([b[0], b[1], b[2], b[3]]) as usize)
    }

    fn string(&mut self) -> Result<String, ConfigError> {
        let len = self.length()?;
        let start = self.at;
        let bytes = self.take(len)?;
        let text = core::str::from_utf8(bytes).map_err(|_| ConfigError::Invalid(start))?;
        Ok(text.to_owned())
    }

    fn list(&mut self) -> Result<Vec<String>, ConfigError> {
        let start = self.at;
        let count = self.length()?;
        if count > MAX_ITEMS {
            return Err(ConfigError::Invalid(start));
        }
        (0..count).map(|_| self.string()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> BoxConfig {
        BoxConfig {
            entrypoint: vec!["/bin/sh".into(), "-c".into()],
            cmd: vec!["echo \"hé\"".into()],
            env: vec!["PATH=/usr/bin".into(), "EMPTY=".into()],
            workdir: "/srv".into(),
            user: "1000:1000".into(),
            stop_signal: Some("SIGINT".into()),
            hostname: "box".into(),
            cpu: CpuLevel::V3,
        }
    }

    #[test]
    fn round_trip() {
        for config in [sample(), BoxConfig::default()] {
            assert_eq!(BoxConfig::decode(&config.encode()), Ok(config));
        }
    }

    #[test]
    fn every_truncation_is_an_error() {
        let bytes = sample().encode();
        for len in 0..bytes.len() {
            assert!(BoxConfig::decode(&bytes[..len]).is_err(), "{len}");
        }
    }

    #[test]
    fn foreign_bytes_are_errors() {
        assert_eq!(BoxConfig::decode(b"\x7fELF"), Err(ConfigError::Magic));
        let mut long = sample().encode();
        long.push(0);
        assert_eq!(BoxConfig::decode(&long), Err(ConfigError::Trailing(1)));
        let mut huge = MAGIC.to_vec();
        huge.extend_from_slice(&u32::MAX.to_le_bytes());
        assert_eq!(BoxConfig::decode(&huge), Err(ConfigError::Invalid(4)));
    }
}
