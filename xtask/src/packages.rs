//! Debian packages that tests, demo and benches need.

use crate::process;
use anyhow::{Result, bail};
use std::path::Path;
use std::process::Command;

/// A file that shows that a package is there, and the package.
type Need = (&'static str, &'static str);

/// To make the fixtures and to run the demo.
pub const DEMO: &[Need] = &[
    ("/usr/sbin/debootstrap", "debootstrap"),
    ("/usr/share/keyrings/debian-archive-keyring.gpg", "debian-archive-keyring"),
    ("/usr/bin/docker-registry", "docker-registry"),
    ("/usr/bin/gcc", "gcc"),
    ("/usr/lib/x86_64-linux-gnu/libc.a", "libc6-dev"),
];

/// What the benches compare with, besides.
pub const BENCH: &[Need] = &[("/usr/bin/qemu-x86_64", "qemu-user")];

/// What the tests compare with, besides.
pub const TESTS: &[Need] = &[
    ("/usr/bin/fsck.erofs", "erofs-utils"),
    ("/usr/bin/umoci", "umoci"),
    ("/usr/bin/buildah", "buildah"),
    ("/usr/bin/skopeo", "skopeo"),
    ("/usr/bin/htpasswd", "apache2-utils"),
    ("/usr/bin/openssl", "openssl"),
    ("/usr/bin/node", "nodejs"),
    ("/usr/bin/npm", "npm"),
    ("/usr/bin/python3", "python3"),
    ("/usr/lib/python3.11/ensurepip/__init__.py", "python3-venv"),
];

/// What boxes for all hosts are made of, besides.
pub const HOSTS: &[Need] = &[("/bin/busybox", "busybox-static")];

/// The browsers in which packages/js is tried, besides.
pub const JS: &[Need] =
    &[("/usr/bin/chromium", "chromium"), ("/usr/bin/firefox-esr", "firefox-esr")];

/// What asks the examples' servers.
pub const EXAMPLES: &[Need] = &[("/usr/bin/curl", "curl"), ("/usr/bin/psql", "postgresql-client")];

/// Installs what is missing.
pub fn ensure(needs: &[&[Need]]) -> Result<()> {
    let missing: Vec<&str> = needs
        .iter()
        .flat_map(|list| list.iter())
        .filter(|(file, _)| !Path::new(file).exists())
        .map(|(_, package)| *package)
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    let is_root = process::stdout(Command::new("id").arg("-u"))?.trim() == "0";
    if !is_root || !process::on_path("apt-get") {
        bail!(
            "these Debian packages are missing; install them as root:\n\n    apt-get install {}\n",
            missing.join(" ")
        );
    }
    println!("installing {}", missing.join(" "));
    process::quiet(Command::new("apt-get").arg("update"))?;
    let mut install = Command::new("apt-get");
    install
        .args(["install", "-y", "--no-install-recommends"])
        .args(&missing)
        .env("DEBIAN_FRONTEND", "noninteractive");
    process::quiet(&mut install)
}
