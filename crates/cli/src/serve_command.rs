//! `boxer serve`.

use std::fs::File;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use runtime::{Port, Protocol, Signals};
use serve::{Config, Lifetime, Service, Stop};

use crate::args::{Global, RunArgs};
use crate::failure::Failure;
use crate::inspect_command::{image_config, names};
use crate::mounts::Mounts;
use crate::run_command;
use crate::session;

/// Instances at once, when each answers one request.
const INSTANCES: usize = 16;
/// Requests at once in an instance that stays.
const CONCURRENCY: usize = 100;

// -h is docker's --hostname.
#[derive(Debug, Args)]
#[command(disable_help_flag = true)]
// A server's options are rarely given here, and those of this command often behind its name.
#[command(mut_arg("words", |words| words.trailing_var_arg(false).help(
    "A Wasm file or the name of a box or image in the store (pulled if it is not there), and arguments, which replace CMD; \
     those that begin with - stand behind --"
)))]
pub struct ServeArgs {
    /// Where to listen; without an address on 127.0.0.1, and port 0 is any that is free
    #[arg(
        long,
        value_name = "[IP:]PORT",
        value_parser = address,
        default_value = "127.0.0.1:8080",
        help_heading = "Serving"
    )]
    pub addr: SocketAddr,
    /// The port of the server in the box [default: the one that the image exposes]
    #[arg(long, value_name = "GUEST", help_heading = "Serving")]
    pub port: Option<u16>,
    /// An instance for each request, started where the server listens; it ends when all of its programs wait after the answer
    /// [default, unless -p is given]
    #[arg(long, conflicts_with = "reuse", help_heading = "Serving")]
    pub per_request: bool,
    /// Instances that stay, and answer many requests, also at once
    #[arg(long, help_heading = "Serving")]
    pub reuse: bool,
    /// Most instances that answer requests at once [default: 16; with --reuse 1, which is started at once]
    #[arg(long, value_name = "COUNT", value_parser = count, help_heading = "Serving")]
    pub instances: Option<usize>,
    /// Requests at once in an instance, with --reuse [default: 100]
    #[arg(long, value_name = "COUNT", value_parser = count, requires = "reuse", help_heading = "Serving")]
    pub concurrency: Option<usize>,
    /// Requests that may wait for an instance; others are answered with 503
    #[arg(long, value_name = "COUNT", default_value_t = 1000, help_heading = "Serving")]
    pub queue: usize,
    /// How long a request may wait for an instance (503), and then the head of its answer may take (504)
    #[arg(long, value_name = "SECONDS", value_parser = seconds, default_value = "60", help_heading = "Serving")]
    pub request_timeout: Duration,
    /// How long the server may take until it listens
    #[arg(long, value_name = "SECONDS", value_parser = seconds, default_value = "60", help_heading = "Serving")]
    pub start_timeout: Duration,
    /// At a signal: how long requests that are under way may take to end, and then the boxes
    #[arg(long, value_name = "SECONDS", value_parser = seconds, default_value = "10", help_heading = "Serving")]
    pub grace: Duration,
    /// Say nothing but why it fails
    #[arg(short, long, help_heading = "Serving")]
    pub quiet: bool,
    #[command(flatten)]
    pub run: RunArgs,
}

fn count(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(count @ 1..=100_000) => Ok(count),
        _ => Err("must be a number from 1 to 100000".to_owned()),
    }
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|_| format!("no number: {text:?}"))?;
    Duration::try_from_secs_f64(seconds).map_err(|error| error.to_string())
}

/// `[IP:]PORT`; without an address on 127.0.0.1.
pub fn address(text: &str) -> Result<SocketAddr, String> {
    let port = text.trim_start_matches(':').parse();
    match port {
        Ok(port) => Ok(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port)),
        Err(_) => text.parse().map_err(|_| "is not of the form [IP:]PORT".to_owned()),
    }
}

pub fn run(
    global: &Global,
    args: &ServeArgs,
    signals: Option<&Signals>,
) -> Result<ExitCode, Failure> {
    let run = &args.run;
    run.docker.check()?;
    check(args)?;
    let lifetime = match args.reuse || run.network.publishes() {
        true => Lifetime::Server,
        false => Lifetime::Request,
    };
    let mounts = Mounts::new(global, run)?;
    let mut grant = run.network.grant(run.debug)?;
    let mut options = run_command::options(run, &mounts)?;
    run.network.override_names(&mut options.overrides, grant.is_some())?;
    // Who serves one request ends before code that was compiled meanwhile would be of use.
    options.translation.compiles = lifetime == Lifetime::Server;
    let path = run_command::find(global, run.name(), run.pull)?;
    refuse_component(&path)?;
    let port = args.port.map_or_else(|| exposed(&path), Ok)?;
    if let Some(grant) = &mut grant {
        run.network.publish_exposed(grant, &path)?;
    }
    let failed = |error: std::io::Error| {
        Failure::new(format!("cannot listen at {}: {error}", args.addr))
            .hint("--addr names another port; with 0 it is any that is free")
    };
    let listener = TcpListener::bind(args.addr).map_err(failed)?;
    let at = listener.local_addr().map_err(failed)?;
    let state = session::runtime()?.state_of_file(&path).map_err(Failure::new)?;
    let stop = Stop::default();
    if let Some(signals) = signals {
        let stop = stop.clone();
        signals.intercept(move |_| stop.stop()).map_err(Failure::new)?;
    }
    let config = Config {
        port,
        lifetime,
        instances: args.instances.unwrap_or(match lifetime {
            Lifetime::Request => INSTANCES,
            Lifetime::Server => 1,
        }),
        concurrency: args.concurrency.unwrap_or(CONCURRENCY),
        queue: args.queue,
        timeout: args.request_timeout,
        start_timeout: args.start_timeout,
        grace: args.grace,
    };
    let report: serve::Report = match args.quiet {
        true => Arc::new(|_| {}),
        false => Arc::new(|line| tell!("boxer: {line}")),
    };
    let ready = || {
        let how = match lifetime {
            Lifetime::Request => "an instance for each request",
            Lifetime::Server => "instances that stay",
        };
        report(&format!("http://{at} leads to port {port} of {}, {how}", run.name()));
    };
    let service = Service { state, options, grant: grant.unwrap_or_default() };
    serve::serve(listener, service, config, &stop, report.clone(), ready).map_err(failure)?;
    report("served");
    Ok(ExitCode::SUCCESS)
}

/// Refuses what a service cannot have.
fn check(args: &ServeArgs) -> Result<(), Failure> {
    let run = &args.run;
    let one = args.instances.is_none_or(|instances| instances == 1);
    if run.tty || run.interactive {
        return Err(Failure::usage("a service has no terminal and no input: leave -i and -t out"));
    }
    if run.freezing.name.is_some() || run.freezing.freeze_on.is_some() {
        return Err(Failure::usage("the boxes of a service have no names and are not frozen"));
    }
    if run.network.publishes() && (args.per_request || !one) {
        return Err(Failure::usage("a port that -p publishes leads to one instance: add --reuse"));
    }
    Ok(())
}

/// Components are for other hosts: their memory cannot be seen from outside, so none could be started where another is.
fn refuse_component(path: &Path) -> Result<(), Failure> {
    let failed =
        |error: &dyn std::fmt::Display| Failure::new(format!("{}: {error}", path.display()));
    let mut file = File::open(path).map_err(|error| failed(&error))?;
    match link::inspect(&mut file).map_err(|error| failed(&error))?.format {
        link::Format::Module => Ok(()),
        link::Format::Component => {
            Err(failed(&"it is a component, and boxer serve serves modules")
                .hint("build it without type=component"))
        }
    }
}

/// The one TCP port that the image exposes.
fn exposed(path: &Path) -> Result<u16, Failure> {
    let texts = names(&image_config(path)?, "ExposedPorts");
    let ports: Vec<u16> = texts
        .iter()
        .filter_map(|text| Port::exposed(text).ok())
        .flatten()
        .filter(|port| port.protocol == Protocol::Tcp)
        .map(|port| port.guest)
        .collect();
    match ports[..] {
        [port] => Ok(port),
        [] => Err(Failure::usage("the image exposes no port")
            .hint("--port says where the server listens in the box")),
        _ => Err(Failure::usage(format!("the image exposes {}", texts.join(", ")))
            .hint("--port says which of them is served")),
    }
}

fn failure(error: serve::Error) -> Failure {
    let failure = Failure::new(&error);
    match error {
        serve::Error::Freeze(_) => {
            failure.hint("--reuse serves from instances that stay, and need no such state")
        }
        serve::Error::Start(_) => {
            failure.hint("--port says where the server listens, --start-timeout gives it more time")
        }
        _ => failure,
    }
}

#[cfg(test)]
mod tests {
    use super::{address, count, seconds};

    #[test]
    fn addresses_are_read() {
        let of = |text: &str| address(text).map(|address| address.to_string());
        assert_eq!(of("8080"), Ok("127.0.0.1:8080".to_owned()));
        assert_eq!(of(":0"), Ok("127.0.0.1:0".to_owned()));
        assert_eq!(of("0.0.0.0:80"), Ok("0.0.0.0:80".to_owned()));
        assert_eq!(of("[::1]:80"), Ok("[::1]:80".to_owned()));
        for bad in ["", "host:80", "1.2.3.4", "70000"] {
            assert!(address(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn numbers_are_bounded() {
        assert_eq!(count("3"), Ok(3));
        assert!(count("0").is_err() && count("-1").is_err());
        assert!(seconds("-1").is_err() && seconds("x").is_err() && seconds("0.5").is_ok());
    }
}
