//! `boxer build`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use build::{BoxForm, BuildOptions, Built, Events, NoEvents, RunNetwork, SecretSource, Workshop};
use dockerfile::lint::{Knowledge, Warning, check};
use oci::{Digest, NoProgress, Reference};
use runtime::Signals;

use crate::args::{BuildArgs, Global, ProgressMode};
use crate::cache_options;
use crate::cancel::Cancel;
use crate::dockerfile_input::{self, Input};
use crate::failure::{Failure, excerpt};
use crate::network;
use crate::outputs::{self, Output};
use crate::progress::{Plain, megabytes};
use crate::session;

/// What `--reproducible` means, for the log.
const REPRODUCIBLE: &str = "reproducible: RUN steps have a clock that starts at SOURCE_DATE_EPOCH (or the youngest file) and \
counts instructions, and fixed randomness and scheduling. Keys made in them are not secret. Without --network they have no network.";

/// Leaves `.git` in a context that is a repository, as in BuildKit.
const KEEP_GIT: &str = "BUILDKIT_CONTEXT_KEEP_GIT_DIR";

pub fn run(
    global: &Global,
    args: &BuildArgs,
    signals: Option<&Signals>,
) -> Result<ExitCode, Failure> {
    let cancel = Cancel::default();
    build(global, args, signals, &cancel).map_err(|failure| cancel.code(failure))
}

fn build(
    global: &Global,
    args: &BuildArgs,
    signals: Option<&Signals>,
    cancel: &Cancel,
) -> Result<ExitCode, Failure> {
    args.buildx.check()?;
    let outputs =
        args.output.iter().map(|text| outputs::parse(text)).collect::<Result<Vec<_>, _>>()?;
    let tags = args.tag.iter().map(|text| Reference::parse(text)).collect::<Result<Vec<_>, _>>();
    let tags = tags.map_err(Failure::usage)?;
    if args.push && tags.is_empty() {
        return Err(Failure::usage("--push needs a --tag to push to"));
    }
    let build_args = build_args(&args.build_arg)?;
    let named_contexts = pairs("--build-context", &args.build_context)?;
    let labels = pairs("--label", &args.label)?;
    let secrets = secrets(&args.secret)?;
    let cache_from = cache_options::imports(&args.cache_from)?;
    let cache_to = cache_options::exports(&args.cache_to)?;
    let quiet = args.quiet || args.progress == ProgressMode::Quiet;
    let events: Arc<dyn Events> = if quiet { Arc::new(NoEvents) } else { Arc::new(Plain::new()) };
    let workshop = session::workshop(global, events, cancel.interrupt())?;
    if let Some(signals) = signals {
        cancel.watch(signals, &workshop.store).map_err(Failure::new)?;
    }
    let keep_git = build_args.get(KEEP_GIT).is_some_and(|value| value == "1" || value == "true");
    let input = dockerfile_input::read(&workshop, args, keep_git)?;
    let options = BuildOptions {
        dockerfile: input.file.clone(),
        dockerfile_path: input.path.clone(),
        context: Some(input.context.clone()),
        named_contexts,
        source_date_epoch: source_date_epoch(&build_args)?,
        build_args,
        secrets,
        target: args.target.clone(),
        labels,
        no_cache: args.no_cache,
        no_cache_stages: args.no_cache_filter.iter().map(|name| name.to_lowercase()).collect(),
        cpu: args.cpu(),
        limits: args.limits.limits(),
        translation: args.translate.translation(false),
        cache_from,
        cache_to,
        pull: args.pull,
        network: run_network(global, args),
        hosts: network::hosts(&args.add_host)?,
        reproducible: args.reproducible,
    };
    let warnings = lint(global, &input, &options);
    if args.check {
        return report_check(&input, &options, &warnings);
    }
    if options.dockerfile.directives.check.error && !warnings.is_empty() {
        return report_check(&input, &options, &warnings);
    }
    if args.reproducible && !quiet {
        tell!("{REPRODUCIBLE}");
    }
    let fail = |error: build::Error| Failure::build(&error, &input.name, &input.text);
    let built = build::build(&workshop, &options).map_err(fail)?;
    let digest = finish(global, &workshop, &built, &outputs, &tags, args.cpu(), quiet)?;
    let write = |path: &Path, text: &str| {
        std::fs::write(path, text)
            .map_err(|error| Failure::new(format!("cannot write {}: {error}", path.display())))
    };
    if let Some(path) = &args.iidfile {
        write(path, digest.as_str())?;
    }
    if let Some(path) = &args.metadata_file {
        write(path, &metadata(&workshop, &built, &digest, &tags)?)?;
    }
    if args.push {
        let client = session::client(global)?;
        for tag in &tags {
            client.push(tag, &workshop.store, &digest, &NoProgress)?;
            if !quiet {
                tell!("pushed {}", tag.familiar());
            }
        }
    }
    if args.quiet {
        say!("{digest}");
    }
    if !quiet {
        unused_arguments(&input, &options);
        // Now the base images are known.
        summary(&lint(global, &input, &options));
    }
    Ok(ExitCode::SUCCESS)
}

/// Makes what was asked for; gives the digest of the box in the store.
fn finish(
    global: &Global,
    workshop: &Workshop,
    built: &Built,
    outputs: &[Output],
    tags: &[Reference],
    cpu: build::CpuLevel,
    quiet: bool,
) -> Result<Digest, Failure> {
    let note = |text: String| {
        if !quiet {
            tell!("{text}");
        }
    };
    let mut made: Vec<(BoxForm, build::LinkedBox)> = Vec::new();
    let mut link = |form: BoxForm| -> Result<build::LinkedBox, Failure> {
        if let Some((_, linked)) = made.iter().find(|(known, _)| *known == form) {
            return Ok(linked.clone());
        }
        let linked = build::link_box(workshop, built, cpu, form)?;
        let size = std::fs::metadata(&linked.path).map(|meta| meta.len()).unwrap_or(0);
        note(format!("{} {}", form_name(form), megabytes(size)));
        made.push((form, linked.clone()));
        Ok(linked)
    };
    for output in outputs {
        note(output.write(global, workshop, built, tags, &mut link)?);
    }
    // A name leads to a box; a component if one was asked for.
    let form = outputs.iter().find_map(Output::box_form);
    // Who wants an image or its files and gives no name does not wait for a box.
    if tags.is_empty() && form.is_none() && !outputs.is_empty() {
        return Ok(built.image.digest.clone());
    }
    let form = form.unwrap_or_default();
    let linked = link(form)?;
    let mut digest = None;
    for tag in tags {
        let handle = build::store_box(workshop, built, &linked, Some(tag))?;
        note(format!("named {}", tag.familiar()));
        digest = Some(handle.digest);
    }
    match digest {
        Some(digest) => Ok(digest),
        None => {
            let digest = build::store_box(workshop, built, &linked, None)?.digest;
            note(format!("stored {digest}"));
            Ok(digest)
        }
    }
}

/// `--metadata-file`, with buildx's keys. The descriptor is that of the result: a box's manifest, or the image's.
fn metadata(
    workshop: &Workshop,
    built: &Built,
    digest: &Digest,
    tags: &[Reference],
) -> Result<String, Failure> {
    let size = workshop.store.blob_size(digest)?;
    let names: Vec<String> = tags.iter().map(Reference::canonical).collect();
    let mut value = serde_json::json!({
        "containerimage.config.digest": built.image.manifest.config.digest,
        "containerimage.descriptor": {
            "mediaType": oci::manifest::media::OCI_MANIFEST,
            "digest": digest,
            "size": size,
        },
        "containerimage.digest": digest,
        "boxer.image.digest": built.image.digest,
    });
    if !names.is_empty() {
        value["image.name"] = names.join(",").into();
    }
    serde_json::to_string_pretty(&value).map_err(Failure::new)
}

fn form_name(form: BoxForm) -> &'static str {
    match form {
        BoxForm::Module => "wasm",
        BoxForm::Component | BoxForm::ComponentWithoutNetwork => "component",
    }
}

fn build_args(words: &[String]) -> Result<BTreeMap<String, String>, Failure> {
    let mut args = BTreeMap::new();
    for word in words {
        match word.split_once('=') {
            Some(("", _)) => {
                return Err(Failure::usage(format!(
                    "invalid --build-arg {word:?}: the name is missing"
                )));
            }
            Some((name, value)) => {
                args.insert(name.to_owned(), value.to_owned());
            }
            // As docker does, a variable that is not set is not passed.
            None => {
                if let Ok(value) = std::env::var(word) {
                    args.insert(word.clone(), value);
                }
            }
        }
    }
    Ok(args)
}

/// `id=ID[,src=FILE|env=NAME]`, as in buildx: without either, the variable ID or else the file ID.
fn secrets(words: &[String]) -> Result<BTreeMap<String, SecretSource>, Failure> {
    let mut secrets = BTreeMap::new();
    for word in words {
        let wrong = |what: &str| Failure::usage(format!("invalid --secret {word:?}: {what}"));
        let (mut id, mut file, mut variable, mut kind) = (None, None, None, None);
        for field in word.split(',') {
            match field.split_once('=') {
                Some(("id", value)) if !value.is_empty() => id = Some(value.to_owned()),
                Some(("src" | "source", value)) => file = Some(PathBuf::from(value)),
                Some(("env", value)) => variable = Some(value.to_owned()),
                Some(("type", value @ ("file" | "env"))) => kind = Some(value),
                _ => return Err(wrong(&format!("{field:?} is none of id=, src=, env=, type="))),
            }
        }
        let id = id.ok_or_else(|| wrong("it needs id=ID"))?;
        if kind == Some("env") && variable.is_none() {
            variable = file.take().map(|file| file.display().to_string());
        }
        let named = variable.is_some();
        let value = |name: &str| {
            use std::os::unix::ffi::OsStringExt;
            std::env::var_os(name).map(OsStringExt::into_vec)
        };
        let source = match (variable, file) {
            (_, Some(file)) => SecretSource::File(file),
            (variable, None) => {
                let name = variable.unwrap_or_else(|| id.clone());
                match value(&name) {
                    Some(bytes) => SecretSource::Value(bytes),
                    None if named => return Err(wrong(&format!("{name} is not set"))),
                    None => SecretSource::File(PathBuf::from(&id)),
                }
            }
        };
        if let SecretSource::File(path) = &source
            && !path.is_file()
        {
            return Err(wrong(&format!("there is no file {}", path.display())));
        }
        secrets.insert(id, source);
    }
    Ok(secrets)
}

fn pairs(flag: &str, words: &[String]) -> Result<BTreeMap<String, String>, Failure> {
    let pair = |word: &String| match word.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        None if flag == "--label" && !word.is_empty() => Ok((word.clone(), String::new())),
        _ => {
            Err(Failure::usage(format!("invalid {flag} {word:?}: must be of the form NAME=VALUE")))
        }
    };
    words.iter().map(pair).collect()
}

fn source_date_epoch(build_args: &BTreeMap<String, String>) -> Result<Option<i64>, Failure> {
    const NAME: &str = "SOURCE_DATE_EPOCH";
    let text = build_args
        .get(NAME)
        .cloned()
        .or_else(|| std::env::var(NAME).ok())
        .filter(|text| !text.is_empty());
    let Some(text) = text else { return Ok(None) };
    let seconds =
        text.parse::<i64>().ok().filter(|seconds| (0..=253_402_300_799).contains(seconds));
    seconds.map(Some).ok_or_else(|| {
        Failure::usage(format!("invalid {NAME} {text:?}: it is a number of seconds"))
    })
}

/// The network of RUN steps: docker's default, unless the build is not to use a network or must not depend on one.
fn run_network(global: &Global, args: &BuildArgs) -> RunNetwork {
    match args.network {
        Some(network) => network,
        None if global.offline || args.reproducible => RunNetwork::None,
        None => RunNetwork::Default,
    }
}

/// The warnings; of base images those count that the store has.
fn lint(global: &Global, input: &Input, options: &BuildOptions) -> Vec<Warning> {
    let ignore = input
        .directory()
        .and_then(|context| build::ignore_file(context, input.path.as_deref()).ok());
    let plan_options = dockerfile::plan::Options {
        build_args: options.build_args.clone(),
        target: options.target.clone(),
        contexts: options.named_contexts.keys().cloned().collect(),
        ..dockerfile::plan::Options::default()
    };
    let mut image_env = BTreeMap::new();
    if let (Ok(plan), Ok(store)) =
        (dockerfile::plan::Plan::new(&input.file, &plan_options), session::store(global))
    {
        for stage in &plan.stages {
            let dockerfile::plan::Source::Image(name) = &stage.base else { continue };
            if let Ok(image) = Reference::parse(name).and_then(|name| store.image(&name)) {
                let env = image.config.config.env.iter();
                let names = env.map(|pair| pair.split('=').next().unwrap_or_default().to_owned());
                image_env.insert(name.clone(), names.collect());
            }
        }
    }
    check(&input.file, &plan_options, &Knowledge { image_env, ignore: ignore.as_ref() })
}

/// `--check`: every warning with its lines; exit code 1 if there are any.
fn report_check(
    input: &Input,
    options: &BuildOptions,
    warnings: &[Warning],
) -> Result<ExitCode, Failure> {
    let plan_options = dockerfile::plan::Options {
        build_args: options.build_args.clone(),
        target: options.target.clone(),
        contexts: options.named_contexts.keys().cloned().collect(),
        ..dockerfile::plan::Options::default()
    };
    dockerfile::plan::Plan::new(&input.file, &plan_options)
        .map_err(|error| Failure::build(&build::Error::from(error), &input.name, &input.text))?;
    for warning in warnings {
        tell!("WARNING: {} - {}\n{}", warning.rule, warning.url(), warning.message);
        tell!("{}", excerpt(&input.name, &input.text, warning.span));
    }
    if warnings.is_empty() {
        tell!("Check complete, no warnings found.");
        return Ok(ExitCode::SUCCESS);
    }
    let count = warnings.len();
    let ending = if count == 1 { "" } else { "s" };
    tell!("Check complete, {count} warning{ending} found.");
    if options.dockerfile.directives.check.error {
        let rules: BTreeSet<&str> = warnings.iter().map(|warning| warning.rule).collect();
        let rules = rules.into_iter().collect::<Vec<_>>().join(", ");
        return Err(Failure::new(format!("lint violation found for rules: {rules}")));
    }
    Ok(ExitCode::FAILURE)
}

fn summary(warnings: &[Warning]) {
    if warnings.is_empty() {
        return;
    }
    let ending = if warnings.len() == 1 { "" } else { "s" };
    tell!("\n {} warning{ending} found (use --check to expand):", warnings.len());
    for warning in warnings {
        tell!(" - {}: {} (line {})", warning.rule, warning.message, warning.span.start);
    }
}

/// Build arguments that no ARG declares.
fn unused_arguments(input: &Input, options: &BuildOptions) {
    let declared: BTreeSet<&str> = input
        .file
        .instructions
        .iter()
        .filter_map(|instruction| match &instruction.kind {
            dockerfile::InstructionKind::Arg(definitions) => Some(definitions),
            _ => None,
        })
        .flatten()
        .map(|definition| definition.name.as_str())
        .collect();
    let known = |name: &str| {
        declared.contains(name)
            || dockerfile::scope::PREDEFINED.contains(&name)
            || name == "SOURCE_DATE_EPOCH"
            || name == KEEP_GIT
    };
    let unused: Vec<&str> =
        options.build_args.keys().map(String::as_str).filter(|name| !known(name)).collect();
    if !unused.is_empty() {
        tell!("\n[Warning] One or more build-args {unused:?} were not consumed");
    }
}
