//! Judges by its bytes whether a tunnel carried an upload.

use callhome_trail::Upload;

use crate::tunnel::{Carried, ClosedBy};

/// Judges a tunnel to a billing destination that counts for its client. `hello` is the length of
/// the `ClientHello`, which isn't part of an upload.
pub(super) fn judge(carried: Carried, hello: u64, by: Option<ClosedBy>) -> Upload {
    let Carried {
        up,
        down,
        is_asked,
        is_answered,
    } = carried;
    if is_asked && is_answered && by != Some(ClosedBy::Error) {
        return Upload::Probable;
    }
    // A client can't distrust a server that sent it nothing.
    if is_asked || down == 0 {
        return Upload::Unanswered;
    }
    if hello > 0 && up.saturating_sub(hello) <= ALERT {
        return Upload::Distrusted;
    }
    Upload::Small
}

/// The most bytes after the `ClientHello` of a client that says only why it leaves: a
/// `change_cipher_spec` and an alert, encrypted or not.
const ALERT: u64 = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_end_has_its_word() {
        const HELLO: u64 = 517;
        let carried = |up, down, is_asked, is_answered| Carried {
            up,
            down,
            is_asked,
            is_answered,
        };
        for (carried, by, expected) in [
            (
                carried(HELLO + 5000, 3000, true, true),
                ClosedBy::Client,
                Upload::Probable,
            ),
            (
                carried(HELLO + 5000, 3000, true, true),
                ClosedBy::Idle,
                Upload::Probable,
            ),
            (
                carried(HELLO + 5000, 3000, true, true),
                ClosedBy::Error,
                Upload::Unanswered,
            ),
            (
                carried(HELLO + 5000, 3000, true, false),
                ClosedBy::Client,
                Upload::Unanswered,
            ),
            (
                carried(HELLO + 220, 3000, false, false),
                ClosedBy::Client,
                Upload::Small,
            ),
            (
                carried(HELLO + 65, 3000, false, false),
                ClosedBy::Client,
                Upload::Small,
            ),
            (
                carried(HELLO + 64, 3000, false, false),
                ClosedBy::Client,
                Upload::Distrusted,
            ),
            (
                carried(HELLO + 7, 3000, false, false),
                ClosedBy::Client,
                Upload::Distrusted,
            ),
            (
                carried(HELLO, 0, false, false),
                ClosedBy::Idle,
                Upload::Unanswered,
            ),
            (
                carried(0, 0, false, false),
                ClosedBy::Error,
                Upload::Unanswered,
            ),
        ] {
            assert_eq!(judge(carried, HELLO, Some(by)), expected, "{carried:?}");
        }
        let plain = carried(64, 64, false, false);
        assert_eq!(
            judge(plain, 0, None),
            Upload::Small,
            "without TLS nothing is distrusted"
        );
    }
}
