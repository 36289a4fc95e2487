//! RUN: the command runs inside the machine, and what it changes becomes a layer.

use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use dockerfile::{Command, Instruction, Run};
use rootfs::config::BoxConfig;
use rootfs::rights::Rights;
use runtime::{
    Grant, Input, LAYER_FILE, Mounted, Network, Overrides, Policy, Preopen, RunOptions, StepInput,
    Tmpfs, Translation,
};

use crate::builder::{Builder, temporary_folder};
use crate::cache::{Cached, key};
use crate::config::{DEFAULT_PATH, shell_words};
use crate::error::{Cause, Error, Result};
use crate::events::StepId;
use crate::files::{Files, Kind, resolve, split};
use crate::freeze::lines;
use crate::history;
use crate::image_tree::ImageTree;
use crate::mounts::Made;
use crate::options::{BuildOptions, RunNetwork};
use crate::stage::Stage;

/// A command ready to run.
struct Prepared {
    argv: Vec<String>,
    /// A script that is run as a file, because it starts with `#!`: its name and content.
    script: Option<(String, String)>,
    /// As history and errors show it.
    shown: String,
}

/// Where a script that is run as a file lies, as in BuildKit.
const SCRIPT_FOLDER: &str = "/dev/pipes";

/// Where programs share memory by name (shm_overview(7)).
const SHARED_MEMORY: &str = "/dev/shm";

impl Builder<'_> {
    /// Runs a command; true if its result was known.
    pub fn run_step(
        &self,
        instruction: &Instruction,
        run: &Run,
        stage: &mut Stage,
        step: StepId,
    ) -> Result<bool> {
        refuse(run)?;
        if oci::is_wasi(&stage.config) {
            return Err(Cause::NoLinux.into());
        }
        let network = self.network(run)?;
        let (mut mounts, mounts_key) = self.plan_mounts(run, stage)?;
        let prepared = prepare(instruction, run, stage, self.plan.escape)?;
        let environment = environment(stage);
        let env_text = environment.join("\0");
        let argv_text = prepared.argv.join("\0");
        let script_text =
            prepared.script.as_ref().map(|(_, text)| text.as_str()).unwrap_or_default();
        let key = key([
            stage.key.as_str().as_bytes(),
            b"RUN",
            argv_text.as_bytes(),
            script_text.as_bytes(),
            env_text.as_bytes(),
            stage.workdir().as_bytes(),
            stage.config.config.user.as_bytes(),
            format!("{:?}", self.options.source_date_epoch).as_bytes(),
            self.options.cpu.name().as_bytes(),
            format!("{network:?} {} {:?}", self.options.reproducible, self.options.hosts)
                .as_bytes(),
            mounts_key.as_bytes(),
            self.limits_key().as_bytes(),
            &self.guest_digest(),
        ]);
        if stage.foretold {
            return Ok(self.foretell(stage, &key, key.clone()));
        }
        let known = self.cached(&key, stage);
        let hit = known.is_some();
        let result = match known {
            Some(result) => result,
            None => {
                let made = self.make_mounts(&mut mounts, &environment)?;
                self.execute(&prepared, environment, network, made, stage, step)?
            }
        };
        if !hit {
            self.remember(&key, &result);
        }
        let by = history::run(&prepared.shown, &stage.scope);
        self.conclude(stage, (key.clone(), key), &result, by)?;
        Ok(hit)
    }

    fn execute(
        &self,
        prepared: &Prepared,
        mut env: Vec<String>,
        network: RunNetwork,
        mounts: Made,
        stage: &Stage,
        step: StepId,
    ) -> Result<Cached> {
        let workshop = self.workshop;
        let command = prepared.shown.clone();
        let machine =
            |reason: String| Error::new(Cause::Machine { command: command.clone(), reason });
        let guest = workshop.guest.ok_or(link::LinkError::NoGuest)?;
        let folder = temporary_folder(&workshop.store);
        let write_error =
            |source: io::Error| Error::new(Cause::Write { path: folder.clone(), source });

        let _pass = self.running.enter(&self.stop).ok_or(Cause::Cancelled)?;
        let tree = stage.tree(&workshop.store)?;
        tree.expect_readers();
        mounts.check(&tree)?;
        // No file of the image lies in the future, and two builds agree. Otherwise time and entropy are the host's: keys that
        // a step makes must not be predictable.
        let clock = self.options.reproducible.then(|| {
            let clock = self.options.source_date_epoch.unwrap_or_else(|| tree.newest_mtime());
            u64::try_from(clock).unwrap_or_default()
        });

        // The proxies of the command line reach the program but neither cache nor history.
        env.extend(self.plan.globals.predefined().map(|(name, value)| format!("{name}={value}")));
        env.extend(mounts.env.iter().cloned());
        let config = BoxConfig {
            entrypoint: prepared.argv.clone(),
            cmd: Vec::new(),
            env,
            workdir: stage.workdir().to_owned(),
            user: stage.config.config.user.clone(),
            stop_signal: None,
            hostname: "buildkitsandbox".to_owned(),
            cpu: self.options.cpu,
        };
        let layer_dir = workshop.store.temp_dir()?;
        let script_dir = workshop.store.temp_dir()?;
        let (mut preopens, mut tmpfs) = (mounts.preopens.clone(), mounts.tmpfs.clone());
        if let Some(size) = self.options.shm_size {
            // As with BuildKit, the option is mounted last.
            preopens.retain(|preopen| preopen.guest != SHARED_MEMORY);
            tmpfs.retain(|tmpfs| tmpfs.guest != SHARED_MEMORY);
            let (guest, size) = (SHARED_MEMORY.to_owned(), Some(size));
            tmpfs.push(Tmpfs { guest, size, ..Tmpfs::default() });
        }
        if let Some((name, text)) = &prepared.script {
            let script = script_dir.path().join(name);
            std::fs::write(&script, text).map_err(write_error)?;
            // USER may be anybody.
            for path in [script_dir.path(), &script] {
                let everybody = std::fs::Permissions::from_mode(0o755);
                std::fs::set_permissions(path, everybody).map_err(write_error)?;
            }
            let host = script_dir.path().to_owned();
            let (guest, mounted) = (SCRIPT_FOLDER.to_owned(), Mounted::Directory);
            preopens.push(Preopen { host, guest, writable: false, mounted });
        }
        let options = RunOptions {
            stdin: Input::Empty,
            stdout: lines(step, &workshop.events),
            stderr: lines(step, &workshop.events),
            preopens,
            tmpfs,
            sockets: mounts.sockets.clone(),
            overrides: Overrides {
                limits: self.options.limits,
                hosts: self.options.hosts.clone(),
                rights: Rights { ulimits: self.options.ulimits.clone(), ..Rights::default() },
                ..Overrides::default()
            },
            network: self.open_network(network).map_err(|error| machine(error.to_string()))?,
            // A step whose time counts instructions asks for nothing.
            translation: Translation {
                on: self.options.translation.on && clock.is_none(),
                ..self.options.translation.clone()
            },
            interrupt: Some(self.stop.clone()),
            ..RunOptions::default()
        };
        let outcome = tree.with_rootfs(|image, summary| {
            let input = StepInput {
                guest,
                image,
                image_len: summary.bytes,
                config: &config,
                layer_dir: Some(layer_dir.path()),
                clock,
            };
            workshop.runtime.run_step(input, options).map_err(|error| match error {
                runtime::RunError::Interrupted => Cause::Cancelled.into(),
                error => machine(error.to_string()),
            })
        })?;
        if outcome.status != 0 {
            return Err(Cause::RunFailed { command, status: outcome.status }.into());
        }
        self.take_layer(&layer_dir.path().join(LAYER_FILE), &tree, &mounts.targets, &machine)
    }

    /// The network of a step.
    fn network(&self, run: &Run) -> Result<RunNetwork> {
        let given = self.options.network;
        let Some(word) = &run.network else { return Ok(given) };
        match RunNetwork::from_name(&word.text) {
            // A Dockerfile of somebody else's does not open this host's loopback.
            Some(RunNetwork::Host) if given != RunNetwork::Host => {
                Err(Error::new(Cause::HostNetwork)
                    .on(dockerfile::Span::line(word.line))
                    .hint("boxer build --network=host lets RUN reach this host's own loopback"))
            }
            Some(RunNetwork::Default) | None => Ok(given),
            Some(asked) => Ok(asked),
        }
    }

    fn open_network(
        &self,
        network: RunNetwork,
    ) -> std::result::Result<Option<Network>, runtime::PublishError> {
        let mut policy = Policy::host();
        match network {
            RunNetwork::None => return Ok(None),
            RunNetwork::Default => {}
            RunNetwork::Host => policy.open_loopback(),
        }
        let hosts = self.options.hosts.iter();
        let hosts = hosts.filter_map(|(name, ip)| Some((name.clone(), ip.parse().ok()?))).collect();
        Network::new(Grant { policy, hosts, ..Grant::default() }).map(Some)
    }

    /// What of `--ulimit` and `--shm-size` a result depends on, as in BuildKit; nothing where they are docker's.
    fn limits_key(&self) -> String {
        let BuildOptions { ulimits, shm_size, .. } = self.options;
        if ulimits.is_empty() && shm_size.is_none() {
            return String::new();
        }
        format!("{ulimits:?} {shm_size:?}")
    }

    /// Another guest may run a command differently.
    fn guest_digest(&self) -> link::Digest {
        self.workshop.guest.map(link::guest_digest).unwrap_or_default()
    }

    /// What the guest left, put on the tree it ran on; the layer is what then differs. So a
    /// directory whose only change is its time is not in it, as with other builders.
    fn take_layer(
        &self,
        path: &Path,
        lower: &ImageTree,
        targets: &[String],
        machine: &dyn Fn(String) -> Error,
    ) -> Result<Cached> {
        if !path.exists() {
            return Err(machine("the guest left no layer".to_owned()));
        }
        let mut upper = lower.with_layer(path, "the changes of RUN")?;
        for target in targets {
            drop_mount_point(target, lower, &mut upper)?;
        }
        self.difference(lower, &upper)
    }
}

/// Takes the directories and the file away that a mount needed and the image did not have.
fn drop_mount_point(target: &str, lower: &ImageTree, upper: &mut ImageTree) -> Result<()> {
    let fail = |error: io::Error| {
        Error::new(Cause::Destination { path: target.to_owned(), reason: error.to_string() })
    };
    let mut path = resolve(upper, target.as_bytes(), true).map_err(fail)?;
    while !path.is_empty() && lower.entry(&path).map_err(fail)?.is_none() {
        let empty = match upper.entry(&path).map_err(fail)?.map(|entry| entry.kind) {
            Some(Kind::Directory) => upper.names(&path).map_err(fail)?.is_empty(),
            Some(Kind::File(size)) => size == 0,
            Some(_) => false,
            None => true,
        };
        if !empty {
            break;
        }
        upper.parts().0.remove(&path).map_err(|error| fail(io::Error::other(error)))?;
        path = split(&path).0.to_vec();
    }
    Ok(())
}

/// The options of RUN that are parsed but not carried out yet.
fn refuse(run: &Run) -> Result<()> {
    let unsupported = |word: &dockerfile::Word, what: String| {
        Err(Error::new(Cause::Unsupported { what }).on(dockerfile::Span::line(word.line)))
    };
    match (&run.security, run.devices.first()) {
        (Some(word), _) if word.text == "insecure" => {
            unsupported(word, "RUN --security=insecure".to_owned())
        }
        (_, Some(word)) => unsupported(word, "RUN --device".to_owned()),
        _ => Ok(()),
    }
}

fn prepare(instruction: &Instruction, run: &Run, stage: &Stage, escape: char) -> Result<Prepared> {
    let shell = shell_words(stage.config.config.shell.as_deref());
    if let Command::Exec(argv) = &run.command {
        if argv.is_empty() {
            let reason = "the command is empty".to_owned();
            return Err(Cause::Machine { command: instruction.text.clone(), reason }.into());
        }
        return Ok(Prepared { argv: argv.clone(), script: None, shown: argv.join(" ") });
    }
    let (text, shebang) = run.script(&instruction.heredocs, escape).unwrap_or_default();
    let shown = [shell.as_slice(), std::slice::from_ref(&text)].concat().join(" ");
    if !shebang {
        let argv = shell.into_iter().chain([text]).collect();
        return Ok(Prepared { argv, script: None, shown });
    }
    let name = instruction.heredocs.first().map_or("EOF", |heredoc| heredoc.name.as_str());
    // The name becomes a file's; a delimiter may be anything.
    let name: String =
        name.chars().filter(|c| c.is_ascii_alphanumeric() || "._-".contains(*c)).collect();
    let name = if name.trim_matches('.').is_empty() { "script".to_owned() } else { name };
    let path = format!("{SCRIPT_FOLDER}/{name}");
    let argv: Vec<String> = shell.into_iter().chain([path]).collect();
    let shown = argv.join(" ");
    Ok(Prepared { argv, script: Some((name, text)), shown })
}

fn environment(stage: &Stage) -> Vec<String> {
    let mut variables = stage.scope.run_environment().to_vec();
    if !variables.iter().any(|(name, _)| name == "PATH") {
        variables.insert(0, ("PATH".to_owned(), DEFAULT_PATH.to_owned()));
    }
    variables.into_iter().map(|(name, value)| format!("{name}={value}")).collect()
}
