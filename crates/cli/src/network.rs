//! The network options of `boxer run`, with docker's names.

use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;

use clap::{ArgAction, Args};
use runtime::{Grant, Network, Overrides, Policy, Port};

use crate::failure::Failure;
use crate::inspect_command::{self, names};

/// A name's address that means the host.
pub const HOST_GATEWAY: &str = "host-gateway";

#[derive(Debug, Default, Args)]
#[command(next_help_heading = "Network options")]
pub struct NetworkArgs {
    /// What the box may reach (repeatable) [default: none]: none, host (all that this host reaches but
    /// its own loopback, link-local and metadata addresses), or allow=HOST:PORT,... where HOST is a name,
    /// *.name, an address or a network, and PORT a number, a range or *. allow=localhost:PORT opens a
    /// port of this host's loopback, at host-gateway (172.17.0.1) in the box
    #[arg(long, alias = "net", value_name = "NETWORK")]
    pub network: Vec<String>,
    /// Open a port of this host that leads to one in the box; on 127.0.0.1 unless an address is given.
    /// HOST may be 0 or missing for any that is free, or a range for the first of it that is free, which
    /// is printed; two ranges of one length are pairs (repeatable)
    #[arg(short, long, value_name = "[IP:][HOST:]GUEST[/udp]")]
    pub publish: Vec<String>,
    /// Publish every port that the image exposes (EXPOSE, --expose) at a free one of 127.0.0.1, which is
    /// printed
    #[arg(
        short = 'P',
        long,
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "true",
        default_value = "false",
        hide_default_value = true,
        hide_possible_values = true,
        value_name = "BOOL",
        action = ArgAction::Set
    )]
    pub publish_all: bool,
    /// Expose a port or a range of ports, for --publish-all (repeatable)
    #[arg(long, value_name = "PORT[/udp]")]
    pub expose: Vec<String>,
    /// Add a name to /etc/hosts; the address host-gateway is this host (repeatable)
    #[arg(long, value_name = "NAME:IP")]
    pub add_host: Vec<String>,
    /// Ask this name server instead of this host's resolver (repeatable)
    #[arg(long, value_name = "IP")]
    pub dns: Vec<IpAddr>,
    /// Look names up below this domain as well (repeatable)
    #[arg(long, value_name = "DOMAIN")]
    pub dns_search: Vec<String>,
    /// Set an option of resolv.conf (repeatable)
    #[arg(long, value_name = "OPTION")]
    pub dns_option: Vec<String>,
    /// The host name [default: made up]
    #[arg(short = 'h', long, value_name = "NAME")]
    pub hostname: Option<String>,
}

impl NetworkArgs {
    /// What the box is granted, but for the ports that its image exposes; none if nothing was asked for.
    pub fn grant(&self, debug: bool) -> Result<Option<Grant>, Failure> {
        let policy = policy(&self.network)?;
        let mut ports = Vec::new();
        for text in &self.publish {
            let wrong = |reason| Failure::usage(format!("invalid --publish {text:?}: {reason}"));
            ports.extend(Port::parse(text).map_err(wrong)?);
        }
        for text in &self.expose {
            Port::exposed(text)
                .map_err(|reason| Failure::usage(format!("invalid --expose {text:?}: {reason}")))?;
        }
        if policy.is_none() && ports.is_empty() && !self.publish_all {
            return Ok(None);
        }
        Ok(Some(Grant {
            policy,
            ports,
            hosts: known(&hosts(&self.add_host)?),
            servers: self.dns.clone(),
            report: debug.then(report),
            ..Grant::default()
        }))
    }

    /// Whether ports of the host shall lead into the box.
    pub fn publishes(&self) -> bool {
        self.publish_all || !self.publish.is_empty()
    }

    /// Adds, for `--publish-all`, the ports that the box in `file` exposes and that are not published anyway.
    pub fn publish_exposed(&self, grant: &mut Grant, file: &Path) -> Result<(), Failure> {
        if !self.publish_all {
            return Ok(());
        }
        let config = inspect_command::image_config(file)?;
        for text in names(&config, "ExposedPorts").iter().chain(&self.expose) {
            let of_image = |reason| Failure::new(format!("cannot publish {text:?}: {reason}"));
            for port in Port::exposed(text).map_err(of_image)? {
                let is_same = |p: &Port| p.guest == port.guest && p.protocol == port.protocol;
                if !grant.ports.iter().any(is_same) {
                    grant.ports.push(port);
                }
            }
        }
        Ok(())
    }

    /// Takes what the box itself is told.
    pub fn override_names(&self, overrides: &mut Overrides, granted: bool) -> Result<(), Failure> {
        let plain = |flag: &str, words: &[String]| match words
            .iter()
            .find(|word| word.is_empty() || word.contains([',', ' ', '\t', '\n']))
        {
            Some(word) => Err(Failure::usage(format!("invalid {flag} {word:?}"))),
            None => Ok(words.to_vec()),
        };
        if let Some(name) = &self.hostname {
            let letters = |c: char| c.is_ascii_alphanumeric() || "-._".contains(c);
            if name.is_empty() || name.len() > 64 || !name.chars().all(letters) {
                return Err(Failure::usage(format!(
                    "invalid --hostname {name:?}: letters, digits, -, _ and ., at most 64"
                )));
            }
        }
        overrides.hostname.clone_from(&self.hostname);
        overrides.hosts = hosts(&self.add_host)?;
        overrides.search = plain("--dns-search", &self.dns_search)?;
        overrides.resolver_options = plain("--dns-option", &self.dns_option)?;
        // With a network the host asks them for the box, so that the policy holds for names, too.
        if !granted {
            overrides.servers = self.dns.iter().map(IpAddr::to_string).collect();
        }
        Ok(())
    }
}

/// What `--network` words grant together.
pub fn policy(words: &[String]) -> Result<Policy, Failure> {
    let mut policy = Policy::none();
    for word in words {
        policy.grant(word).map_err(|reason| {
            let failure = Failure::usage(format!("invalid --network {reason}"));
            match word.as_str() {
                "bridge" | "default" => failure
                    .hint("a box has a network of its own; --network host lets it reach others"),
                _ => failure,
            }
        })?;
    }
    Ok(policy)
}

/// `--add-host NAME:IP` (or `NAME=IP`): names and addresses.
pub fn hosts(words: &[String]) -> Result<Vec<(String, String)>, Failure> {
    let entry = |word: &String| {
        let wrong = |reason: &str| Failure::usage(format!("invalid --add-host {word:?}: {reason}"));
        let (name, address) =
            word.split_once(['=', ':']).ok_or_else(|| wrong("must be of the form NAME:IP"))?;
        let bare = address.strip_prefix('[').and_then(|text| text.strip_suffix(']'));
        let address = bare.unwrap_or(address);
        if name.is_empty() || name.contains([',', ' ', '\t', '\n', '#']) {
            return Err(wrong("that is not a name"));
        }
        if address != HOST_GATEWAY && address.parse::<IpAddr>().is_err() {
            return Err(wrong("the address is neither an IP address nor host-gateway"));
        }
        Ok((name.to_owned(), address.to_owned()))
    };
    words.iter().map(entry).collect()
}

/// The names that have an address of their own.
pub fn known(hosts: &[(String, String)]) -> Vec<(String, IpAddr)> {
    let known = |(name, address): &(String, String)| Some((name.clone(), address.parse().ok()?));
    hosts.iter().filter_map(known).collect()
}

/// Opens the ports, and says which ones the system chose.
pub fn open(grant: Grant) -> Result<Network, Failure> {
    let network = Network::new(grant).map_err(Failure::new)?;
    for port in network.published().iter().filter(|port| port.chosen) {
        tell!("{} leads to port {}/{} of the box", port.host, port.guest, port.protocol);
    }
    Ok(network)
}

/// Says each refusal on standard error.
pub fn report() -> runtime::NetworkReport {
    Arc::new(|event| {
        if event.is_refusal() {
            tell!("boxer: {event}");
        }
    })
}

#[cfg(test)]
mod tests {
    use super::{NetworkArgs, hosts};

    #[test]
    fn a_box_starts_with_nothing() {
        let granted = |args: &NetworkArgs| args.grant(false).map(|grant| grant.is_some()).ok();
        assert_eq!(granted(&NetworkArgs::default()), Some(false));
        let with = |words: &[&str]| NetworkArgs {
            network: words.iter().map(|word| (*word).to_owned()).collect(),
            ..NetworkArgs::default()
        };
        assert_eq!(granted(&with(&["none"])), Some(false));
        assert_eq!(granted(&with(&["host"])), Some(true));
        assert_eq!(granted(&with(&["bridge"])), None);
        let ports = NetworkArgs { publish: vec!["80".to_owned()], ..NetworkArgs::default() };
        assert_eq!(granted(&ports), Some(true));
    }

    #[test]
    fn hosts_have_names_and_addresses() {
        let of = |word: &str| hosts(&[word.to_owned()]).ok().and_then(|mut hosts| hosts.pop());
        let pair = |name: &str, address: &str| Some((name.to_owned(), address.to_owned()));
        assert_eq!(of("db:10.0.0.7"), pair("db", "10.0.0.7"));
        assert_eq!(of("db=::1"), pair("db", "::1"));
        assert_eq!(of("db:[2001:db8::1]"), pair("db", "2001:db8::1"));
        assert_eq!(of("up:host-gateway"), pair("up", "host-gateway"));
        for bad in ["db", ":10.0.0.7", "db:nowhere", "d b:10.0.0.7"] {
            assert_eq!(of(bad), None, "{bad}");
        }
    }
}
