//! SLSA provenance 1.0 (slsa.dev/spec/v1.0/provenance).

use std::collections::BTreeMap;

use dockerfile::InstructionKind;
use dockerfile::plan::{Plan, Source};
use oci::{Digest, Reference};
use serde_json::{Value, json};

use super::{Recipe, image_url};
use crate::builder::Workshop;
use crate::error::{Error, Result};
use crate::main_context::is_remote;
use crate::options::rfc3339;

/// The URI that says what the parameters mean; docs/DOCKERFILE.md has it.
const BUILD_TYPE: &str = "urn:boxer:dockerfile:v1";
const BUILDER: &str = "urn:boxer:cli";

/// How much is told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// Names and digests, no values of build arguments and no text.
    #[default]
    Min,
    /// Everything, secrets' values excepted.
    Max,
}

/// What `--provenance` asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Provenance {
    /// How much is told.
    pub mode: Mode,
    /// The builder's identity, if it is to have another.
    pub builder: Option<String>,
}

pub(super) fn predicate(
    workshop: &Workshop,
    recipe: &Recipe<'_>,
    wish: &Provenance,
) -> Result<Value> {
    let options = recipe.options;
    let (name, text) = recipe.dockerfile;
    let max = wish.mode == Mode::Max;
    let mut args = BTreeMap::new();
    if let Some(target) = &options.target {
        args.insert("target".to_owned(), target.clone());
    }
    if max {
        for (name, value) in &options.build_args {
            args.insert(format!("build-arg:{name}"), value.clone());
        }
        for (name, value) in &options.labels {
            args.insert(format!("label:{name}"), value.clone());
        }
    }
    for (name, value) in &options.named_contexts {
        args.insert(format!("context:{name}"), without_credentials(value));
    }
    let secrets: Vec<Value> = options.secrets.keys().map(|id| json!({ "id": id })).collect();
    let agents: Vec<Value> = options.ssh.keys().map(|id| json!({ "id": id })).collect();
    let mut request = json!({ "frontend": "dockerfile.v0", "args": args });
    let mut source =
        json!({ "path": name, "digest": { "sha256": Digest::of(text.as_bytes()).hex() } });
    match &options.context {
        Some(context) if context.host_directory().is_some() => {
            request["locals"] = json!([{ "name": "context" }, { "name": "dockerfile" }]);
        }
        Some(context) if is_remote(context.shown()) => {
            source["uri"] = without_credentials(context.shown()).into();
        }
        _ => {}
    }
    if max && !secrets.is_empty() {
        request["secrets"] = secrets.into();
    }
    if max && !agents.is_empty() {
        request["ssh"] = agents.into();
    }
    let digest = Digest::of(text.as_bytes());
    let mut internal = json!({
        "builderPlatform": "linux/amd64",
        "cpu": options.cpu.name(),
        "network": format!("{:?}", options.network).to_lowercase(),
    });
    if max {
        internal["dockerfile"] = json!({ "filename": name, "text": text });
    }
    let invocation = Digest::of(format!("{digest} {args:?} {:?}", recipe.times).as_bytes());
    let mut metadata = json!({
        "invocationId": invocation.hex(),
        "boxer_reproducible": options.reproducible,
        "boxer_completeness": { "request": max, "resolvedDependencies": false },
    });
    if let Some((start, end)) = recipe.times {
        metadata["startedOn"] = rfc3339(start).into();
        metadata["finishedOn"] = rfc3339(end).into();
    }
    Ok(json!({
        "buildDefinition": {
            "buildType": BUILD_TYPE,
            "externalParameters": {
                "configSource": source,
                "request": request,
            },
            "internalParameters": internal,
            "resolvedDependencies": dependencies(workshop, recipe)?,
        },
        "runDetails": {
            "builder": {
                "id": wish.builder.as_deref().unwrap_or(BUILDER),
                "version": { "boxer": env!("CARGO_PKG_VERSION") },
            },
            "metadata": metadata,
        },
    }))
}

/// A URL without the user and password that it may have: provenance is for everybody.
fn without_credentials(text: &str) -> String {
    let Some((scheme, rest)) = text.split_once("://") else { return text.to_owned() };
    let host_end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    match rest.get(..host_end).and_then(|authority| authority.rfind('@')) {
        Some(at) => format!("{scheme}://{}", rest.get(at + 1..).unwrap_or_default()),
        None => text.to_owned(),
    }
}

/// The images that the needed stages start from or copy from. What ADD and RUN fetch is not among them.
fn dependencies(workshop: &Workshop, recipe: &Recipe<'_>) -> Result<Vec<Value>> {
    let plan = Plan::new(&recipe.options.dockerfile, &recipe.options.plan_options())
        .map_err(Error::from)?;
    let mut names = Vec::new();
    for stage in plan.order.iter().filter_map(|index| plan.stages.get(*index)) {
        if let Source::Image(name) = &stage.base {
            names.push(name.clone());
        }
        for instruction in &stage.instructions {
            let from: Vec<&str> = match &instruction.kind {
                InstructionKind::Copy(copy) => {
                    copy.from.iter().map(|word| word.text.as_str()).collect()
                }
                InstructionKind::Run(run) => {
                    run.mounts.iter().filter_map(|mount| mount.from()).collect()
                }
                _ => Vec::new(),
            };
            for name in from {
                if let Ok(Source::Image(name)) = plan.source_named(name, instruction.span) {
                    names.push(name);
                }
            }
        }
    }
    names.sort();
    names.dedup();
    let mut found = Vec::new();
    for name in names {
        let Ok(reference) = Reference::parse(&name) else { continue };
        let Ok(image) = workshop.store.resolve_image(&reference) else { continue };
        found.push(json!({
            "uri": image_url(&reference),
            "digest": { image.digest.algorithm(): image.digest.hex() },
        }));
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::without_credentials;

    #[test]
    fn credentials_stay_out() {
        for (url, expected) in [
            ("https://me:p@ss@example.org/a@b", "https://example.org/a@b"),
            ("https://token@example.org?x=y@z", "https://example.org?x=y@z"),
            ("https://example.org/a@b", "https://example.org/a@b"),
            ("git@example.org:a/b", "git@example.org:a/b"),
            ("./folder", "./folder"),
        ] {
            assert_eq!(without_credentials(url), expected);
        }
    }
}
