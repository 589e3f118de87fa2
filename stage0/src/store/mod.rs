//! The image store: blobs, layers, trees and their records.
