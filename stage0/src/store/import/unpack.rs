//! One layer, from its blob to a staged tree: everything in one pass, and nothing believed before its end.

use super::blobs::Transfer;
use super::verify::Verified;
use crate::store::layers::NewLayer;
use crate::store::{ImportError, Staged, Store};
use archive::stream::{decoder, drain, sniff};
use archive::{Limits, UnpackError};
use oci::{Descriptor, Digest};
use std::io::Read;
use std::os::fd::AsFd as _;

impl Store {
    /// Unpacks a layer into `NAME/root` of the staged folder.
    pub(super) fn unpack_layer(
        &self,
        transfer: &Transfer<'_>,
        staged: &Staged<'_>,
        (blob, diff_id): (&Descriptor, &Digest),
        name: String,
    ) -> Result<NewLayer, ImportError> {
        drop(staged.make(&name)?);
        let root = staged.make_root(&format!("{name}/root"))?;
        let from: Box<dyn Read + Send> = match self.kept_blob(&blob.digest)? {
            Some(file) => Box::new(file),
            None => transfer.open("layer", blob)?,
        };
        let mut packed = Verified::new("layer", &blob.digest, transfer.watch(blob, from))?;
        let unpacked = unpack(&mut packed, diff_id, root.as_fd());
        // A stream that ends early or makes no sense is first of all not the one that was promised.
        if !matches!(&unpacked, Err(ImportError::Unpack { source, .. }) if !is_stream(source)) {
            drain(&mut packed).map_err(ImportError::Read)?;
            packed.finish("layer", Some(blob.size))?;
        }
        let unpacked = unpacked?;
        for note in &unpacked.notes {
            log::debug!(target: "image", "layer {diff_id}: {note}");
        }
        transfer.progress.layer_done(blob);
        Ok(NewLayer {
            name,
            needs: unpacked.needs,
            digest: unpacked.digest,
            contents: unpacked.contents,
            size: unpacked.bytes,
        })
    }
}

fn is_stream(error: &UnpackError) -> bool {
    matches!(error, UnpackError::Tar(_) | UnpackError::Stream(_))
}

fn unpack(
    packed: &mut (impl Read + Send),
    diff_id: &Digest,
    root: std::os::fd::BorrowedFd<'_>,
) -> Result<archive::layer::Unpacked, ImportError> {
    let limits = Limits::default();
    let (kind, stream) = sniff(packed).map_err(ImportError::Read)?;
    let plain = decoder(kind, stream, &limits).map_err(ImportError::Read)?;
    let mut plain = Verified::new("layer content", diff_id, plain)?;
    let failed = |source| ImportError::Unpack { digest: diff_id.clone(), source };
    let unpacked = archive::layer::unpack(&mut plain, root, &limits).map_err(failed)?;
    drain(&mut plain).map_err(|error| failed(UnpackError::Stream(error)))?;
    plain.finish("layer content", None)?;
    Ok(unpacked)
}
