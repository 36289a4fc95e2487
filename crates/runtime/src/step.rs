//! One command on an image, for RUN: the guest program is started on the image directly, without
//! making a box first, and leaves what the command changed as a layer.

use crate::error::{RunError, start_error};
use crate::options::{Mounted, Preopen, RunOptions};
use crate::preview1;
use crate::run::{Outcome, call_start, module_store};
use link::{CodeCache, ImageRange, boot, digest_of};
use rootfs::config::BoxConfig;
use std::io::Read;
use std::path::Path;

/// Name of the file with the layer, in [`StepInput::layer_dir`].
pub const LAYER_FILE: &str = "layer.tar";

/// Where the guest finds [`StepInput::layer_dir`].
const GUEST_DIR: &str = "/.boxer";

/// A command to run on an image.
pub struct StepInput<'a> {
    /// The guest program (see [`link::guest_wasm`]).
    pub guest: &'a [u8],
    /// The root filesystem image; exactly `image_len` bytes are read.
    pub image: &'a mut dyn Read,
    /// Length of the image in bytes.
    pub image_len: u64,
    /// The configuration; entrypoint and cmd are the command.
    pub config: &'a BoxConfig,
    /// An empty directory. The guest puts a tar stream there, [`LAYER_FILE`], with the command's
    /// changes and OCI whiteouts for what it removed. None runs the command and drops its changes.
    pub layer_dir: Option<&'a Path>,
    /// Seconds since the epoch at which the command's clock starts. It then counts guest instructions, and randomness
    /// is fixed: the same step gives the same result. None gives it the real clock and entropy.
    pub clock: Option<u64>,
}

/// Runs the command to its end.
pub fn run(
    cache: &CodeCache,
    input: StepInput<'_>,
    options: RunOptions,
) -> Result<Outcome, RunError> {
    run_and(cache, input, options, |_, _| ()).map(|(outcome, ())| outcome)
}

/// As [`run`]; then looks at the image, which nothing changes, and the address at which it lies.
pub fn run_and<T>(
    cache: &CodeCache,
    input: StepInput<'_>,
    mut options: RunOptions,
    look: impl FnOnce(&[u8], usize) -> T,
) -> Result<(Outcome, T), RunError> {
    if let Some(dir) = input.layer_dir {
        options.preopens.push(Preopen {
            host: dir.to_path_buf(),
            guest: GUEST_DIR.to_owned(),
            writable: true,
            mounted: Mounted::Directory,
        });
        options.env.push(("BOXER_BUILD".to_owned(), "1".to_owned()));
    }
    if let Some(seconds) = input.clock {
        options.env.push(("BOXER_CLOCK".to_owned(), seconds.to_string()));
    }
    let translation = options.translation.clone();
    let key = digest_of(input.guest);
    let module = cache.module::<RunError>(&key, || Ok(input.guest.to_vec()))?;
    let (mut store, sinks) = module_store(cache, options)?;
    let instance =
        preview1::linker(cache)?.instantiate(&mut store, &module).map_err(start_error)?;
    let lengths = (input.image_len, input.image_len);
    let reserved = boot(&mut store, instance, input.image, lengths, input.config, 0)?;
    let status = call_start(cache, &mut store, instance, &translation)?;
    let ImageRange { start, end } = reserved.image;
    let memory = instance.get_memory(&mut store, link::MEMORY);
    let image = memory.and_then(|memory| memory.data(&store).get(start..end)).unwrap_or_default();
    let seen = look(image, start);
    Ok((sinks.outcome(status), seen))
}
