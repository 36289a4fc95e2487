//! The image config (OCI image spec "config.md"), with the fields Docker adds to it.
//!
//! Unknown fields are kept, so that a base image's config passes through a build unchanged where it is not touched.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::manifest::or_default;
use crate::{Digest, Error, Result};

/// What an image says about itself.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ImageConfig {
    /// RFC 3339 time of creation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created: Option<String>,
    /// Who made it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub author: Option<String>,
    /// Go's name of the CPU.
    #[serde(default)]
    pub architecture: String,
    /// Variant of the CPU.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variant: Option<String>,
    /// Go's name of the system.
    #[serde(default)]
    pub os: String,
    /// How it is run.
    #[serde(default, deserialize_with = "or_default")]
    pub config: RunConfig,
    /// The layers, uncompressed.
    #[serde(default, deserialize_with = "or_default")]
    pub rootfs: RootFs,
    /// One entry for each instruction that made it.
    #[serde(default, deserialize_with = "or_default", skip_serializing_if = "Vec::is_empty")]
    pub history: Vec<History>,
    /// Whatever else was there.
    #[serde(flatten)]
    pub extra: BTreeMap<String, Value>,
}

/// How the image is run: what `docker inspect` calls `Config`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct RunConfig {
    /// `user[:group]`, names or numbers.
    #[serde(default, deserialize_with = "or_default", skip_serializing_if = "String::is_empty")]
    pub user: String,
    /// `port/proto` to an empty object.
    #[serde(default, deserialize_with = "or_default", skip_serializing_if = "BTreeMap::is_empty")]
    pub exposed_ports: BTreeMap<String, Value>,
    /// `NAME=value`, in order.
    #[serde(default, deserialize_with = "or_default", skip_serializing_if = "Vec::is_empty")]
    pub env: Vec<String>,
    /// The program and its first arguments.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub entrypoint: Option<Vec<String>>,
    /// The arguments that those on the command line replace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cmd: Option<Vec<String>>,
    /// Path to an empty object.
    #[serde(default, deserialize_with = "or_default", skip_serializing_if = "BTreeMap::is_empty")]
    pub volumes: BTreeMap<String, Value>,
    /// Where it starts.
    #[serde(default, deserialize_with = "or_default", skip_serializing_if = "String::is_empty")]
    pub working_dir: String,
    /// Free metadata.
    #[serde(default, deserialize_with = "or_default", skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// The signal that asks it to stop.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stop_signal: Option<String>,
    /// Docker's HEALTHCHECK.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub healthcheck: Option<Health>,
    /// Docker's ONBUILD triggers, as Dockerfile lines.
    #[serde(default, deserialize_with = "or_default", skip_serializing_if = "Vec::is_empty")]
    pub on_build: Vec<String>,
    /// Docker's SHELL.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shell: Option<Vec<String>>,
    /// Whatever else was there (`ArgsEscaped`, `Hostname` …).
    #[serde(flatten)]
    pub extra: BTreeMap<String, Value>,
}

/// Docker's HEALTHCHECK; times are nanoseconds, 0 means the default.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Health {
    /// `["NONE"]`, `["CMD", …]` or `["CMD-SHELL", text]`.
    #[serde(default, deserialize_with = "or_default", skip_serializing_if = "Vec::is_empty")]
    pub test: Vec<String>,
    /// Time between checks.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub interval: i64,
    /// Time one check may take.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub timeout: i64,
    /// Time in which failures do not count.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub start_period: i64,
    /// Time between checks in the start period.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub start_interval: i64,
    /// Failures in a row that make it unhealthy.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub retries: i64,
}

fn is_zero(n: &i64) -> bool {
    *n == 0
}

/// The layers by the digest of their uncompressed tar.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RootFs {
    /// Always `layers`.
    #[serde(rename = "type", default)]
    pub kind: String,
    /// Base first.
    #[serde(default, deserialize_with = "or_default")]
    pub diff_ids: Vec<Digest>,
}

impl Default for RootFs {
    fn default() -> RootFs {
        RootFs { kind: "layers".into(), diff_ids: Vec::new() }
    }
}

/// How one layer, or one change of the config, came to be.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct History {
    /// RFC 3339 time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created: Option<String>,
    /// The command.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created_by: Option<String>,
    /// Who.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub author: Option<String>,
    /// A remark.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub comment: Option<String>,
    /// No layer belongs to this entry.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub empty_layer: bool,
}

impl ImageConfig {
    /// An empty linux/amd64 image: FROM scratch.
    pub fn scratch() -> ImageConfig {
        ImageConfig { architecture: "amd64".into(), os: "linux".into(), ..ImageConfig::default() }
    }

    /// Parses a config blob.
    pub fn parse(reference: &str, bytes: &[u8]) -> Result<ImageConfig> {
        let config: ImageConfig = serde_json::from_slice(bytes)
            .map_err(|e| Error::not_an_image(reference, format!("malformed config: {e}")))?;
        match config.config.field_with_nul() {
            Some(field) => Err(Error::not_an_image(
                reference,
                format!("{field} in its config has a NUL character, which nothing can be given"),
            )),
            None => Ok(config),
        }
    }
}

impl RunConfig {
    /// A field whose text cannot be handed to a program.
    fn field_with_nul(&self) -> Option<&'static str> {
        let lists = [
            ("Env", Some(&self.env)),
            ("Cmd", self.cmd.as_ref()),
            ("Entrypoint", self.entrypoint.as_ref()),
            ("Shell", self.shell.as_ref()),
        ];
        let nul = |text: &String| text.contains('\0');
        let in_list = lists.into_iter().find(|(_, list)| list.is_some_and(|it| it.iter().any(nul)));
        let words = [("User", &self.user), ("WorkingDir", &self.working_dir)];
        let in_word = words.into_iter().find(|(_, word)| nul(word)).map(|(name, _)| name);
        in_list.map(|(name, _)| name).or(in_word)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_field_has_a_nul() {
        for field in [
            r#""Env":["A=b","C=\u0000"]"#,
            r#""Cmd":["a\u0000"]"#,
            r#""Entrypoint":["\u0000"]"#,
            r#""User":"a\u0000b""#,
            r#""WorkingDir":"/\u0000""#,
        ] {
            let text = format!(r#"{{"architecture":"amd64","os":"linux","config":{{{field}}}}}"#);
            let error = ImageConfig::parse("x", text.as_bytes()).unwrap_err().to_string();
            assert!(error.contains("NUL"), "{error}");
        }
    }

    #[test]
    fn keeps_what_it_does_not_know() {
        let text = r#"{"architecture":"amd64","os":"linux","config":{"Env":["A=b"],"Cmd":null,"Labels":null,
            "ArgsEscaped":true,"Healthcheck":{"Test":["CMD","x"],"Interval":5},"OnBuild":["RUN x"],"Shell":["/bin/sh","-c"]},
            "rootfs":{"type":"layers","diff_ids":null},"history":null,"moby.buildkit.buildinfo.v1":"x"}"#;
        let config = ImageConfig::parse("x", text.as_bytes()).unwrap();
        assert_eq!(config.config.on_build, ["RUN x"]);
        assert_eq!(config.config.healthcheck.as_ref().unwrap().interval, 5);
        let again = serde_json::to_string(&config).unwrap();
        assert!(again.contains("ArgsEscaped") && again.contains("moby.buildkit"), "{again}");
        assert_eq!(ImageConfig::parse("x", again.as_bytes()).unwrap(), config);
    }
}
