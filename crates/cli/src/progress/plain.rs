//! Plain progress, as `docker buildx build --progress=plain` shows it: `#2 [2/3] RUN true`, `#2 0.123 output`, `#2 DONE 0.2s`.

use std::time::{Duration, Instant};

use super::board::{Change, Part, Vertex, View};
use super::{precise, write};

/// So long the lines of other steps wait for the one that is being shown; as buildx's `maxDelay`.
const PATIENCE: Duration = Duration::from_secs(5);
/// A transfer is told again after this time.
const AGAIN: Duration = Duration::from_secs(5);
/// Lines of a failed step that are shown again, as in buildx.
const REPEATED: usize = 10;

/// The lines of one step at a time; what others say meanwhile waits.
#[derive(Default)]
pub struct Plain {
    /// The step shown last, and since when.
    current: Option<(usize, Instant)>,
    /// Of each step, the lines that wait.
    waiting: Vec<Waiting>,
    begun: bool,
}

#[derive(Default)]
struct Waiting {
    lines: String,
    since: Option<Instant>,
    /// Of each part, when it was told last.
    told: Vec<Option<Instant>>,
    over: bool,
}

impl View for Plain {
    fn changed(&mut self, vertices: &[Vertex], change: Change<'_>) {
        let index = match change {
            Change::Started(index) | Change::Completed(index) => index,
            Change::Log(index, _, whole) if whole > 0 => index,
            Change::Part(index, _) => index,
            Change::Log(..) | Change::Lint(..) => return,
            Change::Warning(text) => return write(&format!("WARNING: {text}\n")),
        };
        let Some(vertex) = vertices.get(index) else { return };
        while self.waiting.len() <= index {
            self.waiting.push(Waiting::default());
        }
        let Some(waiting) = self.waiting.get_mut(index) else { return };
        let number = index + 1;
        match change {
            Change::Log(_, _, whole) => {
                for line in vertex.log.last(whole) {
                    let text = format!("#{number} {:.3} {}", line.at.as_secs_f64(), line.text);
                    waiting.lines.push_str(text.trim_end());
                    waiting.lines.push('\n');
                }
            }
            Change::Part(_, at) => {
                let Some(part) = vertex.parts.get(at) else { return };
                while waiting.told.len() <= at {
                    waiting.told.push(None);
                }
                let Some(told) = waiting.told.get_mut(at) else { return };
                if part.completed.is_none() && told.is_some_and(|told| told.elapsed() < AGAIN) {
                    return;
                }
                *told = Some(Instant::now());
                waiting.lines.push_str(&format!("#{number} {}\n", part_line(part)));
            }
            Change::Started(_) => waiting.over = false,
            Change::Completed(_) => {
                waiting.over = true;
                waiting.lines.push_str(&format!("#{number} {}\n", outcome(vertex)));
            }
            _ => {}
        }
        waiting.since.get_or_insert_with(Instant::now);
        self.show(vertices, index);
    }

    fn tick(&mut self, vertices: &[Vertex]) {
        let late = |waiting: &Waiting| waiting.since.is_some_and(|at| at.elapsed() > PATIENCE);
        let shown_long = self.current.is_none_or(|(_, since)| since.elapsed() > PATIENCE);
        if shown_long && let Some(index) = self.waiting.iter().position(late) {
            self.print(vertices, index);
        }
    }

    fn close(&mut self, vertices: &[Vertex]) {
        for index in 0..self.waiting.len() {
            self.print(vertices, index);
        }
        super::repeat_failures(vertices, REPEATED);
    }
}

impl Plain {
    /// Shows what a step has said if it may be shown now.
    fn show(&mut self, vertices: &[Vertex], index: usize) {
        let over = |index: usize| self.waiting.get(index).is_none_or(|waiting| waiting.over);
        let free = match self.current {
            None => true,
            Some((current, _)) => current == index || over(current) || over(index),
        };
        if free {
            self.print(vertices, index);
        }
    }

    fn print(&mut self, vertices: &[Vertex], index: usize) {
        let (Some(vertex), Some(waiting)) = (vertices.get(index), self.waiting.get_mut(index))
        else {
            return;
        };
        let lines = std::mem::take(&mut waiting.lines);
        if waiting.since.take().is_none() {
            return;
        }
        let mut out = String::new();
        if self.current.is_none_or(|(current, _)| current != index) {
            let unfinished = self
                .current
                .filter(|(current, _)| self.waiting.get(*current).is_some_and(|other| !other.over));
            if let Some((current, _)) = unfinished {
                out.push_str(&format!("#{} ...\n", current + 1));
            }
            if self.begun {
                out.push('\n');
            }
            out.push_str(&format!("#{} {}\n", index + 1, vertex.name));
            self.current = Some((index, Instant::now()));
            self.begun = true;
        }
        out.push_str(&lines);
        write(&out);
    }
}

fn outcome(vertex: &Vertex) -> String {
    match &vertex.error {
        Some(error) => format!("ERROR: {error}"),
        None if vertex.cancelled => "CANCELED".to_owned(),
        None if vertex.cached => "CACHED".to_owned(),
        None => format!("DONE {:.1}s", vertex.took().as_secs_f64()),
    }
}

/// `sha256:… 3.67MB / 29.12MB 0.5s done`.
fn part_line(part: &Part) -> String {
    let mut text = part.name.clone();
    if part.total > 0 {
        let took = part.completed.unwrap_or_else(super::board::Moment::now).since(part.started);
        text.push_str(&format!(
            " {} / {} {:.1}s",
            precise(part.current),
            precise(part.total),
            took.as_secs_f64()
        ));
    }
    if part.total == 0 && part.current > 0 {
        text.push_str(&format!(" {}", precise(part.current)));
    }
    if part.completed.is_some() {
        text.push_str(" done");
    }
    text
}
