//! Images and servers that mean harm (`tests/corpus/make-hostile.py`, `serve-hostile.py`): what an app of such an image
//! reaches is inside its pod, and what such a server sends costs little and leaves nothing.

mod apps;
mod servers;
mod set;
