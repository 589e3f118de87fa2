//! The header of a packet (virtio 1.2, section 5.10.6).

/// Its length in bytes.
pub(super) const LENGTH: usize = 44;
/// The host's own number.
pub(super) const HOST: u64 = 2;
/// The one type of sockets there is here: streams.
pub(super) const STREAM: u16 = 1;
/// The flags of a shutdown: its sender will not receive, and not send, any more.
pub(super) const NO_RECEIVE: u32 = 1;
pub(super) const NO_SEND: u32 = 2;

/// What a packet is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Operation {
    /// Asks for a connection.
    Request,
    /// Grants it.
    Response,
    /// Ends or refuses it.
    Reset,
    /// Says what will not come any more.
    Shutdown,
    /// Carries bytes.
    Data,
    /// Tells how much room there is.
    Credit,
    /// Asks how much there is.
    CreditRequest,
}

impl Operation {
    fn number(self) -> u16 {
        match self {
            Self::Request => 1,
            Self::Response => 2,
            Self::Reset => 3,
            Self::Shutdown => 4,
            Self::Data => 5,
            Self::Credit => 6,
            Self::CreditRequest => 7,
        }
    }

    fn of(number: u16) -> Option<Self> {
        [
            Self::Request,
            Self::Response,
            Self::Reset,
            Self::Shutdown,
            Self::Data,
            Self::Credit,
            Self::CreditRequest,
        ]
        .into_iter()
        .find(|operation| operation.number() == number)
    }
}

/// A packet's header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Header {
    /// Who sends it.
    pub(super) from: (u64, u32),
    /// Who is meant.
    pub(super) to: (u64, u32),
    /// How many bytes follow.
    pub(super) length: u32,
    /// The type of the socket.
    pub(super) kind: u16,
    /// `None` for one that the standard does not know.
    pub(super) operation: Option<Operation>,
    /// Details of the operation.
    pub(super) flags: u32,
    /// The room that the sender has in all, and how much it has passed on.
    pub(super) room: u32,
    /// How many bytes the sender has taken out of that room, modulo 2^32.
    pub(super) forwarded: u32,
}

impl Header {
    /// Reads a header.
    pub(super) fn decode(bytes: &[u8; LENGTH]) -> Self {
        let long = |at: usize| {
            let mut value = [0; 8];
            value.iter_mut().zip(bytes.iter().skip(at)).for_each(|(to, from)| *to = *from);
            u64::from_le_bytes(value)
        };
        let word = |at| u32::try_from(long(at) & 0xffff_ffff).unwrap_or_default();
        let short = |at| u16::try_from(long(at) & 0xffff).unwrap_or_default();
        Self {
            from: (long(0), word(16)),
            to: (long(8), word(20)),
            length: word(24),
            kind: short(28),
            operation: Operation::of(short(30)),
            flags: word(32),
            room: word(36),
            forwarded: word(40),
        }
    }

    /// The header as bytes.
    pub(super) fn encode(&self) -> Vec<u8> {
        let operation = self.operation.map_or(0, Operation::number);
        [
            &self.from.0.to_le_bytes()[..],
            &self.to.0.to_le_bytes(),
            &self.from.1.to_le_bytes(),
            &self.to.1.to_le_bytes(),
            &self.length.to_le_bytes(),
            &self.kind.to_le_bytes(),
            &operation.to_le_bytes(),
            &self.flags.to_le_bytes(),
            &self.room.to_le_bytes(),
            &self.forwarded.to_le_bytes(),
        ]
        .concat()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_is_read_as_it_was_written() {
        for number in 0..9 {
            let header = Header {
                from: (3, 0x0102_0304),
                to: (HOST, 7),
                length: 9,
                kind: STREAM,
                operation: Operation::of(number),
                flags: NO_SEND,
                room: u32::MAX,
                forwarded: 5,
            };
            let bytes = header.encode();
            assert_eq!(Header::decode(&bytes.try_into().unwrap()), header);
        }
        assert_eq!(Operation::of(0), None);
    }
}
