//! Reads the vectors and numbers of which TLS messages are made (RFC 8446, 3).

use super::{NotTls, Random};

/// What is left to read of a structure.
pub(super) struct HelloReader<'a>(pub(super) &'a [u8]);

impl<'a> HelloReader<'a> {
    fn take(&mut self, length: usize) -> Result<&'a [u8], NotTls> {
        let (taken, rest) = self.0.split_at_checked(length).ok_or(CUT_SHORT)?;
        self.0 = rest;
        Ok(taken)
    }

    pub(super) fn u8(&mut self) -> Result<u8, NotTls> {
        let (&byte, rest) = self.0.split_first().ok_or(CUT_SHORT)?;
        self.0 = rest;
        Ok(byte)
    }

    pub(super) fn u16(&mut self) -> Result<u16, NotTls> {
        Ok(u16::from_be_bytes([self.u8()?, self.u8()?]))
    }

    pub(super) fn random(&mut self) -> Result<Random, NotTls> {
        let (&random, rest) = self.0.split_first_chunk().ok_or(CUT_SHORT)?;
        self.0 = rest;
        Ok(random)
    }

    /// Reads `opaque<0..2^8-1>`.
    pub(super) fn vector8(&mut self) -> Result<&'a [u8], NotTls> {
        let length = self.u8()?;
        self.take(length.into())
    }

    /// Reads `opaque<0..2^16-1>`.
    pub(super) fn vector16(&mut self) -> Result<&'a [u8], NotTls> {
        let length = self.u16()?;
        self.take(length.into())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Refuses bytes behind the last member of a structure.
    pub(super) fn finish(self) -> Result<(), NotTls> {
        if self.is_empty() {
            Ok(())
        } else {
            Err(NotTls("bytes are left over inside the ClientHello"))
        }
    }
}

const CUT_SHORT: NotTls = NotTls("a length inside the ClientHello goes beyond what holds it");
