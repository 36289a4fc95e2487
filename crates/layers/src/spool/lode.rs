//! Contents that are read where they lie: in a layer's blob, compressed as it is.
//!
//! Whoever reads them in the order of the layer decodes it once, and nothing is written. Whoever goes back starts over; when that has
//! happened a few times, or was announced ([`Spool::keep_layers`]), the decoded layer is kept in a spool.

use std::fmt;
use std::io::{self, BufReader, Read};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::blob::Stream;
use crate::{Content, Spool};

/// How often a layer is decoded from its start before it is kept decoded if nobody has announced more readers: training and linking read
/// the whole image, too, and a build without RUN writes it once, as the box.
const STARTS: u32 = 4;

/// Opens a blob, any number of times: it always has the same bytes.
pub type Open = Arc<dyn Fn() -> io::Result<Box<dyn Read + Send>> + Send + Sync>;

type Decoding = Stream<BufReader<Box<dyn Read + Send>>>;

/// The contents of one layer. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Lode(Arc<Inner>);

struct Inner {
    open: Open,
    spool: Spool,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Where reading goes on, and what decodes.
    reading: Option<(u64, Decoding)>,
    starts: u32,
    /// Bytes of the decoded layer, once that is known.
    len: u64,
    whole: Option<Content>,
}

impl fmt::Debug for Lode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Lode")
    }
}

impl Lode {
    pub fn new(open: Open, spool: Spool) -> Lode {
        Lode(Arc::new(Inner { open, spool, state: Mutex::default() }))
    }

    /// Says how long the decoded layer is.
    pub fn set_len(&self, len: u64) {
        self.state().len = len;
    }

    pub fn is(&self, other: &Lode) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// Reads what is at `offset` of the decoded layer; some bytes at least, unless it has ended.
    pub fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut state = self.state();
        if let Some(whole) = &state.whole {
            return whole.read_at(buf, offset);
        }
        if state.reading.as_ref().is_none_or(|(at, _)| *at > offset) {
            state.starts += 1;
            if state.starts > STARTS || self.0.spool.keeps_layers() {
                let mut stream = self.start()?;
                let whole = self.0.spool.store_from(&mut stream, state.len);
                let whole = whole.map_err(io::Error::other)?;
                let read = whole.read_at(buf, offset);
                (state.whole, state.reading) = (Some(whole), None);
                return read;
            }
            state.reading = Some((0, self.start()?));
        }
        // A failed decoder is not asked again.
        let Some((at, mut stream)) = state.reading.take() else { return Ok(0) };
        let skip = offset - at;
        if skip > 0 && io::copy(&mut (&mut stream).take(skip), &mut io::sink())? != skip {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let len = stream.read(buf)?;
        state.reading = Some((offset + len as u64, stream));
        Ok(len)
    }

    fn start(&self) -> io::Result<Decoding> {
        Stream::new((self.0.open)()?).map_err(io::Error::other)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
