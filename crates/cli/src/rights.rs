//! Options of `boxer run` that say what the first process may do, with docker's names.

use build::rights::{self, Rights, Ulimit};
use clap::{ArgAction, Args};

use crate::failure::Failure;

#[derive(Debug, Args)]
#[command(next_help_heading = "Rights")]
pub struct RightsArgs {
    /// Let nobody change the image's files, nor those below its VOLUMEs where -v mounts nothing; what is mounted, --tmpfs and /dev
    /// stay writable
    #[arg(long, num_args = 0..=1, default_value_t = false, default_missing_value = "true", require_equals = true, action = ArgAction::Set)]
    read_only: bool,
    /// Give the first process a further group, by name or number (repeatable)
    #[arg(long, value_name = "GROUP")]
    group_add: Vec<String>,
    /// Add a capability to docker's default ones: IPC_OWNER, LEASE, SYS_PTRACE, SYS_RESOURCE, or one that --cap-drop took (repeatable)
    #[arg(long, value_name = "CAPABILITY")]
    cap_add: Vec<String>,
    /// Take a capability away, or ALL (repeatable)
    #[arg(long, value_name = "CAPABILITY")]
    cap_drop: Vec<String>,
    /// Set a resource limit, as nofile=1024:2048 (repeatable) [default: docker's]
    #[arg(long, value_name = "NAME=SOFT[:HARD]", value_parser = Ulimit::parse)]
    ulimit: Vec<Ulimit>,
    /// no-new-privileges: set-id bits of programs give nothing (repeatable)
    #[arg(long, value_name = "OPTION")]
    security_opt: Vec<String>,
}

impl RightsArgs {
    /// What was asked for.
    pub fn rights(&self) -> Result<Rights, Failure> {
        let capabilities =
            rights::capabilities(&self.cap_add, &self.cap_drop).map_err(|reason| {
                Failure::usage(format!("invalid --cap-add or --cap-drop: {reason}"))
            })?;
        if let Some(bad) = self.group_add.iter().find(|name| name.is_empty() || name.contains(','))
        {
            return Err(Failure::usage(format!("invalid --group-add {bad:?}")));
        }
        let mut no_new_privileges = false;
        for option in &self.security_opt {
            match option.replacen(':', "=", 1).as_str() {
                "no-new-privileges" | "no-new-privileges=true" => no_new_privileges = true,
                "no-new-privileges=false" => no_new_privileges = false,
                // What docker looks for in the host's kernel, a box does not have; what is asked to be off is off.
                "apparmor=unconfined" | "label=disable" => {}
                _ => {
                    return Err(Failure::usage(format!(
                        "--security-opt {option} is not supported: programs have what the box implements; there is \
                         no-new-privileges"
                    )));
                }
            }
        }
        Ok(Rights {
            capabilities: Some(capabilities).filter(|set| *set != rights::DOCKER_CAPABILITIES),
            groups: self.group_add.clone(),
            ulimits: self.ulimit.clone(),
            read_only: self.read_only,
            no_new_privileges,
        })
    }
}
