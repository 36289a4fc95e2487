//! Which code of an image becomes part of its box: trainings, what is kept of them, and what people are told.

use std::io::{self, Write};
use std::sync::Arc;
use std::time::Duration;

use rootfs::config::{BoxConfig, CpuLevel};
use rootfs::limits::Limits;
use runtime::{
    Besides, Input, Output, Overrides, Patience, RunOptions, StepInput, Trained, Translation,
};

use crate::builder::{Built, Workshop};
use crate::cache::{Cache, key};
use crate::config::shell_words;
use crate::error::{Cause, Error, Result};
use crate::events::{self, Events, StepId};
use crate::output::box_config;
use crate::visitor::Visit;

/// What of an image's code becomes part of its box.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Choice {
    /// Nothing.
    #[default]
    None,
    /// What trainings find, then what is hot in most programs.
    Auto,
    /// What trainings find, then all code of the programs and libraries in which they found something.
    All,
}

/// How code becomes part of a box.
#[derive(Clone, Debug, Default)]
pub struct Freezing {
    /// What does.
    pub choice: Choice,
    /// Most bytes of Wasm that it may take.
    pub budget: u64,
    /// Commands to train with: a JSON array of words, or text for the image's shell; or `http:[PORT]/PATH`, which the server that the image's
    /// own command starts is asked for. Without any, the image's own command.
    pub commands: Vec<String>,
    /// How trainings translate.
    pub translation: Translation,
    /// What a training may use.
    pub limits: Limits,
}

impl Choice {
    /// [`Freezing::budget`] if nobody says. (Compiling a megabyte of Wasm takes a host a second.)
    pub fn default_budget(self) -> u64 {
        match self {
            Choice::None => 0,
            Choice::Auto => 8 << 20,
            Choice::All => 64 << 20,
        }
    }
}

/// For how long the image's own command runs.
const OWN: Patience = Patience { total: Duration::from_secs(5), idle: Duration::from_millis(500) };
/// For how long a command runs that was given for training.
const GIVEN: Patience = Patience { total: Duration::from_secs(60), idle: Duration::from_secs(10) };
/// For how long a server runs that is asked: at most, and while nothing happens in it.
const ASKED: Patience = Patience { idle: Duration::from_secs(3), ..GIVEN };

/// Status of a box whose time was over.
const TIME_OVER: i32 = 124;

impl Freezing {
    /// How much of the budget is for what no training found: small boxes stay small.
    pub(crate) fn spare(&self) -> u64 {
        match self.choice {
            Choice::None | Choice::Auto => self.budget / 8,
            Choice::All => self.budget,
        }
    }

    /// What tells two boxes of an image apart.
    pub(crate) fn key(&self) -> Vec<u8> {
        match self.choice {
            Choice::None => Vec::new(),
            Choice::Auto | Choice::All => {
                format!("{:?} {} {:?}", self.choice, self.budget, self.commands).into()
            }
        }
    }
}

/// What earlier builds found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Known {
    /// It is as good as a training.
    Counts,
    /// It does not fit the image.
    IsMadeAnew,
}

/// What trainings of an image found, one after the other without what came twice. None if nothing is wanted.
pub(crate) fn trained(
    workshop: &Workshop,
    built: &Built,
    cpu: CpuLevel,
    freezing: &Freezing,
    known: Known,
) -> Result<Option<Trained>> {
    if freezing.choice == Choice::None {
        return Ok(None);
    }
    let config = BoxConfig { cpu, ..box_config(&built.image.config) };
    let own = [config.entrypoint.clone(), config.cmd.clone()].concat();
    let exposed = &built.image.config.config.exposed_ports;
    let mut commands: Vec<(Vec<String>, Patience, Option<Visit>)> = Vec::new();
    let shell = shell_words(built.image.config.config.shell.as_deref());
    for text in &freezing.commands {
        match Visit::parse(text, exposed.keys()) {
            Some(Ok(visit)) => {
                commands.push((own.clone(), ASKED, Some(visit)));
                continue;
            }
            Some(Err(error)) => {
                workshop.events.warning(&format!("--train {text}: {error}"));
                continue;
            }
            None => {}
        }
        let words = match serde_json::from_str::<Vec<String>>(text) {
            Ok(words) => words,
            Err(_) => [shell.as_slice(), std::slice::from_ref(text)].concat(),
        };
        commands.push((words, GIVEN, None));
    }
    if commands.is_empty() && !own.is_empty() {
        commands.push((own, OWN, None));
    }
    let mut all = Trained::default();
    for (words, patience, visit) in commands {
        if words.is_empty() {
            workshop.events.warning("a command of --train has no words");
            continue;
        }
        let step = built.next_step();
        let asked = visit.as_ref().map_or(String::new(), |visit| format!(", asked for {visit}"));
        let name = format!("train {}{asked}", words.join(" "));
        let training = Training { workshop, built, cpu, patience, visit, freezing };
        let found = events::step(workshop.events.as_ref(), step, &name, || {
            training.run(&config, &words, step, known)
        });
        match found {
            Ok(found) => all.merge(found),
            Err(error) if error.is_cancelled() => return Err(error),
            // The box works without.
            Err(_) => {}
        }
    }
    Ok(Some(all))
}

struct Training<'a> {
    workshop: &'a Workshop,
    built: &'a Built,
    cpu: CpuLevel,
    patience: Patience,
    /// What its server is asked for.
    visit: Option<Visit>,
    freezing: &'a Freezing,
}

impl Training<'_> {
    /// What a command finds, and whether that was known.
    fn run(
        &self,
        config: &BoxConfig,
        words: &[String],
        step: StepId,
        known: Known,
    ) -> Result<(Trained, bool)> {
        let workshop = self.workshop;
        let Freezing { choice, translation, limits, .. } = self.freezing;
        let besides = match choice {
            Choice::All => Besides::All,
            Choice::None | Choice::Auto => Besides::AlwaysHot,
        };
        let guest = workshop.guest.ok_or(link::LinkError::NoGuest)?;
        let config_digest = &self.built.image.manifest.config.digest;
        let key = key([
            b"training".as_slice(),
            crate::output::MAKERS.as_bytes(),
            config_digest.as_str().as_bytes(),
            &link::guest_digest(guest),
            self.cpu.name().as_bytes(),
            words.join("\0").as_bytes(),
            format!(
                "{:?} {:?} {translation:?} {} {limits:?} {besides:?}",
                self.patience, self.visit, translation.wait
            )
            .as_bytes(),
        ]);
        let cache = Cache::beside(&workshop.store);
        if known == Known::Counts
            && let Some(known) = cache.bytes(&key).and_then(|bytes| Trained::from_bytes(&bytes))
        {
            return Ok((known, true));
        }
        let config = BoxConfig { entrypoint: words.to_vec(), cmd: Vec::new(), ..config.clone() };
        let interrupt = workshop.interrupt.child();
        let network = self.visit.as_ref().map(|visit| visit.begin(interrupt.clone())).transpose();
        let network = network.map_err(|error| Cause::Machine {
            command: words.join(" "),
            reason: error.to_string(),
        })?;
        // No way out and no directory: nobody granted any.
        let options = RunOptions {
            stdin: Input::Empty,
            stdout: lines(step, &workshop.events),
            stderr: lines(step, &workshop.events),
            overrides: Overrides { limits: *limits, ..Overrides::default() },
            translation: translation.clone(),
            interrupt: Some(interrupt),
            network,
            ..RunOptions::default()
        };
        let (outcome, trained) =
            self.built.tree(&workshop.store)?.with_rootfs(|image, summary| {
                let input = StepInput {
                    guest,
                    image,
                    image_len: summary.bytes,
                    config: &config,
                    layer_dir: None,
                    clock: None,
                };
                let ran = workshop.runtime.train(input, options, self.patience, besides);
                ran.map_err(|error| match error {
                    runtime::RunError::Interrupted => Cause::Cancelled.into(),
                    error => {
                        let (command, reason) = (words.join(" "), error.to_string());
                        Error::new(Cause::Machine { command, reason })
                    }
                })
            })?;
        self.describe(step, &trained, outcome.status);
        if let Err(error) = cache.put_bytes(&key, &trained.to_bytes()) {
            workshop.events.warning(&format!("the build cache cannot be written: {error}"));
        }
        Ok((trained, false))
    }

    fn describe(&self, step: StepId, trained: &Trained, status: i32) {
        let events = &self.workshop.events;
        let status = match status {
            0 => String::new(),
            TIME_OVER => format!(", stopped after {} s", self.patience.total.as_secs()),
            status => format!(", ended with status {status}"),
        };
        let share = 100.0 * trained.in_regions as f64 / trained.retired.max(1) as f64;
        let text = format!(
            "{} regions; {share:.1} % of {} million instructions ran in them, from when they were found{status}",
            trained.found(),
            trained.retired / 1_000_000
        );
        events.note(step, &text);
        if trained.elsewhere > 0 {
            let text = format!(
                "left out: {} regions of code that is not in the image (made while it ran, or in files that were written)",
                trained.elsewhere
            );
            events.note(step, &text);
        }
    }
}

/// Tells what became of it.
pub(crate) fn tell(workshop: &Workshop, step: StepId, report: &link::FrozenReport, budget: u64) {
    let link::FrozenReport {
        regions,
        entries,
        wasm_bytes,
        x86_bytes,
        over_budget,
        left_out,
        unusable,
    } = *report;
    if regions == 0 && over_budget == 0 && unusable == 0 {
        return;
    }
    let per_byte = wasm_bytes as f64 / x86_bytes.max(1) as f64;
    workshop.events.note(
        step,
        &format!(
            "{regions} regions compiled into the box, entered at {entries} places: {} kB of Wasm for {} kB of x86 ({per_byte:.1} bytes a byte)",
            wasm_bytes / 1000,
            x86_bytes / 1000
        ),
    );
    if over_budget > 0 {
        let text = format!(
            "left out: {over_budget} regions beyond --translate-budget ({} kB), which take {:.1} % of the time in regions",
            budget / 1000,
            left_out as f64 / 10_000.0
        );
        workshop.events.note(step, &text);
    }
    if unusable > 0 {
        workshop
            .events
            .note(step, &format!("left out: {unusable} regions that are no code of the image"));
    }
}

/// Where the output of a program goes that `step` runs: to `events`, as it comes.
pub(crate) fn lines(step: StepId, events: &Arc<dyn Events>) -> Output {
    Output::Writer(Box::new(Lines { step, events: Arc::clone(events) }))
}

struct Lines {
    step: StepId,
    events: Arc<dyn Events>,
}

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.events.output(self.step, bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
