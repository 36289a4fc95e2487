//! What the instructions that make no layer do to the image's config.

use std::collections::{BTreeMap, BTreeSet};

use dockerfile::scope::Scope;
use dockerfile::{Command, HealthTest, Healthcheck, Instruction, InstructionKind, KeyValue, Word};
use oci::{Health, ImageConfig};

use crate::error::{Cause, Error, Result};

/// The PATH of an image that says none, as in BuildKit.
pub(crate) const DEFAULT_PATH: &str =
    "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// What FROM scratch starts with.
pub(crate) fn scratch() -> ImageConfig {
    let mut config = ImageConfig::scratch();
    config.config.env = vec![format!("PATH={DEFAULT_PATH}")];
    "/".clone_into(&mut config.config.working_dir);
    config
}

/// The variables of an image's `Env`.
pub(crate) fn scope_of(config: &ImageConfig, escape: char) -> Scope {
    let mut scope = Scope::new(escape);
    for entry in &config.config.env {
        let (name, value) = entry.split_once('=').unwrap_or((entry, ""));
        scope.set_env(name, value);
    }
    scope
}

/// Carries out an instruction that changes only the config; false if it is not one of them. ENV's
/// variables are in `scope` already. `command_set` tells whether this stage has had its own CMD.
pub(crate) fn apply(
    instruction: &Instruction,
    config: &mut ImageConfig,
    scope: &Scope,
    command_set: &mut bool,
) -> Result<bool> {
    let expand = |word: &Word| -> Result<String> { Ok(scope.expand(word)?.text) };
    let run = &mut config.config;
    match &instruction.kind {
        // What ENV sets is in the scope; the stage's end takes it over.
        InstructionKind::Arg(_) | InstructionKind::Env(_) => {}
        InstructionKind::Label(pairs) => {
            for KeyValue { key, value, .. } in pairs {
                run.labels.insert(expand(key)?, expand(value)?);
            }
        }
        InstructionKind::User(word) => run.user = expand(word)?,
        InstructionKind::Expose(words) => {
            for port in exposed(words, scope)? {
                run.exposed_ports.insert(port, empty_object());
            }
        }
        InstructionKind::Volume(words) => {
            for word in words {
                run.volumes.insert(expand(word)?, empty_object());
            }
        }
        InstructionKind::Cmd(command) => {
            run.cmd = some(arguments(command, run.shell.as_deref()));
            *command_set = true;
        }
        InstructionKind::Entrypoint(command) => {
            run.entrypoint = some(arguments(command, run.shell.as_deref()));
            // An inherited CMD would be arguments to another program.
            if !*command_set {
                run.cmd = None;
            }
        }
        InstructionKind::Shell(words) => run.shell = Some(words.clone()),
        InstructionKind::StopSignal(word) => {
            let signal = expand(word)?;
            if rootfs::signal::number(&signal).is_none() {
                return Err(located(word, Cause::Signal { signal }));
            }
            run.stop_signal = Some(signal);
        }
        InstructionKind::Healthcheck(check) => run.healthcheck = Some(health(check)),
        InstructionKind::Onbuild(trigger) => {
            let mut text = trigger.text.clone();
            for heredoc in &trigger.heredocs {
                text.push('\n');
                text.push_str(&heredoc.body);
                text.push_str(&heredoc.name);
            }
            run.on_build.push(text);
        }
        InstructionKind::Maintainer(name) => config.author = Some(name.clone()),
        InstructionKind::From(_)
        | InstructionKind::Run(_)
        | InstructionKind::Copy(_)
        | InstructionKind::Add(_)
        | InstructionKind::Workdir(_) => return Ok(false),
    }
    Ok(true)
}

fn located(word: &Word, cause: Cause) -> Error {
    Error::new(cause).on(dockerfile::Span::line(word.line))
}

fn empty_object() -> serde_json::Value {
    serde_json::Value::Object(serde_json::Map::new())
}

/// An empty list is none: `CMD []` takes the command away.
fn some(words: Vec<String>) -> Option<Vec<String>> {
    (!words.is_empty()).then_some(words)
}

/// The variables of the scope as the image's environment.
pub(crate) fn take_environment(config: &mut ImageConfig, scope: &Scope) {
    config.config.env = scope.env().iter().map(|(name, value)| format!("{name}={value}")).collect();
}

/// The words of a command: the exec form as it is, the shell form behind the SHELL.
pub(crate) fn arguments(command: &Command, shell: Option<&[String]>) -> Vec<String> {
    match command {
        Command::Exec(words) => words.clone(),
        Command::Shell(text) => shell_words(shell).into_iter().chain([text.clone()]).collect(),
    }
}

/// The SHELL, or `/bin/sh -c`.
pub(crate) fn shell_words(shell: Option<&[String]>) -> Vec<String> {
    shell.map_or_else(|| vec!["/bin/sh".to_owned(), "-c".to_owned()], <[String]>::to_vec)
}

fn health(check: &Healthcheck) -> Health {
    let test = match &check.test {
        HealthTest::None => vec!["NONE".to_owned()],
        HealthTest::Command(Command::Exec(words)) => {
            ["CMD".to_owned()].into_iter().chain(words.iter().cloned()).collect()
        }
        HealthTest::Command(Command::Shell(text)) => vec!["CMD-SHELL".to_owned(), text.clone()],
    };
    Health {
        test,
        interval: check.interval,
        timeout: check.timeout,
        start_period: check.start_period,
        start_interval: check.start_interval,
        retries: check.retries.into(),
    }
}

/// The ports of EXPOSE, as the config names them.
pub(crate) fn exposed(words: &[Word], scope: &Scope) -> Result<BTreeSet<String>> {
    let mut found = BTreeSet::new();
    for word in words {
        for port in scope.expand(word)?.text.split_whitespace() {
            found.extend(ports(port).map_err(|cause| located(word, cause))?);
        }
    }
    Ok(found)
}

/// The ports of one word: `80`, `443/tcp`, `7000-7010/udp`.
fn ports(word: &str) -> std::result::Result<Vec<String>, Cause> {
    let fail = |reason: &str| Cause::Port { port: word.to_owned(), reason: reason.to_owned() };
    let (range, protocol) = word.split_once('/').unwrap_or((word, "tcp"));
    let protocol = protocol.to_ascii_lowercase();
    if !matches!(protocol.as_str(), "tcp" | "udp" | "sctp") {
        return Err(fail("the protocol is tcp, udp or sctp"));
    }
    // `IP:HOST:CONTAINER` is accepted for what it is worth: the last part.
    let range = range.rsplit(':').next().unwrap_or(range);
    let (first, last) = range.split_once('-').unwrap_or((range, range));
    let number =
        |text: &str| text.parse::<u16>().map_err(|_| fail("a port is a number from 0 to 65535"));
    let (first, last) = (number(first)?, number(last)?);
    if first > last {
        return Err(fail("the range runs backwards"));
    }
    Ok((first..=last).map(|port| format!("{port}/{protocol}")).collect())
}

/// `--label` of the command line, after everything else.
pub(crate) fn add_labels(config: &mut ImageConfig, labels: &BTreeMap<String, String>) {
    config.config.labels.extend(labels.iter().map(|(key, value)| (key.clone(), value.clone())));
}
