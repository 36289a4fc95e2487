//! What processes of a sandbox put out, read on threads.

use crate::error::Error;
use runtime::Process;
use std::io::Read;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::Instant;

/// Bytes that are read at once, and pieces that wait to be taken.
const PIECE: usize = 32 << 10;
const WAIT: usize = 8;

/// What a process puts out.
pub(crate) enum Chunk {
    /// Of standard output (0) or standard error (1).
    Bytes(usize, Vec<u8>),
    /// Both are at their end.
    End,
}

/// The outputs of a process, read by threads that wait while much has not been taken.
pub(crate) struct Pumped(Receiver<(usize, Vec<u8>)>);

impl Pumped {
    pub fn start(process: &mut Process) -> Result<Pumped, Error> {
        let (send, receive) = sync_channel(WAIT);
        let streams = [process.stdout.take(), process.stderr.take()];
        for (number, stream) in streams.into_iter().enumerate() {
            let Some(stream) = stream else { continue };
            let send = send.clone();
            let thread = std::thread::Builder::new().name("output".to_owned());
            let spawned = thread.spawn(move || pump(number, stream.own(), &send));
            spawned.map_err(Error::io("start a thread"))?;
        }
        Ok(Pumped(receive))
    }

    /// What comes next; none if nothing does until then.
    pub fn next(&self, until: Instant) -> Option<Chunk> {
        match self.0.recv_timeout(until.saturating_duration_since(Instant::now())) {
            Ok((stream, bytes)) => Some(Chunk::Bytes(stream, bytes)),
            Err(RecvTimeoutError::Disconnected) => Some(Chunk::End),
            Err(RecvTimeoutError::Timeout) => None,
        }
    }
}

fn pump(number: usize, mut stream: runtime::StreamReader, send: &SyncSender<(usize, Vec<u8>)>) {
    let mut piece = vec![0; PIECE];
    while let Ok(len @ 1..) = stream.read(&mut piece) {
        let bytes = piece.get(..len).unwrap_or_default().to_vec();
        if send.send((number, bytes)).is_err() {
            return;
        }
    }
}
