//! Limits of a call, and how what reaches them is stopped.

use serde::{Deserialize, Serialize};

pub(crate) const SIGINT: u8 = 2;
pub(crate) const SIGKILL: u8 = 9;

/// A limit that a call has reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Limit {
    /// Its time is over.
    Time,
    /// It has written too much.
    Output,
    /// It has executed as many instructions as it was to.
    Instructions,
}
