//! How much an image may ask for.

/// Bounds on one archive. The defaults take every image in the wild and stop what only means harm.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Bytes of all files together, holes included.
    pub bytes: u64,
    /// Entries of the archive.
    pub entries: u64,
    /// Bytes of one path.
    pub path: usize,
    /// Components of one path.
    pub depth: usize,
    /// Bytes that come out of the decompressor, whatever they mean.
    pub stream: u64,
    /// How many times more may come out of a decompressor than went in, once [`Self::ratio_from`] bytes came out.
    pub ratio: u64,
    /// The ratio counts from this many bytes on.
    pub ratio_from: u64,
    /// Memory that a decompressor may take for its window, as a power of two.
    pub window_log: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            bytes: 64 << 30,
            entries: 4_000_000,
            path: 4095,
            depth: 1024,
            stream: 80 << 30,
            ratio: 200,
            ratio_from: 1 << 30,
            window_log: 27,
        }
    }
}
