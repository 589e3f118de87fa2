//! The machine: made of memory, processors and a bus, started, and watched until it ends.
//!
//! ```text
//! thread        runs
//! the caller's  waits for the end: what the processors say, or the word to stop
//! cpu-N         KVM_RUN, and what an exit asks of the bus
//! devices       what queues ask of devices, when their kicks come
//! ```
//!
//! Each of them may make the system calls of its role, and no others, before the first of them serves the guest.

pub mod bus;
pub mod gate;
pub mod memory;

use crate::arch::acpi::{self, Place};
use crate::arch::{cpu, layout};
use crate::boot::{self, BootError, Payload};
use crate::devices::io::Loop;
use crate::devices::serial::SerialPort;
use crate::devices::virtio::Device;
use crate::devices::virtio::mmio::{Mmio, NOTIFY};
use bus::Bus;
use gate::{Gate, Pass};
use jail::Role;
use kvm_bindings::{KVM_SYSTEM_EVENT_RESET, KVM_SYSTEM_EVENT_SHUTDOWN};
use kvm_ioctls::{IoEventAddress, Kvm, VcpuExit, VcpuFd, VmFd};
use memory::{Memory, MemoryError};
use std::fs::File;
use std::io;
use std::os::fd::{FromRawFd, IntoRawFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;
use vmm_sys_util::eventfd::{EFD_NONBLOCK, EventFd};
use vmm_sys_util::signal::{Killable, SIGRTMIN, register_signal_handler};

/// The stack of each thread, in bytes. On one of two MiB, the usual size, the host may put a large page, and has to clear it
/// before the thread's first step.
pub const STACK: usize = 256 << 10;

/// How long a processor may take to leave the guest before it is told again.
const PAUSE: Duration = Duration::from_millis(10);

/// A machine that cannot be made or started.
#[derive(Debug, thiserror::Error)]
pub enum VmError {
    /// A call of KVM failed.
    #[error("{0}")]
    Kvm(&'static str, #[source] kvm_ioctls::Error),
    /// A call of the kernel failed.
    #[error("{0}")]
    Kernel(&'static str, #[source] io::Error),
    /// Its memory.
    #[error(transparent)]
    Memory(#[from] MemoryError),
    /// Its kernel.
    #[error(transparent)]
    Boot(#[from] BootError),
    /// A device has a queue that none can have.
    #[error("cannot make a device")]
    Device(#[from] virtio_queue::Error),
    /// It has no processor.
    #[error("a machine needs a processor")]
    Idle,
    /// There are more devices than interrupts.
    #[error("a machine cannot have so many devices")]
    Crowded,
}

/// What a machine is to be.
pub struct Machine {
    /// `/dev/kvm`.
    pub kvm: OwnedFd,
    /// Its memory, which takes rights that a jail has not.
    pub memory: Memory,
    /// Processors.
    pub processors: u8,
    /// What it starts with.
    pub payload: Payload,
    /// Where its serial line goes, if it has one.
    pub serial: Option<File>,
    /// Its devices, in the order in which the guest finds them.
    pub devices: Vec<Box<dyn Device>>,
}

impl std::fmt::Debug for Machine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Machine").field("memory", &self.memory.size()).finish_non_exhaustive()
    }
}

/// How a machine ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ending {
    /// The guest reset or powered off the machine, which is how it ends by itself.
    Reset,
    /// Its kernel panicked, and reset it.
    Panicked,
    /// A processor could not go on, and why.
    Broken(String),
}

/// A machine with its processors running.
#[derive(Debug)]
pub struct Running {
    threads: Vec<JoinHandle<()>>,
    /// What ends the thread of the devices, and the thread.
    devices: Option<(EventFd, JoinHandle<()>)>,
    stop: Arc<AtomicBool>,
    endings: Receiver<Ending>,
    /// Before the memory that it uses.
    _vm: VmFd,
    _memory: Memory,
}

/// What every processor's thread has.
#[derive(Debug, Clone)]
struct Shared {
    bus: Arc<Bus>,
    stop: Arc<AtomicBool>,
    endings: Sender<Ending>,
}

trait Doing<T> {
    fn doing(self, what: &'static str) -> Result<T, VmError>;
}

impl<T> Doing<T> for Result<T, kvm_ioctls::Error> {
    fn doing(self, what: &'static str) -> Result<T, VmError> {
        self.map_err(|error| VmError::Kvm(what, error))
    }
}

impl<T> Doing<T> for io::Result<T> {
    fn doing(self, what: &'static str) -> Result<T, VmError> {
        self.map_err(|error| VmError::Kernel(what, error))
    }
}

impl Machine {
    /// Makes the machine and lets it run. From then on the calling thread has nothing to do but wait for its end.
    ///
    /// # Errors
    /// See [`VmError`]; nothing runs then.
    pub fn start(self) -> Result<Running, VmError> {
        // Before the machine that uses it, so that it goes after it.
        let memory = self.memory;
        let kvm = own(self.kvm);
        if self.processors == 0 {
            return Err(VmError::Idle);
        }
        let vm = kvm.create_vm().doing("cannot make a virtual machine")?;
        vm.set_tss_address(layout::TASK_STATE).doing("cannot place the task state")?;
        vm.set_identity_map_address(layout::IDENTITY_MAP).doing("cannot place the identity map")?;
        vm.create_irq_chip().doing("cannot make the interrupt controllers")?;
        memory.give_to(&vm)?;
        let mut places = Vec::new();
        for index in (0..).take(self.devices.len()) {
            places.push(Place::of(index).ok_or(VmError::Crowded)?);
        }
        let tables = acpi::tables(self.processors, &places, self.serial.is_some());
        let entry = boot::load(&memory, &self.payload, &tables)?;
        let serial = self.serial.map(|file| serial(&vm, file)).transpose()?;
        let mut bus = Bus::new(serial);
        let mut io = Loop::new().doing("cannot wait for devices")?;
        for (device, place) in self.devices.into_iter().zip(places) {
            connect(&vm, &memory, &mut bus, &mut io, (device, place))?;
        }
        let bus = Arc::new(bus);
        let identification = cpu::identification(&kvm, self.processors)
            .doing("cannot ask KVM what processors it has")?;
        let (endings, told) = channel();
        let shared = Shared { bus, stop: Arc::default(), endings };
        register_signal_handler(kick(), on_kick)
            .map_err(|error| VmError::Kernel("cannot handle signals", error.into()))?;
        let mut processors = Vec::new();
        for id in 0..self.processors {
            let processor = vm.create_vcpu(id.into()).doing("cannot make a processor")?;
            cpu::set_up(&processor, id, &identification, entry)
                .doing("cannot set up a processor")?;
            processors.push(processor);
        }
        // Nothing is read of them any more.
        drop((self.payload, kvm));
        let mut gate = Gate::default();
        let devices = io.start(gate.pass(Role::Devices), shared.endings.clone());
        let mut running = Running {
            threads: Vec::new(),
            devices: Some(devices.doing("cannot start a thread")?),
            stop: Arc::clone(&shared.stop),
            endings: told,
            _vm: vm,
            _memory: memory,
        };
        running.launch(shared, processors, gate)?;
        Ok(running)
    }
}

/// The library takes descriptors by number only.
#[expect(unsafe_code, reason = "a descriptor is given away by its number")]
fn own(kvm: OwnedFd) -> Kvm {
    // SAFETY: the number was just taken out of its owner, and the new owner closes it.
    unsafe { Kvm::from_raw_fd(kvm.into_raw_fd()) }
}

/// Puts a device on the bus: its registers, its interrupt, and an event for each of its queues, so that neither a kick
/// nor an interrupt leaves the kernel.
fn connect(
    vm: &VmFd,
    memory: &Memory,
    bus: &mut Bus,
    io: &mut Loop,
    (device, place): (Box<dyn Device>, Place),
) -> Result<(), VmError> {
    let interrupt = EventFd::new(EFD_NONBLOCK).doing("cannot make an event")?;
    vm.register_irqfd(&interrupt, place.interrupt).doing("cannot connect an interrupt")?;
    let mut device = Mmio::new(device, memory.guest().clone(), interrupt)?;
    let mut kicks = Vec::new();
    for queue in 0..device.queue_count() {
        let kick = EventFd::new(EFD_NONBLOCK).doing("cannot make an event")?;
        let number = u32::try_from(queue).map_err(|_| VmError::Crowded)?;
        let at = IoEventAddress::Mmio(place.address + NOTIFY);
        vm.register_ioevent(&kick, &at, number).doing("cannot connect a queue")?;
        kicks.push(kick);
    }
    let kicks = device.keep(kicks);
    let device = Arc::new(Mutex::new(device));
    for (queue, kick) in kicks.into_iter().enumerate() {
        io.add(kick, Arc::clone(&device), queue).doing("cannot wait for a queue")?;
    }
    io.add_own(Arc::clone(&device)).doing("cannot wait for a device")?;
    bus.add(place.address, device);
    Ok(())
}

fn serial(vm: &VmFd, file: File) -> Result<SerialPort, VmError> {
    let interrupt = EventFd::new(EFD_NONBLOCK).doing("cannot make an event")?;
    vm.register_irqfd(&interrupt, cpu::SERIAL_INTERRUPT).doing("cannot connect an interrupt")?;
    Ok(SerialPort::new(file, interrupt))
}

/// The signal that takes a processor out of the guest.
fn kick() -> i32 {
    SIGRTMIN()
}

extern "C" fn on_kick(_: i32, _: *mut libc::siginfo_t, _: *mut libc::c_void) {}

impl Running {
    /// Gives each processor a thread, and lets all threads run. What they share is theirs alone afterwards: that it is gone tells that they are.
    #[expect(clippy::needless_pass_by_value, reason = "its sender must end with this call")]
    fn launch(
        &mut self,
        shared: Shared,
        processors: Vec<VcpuFd>,
        mut gate: Gate,
    ) -> Result<(), VmError> {
        for (id, processor) in processors.into_iter().enumerate() {
            let (own, pass) = (shared.clone(), gate.pass(Role::Processor));
            let thread = std::thread::Builder::new().name(format!("cpu-{id}")).stack_size(STACK);
            let thread =
                thread.spawn(move || own.live(processor, pass)).doing("cannot start a thread")?;
            self.threads.push(thread);
        }
        gate.open(Role::Machine).doing("cannot restrict the machine's threads")
    }

    /// Waits until the machine ends by itself.
    pub fn wait(mut self) -> Ending {
        let ending = self.endings.recv();
        self.end();
        ending.unwrap_or_else(|_| Ending::Broken("its processors are gone".to_owned()))
    }

    /// Takes all processors out of the guest, for good.
    fn end(&mut self) {
        self.stop.store(true, Ordering::Release);
        if let Some((stop, thread)) = self.devices.take() {
            match stop.write(1) {
                Ok(()) => drop(thread.join()),
                Err(error) => log::error!("cannot end the devices: {error}"),
            }
        }
        // Each processor, now alone, holds a sender until it is gone. One that was just about to enter the guest did not hear the
        // first signal; one that is sent them without a pause would do nothing but hear.
        loop {
            for thread in self.threads.iter().filter(|thread| !thread.is_finished()) {
                let _ = thread.kill(kick());
            }
            if self.endings.recv_timeout(PAUSE) == Err(RecvTimeoutError::Disconnected) {
                break;
            }
        }
        for thread in self.threads.drain(..) {
            drop(thread.join());
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if self.devices.is_some() {
            self.end();
        }
    }
}

impl Shared {
    /// Runs one processor until the machine ends.
    fn live(&self, mut processor: VcpuFd, pass: Pass) {
        if !pass.take() {
            return;
        }
        while !self.stop.load(Ordering::Acquire) {
            if let Some(ending) = self.step(&mut processor) {
                drop(self.endings.send(ending));
                return;
            }
        }
    }

    fn reset(&self) -> Ending {
        if self.bus.has_panicked() { Ending::Panicked } else { Ending::Reset }
    }

    /// Runs it until its next exit.
    fn step(&self, processor: &mut VcpuFd) -> Option<Ending> {
        match processor.run() {
            Ok(VcpuExit::IoIn(port, data)) => self.bus.port_in(port, data),
            Ok(VcpuExit::IoOut(port, data)) => self.bus.port_out(port, data),
            Ok(VcpuExit::MmioRead(address, data)) => self.bus.read(address, data),
            Ok(VcpuExit::MmioWrite(address, data)) => self.bus.write(address, data),
            Ok(VcpuExit::Intr) => {}
            Ok(VcpuExit::Shutdown) => return Some(self.reset()),
            Ok(VcpuExit::SystemEvent(KVM_SYSTEM_EVENT_SHUTDOWN | KVM_SYSTEM_EVENT_RESET, _)) => {
                return Some(self.reset());
            }
            Ok(VcpuExit::FailEntry(reason, _)) => {
                return Some(Ending::Broken(format!(
                    "the host cannot enter the guest ({reason:#x})"
                )));
            }
            Ok(other) => {
                let what = format!("{other:?}");
                return Some(Ending::Broken(format!("unexpected exit {what}{}", place(processor))));
            }
            Err(error) if interrupted(error) => {}
            Err(error) => return Some(Ending::Broken(format!("KVM: {error}"))),
        }
        None
    }
}

fn interrupted(error: kvm_ioctls::Error) -> bool {
    let errno = rustix::io::Errno::from_raw_os_error(error.errno());
    matches!(errno, rustix::io::Errno::INTR | rustix::io::Errno::AGAIN)
}

/// Where a processor stands that cannot go on.
fn place(processor: &VcpuFd) -> String {
    match processor.get_regs() {
        Ok(regs) => format!(" at {:#x}", regs.rip),
        Err(_) => String::new(),
    }
}
