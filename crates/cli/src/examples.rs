//! What `--help` shows of each command in use. Every line is parsed by a test.

pub const BOXER: &str = "Examples:
  boxer init && boxer build -t app . && boxer run app
  boxer build -o app.wasm . && wasmtime app.wasm
  boxer run -it debian:12 bash";

pub const BUILD: &str = "Examples:
  boxer build -t app .                        # a box in the store, for `boxer run app`
  boxer build -o app.wasm .                   # a box as a file, for any WASI host
  boxer build -f docker/Dockerfile --target test --build-arg VERSION=2 .
  boxer build --secret id=npmrc,src=$HOME/.npmrc --ssh default -t app .
  boxer build -t app 'https://example.org/app.git#main:service'
  boxer build -o type=component,dest=app.wasm -o type=oci,dest=app.tar .
  boxer build -o type=web,dest=site .         # a page that loads what is used, for a static file server
  boxer build --push -t registry.example/app:1 --sbom --provenance .
  boxer build --push -t registry.example/app:1 --cache-from registry.example/app:cache \\
    --cache-to type=registry,ref=registry.example/app:cache,mode=max .
  boxer build --reproducible --snapshot=ready -o app.wasm .";

pub const RUN: &str = "Examples:
  boxer run app --version                     # words behind the name are the program's
  boxer run -it debian:12 bash
  boxer run -p 8080:80 -v ./site:/usr/share/nginx/html:ro web
  boxer run --network allow=api.example:443 -e TOKEN app
  boxer run --memory 512m --timeout 30s --read-only sandbox.wasm python3 -c 'print(1)'";

pub const SERVE: &str = "Examples:
  boxer build --snapshot=ready -t web . && boxer serve web
  boxer serve --addr 0.0.0.0:80 --port 8000 --instances 32 web
  boxer serve --reuse -v data:/var/lib/data -e TOKEN web";

pub const SERVE_WISP: &str = "Examples:
  boxer serve-wisp --allow api.example:443,*.cdn.example:443
  boxer serve-wisp --allow localhost:5432     # at 172.17.0.1 in the box
  boxer serve-wisp --allow-all --addr 0.0.0.0:6001 --origin https://example.org";

pub const SANDBOXD: &str = "Examples:
  boxer sandboxd --preload numpy,pandas sandbox   # prints its address and token as JSON
  boxer sandboxd --listen unix:/run/user/1000/sandboxes --memory 1g --timeout 1h sandbox
  boxer sandboxd --network allow=api.example:443 --audit trail.jsonl sandbox";

pub const MCP: &str = "Examples:
  boxer mcp sandbox                           # what clients of the protocol start
  boxer mcp --listen 8765 sandbox             # over HTTP; prints its address and token as JSON
  boxer mcp -v ./data:/data --network allow=api.example:443 --timeout 8h sandbox";

pub const FREEZE: &str = "Examples:
  boxer freeze -o state.wasm work             # of `boxer run --name work …`; `boxer run state.wasm` goes on
  boxer freeze --keep-running -t work:before work";

pub const FORK: &str = "Examples:
  boxer fork --count 4 work
  boxer fork work -- --network none -e TRY=2";

pub const REPLAY: &str = "Examples:
  boxer run --record bug.rec -p 8080:80 web   # what is to be looked at
  boxer replay bug.rec                        # the same again, without network, waiting or input
  boxer replay --strace bug.rec
  boxer replay --until openat:3 bug.rec";

pub const PS: &str = "Example:
  boxer ps";

pub const EXEC: &str = "Examples:
  boxer run --name work --pause debian:12 &   # a box in which nothing runs yet
  boxer exec work ls -l /
  boxer exec -it work bash
  boxer exec -i -u www-data -w /srv -e DEBUG=1 work sh -c 'cat > index.html' < index.html";

pub const CP: &str = "Examples:
  boxer cp ./src work:/root                   # /root/src
  boxer cp ./src/. work:/app                  # what is in it
  boxer cp work:/var/log/app.log .
  boxer cp work:/etc - | tar -t";

pub const STOP: &str = "Examples:
  boxer stop work                             # the image's STOPSIGNAL or SIGTERM, after 10 s SIGKILL
  boxer stop --time 60 work other";

pub const KILL: &str = "Examples:
  boxer kill work
  boxer kill -s HUP work";

pub const PUSH: &str = "Examples:
  boxer push registry.example/app:1           # the box, for Wasm runtimes
  boxer push --as both registry.example/app:1 # and as an image for podman, Docker and containerd
  boxer push --image registry.example/app:1   # the Linux image that it was made of";

pub const PULL: &str = "Examples:
  boxer pull debian:bookworm-slim
  boxer pull --attestations registry.example/app:1";

pub const LOGIN: &str = "Examples:
  boxer login -u ann registry.example
  echo \"$TOKEN\" | boxer login -u ann --password-stdin ghcr.io";

pub const LOGOUT: &str = "Example:
  boxer logout ghcr.io";

pub const IMAGES: &str = "Examples:
  boxer images
  boxer images -q app";

pub const INSPECT: &str = "Examples:
  boxer inspect app.wasm
  boxer inspect --image app | jq .config";

pub const RMI: &str = "Example:
  boxer rmi app:old && boxer prune";

pub const TAG: &str = "Example:
  boxer tag app registry.example/app:1 && boxer push registry.example/app:1";

pub const SAVE: &str = "Examples:
  boxer save -o app.tar app
  boxer save --image app | docker load";

pub const LOAD: &str = "Examples:
  boxer load -i app.tar
  docker save debian:12 | boxer load";

pub const HISTORY: &str = "Example:
  boxer history --no-trunc app";

pub const PRUNE: &str = "Examples:
  boxer prune
  boxer prune --all                           # the caches of builds as well
  boxer prune --repair                        # reads everything, and removes what is damaged";

pub const DF: &str = "Example:
  boxer df";

pub const DIFF: &str = "Example:
  boxer diff app:1 app:2";

pub const VOLUME: &str = "Example:
  boxer volume create data && boxer run -v data:/var/lib/data app";

pub const INIT: &str = "Examples:
  boxer init && boxer build -t app .
  boxer init services/web";

#[cfg(test)]
mod tests {
    use crate::args::Cli;
    use clap::{Command, CommandFactory as _, Parser as _};

    /// The words of each call of boxer in a line of a shell.
    fn calls(line: &str) -> Vec<Vec<String>> {
        let (mut all, mut words, mut word, mut quote) = (Vec::new(), Vec::new(), None, None);
        let line = line.split(" # ").next().unwrap_or_default().trim();
        for letter in line.chars().chain([' ', '|']) {
            match (quote, letter) {
                (Some(open), letter) if letter == open => quote = None,
                (None, '\'' | '"') => {
                    quote = Some(letter);
                    word.get_or_insert_with(String::new);
                }
                (None, ' ') => words.extend(word.take()),
                (None, '|' | '&' | '>') => all.push(std::mem::take(&mut words)),
                (_, letter) => word.get_or_insert_with(String::new).push(letter),
            }
        }
        all.retain(|words| words.first().is_some_and(|program| program == "boxer"));
        all
    }

    fn try_all(command: &Command) {
        let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
        assert!(help.starts_with("Example"), "{} has no examples", command.get_name());
        let mut tried = 0;
        for line in help.replace("\\\n", " ").lines().filter(|line| line.starts_with("  ")) {
            for words in calls(line) {
                if let Err(error) = Cli::try_parse_from(&words) {
                    panic!("{line}\n{error}");
                }
                tried += 1;
            }
        }
        assert!(tried > 0, "{help}");
    }

    #[test]
    fn every_command_is_shown_in_use() {
        let command = Cli::command();
        try_all(&command);
        let verbs = command.get_subcommands();
        verbs.filter(|verb| !verb.is_hide_set() && verb.get_name() != "help").for_each(try_all);
    }
}
