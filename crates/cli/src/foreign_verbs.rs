//! Commands of docker that boxer does not carry out: each is refused by its name and a reason. They are not in `--help`.

use std::process::ExitCode;

use clap::Subcommand;

use crate::failure::Failure;

/// Such a command, whatever stands behind its name.
#[derive(Debug, Subcommand)]
pub enum ForeignVerb {
    /// Build the targets of a docker-bake file
    #[command(hide = true, disable_help_flag = true)]
    Bake(Words),
    /// Build the services of a compose file
    #[command(hide = true, disable_help_flag = true)]
    Compose(Words),
}

/// What it was given.
#[derive(Debug, clap::Args)]
pub struct Words {
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    _words: Vec<String>,
}

/// Refuses it.
pub fn run(verb: &ForeignVerb) -> Result<ExitCode, Failure> {
    let (name, reason, hint) = match verb {
        ForeignVerb::Bake(_) => (
            "bake",
            "variables, functions, matrices and inheritance of docker-bake files are evaluated by buildx alone",
            "`docker buildx bake --print` shows each target's options, which boxer build takes",
        ),
        ForeignVerb::Compose(_) => (
            "compose",
            "what a compose file means (interpolation, extends, profiles) is evaluated by docker compose alone",
            "`docker compose config` shows each service's build, whose options boxer build takes",
        ),
    };
    Err(Failure::usage(format!("{name} is not supported: {reason}")).hint(hint))
}
