//! The head of each packet (virtio 1.2, section 5.1.6): what its receiver has still to do to it. It goes to the host's kernel,
//! which acts upon it; so nothing that a guest writes here is passed on but what was understood.

/// Bytes of it.
pub(super) const LENGTH: usize = 12;
/// Where it says in how many buffers a packet lies.
pub(super) const BUFFERS: usize = 10;

/// Features, by bit (section 5.1.3).
pub(super) const CHECKSUM: u64 = 1;
pub(super) const GUEST_CHECKSUM: u64 = 1 << 1;
pub(super) const MTU: u64 = 1 << 3;
pub(super) const ADDRESS: u64 = 1 << 5;
pub(super) const GUEST_TCP4: u64 = 1 << 7;
pub(super) const GUEST_TCP6: u64 = 1 << 8;
pub(super) const GUEST_ECN: u64 = 1 << 9;
pub(super) const TCP4: u64 = 1 << 11;
pub(super) const TCP6: u64 = 1 << 12;
pub(super) const ECN: u64 = 1 << 13;
pub(super) const MERGED: u64 = 1 << 15;
pub(super) const STATUS: u64 = 1 << 16;
pub(super) const GUEST_UDP4: u64 = 1 << 54;
pub(super) const GUEST_UDP6: u64 = 1 << 55;
pub(super) const UDP: u64 = 1 << 56;

/// The flag of a checksum that is not there yet.
const UNSUMMED: u8 = 1;
/// Kinds of packets that are to be cut: by TCP, by UDP; and that congestion was told of.
const KIND_TCP4: u8 = 1;
const KIND_TCP6: u8 = 4;
const KIND_UDP: u8 = 5;
const KIND_ECN: u8 = 0x80;

/// Bytes of an Ethernet header, and of tags of virtual networks that may follow: two.
pub(super) const ETHERNET: usize = 14;
const TAGS: usize = 8;
/// The most bytes of a packet that is to be cut.
pub(super) const MOST: usize = 65_536 + ETHERNET + TAGS;
/// The least size of what it is cut into: as small as TCP makes them, so that one packet does not become a storm.
const LEAST: u16 = 8;
/// Where TCP and UDP have their checksums, and how long TCP's own header is at least.
const TCP_SUM: u16 = 16;
const UDP_SUM: u16 = 6;
const TCP_HEADER: u16 = 20;
const UDP_HEADER: u16 = 8;

/// What of a header the host's kernel may have, for a packet of this length that the guest sends; `None` if the packet is none
/// that may be sent.
pub(super) fn check(
    raw: &[u8; LENGTH],
    length: usize,
    agreed: u64,
    mtu: usize,
) -> Option<[u8; LENGTH]> {
    let [flags, kind, h0, h1, g0, g1, s0, s1, o0, o1, _, _] = *raw;
    let [head, size, start, offset] =
        [[h0, h1], [g0, g1], [s0, s1], [o0, o1]].map(u16::from_le_bytes);
    let whole = kind == 0;
    let most = if whole { mtu + ETHERNET + TAGS } else { MOST };
    if length < ETHERNET || length > most {
        return None;
    }
    // Flags that have no meaning are passed over, as the standard has it.
    let unsummed = flags & UNSUMMED != 0;
    if unsummed {
        // Its two bytes lie within the packet.
        let end = usize::from(start) + usize::from(offset) + 2;
        if agreed & CHECKSUM == 0 || usize::from(start) < ETHERNET || end > length {
            return None;
        }
    }
    let mut good = [0; LENGTH];
    let [flag, good_kind, gh0, gh1, gg0, gg1, gs0, gs1, go0, go1, _, _] = &mut good;
    if unsummed {
        *flag = UNSUMMED;
        ([*gs0, *gs1], [*go0, *go1]) = ([s0, s1], [o0, o1]);
    }
    if whole {
        return Some(good);
    }
    let (feature, sum, own) = match kind & !KIND_ECN {
        KIND_TCP4 => (TCP4, TCP_SUM, TCP_HEADER),
        KIND_TCP6 => (TCP6, TCP_SUM, TCP_HEADER),
        KIND_UDP => (UDP, UDP_SUM, UDP_HEADER),
        _ => return None,
    };
    let congestion = kind & KIND_ECN == 0 || agreed & ECN != 0 && feature != UDP;
    let headers = usize::from(start) + usize::from(own);
    let cut = unsummed && offset == sum && size >= LEAST && headers <= length;
    if agreed & feature == 0 || !congestion || !cut || usize::from(head) > length {
        return None;
    }
    *good_kind = kind;
    ([*gh0, *gh1], [*gg0, *gg1]) = ([h0, h1], [g0, g1]);
    Some(good)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: u64 = CHECKSUM | TCP4 | TCP6 | ECN | UDP;

    fn header(flags: u8, kind: u8, [head, size, start, offset]: [u16; 4]) -> [u8; LENGTH] {
        let words = [head, size, start, offset, 0xffff].map(u16::to_le_bytes).concat();
        [&[flags, kind][..], &words].concat().try_into().unwrap()
    }

    fn sent(raw: [u8; LENGTH], length: usize) -> Option<[u8; LENGTH]> {
        check(&raw, length, ALL, 1500)
    }

    #[test]
    fn what_is_understood_is_passed_on() {
        let none = [0; LENGTH];
        // A whole packet: whatever else stands there is nothing to it.
        assert_eq!(sent(header(0xfe, 0, [7, 7, 7, 7]), 60), Some(none));
        for (length, good) in [(13, false), (14, true), (1522, true), (1523, false)] {
            assert_eq!(sent(none, length).is_some(), good, "{length}");
        }
        let mut summed = header(1, 0, [0, 0, 34, 16]);
        summed[10..].fill(0);
        assert_eq!(sent(header(3, 0, [9, 9, 34, 16]), 60), Some(summed));
        let mut cut = header(1, 1, [54, 1448, 34, 16]);
        cut[10..].fill(0);
        assert_eq!(sent(header(1, 1, [54, 1448, 34, 16]), 65_000), Some(cut));
        for (kind, offset) in [(4, 16), (5, 6), (0x81, 16), (0x84, 16)] {
            assert!(sent(header(1, kind, [54, 1000, 34, offset]), MOST).is_some(), "{kind}");
        }
    }

    #[test]
    fn what_lies_outside_or_was_not_agreed_on_is_not_sent() {
        for (raw, length) in [
            // A checksum behind the end, before the packet's own beginning, or where numbers end.
            (header(1, 0, [0, 0, 34, 25]), 60),
            (header(1, 0, [0, 0, 13, 16]), 60),
            (header(1, 0, [0, 0, u16::MAX, u16::MAX]), 60),
            // Kinds that there are none of, and one that is of the past.
            (header(1, 2, [54, 1000, 34, 16]), 3000),
            (header(1, 3, [54, 1000, 34, 6]), 3000),
            (header(1, 0x80, [54, 1000, 34, 16]), 3000),
            (header(1, 0x85, [54, 1000, 34, 6]), 3000),
            // Without a checksum to be made, or one of the other protocol's.
            (header(0, 1, [54, 1000, 34, 16]), 3000),
            (header(1, 1, [54, 1000, 34, 6]), 3000),
            (header(1, 5, [54, 1000, 34, 16]), 3000),
            // Into nothing, into crumbs, with headers behind the end.
            (header(1, 1, [54, 0, 34, 16]), 3000),
            (header(1, 1, [54, 7, 34, 16]), 3000),
            (header(1, 1, [3001, 1000, 34, 16]), 3000),
            (header(1, 1, [54, 1000, 2981, 16]), 3000),
            (header(1, 1, [54, 1000, 34, 16]), MOST + 1),
        ] {
            assert_eq!(sent(raw, length), None, "{raw:?}");
        }
        for (missing, raw) in [
            (CHECKSUM, header(1, 0, [0, 0, 34, 16])),
            (TCP4, header(1, 1, [54, 1000, 34, 16])),
            (TCP6, header(1, 4, [54, 1000, 34, 16])),
            (UDP, header(1, 5, [54, 1000, 34, 6])),
            (ECN, header(1, 0x81, [54, 1000, 34, 16])),
        ] {
            assert!(check(&raw, 1000, ALL, 1500).is_some());
            assert_eq!(check(&raw, 1000, ALL & !missing, 1500), None, "{missing:#x}");
        }
    }
}
