//! Real images, built of Debian packages by `tests/corpus/make-corpus.sh`: their programs work, what an app sees is what
//! another unpacker makes of the image, and a registry is asked for nothing twice.

mod derived;
mod everywhere;
mod real_images;
mod root;
mod tree;
mod trees;
