//! A build that is cancelled: it ends at once and leaves nothing behind.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use oci::Store;
use runtime::{Interrupt, Signals};

use crate::failure::Failure;

/// What a build gets to end by itself, tidily: what cannot be interrupted takes no longer but for very large images.
const PATIENCE: Duration = Duration::from_secs(5);

/// Whether a signal has come, and which.
#[derive(Default)]
pub struct Cancel {
    interrupt: Interrupt,
    signal: Arc<AtomicU8>,
}

impl Cancel {
    /// Given with the first signal.
    pub fn interrupt(&self) -> Interrupt {
        self.interrupt.clone()
    }

    /// From now on the first signal ends the build; after another, or after some time, this process ends whatever it does.
    pub fn watch(&self, signals: &Signals, store: &Store) -> std::io::Result<()> {
        let (interrupt, signal, store) =
            (self.interrupt.clone(), Arc::clone(&self.signal), store.clone());
        signals.intercept(move |number| {
            let number = u8::try_from(number).unwrap_or_default();
            if signal.swap(number, Ordering::SeqCst) != 0 {
                end(&store, number);
            }
            interrupt.give();
            let store = store.clone();
            std::thread::spawn(move || {
                std::thread::sleep(PATIENCE);
                end(&store, number);
            });
        })
    }

    /// A failure's exit code: the shell's for a signal, if that was the cause.
    pub fn code(&self, failure: Failure) -> Failure {
        match self.signal.load(Ordering::SeqCst) {
            0 => failure,
            number => failure.code(128 + number),
        }
    }
}

fn end(store: &Store, number: u8) -> ! {
    store.remove_own_temporaries();
    std::process::exit(128 + i32::from(number))
}
