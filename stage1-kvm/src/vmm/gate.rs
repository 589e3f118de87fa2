//! Where threads wait until all of them are restricted to their roles: no guest runs before that.

use jail::Role;
use std::io;
use std::sync::mpsc::{Receiver, Sender, channel};

/// Whoever starts the threads.
#[derive(Debug)]
pub struct Gate {
    ready: Sender<io::Result<()>>,
    heard: Receiver<io::Result<()>>,
    closed: Vec<Sender<()>>,
}

/// A thread's way through.
#[derive(Debug)]
pub struct Pass {
    role: Role,
    ready: Sender<io::Result<()>>,
    open: Receiver<()>,
}

impl Default for Gate {
    /// A closed gate.
    fn default() -> Self {
        let (ready, heard) = channel();
        Self { ready, heard, closed: Vec::new() }
    }
}

impl Gate {
    /// A pass for a thread that will have this role.
    pub fn pass(&mut self, role: Role) -> Pass {
        let (gate, open) = channel();
        self.closed.push(gate);
        Pass { role, ready: self.ready.clone(), open }
    }

    /// Waits until all threads have their roles, takes this one for the calling thread, and lets all go on. If that fails
    /// none does.
    ///
    /// # Errors
    /// A thread cannot be restricted, or has ended.
    pub fn open(self, own: Role) -> io::Result<()> {
        drop(self.ready);
        for _ in &self.closed {
            self.heard.recv().map_err(io::Error::other)??;
        }
        own.restrict()?;
        for gate in &self.closed {
            gate.send(()).map_err(io::Error::other)?;
        }
        Ok(())
    }
}

impl Pass {
    /// Restricts the calling thread to its role and waits for the others; whether it may go on.
    #[must_use]
    pub fn take(self) -> bool {
        let told = self.ready.send(self.role.restrict());
        drop(self.ready);
        told.is_ok() && self.open.recv().is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_goes_on_when_one_cannot() {
        let mut gate = Gate::default();
        let (one, other) = (gate.pass(Role::Processor), gate.pass(Role::Devices));
        let thread = std::thread::spawn(move || {
            // As if the kernel refused.
            drop(other.ready.send(Err(io::ErrorKind::PermissionDenied.into())));
            other.open.recv().is_ok()
        });
        // As if it had agreed: the thread of a test goes on to other tests.
        one.ready.send(Ok(())).unwrap();
        let refused = gate.open(Role::Machine).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::PermissionDenied);
        assert!(one.open.recv().is_err() && !thread.join().unwrap());
    }
}
