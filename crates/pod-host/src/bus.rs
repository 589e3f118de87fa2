//! The system bus, as far as a start needs it: one client that blocks, says one thing and hears the answer. What is sent
//! follows the D-Bus specification, protocol version 1, little-endian.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

/// Where the bus listens, unless [`ADDRESS`] says otherwise.
const SOCKET: &str = "/run/dbus/system_bus_socket";
/// The variable that names another place.
const ADDRESS: &str = "DBUS_SYSTEM_BUS_ADDRESS";
/// How long all of it may take: as long as a start may hang on a bus that does not work.
const PATIENCE: Duration = Duration::from_secs(10);
/// The longest message that is read.
const LONGEST: usize = 1 << 20;
const BUS: &str = "org.freedesktop.DBus";

/// The kinds of messages.
const CALL: u8 = 1;
const RETURN: u8 = 2;
const ERROR: u8 = 3;
const SIGNAL: u8 = 4;
/// The fields of a header.
const PATH: u8 = 1;
const INTERFACE: u8 = 2;
const MEMBER: u8 = 3;
const ERROR_NAME: u8 = 4;
const REPLY_TO: u8 = 5;
const DESTINATION: u8 = 6;
const SIGNATURE: u8 = 8;

/// Why the bus was of no use.
#[derive(Debug, thiserror::Error)]
pub enum BusError {
    /// It cannot be reached, or breaks off.
    #[error("cannot speak to the system bus")]
    Io(#[from] io::Error),
    /// It does not let us in.
    #[error("the system bus does not know us")]
    Refused,
    /// It says what makes no sense.
    #[error("the system bus sends what is no message")]
    Garbage,
    /// The other side answers with an error.
    #[error("{name}: {text}")]
    Answer {
        /// The error's name.
        name: String,
        /// What it says.
        text: String,
    },
    /// The job that was asked for did not end well.
    #[error("the job ended as {0:?}")]
    Job(String),
}

/// A connection.
#[derive(Debug)]
pub struct Bus {
    stream: UnixStream,
    until: Instant,
    serial: u32,
    /// Signals that came while an answer was waited for.
    early: Vec<Message>,
}

/// A message that came.
#[derive(Debug)]
pub struct Message {
    kind: u8,
    reply_to: u32,
    member: String,
    error: String,
    body: Vec<u8>,
}

/// Connects, or fails at once: a bus that does not accept is none.
fn connect(path: &str) -> io::Result<UnixStream> {
    use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    rustix::net::connect(&socket, &SocketAddrUnix::new(path)?)?;
    let stream = UnixStream::from(socket);
    stream.set_nonblocking(false)?;
    Ok(stream)
}

impl Bus {
    /// Connects to the system bus as the caller's user.
    ///
    /// # Errors
    /// There is none, or it does not let us in.
    pub fn system() -> Result<Self, BusError> {
        let address = std::env::var(ADDRESS).unwrap_or_default();
        let path = address.strip_prefix("unix:path=").unwrap_or(SOCKET);
        let path = path.split([',', ';']).next().unwrap_or(SOCKET);
        let stream = connect(path)?;
        stream.set_write_timeout(Some(PATIENCE))?;
        let mut bus =
            Self { stream, until: Instant::now() + PATIENCE, serial: 0, early: Vec::new() };
        bus.authenticate()?;
        bus.call((BUS, "/org/freedesktop/DBus"), (BUS, "Hello"), ("", Body::default()))?;
        Ok(bus)
    }

    fn authenticate(&mut self) -> Result<(), BusError> {
        let uid = rustix::process::getuid().as_raw().to_string();
        // In the hexadecimal of ASCII a digit is 3 and itself.
        let hex: String = uid.chars().flat_map(|digit| ['3', digit]).collect();
        self.stream.write_all(format!("\0AUTH EXTERNAL {hex}\r\n").as_bytes())?;
        let mut line = Vec::new();
        while !line.ends_with(b"\r\n") {
            let mut byte = [0];
            self.fill(&mut byte)?;
            line.extend(byte);
            if line.len() > 4096 {
                return Err(BusError::Garbage);
            }
        }
        if !line.starts_with(b"OK ") {
            return Err(BusError::Refused);
        }
        Ok(self.stream.write_all(b"BEGIN\r\n")?)
    }

    /// Asks to hear a signal.
    ///
    /// # Errors
    /// The bus refuses.
    pub fn watch(&mut self, sender: &str, interface: &str, member: &str) -> Result<(), BusError> {
        let mut body = Body::default();
        body.text(&format!(
            "type='signal',sender='{sender}',interface='{interface}',member='{member}'"
        ));
        self.call((BUS, "/org/freedesktop/DBus"), (BUS, "AddMatch"), ("s", body))?;
        Ok(())
    }

    /// Calls a method of (destination, path), named by (interface, member), and waits for its answer.
    ///
    /// # Errors
    /// The answer is an error, or none comes.
    pub fn call(
        &mut self,
        (destination, path): (&str, &str),
        (interface, member): (&str, &str),
        (signature, body): (&str, Body),
    ) -> Result<Message, BusError> {
        self.serial += 1;
        let mut head = Body::default();
        head.bytes.extend([b'l', CALL, 0, 1]);
        head.number(u32::try_from(body.bytes.len()).map_err(|_| BusError::Garbage)?);
        head.number(self.serial);
        head.list(8, |fields| {
            for (code, kind, text) in [
                (PATH, "o", path),
                (INTERFACE, "s", interface),
                (MEMBER, "s", member),
                (DESTINATION, "s", destination),
            ] {
                fields.align(8);
                fields.bytes.push(code);
                fields.signature(kind);
                fields.text(text);
            }
            if !signature.is_empty() {
                fields.align(8);
                fields.bytes.push(SIGNATURE);
                fields.signature("g");
                fields.signature(signature);
            }
        });
        head.align(8);
        head.bytes.extend(body.bytes);
        self.stream.write_all(&head.bytes)?;
        loop {
            let message = self.read()?;
            match message.kind {
                RETURN if message.reply_to == self.serial => return Ok(message),
                ERROR if message.reply_to == self.serial => {
                    let text = message.texts::<1>(0).map(|[text]| text).unwrap_or_default();
                    return Err(BusError::Answer { name: message.error, text });
                }
                SIGNAL => self.early.push(message),
                _ => {}
            }
        }
    }

    /// Waits for a signal that is watched.
    ///
    /// # Errors
    /// None comes.
    pub fn signal(&mut self, member: &str) -> Result<Message, BusError> {
        if let Some(index) = self.early.iter().position(|message| message.member == member) {
            return Ok(self.early.remove(index));
        }
        loop {
            let message = self.read()?;
            if message.kind == SIGNAL && message.member == member {
                return Ok(message);
            }
        }
    }

    /// Reads so many bytes, with what is left of the time.
    fn fill(&mut self, into: &mut [u8]) -> io::Result<()> {
        let mut rest = into;
        while !rest.is_empty() {
            let left = self.until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(io::ErrorKind::TimedOut.into());
            }
            self.stream.set_read_timeout(Some(left))?;
            let length = self.stream.read(rest)?;
            if length == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            rest = rest.get_mut(length..).unwrap_or_default();
        }
        Ok(())
    }

    fn read(&mut self) -> Result<Message, BusError> {
        let mut start = [0; 16];
        self.fill(&mut start)?;
        let mut fixed = Reader { bytes: &start, at: 4 };
        let (body, _serial, fields) = (fixed.number()?, fixed.number()?, fixed.number()?);
        let (body, fields) = (body as usize, fields as usize);
        let head = fields.next_multiple_of(8);
        if start[0] != b'l' || body > LONGEST || fields > LONGEST {
            return Err(BusError::Garbage);
        }
        let mut rest = vec![0; head + body];
        self.fill(&mut rest)?;
        let body = rest.split_off(head);
        rest.truncate(fields);
        let mut message = Message {
            kind: start[1],
            reply_to: 0,
            member: String::new(),
            error: String::new(),
            body,
        };
        let mut fields = Reader { bytes: &rest, at: 0 };
        while fields.at < rest.len() {
            fields.align(8);
            let code = fields.byte()?;
            match fields.signature()?.as_str() {
                "u" => {
                    let value = fields.number()?;
                    if code == REPLY_TO {
                        message.reply_to = value;
                    }
                }
                "g" => drop(fields.signature()?),
                _ => {
                    let text = fields.text()?;
                    match code {
                        MEMBER => message.member = text,
                        ERROR_NAME => message.error = text,
                        _ => {}
                    }
                }
            }
        }
        Ok(message)
    }
}

impl Message {
    /// The texts of the body, one after the other from this byte on.
    ///
    /// # Errors
    /// There are fewer.
    pub fn texts<const N: usize>(&self, from: usize) -> Result<[String; N], BusError> {
        let mut reader = Reader { bytes: &self.body, at: from };
        let mut found = [const { String::new() }; N];
        for text in &mut found {
            *text = reader.text()?;
        }
        Ok(found)
    }
}

/// What a message carries, as bytes. Alignment counts from its start.
#[derive(Debug, Default)]
pub struct Body {
    bytes: Vec<u8>,
}

impl Body {
    fn align(&mut self, to: usize) {
        self.bytes.resize(self.bytes.len().next_multiple_of(to), 0);
    }

    fn number(&mut self, value: u32) {
        self.align(4);
        self.bytes.extend(value.to_le_bytes());
    }

    /// A text, which must not hold a NUL.
    pub fn text(&mut self, text: &str) {
        self.number(u32::try_from(text.len()).unwrap_or_default());
        self.bytes.extend(text.bytes());
        self.bytes.push(0);
    }

    fn signature(&mut self, text: &str) {
        self.bytes.push(u8::try_from(text.len()).unwrap_or_default());
        self.bytes.extend(text.bytes());
        self.bytes.push(0);
    }

    /// An array whose elements are aligned to this; its length is written when they are there.
    fn list(&mut self, alignment: usize, fill: impl FnOnce(&mut Self)) {
        self.number(0);
        let length_at = self.bytes.len() - 4;
        self.align(alignment);
        let start = self.bytes.len();
        fill(self);
        let length = u32::try_from(self.bytes.len() - start).unwrap_or_default();
        if let Some(place) = self.bytes.get_mut(length_at..length_at + 4) {
            place.copy_from_slice(&length.to_le_bytes());
        }
    }

    /// An array of named values.
    pub fn properties(&mut self, fill: impl FnOnce(&mut Properties<'_>)) {
        self.list(8, |body| fill(&mut Properties { body }));
    }

    /// The units that come with a transient unit: none.
    pub fn no_units(&mut self) {
        self.list(8, |_| {});
    }
}

/// Named values, being written.
#[derive(Debug)]
pub struct Properties<'a> {
    body: &'a mut Body,
}

impl Properties<'_> {
    fn name(&mut self, name: &str, kind: &str) {
        self.body.align(8);
        self.body.text(name);
        self.body.signature(kind);
    }

    /// A text.
    pub fn text(&mut self, name: &str, value: &str) {
        self.name(name, "s");
        self.body.text(value);
    }

    /// Yes or no.
    pub fn flag(&mut self, name: &str, value: bool) {
        self.name(name, "b");
        self.body.number(value.into());
    }

    /// Some numbers.
    pub fn numbers(&mut self, name: &str, values: &[u32]) {
        self.name(name, "au");
        self.body.list(4, |body| values.iter().for_each(|value| body.number(*value)));
    }
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn align(&mut self, to: usize) {
        self.at = self.at.next_multiple_of(to);
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], BusError> {
        let end = self.at.checked_add(length).ok_or(BusError::Garbage)?;
        let found = self.bytes.get(self.at..end).ok_or(BusError::Garbage)?;
        self.at = end;
        Ok(found)
    }

    fn byte(&mut self) -> Result<u8, BusError> {
        self.take(1)?.first().copied().ok_or(BusError::Garbage)
    }

    fn number(&mut self) -> Result<u32, BusError> {
        self.align(4);
        let bytes = self.take(4)?.try_into().map_err(|_| BusError::Garbage)?;
        Ok(u32::from_le_bytes(bytes))
    }

    fn text(&mut self) -> Result<String, BusError> {
        let length = self.number()? as usize;
        self.string(length)
    }

    fn signature(&mut self) -> Result<String, BusError> {
        let length = usize::from(self.byte()?);
        self.string(length)
    }

    fn string(&mut self, length: usize) -> Result<String, BusError> {
        let text = self.take(length)?.to_vec();
        self.byte()?;
        String::from_utf8(text).map_err(|_| BusError::Garbage)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_laid_out_as_the_specification_says() {
        let mut body = Body::default();
        body.text("ab");
        body.properties(|p| {
            p.flag("D", true);
            p.numbers("P", &[7]);
        });
        let expected: &[u8] = b"\x02\0\0\0ab\0\0\x24\0\0\0\0\0\0\0\
            \x01\0\0\0D\0\x01b\0\0\0\0\x01\0\0\0\
            \x01\0\0\0P\0\x02au\0\0\0\x04\0\0\0\x07\0\0\0";
        assert_eq!(body.bytes, expected);
    }

    #[test]
    fn what_is_cut_short_is_garbage() {
        let message = |body: &[u8]| Message {
            kind: SIGNAL,
            reply_to: 0,
            member: String::new(),
            error: String::new(),
            body: body.to_vec(),
        };
        assert_eq!(message(b"\x01\0\0\0a\0").texts::<1>(0).unwrap(), ["a"]);
        for bad in [&b"\x05\0\0\0a\0"[..], b"\xff\xff\xff\xff", b"", b"\x01\0\0\0\xff\0"] {
            assert!(message(bad).texts::<1>(0).is_err(), "{bad:?}");
        }
    }
}
