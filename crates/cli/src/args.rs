//! The command line, with the names of docker and buildx.

use std::path::PathBuf;

use crate::attest_options::AttestArgs;
use crate::buildx::BuildxArgs;
use crate::call::Call;
use crate::check_command::CheckArgs;
use crate::cp_command::CpArgs;
use crate::docker_run::DockerArgs;
use crate::examples;
use crate::exec_command::ExecArgs;
use crate::foreign_verbs::ForeignVerb;
use crate::freeze_commands::{ForkArgs, FreezeArgs, FreezingArgs};
use crate::init_command::InitArgs;
use crate::limits::{LimitArgs, StepLimitArgs};
use crate::login_commands::{LoginArgs, LogoutArgs};
use crate::manual::{CompletionsArgs, ManArgs};
use crate::network::NetworkArgs;
use crate::replay_command::ReplayArgs;
use crate::rights::RightsArgs;
use crate::sandbox_commands::{McpArgs, SandboxdArgs};
use crate::serve_command::ServeArgs;
use crate::serve_wisp_command::ServeWispArgs;
use crate::snapshot_options::SnapshotArgs;
use crate::stop_commands::{KillArgs, StopArgs};
use crate::translate::{BuildTranslateArgs, TranslateArgs};
use build::{CpuLevel, RunNetwork};
use clap::{ArgAction, Args, Parser, Subcommand, ValueEnum};
use dockerfile::scope::Platform;
use oci::Form;

/// Turns a Dockerfile or OCI image into one WebAssembly file that runs its linux/amd64 programs on
/// any WASI host.
#[derive(Debug, Parser)]
#[command(name = "boxer", version, propagate_version = true, max_term_width = 100, after_help = examples::BOXER)]
pub struct Cli {
    #[command(flatten)]
    pub global: Global,
    #[command(subcommand)]
    pub verb: Verb,
}

/// Options of every command.
#[derive(Debug, Args)]
#[command(next_help_heading = "Store and registry options")]
pub struct Global {
    /// Directory of the store of images, boxes and layers [default: $XDG_DATA_HOME/boxer or
    /// ~/.local/share/boxer]
    #[arg(long, global = true, env = "BOXER_HOME", hide_env_values = true, value_name = "DIR")]
    pub store: Option<PathBuf>,
    /// Allow plain http and untrusted certificates (a registry on loopback needs no flag for http)
    #[arg(long, global = true)]
    pub insecure: bool,
    /// Trust the certificates of this PEM file as well
    #[arg(long, global = true, value_name = "FILE")]
    pub ca_file: Vec<PathBuf>,
    /// Take registry credentials from this file [default: $REGISTRY_AUTH_FILE, the auth.json of
    /// containers, then the config.json of docker]
    #[arg(long, global = true, value_name = "FILE")]
    pub authfile: Option<PathBuf>,
    /// Ask this registry first: [REGISTRY=][http[s]://]HOST[:PORT][/PREFIX]
    #[arg(long, global = true, value_name = "MIRROR")]
    pub mirror: Vec<String>,
    /// Never use the network
    #[arg(long, global = true)]
    pub offline: bool,
    /// Take defaults of these options, and of --progress, from this file, in TOML with the options' names as keys
    /// [default: $XDG_CONFIG_HOME/boxer/config.toml or ~/.config/boxer/config.toml]
    #[arg(long, global = true, env = "BOXER_CONFIG", hide_env_values = true, value_name = "FILE")]
    pub config: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Build a box from a Dockerfile
    #[command(after_help = examples::BUILD)]
    Build(Box<BuildArgs>),
    /// Check a Dockerfile and build nothing
    Check(CheckArgs),
    /// Run a box or an image
    #[command(after_help = examples::RUN)]
    Run(Box<RunArgs>),
    /// Serve a box over HTTP: requests go to the server in it
    #[command(after_help = examples::SERVE)]
    Serve(Box<ServeArgs>),
    /// Give boxes in browser tabs a network: a Wisp server, over WebSocket
    #[command(after_help = examples::SERVE_WISP)]
    ServeWisp(ServeWispArgs),
    /// Serve sandboxes for code that nobody has read over HTTP, on the loopback or a Unix socket
    #[command(after_help = examples::SANDBOXD)]
    Sandboxd(Box<SandboxdArgs>),
    /// Give a model a sandbox: a server of the Model Context Protocol on standard input and output
    #[command(after_help = examples::MCP)]
    Mcp(Box<McpArgs>),
    /// Write a box that runs, where it is, as a box that goes on from there
    #[command(after_help = examples::FREEZE)]
    Freeze(FreezeArgs),
    /// Start further boxes from where one is that runs, and wait for their ends
    #[command(after_help = examples::FORK)]
    Fork(ForkArgs),
    /// Run a box again by the record of a run
    #[command(after_help = examples::REPLAY)]
    Replay(ReplayArgs),
    /// List the boxes that run under a name
    #[command(after_help = examples::PS)]
    Ps,
    /// Run a further command in a box that runs
    #[command(after_help = examples::EXEC)]
    Exec(ExecArgs),
    /// Copy files between a box that runs and this system
    #[command(after_help = examples::CP)]
    Cp(CpArgs),
    /// Ask boxes that run to end, and end them after a while
    #[command(after_help = examples::STOP)]
    Stop(StopArgs),
    /// End boxes that run, or send them a signal
    #[command(after_help = examples::KILL)]
    Kill(KillArgs),
    /// Push a box (or an image) from the store to its registry
    #[command(after_help = examples::PUSH)]
    Push(PushArgs),
    /// Pull an image or a box into the store
    #[command(after_help = examples::PULL)]
    Pull(PullArgs),
    /// Log in to a registry
    #[command(after_help = examples::LOGIN)]
    Login(LoginArgs),
    /// Forget the credentials for a registry
    #[command(after_help = examples::LOGOUT)]
    Logout(LogoutArgs),
    /// List the images and boxes in the store
    #[command(after_help = examples::IMAGES)]
    Images(ImagesArgs),
    /// Show the config, layers, sizes and imports of an image or box as JSON
    #[command(after_help = examples::INSPECT)]
    Inspect(InspectArgs),
    /// Take names of boxes and images away; `prune` then frees their space
    #[command(after_help = examples::RMI)]
    Rmi(RmiArgs),
    /// Give a box or image another name
    #[command(after_help = examples::TAG)]
    Tag(TagArgs),
    /// Write a box or image as an archive
    #[command(after_help = examples::SAVE)]
    Save(SaveArgs),
    /// Bring the boxes or images of an archive into the store
    #[command(after_help = examples::LOAD)]
    Load(LoadArgs),
    /// Show how an image was made
    #[command(after_help = examples::HISTORY)]
    History(HistoryArgs),
    /// Remove what no name leads to, and what killed builds have left
    #[command(after_help = examples::PRUNE)]
    Prune(PruneArgs),
    /// Show what the store holds and how much of it can be freed
    #[command(after_help = examples::DF)]
    Df,
    /// List the files that were added (A), changed (C) or deleted (D) between two images
    #[command(after_help = examples::DIFF)]
    Diff(DiffArgs),
    /// List, make and remove named volumes
    #[command(after_help = examples::VOLUME)]
    Volume(VolumeArgs),
    /// Write a Dockerfile and a .dockerignore for the project at hand
    #[command(after_help = examples::INIT)]
    Init(InitArgs),
    /// Write a script that completes commands and options in a shell
    Completions(CompletionsArgs),
    /// Write manual pages
    Man(ManArgs),
    #[command(flatten)]
    Foreign(ForeignVerb),
}

/// How a build shows what it is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ProgressMode {
    /// As tty on a terminal, otherwise as plain
    Auto,
    /// A rolling view with the steps that run
    Tty,
    /// A line for each event
    Plain,
    /// A JSON object a line, with the fields of BuildKit's: vertexes, statuses, logs, warnings
    Rawjson,
    /// Errors only
    Quiet,
}

#[derive(Debug, Args)]
pub struct BuildArgs {
    /// The build context: a directory; the URL of an archive, of a Dockerfile or of a Git repository
    /// (URL#REF:DIR); or "-" for an archive, or a Dockerfile without a context, on standard input
    pub context: String,
    /// The Dockerfile: a path (in a context that is no directory, one in it), a URL, or "-" for standard input
    /// [default: Dockerfile in the context]
    #[arg(short, long, value_name = "FILE")]
    pub file: Option<String>,
    /// Store the box under this name (repeatable)
    #[arg(short, long, value_name = "NAME")]
    pub tag: Vec<String>,
    /// Set an ARG of the Dockerfile; without =VALUE the environment's value is taken
    #[arg(long, value_name = "NAME[=VALUE]")]
    pub build_arg: Vec<String>,
    /// An additional context, which stands for a stage or image of that name: a directory, the URL of a file
    /// or of a Git repository, docker-image://REF, oci-layout://DIR[:TAG|@DIGEST], oci-archive:FILE or docker-archive:FILE
    #[arg(long, value_name = "NAME=VALUE")]
    pub build_context: Vec<String>,
    /// A secret for RUN --mount=type=secret: id=ID,src=FILE or id=ID,env=NAME (repeatable)
    #[arg(long, value_name = "SECRET")]
    pub secret: Vec<String>,
    /// An SSH agent for RUN --mount=type=ssh: default (or another id) is that of SSH_AUTH_SOCK; ID=SOCKET another one; with
    /// ID=KEY,… boxer signs with these private keys itself (repeatable)
    #[arg(long, value_name = "default|ID[=SOCKET|KEY,…]")]
    pub ssh: Vec<String>,
    /// The stage to build [default: the last one]
    #[arg(long, value_name = "STAGE")]
    pub target: Option<String>,
    /// Add a label to the image (repeatable)
    #[arg(long, value_name = "NAME=VALUE")]
    pub label: Vec<String>,
    /// The platform to build for: linux/amd64 (linux/amd64/v3 implies --cpu x86-64-v3), or wasi/wasm for a program that is a WASI module
    #[arg(long, default_value = "linux/amd64", value_parser = target_platform)]
    platform: TargetPlatform,
    /// The processor that the programs of the box see: x86-64-v2 or x86-64-v3 (AVX2, FMA)
    /// [default: the platform's, x86-64-v2]
    #[arg(long, value_parser = cpu, value_name = "LEVEL")]
    cpu: Option<CpuLevel>,
    #[command(flatten)]
    pub limits: LimitArgs,
    #[command(flatten)]
    pub step_limits: StepLimitArgs,
    /// The network of RUN steps: default (all that this host reaches but its own loopback, link-local and
    /// metadata addresses), none, or host (this host's loopback as well, at host-gateway) [default: default]
    #[arg(long, value_parser = run_network, value_name = "NETWORK")]
    pub network: Option<RunNetwork>,
    /// Add a name to /etc/hosts of RUN steps; the address host-gateway is this host (repeatable)
    #[arg(long, value_name = "NAME:IP")]
    pub add_host: Vec<String>,
    /// Let RUN steps give the same result every time: their clock counts instructions, randomness and
    /// scheduling are fixed, and there is no network unless --network asks for one. Keys made in a RUN step
    /// are then not secret
    #[arg(long)]
    pub reproducible: bool,
    #[command(flatten)]
    pub translate: BuildTranslateArgs,
    /// Make the box for hosts without SIMD (wasm3): a module without compiled code, which needs it, and slower with floating-point numbers
    #[arg(long)]
    pub no_simd: bool,
    #[command(flatten)]
    pub snapshot: SnapshotArgs,
    /// Run every step, whatever the build cache knows
    #[arg(long, num_args = 0..=1, default_value_t = false, default_missing_value = "true", require_equals = true, action = ArgAction::Set)]
    pub no_cache: bool,
    /// Run every step of this stage, whatever the build cache knows (repeatable, or names between commas)
    #[arg(long, value_name = "STAGE", value_delimiter = ',')]
    pub no_cache_filter: Vec<String>,
    /// Take results of steps from what another build has written: a name in a registry (a cache, or an image
    /// with an inline cache), type=registry,ref=NAME, type=local,src=DIR[,tag=TAG] or type=gha[,scope=NAME] (repeatable)
    #[arg(long, value_name = "CACHE")]
    pub cache_from: Vec<String>,
    /// Write results of steps for other builds: type=inline (into the image), type=registry,ref=NAME,
    /// type=local,dest=DIR[,tag=TAG] or type=gha[,scope=NAME] (the cache service of GitHub Actions); mode=max writes those of all steps, mode=min those that the result is
    /// made of [default: mode=min] (repeatable)
    #[arg(long, value_name = "CACHE")]
    pub cache_to: Vec<String>,
    #[command(flatten)]
    pub attest: AttestArgs,
    #[command(flatten)]
    pub buildx: BuildxArgs,
    /// Ask the registry for newer base images
    #[arg(long, num_args = 0..=1, default_value_t = false, default_missing_value = "true", require_equals = true, action = ArgAction::Set)]
    pub pull: bool,
    /// Where the result goes: a path, "-" for standard output, or type=wasm|component|web|oci|docker|tar,dest=PATH (a component for hosts
    /// without wasi:sockets takes network=none; oci and docker take name=NAME, oci tar=false for a directory), type=local,dest=DIR, type=image[,name=NAME][,push=true],
    /// type=registry[,name=NAME] for the Linux image, and with as=artifact|image|both for the box (repeatable)
    #[arg(short, long, value_name = "OUTPUT")]
    pub output: Vec<String>,
    /// Push the result to the registry of each --tag
    #[arg(long, num_args = 0..=1, default_value_t = false, default_missing_value = "true", require_equals = true, action = ArgAction::Set)]
    pub push: bool,
    /// The form in which --push sends the box: artifact, image (a container image of the platform wasi/wasm) or both (see `boxer push`)
    /// [default: artifact]
    #[arg(long = "as", value_name = "FORM", requires = "push")]
    pub form: Option<Form>,
    /// How to show progress [default: auto]
    #[arg(
        long,
        value_enum,
        env = "BUILDKIT_PROGRESS",
        hide_env_values = true,
        value_name = "MODE"
    )]
    pub progress: Option<ProgressMode>,
    /// Show errors only, and print the digest of the result
    #[arg(short, long)]
    pub quiet: bool,
    /// Write the digest of the result to this file
    #[arg(long, value_name = "FILE")]
    pub iidfile: Option<PathBuf>,
    /// Write digests, sizes and names of the result to this file, as JSON with the keys of buildx
    #[arg(long, value_name = "FILE")]
    pub metadata_file: Option<PathBuf>,
    /// Accepted for docker's sake: results are in the local store anyway
    #[arg(long, num_args = 0..=1, default_value_t = false, default_missing_value = "true", require_equals = true, action = ArgAction::Set)]
    pub load: bool,
    /// What to do: build; check (as --check); outline: show the arguments, secrets and agents of the target; targets: list the stages;
    /// each of the last three with ,format=json
    #[arg(long, value_parser = Call::parse, value_name = "METHOD[,format=json]", default_value = "build", hide_default_value = true)]
    pub call: Call,
    /// Check the Dockerfile and build nothing
    #[arg(long, num_args = 0..=1, default_value_t = false, default_missing_value = "true", require_equals = true, action = ArgAction::Set)]
    pub check: bool,
    /// Add an annotation to the manifests of image and box; the prefix manifest: may stand before the name (repeatable)
    #[arg(long, value_name = "NAME=VALUE")]
    pub annotation: Vec<String>,
}

impl BuildArgs {
    /// How progress is shown.
    pub fn progress(&self) -> ProgressMode {
        if self.quiet { ProgressMode::Quiet } else { self.progress.unwrap_or(ProgressMode::Auto) }
    }

    /// The processor asked for.
    pub fn cpu(&self) -> CpuLevel {
        self.cpu.unwrap_or(match self.platform {
            TargetPlatform::Linux(level) => level,
            TargetPlatform::Wasi | TargetPlatform::WasiPreview1 => CpuLevel::default(),
        })
    }

    /// The platform of bases that do not say.
    pub fn platform(&self) -> Platform {
        match self.platform {
            TargetPlatform::Linux(_) => Platform::linux_amd64(),
            TargetPlatform::Wasi => Platform::wasi(),
            TargetPlatform::WasiPreview1 => Platform::wasip1(),
        }
    }
}

/// When `boxer run` asks a registry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Pull {
    /// If the name is not in the store
    Missing,
    /// Each time
    Always,
    /// Never
    Never,
}

// -h is docker's --hostname.
#[derive(Debug, Args)]
#[command(disable_help_flag = true)]
pub struct RunArgs {
    /// A Wasm file or the name of a box or image in the store (pulled if it is not there), and
    /// arguments, which replace CMD; options after the name belong to the program
    #[arg(value_names = ["NAME", "ARG"], num_args = 1.., required = true, trailing_var_arg = true)]
    words: Vec<String>,
    /// Set a variable; without =VALUE this process's value is passed on (repeatable)
    #[arg(short, long, value_name = "NAME[=VALUE]")]
    pub env: Vec<String>,
    /// Read variables from a file, one NAME[=VALUE] a line (repeatable)
    #[arg(long, value_name = "FILE")]
    pub env_file: Vec<PathBuf>,
    /// Give the box a directory or file of the host, or a volume of that name, which is made if
    /// there is none (repeatable)
    #[arg(short, long, value_name = "[HOST|NAME:]GUEST[:ro]")]
    pub volume: Vec<String>,
    /// The same in docker's longer form: type=bind|volume|tmpfs,source=...,target=...[,readonly]
    /// (repeatable)
    #[arg(long, value_name = "MOUNT")]
    pub mount: Vec<String>,
    /// Mount a file system in the box's memory (repeatable)
    #[arg(long, value_name = "GUEST[:mode=OCTAL,ro]")]
    pub tmpfs: Vec<String>,
    /// Size of /dev/shm [default: 64m]
    #[arg(long, value_name = "SIZE")]
    pub shm_size: Option<String>,
    /// The working directory
    #[arg(short, long, value_name = "DIR")]
    pub workdir: Option<String>,
    /// The user: NAME|UID[:GROUP|GID]
    #[arg(short, long, value_name = "USER")]
    pub user: Option<String>,
    /// Pull the box or image before: missing (if it is not in the store), always or never
    #[arg(
        long,
        value_enum,
        value_name = "WHEN",
        default_value = "missing",
        hide_possible_values = true
    )]
    pub pull: Pull,
    /// The platform; boxes run linux/amd64 (linux/amd64/v3 implies --cpu x86-64-v3)
    #[arg(long, value_parser = platform, default_value = "linux/amd64", hide_default_value = true)]
    platform: CpuLevel,
    /// The processor that the programs see: x86-64-v2 or x86-64-v3 [default: the box's own]
    #[arg(long, value_parser = cpu, value_name = "LEVEL")]
    cpu: Option<CpuLevel>,
    #[command(flatten)]
    pub limits: LimitArgs,
    #[command(flatten)]
    pub rights: RightsArgs,
    /// Keep standard input open; without -t a box always has it
    #[arg(short, long)]
    pub interactive: bool,
    /// Give the box a terminal; with -i it is this one, in raw mode
    #[arg(short, long)]
    pub tty: bool,
    /// Remove the container afterwards; accepted for docker's sake, a box leaves nothing behind
    #[arg(long)]
    pub rm: bool,
    /// Run this program instead of ENTRYPOINT and CMD
    #[arg(long, value_name = "PROGRAM")]
    pub entrypoint: Option<String>,
    /// Run the program below a first process that passes signals on to it and reaps orphans
    #[arg(long)]
    pub init: bool,
    /// Run no program, but that first process alone, for `boxer exec`
    #[arg(long)]
    pub pause: bool,
    /// Print the system calls on standard error, as strace does
    #[arg(long)]
    pub strace: bool,
    /// Report unknown instructions, missing system calls and refused connections on standard error
    #[arg(long)]
    pub debug: bool,
    /// Print help
    #[arg(long, action = ArgAction::Help)]
    help: Option<bool>,
    #[command(flatten)]
    pub translate: TranslateArgs,
    #[command(flatten)]
    pub network: NetworkArgs,
    #[command(flatten)]
    pub freezing: FreezingArgs,
    #[command(flatten)]
    pub docker: DockerArgs,
}

impl RunArgs {
    /// The file, box or image.
    pub fn name(&self) -> &str {
        self.words.first().map_or("", String::as_str)
    }

    /// The processor asked for, if any.
    pub fn cpu(&self) -> Option<CpuLevel> {
        self.cpu.or(Some(self.platform).filter(|level| *level != CpuLevel::default()))
    }

    /// The program's arguments.
    pub fn program_args(&self) -> &[String] {
        self.words.get(1..).unwrap_or_default()
    }
}

#[derive(Debug, Args)]
pub struct PushArgs {
    /// The name of a box or image in the store
    pub name: String,
    /// The form of a box: artifact, as Wasm runtimes and their tools take it; image, a container image of the platform wasi/wasm, as
    /// podman, Docker and containerd take it; both, the image under the tag with -image behind it [default: artifact]
    #[arg(long = "as", value_name = "FORM", conflicts_with = "image")]
    pub form: Option<Form>,
    /// Of a name that leads to a box, push the Linux image that the box was made of
    #[arg(long)]
    pub image: bool,
}

#[derive(Debug, Args)]
pub struct PullArgs {
    /// The name of an image or a box
    pub name: String,
    /// Fetch its attestations (SBOM, provenance) as well; a push then takes them along
    #[arg(long)]
    pub attestations: bool,
    /// Do not show progress
    #[arg(short, long)]
    pub quiet: bool,
}

#[derive(Debug, Args)]
pub struct ImagesArgs {
    /// Show names that contain this only
    pub name: Option<String>,
    /// Show what has no name as well: the images that boxes were made of
    #[arg(short, long)]
    pub all: bool,
    /// Print digests only
    #[arg(short, long)]
    pub quiet: bool,
}

#[derive(Debug, Args)]
pub struct RmiArgs {
    /// Their names
    #[arg(required = true)]
    pub names: Vec<String>,
}

#[derive(Debug, Args)]
pub struct TagArgs {
    /// The name of a box or image in the store
    pub source: String,
    /// The new name
    pub target: String,
}

#[derive(Debug, Args)]
pub struct SaveArgs {
    /// The name of a box or image in the store
    pub name: String,
    /// The archive [default: standard output]
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// Of a name that leads to a box, the image that the box was made of (an archive for docker load)
    #[arg(long)]
    pub image: bool,
}

#[derive(Debug, Args)]
pub struct LoadArgs {
    /// The archive [default: standard input]
    #[arg(short, long, value_name = "FILE")]
    pub input: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub struct HistoryArgs {
    /// The name of an image, or of a box that was built here
    pub name: String,
    /// Show whole commands
    #[arg(long)]
    pub no_trunc: bool,
}

#[derive(Debug, Args)]
pub struct PruneArgs {
    /// Remove the build cache, the caches of RUN --mount=type=cache and all compiled code as well
    #[arg(short, long)]
    pub all: bool,
    /// Read every blob first and remove those that are damaged; the next pull or build brings them back
    #[arg(long)]
    pub repair: bool,
    /// Accepted for docker's sake: nothing is asked
    #[arg(short, long)]
    pub force: bool,
}

#[derive(Debug, Args)]
pub struct DiffArgs {
    /// The name of an image, or of a box that was built here
    pub from: String,
    /// The name of the image to compare with it
    pub to: String,
}

#[derive(Debug, Args)]
pub struct InspectArgs {
    /// A Wasm file, or the name of a box or image in the store
    pub name: String,
    /// Of a name that leads to a box, show the image that the box was made of
    #[arg(long)]
    pub image: bool,
}

#[derive(Debug, Args)]
pub struct VolumeArgs {
    #[command(subcommand)]
    pub verb: VolumeVerb,
}

#[derive(Debug, Subcommand)]
pub enum VolumeVerb {
    /// Make an empty volume
    Create {
        /// Its name
        name: String,
    },
    /// List the volumes
    Ls,
    /// Remove volumes with all that is in them
    Rm {
        /// Their names
        #[arg(required = true)]
        names: Vec<String>,
    },
}

/// A level of the x86-64 psABI.
fn cpu(text: &str) -> Result<CpuLevel, String> {
    CpuLevel::from_name(text).ok_or_else(|| {
        let names = CpuLevel::ALL.map(CpuLevel::name);
        format!("must be one of {}", names.join(", "))
    })
}

fn run_network(text: &str) -> Result<RunNetwork, String> {
    RunNetwork::from_name(text).ok_or_else(|| "must be one of default, none, host".to_owned())
}

/// What is built.
#[derive(Clone, Copy, Debug)]
enum TargetPlatform {
    Linux(CpuLevel),
    Wasi,
    WasiPreview1,
}

fn target_platform(text: &str) -> Result<TargetPlatform, String> {
    match text.to_ascii_lowercase().as_str() {
        "wasi/wasm" => Ok(TargetPlatform::Wasi),
        "wasip1/wasm" => Ok(TargetPlatform::WasiPreview1),
        _ => platform(text)
            .map(TargetPlatform::Linux)
            .map_err(|why| format!("{why}, and programs that are WASI modules (wasi/wasm)")),
    }
}

fn platform(text: &str) -> Result<CpuLevel, String> {
    match text.to_ascii_lowercase().as_str() {
        "linux/amd64" | "linux/x86_64" | "linux/amd64/v1" | "linux/amd64/v2" => Ok(CpuLevel::V2),
        "linux/amd64/v3" => Ok(CpuLevel::V3),
        _ => Err("boxes run linux/amd64 only".to_owned()),
    }
}
