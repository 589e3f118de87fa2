//! Compressed streams: which kind they are, decoding within bounds, and hashes taken on the way.

use crate::Limits;
use ring::digest::{Context, SHA256, SHA512};
use std::io::{self, BufReader, Read};
use std::marker::PhantomData;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// What a stream is packed with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    /// Nothing.
    None,
    /// gzip, one or several members.
    Gzip,
    /// bzip2, one or several streams.
    Bzip2,
    /// xz, one or several streams.
    Xz,
    /// Zstandard, one or several frames.
    Zstd,
}

/// Tells the compression by the first bytes; six are enough. What is not recognised counts as not compressed.
pub fn detect(head: &[u8]) -> Compression {
    match head {
        [0x1f, 0x8b, ..] => Compression::Gzip,
        [b'B', b'Z', b'h', ..] => Compression::Bzip2,
        [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => Compression::Xz,
        [0x28, 0xb5, 0x2f, 0xfd, ..] => Compression::Zstd,
        // A skippable frame may come first.
        [first, 0x2a, 0x4d, 0x18, ..] if (0x50..=0x5f).contains(first) => Compression::Zstd,
        _ => Compression::None,
    }
}

/// A stream whose first bytes were looked at.
pub type Sniffed<R> = io::Chain<io::Cursor<Vec<u8>>, R>;

/// Reads the first bytes of a stream and gives them back with the rest.
///
/// # Errors
/// As the stream.
pub fn sniff<R: Read>(mut stream: R) -> io::Result<(Compression, Sniffed<R>)> {
    let mut head = Vec::with_capacity(8);
    stream.by_ref().take(8).read_to_end(&mut head)?;
    let kind = detect(&head);
    Ok((kind, io::Cursor::new(head).chain(stream)))
}

/// Large enough for the inflater to run at full speed.
const BUFFER: usize = 128 << 10;

/// A decoder that ends with an error where a stream is cut off, damaged, or larger than the limits allow.
///
/// # Errors
/// The decoder cannot be set up.
pub fn decoder<'a, R: Read + Send + 'a>(
    kind: Compression,
    stream: R,
    limits: &Limits,
) -> io::Result<Box<dyn Read + Send + 'a>> {
    let taken = Arc::new(AtomicU64::new(0));
    let input =
        BufReader::with_capacity(BUFFER, Taken { inner: stream, count: Arc::clone(&taken) });
    let memory = (1_u64 << limits.window_log) + (16 << 20);
    let inner: Box<dyn Read + Send + 'a> = match kind {
        Compression::None => Box::new(input),
        Compression::Gzip => Box::new(flate2::bufread::MultiGzDecoder::new(input)),
        Compression::Bzip2 => Box::new(bzip2::bufread::MultiBzDecoder::new(input)),
        Compression::Xz => {
            let flags = liblzma::stream::CONCATENATED;
            let engine = liblzma::stream::Stream::new_stream_decoder(memory, flags)
                .map_err(io::Error::other)?;
            Box::new(liblzma::bufread::XzDecoder::new_stream(input, engine))
        }
        Compression::Zstd => {
            let mut engine = zstd::stream::read::Decoder::with_buffer(input)?;
            engine.window_log_max(limits.window_log)?;
            Box::new(engine)
        }
    };
    let packed = kind != Compression::None;
    Ok(Box::new(Bounded { inner, taken, given: 0, packed, limits: limits.clone() }))
}

/// Counts what a decoder takes.
struct Taken<R> {
    inner: R,
    count: Arc<AtomicU64>,
}

impl<R: Read> Read for Taken<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(buffer)?;
        self.count.fetch_add(n as u64, Ordering::Relaxed);
        Ok(n)
    }
}

/// Ends a stream that grows without measure.
struct Bounded<R> {
    inner: R,
    taken: Arc<AtomicU64>,
    given: u64,
    packed: bool,
    limits: Limits,
}

impl<R: Read> Read for Bounded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(buffer)?;
        self.given = self.given.saturating_add(n as u64);
        if self.given > self.limits.stream {
            return Err(io::Error::other(format!(
                "the stream is larger than {} bytes",
                self.limits.stream
            )));
        }
        let fair = self.taken.load(Ordering::Relaxed).saturating_mul(self.limits.ratio);
        if self.packed && self.given > self.limits.ratio_from && self.given > fair {
            let ratio = self.limits.ratio;
            return Err(io::Error::other(format!(
                "the stream unpacks to more than {ratio} times its size"
            )));
        }
        Ok(n)
    }
}

/// Hashes and counts what is read through it.
///
/// The assembly of `ring` does the work: where a processor has no instructions for these hashes it is half again as fast
/// as portable code, and hashing is most of what an import costs there.
#[derive(Clone)]
pub struct HashReader<R, A> {
    inner: R,
    hash: Context,
    count: u64,
    algorithm: PhantomData<A>,
}

/// A hash that can be taken of a stream.
pub trait Algorithm {
    /// An empty hash.
    fn start() -> Context;
}

/// SHA-256.
#[derive(Debug, Clone, Copy)]
pub struct Sha256;

/// SHA-512.
#[derive(Debug, Clone, Copy)]
pub struct Sha512;

impl Algorithm for Sha256 {
    fn start() -> Context {
        Context::new(&SHA256)
    }
}

impl Algorithm for Sha512 {
    fn start() -> Context {
        Context::new(&SHA512)
    }
}

/// A reader that takes the SHA-256 of what passes.
pub type Sha256Reader<R> = HashReader<R, Sha256>;
/// A reader that takes the SHA-512 of what passes.
pub type Sha512Reader<R> = HashReader<R, Sha512>;

impl<R, A> std::fmt::Debug for HashReader<R, A> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "HashReader({} bytes)", self.count)
    }
}

impl<R, A: Algorithm> HashReader<R, A> {
    /// Starts at zero.
    pub fn new(inner: R) -> Self {
        Self { inner, hash: A::start(), count: 0, algorithm: PhantomData }
    }

    /// How many bytes have passed.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// The hash of what has passed, and its length.
    pub fn finish(self) -> (Vec<u8>, u64) {
        (self.hash.finish().as_ref().to_vec(), self.count)
    }
}

impl<R: Read, A> Read for HashReader<R, A> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(buffer)?;
        self.hash.update(buffer.get(..n).unwrap_or_default());
        self.count = self.count.saturating_add(n as u64);
        Ok(n)
    }
}

/// Reads a stream to its end and forgets it, so that hashes cover all of it.
///
/// # Errors
/// As the stream.
pub fn drain(stream: &mut (impl Read + ?Sized)) -> io::Result<u64> {
    let mut buffer = vec![0_u8; 64 << 10];
    let mut total = 0_u64;
    loop {
        match stream.read(&mut buffer) {
            Ok(0) => return Ok(total),
            Ok(n) => total = total.saturating_add(n as u64),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

#[cfg(test)]
#[expect(clippy::indexing_slicing, reason = "tests know their lengths")]
mod tests {
    use super::*;
    use std::io::Write;

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut out = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        out.write_all(bytes).unwrap();
        out.finish().unwrap()
    }

    fn decode(bytes: &[u8], limits: &Limits) -> io::Result<Vec<u8>> {
        let (kind, stream) = sniff(bytes)?;
        let mut out = Vec::new();
        decoder(kind, stream, limits)?.read_to_end(&mut out)?;
        Ok(out)
    }

    #[test]
    fn all_members_and_frames_are_read() {
        let limits = Limits::default();
        let joined = [gzip(b"one "), gzip(b"two")].concat();
        assert_eq!(decode(&joined, &limits).unwrap(), b"one two");
        let skippable = [0x50, 0x2a, 0x4d, 0x18, 2, 0, 0, 0, 9, 9];
        let zstd = |bytes: &[u8]| zstd::stream::encode_all(bytes, 1).unwrap();
        let joined = [&skippable[..], &zstd(b"one "), &skippable, &zstd(b"two")].concat();
        assert_eq!(decode(&joined, &limits).unwrap(), b"one two");
        assert_eq!(decode(b"plain", &limits).unwrap(), b"plain");
    }

    #[test]
    fn damage_is_an_error() {
        let limits = Limits::default();
        let good = gzip(b"some bytes");
        decode(&good[..good.len() - 8], &limits).unwrap_err();
        decode(&[&good[..], b"junk"].concat(), &limits).unwrap_err();
        let mut flipped = good.clone();
        let at = flipped.len() - 6;
        flipped[at] ^= 1;
        decode(&flipped, &limits).unwrap_err();
        let zstd = zstd::stream::encode_all(&b"some bytes"[..], 1).unwrap();
        decode(&zstd[..zstd.len() - 1], &limits).unwrap_err();
    }

    /// Decodes without keeping anything.
    fn passed(bytes: &[u8], limits: &Limits) -> io::Result<u64> {
        let (kind, stream) = sniff(bytes)?;
        drain(&mut decoder(kind, stream, limits)?)
    }

    #[test]
    fn growth_is_bounded() {
        let limits = Limits { ratio_from: 1 << 20, ..Limits::default() };
        let error = passed(&gzip(&vec![0; 16 << 20]), &limits).unwrap_err();
        assert!(error.to_string().contains("200 times"), "{error}");
        let limits = Limits { stream: 10, ..Limits::default() };
        decode(b"more than ten bytes", &limits).unwrap_err();
    }

    #[test]
    fn hashes_cover_what_passed() {
        let mut reader = Sha256Reader::new(&b"abc"[..]);
        assert_eq!(drain(&mut reader).unwrap(), 3);
        let (hash, count) = reader.finish();
        assert_eq!((hash[0], hash[31], count), (0xba, 0xad, 3));
    }
}
