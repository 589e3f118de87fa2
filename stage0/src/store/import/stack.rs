//! The layers of one image, made complete.
//!
//! Each missing layer is locked by whoever gets it, so that it is transferred once however many processes want it. None
//! waits for a lock while it holds one: what a process has locked it gets, publishes and unlocks, and only then waits for
//! the others. When all are there, unpacked or stored, the layers that need something from below are settled from the
//! lowest up. One sync makes all new trees durable, then they get their names.

use super::blobs::Transfer;
use crate::store::files::Staged;
use crate::store::layers::{Known, NewLayer, describe_layer, stem};
use crate::store::locks::Patience;
use crate::store::{ImportError, Part, Store, StoreError};
use archive::needs::{Facts, Needs};
use oci::{Descriptor, Digest};
use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use sys::lock::LockFd;

/// A layer as its image describes it.
#[derive(Debug, Clone)]
pub(super) struct Wanted {
    pub(super) blob: Descriptor,
    pub(super) diff_id: Digest,
}

/// How far one layer is.
#[derive(Debug)]
enum State {
    /// Nothing of it is stored.
    Missing,
    /// It was stored on some base; whether on this one, its facts tell.
    Needing(Needs),
    /// It is unpacked, but neither settled nor visible.
    New(NewLayer),
    /// It is unpacked and settled, and will get this key.
    Planned(NewLayer, String),
    /// It is stored.
    Stored(Part),
}

#[derive(Debug)]
struct Layer<'w> {
    wanted: &'w Wanted,
    stem: String,
    state: State,
}

/// The layers of an image, lowest first.
#[derive(Debug)]
pub(super) struct Stack<'w> {
    store: &'w Store,
    layers: Vec<Layer<'w>>,
    staged: Option<Staged<'w>>,
    locks: Vec<LockFd>,
}

impl<'w> Stack<'w> {
    pub(super) fn new(store: &'w Store, layers: &'w [Wanted]) -> Self {
        let layer = |wanted: &'w Wanted| Layer {
            wanted,
            stem: stem(&wanted.diff_id),
            state: State::Missing,
        };
        Self { store, layers: layers.iter().map(layer).collect(), staged: None, locks: Vec::new() }
    }

    /// Gets and settles whatever is missing. Nothing of what waits for its settled place is visible yet.
    pub(super) fn complete(&mut self, transfer: &Transfer<'_>) -> Result<(), ImportError> {
        let mut told = false;
        loop {
            let missing = self.look()?;
            if !told {
                transfer.progress.layers(missing.len(), self.layers.len());
                told = true;
            }
            if missing.is_empty() {
                break;
            }
            let mine = self.claim(&missing)?;
            self.fetch(transfer, &mine)?;
            if mine.len() < missing.len() {
                // Others wait for these, as we now do for theirs.
                self.publish_whole()?;
            }
        }
        for place in 0..self.layers.len() {
            self.settle(transfer, place)?;
        }
        Ok(())
    }

    /// Looks up what is stored by now; the places of those that are not.
    fn look(&mut self) -> Result<Vec<usize>, StoreError> {
        let mut missing = Vec::new();
        for (place, layer) in self.layers.iter_mut().enumerate() {
            if matches!(layer.state, State::Missing) {
                match self.store.known_layer(&layer.stem)? {
                    Known::Not => missing.push(place),
                    Known::Whole(part) => layer.state = State::Stored(part),
                    Known::Needing(needs) => layer.state = State::Needing(needs),
                }
            }
        }
        Ok(missing)
    }

    /// Locks those of the missing layers that nobody else is getting; waits for one if that is none. Layers that turn
    /// out to have come in the meantime are not among the result.
    fn claim(&mut self, missing: &[usize]) -> Result<Vec<usize>, StoreError> {
        let mut locked = Vec::new();
        for place in missing {
            let Some(layer) = self.layers.get(*place) else { continue };
            let name = lock_name(&layer.wanted.diff_id);
            if let Some(lock) = self.store.key_lock(&name, Patience::None)? {
                self.locks.push(lock);
                locked.push(*place);
            }
        }
        if locked.is_empty()
            && let Some(place) = missing.first()
            && let Some(layer) = self.layers.get(*place)
        {
            let name = lock_name(&layer.wanted.diff_id);
            self.locks.extend(self.store.key_lock(&name, Patience::Wait)?);
            locked.push(*place);
        }
        let still = self.look()?;
        locked.retain(|place| still.contains(place));
        Ok(locked)
    }

    fn fetch(&mut self, transfer: &Transfer<'_>, places: &[usize]) -> Result<(), ImportError> {
        let mut jobs: Vec<(usize, &'w Wanted)> = Vec::new();
        for place in places {
            jobs.extend(self.layers.get(*place).map(|layer| (*place, layer.wanted)));
        }
        if jobs.is_empty() {
            return Ok(());
        }
        // The largest first: no thread is left alone with it at the end.
        jobs.sort_by_key(|(_, wanted)| std::cmp::Reverse(wanted.blob.size));
        let store = self.store;
        let staged = match self.staged.take() {
            Some(staged) => staged,
            None => store.staged()?,
        };
        let done = in_parallel(transfer, jobs, |(place, wanted)| {
            let layer = (&wanted.blob, &wanted.diff_id);
            store.unpack_layer(transfer, &staged, layer, place.to_string()).map(|new| (place, new))
        });
        self.staged = Some(staged);
        for (place, new) in done? {
            if let Some(layer) = self.layers.get_mut(place) {
                layer.state = State::New(new);
            }
        }
        Ok(())
    }

    /// Publishes what needs nothing from below, and lets others have it.
    fn publish_whole(&mut self) -> Result<(), ImportError> {
        for layer in &mut self.layers {
            layer.state = match std::mem::replace(&mut layer.state, State::Missing) {
                State::New(new) if new.needs.is_empty() => State::Planned(new, layer.stem.clone()),
                other => other,
            };
        }
        self.publish()
    }

    /// Brings one layer to its final form, given that all below have theirs.
    fn settle(&mut self, transfer: &Transfer<'_>, place: usize) -> Result<(), ImportError> {
        let Some(layer) = self.layers.get_mut(place) else { return Ok(()) };
        let stem = layer.stem.clone();
        let wanted = layer.wanted;
        match std::mem::replace(&mut layer.state, State::Missing) {
            State::New(new) if new.needs.is_empty() => layer.state = State::Planned(new, stem),
            State::New(new) => {
                let facts = self.facts(&new.needs, place, &wanted.diff_id)?;
                let state = self.place(new, &facts, place)?;
                self.set(place, state);
            }
            State::Needing(needs) => {
                let facts = self.facts(&needs, place, &wanted.diff_id)?;
                let state = if let Some(part) = self.store.layer(&key(&stem, &facts))? {
                    State::Stored(part)
                } else {
                    // Its blob is long gone, and this base gives it another form.
                    self.fetch(transfer, &[place])?;
                    match self.take(place) {
                        State::New(new) => self.place(new, &facts, place)?,
                        other => other,
                    }
                };
                self.set(place, state);
            }
            other => layer.state = other,
        }
        Ok(())
    }

    fn set(&mut self, place: usize, state: State) {
        if let Some(layer) = self.layers.get_mut(place) {
            layer.state = state;
        }
    }

    fn take(&mut self, place: usize) -> State {
        self.layers
            .get_mut(place)
            .map_or(State::Missing, |layer| std::mem::replace(&mut layer.state, State::Missing))
    }

    /// Settles an unpacked layer on its base, unless that form is stored already.
    fn place(&self, mut new: NewLayer, facts: &Facts, place: usize) -> Result<State, ImportError> {
        let Some((layer, staged)) = self.layers.get(place).zip(self.staged.as_ref()) else {
            return Ok(State::Missing);
        };
        let key = key(&layer.stem, facts);
        if let Some(part) = self.store.layer(&key)? {
            staged.discard(&new.name)?;
            return Ok(State::Stored(part));
        }
        let root = self.store.open_root(&format!("{}/{}", staged.path(), new.name))?;
        let failed = |source| ImportError::Unpack { digest: layer.wanted.diff_id.clone(), source };
        new.digest =
            archive::needs::settle(root.as_fd(), facts, self.lowers(place)?, &new.contents)
                .map_err(failed)?;
        Ok(State::Planned(new, key))
    }

    fn facts(&self, needs: &Needs, place: usize, layer: &Digest) -> Result<Facts, ImportError> {
        let failed = |source| ImportError::Unpack { digest: layer.clone(), source };
        needs.facts(self.lowers(place)?).map_err(failed)
    }

    /// The roots of all layers below a place.
    fn lowers(&self, place: usize) -> Result<Vec<OwnedFd>, StoreError> {
        let staged = self.staged.as_ref().map(Staged::path).unwrap_or_default();
        let folder = |layer: &Layer<'_>| match &layer.state {
            State::Stored(part) => Some(part.path.clone()),
            State::New(new) | State::Planned(new, _) => Some(format!("{staged}/{}", new.name)),
            State::Missing | State::Needing(_) => None,
        };
        let below = self.layers.iter().take(place).filter_map(folder);
        below.map(|folder| self.store.open_root(&folder)).collect()
    }

    /// What the image consists of, once it is complete.
    pub(super) fn parts(&self) -> Vec<Part> {
        let part = |layer: &Layer<'_>| match &layer.state {
            State::Stored(part) => Some(part.clone()),
            State::Planned(new, key) => Some(Part { path: key.clone(), size: new.size }),
            State::Missing | State::Needing(_) | State::New(_) => None,
        };
        self.layers.iter().filter_map(part).collect()
    }

    /// Syncs all that is planned, gives it its name, and lets others have it.
    pub(super) fn publish(&mut self) -> Result<(), ImportError> {
        let store = self.store;
        let planned =
            |layers: &[Layer<'_>]| layers.iter().any(|l| matches!(l.state, State::Planned(..)));
        if let Some(staged) = self.staged.as_ref().filter(|_| planned(&self.layers)) {
            for layer in &self.layers {
                if let State::Planned(new, _) = &layer.state {
                    describe_layer(staged, &layer.wanted.diff_id, new)?;
                }
            }
            store.sync()?;
            for layer in &mut self.layers {
                if let State::Planned(new, key) = &layer.state {
                    store.publish_layer(staged, new, &layer.stem, key)?;
                    let part = Part { path: key.clone(), size: new.size };
                    layer.state = State::Stored(part);
                }
            }
            store.sync_folder("layer")?;
        }
        self.locks.clear();
        Ok(())
    }
}

fn lock_name(diff_id: &Digest) -> String {
    format!("layerlocks/{}-{}", diff_id.algorithm(), diff_id.hex())
}

fn key(stem: &str, facts: &Facts) -> String {
    match facts.key() {
        "" => stem.to_owned(),
        key => format!("{stem}.{key}"),
    }
}

/// Does jobs on a few threads; the first failure stops them all.
pub(super) fn in_parallel<J: Send, T: Send>(
    transfer: &Transfer<'_>,
    jobs: Vec<J>,
    job: impl Fn(J) -> Result<T, ImportError> + Sync,
) -> Result<Vec<T>, ImportError> {
    let cores = std::thread::available_parallelism().map_or(2, usize::from);
    let threads = cores.clamp(2, 4).min(jobs.len());
    let count = jobs.len();
    let jobs: Vec<Mutex<Option<J>>> = jobs.into_iter().map(|job| Mutex::new(Some(job))).collect();
    let next = AtomicUsize::new(0);
    let done: Mutex<Vec<T>> = Mutex::new(Vec::with_capacity(count));
    let failed: Mutex<Option<ImportError>> = Mutex::new(None);
    let work = || {
        while !transfer.stopped.load(Ordering::Relaxed) {
            let Some(slot) = jobs.get(next.fetch_add(1, Ordering::Relaxed)) else { break };
            let Some(todo) = slot.lock().ok().and_then(|mut slot| slot.take()) else { break };
            match job(todo) {
                Ok(result) => {
                    if let Ok(mut all) = done.lock() {
                        all.push(result);
                    }
                }
                Err(error) => {
                    // Whoever is first here has the cause; the others were only stopped.
                    if let Ok(mut first) = failed.lock()
                        && first.is_none()
                    {
                        *first = Some(error);
                    }
                    transfer.stopped.store(true, Ordering::Relaxed);
                }
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 1..threads {
            scope.spawn(work);
        }
        work();
    });
    match failed.into_inner() {
        Ok(Some(error)) => Err(error),
        _ => Ok(done.into_inner().unwrap_or_default()),
    }
}
