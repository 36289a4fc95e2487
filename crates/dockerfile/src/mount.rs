//! `RUN --mount=type=...,...`.

use crate::error::{Cause, Error, Span};
use crate::suggest::did_you_mean;
use crate::words::Word;

/// A mount as written: keys checked, values not expanded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MountSpec {
    /// The flag's value.
    pub word: Word,
    options: Vec<(String, Option<String>)>,
}

/// What a mount shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MountKind {
    /// Files of the context, a stage or an image.
    Bind,
    /// A directory kept between builds.
    Cache,
    /// An empty directory, gone afterwards.
    Tmpfs,
    /// A secret of the command line.
    Secret,
    /// The SSH agent's socket.
    Ssh,
}

/// How two builds share a cache mount.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sharing {
    /// At the same time.
    Shared,
    /// Each has its own.
    Private,
    /// One waits for the other.
    Locked,
}

/// A mount with every default put in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mount {
    /// What it shows.
    pub kind: MountKind,
    /// Where, in the container; relative to the working directory, which is the target if this is empty. A secret that is only a
    /// variable has none either.
    pub target: String,
    /// The path within `from`; `/` if not given.
    pub source: String,
    /// A stage, an image or a context; the main context if not given.
    pub from: Option<String>,
    /// No writes.
    pub read_only: bool,
    /// The name of a cache, a secret or an agent.
    pub id: String,
    /// For caches.
    pub sharing: Sharing,
    /// The most bytes of a tmpfs; 0 for no limit.
    pub size: u64,
    /// Fail without the secret or the agent.
    pub required: bool,
    /// Permission bits of a cache directory or a secret's file.
    pub mode: u32,
    /// The owner.
    pub uid: u32,
    /// The group.
    pub gid: u32,
    /// The environment variable a secret is given in as well.
    pub env: Option<String>,
}

const KEYS: &[&str] = &[
    "type",
    "from",
    "source",
    "src",
    "target",
    "dst",
    "destination",
    "readonly",
    "ro",
    "readwrite",
    "rw",
    "id",
    "sharing",
    "required",
    "size",
    "mode",
    "uid",
    "gid",
    "env",
];

impl MountSpec {
    pub(crate) fn parse(word: Word) -> Result<Self, Error> {
        let span = Span::line(word.line);
        let mut options = Vec::new();
        for field in split_fields(&word.text) {
            let (key, value) = match field.split_once('=') {
                Some((key, value)) => (key.to_ascii_lowercase(), Some(value.to_owned())),
                None => (field.to_ascii_lowercase(), None),
            };
            if !KEYS.contains(&key.as_str()) {
                let hint = did_you_mean(&key, KEYS.iter().copied())
                    .map(|near| format!("did you mean {near}?"));
                return Err(Error::new(span, Cause::MountKey { key }).with_hint(hint));
            }
            if value.is_none()
                && !matches!(key.as_str(), "readonly" | "ro" | "readwrite" | "rw" | "required")
            {
                let reason = format!("field {key:?} must be a key=value pair");
                return Err(Error::new(span, Cause::Mount { reason }));
            }
            options.push((key, value));
        }
        let spec = Self { word, options };
        if let Some(from) = spec.from().filter(|from| from.contains('$')) {
            let cause = Cause::FromExpansion { value: from.to_owned() };
            let hint = "define a new stage with FROM using ARG from global scope as a workaround";
            return Err(Error::new(span, cause).with_hint(Some(hint.to_owned())));
        }
        // Errors that do not depend on variables are found at once.
        if !spec.word.text.contains('$') {
            spec.resolve(|text| Ok(text.to_owned()))?;
        }
        Ok(spec)
    }

    /// `from=`, which is never expanded.
    pub fn from(&self) -> Option<&str> {
        self.options.iter().find(|(key, _)| key == "from").and_then(|(_, value)| value.as_deref())
    }

    /// Puts the values through `expand` and the defaults in.
    ///
    /// # Errors
    /// The expansion's error, or [`Cause::Mount`] for a value that does not fit the type.
    pub fn resolve(
        &self,
        mut expand: impl FnMut(&str) -> Result<String, Cause>,
    ) -> Result<Mount, Error> {
        let error = |cause| Error::new(Span::line(self.word.line), cause);
        let mut options = Vec::new();
        for (key, value) in &self.options {
            let value = match value {
                Some(value) if key != "from" => Some(expand(value).map_err(error)?),
                value => value.clone(),
            };
            options.push((key.as_str(), value));
        }
        resolve(&options).map_err(|reason| error(Cause::Mount { reason }))
    }
}

fn resolve(options: &[(&str, Option<String>)]) -> Result<Mount, String> {
    let get = |names: &[&str]| {
        options
            .iter()
            .rev()
            .find(|(key, _)| names.contains(key))
            .map(|(_, value)| value.clone().unwrap_or_default())
    };
    let kind_name = get(&["type"]).unwrap_or_else(|| "bind".to_owned());
    let kind = match kind_name.to_ascii_lowercase().as_str() {
        "bind" => MountKind::Bind,
        "cache" => MountKind::Cache,
        "tmpfs" => MountKind::Tmpfs,
        "secret" => MountKind::Secret,
        "ssh" => MountKind::Ssh,
        other => {
            let near = did_you_mean(other, ["bind", "cache", "tmpfs", "secret", "ssh"]);
            let near = near.map(|near| format!(" (did you mean {near}?)")).unwrap_or_default();
            return Err(format!("unsupported mount type {other:?}{near}"));
        }
    };
    for (key, _) in options {
        let fits = match *key {
            "id" | "uid" | "gid" | "mode" => {
                matches!(kind, MountKind::Cache | MountKind::Secret | MountKind::Ssh)
            }
            "sharing" => kind == MountKind::Cache,
            "size" => kind == MountKind::Tmpfs,
            "required" => matches!(kind, MountKind::Secret | MountKind::Ssh),
            "env" => kind == MountKind::Secret,
            "from" => matches!(kind, MountKind::Bind | MountKind::Cache),
            _ => true,
        };
        if !fits {
            return Err(format!("unexpected key {key:?} for mount type {kind_name:?}"));
        }
    }
    let number = |name: &str| -> Result<Option<u32>, String> {
        let Some(text) = get(&[name]) else { return Ok(None) };
        text.parse().map(Some).map_err(|_| format!("invalid value {text:?} for {name}"))
    };
    let mode = match get(&["mode"]) {
        None => None,
        Some(text) => Some(
            u32::from_str_radix(&text, 8)
                .map_err(|_| format!("invalid value {text:?} for mode"))?,
        ),
    };
    let flag = |names: &[&str]| -> Result<Option<bool>, String> {
        match get(names).as_deref() {
            None => Ok(None),
            Some("" | "true" | "1") => Ok(Some(true)),
            Some("false" | "0") => Ok(Some(false)),
            Some(other) => Err(format!("invalid value {other:?} for {}", names.join(" or "))),
        }
    };
    let source = get(&["source", "src"]);
    let mut target = get(&["target", "dst", "destination"]).unwrap_or_default();
    let mut id = get(&["id"]).unwrap_or_default();
    let env = get(&["env"]);
    match kind {
        MountKind::Cache if id.is_empty() => id.clone_from(&target),
        MountKind::Secret => {
            if id.is_empty() {
                let base =
                    if target.is_empty() { source.as_deref().unwrap_or_default() } else { &target };
                id = base.rsplit('/').next().unwrap_or_default().to_owned();
            }
            if id.is_empty() {
                return Err("a secret mount needs an id or a target".to_owned());
            }
            if target.is_empty() && env.is_none() {
                target = format!("/run/secrets/{id}");
            }
        }
        MountKind::Ssh if id.is_empty() => "default".clone_into(&mut id),
        _ => {}
    }
    let read_only = flag(&["readonly", "ro"])?;
    let read_write = flag(&["readwrite", "rw"])?;
    Ok(Mount {
        kind,
        target,
        source: source.unwrap_or_else(|| "/".to_owned()),
        from: get(&["from"]),
        read_only: read_only.or(read_write.map(|rw| !rw)).unwrap_or(kind == MountKind::Bind),
        id,
        sharing: match get(&["sharing"]).as_deref() {
            None | Some("shared") => Sharing::Shared,
            Some("private") => Sharing::Private,
            Some("locked") => Sharing::Locked,
            Some(other) => return Err(format!("unsupported sharing value {other:?}")),
        },
        size: get(&["size"]).map_or(Ok(0), |text| size(&text))?,
        required: flag(&["required"])?.unwrap_or(false),
        mode: mode.unwrap_or(match kind {
            MountKind::Secret => 0o400,
            MountKind::Ssh => 0o600,
            _ => 0o755,
        }),
        uid: number("uid")?.unwrap_or(0),
        gid: number("gid")?.unwrap_or(0),
        env,
    })
}

/// `64m`, `1GB`, `4096`: binary multiples, as docker's units package reads them.
fn size(text: &str) -> Result<u64, String> {
    let lower = text.to_ascii_lowercase();
    let digits = lower.find(|c: char| !c.is_ascii_digit()).unwrap_or(lower.len());
    let invalid = || format!("invalid value {text:?} for size");
    let number: u64 = lower[..digits].parse().map_err(|_| invalid())?;
    let shift = match lower[digits..].trim().trim_end_matches("ib").trim_end_matches('b') {
        "" => 0,
        "k" => 10,
        "m" => 20,
        "g" => 30,
        "t" => 40,
        _ => return Err(invalid()),
    };
    number.checked_mul(1u64 << shift).ok_or_else(invalid)
}

/// Comma-separated fields; a field in double quotes may hold commas (as in CSV).
fn split_fields(text: &str) -> Vec<String> {
    let mut fields = vec![String::new()];
    let mut quoted = false;
    for c in text.chars() {
        match c {
            '"' => quoted = !quoted,
            ',' if !quoted => fields.push(String::new()),
            c => {
                if let Some(field) = fields.last_mut() {
                    field.push(c);
                }
            }
        }
    }
    fields.retain(|field| !field.is_empty());
    fields
}
