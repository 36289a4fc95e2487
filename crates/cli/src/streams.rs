//! Standard output and standard error, which may be closed at the other end.

/// Prints a line of data on standard output. A closed pipe ends the program quietly, with the
/// status that SIGPIPE gives.
macro_rules! say {
    ($($text:tt)*) => {{
        use std::io::Write as _;
        if let Err(error) = writeln!(std::io::stdout(), $($text)*) {
            $crate::streams::lost(&error);
        }
    }};
}

/// Prints a line for people on standard error; if nobody listens, nobody needs it.
macro_rules! tell {
    ($($text:tt)*) => {{
        use std::io::Write as _;
        let _ = writeln!(std::io::stderr(), $($text)*);
    }};
}

/// Standard output takes no more.
pub fn lost(error: &std::io::Error) -> ! {
    const BROKEN_PIPE: i32 = 141;
    if error.kind() == std::io::ErrorKind::BrokenPipe {
        std::process::exit(BROKEN_PIPE);
    }
    tell!("ERROR: cannot write to standard output: {error}");
    std::process::exit(1);
}
