//! How much there may be of anything. What exceeds a limit is refused by whoever would send it, and by whoever receives it.

/// Apps of a pod.
pub const APPS: usize = 64;
/// Layers of one root.
pub const LAYERS: usize = 64;
/// Partitions of block devices that hold layers, over all apps.
pub const PARTITIONS: u32 = 127;
/// Folders of the host that are shared with the guest, by tag.
pub const SHARES: usize = 16;
/// Bytes of a tag, as virtio has it.
pub const TAG: usize = 36;
/// Network interfaces, besides the loopback interface.
pub const INTERFACES: usize = 8;
/// Bytes of the name of one, as Linux has it.
pub const INTERFACE_NAME: usize = 15;
/// Addresses of one.
pub const ADDRESSES: usize = 32;
/// Routes of one.
pub const ROUTES: usize = 256;
/// Settings of the kernel's network.
pub const SETTINGS: usize = 256;
/// The least of what may be the largest packet, as IPv4 has it.
pub const LEAST_MTU: u16 = 68;
/// Commands that run at once beside the apps, in all of them.
pub const EXECS: usize = 64;
/// Bytes of a sentence that the guest says.
pub const SENTENCE: usize = 1024;

/// Bytes of the body of [`Configure`](crate::FromHost::Configure): every app may have an environment as long as the kernel
/// lets it have one.
pub const CONFIGURE_BODY: usize = 8 << 20;
/// Bytes of the body of [`Exec`](crate::FromHost::Exec).
pub const EXEC_BODY: usize = 1 << 20;
/// Bytes of the body of [`Connect`](crate::FromHost::Connect).
pub const CONNECT_BODY: usize = 128 << 10;
/// Bytes of the body of [`Usage`](crate::FromGuest::Usage).
pub const USAGE_BODY: usize = 16 << 10;
/// Bytes of the body of a message with a sentence: a character may take six as JSON writes it.
pub const SENTENCE_BODY: usize = 8 << 10;
/// Bytes of the body of any other message.
pub const SMALL_BODY: usize = 256;
