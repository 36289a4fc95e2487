//! As much of SQLite's file format (sqlite.org/fileformat2.html) as it takes to read the blobs of one table.

const MAGIC: &[u8] = b"SQLite format 3\0";
/// Page types of tables.
const INTERIOR: u8 = 5;
const LEAF: u8 = 13;
/// Deeper trees are not made by SQLite.
const DEEPEST: usize = 40;

/// The first blob of each row of a table.
///
/// # Errors
/// What is wrong with the file.
pub(super) fn blobs(file: &[u8], table: &str) -> Result<Vec<Vec<u8>>, String> {
    let malformed = || "it is no SQLite database that can be read".to_owned();
    let mut database = Database::open(file).ok_or_else(malformed)?;
    let mut root = None;
    database
        .rows(1, 0, &mut |row| {
            // sqlite_schema: type, name, tbl_name, rootpage, sql.
            if let [Value::Text(kind), Value::Text(name), _, Value::Number(page), ..] = row
                && *kind == b"table"
                && *name == table.as_bytes()
            {
                root = u32::try_from(*page).ok();
            }
        })
        .ok_or_else(malformed)?;
    let root = root.ok_or_else(|| format!("it has no table {table}"))?;
    let mut found = Vec::new();
    database
        .rows(root, 0, &mut |row| {
            let blob = row.iter().find_map(|value| match value {
                Value::Blob(bytes) => Some(bytes.to_vec()),
                _ => None,
            });
            found.extend(blob);
        })
        .ok_or_else(malformed)?;
    Ok(found)
}

enum Value<'a> {
    Number(i64),
    Text(&'a [u8]),
    Blob(&'a [u8]),
    Other,
}

struct Database<'a> {
    file: &'a [u8],
    page: usize,
    /// Bytes of a page that cells use.
    usable: usize,
    /// Pages and bytes that may still be read: a sound file has each page in one tree, and each byte in one cell.
    left: (usize, usize),
}

impl<'a> Database<'a> {
    fn open(file: &'a [u8]) -> Option<Self> {
        if !file.starts_with(MAGIC) {
            return None;
        }
        let page = match big(file, 16, 2)? {
            1 => 65536,
            size if size >= 512 => size,
            _ => return None,
        };
        let usable = page.checked_sub(usize::from(*file.get(20)?))?;
        let left = (2 * (file.len() / page), 2 * file.len());
        (usable >= 480).then_some(Self { file, page, usable, left })
    }

    fn page(&self, number: u32) -> Option<&'a [u8]> {
        let from = usize::try_from(number).ok()?.checked_sub(1)?.checked_mul(self.page)?;
        self.file.get(from..from.checked_add(self.page)?)
    }

    /// Hands every row of the tree below a page out.
    fn rows(
        &mut self,
        number: u32,
        depth: usize,
        take: &mut dyn FnMut(&[Value<'_>]),
    ) -> Option<()> {
        self.left.0 = self.left.0.checked_sub(1)?;
        if depth > DEEPEST {
            return None;
        }
        let page = self.page(number)?;
        // The first page begins with the file's header.
        let start = if number == 1 { 100 } else { 0 };
        let kind = *page.get(start)?;
        let cells = big(page, start + 3, 2)?;
        let pointers = start + if kind == INTERIOR { 12 } else { 8 };
        for cell in 0..cells {
            let at = big(page, pointers + 2 * cell, 2)?;
            match kind {
                INTERIOR => {
                    self.rows(u32::try_from(big(page, at, 4)?).ok()?, depth + 1, take)?;
                }
                LEAF => {
                    let (length, used) = varint(page.get(at..)?)?;
                    let (_, key) = varint(page.get(at + used..)?)?;
                    let payload = self.payload(page, at + used + key, length)?;
                    take(&record(&payload)?);
                }
                _ => return None,
            }
        }
        if kind == INTERIOR {
            self.rows(u32::try_from(big(page, start + 8, 4)?).ok()?, depth + 1, take)?;
        }
        Some(())
    }

    /// A cell's content: what lies in the page, and the chain of pages with the rest.
    fn payload(&mut self, page: &[u8], at: usize, length: u64) -> Option<Vec<u8>> {
        let length = usize::try_from(length).ok()?;
        self.left.1 = self.left.1.checked_sub(length)?;
        // "U-35" and "M" of the format's section 1.6.
        let most = self.usable - 35;
        let least = (self.usable - 12) * 32 / 255 - 23;
        let local = match length {
            length if length <= most => length,
            length => {
                let kept = least + (length - least) % (self.usable - 4);
                if kept <= most { kept } else { least }
            }
        };
        let mut bytes = page.get(at..at.checked_add(local)?)?.to_vec();
        let mut next = match length > local {
            true => u32::try_from(big(page, at + local, 4)?).ok()?,
            false => 0,
        };
        while bytes.len() < length {
            let page = self.page(next)?;
            let part = (length - bytes.len()).min(self.usable - 4);
            bytes.extend_from_slice(page.get(4..4 + part)?);
            next = u32::try_from(big(page, 0, 4)?).ok()?;
        }
        Some(bytes)
    }
}

/// A record: the length of its header, a type for each column, the columns.
fn record(bytes: &[u8]) -> Option<Vec<Value<'_>>> {
    let (header, mut at) = varint(bytes)?;
    let header = usize::try_from(header).ok()?;
    let mut content = header;
    let mut values = Vec::new();
    while at < header {
        let (kind, used) = varint(bytes.get(at..)?)?;
        at += used;
        let length = match kind {
            0 | 8 | 9 | 10 | 11 => 0,
            1..=4 => usize::try_from(kind).ok()?,
            5 => 6,
            6 | 7 => 8,
            kind => usize::try_from((kind - 12) / 2).ok()?,
        };
        let value = bytes.get(content..content.checked_add(length)?)?;
        content += length;
        values.push(match kind {
            1..=6 => {
                let negative = value.first().is_some_and(|byte| byte & 0x80 != 0);
                let start = if negative { -1 } else { 0 };
                Value::Number(
                    value.iter().fold(start, |sum: i64, byte| sum << 8 | i64::from(*byte)),
                )
            }
            8 => Value::Number(0),
            9 => Value::Number(1),
            kind if kind >= 12 && kind % 2 == 0 => Value::Blob(value),
            kind if kind >= 13 => Value::Text(value),
            _ => Value::Other,
        });
    }
    Some(values)
}

fn big(bytes: &[u8], at: usize, length: usize) -> Option<usize> {
    let part = bytes.get(at..at.checked_add(length)?)?;
    Some(part.iter().fold(0, |sum, byte| sum << 8 | usize::from(*byte)))
}

/// One to nine bytes, seven bits each but for the ninth; and how many they were.
fn varint(bytes: &[u8]) -> Option<(u64, usize)> {
    let mut value = 0u64;
    for (at, byte) in bytes.iter().take(8).enumerate() {
        value = value << 7 | u64::from(byte & 0x7f);
        if byte & 0x80 == 0 {
            return Some((value, at + 1));
        }
    }
    Some((value << 8 | u64::from(*bytes.get(8)?), 9))
}
