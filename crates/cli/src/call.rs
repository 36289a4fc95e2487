//! `--call`: what a Dockerfile says of itself, without a build: its findings, its targets, and the arguments, secrets and agents
//! of a target. Tables and JSON are those of BuildKit's subrequests (frontend/subrequests/{lint,outline,targets}).

use std::collections::BTreeSet;
use std::fmt::Write as _;

use base64::Engine as _;
use dockerfile::lint::Warning;
use dockerfile::plan::{Options, Plan, Source, Stage};
use dockerfile::scope::Scope;
use dockerfile::{InstructionKind, Span};
use serde_json::{Value, json};

use crate::dockerfile_input::Input;
use crate::failure::Failure;

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    Build,
    Check,
    Outline,
    Targets,
}

/// `METHOD[,format=text|json]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Call {
    pub method: Method,
    pub json: bool,
}

const METHODS: [(&str, Method); 5] = [
    ("build", Method::Build),
    ("check", Method::Check),
    ("lint", Method::Check),
    ("outline", Method::Outline),
    ("targets", Method::Targets),
];

impl Call {
    /// As the command line has it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut fields = text.split(',');
        let name = fields.next().unwrap_or_default();
        let method = METHODS.iter().find(|(known, _)| *known == name).map(|(_, method)| *method);
        let method =
            method.ok_or("it is build, check, outline or targets, and may have ,format=json")?;
        let mut call = Call { method, json: false };
        for field in fields {
            match field {
                "format=json" => call.json = true,
                "format=text" => call.json = false,
                other => return Err(format!("{other:?} is neither format=json nor format=text")),
            }
        }
        Ok(call)
    }
}

/// `--call=targets`.
pub fn targets(input: &Input, options: &Options, as_json: bool) -> Result<String, Failure> {
    let plan = plan(input, options)?;
    let default = plan.stages.len().saturating_sub(1);
    if as_json {
        let targets: Vec<Value> = plan
            .stages
            .iter()
            .map(|stage| {
                let mut value = json!({});
                let fields = [
                    ("name", stage.name.clone().unwrap_or_default()),
                    ("description", description_of(input, stage)),
                    ("base", stage.base_name.clone()),
                    ("platform", stage.platform.clone().unwrap_or_default()),
                ];
                for (key, text) in fields.into_iter().filter(|(_, text)| !text.is_empty()) {
                    value[key] = text.into();
                }
                if stage.index == default {
                    value["default"] = true.into();
                }
                value["location"] = location(stage.span);
                value
            })
            .collect();
        return Ok(pretty(&json!({ "targets": targets, "sources": [source(input)] })));
    }
    let rows = plan.stages.iter().map(|stage| {
        let name = match (&stage.name, stage.index == default) {
            (None, true) => "(default)".to_owned(),
            (None, false) => String::new(),
            (Some(name), true) => format!("{name} (default)"),
            (Some(name), false) => name.clone(),
        };
        vec![name, description_of(input, stage)]
    });
    Ok(table(&["TARGET", "DESCRIPTION"], rows.collect()))
}

/// `--call=outline`: of the target and of the stages it needs.
pub fn outline(input: &Input, options: &Options, as_json: bool) -> Result<String, Failure> {
    let plan = plan(input, options)?;
    let found = find(input, &plan)?;
    let stage = plan.stages.get(plan.target);
    let name = stage.and_then(|stage| stage.name.clone()).unwrap_or_default();
    let description = stage.map(|stage| description_of(input, stage)).unwrap_or_default();
    if as_json {
        let mut value = json!({ "sources": [source(input)] });
        for (key, text) in [("name", &name), ("description", &description)] {
            if !text.is_empty() {
                value[key] = text.as_str().into();
            }
        }
        let args: Vec<Value> = found
            .args
            .iter()
            .map(|arg| {
                let mut value = json!({ "name": arg.name, "location": location(arg.span) });
                for (key, text) in [("value", &arg.value), ("description", &arg.description)] {
                    if !text.is_empty() {
                        value[key] = text.as_str().into();
                    }
                }
                value
            })
            .collect();
        let mounts = |kind: &str| -> Vec<Value> {
            let of_kind = found.mounts.iter().filter(|mount| mount.kind == kind);
            of_kind
                .map(|mount| {
                    let mut value = json!({ "name": mount.id, "location": location(mount.span) });
                    if mount.required {
                        value["required"] = true.into();
                    }
                    value
                })
                .collect()
        };
        for (key, list) in [("args", args), ("secrets", mounts("secret")), ("ssh", mounts("ssh"))] {
            if !list.is_empty() {
                value[key] = list.into();
            }
        }
        return Ok(pretty(&value));
    }
    let mut parts = Vec::new();
    let mut head = Vec::new();
    if !name.is_empty() {
        head.push(vec!["TARGET:".to_owned(), name]);
    }
    if !description.is_empty() {
        head.push(vec!["DESCRIPTION:".to_owned(), description]);
    }
    if !head.is_empty() {
        parts.push(table(&[], head));
    }
    if !found.args.is_empty() {
        let rows = found
            .args
            .iter()
            .map(|arg| vec![arg.name.clone(), arg.value.clone(), arg.description.clone()]);
        parts.push(table(&["BUILD ARG", "VALUE", "DESCRIPTION"], rows.collect()));
    }
    for (kind, title) in [("secret", "SECRET"), ("ssh", "SSH")] {
        let of_kind = found.mounts.iter().filter(|mount| mount.kind == kind);
        let rows: Vec<Vec<String>> = of_kind
            .map(|mount| {
                vec![mount.id.clone(), if mount.required { "true" } else { "" }.to_owned()]
            })
            .collect();
        if !rows.is_empty() {
            parts.push(table(&[title, "REQUIRED"], rows));
        }
    }
    Ok(parts.join("\n"))
}

/// `--call=check,format=json`; `error` where the file cannot be planned at all.
pub fn check_json(
    input: &Input,
    warnings: &[Warning],
    error: Option<(&str, Option<Span>)>,
) -> String {
    let warnings: Vec<Value> = warnings
        .iter()
        .map(|warning| {
            json!({
                "ruleName": warning.rule,
                "description": warning.message,
                "url": warning.url(),
                "detail": warning.message,
                "location": location(warning.span),
            })
        })
        .collect();
    let data = base64::engine::general_purpose::STANDARD.encode(&input.text);
    let mut value = json!({
        "warnings": warnings,
        "sources": [{ "filename": input.name, "language": "Dockerfile", "data": data }],
    });
    if let Some((message, span)) = error {
        value["buildError"] = json!({ "message": message });
        if let Some(span) = span {
            value["buildError"]["location"] = location(span);
        }
    }
    pretty(&value)
}

struct Found {
    args: Vec<Argument>,
    mounts: Vec<Mount>,
}

struct Argument {
    name: String,
    value: String,
    description: String,
    span: Span,
}

struct Mount {
    kind: &'static str,
    id: String,
    required: bool,
    span: Span,
}

fn plan(input: &Input, options: &Options) -> Result<Plan, Failure> {
    Plan::new(&input.file, options)
        .map_err(|error| Failure::build(&build::Error::from(error), &input.name, &input.text))
}

/// The arguments in the order of their lines, and the mounts of secrets and agents.
fn find(input: &Input, plan: &Plan) -> Result<Found, Failure> {
    let fail = |error: dockerfile::Error| {
        Failure::build(&build::Error::from(error), &input.name, &input.text)
    };
    let mut found = Found { args: Vec::new(), mounts: Vec::new() };
    let mut ends: Vec<Option<Scope>> = plan.stages.iter().map(|_| None).collect();
    for index in &plan.order {
        let Some(stage) = plan.stages.get(*index) else { continue };
        let mut scope = match stage.base {
            Source::Stage(base) => ends.get(base).cloned().flatten(),
            _ => None,
        }
        .unwrap_or_else(|| Scope::new(plan.escape));
        for instruction in &stage.instructions {
            scope.apply(&instruction.kind, &plan.globals).map_err(fail)?;
            match &instruction.kind {
                InstructionKind::Arg(definitions) => {
                    for definition in definitions {
                        let value = scope.args().find(|(name, _)| *name == definition.name);
                        found.args.push(Argument {
                            name: definition.name.clone(),
                            value: value.map(|(_, value)| value.to_owned()).unwrap_or_default(),
                            description: comment(input, definition.line, &definition.name),
                            span: Span::line(definition.line),
                        });
                    }
                }
                InstructionKind::Run(run) => {
                    let words = run.mounts.iter().map(|mount| mount.word.text.as_str());
                    found.mounts.extend(words.filter_map(|word| mount(word, instruction.span)));
                }
                _ => {}
            }
        }
        if let Some(end) = ends.get_mut(*index) {
            *end = Some(scope);
        }
    }
    found.args.extend(global_args(input, plan));
    found.args.sort_by_key(|arg| arg.span);
    let mut seen = BTreeSet::new();
    found.args.retain(|arg| seen.insert(arg.name.clone()));
    let mut seen = BTreeSet::new();
    found.mounts.retain(|mount| seen.insert((mount.kind, mount.id.clone())));
    Ok(found)
}

/// The arguments before the first FROM that a FROM of a needed stage uses.
fn global_args(input: &Input, plan: &Plan) -> Vec<Argument> {
    let mut args = Vec::new();
    let froms: Vec<&str> = plan
        .order
        .iter()
        .filter_map(|index| plan.stages.get(*index))
        .flat_map(|stage| [Some(&stage.from.base), stage.from.platform.as_ref()])
        .flatten()
        .map(|word| word.text.as_str())
        .collect();
    for instruction in &input.file.instructions {
        let definitions = match &instruction.kind {
            InstructionKind::Arg(definitions) => definitions,
            InstructionKind::From(_) => break,
            _ => continue,
        };
        for definition in definitions {
            let (plain, braced) =
                (format!("${}", definition.name), format!("${{{}", definition.name));
            if froms.iter().any(|from| from.contains(&plain) || from.contains(&braced)) {
                let value = dockerfile::expand::Variables::get(&plan.globals, &definition.name);
                args.push(Argument {
                    name: definition.name.clone(),
                    value: value.unwrap_or_default().to_owned(),
                    description: comment(input, definition.line, &definition.name),
                    span: Span::line(definition.line),
                });
            }
        }
    }
    args
}

fn mount(word: &str, span: Span) -> Option<Mount> {
    let field =
        |key: &str| word.split(',').find_map(|field| field.strip_prefix(key)?.strip_prefix('='));
    let kind = match field("type")? {
        "secret" => "secret",
        "ssh" => "ssh",
        _ => return None,
    };
    let file = || field("target").or(field("dst")).and_then(|path| path.rsplit('/').next());
    let id = match kind {
        "ssh" => field("id").unwrap_or("default"),
        _ => field("id").or_else(file)?,
    };
    let required = word.split(',').any(|field| matches!(field, "required" | "required=true"));
    Some(Mount { kind, id: id.to_owned(), required, span })
}

/// What the comment above a stage says of it: `# NAME is …`.
fn description_of(input: &Input, stage: &Stage) -> String {
    stage.name.as_ref().map(|name| comment(input, stage.span.start, name)).unwrap_or_default()
}

/// The comment right above a line that begins with this name.
fn comment(input: &Input, line: u32, name: &str) -> String {
    let lines: Vec<&str> = input.text.lines().collect();
    let above = usize::try_from(line).unwrap_or_default().saturating_sub(1);
    let comments = lines.iter().take(above).rev().map(|line| line.trim_start());
    for text in comments.map_while(|line| line.strip_prefix('#')) {
        let (first, rest) = text.trim_start().split_once(char::is_whitespace).unwrap_or_default();
        if first.eq_ignore_ascii_case(name) {
            return rest.trim().to_owned();
        }
    }
    String::new()
}

fn location(span: Span) -> Value {
    json!({ "ranges": [{ "start": { "line": span.start }, "end": { "line": span.end } }] })
}

fn source(input: &Input) -> String {
    base64::engine::general_purpose::STANDARD.encode(&input.text)
}

fn pretty(value: &Value) -> String {
    format!("{value:#}")
}

/// Columns as wide as their widest cell, as Go's tabwriter with one blank between sets them.
fn table(header: &[&str], rows: Vec<Vec<String>>) -> String {
    let header: Vec<String> = header.iter().map(|cell| (*cell).to_owned()).collect();
    let all: Vec<Vec<String>> =
        std::iter::once(header).filter(|cells| !cells.is_empty()).chain(rows).collect();
    let columns = all.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        all.iter().filter_map(|cells| cells.get(column)).map(|cell| cell.chars().count()).max()
    };
    let widths: Vec<usize> = (0..columns).map(|column| width(column).unwrap_or(0)).collect();
    let mut text = String::new();
    for cells in &all {
        let mut line = String::new();
        for (cell, width) in cells.iter().zip(&widths) {
            // Writing to a string cannot fail.
            let _ = write!(line, "{cell:<width$} ");
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::{Call, Method, outline, targets};
    use crate::dockerfile_input::Input;
    use dockerfile::plan::Options;

    const TEXT: &str = "ARG GO=1.22\n# base has the tools\nFROM golang:$GO AS base\nARG UNUSED\n\
                        FROM base AS other\nARG NO=1\n# final is what is shipped\nFROM base AS final\n\
                        # FLAVOUR of the build\nARG FLAVOUR=sweet\nRUN --mount=type=secret,id=token,required true\n\
                        RUN --mount=type=ssh true\n";

    fn input() -> Input {
        Input {
            name: "Dockerfile".to_owned(),
            text: TEXT.to_owned(),
            path: None,
            file: dockerfile::Dockerfile::parse(TEXT).unwrap_or_else(|error| panic!("{error}")),
            context: build::MainContext::directory(".".as_ref())
                .unwrap_or_else(|error| panic!("{error}")),
        }
    }

    #[test]
    fn methods_have_formats() {
        assert_eq!(
            Call::parse("check,format=json"),
            Ok(Call { method: Method::Check, json: true })
        );
        assert_eq!(Call::parse("build"), Ok(Call { method: Method::Build, json: false }));
        assert!(Call::parse("describe").is_err() && Call::parse("outline,format=xml").is_err());
    }

    #[test]
    fn the_outline_has_what_the_target_needs() {
        let text = outline(&input(), &Options::default(), false).map_err(|failure| failure.message);
        let expected = "TARGET:      final\nDESCRIPTION: is what is shipped\n\n\
                        BUILD ARG VALUE DESCRIPTION\nGO        1.22\nUNUSED\nFLAVOUR   sweet of the build\n\n\
                        SECRET REQUIRED\ntoken  true\n\nSSH     REQUIRED\ndefault\n";
        assert_eq!(text.as_deref(), Ok(expected));
        let json = outline(&input(), &Options::default(), true).map_err(|failure| failure.message);
        let value: serde_json::Value =
            serde_json::from_str(&json.unwrap_or_default()).unwrap_or_default();
        assert_eq!(value["args"][2]["value"], "sweet");
        assert_eq!(value["secrets"][0]["required"], true);
    }

    #[test]
    fn targets_are_listed() {
        let text = targets(&input(), &Options::default(), false).map_err(|failure| failure.message);
        let expected = "TARGET          DESCRIPTION\nbase            has the tools\nother\n\
                        final (default) is what is shipped\n";
        assert_eq!(text.as_deref(), Ok(expected));
    }
}
