//! Images that mean harm (`tests/corpus/make-hostile.py`): what an app of one reaches is inside its pod.

mod apps;
mod set;
