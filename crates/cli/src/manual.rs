//! `boxer completions` and `boxer man`: what shells and man(1) want to know of the command line.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Command, CommandFactory as _};
use clap_complete::Shell;

use crate::args::Cli;
use crate::failure::Failure;

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  boxer completions bash > ~/.local/share/bash-completion/completions/boxer
  boxer completions zsh > \"${fpath[1]}/_boxer\"
  boxer completions fish > ~/.config/fish/completions/boxer.fish")]
pub struct CompletionsArgs {
    /// The shell
    #[arg(value_enum)]
    shell: Shell,
}

#[derive(Debug, Args)]
#[command(after_help = "Example:
  boxer man ~/.local/share/man/man1 && man boxer-build")]
pub struct ManArgs {
    /// The directory the pages go to, which is made if there is none
    folder: PathBuf,
}

pub fn completions(args: &CompletionsArgs) -> Result<ExitCode, Failure> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut shown(&Cli::command()), "boxer", &mut script);
    match std::io::stdout().lock().write_all(&script) {
        // Whoever reads it has seen enough.
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(Failure::new(error)),
        _ => Ok(ExitCode::SUCCESS),
    }
}

/// The command without what is hidden: options that are only there to be refused are no help to whoever types.
fn shown(command: &Command) -> Command {
    let about = command.get_about().cloned().unwrap_or_default();
    let args = command.get_arguments().filter(|arg| !arg.is_hide_set()).cloned();
    let below = command.get_subcommands().filter(|verb| !verb.is_hide_set()).map(shown);
    // clap's names live as long as the program, which ends after this.
    let name: &'static str = command.get_name().to_owned().leak();
    Command::new(name).about(about).args(args).subcommands(below)
}

pub fn man(args: &ManArgs) -> Result<ExitCode, Failure> {
    let fail = |error| Failure::new(format!("cannot write to {}: {error}", args.folder.display()));
    std::fs::create_dir_all(&args.folder).map_err(fail)?;
    let mut command = Cli::command();
    command.build();
    pages(&command, &args.folder).map_err(fail)?;
    Ok(ExitCode::SUCCESS)
}

/// A page for the command and for each below it.
fn pages(command: &Command, folder: &Path) -> std::io::Result<()> {
    let name = command.get_display_name().unwrap_or_else(|| command.get_name()).to_owned();
    let mut page = Vec::new();
    clap_mangen::Man::new(command.clone()).render(&mut page)?;
    std::fs::write(folder.join(format!("{name}.1")), page)?;
    let below = command.get_subcommands();
    below
        .filter(|verb| !verb.is_hide_set() && verb.get_name() != "help")
        .try_for_each(|verb| pages(verb, folder))
}
