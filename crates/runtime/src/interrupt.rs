//! Ctrl-C.

/// Status of a program that was interrupted: 128 + SIGINT.
const INTERRUPTED: i32 = 130;

/// From now on an interrupt (SIGINT) ends this process with status 130. WASI has no signals, so a box
/// cannot be told.
pub fn exit_on_interrupt() -> std::io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    let wait = move || {
        if runtime.block_on(tokio::signal::ctrl_c()).is_ok() {
            std::process::exit(INTERRUPTED);
        }
    };
    std::thread::Builder::new().name("interrupt".to_owned()).spawn(wait)?;
    Ok(())
}
