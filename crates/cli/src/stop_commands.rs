//! `boxer stop` and `boxer kill`.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Args;

use crate::failure::Failure;
use crate::running;

/// How long the process of a box that was killed may take to be gone.
const GONE: Duration = Duration::from_secs(5);
const SIGKILL: u8 = 9;

/// `boxer stop`.
#[derive(Debug, Args)]
pub struct StopArgs {
    /// The names of boxes that run (`boxer run --name`)
    #[arg(required = true, value_name = "NAME")]
    pub names: Vec<String>,
    /// The signal, instead of the image's STOPSIGNAL or SIGTERM
    #[arg(short, long, value_name = "SIGNAL", value_parser = signal)]
    pub signal: Option<u8>,
    /// Seconds until they are killed; -1: never
    #[arg(
        short,
        long,
        alias = "timeout",
        value_name = "SECONDS",
        default_value_t = 10,
        allow_negative_numbers = true
    )]
    pub time: i64,
}

/// `boxer kill`.
#[derive(Debug, Args)]
pub struct KillArgs {
    /// The names of boxes that run (`boxer run --name`)
    #[arg(required = true, value_name = "NAME")]
    pub names: Vec<String>,
    /// The signal
    #[arg(short, long, value_name = "SIGNAL", value_parser = signal, default_value = "KILL")]
    pub signal: u8,
}

fn signal(text: &str) -> Result<u8, String> {
    rootfs::signal::number(text).ok_or_else(|| format!("there is no signal {text:?}"))
}

pub fn stop(args: &StopArgs) -> Result<ExitCode, Failure> {
    let longest = u64::try_from(args.time).map_or(Duration::MAX, Duration::from_secs);
    each(&args.names, |name| {
        let attach = running::attach(name)?;
        attach.signal(args.signal).map_err(Failure::new)?;
        if !attach.wait_for_end(longest) {
            // It may have ended by now.
            let _ = attach.signal(Some(SIGKILL));
        }
        let until = Instant::now() + GONE;
        while running::is_running(name)? {
            if Instant::now() >= until {
                return Err(Failure::new(format!("{name}: it was killed, and does not end")));
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(())
    })
}

pub fn kill(args: &KillArgs) -> Result<ExitCode, Failure> {
    each(&args.names, |name| running::attach(name)?.signal(Some(args.signal)).map_err(Failure::new))
}

/// Does it with each; the status says whether it went well with all.
fn each(
    names: &[String],
    work: impl Fn(&String) -> Result<(), Failure>,
) -> Result<ExitCode, Failure> {
    let mut code = ExitCode::SUCCESS;
    for name in names {
        match work(name) {
            Ok(()) => say!("{name}"),
            Err(failure) => code = failure.report(),
        }
    }
    Ok(code)
}
