//! `--chown` and `USER` to numbers, by the image's `/etc/passwd` and `/etc/group`.

use std::io;

use crate::error::{Cause, Error, Result};
use crate::files::{Files, read_small};

/// More than any image's account files have.
const LARGEST: u64 = 16 << 20;

/// The owner that `user[:group]` names. A number needs no account; a lone number is the group as
/// well, and a lone name has its account's group. Where a part is empty it is root's, and so is the name `root` where the image
/// knows nobody. As in BuildKit, a name that an image does not know is root too, which `warn` hears; only on an image without any files
/// it is an error.
pub(crate) fn owner(text: &str, image: &dyn Files, warn: &dyn Fn(&str)) -> Result<(u32, u32)> {
    let missing = |name: &str, what: &'static str, file: &'static str| {
        if image.names(b"").is_ok_and(|names| names.is_empty()) {
            return Err(unknown(name, what, file));
        }
        warn(&format!("there is no {what} {name:?} in the image's {file}: it is taken for root"));
        Ok(())
    };
    let (user, group) = match text.split_once(':') {
        Some((user, group)) => (user, Some(group)),
        None => (text, None),
    };
    let (uid, account_gid) = match user.parse::<u32>() {
        Ok(uid) => (uid, uid),
        Err(_) if user.is_empty() => (0, 0),
        Err(_) => {
            let fields = record(image, "/etc/passwd", user)?;
            let number = |at: usize| fields.get(at).and_then(|field| field.parse::<u32>().ok());
            match number(2).zip(number(3)) {
                Some(ids) => ids,
                None if user == "root" => (0, 0),
                None => {
                    missing(user, "user", "/etc/passwd")?;
                    (0, 0)
                }
            }
        }
    };
    let gid = match group {
        None => account_gid,
        Some("") => 0,
        Some(group) => match group.parse::<u32>() {
            Ok(gid) => gid,
            Err(_) => {
                let fields = record(image, "/etc/group", group)?;
                match fields.get(2).and_then(|field| field.parse().ok()) {
                    Some(gid) => gid,
                    None if group == "root" => 0,
                    None => {
                        missing(group, "group", "/etc/group")?;
                        0
                    }
                }
            }
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
