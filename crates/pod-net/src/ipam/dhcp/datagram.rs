//! Messages of DHCP in datagrams of UDP in packets of IPv4.
#![warn(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use std::net::Ipv4Addr;

/// The port of clients.
pub const CLIENT: u16 = 68;
/// The port of servers.
pub const SERVER: u16 = 67;
const IP_HEADER: u16 = 20;
const UDP_HEADER: u16 = 8;
const UDP: u8 = 17;

/// A packet with this message, from the port of clients to that of servers; `None` if the message is too long.
pub fn pack(from: Ipv4Addr, to: Ipv4Addr, message: &[u8]) -> Option<Vec<u8>> {
    let udp_length = u16::try_from(message.len()).ok()?.checked_add(UDP_HEADER)?;
    let length = udp_length.checked_add(IP_HEADER)?;
    let mut header = vec![0x45, 0x10];
    header.extend(length.to_be_bytes());
    // No number, one piece, 64 hops.
    header.extend([0, 0, 0x40, 0, 64, UDP, 0, 0]);
    header.extend(from.octets());
    header.extend(to.octets());
    let sum = finish(sum(0, &header));
    header.splice(10..12, sum.to_be_bytes());
    let mut datagram = Vec::new();
    for number in [CLIENT, SERVER, udp_length, 0] {
        datagram.extend(number.to_be_bytes());
    }
    datagram.extend(message);
    let mut pseudo = [from.octets(), to.octets()].concat();
    pseudo.extend([0, UDP]);
    pseudo.extend(udp_length.to_be_bytes());
    // A sum of zero would say that there is none.
    let sum = match finish(self::sum(self::sum(0, &pseudo), &datagram)) {
        0 => u16::MAX,
        sum => sum,
    };
    datagram.splice(6..8, sum.to_be_bytes());
    header.extend(datagram);
    Some(header)
}

/// The message in a packet to the port of clients. Sums are not looked at: what never was on a wire may have none yet.
pub fn unpack(packet: &[u8]) -> Option<&[u8]> {
    let [first, ..] = packet else { return None };
    let header = usize::from(first & 15).checked_mul(4)?;
    if first >> 4 != 4 || header < usize::from(IP_HEADER) || packet.get(9) != Some(&UDP) {
        return None;
    }
    let datagram = packet.get(header..)?;
    let number = |at: usize| -> Option<u16> {
        Some(u16::from_be_bytes(*datagram.get(at..)?.first_chunk()?))
    };
    if number(2)? != CLIENT {
        return None;
    }
    datagram.get(usize::from(UDP_HEADER)..usize::from(number(4)?))
}

/// Adds up a part of even length, or the last one.
fn sum(before: u64, bytes: &[u8]) -> u64 {
    let (pairs, rest) = bytes.as_chunks::<2>();
    let last = rest.first().map_or(0, |byte| u64::from(*byte) << 8);
    let all = pairs.iter().map(|pair| u64::from(u16::from_be_bytes(*pair)));
    all.fold(before.saturating_add(last), u64::saturating_add)
}

fn finish(sum: u64) -> u16 {
    let mut sum = sum;
    while sum > 0xffff {
        sum = (sum & 0xffff).saturating_add(sum >> 16);
    }
    !u16::try_from(sum).unwrap_or(0)
}

#[cfg(test)]
#[expect(clippy::indexing_slicing, reason = "a test may panic")]
mod tests {
    use super::*;

    #[test]
    fn packets_have_right_sums_and_are_read_back() {
        let (from, to) = (Ipv4Addr::new(192, 0, 2, 9), Ipv4Addr::new(192, 0, 2, 1));
        for message in [&b"odd"[..], b"even"] {
            let packet = pack(from, to, message).unwrap();
            // A receiver adds everything up, the sum included.
            assert_eq!(finish(sum(0, &packet[..20])), 0);
            let pseudo = [&packet[12..20], &[0, UDP], &packet[24..26]].concat();
            assert_eq!(finish(sum(sum(0, &pseudo), &packet[20..])), 0);
            // As a server would answer.
            let mut answer = packet.clone();
            answer.splice(22..24, CLIENT.to_be_bytes());
            assert_eq!(unpack(&answer), Some(message));
            assert_eq!(unpack(&packet), None);
        }
    }

    #[test]
    fn broken_packets_are_none() {
        let mut packet = pack(Ipv4Addr::LOCALHOST, Ipv4Addr::BROADCAST, b"message").unwrap();
        packet.splice(22..24, CLIENT.to_be_bytes());
        assert_eq!(unpack(&packet), Some(&b"message"[..]));
        for length in 0..packet.len() {
            assert_eq!(unpack(&packet[..length]), None, "{length}");
        }
        for (at, byte) in [(0, 0x44), (0, 0x65), (9, 6), (24, 1), (25, 7)] {
            let mut other = packet.clone();
            other[at] = byte;
            assert_eq!(unpack(&other), None, "{at}");
        }
        assert_eq!(pack(Ipv4Addr::LOCALHOST, Ipv4Addr::LOCALHOST, &vec![0; 65_530]), None);
    }
}
