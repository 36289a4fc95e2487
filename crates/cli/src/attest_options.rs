//! `--sbom`, `--provenance` and `--attest`: what is to be told of a result, in buildx's words.

use build::{Provenance, ProvenanceMode};
use clap::Args;

use crate::failure::Failure;

#[derive(Debug, Args)]
pub struct AttestArgs {
    /// Attach an SBOM (SPDX) of the packages in the image: those of dpkg, apk, rpm, pip, npm, gem, Go and cargo
    #[arg(long, num_args = 0..=1, default_missing_value = "true", require_equals = true, value_name = "BOOL")]
    sbom: Option<String>,
    /// Attach provenance (SLSA 1.0): how the image was made. mode=min has no values of build arguments, mode=max all but
    /// secrets; builder-id=URI names the builder
    #[arg(long, num_args = 0..=1, default_missing_value = "true", require_equals = true, value_name = "BOOL|FIELDS")]
    provenance: Option<String>,
    /// The same as --sbom or --provenance: type=sbom or type=provenance[,mode=max] (repeatable)
    #[arg(long, value_name = "ATTESTATION")]
    attest: Vec<String>,
}

/// What was asked for.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Wishes {
    pub sbom: bool,
    pub provenance: Option<Provenance>,
}

impl AttestArgs {
    pub fn wishes(&self) -> Result<Wishes, Failure> {
        let mut given: Vec<(String, &str)> = Vec::new();
        for (kind, option, value) in
            [("sbom", "--sbom", &self.sbom), ("provenance", "--provenance", &self.provenance)]
        {
            let Some(value) = value else { continue };
            given.push(match value.as_str() {
                "true" | "1" => (format!("type={kind}"), option),
                "false" | "0" => (format!("type={kind},disabled=true"), option),
                fields => (format!("type={kind},{fields}"), option),
            });
        }
        given.extend(self.attest.iter().map(|text| (text.clone(), "--attest")));
        let mut wishes = Wishes::default();
        let mut seen = Vec::new();
        for (text, option) in &given {
            let wrong = |what: String| Failure::usage(format!("invalid {option} {text:?}: {what}"));
            let fields = text.split(',').map(|field| field.split_once('=').unwrap_or((field, "")));
            let kind = fields.clone().find(|(key, _)| *key == "type").map(|(_, value)| value);
            let Some(kind @ ("sbom" | "provenance")) = kind else {
                return Err(wrong("it needs type=sbom or type=provenance".into()));
            };
            if seen.contains(&kind) {
                return Err(wrong(format!("{kind} is given twice")));
            }
            seen.push(kind);
            let (mut provenance, mut disabled) = (Provenance::default(), false);
            for (key, value) in fields {
                match (kind, key, value) {
                    (_, "type", _) | ("provenance", "version", "v1") => {}
                    (_, "inline-only", "false") => {}
                    (_, "disabled", "true" | "1") => disabled = true,
                    (_, "disabled", "false" | "0") => disabled = false,
                    ("provenance", "mode", "min") => provenance.mode = ProvenanceMode::Min,
                    ("provenance", "mode", "max") => provenance.mode = ProvenanceMode::Max,
                    ("provenance", "builder-id", id) if !id.is_empty() => {
                        provenance.builder = Some(id.to_owned());
                    }
                    ("provenance", "version", _) => {
                        return Err(wrong("provenance is written as SLSA 1.0: version=v1".into()));
                    }
                    ("sbom", "generator", _) => {
                        return Err(wrong(
                            "generator= is not supported: no scanner's image is run, boxer itself reads what package managers leave".into(),
                        ));
                    }
                    (_, key, value) => {
                        return Err(wrong(format!("{key}={value} is not supported")));
                    }
                }
            }
            match kind {
                "sbom" => wishes.sbom = !disabled,
                _ => wishes.provenance = (!disabled).then_some(provenance),
            }
        }
        Ok(wishes)
    }
}

#[cfg(test)]
mod tests {
    use super::{AttestArgs, Wishes};
    use build::{Provenance, ProvenanceMode};

    fn of(sbom: Option<&str>, provenance: Option<&str>, attest: &[&str]) -> Option<Wishes> {
        let args = AttestArgs {
            sbom: sbom.map(str::to_owned),
            provenance: provenance.map(str::to_owned),
            attest: attest.iter().map(|text| (*text).to_owned()).collect(),
        };
        args.wishes().ok()
    }

    #[test]
    fn options_are_those_of_buildx() {
        let max = Provenance { mode: ProvenanceMode::Max, builder: Some("https://ci".into()) };
        assert_eq!(of(None, None, &[]), Some(Wishes::default()));
        assert_eq!(of(Some("false"), Some("false"), &[]), Some(Wishes::default()));
        assert_eq!(
            of(Some("true"), Some("mode=max,builder-id=https://ci"), &[]),
            Some(Wishes { sbom: true, provenance: Some(max) })
        );
        let min = Wishes { sbom: true, provenance: Some(Provenance::default()) };
        assert_eq!(of(None, Some("true"), &["type=sbom"]), Some(min));
        assert_eq!(
            of(None, None, &["type=provenance,mode=min,version=v1,disabled=true"]),
            Some(Wishes::default())
        );
        for wrong in [
            "sbom",
            "type=x",
            "type=sbom,generator=x",
            "type=provenance,mode=y",
            "type=sbom,mode=max",
        ] {
            assert_eq!(of(None, None, &[wrong]), None, "{wrong}");
        }
        assert_eq!(of(Some("true"), None, &["type=sbom"]), None);
        assert_eq!(of(None, Some("version=v0.2"), &[]), None);
    }
}
