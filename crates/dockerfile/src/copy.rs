//! COPY and ADD.

use crate::words::Word;

/// `COPY`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Copy {
    /// What to copy, in order.
    pub sources: Vec<CopySource>,
    /// Where to.
    pub destination: Word,
    /// `--from`: a stage, an image or a context; the main context if not given.
    pub from: Option<Word>,
    /// `--chown`.
    pub chown: Option<Word>,
    /// `--chmod`.
    pub chmod: Option<Word>,
    /// `--link`.
    pub link: bool,
    /// `--parents`.
    pub parents: bool,
    /// `--exclude`, in order.
    pub exclude: Vec<Word>,
}

/// `ADD`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Add {
    /// What to add, in order.
    pub sources: Vec<CopySource>,
    /// Where to.
    pub destination: Word,
    /// `--chown`.
    pub chown: Option<Word>,
    /// `--chmod`.
    pub chmod: Option<Word>,
    /// `--link`.
    pub link: bool,
    /// `--keep-git-dir`.
    pub keep_git_dir: bool,
    /// `--checksum`.
    pub checksum: Option<Word>,
    /// `--exclude`, in order.
    pub exclude: Vec<Word>,
    /// `--unpack`; `None` leaves the choice to the kind of source.
    pub unpack: Option<bool>,
}

/// One source of COPY or ADD.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CopySource {
    /// A path, a wildcard, or (for ADD) a URL.
    Path(Word),
    /// A heredoc.
    Inline(InlineFile),
}

/// A file whose content stands in the Dockerfile.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InlineFile {
    /// The heredoc's delimiter: the file's name in a directory destination.
    pub name: String,
    /// The content, not expanded.
    pub content: String,
    /// False where the delimiter was quoted.
    pub expand: bool,
    /// The line of the introducer.
    pub line: u32,
}
