//! `boxer build`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::SystemTime;

use build::{BoxForm, BuildOptions, Built, Choice, RunNetwork, SecretSource, Workshop};
use dockerfile::lint::{Knowledge, Warning, check};
use oci::{Digest, Reference};
use runtime::Signals;

use crate::args::{BuildArgs, Global, ProgressMode};
use crate::attestations::Attestations;
use crate::cache_options;
use crate::call::{self, Method};
use crate::cancel::Cancel;
use crate::dockerfile_input::{self, Input};
use crate::failure::{Failure, excerpt};
use crate::network;
use crate::outputs::{self, Output};
use crate::progress::Step;
use crate::progress::{Display, megabytes};
use crate::session;
use crate::ssh_options;

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
    refuse_with_simd(args, &outputs)?;
    if args.push && tags.is_empty() {
        return Err(Failure::usage("--push needs a --tag to push to"));
    }
    let build_args = build_args(&args.build_arg)?;
    let named_contexts = pairs("--build-context", &args.build_context)?;
    let labels = pairs("--label", &args.label)?;
    let annotations = annotations(&args.annotation)?;
    let secrets = secrets(&args.secret)?;
    let ssh = ssh_options::agents(&args.ssh)?;
    let wishes = args.attest.wishes()?;
    let cache_from = cache_options::imports(&args.cache_from)?;
    let cache_to = cache_options::exports(&args.cache_to)?;
    let mode = args.progress();
    let method = if args.check { Method::Check } else { args.call.method };
    if args.reproducible && method == Method::Build && mode != ProgressMode::Quiet {
        tell!("{REPRODUCIBLE}");
    }
    let display = Display::new(mode)?;
    let workshop = session::workshop(global, display.events(), cancel.interrupt())?;
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
        ssh,
        target: args.target.clone(),
        labels,
        no_cache: args.no_cache,
        no_cache_stages: args.no_cache_filter.iter().map(|name| name.to_lowercase()).collect(),
        platform: args.platform(),
        cpu: args.cpu(),
        limits: args.limits.limits(),
        ulimits: args.step_limits.ulimit.clone(),
        shm_size: args.step_limits.shm_size(),
        translation: args.translate.translation(),
        cache_from,
        cache_to,
        pull: args.pull,
        largest_layer: if makes_box(&outputs, &tags) {
            build::LARGEST_IN_BOX
        } else {
            build::LARGEST_LAYER
        },
        network: run_network(global, args),
        hosts: network::hosts(&args.add_host)?,
        reproducible: args.reproducible,
    };
    let snapshot = args.snapshot.snapshot(&options)?;
    refuse_with_web(&outputs, &snapshot)?;
    let plan_options = plan_options(&options);
    if method != Method::Build {
        display.close();
    }
    match method {
        Method::Outline => {
            print(&call::outline(&input, &plan_options, args.call.json)?);
            return Ok(ExitCode::SUCCESS);
        }
        Method::Targets => {
            print(&call::targets(&input, &plan_options, args.call.json)?);
            return Ok(ExitCode::SUCCESS);
        }
        Method::Build | Method::Check => {}
    }
    let warnings = lint(global, &input, &options);
    if method == Method::Check {
        if args.call.json {
            return report_check_json(&input, &options, &warnings);
        }
        return report_check(&input, &options, &warnings);
    }
    if options.dockerfile.directives.check.error && !warnings.is_empty() {
        display.close();
        return report_check(&input, &options, &warnings);
    }
    let step =
        display.step(&format!("[internal] load build definition from {}", input.short_name()));
    step.note(&format!("transferring dockerfile: {}", megabytes(input.text.len() as u64)));
    drop(step);
    let started = SystemTime::now();
    let mut built = build::build(&workshop, &options).map_err(|error| {
        display.close();
        Failure::build(&error, &input.name, &input.text)
    })?;
    if !annotations.is_empty() {
        built.image = workshop.store.annotate_image(&built.image, annotations)?;
    }
    let result = (&built, &options);
    let attestations =
        Attestations::make(&wishes, &display, &workshop, result, &input, &tags, started)?;
    attestations.attach(&workshop, &built.image.descriptor)?;
    let (workshop, built) = (&workshop, &built);
    let job = Job {
        global,
        args,
        workshop,
        built,
        display: &display,
        attestations: &attestations,
        snapshot,
    };
    let digest = job.finish(&outputs, &tags)?;
    display.close();
    if args.quiet {
        say!("{digest}");
    }
    if mode != ProgressMode::Quiet {
        unused_arguments(&input, &options, built);
        // Now the base images are known.
        let warnings = lint(global, &input, &options);
        match mode {
            ProgressMode::Rawjson => {
                for warning in &warnings {
                    display.lint(warning, &input.name, &input.text);
                }
            }
            _ => summary(&warnings),
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Who wants an image or its files and gives no name does not wait for a box.
fn makes_box(outputs: &[Output], tags: &[Reference]) -> bool {
    !tags.is_empty() || outputs.is_empty() || outputs.iter().any(|it| it.box_form().is_some())
}

/// A build whose image is there.
struct Job<'a> {
    global: &'a Global,
    args: &'a BuildArgs,
    workshop: &'a Workshop,
    built: &'a Built,
    display: &'a Display,
    attestations: &'a Attestations,
    snapshot: build::Snapshot,
}

impl Job<'_> {
    /// Makes what was asked for, pushes it and writes the files about it; gives the digest of the result.
    fn finish(&self, outputs: &[Output], tags: &[Reference]) -> Result<Digest, Failure> {
        let mut links = Links { job: self, made: Vec::new() };
        for output in outputs {
            if let Some(form) = output.box_form() {
                links.link(form)?;
            }
            let step = self.display.step(&output.title());
            let link = |form| links.link(form);
            let mut wrote = output.write(self.global, self.workshop, self.built, tags, &step, link);
            if let (Ok(_), Output::Local(folder)) = (&wrote, output)
                && let Err(failure) = self.attestations.write_into(folder, self.built)
            {
                wrote = Err(failure);
            }
            if let Ok(remark) = &wrote {
                if output.is_image() {
                    let image = &self.built.image;
                    step.note(&format!("exporting manifest {}", image.digest));
                    step.note(&format!("exporting config {}", image.manifest.config.digest));
                }
                step.note(remark);
            }
            step.end(wrote)?;
        }
        let digest = self.store(&mut links, outputs, tags)?;
        if let Some(path) = &self.args.iidfile {
            write_text(path, digest.as_str())?;
        }
        if let Some(path) = &self.args.metadata_file {
            write_text(path, &self.metadata(&digest, tags)?)?;
        }
        if self.args.push {
            let client = session::client(self.global)?;
            for tag in tags {
                let step = self.display.step(&format!("pushing {}", tag.familiar()));
                let pushed = self.push(&client, tag, &step);
                step.end(pushed)?;
            }
        }
        Ok(digest)
    }

    /// Pushes the box behind a tag in the form that was asked for.
    fn push(&self, client: &oci::Client, tag: &Reference, step: &Step) -> Result<(), Failure> {
        let store = &self.workshop.store;
        let handle = store.wasm_box(tag)?;
        let form = self.args.form.unwrap_or_default();
        for pushed in client.push_box(tag, store, &handle, form, step)? {
            step.note(&format!("pushed {}@{}", pushed.reference.canonical(), pushed.digest));
        }
        Ok(())
    }

    /// Puts the box in the store, under its names; gives the digest of what the names lead to.
    fn store(
        &self,
        links: &mut Links<'_>,
        outputs: &[Output],
        tags: &[Reference],
    ) -> Result<Digest, Failure> {
        // A name leads to a box; a component if one was asked for.
        let form = outputs.iter().find_map(Output::box_form);
        if !makes_box(outputs, tags) {
            return Ok(self.built.image.digest.clone());
        }
        let linked = links.link(form.unwrap_or_default())?;
        let step = self.display.step("exporting to the local store");
        let stored = (|| {
            let mut handle = None;
            for tag in tags {
                handle = Some(build::store_box(self.workshop, self.built, &linked, Some(tag))?);
            }
            let handle = match handle {
                Some(handle) => handle,
                None => build::store_box(self.workshop, self.built, &linked, None)?,
            };
            self.attestations.attach(self.workshop, &handle.descriptor)?;
            if !tags.is_empty() || outputs.is_empty() {
                build::ready_box(self.workshop, &linked.path);
            }
            step.note(&format!("writing image {}", self.built.image.digest));
            step.note(&format!("writing box {}", handle.digest));
            tags.iter().for_each(|tag| step.note(&format!("naming to {}", tag.canonical())));
            Ok(handle.digest)
        })();
        step.end(stored)
    }

    /// `--metadata-file`, with buildx's keys. The descriptor is that of the result: a box's manifest, or the image's.
    fn metadata(&self, digest: &Digest, tags: &[Reference]) -> Result<String, Failure> {
        let image = &self.built.image;
        let size = self.workshop.store.blob_size(digest)?;
        let names: Vec<String> = tags.iter().map(Reference::canonical).collect();
        let mut value = serde_json::json!({
            "containerimage.config.digest": image.manifest.config.digest,
            "containerimage.descriptor": {
                "mediaType": oci::manifest::media::OCI_MANIFEST,
                "digest": digest,
                "size": size,
            },
            "containerimage.digest": digest,
            "boxer.image.digest": image.digest,
        });
        if !names.is_empty() {
            value["image.name"] = names.join(",").into();
        }
        if let Some(provenance) = self.attestations.provenance() {
            value["buildx.build.provenance"] = provenance.clone();
        }
        serde_json::to_string_pretty(&value).map_err(Failure::new)
    }
}

/// Refuses what a box without SIMD cannot be.
fn refuse_with_simd(args: &BuildArgs, outputs: &[Output]) -> Result<(), Failure> {
    if !args.no_simd {
        return Ok(());
    }
    let is_component =
        |output: &Output| output.box_form().is_some_and(|form| form != BoxForm::Module);
    if outputs.iter().any(is_component) {
        return Err(Failure::usage(
            "--no-simd is for modules: no host runs components and has no SIMD",
        ));
    }
    if args.translate.wants_code() {
        return Err(Failure::usage(
            "--no-simd leaves compiled code out, which needs SIMD: it goes with neither --translate=all nor --translate-budget nor --train",
        ));
    }
    Ok(())
}

/// Refuses what a folder for a browser cannot be.
fn refuse_with_web(outputs: &[Output], snapshot: &build::Snapshot) -> Result<(), Failure> {
    let to_stdout = |output: &Output| matches!(output, Output::Web(path) if path == Path::new("-"));
    if outputs.iter().any(to_stdout) {
        return Err(Failure::usage("type=web writes a directory: dest= cannot be standard output"));
    }
    if snapshot.happens() && outputs.iter().any(|output| matches!(output, Output::Web(_))) {
        return Err(Failure::usage(
            "--snapshot and type=web do not go together: programs that run already have mapped files that would lie outside of the box",
        ));
    }
    Ok(())
}

/// The boxes of a build, each linked once.
struct Links<'a> {
    job: &'a Job<'a>,
    made: Vec<(BoxForm, build::LinkedBox)>,
}

impl Links<'_> {
    fn link(&mut self, form: BoxForm) -> Result<build::LinkedBox, Failure> {
        let form = match form {
            BoxForm::Module if self.job.args.no_simd => BoxForm::ModuleWithoutSimd,
            form => form,
        };
        if let Some((_, linked)) = self.made.iter().find(|(known, _)| *known == form) {
            return Ok(linked.clone());
        }
        let Job { workshop, built, args, .. } = self.job;
        let mut freezing = args.translate.freezing(args.reproducible, args.limits.limits());
        if form == BoxForm::ModuleWithoutSimd {
            freezing.choice = Choice::None;
        }
        let linked =
            build::link_box(workshop, built, args.cpu(), form, &freezing, &self.job.snapshot)?;
        self.made.push((form, linked.clone()));
        Ok(linked)
    }
}

fn write_text(path: &Path, text: &str) -> Result<(), Failure> {
    std::fs::write(path, text)
        .map_err(|error| Failure::new(format!("cannot write {}: {error}", path.display())))
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

/// `[TYPE:]NAME=VALUE`. A box or image made here is one manifest, so the types that belong to an index have no place.
fn annotations(words: &[String]) -> Result<BTreeMap<String, String>, Failure> {
    const TYPES: [&str; 4] = ["manifest", "index", "manifest-descriptor", "index-descriptor"];
    let mut found = BTreeMap::new();
    for word in words {
        let wrong = |what: &str| Failure::usage(format!("invalid --annotation {word:?}: {what}"));
        let (name, value) =
            word.split_once('=').ok_or_else(|| wrong("must be of the form NAME=VALUE"))?;
        let (types, name) = match name.split_once(':') {
            Some((types, name)) => (types.split(',').collect(), name),
            None => (vec!["manifest"], name),
        };
        if name.is_empty() {
            return Err(wrong("the name is missing"));
        }
        for kind in types {
            // A platform may be named; there is one.
            let kind = match kind.split_once('[') {
                Some((kind, "linux/amd64]")) => kind,
                Some(_) => return Err(wrong("the platform is linux/amd64 always")),
                None => kind,
            };
            match kind {
                "manifest" => drop(found.insert(name.to_owned(), value.to_owned())),
                _ if TYPES.contains(&kind) => {
                    return Err(wrong(&format!(
                        "{kind} annotations are not supported for a single platform: no index is written"
                    )));
                }
                _ => {
                    return Err(wrong(&format!(
                        "unknown type {kind:?}: it is one of {}",
                        TYPES.join(", ")
                    )));
                }
            }
        }
    }
    Ok(found)
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

/// The plan's part of the options.
fn plan_options(options: &BuildOptions) -> dockerfile::plan::Options {
    dockerfile::plan::Options {
        build_args: options.build_args.clone(),
        target: options.target.clone(),
        contexts: options.named_contexts.keys().cloned().collect(),
        ..dockerfile::plan::Options::default()
    }
}

fn print(text: &str) {
    text.trim_end().lines().for_each(|line| say!("{line}"));
}

/// The warnings; of base images those count that the store has.
fn lint(global: &Global, input: &Input, options: &BuildOptions) -> Vec<Warning> {
    let ignore = input
        .directory()
        .and_then(|context| build::ignore_file(context, input.path.as_deref()).ok());
    let plan_options = plan_options(options);
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
    let plan_options = plan_options(options);
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

/// `--call=check,format=json` on standard output; exit code 1 if there are any.
fn report_check_json(
    input: &Input,
    options: &BuildOptions,
    warnings: &[Warning],
) -> Result<ExitCode, Failure> {
    let error = dockerfile::plan::Plan::new(&input.file, &plan_options(options)).err();
    let message = error.as_ref().map(|error| (error.to_string(), error.span));
    let shown = message.as_ref().map(|(text, span)| (text.as_str(), Some(*span)));
    print(&call::check_json(input, warnings, shown));
    Ok(if warnings.is_empty() && error.is_none() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
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
fn unused_arguments(input: &Input, options: &BuildOptions, built: &Built) {
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
            || built.trigger_args.contains(name)
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
