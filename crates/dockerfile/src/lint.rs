//! Build checks: BuildKit's rules, by BuildKit's names. A warning never changes what is built.

use std::collections::{BTreeMap, BTreeSet};

use crate::copy::CopySource;
use crate::error::Span;
use crate::expand;
use crate::ignore::{IgnoreFile, clean};
use crate::instruction::{Command, HealthTest, Instruction, InstructionKind};
use crate::parse::Dockerfile;
use crate::pattern;
use crate::plan::{Options, Plan, Source};
use crate::scope::{Globals, Platform, Scope};
use crate::suggest::did_you_mean;
use crate::words::Word;

/// One finding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning {
    /// The rule's name.
    pub rule: &'static str,
    /// The lines to show.
    pub span: Span,
    /// What is wrong.
    pub message: String,
}

impl Warning {
    /// The page of BuildKit's documentation on the rule.
    pub fn url(&self) -> String {
        let mut name = String::new();
        let mut chars = self.rule.chars().peekable();
        let mut before: Option<char> = None;
        while let Some(c) = chars.next() {
            let next_is_lower = chars.peek().is_some_and(|next| next.is_lowercase());
            let starts_word = c.is_uppercase()
                && before.is_some_and(|b| b.is_lowercase() || (b.is_uppercase() && next_is_lower));
            if starts_word {
                name.push('-');
            }
            name.extend(c.to_lowercase());
            before = Some(c);
        }
        format!("https://docs.docker.com/go/dockerfile/rule/{name}/")
    }
}

/// What the checks may know beyond the text.
#[derive(Clone, Debug, Default)]
pub struct Knowledge<'a> {
    /// The names in the environment of each base image known so far, by the name in FROM. A
    /// stage on an image that is not here is not searched for undefined variables.
    pub image_env: BTreeMap<String, BTreeSet<String>>,
    /// The `.dockerignore` of the main context.
    pub ignore: Option<&'a IgnoreFile>,
}

/// Checks a file. Rules that `# check=skip=` names are left out.
pub fn check(file: &Dockerfile, options: &Options, knowledge: &Knowledge<'_>) -> Vec<Warning> {
    let mut found = Findings { warnings: Vec::new() };
    whole_file(file, &mut found);
    global_arguments(file, options, &mut found);
    if let Ok(plan) = Plan::new(file, options) {
        variables(&plan, knowledge, &mut found);
        if let Some(ignore) = knowledge.ignore {
            ignored_sources(&plan, ignore, &mut found);
        }
    }
    let skip = &file.directives.check.skip;
    let skipped =
        |rule: &str| skip.iter().any(|name| name == rule || name.eq_ignore_ascii_case("all"));
    found.warnings.retain(|warning| !skipped(warning.rule));
    found.warnings.sort_by_key(|warning| warning.span);
    found.warnings
}

struct Findings {
    warnings: Vec<Warning>,
}

impl Findings {
    fn add(&mut self, rule: &'static str, span: Span, message: impl Into<String>) {
        self.warnings.push(Warning { rule, span, message: message.into() });
    }
}

/// What one stage has said so far.
#[derive(Default)]
struct StageState {
    workdir_absolute: bool,
    shell_set: bool,
    last: BTreeMap<&'static str, Span>,
}

fn whole_file(file: &Dockerfile, found: &mut Findings) {
    casing(file, found);
    let mut names: BTreeSet<String> = BTreeSet::new();
    let mut stage = StageState::default();
    for instruction in &file.instructions {
        let span = instruction.span;
        if let Some(line) = instruction.empty_continuation {
            found.add("NoEmptyContinuation", Span::line(line), "Empty continuation line");
        }
        match &instruction.kind {
            InstructionKind::From(from) => {
                stage = StageState::default();
                if let Some(name) = &from.name {
                    let lower = name.text.to_lowercase();
                    if lower != name.text {
                        found.add(
                            "StageNameCasing",
                            span,
                            format!("Stage name '{}' should be lowercase", name.text),
                        );
                    }
                    if matches!(lower.as_str(), "scratch" | "context") {
                        let text = format!(
                            "Stage name should not use the same name as reserved stage \"{lower}\""
                        );
                        found.add("ReservedStageName", span, text);
                    }
                    if !names.insert(lower) {
                        let text = format!(
                            "Duplicate stage name '{}', stage names should be unique",
                            name.text
                        );
                        found.add("DuplicateStageName", span, text);
                    }
                }
                if let Some(keyword) = &from.as_keyword
                    && is_upper(keyword) != is_upper(&instruction.keyword)
                {
                    let text = format!(
                        "'{keyword}' and '{}' keywords' casing do not match",
                        instruction.keyword
                    );
                    found.add("FromAsCasing", span, text);
                }
                if let Some(platform) = &from.platform {
                    from_platform(platform, from.name.as_ref(), span, found);
                }
            }
            InstructionKind::Maintainer(_) => {
                found.add(
                    "MaintainerDeprecated",
                    span,
                    "Maintainer instruction is deprecated in favor of using label",
                );
            }
            InstructionKind::Env(pairs) | InstructionKind::Label(pairs) => {
                let name = instruction.kind.name();
                if pairs.iter().any(|pair| pair.legacy) {
                    let text = format!(
                        "\"{name} key=value\" should be used instead of legacy \"{name} key value\" format"
                    );
                    found.add("LegacyKeyValueFormat", span, text);
                }
                if name == "ENV" {
                    for pair in pairs {
                        secret_name(name, &pair.key.text, span, found);
                    }
                }
            }
            InstructionKind::Arg(definitions) => {
                for definition in definitions {
                    secret_name("ARG", &definition.name, span, found);
                }
            }
            InstructionKind::Shell(_) => stage.shell_set = true,
            InstructionKind::Workdir(word) => {
                let text = word.text.trim_matches(['"', '\'']);
                if text.starts_with(['/', '$']) {
                    stage.workdir_absolute = true;
                } else if !stage.workdir_absolute {
                    let text = format!(
                        "Relative workdir \"{text}\" can have unexpected results if the base image changes"
                    );
                    found.add("WorkdirRelativePath", span, text);
                }
            }
            InstructionKind::Expose(words) => {
                words.iter().for_each(|word| expose(word, span, found))
            }
            InstructionKind::Cmd(command) | InstructionKind::Entrypoint(command) => {
                once_for_each_stage(instruction, &mut stage, found);
                if matches!(command, Command::Shell(_)) && !stage.shell_set {
                    let text = format!(
                        "JSON arguments recommended for {} to prevent unintended behavior related to OS signals",
                        instruction.kind.name()
                    );
                    found.add("JSONArgsRecommended", span, text);
                }
            }
            InstructionKind::Healthcheck(check) if check.test != HealthTest::None => {
                once_for_each_stage(instruction, &mut stage, found);
            }
            _ => {}
        }
    }
}

fn once_for_each_stage(instruction: &Instruction, stage: &mut StageState, found: &mut Findings) {
    let name = instruction.kind.name();
    if let Some(earlier) = stage.last.insert(name, instruction.span) {
        let text = format!(
            "Multiple {name} instructions should not be used in the same stage because only the last one will be used"
        );
        found.add("MultipleInstructionsDisallowed", earlier, text);
    }
}

fn is_upper(word: &str) -> bool {
    word.chars().all(|c| !c.is_lowercase())
}

fn casing(file: &Dockerfile, found: &mut Findings) {
    let upper =
        file.instructions.iter().filter(|instruction| is_upper(&instruction.keyword)).count();
    let majority_upper = upper * 2 >= file.instructions.len();
    for instruction in &file.instructions {
        let keyword = &instruction.keyword;
        let fits = if majority_upper {
            is_upper(keyword)
        } else {
            !keyword.chars().any(char::is_uppercase)
        };
        if !fits {
            let case = if majority_upper { "uppercase" } else { "lowercase" };
            let text = format!(
                "Command '{keyword}' should match the case of the command majority ({case})"
            );
            found.add("ConsistentInstructionCasing", instruction.span, text);
        }
    }
}

/// A constant platform is in order where the stage's name says it, as in `AS base-amd64`.
fn from_platform(platform: &Word, name: Option<&Word>, span: Span, found: &mut Findings) {
    let says = |constant: &str| {
        let name = name.map(|name| name.text.to_lowercase()).unwrap_or_default();
        constant.to_lowercase().split('/').skip(1).any(|part| name.contains(part))
    };
    match platform.text.as_str() {
        "$TARGETPLATFORM" | "${TARGETPLATFORM}" => {
            let text = format!(
                "Setting platform to predefined {} in FROM is redundant as this is the default behavior",
                platform.text
            );
            found.add("RedundantTargetPlatform", span, text);
        }
        constant if !constant.contains('$') && !says(constant) => {
            let text = format!("FROM --platform flag should not use constant value \"{constant}\"");
            found.add("FromPlatformFlagConstDisallowed", span, text);
        }
        _ => {}
    }
}

/// A word of the name says that the value is not for everybody's eyes.
fn secret_name(instruction: &str, name: &str, span: Span, found: &mut Findings) {
    const TELLING: [&str; 12] = [
        "apikey",
        "auth",
        "credential",
        "credentials",
        "key",
        "password",
        "pword",
        "passwd",
        "pass",
        "secret",
        "token",
        "pwd",
    ];
    let lower = name.to_lowercase();
    let words: Vec<&str> = lower.split('_').collect();
    let public = words.contains(&"public");
    if !public
        && words.iter().any(|word| {
            TELLING.contains(word) && *word != "pwd" || (*word == "pwd" && words.len() > 1)
        })
    {
        let text = format!(
            "Do not use ARG or ENV instructions for sensitive data ({instruction} \"{name}\")"
        );
        found.add("SecretsUsedInArgOrEnv", span, text);
    }
}

fn expose(word: &Word, span: Span, found: &mut Findings) {
    let (ports, protocol) = word.text.split_once('/').unwrap_or((&word.text, ""));
    if protocol.chars().any(char::is_uppercase) && !protocol.contains('$') {
        let text =
            format!("Defined protocol '{}' in EXPOSE instruction should be lowercase", word.text);
        found.add("ExposeProtoCasing", span, text);
    }
    if ports.contains(':') && !ports.contains('$') {
        let text = format!(
            "EXPOSE instruction should not define an IP address or host-port mapping, found '{}'",
            word.text
        );
        found.add("ExposeInvalidFormat", span, text);
    }
}

/// What FROM uses of the ARGs before it.
fn global_arguments(file: &Dockerfile, options: &Options, found: &mut Findings) {
    let platform: &Platform = &options.platform;
    let mut given = Globals::new(&options.build_args, platform);
    let mut defaults = Globals::new(&BTreeMap::new(), platform);
    let escape = file.directives.escape;
    let mut names: Vec<&str> = Vec::new();
    let mut started = false;
    for instruction in &file.instructions {
        match &instruction.kind {
            InstructionKind::Arg(definitions) if !started => {
                for definition in definitions {
                    names.push(&definition.name);
                    // A failing expansion is the plan's to report.
                    let _ = given.declare(definition, escape);
                    let _ = defaults.declare(definition, escape);
                }
            }
            InstructionKind::From(from) => {
                started = true;
                for word in from.platform.iter().chain([&from.base]) {
                    let unset = expand::word(&word.text, &given, escape)
                        .map(|done| done.unset)
                        .unwrap_or_default();
                    for name in unset.iter().filter(|name| !names.contains(&name.as_str())) {
                        let near = hint(name, names.iter().copied());
                        let text = format!("FROM argument '{name}' is not declared{near}");
                        found.add("UndefinedArgInFrom", instruction.span, text);
                    }
                }
                let with_defaults = expand::word(&from.base.text, &defaults, escape);
                if let Ok(done) = with_defaults
                    && from.base.text.contains('$')
                    && names.iter().any(|name| done.unset.contains(*name))
                    && (done.text.is_empty()
                        || done.text.ends_with(':')
                        || done.text.starts_with(':'))
                {
                    let text = format!(
                        "Default value for ARG {} results in empty or invalid base image name",
                        from.base.text
                    );
                    found.add("InvalidDefaultArgInFrom", instruction.span, text);
                }
            }
            _ => {}
        }
    }
}

fn hint<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    did_you_mean(name, known).map(|near| format!(" (did you mean {near}?)")).unwrap_or_default()
}

/// The variables known at each stage's end, for the stages built on it.
fn variables(plan: &Plan, knowledge: &Knowledge<'_>, found: &mut Findings) {
    let mut ends: Vec<Option<Scope>> = Vec::new();
    for stage in &plan.stages {
        let start = match &stage.base {
            Source::Scratch => Some(Scope::new(plan.escape)),
            Source::Stage(index) => ends.get(*index).cloned().flatten(),
            Source::Image(name) => knowledge.image_env.get(name).map(|names| {
                let mut scope = Scope::new(plan.escape);
                names.iter().for_each(|name| scope.set_env(name, ""));
                scope
            }),
            Source::Context(_) => None,
        };
        let Some(mut scope) = start else {
            ends.push(None);
            continue;
        };
        for instruction in &stage.instructions {
            for word in expanded_words(&instruction.kind) {
                let Ok(expansion) = scope.expand(word) else { continue };
                let declared = |name: &str| scope.args().any(|(known, _)| known == name);
                for name in expansion.unset.iter().filter(|name| !declared(name) && *name != "PATH")
                {
                    let known = scope.env().iter().map(|(name, _)| name.as_str());
                    let known = known.chain(scope.args().map(|(name, _)| name));
                    let near =
                        did_you_mean(name, known).map(|near| format!(" (did you mean ${near}?)"));
                    let text = format!(
                        "Usage of undefined variable '${name}'{}",
                        near.unwrap_or_default()
                    );
                    found.add("UndefinedVar", instruction.span, text);
                }
            }
            // A failing expansion is the build's to report.
            let _ = scope.apply(&instruction.kind, &plan.globals);
        }
        ends.push(Some(scope));
    }
}

/// The words in which the build expands variables.
fn expanded_words(kind: &InstructionKind) -> Vec<&Word> {
    match kind {
        InstructionKind::Env(pairs) | InstructionKind::Label(pairs) => {
            pairs.iter().flat_map(|pair| [&pair.key, &pair.value]).collect()
        }
        InstructionKind::Arg(definitions) => {
            definitions.iter().filter_map(|d| d.default.as_ref()).collect()
        }
        InstructionKind::Copy(copy) => source_words(&copy.sources)
            .chain([&copy.destination])
            .chain(&copy.chown)
            .chain(&copy.chmod)
            .collect(),
        InstructionKind::Add(add) => source_words(&add.sources)
            .chain([&add.destination])
            .chain(&add.chown)
            .chain(&add.chmod)
            .collect(),
        InstructionKind::Workdir(word)
        | InstructionKind::User(word)
        | InstructionKind::StopSignal(word) => vec![word],
        InstructionKind::Expose(words) | InstructionKind::Volume(words) => words.iter().collect(),
        _ => Vec::new(),
    }
}

fn source_words(sources: &[CopySource]) -> impl Iterator<Item = &Word> {
    sources.iter().filter_map(|source| match source {
        CopySource::Path(word) => Some(word),
        CopySource::Inline(_) => None,
    })
}

fn ignored_sources(plan: &Plan, ignore: &IgnoreFile, found: &mut Findings) {
    for instruction in plan.stages.iter().flat_map(|stage| &stage.instructions) {
        let (verb, sources) = match &instruction.kind {
            InstructionKind::Copy(copy) if copy.from.is_none() => ("Copy", &copy.sources),
            InstructionKind::Add(add) => ("Add", &add.sources),
            _ => continue,
        };
        for word in source_words(sources) {
            let path = clean(&format!("/{}", word.text.trim_matches('"')));
            let path = path.trim_start_matches('/');
            let plain =
                !path.is_empty() && !path.contains(['$', ':']) && !pattern::has_wildcard(path);
            if plain && ignore.ignores(path) && !ignore.may_hold_exceptions(path) {
                let text = format!(
                    "Attempting to {verb} file \"{path}\" that is excluded by .dockerignore"
                );
                found.add("CopyIgnoredFile", instruction.span, text);
            }
        }
    }
}
