//! How functions return in the kernel's file.
//!
//! Where returns can be guarded (CONFIG_MITIGATION_RETHUNK), the compiler ends each function with a jump to a thunk, and a
//! kernel that finds no need for it turns every one into a return: tens of thousands of instructions, decoded and rewritten
//! at each start on every processor that is not one of the few. Here it is the other way round: the file has returns, which
//! the edited source ([`super::source`]) takes as they are, and turns into jumps where the processor needs them. User
//! programs, whom they are guarded against, come long after that.

use super::elf::{self, word};

/// The section with the place of each return, as an offset from itself.
const SITES: &[u8] = b".return_sites";
/// A jump to where the next four bytes say, from their end on.
const JUMP: u8 = 0xe9;
/// A return, and traps for who runs on.
const RETURN: [u8; 5] = [0xc3, 0xcc, 0xcc, 0xcc, 0xcc];

/// Writes returns over the jumps of a built kernel; how many, or why not.
pub(super) fn put(kernel: &mut [u8]) -> Result<usize, &'static str> {
    let sections = elf::sections(kernel).ok_or("the kernel's sections cannot be read")?;
    let sites = sections.iter().find(|section| section.name == SITES);
    let sites = sites.ok_or("the kernel lists no returns")?;
    let mut thunk = None;
    let mut places = Vec::new();
    for at in sites.range.clone().step_by(4) {
        let place = word(kernel, at).and_then(|offset| {
            let address = (sites.address + (at - sites.range.start) as u64)
                .wrapping_add_signed(offset.cast_signed().into());
            let place = sections.iter().find_map(|section| section.place_of(address))?;
            let jump = kernel.get(place..place.checked_add(RETURN.len())?)?;
            let target = address.wrapping_add_signed(word(jump, 1)?.cast_signed().into());
            (jump.first() == Some(&JUMP)).then_some((place, target))
        });
        let (place, target) = place.ok_or("what the kernel lists as a return is no jump")?;
        if *thunk.get_or_insert(target) != target {
            return Err("returns of the kernel go to more than one place");
        }
        places.push(place);
    }
    for place in &places {
        for (byte, new) in kernel.iter_mut().skip(*place).zip(RETURN) {
            *byte = new;
        }
    }
    Ok(places.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: u64 = 0xffff_ffff_8100_0000;
    const LIST: u64 = 0xffff_ffff_8200_0000;

    /// A kernel of this text whose returns are said to be at these offsets of it.
    fn kernel(text: &[u8], returns: &[u64]) -> Vec<u8> {
        let list: Vec<u8> = (0..)
            .zip(returns)
            .flat_map(|(index, at)| {
                let offset = TEXT.wrapping_add(*at).wrapping_sub(LIST + 4 * index);
                u32::try_from(offset & 0xffff_ffff).unwrap().to_le_bytes()
            })
            .collect();
        let names = b"\0.text\0.return_sites\0.names\0";
        let mut file = b"\x7fELF\x02\x01".to_vec();
        file.resize(64, 0);
        let mut table = vec![0; 64];
        let sections: [(u32, u64, u64, &[u8]); 3] =
            [(1, 6, TEXT, text), (7, 2, LIST, &list), (21, 0, 0, names)];
        for (name, flags, address, content) in sections {
            let numbers = [flags, address, file.len() as u64, content.len() as u64, 0, 0, 0];
            table.extend([name.to_le_bytes(), 1_u32.to_le_bytes()].concat());
            table.extend(numbers.iter().flat_map(|number| number.to_le_bytes()));
            file.extend(content);
        }
        let start = file.len() as u64;
        file[40..48].copy_from_slice(&start.to_le_bytes());
        for (at, number) in [(58, 64_u16), (60, 4), (62, 3)] {
            file[at..at + 2].copy_from_slice(&number.to_le_bytes());
        }
        file.extend(table);
        file
    }

    /// Two functions, and the thunk at the end.
    const JUMPS: [u8; 13] = [0x90, 0xe9, 7, 0, 0, 0, 0x90, 0xe9, 1, 0, 0, 0, 0x90];

    #[test]
    fn jumps_become_returns() {
        let mut file = kernel(&JUMPS, &[1, 7]);
        let before = file.clone();
        assert_eq!(put(&mut file), Ok(2));
        let text = [0x90, 0xc3, 0xcc, 0xcc, 0xcc, 0xcc, 0x90, 0xc3, 0xcc, 0xcc, 0xcc, 0xcc, 0x90];
        assert_eq!((&file[64..77], &file[77..]), (&text[..], &before[77..]));
        assert!(put(&mut file).is_err(), "there are none any more");
    }

    #[test]
    fn what_is_no_such_kernel_stays_as_it_is() {
        let mut other = JUMPS;
        other[8] = 2;
        let bad: [(&[u8], &[u64]); 4] =
            [(&JUMPS, &[0]), (&JUMPS, &[100]), (&JUMPS, &[9]), (&other, &[1, 7])];
        for (text, returns) in bad {
            let mut file = kernel(text, returns);
            let before = file.clone();
            assert!(put(&mut file).is_err(), "{returns:?}");
            assert_eq!(file, before);
        }
        let whole = kernel(&JUMPS, &[1, 7]);
        for length in 0..whole.len() {
            assert!(put(&mut whole[..length].to_vec()).is_err(), "{length}");
        }
    }
}
