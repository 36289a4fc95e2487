//! A run over many cases: split into parts that depend on the seed and their number alone, run by several threads, and
//! reported in order, so that the result does not depend on how many threads there are.

use super::compare::differences;
use super::emulated::Emulated;
use super::encode::{all, decode};
use super::generate::same_code;
use super::native::{Native, keep_from_children};
use super::operands::has_memory;
use super::random::Rng;
use super::sequence::{Grammar, sequence};
use super::shrink::{sample, shrink};
use super::templates::{self, Template};
use super::{Case, End, Outcome, line};
use iced_x86::{Code, Instruction};
use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc;

/// Name of the family that is made of all others.
pub const SEQUENCE: &str = "sequence";
/// Cases of a part.
const PART: usize = 2048;
/// States that the same code runs in.
const STATES: usize = 4;

/// What to run.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Decides everything.
    pub seed: u64,
    /// Families, each with the same number of parts.
    pub families: Vec<&'static str>,
    /// When it is enough.
    pub goal: Goal,
    /// Threads.
    pub jobs: usize,
    /// Divergences to shrink, for each mnemonic.
    pub show: usize,
    /// Cases that agree to print as lines, for each form of an instruction.
    pub samples: usize,
    /// Compare nothing, but report each case with the processor's outcome.
    pub print: bool,
}

/// An amount of work.
#[derive(Clone, Copy, Debug)]
pub enum Goal {
    /// Cases.
    Cases(u64),
    /// Instructions that both sides executed.
    Instructions(u64),
}

/// A divergence.
#[derive(Clone, Debug)]
pub struct Finding {
    /// Mnemonic in lower case.
    pub name: String,
    /// The shrunk case and what the processor makes of it.
    pub line: String,
    /// What differs.
    pub differences: Vec<String>,
}

/// What came of a part, or of several.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Cases.
    pub cases: u64,
    /// Instructions that both sides executed.
    pub instructions: u64,
    /// Cases that hung or killed the child, and so count for nothing.
    pub lost: u64,
    /// Divergences by mnemonic.
    pub diverging: BTreeMap<String, u64>,
    /// Cases of instructions that are not lifted, by mnemonic.
    pub missing: BTreeMap<String, u64>,
    /// The first divergences of each mnemonic.
    pub findings: Vec<Finding>,
    /// Lines of cases that agree: (form, line).
    pub samples: Vec<((Code, bool), String)>,
    /// Lines of all cases, if that is what was asked for.
    pub lines: Vec<String>,
}

impl Report {
    /// Adds the numbers of another report.
    pub fn add(&mut self, other: &Report) {
        self.cases += other.cases;
        self.instructions += other.instructions;
        self.lost += other.lost;
        for (to, from) in
            [(&mut self.diverging, &other.diverging), (&mut self.missing, &other.missing)]
        {
            for (name, n) in from {
                *to.entry(name.clone()).or_default() += n;
            }
        }
    }
}

/// All families.
pub fn families() -> Vec<&'static str> {
    let mut names = templates::families();
    names.push(SEQUENCE);
    names
}

/// Runs `plan`; `each` gets the name of the family and the report of each part, in order.
pub fn run(plan: &Plan, mut each: impl FnMut(&'static str, Report)) {
    if plan.families.is_empty() {
        return;
    }
    let templates = templates::all();
    let (next, stop) = (AtomicU64::new(0), AtomicBool::new(false));
    let (sender, receiver) = mpsc::sync_channel(4 * plan.jobs.max(1));
    std::thread::scope(|scope| {
        for _ in 0..plan.jobs.max(1) {
            let (sender, templates) = (sender.clone(), &templates);
            let (next, stop) = (&next, &stop);
            scope.spawn(move || {
                let mut worker = Worker::new(plan, templates);
                while !stop.load(Ordering::Relaxed) {
                    let n = next.fetch_add(1, Ordering::Relaxed);
                    if sender.send((n, worker.part(n))).is_err() {
                        break;
                    }
                }
            });
        }
        drop(sender);
        let mut early: BTreeMap<u64, Report> = BTreeMap::new();
        let (mut due, mut done) = (0, 0);
        for (n, report) in &receiver {
            early.insert(n, report);
            while let Some(report) = early.remove(&due) {
                done += match plan.goal {
                    Goal::Cases(_) => report.cases,
                    Goal::Instructions(_) => report.instructions,
                };
                each(family_of(plan, due), report);
                due += 1;
                let (Goal::Cases(goal) | Goal::Instructions(goal)) = plan.goal;
                if done >= goal {
                    stop.store(true, Ordering::Relaxed);
                    break;
                }
            }
            if stop.load(Ordering::Relaxed) {
                break;
            }
        }
        // Senders that wait for room must not wait for ever.
        drop(receiver);
    });
}

fn family_of(plan: &Plan, n: u64) -> &'static str {
    plan.families[(n % plan.families.len() as u64) as usize]
}

/// Fresh cases of `family`; `grammar` is of `templates`.
pub fn cases(rng: &mut Rng, templates: &[Template], grammar: &Grammar, family: &str) -> Vec<Case> {
    let mut cases = Vec::with_capacity(PART + STATES);
    let mine: Vec<&Template> = templates.iter().filter(|t| t.family == family).collect();
    // A family whose templates all fail would never fill the part.
    for _ in 0..8 * PART {
        if cases.len() >= PART {
            break;
        }
        if family == SEQUENCE {
            sequence(rng, grammar, STATES, &mut cases);
        } else if !mine.is_empty() {
            let template = mine[rng.below(mine.len())];
            same_code(rng, template, STATES, &mut cases);
        }
    }
    cases
}

/// One thread's tools.
struct Worker<'a> {
    plan: &'a Plan,
    grammar: Grammar<'a>,
    templates: &'a [Template],
    native: Native,
    ours: Emulated,
}

impl<'a> Worker<'a> {
    fn new(plan: &'a Plan, templates: &'a [Template]) -> Worker<'a> {
        let grammar = Grammar::new(templates);
        let ours = Emulated::new();
        keep_from_children(ours.physical_memory());
        Worker { plan, grammar, templates, native: Native::new(), ours }
    }

    /// Part number `n`.
    fn part(&mut self, n: u64) -> Report {
        let family = family_of(self.plan, n);
        let mut rng =
            Rng::new(Rng::new(self.plan.seed).bits() ^ n.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let cases = cases(&mut rng, self.templates, &self.grammar, family);
        let there = self.native.run(&cases);
        let mut report = Report { cases: cases.len() as u64, ..Report::default() };
        if self.plan.print {
            let known = cases.iter().zip(&there).filter(|(_, o)| o.end != End::Lost);
            report.lines = known.map(|(case, outcome)| line::print(case, outcome)).collect();
            return report;
        }
        let mut sampled: HashMap<(Code, bool), usize> = HashMap::new();
        for (case, native) in cases.iter().zip(&there) {
            if native.end == End::Lost {
                report.lost += 1;
                continue;
            }
            let (here, executed) = self.ours.count(case);
            if let Some(name) = missing(case, native, &here) {
                *report.missing.entry(name).or_default() += 1;
                continue;
            }
            if !differences(case, native, &here).is_empty() {
                self.diverges(case, native, &mut report);
                continue;
            }
            report.instructions += executed;
            if self.plan.samples == 0 {
                continue;
            }
            // One fault in eight samples is enough.
            let (Some(ins), true) = (decode(&case.code), native.end == End::Done || rng.one_in(8))
            else {
                continue;
            };
            let form = (ins.code(), has_memory(&ins));
            let taken = sampled.entry(form).or_default();
            if *taken < self.plan.samples {
                *taken += 1;
                let small = sample(&mut self.ours, case);
                let expected = self.native.run(std::slice::from_ref(&small)).remove(0);
                report.samples.push((form, line::print(&small, &expected)));
            }
        }
        report
    }

    fn diverges(&mut self, case: &Case, native: &Outcome, report: &mut Report) {
        let name = name(case, native.rip);
        let known = report.diverging.entry(name.clone()).or_default();
        *known += 1;
        if *known > self.plan.show as u64 {
            return;
        }
        let small = shrink(&mut self.native, &mut self.ours, case);
        let expected = self.native.run(std::slice::from_ref(&small)).remove(0);
        let differences = differences(&small, &expected, &self.ours.run(&small));
        report.findings.push(Finding { name, line: line::print(&small, &expected), differences });
    }
}

/// The mnemonic to blame: the only one, or the one at `rip`.
fn name(case: &Case, rip: u64) -> String {
    let one = decode(&case.code);
    let ins = one.or_else(|| all(&case.code).iter().find(|i| i.ip() == rip).copied());
    let text = |i: Instruction| format!("{:?}", i.mnemonic()).to_lowercase();
    ins.filter(|i| !i.is_invalid()).map_or_else(|| "?".into(), text)
}

/// The mnemonic that we do not lift, if that is all that differs.
fn missing(case: &Case, native: &Outcome, ours: &Outcome) -> Option<String> {
    if ours.end != End::Trap(ir::TrapKind::Ud) || native.end == ours.end {
        return None;
    }
    let ins = all(&case.code).into_iter().find(|i| i.ip() == ours.rip)?;
    let lifted = ins.is_invalid() || ins.next_ip() > super::ENTRY + case.code.len() as u64;
    (!lifted).then(|| format!("{:?}", ins.mnemonic()).to_lowercase())
}
