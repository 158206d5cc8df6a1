//! CRC-32C (RFC 9260, appendix A). It goes bit by bit, because a header is short, and few have a
//! checksum.

pub(super) fn sum(bytes: impl Iterator<Item = u8>) -> u32 {
    let shift = |sum: u32| (sum >> 1) ^ if sum & 1 == 1 { REFLECTED } else { 0 };
    let add = |sum: u32, byte: u8| (0..8).fold(sum ^ u32::from(byte), |sum, _| shift(sum));
    !bytes.fold(!0, add)
}

/// Castagnoli's polynomial 0x1EDC6F41, with its lowest bit first.
const REFLECTED: u32 = 0x82f6_3b78;

#[cfg(test)]
mod tests {
    use super::*;

    /// These are from RFC 3720, B.4, and the check value that every catalogue has.
    #[test]
    fn the_published_sums() {
        assert_eq!(sum(b"123456789".iter().copied()), 0xe306_9283);
        assert_eq!(sum([0; 32].into_iter()), 0x8a91_36aa);
        assert_eq!(sum([0xff; 32].into_iter()), 0x62a8_ab43);
        assert_eq!(sum(0..32), 0x46dd_794e);
    }
}
