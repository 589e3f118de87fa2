//! How a user names an image.
