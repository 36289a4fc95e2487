//! Running a box again by a record.

use crate::calls::{CALLS, Call, MODULE, Part};
use crate::error::{RunError, start_error};
use crate::identity::{Form, Source};
use crate::load;
use crate::preview1::Interrupted;
use crate::record::blocks::Reader;
use crate::record::event::{Bytes, END, End};
use crate::record::memory::{self, Sizes};
use crate::record::{Counts, EXIT, RecordError, VERSION, check_imports};
use crate::run::{Outcome, status};
use crate::stream::{Output, Sink};
use link::CodeCache;
use mux::watch::{CALL, CALL_AT, INSTRUCTION, LOG, NAME_LEN, STRACE, UNTIL_AT, WANTS_AT};
use std::fs::File;
use std::io::{BufReader, Write};
use std::path::Path;
use wasmtime::{Caller, Extern, Linker, Store, Val, ValType, bail};
use wasmtime_wasi::I32Exit;

/// What a record says of its run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct About {
    /// SHA-256 of the box's file, hexadecimal.
    pub digest: String,
    /// The box, as it was named.
    pub name: String,
    /// Seconds since the epoch at which the run began.
    pub at: u64,
    /// The version of boxer that wrote it.
    pub version: String,
}

/// A record whose checksums fit.
pub struct Record {
    about: About,
    blocks: Reader<BufReader<File>>,
}

/// Where a replay stops.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StopAt {
    /// When programs have executed so many instructions.
    Instruction(u64),
    /// Before the `nth` system call, of this name or of any.
    Call {
        /// Its name.
        name: Option<String>,
        /// 1 for the first.
        nth: u64,
    },
}

/// How to replay.
#[derive(Default)]
pub struct ReplayOptions {
    /// Where the box's standard output goes.
    pub stdout: Output,
    /// Where its standard error goes, and what was asked for here.
    pub stderr: Output,
    /// Where to stop.
    pub until: Option<StopAt>,
    /// System calls are printed on standard error, as strace does.
    pub strace: bool,
}

/// How a replay ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Replayed {
    /// As the run did.
    pub outcome: Outcome,
    /// Instructions that programs have executed.
    pub instructions: u64,
    /// System calls that they have made.
    pub calls: u64,
    /// It has stopped where it was to, before the run's end.
    pub stopped: bool,
}

impl Record {
    /// Reads a record and checks that all of it is as it was written.
    ///
    /// # Errors
    /// See [`RecordError`].
    pub fn open(path: &Path) -> Result<Record, RecordError> {
        let open = || File::open(path).map(BufReader::new).map_err(RecordError::Read);
        Reader::new(open()?, VERSION)?.check()?;
        let mut blocks = Reader::new(open()?, VERSION)?;
        let first = blocks.next()?.unwrap_or_default();
        let text = String::from_utf8_lossy(&first);
        let line = |key: &str| {
            let rest = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(' '));
            rest.ok_or(RecordError::Malformed("it does not say which box it is of"))
        };
        let digest = line("box")?.trim_start_matches("sha256:").to_owned();
        let at = line("at")?.parse().unwrap_or_default();
        let (name, version) = (line("name")?.to_owned(), line("by")?.to_owned());
        Ok(Record { about: About { digest, name, at, version }, blocks })
    }

    /// What it says of its run.
    pub fn about(&self) -> &About {
        &self.about
    }
}

/// Runs the box in `source` by a record of it.
pub fn replay(
    cache: &CodeCache,
    record: Record,
    source: &Source<'_>,
    options: ReplayOptions,
) -> Result<Replayed, RunError> {
    if source.form == Form::Component {
        return Err(RecordError::Component.into());
    }
    let given = source.content().digest().map_err(|error| source.error(error))?;
    let (given, recorded) = (link::hex(&given), record.about.digest.clone());
    if given != recorded {
        return Err(RecordError::OtherBox { recorded, given }.into());
    }
    let loaded = load::module(cache, source)?;
    let mut linker = Linker::<Replaying>::new(cache.engine());
    check_imports(&loaded.module)?;
    for import in loaded.module.imports() {
        let name = import.name();
        let kind = import.ty().func().cloned();
        let kind = kind.ok_or_else(|| RecordError::Import(name.to_owned()))?;
        if name == EXIT {
            let exit = |_: Caller<'_, Replaying>, status: i32| -> wasmtime::Result<()> {
                Err(I32Exit(status).into())
            };
            linker.func_wrap(MODULE, name, exit).map_err(start_error)?;
            continue;
        }
        let row = CALLS.iter().position(|call| call.name == name);
        let row = row.ok_or_else(|| RecordError::Import(name.to_owned()))?;
        if !kind.results().all(|result| matches!(result, ValType::I32)) || kind.results().len() != 1
        {
            return Err(RecordError::Import(name.to_owned()).into());
        }
        let answer =
            move |caller: Caller<'_, Replaying>, arguments: &[Val], results: &mut [Val]| {
                let answer = answer(caller, row, arguments)?;
                results.iter_mut().for_each(|result| *result = Val::I32(answer));
                Ok(())
            };
        linker.func_new(MODULE, name, kind, answer).map_err(start_error)?;
    }
    let (stdout, stderr) = (options.stdout.into_sink(), options.stderr.into_sink());
    let replaying = Replaying {
        blocks: record.blocks,
        block: Bytes::default(),
        counts: Counts::default(),
        retired: 0,
        number: 0,
        sizes: Sizes::default(),
        ended: None,
        out: [stdout.clone(), stderr.clone()],
    };
    let mut store = Store::new(cache.engine(), replaying);
    let code = linker.instantiate_pre(&loaded.module).map_err(start_error)?;
    let (instance, _) = loaded.instantiate(&code, &mut store, source)?;
    let counts = Counts::of(&mut store, instance);
    store.data_mut().counts = counts;
    let memory = instance.get_memory(&mut store, link::MEMORY);
    let memory = memory.ok_or(RecordError::Guest)?;
    ask(memory.data_mut(&mut store), counts, options.until.as_ref(), options.strace)?;
    let start = instance.get_typed_func::<(), ()>(&mut store, "_start").map_err(start_error)?;
    let result = start.call(&mut store, ());
    let (bytes, replaying) = memory.data_and_store_mut(&mut store);
    let bytes = &*bytes;
    let ended = status(result.map(|()| 0));
    let replayed = |status| -> Result<Replayed, RecordError> {
        let taken = |sink: &Option<Sink>| sink.as_ref().map(Sink::take).unwrap_or_default();
        Ok(Replayed {
            outcome: Outcome { status, stdout: taken(&stdout), stderr: taken(&stderr) },
            instructions: counts.retired(bytes)?,
            calls: counts.calls(bytes)?,
            stopped: counts.stopped(bytes)?,
        })
    };
    if let Err(error @ RunError::Record(_)) = ended {
        return Err(error);
    }
    if !(ended.is_ok() && counts.stopped(bytes)?) {
        let end = match &ended {
            Ok(status) => End::Exit(*status),
            Err(RunError::Interrupted) => End::Interrupted,
            Err(_) => End::Failed,
        };
        replaying.expect_end(&end, bytes)?;
    }
    Ok(replayed(ended?)?)
}

/// Writes into the box what is asked of it.
fn ask(
    memory: &mut [u8],
    counts: Counts,
    until: Option<&StopAt>,
    strace: bool,
) -> Result<(), RecordError> {
    if until.is_none() && !strace {
        return Ok(());
    }
    let mut put = |place: usize, bytes: &[u8]| {
        let at = counts.at(place).ok_or(RecordError::Guest)?;
        let there = memory::range(memory, at, bytes.len() as u64)?;
        memory[there].copy_from_slice(bytes);
        Ok::<(), RecordError>(())
    };
    let mut wants = if strace { STRACE } else { 0 };
    match until {
        None => {}
        Some(StopAt::Instruction(count)) => {
            wants |= INSTRUCTION;
            put(UNTIL_AT, &count.to_le_bytes())?;
        }
        Some(StopAt::Call { name, nth }) => {
            wants |= CALL;
            put(UNTIL_AT, &nth.to_le_bytes())?;
            let name = name.as_deref().unwrap_or_default().as_bytes();
            put(CALL_AT, &name[..name.len().min(NAME_LEN)])?;
        }
    }
    put(WANTS_AT, &wants.to_le_bytes())
}

/// A box that runs by a record.
struct Replaying {
    blocks: Reader<BufReader<File>>,
    block: Bytes,
    counts: Counts,
    /// Instructions, as the record counts them.
    retired: u64,
    /// Calls so far.
    number: u64,
    sizes: Sizes,
    /// What the record's end says, once it was read in a call.
    ended: Option<(u64, u64, End)>,
    out: [Option<Sink>; 2],
}

fn answer(
    mut caller: Caller<'_, Replaying>,
    row: usize,
    arguments: &[Val],
) -> wasmtime::Result<i32> {
    let Some(Extern::Memory(memory)) = caller.get_export(link::MEMORY) else {
        bail!("the box exports no memory");
    };
    let (memory, replaying) = memory.data_and_store_mut(&mut caller);
    let words: Vec<u64> = arguments
        .iter()
        .map(|argument| match argument {
            Val::I32(value) => u64::from(*value as u32),
            Val::I64(value) => *value as u64,
            _ => 0,
        })
        .collect();
    let call = &CALLS[row];
    if call.name == "fd_write" && words.first() == Some(&u64::from(LOG)) {
        return Ok(replaying.log(call, &words, memory)?);
    }
    let answer = replaying.answer(row, &words, memory)?;
    replaying.number += 1;
    match answer {
        Answer::Errno(errno) => Ok(errno),
        Answer::End(End::Interrupted) => Err(Interrupted.into()),
        Answer::End(End::Exit(status)) => Err(I32Exit(status).into()),
        Answer::End(End::Failed) => Err(replaying.diverged(memory, "the run failed here").into()),
    }
}

/// What comes of a call.
enum Answer {
    Errno(i32),
    /// The run ended in it.
    End(End),
}

impl Replaying {
    fn answer(
        &mut self,
        row: usize,
        arguments: &[u64],
        memory: &mut [u8],
    ) -> Result<Answer, RecordError> {
        let call = &CALLS[row];
        self.fill()?;
        let recorded = self.block.number()?;
        if recorded == END {
            let ended = self.end()?;
            let end = ended.2.clone();
            self.ended = Some(ended);
            return match end {
                End::Exit(_) | End::Interrupted => Ok(Answer::End(end)),
                End::Failed => Err(self.diverged(memory, "the run failed, and this one goes on")),
            };
        }
        let name =
            usize::try_from(recorded).ok().and_then(|row| CALLS.get(row)).map(|call| call.name);
        let name = name.ok_or(RecordError::Malformed("it names a call that there is not"))?;
        if recorded != row as u64 {
            return Err(self.diverged(memory, &format!("{name} was called, and now {}", call.name)));
        }
        self.retired = self.retired.wrapping_add(self.block.number()?);
        if self.retired != self.counts.retired(memory)? {
            let what = format!("{name} was called at instruction {}", self.retired);
            return Err(self.diverged(memory, &what));
        }
        for index in call.plain {
            let (now, then) =
                (arguments.get(*index).copied().unwrap_or_default(), self.block.number()?);
            if now != then {
                let what = format!("argument {index} of {name} was {then}, and now is {now}");
                return Err(self.diverged(memory, &what));
            }
        }
        if !call.asks.is_empty() {
            let mut then = [0; 8];
            then.copy_from_slice(self.block.take(8)?);
            if u64::from_le_bytes(then) != memory::asked(call, arguments, memory, self.sizes)? {
                return Err(
                    self.diverged(memory, &format!("what {name} is given is not what it was"))
                );
            }
        }
        let errno = u32::try_from(self.block.number()?).unwrap_or(u32::MAX) as i32;
        if errno == 0 {
            for part in call.answers {
                self.write(*part, arguments, memory)?;
            }
            self.sizes.told(call, arguments, memory)?;
            self.print(call, arguments, memory)?;
        }
        Ok(Answer::Errno(errno))
    }

    /// Writes a part of an answer where the call says.
    fn write(
        &mut self,
        part: Part,
        arguments: &[u64],
        memory: &mut [u8],
    ) -> Result<(), RecordError> {
        let ranges = memory::ranges(part, arguments, memory, self.sizes)?;
        if self.block.number()? != ranges.iter().map(|range| range.len() as u64).sum::<u64>() {
            return Err(RecordError::Malformed("an answer has another length than the call's"));
        }
        for range in ranges {
            let bytes = self.block.take(range.len() as u64)?;
            memory[range].copy_from_slice(bytes);
        }
        if let Part::Strings { list, bytes } = part {
            let at = |index: usize| arguments.get(index).copied().unwrap_or_default();
            memory::list_strings(at(list), at(bytes), memory, self.sizes)?;
        }
        Ok(())
    }

    /// What the box has written on its standard streams, as much as was taken.
    fn print(&self, call: &Call, arguments: &[u64], memory: &[u8]) -> Result<(), RecordError> {
        let (Some(fd @ (1 | 2)), Some(done)) = (arguments.first(), arguments.get(3)) else {
            return Ok(());
        };
        if call.name != "fd_write" {
            return Ok(());
        }
        let mut left = memory::word(memory, *done)? as usize;
        for range in memory::ranges(call.asks[0], arguments, memory, self.sizes)? {
            let bytes = &memory[range];
            let taken = &bytes[..bytes.len().min(left)];
            left -= taken.len();
            self.put(*fd == 2, taken)?;
        }
        Ok(())
    }

    fn put(&self, error: bool, mut bytes: &[u8]) -> Result<(), RecordError> {
        match &self.out[usize::from(error)] {
            Some(sink) => {
                while !bytes.is_empty() {
                    let taken = sink.write(bytes).map_err(RecordError::Output)?;
                    bytes = bytes.get(taken.max(1)..).unwrap_or_default();
                }
                Ok(())
            }
            None if error => std::io::stderr().write_all(bytes).map_err(RecordError::Output),
            None => {
                let mut stdout = std::io::stdout().lock();
                stdout.write_all(bytes).and_then(|()| stdout.flush()).map_err(RecordError::Output)
            }
        }
    }

    /// What was asked for beside the run: all of it is taken.
    fn log(&self, call: &Call, arguments: &[u64], memory: &mut [u8]) -> Result<i32, RecordError> {
        let ranges = memory::ranges(call.asks[0], arguments, memory, self.sizes)?;
        let len = ranges.iter().map(|range| range.len() as u32).sum::<u32>();
        for range in ranges {
            self.put(true, &memory[range])?;
        }
        for range in memory::ranges(call.answers[0], arguments, memory, self.sizes)? {
            memory[range].copy_from_slice(&len.to_le_bytes());
        }
        Ok(0)
    }

    /// Has something left in the block.
    fn fill(&mut self) -> Result<(), RecordError> {
        while self.block.is_empty() {
            let next = self.blocks.next()?;
            let next = next
                .ok_or(RecordError::Malformed("it has an end, and no word of how the run ended"))?;
            self.block = Bytes::new(next);
        }
        Ok(())
    }

    /// Instructions, system calls, and how the run ended; its mark was read.
    fn end(&mut self) -> Result<(u64, u64, End), RecordError> {
        let retired = self.retired.wrapping_add(self.block.number()?);
        let calls = self.block.number()?;
        let end = match self.block.number()? {
            0 => End::Exit(u32::try_from(self.block.number()?).unwrap_or(u32::MAX) as i32),
            1 => End::Interrupted,
            _ => End::Failed,
        };
        Ok((retired, calls, end))
    }

    /// The replay has ended in this way.
    fn expect_end(&mut self, end: &End, memory: &[u8]) -> Result<(), RecordError> {
        let (retired, calls, then) = match self.ended.take() {
            Some(ended) => ended,
            None => {
                self.fill()?;
                if self.block.number()? != END {
                    return Err(self.diverged(memory, "the run went on, and this one has ended"));
                }
                self.end()?
            }
        };
        let now = (self.counts.retired(memory)?, self.counts.calls(memory)?);
        if then != *end {
            return Err(
                self.diverged(memory, &format!("it ended with {then:?}, and now with {end:?}"))
            );
        }
        if (retired, calls) != now {
            let what = format!("it ended after {retired} instructions and {calls} system calls");
            return Err(self.diverged(memory, &what));
        }
        Ok(())
    }

    fn diverged(&self, memory: &[u8], what: &str) -> RecordError {
        RecordError::Diverged {
            call: self.number,
            instruction: self.counts.retired(memory).unwrap_or_default(),
            what: what.to_owned(),
        }
    }
}
