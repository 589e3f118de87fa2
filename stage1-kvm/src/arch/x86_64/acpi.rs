//! The ACPI tables: processors, one interrupt controller, and the devices that no bus announces.
//!
//! Hardware-reduced: there is no power management timer, no interrupt of its own, no legacy controller. What stands here
//! is what a kernel of a distribution needs in order to find virtio devices, by `LNRO0005`.

use super::layout;
use acpi_tables::Aml;
use acpi_tables::aml::{self, Path};
use acpi_tables::fadt::{FADTBuilder, Flags};
use acpi_tables::madt::{
    EnabledStatus, IoApic, LocalInterruptController, MADT, ProcessorLocalApic,
};
use acpi_tables::rsdp::Rsdp;
use acpi_tables::sdt::Sdt;
use acpi_tables::xsdt::XSDT;

const OEM: [u8; 6] = *b"RKT   ";
const TABLE: [u8; 8] = *b"RKTVM   ";
const REVISION: u32 = 1;
/// The size of the header that every table has.
const HEADER: u32 = 36;
/// Boot architecture: no VGA, no real-time clock. Without the second a kernel polls one that is not there for a second.
const NO_VGA_NO_CLOCK: u16 = 1 << 2 | 1 << 5;
/// Where the tables start behind the root pointer.
const ALIGNMENT: u64 = 64;

/// A device in a page of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// Its registers.
    pub address: u64,
    /// Its interrupt.
    pub interrupt: u32,
}

impl Place {
    /// The place of the device of this number; `None` if there are not so many interrupts.
    pub fn of(index: u32) -> Option<Self> {
        let interrupt = layout::FIRST_INTERRUPT.checked_add(index)?;
        let address = layout::DEVICES + u64::from(index) * layout::DEVICE_SIZE;
        (interrupt < layout::INTERRUPTS).then_some(Self { address, interrupt })
    }
}

/// All tables, to lie at [`layout::ACPI`].
pub fn tables(processors: u8, devices: &[Place], serial: bool) -> Vec<u8> {
    let start = layout::ACPI.0 + ALIGNMENT;
    let mut body = Vec::new();
    let mut put = |table: Vec<u8>| {
        let address = start + body.len() as u64;
        body.extend(table);
        body.resize(body.len().next_multiple_of(8), 0);
        address
    };
    let dsdt = put(differentiated(devices, serial));
    let mut fadt = FADTBuilder::new(OEM, TABLE, REVISION)
        .dsdt_64(dsdt)
        .flag(Flags::HwReducedAcpi)
        .flag(Flags::Wbinvd);
    fadt.iapc_boot_arch = NO_VGA_NO_CLOCK.into();
    let fadt = put(bytes(&fadt.finalize()));
    let madt = put(bytes(&interrupts(processors)));
    let mut root = XSDT::new(OEM, TABLE, REVISION);
    root.add_entry(fadt);
    root.add_entry(madt);
    let root = put(bytes(&root));
    let mut all = bytes(&Rsdp::new(OEM, root));
    all.resize(usize::from(u8::try_from(ALIGNMENT).unwrap_or(u8::MAX)), 0);
    all.extend(body);
    all
}

fn bytes(table: &dyn Aml) -> Vec<u8> {
    let mut bytes = Vec::new();
    table.to_aml_bytes(&mut bytes);
    bytes
}

fn interrupts(processors: u8) -> MADT {
    let local = LocalInterruptController::Address(layout::LOCAL_APIC);
    let mut table = MADT::new(OEM, TABLE, REVISION, local);
    for id in 0..processors {
        table.add_structure(ProcessorLocalApic::new(id, id, EnabledStatus::Enabled));
    }
    table.add_structure(IoApic::new(processors, layout::IO_APIC, 0));
    table
}

/// The table of devices.
fn differentiated(devices: &[Place], serial: bool) -> Vec<u8> {
    let mut table = Sdt::new(*b"DSDT", HEADER, 6, OEM, TABLE, REVISION);
    for (index, place) in (0_u32..).zip(devices) {
        table.append_slice(&virtio(index, *place));
    }
    table.append_slice(&panic());
    if serial {
        table.append_slice(&uart());
    }
    table.as_slice().to_vec()
}

fn virtio(index: u32, place: Place) -> Vec<u8> {
    let base = u32::try_from(place.address).unwrap_or(u32::MAX);
    let size = u32::try_from(layout::DEVICE_SIZE).unwrap_or(u32::MAX);
    let registers = aml::Memory32Fixed::new(true, base, size);
    let interrupt = aml::Interrupt::new(true, true, false, false, place.interrupt);
    bytes(&aml::Device::new(
        Path::new(&format!("_SB_.V{index:03}")),
        vec![
            &aml::Name::new("_HID".into(), &"LNRO0005"),
            &aml::Name::new("_UID".into(), &index),
            &aml::Name::new("_CCA".into(), &aml::ONE),
            &aml::Name::new(
                "_CRS".into(),
                &aml::ResourceTemplate::new(vec![&registers, &interrupt]),
            ),
        ],
    ))
}

/// The device that a kernel tells of its panic, as QEMU has it.
fn panic() -> Vec<u8> {
    let port = aml::IO::new(super::cpu::PANIC, super::cpu::PANIC, 0, 1);
    bytes(&aml::Device::new(
        "_SB_.PEVT".into(),
        vec![
            &aml::Name::new("_HID".into(), &"QEMU0001"),
            &aml::Name::new("_CRS".into(), &aml::ResourceTemplate::new(vec![&port])),
        ],
    ))
}

fn uart() -> Vec<u8> {
    let ports = aml::IO::new(super::cpu::SERIAL, super::cpu::SERIAL, 0, 8);
    let interrupt = aml::Interrupt::new(true, true, false, false, super::cpu::SERIAL_INTERRUPT);
    bytes(&aml::Device::new(
        "_SB_.COM1".into(),
        vec![
            &aml::Name::new("_HID".into(), &aml::EISAName::new("PNP0501")),
            &aml::Name::new("_UID".into(), &aml::ZERO),
            &aml::Name::new("_CRS".into(), &aml::ResourceTemplate::new(vec![&ports, &interrupt])),
        ],
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sums_to_zero(bytes: &[u8]) -> bool {
        bytes.iter().fold(0_u8, |sum, byte| sum.wrapping_add(*byte)) == 0
    }

    #[test]
    fn tables_are_found_from_the_root_pointer() {
        let all = tables(2, &[Place::of(0).unwrap()], true);
        assert!(
            all.starts_with(b"RSD PTR ") && sums_to_zero(&all[..20]) && sums_to_zero(&all[..36])
        );
        let at = |address: u64| usize::try_from(address - layout::ACPI.0).unwrap();
        let number = |at: usize| u64::from_le_bytes(all[at..at + 8].try_into().unwrap());
        let table = |address: u64| {
            let start = at(address);
            let length = u32::from_le_bytes(all[start + 4..start + 8].try_into().unwrap());
            &all[start..start + usize::try_from(length).unwrap()]
        };
        let root = number(24);
        let listed = [number(at(root) + 36), number(at(root) + 44)];
        let names = listed.map(|address| table(address)[..4].to_vec());
        assert_eq!(names, [b"FACP".to_vec(), b"APIC".to_vec()]);
        let devices = number(at(listed[0]) + 140);
        assert!(table(devices).starts_with(b"DSDT"));
        assert!(table(devices).windows(8).any(|text| text == b"LNRO0005"));
        for address in [root, listed[0], listed[1], devices] {
            assert!(sums_to_zero(table(address)));
        }
    }

    #[test]
    fn there_are_as_many_places_as_interrupts() {
        assert_eq!(Place::of(0), Some(Place { address: layout::DEVICES, interrupt: 5 }));
        assert!(
            Place::of(18).is_some() && Place::of(19).is_none() && Place::of(u32::MAX).is_none()
        );
    }
}
