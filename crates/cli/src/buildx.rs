//! Options of `docker buildx build` that boxer does not carry out: each is refused by its name and a reason, unless it asks for nothing.

use clap::Args;

use crate::failure::Failure;

/// Taken from the command line so that their refusal can say why. They are not in `--help`.
#[derive(Debug, Args)]
pub struct BuildxArgs {
    #[arg(long, hide = true)]
    allow: Vec<String>,
    #[arg(long, hide = true)]
    builder: Option<String>,
    #[arg(long, hide = true)]
    cgroup_parent: Option<String>,
    #[arg(long, hide = true, num_args = 0..=1, default_missing_value = "true", require_equals = true)]
    compress: Option<String>,
    #[arg(long, hide = true)]
    cpu_period: Option<String>,
    #[arg(long, hide = true)]
    cpu_quota: Option<String>,
    #[arg(long, hide = true)]
    cpu_shares: Option<String>,
    #[arg(long, hide = true)]
    cpuset_cpus: Option<String>,
    #[arg(long, hide = true)]
    cpuset_mems: Option<String>,
    #[arg(short = 'D', long, hide = true, num_args = 0..=1, default_missing_value = "true", require_equals = true)]
    debug: Option<String>,
    #[arg(long, hide = true, num_args = 0..=1, default_missing_value = "true", require_equals = true)]
    detach: Option<String>,
    #[arg(long, hide = true, num_args = 0..=1, default_missing_value = "true", require_equals = true)]
    force_rm: Option<String>,
    #[arg(long, hide = true)]
    invoke: Option<String>,
    #[arg(long, hide = true)]
    isolation: Option<String>,
    #[arg(long, hide = true)]
    memory_swap: Option<String>,
    #[arg(long, hide = true)]
    policy: Vec<String>,
    #[arg(long, hide = true)]
    print: Option<String>,
    #[arg(long, hide = true, num_args = 0..=1, default_missing_value = "true", require_equals = true)]
    rm: Option<String>,
    #[arg(long, hide = true)]
    root: Option<String>,
    #[arg(long, hide = true)]
    security_opt: Vec<String>,
    #[arg(long, hide = true)]
    server_config: Option<String>,
    #[arg(long, hide = true)]
    shm_size: Option<String>,
    #[arg(long, hide = true, num_args = 0..=1, default_missing_value = "true", require_equals = true)]
    squash: Option<String>,
    #[arg(long, hide = true)]
    ulimit: Vec<String>,
}

/// What buildx leaves to the host's scheduler, a box has by options of its own.
const SCHEDULER: &str = "a RUN step is in no cgroup; --memory, --cpus-time and their kin limit it";

impl BuildxArgs {
    /// Refuses what was given.
    pub fn check(&self) -> Result<(), Failure> {
        let text = |value: &Option<String>| value.clone().into_iter().collect::<Vec<_>>();
        // Each: what was given, the values that ask for nothing, and why the others are refused.
        let given: [(&str, Vec<String>, &[&str], &str); 24] = [
            (
                "--allow",
                self.allow.clone(),
                &[],
                "a RUN step never has more than the sandbox; --network=host opens this host's loopback to it",
            ),
            (
                "--builder",
                text(&self.builder),
                &["default", ""],
                "there is one builder: this program",
            ),
            ("--cgroup-parent", text(&self.cgroup_parent), &[""], SCHEDULER),
            (
                "--compress",
                text(&self.compress),
                &["false"],
                "the context is on this machine; nothing is sent",
            ),
            ("--cpu-period", text(&self.cpu_period), &["0"], SCHEDULER),
            ("--cpu-quota", text(&self.cpu_quota), &["0"], SCHEDULER),
            ("--cpu-shares", text(&self.cpu_shares), &["0"], SCHEDULER),
            ("--cpuset-cpus", text(&self.cpuset_cpus), &[""], SCHEDULER),
            ("--cpuset-mems", text(&self.cpuset_mems), &[""], SCHEDULER),
            (
                "--debug",
                text(&self.debug),
                &["false"],
                "there is no daemon whose log could be shown; --progress=plain shows all that steps write",
            ),
            (
                "--detach",
                text(&self.detach),
                &["false"],
                "there is no daemon that could go on building",
            ),
            // A step leaves nothing behind, whether it failed or not.
            ("--force-rm", text(&self.force_rm), &["true", "false"], "it is true or false"),
            (
                "--invoke",
                text(&self.invoke),
                &[""],
                "build the stage with --target and `boxer run -it` it",
            ),
            (
                "--isolation",
                text(&self.isolation),
                &["", "default"],
                "a RUN step runs in the box's own machine, nowhere else",
            ),
            (
                "--memory-swap",
                text(&self.memory_swap),
                &["0"],
                "a box does not swap; --memory limits it",
            ),
            ("--policy", self.policy.clone(), &[], "source policies are not evaluated"),
            ("--print", text(&self.print), &[""], "its name is --call now"),
            ("--rm", text(&self.rm), &["true", "false"], "it is true or false"),
            (
                "--root",
                text(&self.root),
                &[""],
                "there is no server; --store names the place of everything",
            ),
            (
                "--security-opt",
                self.security_opt.clone(),
                &[],
                "there is nothing to loosen: programs have what the box implements",
            ),
            ("--server-config", text(&self.server_config), &[""], "there is no server"),
            (
                "--shm-size",
                text(&self.shm_size),
                &["64m", "64mb", "67108864", "0"],
                "/dev/shm has 64 MiB; RUN --mount=type=tmpfs,target=/dev/shm,size=SIZE gives it another size",
            ),
            (
                "--squash",
                text(&self.squash),
                &["false"],
                "the files of a box are one tree already; an image keeps its layers",
            ),
            (
                "--ulimit",
                self.ulimit.clone(),
                &[],
                "the limits of a step are --memory, --pids-limit and their kin",
            ),
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
