//! Where sandboxes start: the state of a box in which interpreters wait already.

use crate::code::driver;
use crate::diff::Tree;
use crate::error::Error;
use crate::running::{Ended, Notice, Running};
use runtime::{Command, Frozen, Grant, Next, Overrides, RunOptions, Runtime};
use sha2::{Digest, Sha256};
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::sync::{Arc, OnceLock};

/// How often code is rehearsed: what happens once is not yet known to be usual.
const REHEARSALS: usize = 8;

/// What a box is prepared with.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Prepare {
    /// Modules of Python that are imported already.
    pub preload: Vec<String>,
}

/// A state that sandboxes start from and share until they write. Clones are the same.
#[derive(Clone)]
pub struct Template(Arc<Inner>);

struct Inner {
    state: Frozen,
    /// The shell that runs commands.
    shell: &'static str,
    /// Who the image's programs run as, `UID:GID`.
    owner: String,
    /// Whether a Python interpreter waits.
    python: bool,
    /// The files, once somebody has asked what is different.
    tree: OnceLock<Tree>,
}

impl Template {
    /// Makes one of the box in a file. What it takes to get the interpreters to where they wait is done once for each content of the
    /// file: what comes of it is kept in `cache`.
    ///
    /// # Errors
    /// It is no box, a component, or does not start; a module to be preloaded is not there.
    pub fn open(
        runtime: &Arc<Runtime>,
        path: &Path,
        prepare: &Prepare,
        cache: &Path,
    ) -> Result<Template, Error> {
        let kept = cache.join(format!("{}.wasm", key(path, prepare)?));
        if kept.is_file()
            && let Ok(state) = runtime.state_of_file(&kept)
            && let Ok(template) = Template::prepared(state)
        {
            return Ok(template);
        }
        let state = ready(runtime, path, prepare)?;
        std::fs::create_dir_all(cache).map_err(Error::io(format!("make {}", cache.display())))?;
        write(&state, &kept)?;
        Template::prepared(state)
    }

    /// Makes one of a file that [`Sandbox::snapshot`](crate::Sandbox::snapshot) has written.
    ///
    /// # Errors
    /// It is no box, or does not start.
    pub fn resume(runtime: &Runtime, path: &Path) -> Result<Template, Error> {
        Template::of(runtime.state_of_file(path)?)
    }

    /// Looks at what there is in a state by starting it once.
    pub(crate) fn of(state: Frozen) -> Result<Template, Error> {
        Template::probed(state, |_| Ok(()))
    }

    /// The same of a state that is as it was prepared: the interpreter is called once, so that others have the pages ahead that it writes to.
    fn prepared(state: Frozen) -> Result<Template, Error> {
        Template::probed(state, |probe| driver::rehearse(probe, driver::PYTHON_PORT, 1))
    }

    fn probed(
        state: Frozen,
        with_python: impl FnOnce(&Running) -> Result<(), Error>,
    ) -> Result<Template, Error> {
        let options = RunOptions::default();
        let probe = Running::fork(state.clone(), options, Grant::default(), silent(), alone())?;
        probe.wait_until_it_runs()?;
        let python = probe.call(driver::PYTHON_PORT).is_ok();
        if python {
            with_python(&probe)?;
        }
        let files = probe.attach().files();
        let shell = if files.stat("/bin/bash").is_ok() { "/bin/bash" } else { "/bin/sh" };
        let first = files.stat("/proc/1").map_err(Error::io("look at the first process"))?;
        let owner = format!("{}:{}", first.attributes.uid, first.attributes.gid);
        let tree = OnceLock::new();
        Ok(Template(Arc::new(Inner { state, shell, owner, python, tree })))
    }

    pub(crate) fn state(&self) -> &Frozen {
        &self.0.state
    }

    pub(crate) fn shell(&self) -> &'static str {
        self.0.shell
    }

    pub(crate) fn owner(&self) -> &str {
        &self.0.owner
    }

    /// Whether a Python interpreter waits in it.
    pub fn has_python(&self) -> bool {
        self.0.python
    }

    /// Bytes of memory that every sandbox shares and that are not in the box's file.
    pub fn own_bytes(&self) -> u64 {
        self.0.state.own_bytes()
    }

    /// Its files: looked at once, in a sandbox that nobody has used.
    pub(crate) fn tree(&self) -> Result<&Tree, Error> {
        if let Some(tree) = self.0.tree.get() {
            return Ok(tree);
        }
        let options = RunOptions::default();
        let fresh =
            Running::fork(self.0.state.clone(), options, Grant::default(), silent(), alone())?;
        fresh.wait_until_it_runs()?;
        let tree = Tree::read(&fresh.attach().files(), &[])?;
        Ok(self.0.tree.get_or_init(|| tree))
    }
}

fn alone() -> Ended {
    Box::new(|_| {})
}

fn silent() -> Notice {
    Arc::new(|_| {})
}

/// Runs the box until its interpreters wait.
fn ready(runtime: &Arc<Runtime>, path: &Path, prepare: &Prepare) -> Result<Frozen, Error> {
    let (runtime, path) = (runtime.clone(), path.to_owned());
    let overrides = Overrides { pause: true, ..Overrides::default() };
    let options = RunOptions { overrides, ..RunOptions::default() };
    let run = move |options| runtime.run_file(&path, options).map(|outcome| outcome.status);
    let running = Running::start(options, Grant::default(), silent(), alone(), run)?;
    running.wait_until_it_runs_first()?;
    let mut command = Command::new("python3").args(["-c", driver::PYTHON]);
    command = command.arg(driver::PYTHON_PORT.to_string()).args(&prepare.preload);
    match driver::start(&running, &command) {
        Ok(port) => driver::rehearse(&running, port, REHEARSALS)?,
        // An image need not have one, unless something of it is asked for.
        Err(Error::Exec(runtime::ExecError::NotFound(_))) if prepare.preload.is_empty() => {}
        Err(error) => return Err(error),
    }
    running.freeze(Next::Ends(0))
}

/// Writes a state as a box; the file appears whole or not at all.
pub(crate) fn write(state: &Frozen, to: &Path) -> Result<(), Error> {
    let failed = || Error::io(format!("write {}", to.display()));
    let dir = to.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut file = tempfile::NamedTempFile::new_in(dir).map_err(failed())?;
    state.write(file.as_file_mut()).map_err(|error| failed()(io::Error::other(error)))?;
    file.persist(to).map_err(|error| failed()(error.error))?;
    Ok(())
}

/// What a prepared state is known by.
fn key(path: &Path, prepare: &Prepare) -> Result<String, Error> {
    let failed = || Error::io(format!("read {}", path.display()));
    let mut hash = Sha256::new();
    hash.update(driver::PYTHON);
    hash.update(driver::REHEARSAL);
    for module in &prepare.preload {
        hash.update([0]);
        hash.update(module);
    }
    let mut file = File::open(path).map_err(failed())?;
    let mut piece = vec![0; 1 << 20];
    loop {
        match file.read(&mut piece).map_err(failed())? {
            0 => break,
            len => hash.update(piece.get(..len).unwrap_or_default()),
        }
    }
    Ok(hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}
