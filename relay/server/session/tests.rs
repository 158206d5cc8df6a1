//! Checks the memory that a session keeps while its tunnel is idle.

use super::*;

fn size_of_future<A, B, C, D, E, F: Future>(_: impl FnOnce(A, B, C, D, E) -> F) -> usize {
    size_of::<F>()
}

#[test]
fn the_future_of_a_session_stays_small() {
    let size = size_of_future(serve);
    assert!(
        size <= 1700,
        "{size} bytes for each idle tunnel: box the step that is larger than the tunnel"
    );
}
