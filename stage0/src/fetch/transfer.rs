//! What is told while the bytes of an image come.

/// Told how far a fetch is; called from several threads.
pub trait Progress: Sync {
    /// Something (`ACI`, `signature`, `layers`) begins to come; how many bytes that will be may be known.
    fn begin(&self, _what: &str, _total: Option<u64>) {}

    /// So many bytes of it have come, of so many.
    fn at(&self, _bytes: u64, _total: Option<u64>) {}

    /// All of it has come, or the rest never will.
    fn end(&self) {}
}

/// Tells nobody.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quiet;

impl Progress for Quiet {}
