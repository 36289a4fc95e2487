//! `boxer serve-wisp`.

use std::net::{IpAddr, SocketAddr, TcpListener};
use std::process::ExitCode;
use std::sync::Arc;

use clap::Args;
use runtime::{Grant, NetworkEvent, NetworkReport, Policy, Signals};
use serve::{Outward, Stop};

use crate::failure::Failure;
use crate::serve_command::address;

#[derive(Debug, Args)]
pub struct ServeWispArgs {
    /// What boxes may reach (repeatable): HOST is a name, *.name, an address or a network, and PORT a number, a range or *.
    /// localhost:PORT is a port of this host's loopback, at 172.17.0.1 in the box
    #[arg(long, value_name = "HOST:PORT,...", required_unless_present = "allow_all")]
    pub allow: Vec<String>,
    /// They may reach all that this host reaches but its own loopback, link-local and metadata addresses
    #[arg(long)]
    pub allow_all: bool,
    /// Where to listen; without an address on 127.0.0.1, and port 0 is any that is free
    #[arg(long, value_name = "[IP:]PORT", value_parser = address, default_value = "127.0.0.1:6001")]
    pub addr: SocketAddr,
    /// Pages of this origin may connect, too (repeatable) [default: those of this machine's loopback]
    #[arg(long, value_name = "SCHEME://HOST[:PORT]")]
    pub origin: Vec<String>,
    /// Ask this name server instead of this host's resolver (repeatable)
    #[arg(long, value_name = "IP")]
    pub dns: Vec<IpAddr>,
    /// Say nothing but why it fails
    #[arg(short, long)]
    pub quiet: bool,
}

pub fn run(args: &ServeWispArgs, signals: Option<&Signals>) -> Result<ExitCode, Failure> {
    let mut policy = if args.allow_all { Policy::host() } else { Policy::none() };
    for list in &args.allow {
        let wrong = |reason| Failure::usage(format!("invalid --allow {reason}"));
        policy.grant(&format!("allow={list}")).map_err(wrong)?;
    }
    if let Some(origin) = args.origin.iter().find(|origin| !is_origin(origin)) {
        return Err(Failure::usage(format!("invalid --origin {origin:?}"))
            .hint("an origin is what a browser sends: https://example.org, without a path"));
    }
    let failed = |error: std::io::Error| {
        Failure::new(format!("cannot listen at {}: {error}", args.addr))
            .hint("--addr names another port; with 0 it is any that is free")
    };
    let listener = TcpListener::bind(args.addr).map_err(failed)?;
    let at = listener.local_addr().map_err(failed)?;
    let stop = Stop::default();
    if let Some(signals) = signals {
        let stop = stop.clone();
        signals.intercept(move |_| stop.stop()).map_err(Failure::new)?;
    }
    let line: serve::Report = match args.quiet {
        true => Arc::new(|_| {}),
        false => Arc::new(|line| tell!("boxer: {line}")),
    };
    let events = line.clone();
    let report: NetworkReport = Arc::new(move |event: &NetworkEvent| events(&event.to_string()));
    let grant =
        Grant { policy, servers: args.dns.clone(), report: Some(report), ..Grant::default() };
    line(&format!("a Wisp server at ws://{at}/"));
    let outward = Outward { grant, origins: args.origin.clone() };
    serve::serve_wisp(listener, outward, &stop, line).map_err(Failure::new)?;
    Ok(ExitCode::SUCCESS)
}

/// A scheme and a host, perhaps a port.
fn is_origin(text: &str) -> bool {
    let host = text.split_once("://").map_or("", |(_, host)| host);
    !host.is_empty() && !host.contains(['/', '?', '#', ' '])
}
