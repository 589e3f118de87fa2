//! The entropy device (virtio 1.2, section 5.4): fills buffers with the host's random bytes.

use super::virtio::{Chain, Device, Misused};
use std::io::Write;
use vm_memory::GuestMemoryMmap;

const QUEUES: [u16; 1] = [64];
/// The most that one request gets, in bytes: a guest that asks for more asks again.
const MOST: usize = 4096;

/// A source of random bytes.
#[derive(Debug, Default)]
pub struct Rng;

impl Device for Rng {
    fn kind(&self) -> u32 {
        4
    }

    fn features(&self) -> u64 {
        0
    }

    fn queues(&self) -> &[u16] {
        &QUEUES
    }

    fn configuration(&self) -> &[u8] {
        &[]
    }

    fn serve(
        &mut self,
        _: usize,
        chain: Chain<'_>,
        memory: &GuestMemoryMmap,
    ) -> Result<u32, Misused> {
        let mut writer = chain.writer::<()>(memory)?;
        let length = writer.available_bytes().min(MOST);
        let mut bytes = [0; MOST];
        let bytes = bytes.get_mut(..length).unwrap_or_default();
        let got = rustix::rand::getrandom(&mut *bytes, rustix::rand::GetRandomFlags::empty());
        let got = got.unwrap_or_default();
        let written = writer.write(bytes.get(..got).unwrap_or_default());
        Ok(u32::try_from(written.unwrap_or_default()).unwrap_or_default())
    }
}
