//! `cargo xtask bench`: figures as ratios, taken in one run.

mod system;

use crate::paths::{Workspace, make_dir};
use crate::{boxer, fixtures, guest, packages, process};
use anyhow::{Context, Result, bail};
use std::fmt::Write as _;
use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Runs of a start-up figure; the median counts.
const RUNS: usize = 15;

/// The kernels of fixtures/static/kernels.c.
const KERNELS: [&str; 10] =
    ["sieve", "matmul", "crc", "sort", "chase", "collatz", "strings", "nbody", "vector", "calls"];

/// Prints the figures, each with its goal. With `--no-build`, of the `boxer` that is there.
pub fn run(workspace: &Workspace, args: &[String]) -> Result<()> {
    packages::ensure(&[packages::DEMO, packages::BENCH])?;
    if !args.iter().any(|arg| arg == "--no-build") {
        guest::run(workspace)?;
        boxer::build(workspace)?;
    }
    fixtures::run(workspace)?;
    let bench = Bench { workspace, dir: workspace.target.join("bench") };
    make_dir(&bench.dir)?;
    print!("{}", machine()?);
    bench.start()?;
    bench.sizes()?;
    bench.interpreter()?;
    bench.translated()?;
    bench.system()
}

struct Bench<'a> {
    workspace: &'a Workspace,
    dir: PathBuf,
}

impl Bench<'_> {
    /// A box on an empty image with a static program and `filler` megabytes besides.
    fn scratch_box(&self, name: &str, program: &str, filler: usize) -> Result<PathBuf> {
        let context = self.dir.join(name);
        make_dir(&context)?;
        let programs = self.workspace.fixtures().join("programs");
        std::fs::copy(programs.join(program), context.join("program"))?;
        let mut file = BufWriter::with_capacity(1 << 20, File::create(context.join("filler"))?);
        let mut word = 1_u64;
        for _ in 0..(filler << 20) / size_of::<u64>() {
            word = word.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            file.write_all(&word.to_le_bytes())?;
        }
        file.flush()?;
        std::fs::write(
            context.join("Dockerfile"),
            "FROM scratch\nCOPY . /\nENTRYPOINT [\"/program\"]\n",
        )?;
        let wasm = self.dir.join(name).with_extension("wasm");
        process::quiet(
            boxer::command(self.workspace)?.arg("build").arg("-o").arg(&wasm).arg(&context),
        )?;
        Ok(wasm)
    }

    /// Start-up of boxes against that of the smallest program, first runs and later ones.
    fn start(&self) -> Result<()> {
        let trivial = self.dir.join("trivial.wasm");
        std::fs::write(&trivial, TRIVIAL)?;
        // Each is run as soon as it is built, so that nothing but the build can have made it ready.
        let measured = |name: &str, filler: usize| -> Result<Start> {
            self.started(&self.scratch_box(name, "hello", filler)?)
        };
        let hello = measured("hello", 0)?;
        let (small, large) = (measured("small", 10)?, measured("large", 1000)?);
        let trivial = self.started(&trivial)?;
        println!("start: trivial WASI program        {:7.2} ms", trivial.later);
        println!(
            "start: hello box                   {:7.2} ms, {:+.2} ms (goal: within 5 ms)",
            hello.later,
            hello.later - trivial.later
        );
        println!(
            "start: hello box, first run        {:7.2} ms, {:+.2} ms (goal: within 5 ms)",
            hello.first,
            hello.first - trivial.later
        );
        println!(
            "start: 1 GB against 10 MB          {:7.2} ms / {:.2} ms = {:.2} (goal: at most 1.2), first {:.2} ms / {:.2} ms",
            large.later,
            small.later,
            large.later / small.later,
            large.first,
            small.first
        );
        Ok(())
    }

    /// Milliseconds that runs take.
    fn started(&self, wasm: &Path) -> Result<Start> {
        let run = || -> Result<f64> {
            let mut command = boxer::command(self.workspace)?;
            command.arg("run").arg(wasm).stdin(Stdio::null());
            let started = Instant::now();
            process::quiet(&mut command)?;
            Ok(millis(started.elapsed()))
        };
        let first = run()?;
        let mut times = (0..RUNS).map(|_| run()).collect::<Result<Vec<_>>>()?;
        times.sort_by(f64::total_cmp);
        Ok(Start { first, later: times.get(RUNS / 2).copied().context("no runs")? })
    }

    /// Time of a warm build, and what a box adds to its root filesystem.
    fn sizes(&self) -> Result<()> {
        let layout = fixtures::debian(self.workspace)?.join("layout");
        let wasm = self.dir.join("debian.wasm");
        boxer::build_from_layout(self.workspace, &layout, "bookworm", "", &wasm)?;
        std::fs::remove_file(&wasm)?;
        // Another label each time: the base is known, but its box has to be made.
        let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_nanos();
        let started = Instant::now();
        let label = format!("LABEL bench={now}\n");
        boxer::build_from_layout(self.workspace, &layout, "bookworm", &label, &wasm)?;
        println!(
            "build: Debian base, warm           {:7.2} s (goal: at most 5 s)",
            started.elapsed().as_secs_f64()
        );
        let bytes = std::fs::read(&wasm)?;
        let rootfs = largest_segment(&bytes).context("the box has no data segment")?;
        println!(
            "size:  box over its rootfs         {:7.2} MB ({:.1} MB - {:.1} MB; goal: at most 3 MB)",
            (bytes.len() - rootfs) as f64 / 1e6,
            bytes.len() as f64 / 1e6,
            rootfs as f64 / 1e6
        );
        Ok(())
    }

    /// Guest instructions a second (the interpreter's own count), and the times as ratios to native, qemu-user's beside.
    fn interpreter(&self) -> Result<()> {
        let wasm = self.scratch_box("kernels", "kernels", 0)?;
        let native = self.workspace.fixtures().join("programs/kernels");
        let (mut speeds, mut ratios, mut qemu_ratios) = (1.0_f64, 1.0_f64, 1.0_f64);
        let empty = self.median_of_nothing(&wasm)?;
        for kernel in KERNELS {
            let started = Instant::now();
            let expected = process::stdout(Command::new(&native).arg(kernel))?;
            let native_time = started.elapsed().as_secs_f64();
            let started = Instant::now();
            process::stdout(Command::new("qemu-x86_64").arg(&native).arg(kernel))?;
            let qemu = started.elapsed().as_secs_f64() / native_time;
            let mut command = boxer::command(self.workspace)?;
            command
                .args(["run", "--debug", "--translate=none"])
                .arg(&wasm)
                .arg(kernel)
                .stdin(Stdio::null());
            let started = Instant::now();
            let output = command.output()?;
            let time = (started.elapsed().as_secs_f64() - empty).max(1e-6);
            let errors = String::from_utf8_lossy(&output.stderr);
            if output.stdout != expected.as_bytes() {
                bail!("{kernel}: {}{errors}", String::from_utf8_lossy(&output.stdout));
            }
            let count = errors
                .lines()
                .find_map(|line| line.strip_prefix("boxer: ")?.strip_suffix(" guest instructions"));
            let count: f64 = count.context("the box does not count its instructions")?.parse()?;
            let mips = count / time / 1e6;
            let ratio = time / native_time;
            println!(
                "cpu:   {kernel:10} {:8.1} M instructions {mips:8.1} MIPS  {ratio:5.1} x native (qemu-user {qemu:4.1} x)",
                count / 1e6
            );
            speeds *= mips;
            ratios *= ratio;
            qemu_ratios *= qemu;
        }
        let mean = |product: f64| product.powf(1.0 / KERNELS.len() as f64);
        println!(
            "cpu:   geometric mean {:.1} MIPS (goal: at least 300), {:.1} x native (qemu-user {:.1} x)",
            mean(speeds),
            mean(ratios),
            mean(qemu_ratios)
        );
        Ok(())
    }

    /// The kernels for about a second each, compiled while they run: processor time of the whole run, what compiling takes
    /// included, as a ratio to native. First with no regions in the cache, then with what the
    /// first run left.
    fn translated(&self) -> Result<()> {
        let wasm = self.scratch_box("kernels", "kernels", 0)?;
        let native = self.workspace.fixtures().join("programs/kernels");
        let cache = self.dir.join("translated");
        let (mut cold, mut warm) = (1.0_f64, 1.0_f64);
        for kernel in KERNELS {
            let started = Instant::now();
            process::stdout(Command::new(&native).arg(kernel))?;
            let times = ((1.0 / started.elapsed().as_secs_f64()) as u64).clamp(10, 500).to_string();
            let arguments = [kernel, times.as_str()];
            let (base, expected) = processor_time(Command::new(&native).args(arguments))?;
            // The box's own code is compiled before; regions are not.
            let _ = std::fs::remove_dir_all(&cache);
            let mut first = boxer::command(self.workspace)?;
            first.env("XDG_CACHE_HOME", &cache).args(["run", "--translate=none"]).arg(&wasm);
            first.stdin(Stdio::null()).status()?;
            let mut ratios = [0.0; 2];
            for ratio in &mut ratios {
                let mut command = boxer::command(self.workspace)?;
                command.env("XDG_CACHE_HOME", &cache).arg("run").arg(&wasm).args(arguments);
                let (time, output) = processor_time(&mut command)?;
                if output != expected {
                    bail!("{kernel}, translated: {}", String::from_utf8_lossy(&output));
                }
                *ratio = time / base;
            }
            println!(
                "jit:   {kernel:10} {times:>4} times  cold {:5.2} x, warm {:5.2} x native",
                ratios[0], ratios[1]
            );
            (cold, warm) = (cold * ratios[0], warm * ratios[1]);
        }
        let mean = |product: f64| product.powf(1.0 / KERNELS.len() as f64);
        println!(
            "jit:   geometric mean cold {:.2} x, warm {:.2} x native (goals: integer 2.0, floating point 2.5)",
            mean(cold),
            mean(warm)
        );
        Ok(())
    }

    /// Seconds that a run takes whose program ends at once.
    fn median_of_nothing(&self, wasm: &Path) -> Result<f64> {
        let mut times = Vec::new();
        for _ in 0..7 {
            let mut command = boxer::command(self.workspace)?;
            command.arg("run").arg(wasm).stdin(Stdio::null()).stdout(Stdio::null());
            let started = Instant::now();
            command.status()?;
            times.push(started.elapsed().as_secs_f64());
        }
        times.sort_by(f64::total_cmp);
        times.get(3).copied().context("no runs")
    }
}

/// Milliseconds of a first run, and the median of those after it.
struct Start {
    first: f64,
    later: f64,
}

/// Seconds of processor time, user's and system's, that a command takes, and what it prints.
fn processor_time(command: &mut Command) -> Result<(f64, Vec<u8>)> {
    // Of all children that have ended, so that what was before is subtracted.
    let spent = || -> Result<f64> {
        let stat = std::fs::read_to_string("/proc/self/stat")?;
        let fields: Vec<&str> =
            stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
        // proc_pid_stat(5): cutime and cstime are fields 16 and 17, the state after the name being 3; 100 ticks a second.
        let ticks = |n: usize| fields.get(n - 3).and_then(|field| field.parse::<f64>().ok());
        let (user, system) = (ticks(16).context("cutime")?, ticks(17).context("cstime")?);
        Ok((user + system) / 100.0)
    };
    let before = spent()?;
    let output = command.stdin(Stdio::null()).output()?;
    if !output.status.success() {
        bail!("{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    }
    Ok((spent()? - before, output.stdout))
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

/// Date and machine.
fn machine() -> Result<String> {
    let mut text = String::new();
    let date = process::stdout(Command::new("date").args(["-u", "+%F"]))?;
    let cpuinfo = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model =
        cpuinfo.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or_default();
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    writeln!(text, "{}, {} cores{}", date.trim(), cores, model.replace(['\t'], ""))?;
    Ok(text)
}

/// Length of the largest data segment of a core module.
fn largest_segment(wasm: &[u8]) -> Option<usize> {
    let mut at = 8;
    while at < wasm.len() {
        let id = *wasm.get(at)?;
        let (len, start) = leb(wasm, at + 1)?;
        if id == 11 {
            return segments(wasm.get(start..start + len)?);
        }
        at = start + len;
    }
    None
}

fn segments(data: &[u8]) -> Option<usize> {
    let (count, mut at) = leb(data, 0)?;
    let mut largest = 0;
    for _ in 0..count {
        let (kind, after) = leb(data, at)?;
        at = after;
        if kind == 0 {
            // i32.const N, end
            (_, at) = leb(data, at + 1)?;
            at += 1;
        }
        let (len, start) = leb(data, at)?;
        largest = largest.max(len);
        at = start + len;
    }
    Some(largest)
}

/// A LEB128 number (signed ones are only skipped), and where it ends.
fn leb(bytes: &[u8], mut at: usize) -> Option<(usize, usize)> {
    let mut value = 0;
    for shift in (0..35).step_by(7) {
        let byte = *bytes.get(at)?;
        at += 1;
        value |= usize::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some((value, at));
        }
    }
    None
}

/// A command that writes nothing and ends: `(module (memory (export "memory") 1) (func (export "_start")))`.
const TRIVIAL: &[u8] = b"\0asm\x01\0\0\0\x01\x04\x01\x60\0\0\x03\x02\x01\0\x05\x03\x01\0\x01\
\x07\x13\x02\x06memory\x02\0\x06_start\0\0\x0a\x04\x01\x02\0\x0b";
