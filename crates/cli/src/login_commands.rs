//! `boxer login` and `logout`.

use std::io::{BufRead as _, IsTerminal as _, Read as _, Write as _};
use std::process::ExitCode;

use clap::Args;
use oci::auth::{Credentials, Kept};
use oci::{ClientOptions, Reference};
use rustix::termios::{LocalModes, OptionalActions, SpecialCodeIndex, tcgetattr, tcsetattr};

use crate::args::Global;
use crate::failure::Failure;
use crate::session;

#[derive(Debug, Args)]
pub struct LoginArgs {
    /// The registry: HOST[:PORT]
    #[arg(default_value = HUB)]
    registry: String,
    /// The user
    #[arg(short, long, value_name = "USER")]
    username: Option<String>,
    /// The password or access token; other users of this machine can see it in the list of processes
    #[arg(short, long, value_name = "PASSWORD", conflicts_with = "password_stdin")]
    password: Option<String>,
    /// Read the password from standard input
    #[arg(long)]
    password_stdin: bool,
}

#[derive(Debug, Args)]
pub struct LogoutArgs {
    /// The registry: HOST[:PORT]
    #[arg(default_value = HUB)]
    registry: String,
}

const HUB: &str = "docker.io";
/// The longest password read, in bytes.
const LONGEST: u64 = 1 << 20;

pub fn login(global: &Global, args: &LoginArgs) -> Result<ExitCode, Failure> {
    let registry = registry(&args.registry)?;
    let options = options(global);
    if args.password_stdin && args.username.is_none() {
        return Err(Failure::usage("--password-stdin needs --username"));
    }
    let file = options.credentials.login_file().ok_or_else(no_place)?;
    if args.password.is_some() {
        tell!(
            "WARNING: a password on the command line can be seen by others; --password-stdin reads it from standard input"
        );
    }
    let user = match &args.username {
        Some(user) => user.clone(),
        None => ask("Username: ", false)?,
    };
    let password = match &args.password {
        Some(password) => password.clone(),
        None if args.password_stdin => {
            let mut text = String::new();
            std::io::stdin().take(LONGEST).read_to_string(&mut text).map_err(Failure::new)?;
            text.strip_suffix('\n')
                .map_or(text.as_str(), |line| line.strip_suffix('\r').unwrap_or(line))
                .to_owned()
        }
        None => ask("Password: ", true)?,
    };
    if user.is_empty() || user.contains(':') {
        return Err(Failure::usage(format!(
            "invalid user {user:?}: it is not empty and has no colon"
        )));
    }
    if password.is_empty() {
        return Err(Failure::usage("the password is empty"));
    }
    let asked =
        session::client(global)?.login(&registry, &user, &password).map_err(|error| Failure {
            // What helps elsewhere is what was just tried.
            hint: None,
            ..Failure::from(error)
        })?;
    if !asked {
        tell!("WARNING: {registry} asks nobody for a password; it is kept all the same");
    }
    match file.keep(&registry, &user, &password)? {
        Kept::File(path) => tell!(
            "WARNING: the password lies unencrypted in {}; a credential helper (\"credsStore\" there) keeps it elsewhere",
            path.display()
        ),
        Kept::Helper(name) => tell!("kept by docker-credential-{name}"),
    }
    let mine = Credentials::Basic { user, password };
    if options.credentials.lookup(&registry, "")? != mine {
        tell!(
            "WARNING: another file of credentials, which is read first, has others for {registry}"
        );
    }
    say!("Login Succeeded");
    Ok(ExitCode::SUCCESS)
}

pub fn logout(global: &Global, args: &LogoutArgs) -> Result<ExitCode, Failure> {
    let registry = registry(&args.registry)?;
    let options = options(global);
    let file = options.credentials.login_file().ok_or_else(no_place)?;
    match file.forget(&registry)? {
        true => say!("Removed the credentials for {registry}"),
        false => say!("Not logged in to {registry}"),
    }
    if options.credentials.lookup(&registry, "")? != Credentials::Anonymous {
        tell!("WARNING: another file has credentials for {registry}, which are still used");
    }
    Ok(ExitCode::SUCCESS)
}

fn options(global: &Global) -> ClientOptions {
    let mut options = ClientOptions::from_env();
    if let Some(file) = &global.authfile {
        options.credentials.required = Some(file.clone());
    }
    options
}

fn no_place() -> Failure {
    Failure::new("there is no place for credentials: HOME is not set")
        .hint("name a file with --authfile")
}

/// As references name it: `https://index.docker.io/v1/` is docker.io.
fn registry(text: &str) -> Result<String, Failure> {
    let plain =
        text.strip_prefix("https://").or_else(|| text.strip_prefix("http://")).unwrap_or(text);
    let plain = plain.trim_end_matches('/');
    let plain = plain.strip_suffix("/v1").or_else(|| plain.strip_suffix("/v2")).unwrap_or(plain);
    let wrong = || Failure::usage(format!("invalid registry {text:?}: expected HOST[:PORT]"));
    if plain.contains('/') {
        return Err(wrong());
    }
    let reference = Reference::parse(&format!("{plain}/library/x")).map_err(|_| wrong())?;
    let known = reference.registry();
    match known == plain || (known == HUB && plain == "index.docker.io") {
        true => Ok(known.to_owned()),
        false => Err(wrong()),
    }
}

/// A line from the terminal, shown while it is typed or not.
fn ask(prompt: &str, secret: bool) -> Result<String, Failure> {
    let stdin = std::io::stdin();
    if !stdin.is_terminal() {
        return Err(Failure::usage(
            "standard input is no terminal: give --username and --password-stdin",
        ));
    }
    let mut out = std::io::stderr().lock();
    let _ = out.write_all(prompt.as_bytes());
    if !secret {
        let mut line = String::new();
        stdin.lock().take(LONGEST).read_line(&mut line).map_err(Failure::new)?;
        return Ok(line.trim().to_owned());
    }
    let before = tcgetattr(&stdin).map_err(Failure::new)?;
    let mut silent = before.clone();
    // Without ISIG an interrupt is a character: nothing leaves the terminal silent.
    silent.local_modes &= !(LocalModes::ECHO | LocalModes::ICANON | LocalModes::ISIG);
    silent.special_codes[SpecialCodeIndex::VMIN] = 1;
    silent.special_codes[SpecialCodeIndex::VTIME] = 0;
    tcsetattr(&stdin, OptionalActions::Flush, &silent).map_err(Failure::new)?;
    let line = secret_line(&mut stdin.lock());
    let restored = tcsetattr(&stdin, OptionalActions::Now, &before);
    let _ = out.write_all(b"\n");
    restored.map_err(Failure::new)?;
    line
}

/// Reads until Enter; Backspace, Ctrl-U and Ctrl-C do what they do elsewhere.
fn secret_line(input: &mut impl std::io::Read) -> Result<String, Failure> {
    let mut line: Vec<u8> = Vec::new();
    let mut byte = [0];
    while input.read(&mut byte).map_err(Failure::new)? == 1 && (line.len() as u64) < LONGEST {
        match byte[0] {
            b'\r' | b'\n' | 4 => break,
            3 => return Err(Failure::new("interrupted").code(130)),
            8 | 127 => while line.pop().is_some_and(|last| last & 0xc0 == 0x80) {},
            21 => line.clear(),
            other => line.push(other),
        }
    }
    String::from_utf8(line).map_err(|_| Failure::usage("the password is not UTF-8"))
}

#[cfg(test)]
mod tests {
    use super::{registry, secret_line};

    #[test]
    fn registries_have_one_name() {
        let of = |text: &str| registry(text).ok();
        for name in ["docker.io", "index.docker.io", "https://index.docker.io/v1/"] {
            assert_eq!(of(name).as_deref(), Some("docker.io"), "{name}");
        }
        assert_eq!(of("http://localhost:5000/").as_deref(), Some("localhost:5000"));
        for wrong in ["", "a b", "ghcr.io/owner", "name", "https://"] {
            assert_eq!(of(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn typing_errors_can_be_mended() {
        let of = |bytes: &[u8]| secret_line(&mut &bytes[..]).ok();
        assert_eq!(of(b"wrong\x15pa\x7fas\xc3\xa4\x7fs\rrest").as_deref(), Some("pass"));
        assert_eq!(of(b"abc").as_deref(), Some("abc"));
        assert_eq!(of(b"ab\x03"), None);
    }
}
