//! Contents of the data pages, kept sparse.

use super::{DATA, DATA_LEN};

/// Bytes in a [`Line`].
pub const LINE: usize = 64;

/// A piece of the data pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Line {
    /// Offset from [`DATA`] in units of [`LINE`].
    pub number: u32,
    /// What is there.
    pub bytes: [u8; LINE],
}

/// The data pages: lines in ascending order; what is not listed is zero, and no listed line is all zero.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Memory {
    lines: Vec<Line>,
}

impl Memory {
    /// All lines that are not zero.
    pub fn lines(&self) -> &[Line] {
        &self.lines
    }

    /// From lines in ascending order, none of them all zero.
    pub fn from_lines(lines: Vec<Line>) -> Memory {
        Memory { lines }
    }

    /// The data pages in full.
    pub fn data(&self) -> Vec<u8> {
        let mut data = vec![0; DATA_LEN];
        for line in &self.lines {
            let at = line.number as usize * LINE;
            data[at..at + LINE].copy_from_slice(&line.bytes);
        }
        data
    }

    /// Writes `bytes` at guest address `at`; what falls outside of the data pages is dropped.
    pub fn put(&mut self, at: u64, bytes: &[u8]) {
        let mut rest = bytes;
        let mut offset = at.wrapping_sub(DATA);
        while !rest.is_empty() {
            let within = (offset % LINE as u64) as usize;
            let (now, later) = rest.split_at(rest.len().min(LINE - within));
            if offset < DATA_LEN as u64 {
                self.put_in_line((offset / LINE as u64) as u32, within, now);
            }
            offset = offset.wrapping_add(now.len() as u64);
            rest = later;
        }
    }

    fn put_in_line(&mut self, number: u32, at: usize, bytes: &[u8]) {
        let found = self.lines.binary_search_by_key(&number, |l| l.number);
        let zero = bytes.iter().all(|b| *b == 0);
        let i = match found {
            Ok(i) => i,
            Err(_) if zero => return,
            Err(i) => {
                self.lines.insert(i, Line { number, bytes: [0; LINE] });
                i
            }
        };
        let line = &mut self.lines[i].bytes;
        line[at..at + bytes.len()].copy_from_slice(bytes);
        if zero && line.iter().all(|b| *b == 0) {
            self.lines.remove(i);
        }
    }

    /// Runs of bytes that are not zero, with their addresses; up to three zero bytes do not split a run.
    pub fn pieces(&self) -> Vec<(u64, Vec<u8>)> {
        let data = self.data();
        let mut pieces = Vec::new();
        let mut i = 0;
        while i < data.len() {
            if data[i] == 0 {
                i += 1;
                continue;
            }
            let (start, mut end) = (i, i);
            while i < data.len() && i < end + 4 {
                if data[i] != 0 {
                    end = i + 1;
                }
                i += 1;
            }
            pieces.push((DATA + start as u64, data[start..end].to_vec()));
            i = end;
        }
        pieces
    }
}

/// Moves all lines of `area` (which starts at [`DATA`]) that are not zero to `take` and zeroes them.
pub fn drain(area: &mut [u8], mut take: impl FnMut(Line)) {
    let (lines, _) = area.as_chunks_mut::<LINE>();
    for (number, bytes) in lines.iter_mut().enumerate() {
        let (words, _) = bytes.as_chunks::<8>();
        if words.iter().fold(0, |all, w| all | u64::from_ne_bytes(*w)) != 0 {
            take(Line { number: number as u32, bytes: *bytes });
            *bytes = [0; LINE];
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_across_lines_and_drops_what_is_outside() {
        let mut m = Memory::default();
        m.put(DATA + 60, &[1; 8]);
        m.put(DATA - 2, &[7; 4]);
        m.put(DATA + DATA_LEN as u64 - 1, &[9; 2]);
        let data = m.data();
        assert_eq!(data[..3], [7, 7, 0]);
        assert_eq!(data[59..69], [0, 1, 1, 1, 1, 1, 1, 1, 1, 0]);
        assert_eq!(data[DATA_LEN - 1], 9);
        let mut back = m.data();
        let mut lines = Vec::new();
        drain(&mut back, |l| lines.push(l));
        assert_eq!(Memory::from_lines(lines), m);
        assert!(back.iter().all(|b| *b == 0));
        m.put(DATA + 60, &[0; 8]);
        m.put(DATA, &[0; 2]);
        assert_eq!(m.lines().len(), 1);
    }
}
