//! The boxer command.
//!
//! Everything for people goes to standard error; standard output carries data only. A build that
//! fails exits with 1, wrong usage with 2, an interrupted command with 130. `boxer run` passes the
//! exit code of the program in the box on, and uses 125 for failures of its own.

#[macro_use]
mod streams;

mod args;
mod attest_options;
mod attestations;
mod build_command;
mod buildx;
mod cache_options;
mod call;
mod cancel;
mod check_command;
mod config;
mod copy_archive;
mod cp_command;
mod docker_run;
mod dockerfile_input;
mod examples;
mod exec_command;
mod failure;
mod foreign;
mod foreign_verbs;
mod freeze_commands;
mod image_commands;
mod init_command;
mod inspect_command;
mod limits;
mod login_commands;
mod manual;
mod mounts;
mod network;
mod outputs;
mod progress;
mod replay_command;
mod rights;
mod run_command;
mod running;
mod sandbox_commands;
mod serve_command;
mod serve_wisp_command;
mod session;
mod snapshot_options;
mod ssh_options;
mod stop_commands;
mod store_commands;
mod translate;
mod volumes;

use clap::Parser;
use std::process::ExitCode;

use args::{Cli, Verb};

fn main() -> ExitCode {
    let mut cli = Cli::parse();
    if let Err(failure) = config::apply(&mut cli) {
        return failure.report();
    }
    let signals = match runtime::Signals::watch() {
        Ok(signals) => Some(signals),
        Err(error) => {
            tell!("boxer: warning: signals cannot be watched: {error}");
            None
        }
    };
    let result = match &cli.verb {
        Verb::Build(args) => build_command::run(&cli.global, args, signals.as_ref()),
        Verb::Check(args) => check_command::run(&cli.global, args, signals.as_ref()),
        Verb::Run(args) => run_command::run(&cli.global, args, signals.as_ref()),
        Verb::Serve(args) => serve_command::run(&cli.global, args, signals.as_ref()),
        Verb::ServeWisp(args) => serve_wisp_command::run(args, signals.as_ref()),
        Verb::Sandboxd(args) => sandbox_commands::sandboxd(&cli.global, args, signals.as_ref()),
        Verb::Mcp(args) => sandbox_commands::mcp(&cli.global, args, signals.as_ref()),
        Verb::Freeze(args) => freeze_commands::freeze(&cli.global, args),
        Verb::Fork(args) => freeze_commands::fork(args),
        Verb::Replay(args) => replay_command::run(&cli.global, args),
        Verb::Ps => freeze_commands::ps(),
        Verb::Exec(args) => exec_command::run(args, signals.as_ref()),
        Verb::Cp(args) => cp_command::run(args),
        Verb::Stop(args) => stop_commands::stop(args),
        Verb::Kill(args) => stop_commands::kill(args),
        Verb::Push(args) => image_commands::push(&cli.global, args),
        Verb::Pull(args) => image_commands::pull(&cli.global, args),
        Verb::Login(args) => login_commands::login(&cli.global, args),
        Verb::Logout(args) => login_commands::logout(&cli.global, args),
        Verb::Images(args) => image_commands::images(&cli.global, args),
        Verb::Inspect(args) => inspect_command::run(&cli.global, args),
        Verb::Rmi(args) => store_commands::rmi(&cli.global, args),
        Verb::Tag(args) => store_commands::tag(&cli.global, args),
        Verb::Save(args) => store_commands::save(&cli.global, args),
        Verb::Load(args) => store_commands::load(&cli.global, args),
        Verb::History(args) => store_commands::history(&cli.global, args),
        Verb::Prune(args) => store_commands::prune(&cli.global, args),
        Verb::Df => store_commands::df(&cli.global),
        Verb::Diff(args) => store_commands::diff(&cli.global, args),
        Verb::Init(args) => init_command::run(args),
        Verb::Completions(args) => manual::completions(args),
        Verb::Man(args) => manual::man(args),
        Verb::Volume(args) => volumes::run(&cli.global, args),
        Verb::Foreign(verb) => foreign_verbs::run(verb),
    };
    match result {
        Ok(code) => code,
        Err(failure) => failure.report(),
    }
}
