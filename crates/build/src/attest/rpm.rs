//! rpm's database: headers (rpm.org, "RPM Package format") in the table `Packages` of a SQLite file.

use super::sqlite;

/// What a header says.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Rpm {
    pub name: String,
    pub version: String,
    pub release: String,
    pub epoch: Option<u32>,
    pub arch: String,
    pub license: Option<String>,
}

/// Tags of rpmtag.h.
const NAME: u32 = 1000;
const VERSION: u32 = 1001;
const RELEASE: u32 = 1002;
const EPOCH: u32 = 1003;
const LICENSE: u32 = 1014;
const ARCH: u32 = 1022;

/// The installed packages.
///
/// # Errors
/// Why the file is no such database.
pub(super) fn packages(database: &[u8]) -> Result<Vec<Rpm>, String> {
    let rows = sqlite::blobs(database, "Packages")?;
    rows.iter().map(|blob| header(blob).ok_or_else(|| "a header is malformed".to_owned())).collect()
}

/// A header without its lead: counts of index entries and bytes, 16 bytes for each entry (tag, type, offset, count), the bytes.
fn header(blob: &[u8]) -> Option<Rpm> {
    let number = |at: usize| -> Option<u32> {
        let bytes = blob.get(at..at.checked_add(4)?)?;
        Some(u32::from_be_bytes(bytes.try_into().ok()?))
    };
    let entries = usize::try_from(number(0)?).ok()?;
    let store = entries.checked_mul(16)?.checked_add(8)?;
    let store = blob.get(store..)?;
    let mut rpm = Rpm::default();
    for entry in 0..entries {
        let at = entry.checked_mul(16)?.checked_add(8)?;
        let tag = number(at)?;
        if !matches!(tag, NAME | VERSION | RELEASE | EPOCH | LICENSE | ARCH) {
            continue;
        }
        let value = store.get(usize::try_from(number(at + 8)?).ok()?..)?;
        if tag == EPOCH {
            rpm.epoch = Some(u32::from_be_bytes(value.get(..4)?.try_into().ok()?));
            continue;
        }
        let text = String::from_utf8_lossy(value.split(|byte| *byte == 0).next()?).into_owned();
        match tag {
            NAME => rpm.name = text,
            VERSION => rpm.version = text,
            RELEASE => rpm.release = text,
            ARCH => rpm.arch = text,
            _ => rpm.license = Some(text),
        }
    }
    (!rpm.name.is_empty()).then_some(rpm)
}

#[cfg(test)]
mod tests {
    use super::{Rpm, header, packages};

    #[test]
    fn headers_are_indexes_and_bytes() {
        let mut blob = Vec::new();
        let (texts, mut index) =
            (b"bash\x005.2\x001.fc40\0x86_64\0\0\0\0\x02".to_vec(), Vec::new());
        for (tag, kind, offset) in
            [(1000u32, 6u32, 0u32), (1001, 6, 5), (1002, 6, 9), (1022, 6, 16), (1003, 4, 23)]
        {
            for value in [tag, kind, offset, 1] {
                index.extend(value.to_be_bytes());
            }
        }
        blob.extend(5u32.to_be_bytes());
        blob.extend(u32::try_from(texts.len()).unwrap_or_default().to_be_bytes());
        blob.extend(index);
        blob.extend(texts);
        let expected = Rpm {
            name: "bash".into(),
            version: "5.2".into(),
            release: "1.fc40".into(),
            epoch: Some(2),
            arch: "x86_64".into(),
            license: None,
        };
        assert_eq!(header(&blob), Some(expected));
        for end in 0..blob.len() {
            let _ = header(&blob[..end]);
        }
        assert!(packages(b"SQLite format 3\0").is_err());
    }

    /// Written by `fixtures/attest/make.py`.
    const DATABASE: &[u8] = include_bytes!("../../../../fixtures/attest/rpmdb.sqlite");

    #[test]
    fn databases_of_many_pages_are_read() {
        let found = packages(DATABASE).unwrap_or_else(|reason| panic!("{reason}"));
        assert_eq!(found.len(), 43);
        let bash = Rpm {
            name: "bash".into(),
            version: "5.2.26".into(),
            release: "3.fc40".into(),
            epoch: None,
            arch: "x86_64".into(),
            license: Some("GPL-3.0-or-later".into()),
        };
        assert_eq!(found.first(), Some(&bash));
        assert_eq!((found[1].name.as_str(), found[1].epoch), ("openssl-libs", Some(1)));
        assert_eq!(found[42].name, "package-39");
    }

    #[test]
    fn damage_ends_the_search_and_nothing_else() {
        for at in 0..DATABASE.len() {
            let mut broken = DATABASE.to_vec();
            for byte in [0, 0xff, 0x81, broken[at] ^ 1] {
                broken[at] = byte;
                let _ = packages(&broken);
            }
        }
        // An interior page that leads to itself many times over.
        let mut looping = DATABASE.to_vec();
        looping[100] = 5;
        looping[103..105].copy_from_slice(&100u16.to_be_bytes());
        looping[112..312].fill(0x01);
        looping[300..304].copy_from_slice(&1u32.to_be_bytes());
        assert!(packages(&looping).is_err());
    }
}
