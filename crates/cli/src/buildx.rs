//! Options of `docker buildx build` that boxer does not carry out; see [`crate::foreign`].

use crate::foreign::{Foreign, Row, Table, many, one, switch};

/// What buildx leaves to the host's scheduler, a box has by options of its own.
const SCHEDULER: &str = "a RUN step is in no cgroup; --memory, --cpus-time and their kin limit it";

/// `docker buildx build`.
#[derive(Debug)]
pub struct Buildx;

/// Its options that were given.
pub type BuildxArgs = Foreign<Buildx>;

impl Table for Buildx {
    const ROWS: &'static [Row] = ROWS;
}

const ROWS: &[Row] = &[
    many(
        "allow",
        &[],
        "a RUN step never has more than the sandbox; --network=host opens this host's loopback to it",
    ),
    one("builder", &["default", ""], "there is one builder: this program"),
    one("cgroup-parent", &[""], SCHEDULER),
    switch("compress", &["false"], "the context is on this machine; nothing is sent"),
    one("cpu-period", &["0"], SCHEDULER),
    one("cpu-quota", &["0"], SCHEDULER),
    one("cpu-shares", &["0"], SCHEDULER).short('c'),
    one("cpuset-cpus", &[""], SCHEDULER),
    one("cpuset-mems", &[""], SCHEDULER),
    switch(
        "debug",
        &["false"],
        "there is no daemon whose log could be shown; --progress=plain shows all that steps write",
    )
    .short('D'),
    switch("detach", &["false"], "there is no daemon that could go on building"),
    switch(
        "disable-content-trust",
        &["true"],
        "Notary's signatures are not looked at; digests are",
    ),
    // A step leaves nothing behind, whether it failed or not.
    switch("force-rm", &["true", "false"], "it is true or false"),
    one("invoke", &[""], "build the stage with --target and `boxer run -it` it"),
    one("isolation", &["", "default"], "a RUN step runs in the box's own machine, nowhere else"),
    one("memory-swap", &["0"], "a box does not swap; --memory limits it"),
    many("policy", &[], "source policies are not evaluated"),
    one("print", &[""], "its name is --call now"),
    switch("rm", &["true", "false"], "it is true or false"),
    one("root", &[""], "there is no server; --store names the place of everything"),
    many("security-opt", &[], "there is nothing to loosen: programs have what the box implements"),
    one("server-config", &[""], "there is no server"),
    switch(
        "squash",
        &["false"],
        "the files of a box are one tree already; an image keeps its layers",
    ),
];
