//! Options of `docker buildx build` that boxer does not carry out: each is refused by its name and a reason, unless it asks for nothing.

use clap::Args;

use crate::failure::Failure;

/// Taken from the command line so that their refusal can say why. They are not in `--help`.
#[derive(Debug, Args)]
pub struct BuildxArgs {
    #[arg(long, hide = true)]
    allow: Vec<String>,
    #[arg(long, hide = true)]
    annotation: Vec<String>,
    #[arg(long, hide = true)]
    attest: Vec<String>,
    #[arg(long, hide = true)]
    builder: Option<String>,
    #[arg(long, hide = true)]
    call: Option<String>,
    #[arg(long, hide = true)]
    cgroup_parent: Option<String>,
    #[arg(long, hide = true, num_args = 0..=1, default_missing_value = "true", require_equals = true)]
    provenance: Option<String>,
    #[arg(long, hide = true, num_args = 0..=1, default_missing_value = "true", require_equals = true)]
    sbom: Option<String>,
    #[arg(long, hide = true)]
    shm_size: Option<String>,
    #[arg(long, hide = true, num_args = 0..=1, default_missing_value = "default")]
    ssh: Vec<String>,
    #[arg(long, hide = true)]
    ulimit: Vec<String>,
}

impl BuildxArgs {
    /// Refuses what was given.
    pub fn check(&self) -> Result<(), Failure> {
        let no =
            |value: &Option<String>| matches!(value.as_deref(), Some("false" | "disabled=true"));
        let asks = |value: &Option<String>| value.is_some() && !no(value);
        let given: [(&str, bool, &str); 11] = [
            ("--allow", !self.allow.is_empty(), "a RUN step never has more than the sandbox"),
            (
                "--annotation",
                !self.annotation.is_empty(),
                "annotations are not written yet; --label goes into the image's config",
            ),
            ("--attest", !self.attest.is_empty(), "attestations are not made yet"),
            (
                "--builder",
                self.builder.as_deref().is_some_and(|name| name != "default"),
                "there is one builder: this program",
            ),
            (
                "--call",
                self.call.as_deref().is_some_and(|call| call != "build"),
                "only building and --check are there",
            ),
            (
                "--cgroup-parent",
                self.cgroup_parent.is_some(),
                "a RUN step is in no cgroup; --memory and its kin limit it",
            ),
            ("--provenance", asks(&self.provenance), "attestations are not made yet"),
            ("--sbom", asks(&self.sbom), "attestations are not made yet"),
            (
                "--shm-size",
                self.shm_size.is_some(),
                "/dev/shm has 64 MiB; RUN --mount=type=tmpfs,target=/dev/shm,size=SIZE gives it another size",
            ),
            (
                "--ssh",
                !self.ssh.is_empty(),
                "an agent of the host cannot be reached from a RUN step",
            ),
            (
                "--ulimit",
                !self.ulimit.is_empty(),
                "the limits of a step are --memory, --pids-limit and their kin",
            ),
        ];
        match given.into_iter().find(|(_, given, _)| *given) {
            Some((name, _, reason)) => {
                Err(Failure::usage(format!("{name} is not supported: {reason}")))
            }
            None => Ok(()),
        }
    }
}
