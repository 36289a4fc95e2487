//! `--chown` and `USER` to numbers, by the image's `/etc/passwd` and `/etc/group`.

use std::io;

use crate::error::{Cause, Error, Result};
use crate::files::{Files, read_small};

/// More than any image's account files have.
const LARGEST: u64 = 16 << 20;

/// The owner that `user[:group]` names. A number needs no account; a lone number is the group as
/// well, and a lone name has its account's group (as in BuildKit).
pub(crate) fn owner(text: &str, image: &dyn Files) -> Result<(u32, u32)> {
    let (user, group) = match text.split_once(':') {
        Some((user, group)) => (user, Some(group).filter(|group| !group.is_empty())),
        None => (text, None),
    };
    let (uid, account_gid) = match user.parse::<u32>() {
        Ok(uid) => (uid, uid),
        Err(_) => {
            let fields = record(image, "/etc/passwd", user)?;
            let number = |at: usize| fields.get(at).and_then(|field| field.parse::<u32>().ok());
            number(2).zip(number(3)).ok_or_else(|| unknown(user, "user", "/etc/passwd"))?
        }
    };
    let gid = match group {
        None => account_gid,
        Some(group) => match group.parse::<u32>() {
            Ok(gid) => gid,
            Err(_) => record(image, "/etc/group", group)?
                .get(2)
                .and_then(|field| field.parse().ok())
                .ok_or_else(|| unknown(group, "group", "/etc/group"))?,
        },
    };
    Ok((uid, gid))
}

/// The fields of the line that starts with `name:`; none if there is no such line.
fn record(image: &dyn Files, file: &'static str, name: &str) -> Result<Vec<String>> {
    let fail = |source: io::Error| Error::new(Cause::Read { path: file.into(), source });
    let bytes = read_small(image, file.as_bytes(), LARGEST).map_err(fail)?.unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    let found = text.lines().find(|line| line.split(':').next() == Some(name));
    Ok(found.map(|line| line.split(':').map(str::to_owned).collect()).unwrap_or_default())
}

fn unknown(name: &str, what: &'static str, file: &'static str) -> Error {
    Error::new(Cause::UnknownUser { name: name.to_owned(), what, file })
}
