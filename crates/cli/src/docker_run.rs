//! Options of `docker run` that boxer does not carry out; see [`crate::foreign`].

use crate::foreign::{
    Foreign, Row, Table, many, many_passed, one, one_passed, switch, switch_passed,
};

/// What docker leaves to the host's scheduler, a box has by options of its own.
const SCHEDULER: &str =
    "a box is in no cgroup; --memory, --cpus-time, --pids-limit and their kin limit it";
/// Namespaces of the host.
const NAMESPACE: &str = "a box has a kernel of its own and shares nothing with this host's";
/// A box is one process of whoever starts it.
const NO_DAEMON: &str = "there is no daemon: the box is this process";

/// `docker run`.
#[derive(Debug)]
pub struct DockerRun;

/// Its options that were given.
pub type DockerArgs = Foreign<DockerRun>;

impl Table for DockerRun {
    const ROWS: &'static [Row] = ROWS;
}

const ROWS: &[Row] = &[
    many("attach", &[], "all streams are attached; redirect what is not wanted").short('a'),
    one("blkio-weight", &["0"], SCHEDULER),
    one("cgroup-parent", &[""], SCHEDULER),
    one("cgroupns", &["", "private"], NAMESPACE),
    one("cidfile", &[""], "a box that runs has no id"),
    one("cpu-period", &["0"], SCHEDULER),
    one("cpu-quota", &["0"], SCHEDULER),
    one("cpu-shares", &["0"], SCHEDULER).short('c'),
    one("cpus", &["0", "1"], "a box has one processor"),
    one("cpuset-cpus", &["", "0"], "a box has one processor"),
    one("cpuset-mems", &["", "0"], SCHEDULER),
    switch("detach", &["false"], "there is no daemon: let the shell run it in the background (&)")
        .short('d'),
    one("detach-keys", &[""], "there is no daemon that would keep the box"),
    many("device", &[], "a box has docker's default devices and none of this host's"),
    one("domainname", &[""], "give --hostname the whole name"),
    one("gpus", &[""], "a box has none of this host's devices"),
    one("health-cmd", &[""], NO_DAEMON),
    one("ip", &[""], "the box's network is its own; -p opens ports on this host"),
    one("ip6", &[""], "the box's network is its own; -p opens ports on this host"),
    one("ipc", &["", "private", "none", "shareable"], NAMESPACE),
    one("isolation", &["", "default"], "a box runs in its own machine, nowhere else"),
    many(
        "link",
        &[],
        "publish the other box's port with -p and reach it with --network allow=localhost:PORT",
    ),
    one("log-driver", &["", "none"], "what programs write goes to this process's streams"),
    many("log-opt", &[], "what programs write goes to this process's streams"),
    one("mac-address", &[""], "the box's network is its own; it cannot be chosen"),
    one("memory-reservation", &["0"], SCHEDULER),
    one("memory-swap", &["0", "-1"], "a box does not swap; --memory limits it"),
    one("memory-swappiness", &["-1"], "a box does not swap"),
    many("network-alias", &[], "no other box sees this one's network; --add-host names addresses")
        .alias("net-alias"),
    switch("oom-kill-disable", &["false"], "--memory says when the largest process is killed"),
    one("oom-score-adj", &["0"], "it is about this host's processes").signed(),
    one("pid", &[""], NAMESPACE),
    switch(
        "privileged",
        &["false"],
        "programs have what the box implements, and nothing of this host",
    ),
    one("restart", &["", "no"], NO_DAEMON),
    one("runtime", &[""], NO_DAEMON),
    switch("sig-proxy", &["true"], "start it in a process group of its own (setsid)"),
    many("storage-opt", &[], "--storage limits the files of a box"),
    many("sysctl", &[], "the files of /proc/sys are as docker's default has them"),
    one("userns", &["", "host"], NAMESPACE),
    one("uts", &[""], NAMESPACE),
    one("volume-driver", &["", "local"], "volumes are directories of the store"),
    many("volumes-from", &[], "name the volumes with -v NAME:DIR"),
    // Labels and ways to stop are for asking a daemon, and health checks are its own. Nobody can ask for them here, so they
    // are let pass, as `--rm` is.
    many_passed("annotation"),
    many_passed("label").short('l'),
    many_passed("label-file"),
    switch_passed("no-healthcheck"),
    one_passed("stop-signal"),
    one_passed("stop-timeout"),
];
