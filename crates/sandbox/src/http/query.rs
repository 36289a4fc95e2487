//! What stands behind the question mark of a URL.

use crate::error::Error;

/// Its fields.
pub struct Query(Vec<(String, String)>);

impl Query {
    pub fn parse(text: &str) -> Query {
        let field = |part: &str| {
            let (name, value) = part.split_once('=').unwrap_or((part, ""));
            (decoded(name), decoded(value))
        };
        Query(text.split('&').filter(|part| !part.is_empty()).map(field).collect())
    }

    /// A field, if it is there.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// A field that must be there.
    pub fn need(&self, name: &str) -> Result<&str, Error> {
        let missing = || Error::Invalid(format!("the parameter {name:?} is missing"));
        self.get(name).filter(|value| !value.is_empty()).ok_or_else(missing)
    }
}

/// Without `%xx` and `+`.
fn decoded(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let hex = |digits: &[u8]| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok();
        match (first, after.get(..2).and_then(hex)) {
            (b'%', Some(byte)) => {
                bytes.push(byte);
                rest = after.get(2..).unwrap_or_default();
            }
            (b'+', _) => {
                bytes.push(b' ');
                rest = after;
            }
            (byte, _) => {
                bytes.push(*byte);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::Query;

    #[test]
    fn fields_are_decoded() {
        let query = Query::parse("path=%2Ftmp%2Fa+b%C3%A9&x&bad=%zz%2");
        assert_eq!(query.get("path"), Some("/tmp/a bé"));
        assert_eq!((query.get("x"), query.get("bad")), (Some(""), Some("%zz%2")));
        assert!(query.need("x").is_err() && query.need("y").is_err());
    }
}
