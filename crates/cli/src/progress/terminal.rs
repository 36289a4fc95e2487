//! The rolling view of buildx on a terminal: a heading, a line for each step and transfer with its time at the right, and
//! below a running step the end of its output.
//!
//! Which lines fit and where they stand follows BuildKit's `util/progress/progressui/display.go`.

use std::time::Duration;

use unicode_width::{UnicodeWidthChar as _, UnicodeWidthStr as _};

use super::board::{Change, Moment, Part, Vertex, View};
use super::{log, precise, write};

/// Lines of output shown below a running step, unless `BUILDKIT_TTY_LOG_LINES` says otherwise.
const LOG_LINES: usize = 6;
/// Columns of a transfer's bar.
const BAR: usize = 16;

pub struct Terminal {
    started: Moment,
    /// Lines below the heading that the last frame drew; none before the first.
    drawn: Option<usize>,
    log_lines: usize,
    colours: bool,
    /// Remarks that stand above the view.
    warnings: Vec<String>,
}

impl Terminal {
    pub fn new() -> Self {
        let lines = std::env::var("BUILDKIT_TTY_LOG_LINES").ok().and_then(|text| text.parse().ok());
        Self {
            started: Moment::now(),
            drawn: None,
            log_lines: lines.unwrap_or(LOG_LINES),
            colours: std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty()),
            warnings: Vec::new(),
        }
    }

    fn draw(&mut self, vertices: &[Vertex], last: bool) {
        if vertices.is_empty() && self.warnings.is_empty() {
            return;
        }
        let size = rustix::termios::tcgetwinsize(std::io::stderr()).ok();
        let width = size.map_or(0, |size| usize::from(size.ws_col));
        let height = size.map_or(0, |size| usize::from(size.ws_row));
        let (width, height) =
            (if width == 0 { 80 } else { width }, if height == 0 { 10 } else { height });
        let elapsed = Moment::now().since(self.started);
        let frame = Frame { width, height, log_lines: self.log_lines, colours: self.colours };
        let lines = frame.lines(vertices, elapsed, last);
        let mut out = String::from("\x1b[?25l");
        if let Some(drawn) = self.drawn {
            out.push_str(&format!("\x1b[{}A\r", drawn + 1));
        }
        for warning in self.warnings.drain(..) {
            out.push_str(&format!("\x1b[2KWARNING: {warning}\n"));
        }
        for line in &lines {
            out.push_str("\x1b[2K");
            out.push_str(line);
            out.push('\n');
        }
        // What an earlier, longer frame left below.
        out.push_str("\x1b[J\x1b[?25h");
        self.drawn = Some(lines.len().saturating_sub(1));
        write(&out);
    }
}

impl View for Terminal {
    fn changed(&mut self, _vertices: &[Vertex], change: Change<'_>) {
        if let Change::Warning(text) = change {
            self.warnings.push(text.to_owned());
        }
    }

    fn tick(&mut self, vertices: &[Vertex]) {
        self.draw(vertices, false);
    }

    fn close(&mut self, vertices: &[Vertex]) {
        self.draw(vertices, true);
        super::repeat_failures(vertices, log::KEPT);
    }
}

/// What a frame depends on beside the steps.
struct Frame {
    width: usize,
    height: usize,
    log_lines: usize,
    colours: bool,
}

/// A line of the view before it is fitted.
struct Row<'a> {
    text: String,
    /// Shown beside the text where there is room.
    status: String,
    took: Duration,
    over: bool,
    colour: &'static str,
    /// The step whose output may stand below.
    log: Option<&'a log::Log>,
}

const BLUE: &str = "\x1b[34m";
const RED: &str = "\x1b[31m";
const YELLOW: &str = "\x1b[33m";
const FAINT: &str = "\x1b[2m";
const PLAIN: &str = "\x1b[0m";

impl Frame {
    /// The frame's lines, the heading first. The last frame shows every step, whatever fits.
    fn lines(&self, vertices: &[Vertex], elapsed: Duration, last: bool) -> Vec<String> {
        let completed = vertices.iter().filter(|vertex| vertex.completed.is_some()).count();
        let ended = if last && completed == vertices.len() { " FINISHED" } else { "" };
        let heading = format!(
            "[+] Building {:.1}s ({completed}/{}){ended}",
            elapsed.as_secs_f64(),
            vertices.len()
        );
        let mut lines = vec![cut(&heading, self.width).to_owned()];
        let rows: Vec<Row<'_>> = vertices.iter().flat_map(rows).collect();
        let running = rows.iter().filter(|row| !row.over).count();
        // Below which steps there is room for output: those that write most come first.
        let mut logs: Vec<(usize, &log::Log)> = rows
            .iter()
            .enumerate()
            .filter(|(_, row)| !row.over)
            .filter_map(|(at, row)| row.log.filter(|log| log.bytes > 0).map(|log| (at, log)))
            .collect();
        logs.sort_by_key(|(_, log)| std::cmp::Reverse(log.bytes));
        let mut free = self.height.saturating_sub(2 + running);
        let mut tails: Vec<(usize, Vec<String>)> = Vec::new();
        for (at, log) in logs {
            if free <= self.log_lines + 3 {
                break;
            }
            free -= self.log_lines + 3;
            tails.push((at, log.tail(self.log_lines)));
        }
        let used: usize = tails.iter().map(|(_, tail)| tail.len()).sum();
        let room = self.height.saturating_sub(2 + used);
        let kept = if last { (0..rows.len()).collect() } else { fitting(&rows, room) };
        for at in kept {
            let Some(row) = rows.get(at) else { continue };
            lines.extend(self.row(row));
            if let Some((_, tail)) = tails.iter().find(|(owner, _)| *owner == at) {
                for line in tail {
                    let text = format!(" => => # {line}");
                    lines.push(self.coloured(cut(&text, self.width.saturating_sub(1)), FAINT));
                }
            }
        }
        lines
    }

    /// ` => NAME            0.1s`; nothing where the terminal is too narrow.
    fn row(&self, row: &Row<'_>) -> Option<String> {
        let seconds = row.took.as_secs_f64();
        // As buildx, what took next to nothing took nothing.
        let timer = format!("{:3.1}s", if seconds < 0.05 { 0.0 } else { seconds });
        let mut left = self.width.checked_sub(" => ".len() + timer.len() + 2)?;
        let mut status = "";
        if !row.status.is_empty() && left > row.status.width() + 20 {
            left -= row.status.width() + 1;
            status = &row.status;
        }
        if left < 12 {
            return None;
        }
        let mut text = format!(" => {}", cut(&row.text, left));
        if !status.is_empty() {
            text.push(' ');
            text.push_str(status);
        }
        let gap = self.width.saturating_sub(text.width() + timer.len()).max(1);
        let text = format!("{text}{}{timer}", " ".repeat(gap));
        Some(if row.over { self.coloured(&text, row.colour) } else { text })
    }

    fn coloured(&self, text: &str, colour: &str) -> String {
        if self.colours { format!("{colour}{text}{PLAIN}") } else { text.to_owned() }
    }
}

fn rows(vertex: &Vertex) -> Vec<Row<'_>> {
    let (mark, colour) = match &vertex.error {
        Some(_) => ("ERROR ", RED),
        None if vertex.cancelled => ("CANCELED ", YELLOW),
        None if vertex.cached => ("CACHED ", BLUE),
        None => ("", BLUE),
    };
    let own = Row {
        text: format!("{mark}{}", vertex.name.replace('\t', " ")),
        status: String::new(),
        took: if vertex.cached { Duration::ZERO } else { vertex.took() },
        over: vertex.completed.is_some(),
        colour,
        log: Some(&vertex.log),
    };
    std::iter::once(own).chain(vertex.parts.iter().map(part_row)).collect()
}

fn part_row(part: &Part) -> Row<'_> {
    let status = match part.total {
        0 if part.current > 0 => precise(part.current),
        0 => String::new(),
        total => {
            let figures = format!("{} / {}", precise(part.current), precise(total));
            match part.completed {
                Some(_) => figures,
                None => format!("{} {figures}", bar(part.current, total)),
            }
        }
    };
    Row {
        text: format!("=> {}", part.name),
        status,
        took: part.completed.unwrap_or_else(Moment::now).since(part.started),
        over: part.completed.is_some(),
        colour: BLUE,
        log: None,
    }
}

/// `[====>     ]`.
fn bar(current: u64, total: u64) -> String {
    let part = u128::from(current.min(total)) * BAR as u128 / u128::from(total.max(1));
    let full = usize::try_from(part).unwrap_or(BAR);
    let head = if full < BAR { ">" } else { "" };
    format!("[{}{head}{}]", "=".repeat(full), " ".repeat(BAR - full - head.len()))
}

/// The rows to show where not all fit: the last ones, and instead of the oldest of those whatever still runs above them.
fn fitting(rows: &[Row<'_>], room: usize) -> Vec<usize> {
    let cut = rows.len().saturating_sub(room);
    let mut hidden: Vec<usize> =
        (0..cut).filter(|at| rows.get(*at).is_some_and(|row| !row.over)).collect();
    let mut drop = hidden.len();
    let mut kept = Vec::new();
    for at in cut..rows.len() {
        if drop > 0 && rows.get(at).is_some_and(|row| row.over) {
            drop -= 1;
        } else {
            kept.push(at);
        }
    }
    // Where more run than fit, the latest.
    let free = room.saturating_sub(kept.len());
    hidden.drain(..hidden.len().saturating_sub(free));
    hidden.into_iter().chain(kept).collect()
}

/// As much of a text as fits in so many columns.
fn cut(text: &str, columns: usize) -> &str {
    let mut used = 0;
    for (at, c) in text.char_indices() {
        used += c.width().unwrap_or(0);
        if used > columns {
            return text.get(..at).unwrap_or_default();
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::super::board::{Board, Change, Vertex, View};
    use super::{Frame, bar};
    use build::{Events, StepId};
    use std::sync::mpsc::{Sender, channel};
    use std::time::Duration;

    /// Hands the lines of a frame out when the board is closed.
    struct Capture(Frame, Sender<Vec<String>>, bool);

    impl View for Capture {
        fn changed(&mut self, _: &[Vertex], _: Change<'_>) {}

        fn close(&mut self, vertices: &[Vertex]) {
            let lines = self.0.lines(vertices, Duration::from_millis(1234), self.2);
            self.1.send(lines).ok();
        }
    }

    fn frame(width: usize, height: usize, last: bool, events: impl FnOnce(&Board)) -> Vec<String> {
        let (sender, receiver) = channel();
        let frame = Frame { width, height, log_lines: 6, colours: false };
        let board = Board::new(Box::new(Capture(frame, sender, last)));
        events(&board);
        board.close();
        receiver.recv().unwrap_or_default()
    }

    #[test]
    fn several_steps_run_at_once() {
        let digest = oci::Digest::of(b"x");
        let lines = frame(70, 40, false, |board| {
            board.started(StepId(1), "[internal] load metadata for debian:12");
            board.transfer(StepId(1), &digest, 5_000_000, 20_000_000);
            board.started(StepId(2), "[a 2/2] RUN make");
            board.output(StepId(2), b"cc a.c\ncc b.c");
            board.started(StepId(3), "[b 2/2] COPY . .");
            board.cached(StepId(3));
        });
        assert_eq!(
            lines,
            [
                "[+] Building 1.2s (1/3)",
                " => [internal] load metadata for debian:12                        0.0s",
                " => => sha256:2d711642b726b0 [====>           ] 5.00MB / 20.00MB  0.0s",
                " => [a 2/2] RUN make                                              0.0s",
                " => => # cc a.c",
                " => => # cc b.c",
                " => CACHED [b 2/2] COPY . .                                       0.0s",
            ]
        );
    }

    #[test]
    fn what_runs_is_seen_where_not_all_fits() {
        let lines = frame(60, 6, false, |board| {
            for number in 1..=10 {
                board.started(StepId(number), &format!("step {number}"));
                if number != 2 {
                    board.done(StepId(number), Duration::ZERO);
                }
            }
        });
        let names: Vec<&str> = lines.iter().filter_map(|line| line.get(4..11)).collect();
        assert_eq!(names[1..], ["step 2 ", "step 8 ", "step 9 ", "step 10"]);
    }

    #[test]
    fn the_last_frame_shows_all() {
        let lines = frame(60, 6, true, |board| {
            for number in 1..=10 {
                board.started(StepId(number), "step");
                board.failed(StepId(number), "no");
            }
        });
        assert_eq!(lines.len(), 11);
        assert_eq!(lines[0], "[+] Building 1.2s (10/10) FINISHED");
        assert!(lines[1].starts_with(" => ERROR step "));
    }

    #[test]
    fn narrow_terminals_show_the_heading() {
        let lines = frame(14, 6, false, |board| board.started(StepId(1), "a step"));
        assert_eq!(lines, ["[+] Building 1"]);
        assert_eq!(bar(0, 0).len(), bar(9, 9).len());
    }
}
