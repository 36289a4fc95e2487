//! Options of `docker run` that boxer does not carry out: each is refused by its name and a reason, unless it asks for nothing.

use clap::Args;

use crate::failure::Failure;

/// Taken from the command line so that their refusal can say why. They are not in `--help`.
#[derive(Debug, Args)]
pub struct DockerArgs {
    #[command(flatten)]
    daemon: DaemonArgs,
    #[arg(short, long, hide = true)]
    attach: Vec<String>,
    #[arg(long, hide = true)]
    blkio_weight: Option<String>,
    #[arg(long, hide = true)]
    cgroup_parent: Option<String>,
    #[arg(long, hide = true)]
    cgroupns: Option<String>,
    #[arg(long, hide = true)]
    cidfile: Option<String>,
    #[arg(long, hide = true)]
    cpu_period: Option<String>,
    #[arg(long, hide = true)]
    cpu_quota: Option<String>,
    #[arg(short, long, hide = true)]
    cpu_shares: Option<String>,
    #[arg(long, hide = true)]
    cpus: Option<String>,
    #[arg(long, hide = true)]
    cpuset_cpus: Option<String>,
    #[arg(long, hide = true)]
    cpuset_mems: Option<String>,
    #[arg(short, long, hide = true, num_args = 0..=1, default_missing_value = "true", require_equals = true)]
    detach: Option<String>,
    #[arg(long, hide = true)]
    detach_keys: Option<String>,
    #[arg(long, hide = true)]
    device: Vec<String>,
    #[arg(long, hide = true)]
    domainname: Option<String>,
    #[arg(long, hide = true)]
    gpus: Option<String>,
    #[arg(long, hide = true)]
    health_cmd: Option<String>,
    #[arg(long, hide = true)]
    ip: Option<String>,
    #[arg(long, hide = true)]
    ip6: Option<String>,
    #[arg(long, hide = true)]
    ipc: Option<String>,
    #[arg(long, hide = true)]
    isolation: Option<String>,
    #[arg(long, hide = true)]
    link: Vec<String>,
    #[arg(long, hide = true)]
    log_driver: Option<String>,
    #[arg(long, hide = true)]
    log_opt: Vec<String>,
    #[arg(long, hide = true)]
    mac_address: Option<String>,
    #[arg(long, hide = true)]
    memory_reservation: Option<String>,
    #[arg(long, hide = true)]
    memory_swap: Option<String>,
    #[arg(long, hide = true)]
    memory_swappiness: Option<String>,
    #[arg(long, hide = true, alias = "net-alias")]
    network_alias: Vec<String>,
    #[arg(long, hide = true, num_args = 0..=1, default_missing_value = "true", require_equals = true)]
    oom_kill_disable: Option<String>,
    #[arg(long, hide = true, allow_hyphen_values = true)]
    oom_score_adj: Option<String>,
    #[arg(long, hide = true)]
    pid: Option<String>,
    #[arg(long, hide = true, num_args = 0..=1, default_missing_value = "true", require_equals = true)]
    privileged: Option<String>,
    #[arg(short = 'P', long, hide = true, num_args = 0..=1, default_missing_value = "true", require_equals = true)]
    publish_all: Option<String>,
    #[arg(long, hide = true)]
    restart: Option<String>,
    #[arg(long, hide = true)]
    runtime: Option<String>,
    #[arg(long, hide = true, num_args = 0..=1, default_missing_value = "true", require_equals = true)]
    sig_proxy: Option<String>,
    #[arg(long, hide = true)]
    storage_opt: Vec<String>,
    #[arg(long, hide = true)]
    sysctl: Vec<String>,
    #[arg(long, hide = true)]
    userns: Option<String>,
    #[arg(long, hide = true)]
    uts: Option<String>,
    #[arg(long, hide = true)]
    volume_driver: Option<String>,
    #[arg(long, hide = true)]
    volumes_from: Vec<String>,
}

/// Names, labels and ways to stop are for asking a daemon, and health checks are its own. Nobody can ask for them here, so they
/// are let pass, as `--rm` is.
#[derive(Debug, Args)]
pub struct DaemonArgs {
    #[arg(long, hide = true)]
    annotation: Vec<String>,
    #[arg(long, hide = true)]
    expose: Vec<String>,
    #[arg(short, long, hide = true)]
    label: Vec<String>,
    #[arg(long, hide = true)]
    label_file: Vec<String>,
    #[arg(long, hide = true)]
    name: Option<String>,
    #[arg(long, hide = true, num_args = 0..=1, default_missing_value = "true", require_equals = true)]
    no_healthcheck: Option<String>,
    #[arg(long, hide = true)]
    stop_signal: Option<String>,
    #[arg(long, hide = true)]
    stop_timeout: Option<String>,
}

/// What docker leaves to the host's scheduler, a box has by options of its own.
const SCHEDULER: &str =
    "a box is in no cgroup; --memory, --cpus-time, --pids-limit and their kin limit it";
/// Namespaces of the host.
const NAMESPACE: &str = "a box has a kernel of its own and shares nothing with this host's";
/// A box is one process of whoever starts it.
const NO_DAEMON: &str = "there is no daemon: the box is this process";

impl DockerArgs {
    /// Refuses what was given.
    pub fn check(&self) -> Result<(), Failure> {
        let text = |value: &Option<String>| value.clone().into_iter().collect::<Vec<_>>();
        // Each: what was given, the values that ask for nothing, and why the others are refused.
        let given: [(&str, Vec<String>, &[&str], &str); 43] = [
            (
                "--attach",
                self.attach.clone(),
                &[],
                "all streams are attached; redirect what is not wanted",
            ),
            ("--blkio-weight", text(&self.blkio_weight), &["0"], SCHEDULER),
            ("--cgroup-parent", text(&self.cgroup_parent), &[""], SCHEDULER),
            ("--cgroupns", text(&self.cgroupns), &["", "private"], NAMESPACE),
            ("--cidfile", text(&self.cidfile), &[""], "a box that runs has no id"),
            ("--cpu-period", text(&self.cpu_period), &["0"], SCHEDULER),
            ("--cpu-quota", text(&self.cpu_quota), &["0"], SCHEDULER),
            ("--cpu-shares", text(&self.cpu_shares), &["0"], SCHEDULER),
            ("--cpus", text(&self.cpus), &["0", "1"], "a box has one processor"),
            ("--cpuset-cpus", text(&self.cpuset_cpus), &["", "0"], "a box has one processor"),
            ("--cpuset-mems", text(&self.cpuset_mems), &["", "0"], SCHEDULER),
            (
                "--detach",
                text(&self.detach),
                &["false"],
                "there is no daemon: let the shell run it in the background (&)",
            ),
            (
                "--detach-keys",
                text(&self.detach_keys),
                &[""],
                "there is no daemon that would keep the box",
            ),
            (
                "--device",
                self.device.clone(),
                &[],
                "a box has docker's default devices and none of this host's",
            ),
            ("--domainname", text(&self.domainname), &[""], "give --hostname the whole name"),
            ("--gpus", text(&self.gpus), &[""], "a box has none of this host's devices"),
            ("--health-cmd", text(&self.health_cmd), &[""], NO_DAEMON),
            (
                "--ip",
                text(&self.ip),
                &[""],
                "the box's network is its own; -p opens ports on this host",
            ),
            (
                "--ip6",
                text(&self.ip6),
                &[""],
                "the box's network is its own; -p opens ports on this host",
            ),
            ("--ipc", text(&self.ipc), &["", "private", "none", "shareable"], NAMESPACE),
            (
                "--isolation",
                text(&self.isolation),
                &["", "default"],
                "a box runs in its own machine, nowhere else",
            ),
            (
                "--link",
                self.link.clone(),
                &[],
                "publish the other box's port with -p and reach it with --network allow=localhost:PORT",
            ),
            (
                "--log-driver",
                text(&self.log_driver),
                &["", "none"],
                "what programs write goes to this process's streams",
            ),
            (
                "--log-opt",
                self.log_opt.clone(),
                &[],
                "what programs write goes to this process's streams",
            ),
            (
                "--mac-address",
                text(&self.mac_address),
                &[""],
                "the box's network is its own; it cannot be chosen",
            ),
            ("--memory-reservation", text(&self.memory_reservation), &["0"], SCHEDULER),
            (
                "--memory-swap",
                text(&self.memory_swap),
                &["0", "-1"],
                "a box does not swap; --memory limits it",
            ),
            ("--memory-swappiness", text(&self.memory_swappiness), &["-1"], "a box does not swap"),
            (
                "--network-alias",
                self.network_alias.clone(),
                &[],
                "no other box sees this one's network; --add-host names addresses",
            ),
            (
                "--oom-kill-disable",
                text(&self.oom_kill_disable),
                &["false"],
                "--memory says when the largest process is killed",
            ),
            (
                "--oom-score-adj",
                text(&self.oom_score_adj),
                &["0"],
                "it is about this host's processes",
            ),
            ("--pid", text(&self.pid), &[""], NAMESPACE),
            (
                "--privileged",
                text(&self.privileged),
                &["false"],
                "programs have what the box implements, and nothing of this host",
            ),
            (
                "--publish-all",
                text(&self.publish_all),
                &["false"],
                "name the ports: -p [HOST:]GUEST",
            ),
            ("--restart", text(&self.restart), &["", "no"], NO_DAEMON),
            ("--runtime", text(&self.runtime), &[""], NO_DAEMON),
            (
                "--sig-proxy",
                text(&self.sig_proxy),
                &["true"],
                "start it in a process group of its own (setsid)",
            ),
            ("--storage-opt", self.storage_opt.clone(), &[], "--storage limits the files of a box"),
            (
                "--sysctl",
                self.sysctl.clone(),
                &[],
                "the files of /proc/sys are as docker's default has them",
            ),
            ("--userns", text(&self.userns), &["", "host"], NAMESPACE),
            ("--uts", text(&self.uts), &[""], NAMESPACE),
            (
                "--volume-driver",
                text(&self.volume_driver),
                &["", "local"],
                "volumes are directories of the store",
            ),
            ("--volumes-from", self.volumes_from.clone(), &[], "name the volumes with -v NAME:DIR"),
        ];
        let asks = |values: &[String], nothing: &[&str]| {
            values.iter().any(|value| !nothing.contains(&value.as_str()))
        };
        match given.iter().find(|(_, values, nothing, _)| asks(values, nothing)) {
            Some((name, _, _, reason)) => {
                Err(Failure::usage(format!("{name} is not supported: {reason}")))
            }
            None => Ok(()),
        }
    }
}
