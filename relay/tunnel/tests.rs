use std::io::{ErrorKind, Read, Write};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::thread;

use rustix::net::SendFlags;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::pipe::Pool;
use super::turn::WORKBENCH;
use super::*;

/// A running tunnel, and both of its far ends.
struct Rig {
    client: TcpStream,
    upstream: TcpStream,
    counters: Arc<Counters>,
    stop: Option<oneshot::Sender<ClosedBy>>,
    task: JoinHandle<Closed>,
}

impl Rig {
    async fn start() -> Self {
        Self::start_with(Vec::new(), LIMITS).await
    }

    async fn start_with(first: Vec<u8>, limits: TunnelLimits) -> Self {
        let (client, near_client) = connection().await;
        let (upstream, near_upstream) = connection().await;
        Self::join(client, near_client, upstream, near_upstream, first, limits)
    }

    fn join(
        client: TcpStream,
        near_client: TcpStream,
        upstream: TcpStream,
        near_upstream: TcpStream,
        first: Vec<u8>,
        limits: TunnelLimits,
    ) -> Self {
        let counters = Arc::new(Counters::default());
        let (stop, stopped) = oneshot::channel();
        let counted = Arc::clone(&counters);
        let task = tokio::spawn(async move {
            let stop = async {
                match stopped.await {
                    Ok(by) => by,
                    Err(_) => std::future::pending().await,
                }
            };
            relay(
                plain(&near_client),
                &near_upstream,
                first,
                &limits,
                stop,
                &counted,
            )
            .await
        });
        Self {
            client,
            upstream,
            counters,
            stop: Some(stop),
            task,
        }
    }

    fn counted(&self) -> (u64, u64) {
        (self.counters.up(), self.counters.down())
    }
}

/// Makes a connection over loopback, and gives its far end and its near end.
async fn connection() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (far, near) = tokio::join!(TcpStream::connect(address), listener.accept());
    let (far, near) = (far.unwrap(), near.unwrap().0);
    far.set_nodelay(true).unwrap();
    near.set_nodelay(true).unwrap();
    (far, near)
}

/// Makes bytes in which a shift, a loss or a repeat of a block shows.
fn pattern(length: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let block: Vec<u8> = (0..65_521)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state.to_le_bytes()[3]
        })
        .collect();
    block.iter().copied().cycle().take(length).collect()
}

async fn read_all(stream: &mut (impl AsyncReadExt + Unpin)) -> Vec<u8> {
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).await.unwrap();
    bytes
}

/// Reads until the end; gives how many bytes came and whether the end was a FIN.
async fn read_out(stream: &mut TcpStream) -> (usize, bool) {
    let mut buffer = vec![0; 64 * 1024];
    let mut total = 0;
    loop {
        match stream.read(&mut buffer).await {
            Ok(0) => return (total, true),
            Ok(read) => total += read,
            Err(e) => {
                assert_eq!(e.kind(), ErrorKind::ConnectionReset);
                return (total, false);
            }
        }
    }
}

/// Writes until the tunnel and every socket buffer on the way are full.
async fn write_until_stuck(stream: &mut TcpStream) -> usize {
    let block = pattern(64 * 1024);
    let mut total = 0;
    let pause = Duration::from_millis(100);
    while let Ok(written) = tokio::time::timeout(pause, stream.write(&block)).await {
        total += written.unwrap();
    }
    total
}

fn reset(stream: TcpStream) {
    stream.set_zero_linger().unwrap();
    drop(stream);
}

fn limit_pipes(limit: usize) {
    WORKBENCH.with_borrow_mut(|bench| bench.pipes = Pool::with_limit(limit));
}

/// Counts the pipes that exist, and those of them that are on loan.
fn pipes() -> (usize, usize) {
    WORKBENCH.with_borrow(|bench| (bench.pipes.count(), bench.pipes.on_loan()))
}

fn closed(by: ClosedBy) -> Closed {
    Closed { by, error: None }
}

/// Sends `length` bytes each way at once, to readers that are slow.
async fn exchange(length: usize) {
    let rig = Rig::start().await;
    let sent = pattern(length);
    let (mut client_reads, mut client_writes) = rig.client.into_split();
    let (mut upstream_reads, mut upstream_writes) = rig.upstream.into_split();
    let dawdle = async |reader: &mut tokio::net::tcp::OwnedReadHalf| {
        let mut got = vec![0; length];
        let mut at = 0;
        while at < length {
            let end = length.min(at + 3 * 1024 * 1024);
            reader.read_exact(&mut got[at..end]).await.unwrap();
            tokio::time::sleep(Duration::from_millis(1)).await;
            at = end;
        }
        assert!(got == sent, "bytes changed on the way");
        assert_eq!(read_all(reader).await, b"");
    };
    tokio::join!(
        async {
            client_writes.write_all(&sent).await.unwrap();
            client_writes.shutdown().await.unwrap();
        },
        async {
            upstream_writes.write_all(&sent).await.unwrap();
            upstream_writes.shutdown().await.unwrap();
        },
        dawdle(&mut client_reads),
        dawdle(&mut upstream_reads),
    );
    let closed = rig.task.await.unwrap();
    assert!(matches!(closed.by, ClosedBy::Client | ClosedBy::Upstream));
    assert_eq!(closed.error, None);
    assert_eq!(rig.counters.up(), length as u64);
    assert_eq!(rig.counters.down(), length as u64);
}

#[tokio::test]
async fn carries_bulk_both_ways_at_once() {
    exchange(64 * 1024 * 1024).await;
    let (open, on_loan) = pipes();
    assert!(open > 0, "nothing was spliced");
    assert_eq!(on_loan, 0);
}

#[tokio::test]
async fn copies_when_there_is_no_pipe() {
    limit_pipes(0);
    exchange(8 * 1024 * 1024).await;
    assert_eq!(pipes(), (0, 0));
}

#[tokio::test]
async fn carries_single_bytes() {
    let mut rig = Rig::start().await;
    for byte in 0..=255 {
        rig.client.write_u8(byte).await.unwrap();
        assert_eq!(rig.upstream.read_u8().await.unwrap(), byte);
        rig.upstream.write_u8(!byte).await.unwrap();
        assert_eq!(rig.client.read_u8().await.unwrap(), !byte);
    }
    assert_eq!(rig.counted(), (256, 256));
    assert_eq!(pipes(), (0, 0), "small messages need no pipe");
}

#[tokio::test]
async fn a_fin_is_passed_on_and_the_other_direction_goes_on() {
    for client_first in [true, false] {
        let mut rig = Rig::start().await;
        let (first, second, by) = if client_first {
            (&mut rig.client, &mut rig.upstream, ClosedBy::Client)
        } else {
            (&mut rig.upstream, &mut rig.client, ClosedBy::Upstream)
        };
        first.write_all(b"request").await.unwrap();
        first.shutdown().await.unwrap();
        assert_eq!(read_all(second).await, b"request");
        let answer = pattern(1024 * 1024);
        let ((), got) = tokio::join!(
            async {
                second.write_all(&answer).await.unwrap();
                second.shutdown().await.unwrap();
            },
            read_all(first)
        );
        assert!(got == answer);
        assert_eq!(rig.task.await.unwrap(), closed(by));
    }
}

#[tokio::test]
async fn a_reset_is_passed_on_as_a_reset() {
    for by in [ClosedBy::Client, ClosedBy::Upstream] {
        let mut rig = Rig::start().await;
        rig.client.write_all(b"to and").await.unwrap();
        rig.upstream.read_exact(&mut [0; 6]).await.unwrap();
        let (breaker, mut other) = match by {
            ClosedBy::Client => (rig.client, rig.upstream),
            _ => (rig.upstream, rig.client),
        };
        reset(breaker);
        assert_eq!(read_out(&mut other).await, (0, false), "{by}");
        let closed = rig.task.await.unwrap();
        assert_eq!(closed.by, by);
        let error = closed.error.unwrap();
        assert!(error.starts_with(by.as_str()), "{error}");
    }
}

#[tokio::test]
async fn a_reset_after_a_fin_is_passed_on_too() {
    let mut rig = Rig::start().await;
    rig.client.shutdown().await.unwrap();
    assert_eq!(read_all(&mut rig.upstream).await, b"");
    reset(rig.upstream);
    assert_eq!(read_out(&mut rig.client).await, (0, false));
    assert_eq!(rig.task.await.unwrap().by, ClosedBy::Upstream);
}

#[tokio::test]
async fn what_was_sent_before_a_reset_is_delivered() {
    let mut rig = Rig::start().await;
    // The relay finds the reset by writing, while the answer still waits to be read.
    let sent = write_until_stuck(&mut rig.client).await;
    rig.upstream.write_all(&pattern(100_000)).await.unwrap();
    reset(rig.upstream);
    assert_eq!(read_out(&mut rig.client).await, (100_000, false));
    assert_eq!(rig.task.await.unwrap().by, ClosedBy::Upstream);
    assert!(rig.counters.up() <= sent as u64);
    assert_eq!(rig.counters.down(), 100_000);
}

#[tokio::test]
async fn counters_stay_true_when_the_receiver_breaks_off() {
    for limit in [0, 64] {
        limit_pipes(limit);
        let mut rig = Rig::start().await;
        let mut sent = 0;
        let received = 5_000_000;
        let (mut reader, mut writer) = rig.client.into_split();
        let block = pattern(100_000);
        tokio::join!(
            async {
                while let Ok(written) = writer.write(&block).await {
                    sent += written as u64;
                }
            },
            async {
                rig.upstream
                    .read_exact(&mut vec![0; received])
                    .await
                    .unwrap();
                reset(rig.upstream);
            }
        );
        assert!(reader.read_u8().await.is_err());
        assert_eq!(rig.task.await.unwrap().by, ClosedBy::Upstream);
        let counted = rig.counters.up();
        assert!(
            (received as u64..=sent).contains(&counted),
            "{received} <= {counted} <= {sent}"
        );
        assert_eq!(pipes().1, 0, "a pipe with bytes in it was kept");
    }
}

#[tokio::test]
async fn early_bytes_go_first_and_may_exceed_every_socket_buffer() {
    let early = pattern(32 * 1024 * 1024);
    let mut rig = Rig::start_with(early.clone(), LIMITS).await;
    rig.client.write_all(b"late").await.unwrap();
    rig.client.shutdown().await.unwrap();
    tokio::time::sleep(Duration::from_millis(20)).await;
    assert!(rig.counters.up() < early.len() as u64);
    let got = read_all(&mut rig.upstream).await;
    assert!(got[..early.len()] == early && &got[early.len()..] == b"late");
    assert_eq!(rig.counters.up(), got.len() as u64);
}

#[tokio::test(start_paused = true)]
async fn a_tunnel_without_bytes_is_closed_as_idle() {
    let start = Instant::now();
    let mut rig = Rig::start().await;
    for _ in 0..3 {
        tokio::time::sleep(LIMITS.idle * 9 / 10).await;
        rig.client.write_all(b"x").await.unwrap();
        rig.upstream.read_u8().await.unwrap();
    }
    assert_eq!(rig.task.await.unwrap(), closed(ClosedBy::Idle));
    let lasted = start.elapsed();
    assert!(lasted >= LIMITS.idle * 37 / 10, "{lasted:?}");
    assert!(lasted < LIMITS.idle * 4, "{lasted:?}");
    assert_eq!(read_out(&mut rig.client).await, (0, true));
    assert_eq!(read_out(&mut rig.upstream).await, (0, true));
}

#[tokio::test(start_paused = true)]
async fn half_closed_counts_from_the_first_fin() {
    let mut rig = Rig::start().await;
    tokio::time::sleep(LIMITS.idle / 2).await;
    rig.upstream.shutdown().await.unwrap();
    let fin = Instant::now();
    assert_eq!(read_all(&mut rig.client).await, b"");
    tokio::time::sleep(LIMITS.half_closed / 2).await;
    rig.client.write_all(b"x").await.unwrap();
    rig.upstream.read_u8().await.unwrap();
    assert_eq!(rig.task.await.unwrap(), closed(ClosedBy::HalfClosed));
    let lasted = fin.elapsed();
    assert!(lasted >= LIMITS.half_closed * 3 / 2, "{lasted:?}");
    assert!(lasted < LIMITS.half_closed * 2, "{lasted:?}");
}

#[tokio::test(start_paused = true)]
async fn no_traffic_outlasts_the_lifetime() {
    let start = Instant::now();
    let mut rig = Rig::start().await;
    while rig.client.write_all(b"x").await.is_ok() && rig.upstream.read_u8().await.is_ok() {
        tokio::time::sleep(LIMITS.idle / 3).await;
    }
    assert_eq!(rig.task.await.unwrap(), closed(ClosedBy::Lifetime));
    assert!(start.elapsed() >= LIMITS.lifetime);
    assert!(start.elapsed() < LIMITS.lifetime + LIMITS.idle);
}

#[tokio::test(start_paused = true)]
async fn the_longest_limits_do_not_overflow() {
    let mut rig = Rig::start_with(
        Vec::new(),
        TunnelLimits {
            idle: Duration::MAX,
            half_closed: Duration::MAX,
            lifetime: Duration::MAX,
        },
    )
    .await;
    tokio::time::sleep(LONGEST_SLEEP * 3).await;
    rig.client.shutdown().await.unwrap();
    assert_eq!(read_all(&mut rig.upstream).await, b"");
    drop(rig.upstream);
    assert_eq!(rig.task.await.unwrap(), closed(ClosedBy::Client));
}

#[tokio::test]
async fn a_stop_ends_a_quiet_tunnel_by_fin() {
    let mut rig = Rig::start().await;
    rig.client.write_all(b"x").await.unwrap();
    rig.upstream.read_u8().await.unwrap();
    let stop = rig.stop.take().unwrap();
    stop.send(ClosedBy::PolicyRevoked).unwrap();
    assert_eq!(rig.task.await.unwrap(), closed(ClosedBy::PolicyRevoked));
    assert_eq!(read_out(&mut rig.client).await, (0, true));
    assert_eq!(read_out(&mut rig.upstream).await, (0, true));
}

#[tokio::test]
async fn a_stop_with_bytes_held_never_looks_like_a_complete_stream() {
    for limit in [0, 64] {
        limit_pipes(limit);
        let mut rig = Rig::start().await;
        write_until_stuck(&mut rig.client).await;
        let stop = rig.stop.take().unwrap();
        stop.send(ClosedBy::Shutdown).unwrap();
        assert_eq!(rig.task.await.unwrap(), closed(ClosedBy::Shutdown));
        let (_, complete) = read_out(&mut rig.upstream).await;
        assert!(!complete);
    }
}

#[tokio::test]
async fn a_pipe_is_held_only_while_bytes_are_in_it() {
    let mut rig = Rig::start().await;
    let sent = write_until_stuck(&mut rig.client).await;
    assert_eq!(pipes().1, 1, "the stuck direction has one");
    let mut got = vec![0; sent];
    rig.upstream.read_exact(&mut got).await.unwrap();
    rig.upstream.write_all(b"done").await.unwrap();
    rig.client.read_exact(&mut [0; 4]).await.unwrap();
    assert_eq!(pipes(), (1, 0));
    assert_eq!(rig.counted(), (sent as u64, 4));
    rig.client.shutdown().await.unwrap();
}

// splice(2) gives zero before urgent data with a FIN behind it. If that were taken for the end, the
// rest of the stream would be lost.
#[tokio::test]
async fn urgent_data_does_not_cut_off_a_splicing_direction() {
    let (mut client, near_client) = connection().await;
    let (upstream, near_upstream) = connection().await;
    let sent = pattern(100_000);
    client.write_all(&sent).await.unwrap();
    rustix::net::send(&client, b"!", SendFlags::OOB).unwrap();
    client.write_all(b"rest").await.unwrap();
    client.shutdown().await.unwrap();
    let mut rig = Rig::join(
        client,
        near_client,
        upstream,
        near_upstream,
        Vec::new(),
        LIMITS,
    );
    let got = read_all(&mut rig.upstream).await;
    assert!(pipes().0 > 0, "nothing was spliced");
    assert!(got[..sent.len()] == sent);
    assert_eq!(&got[sent.len()..], b"rest");
    drop(rig.upstream);
    assert_eq!(rig.task.await.unwrap(), closed(ClosedBy::Client));
}

#[tokio::test]
async fn a_thousand_tunnels_leave_no_descriptor_behind() {
    let descriptors = || std::fs::read_dir("/proc/self/fd").unwrap().count();
    let before = descriptors();
    let bulk = pattern(200_000);
    for round in 0..1_000 {
        let mut rig = Rig::start().await;
        match round % 4 {
            0 => drop((rig.client, rig.upstream)),
            1 => {
                reset(rig.upstream);
                read_out(&mut rig.client).await;
            }
            2 => {
                // The tunnel is cut off with bytes on the way.
                rig.client.write_all(&bulk).await.unwrap();
                rig.task.abort();
                assert!(rig.task.await.unwrap_err().is_cancelled());
                continue;
            }
            _ => {
                rig.client.write_all(b"x").await.unwrap();
                rig.client.shutdown().await.unwrap();
                assert_eq!(read_all(&mut rig.upstream).await, b"x");
                drop(rig.upstream);
            }
        }
        let _ = rig.task.await.unwrap();
    }
    // Other tests of this process open and close descriptors too, but not hundreds.
    assert!(descriptors() < before + 250);
    assert_eq!(pipes().1, 0);
}

#[tokio::test]
async fn one_turn_moves_a_bounded_share_and_asks_for_the_next() {
    let (mut client, near_client) = connection().await;
    let (_upstream, near_upstream) = connection().await;
    let waiting = write_until_stuck(&mut client).await as u64;
    let share = 8 * 64 * 1024;
    assert!(waiting > 3 * share, "only {waiting} bytes");
    let counters = Counters::default();
    let stop = std::future::pending();
    let future = relay(
        plain(&near_client),
        &near_upstream,
        Vec::new(),
        &LIMITS,
        stop,
        &counters,
    );
    let mut future = pin!(future);
    for turn in 1..=3 {
        let before = counters.up();
        // The future is polled once, and then gets the wake-up that the tunnel must have asked for.
        let mut polled = false;
        poll_fn(|cx| {
            if polled {
                return Poll::Ready(());
            }
            polled = true;
            assert!(future.as_mut().poll(cx).is_pending());
            Poll::Pending
        })
        .await;
        let moved = counters.up() - before;
        assert!(0 < moved && moved <= share, "turn {turn}: {moved} bytes");
    }
}

#[test]
fn a_bulk_tunnel_leaves_the_thread_to_others() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let done = Arc::new(AtomicBool::new(false));
    let (bulk, small) = runtime.block_on(async { (Rig::start().await, Rig::start().await) });
    let blocking = |stream: TcpStream| {
        let stream = stream.into_std().unwrap();
        stream.set_nonblocking(false).unwrap();
        stream
    };
    let _context = runtime.enter();
    let (mut source, mut sink) = (blocking(bulk.client), blocking(bulk.upstream));
    let (mut near, mut far) = (blocking(small.client), blocking(small.upstream));
    let until = Arc::clone(&done);
    let pushing = thread::spawn(move || {
        let block = pattern(1024 * 1024);
        while !until.load(Ordering::Relaxed) {
            source.write_all(&block).unwrap();
        }
    });
    let pulling = thread::spawn(move || {
        let mut buffer = vec![0; 1024 * 1024];
        while sink.read(&mut buffer).unwrap() > 0 {}
    });
    let counters = Arc::clone(&bulk.counters);
    let pinging = thread::spawn(move || {
        let before = counters.up();
        for _ in 0..PINGS {
            near.write_all(b"ping").unwrap();
            far.read_exact(&mut [0; 4]).unwrap();
        }
        done.store(true, Ordering::Relaxed);
        counters.up() - before
    });
    let ended = runtime.block_on(bulk.task).unwrap();
    assert_eq!(ended, closed(ClosedBy::Client));
    let per_ping = pinging.join().unwrap() / PINGS;
    assert!(per_ping < 8 * 1024 * 1024, "{per_ping} bytes a ping");
    pushing.join().unwrap();
    pulling.join().unwrap();
}

#[tokio::test]
async fn the_future_can_be_spawned_from_another_thread() {
    fn sendable<T: Send>(value: T) -> T {
        value
    }
    let ((client, near_client), (upstream, near_upstream)) =
        (connection().await, connection().await);
    drop((client, upstream));
    let counters = Counters::default();
    let stop = std::future::pending();
    let future = sendable(relay(
        plain(&near_client),
        &near_upstream,
        Vec::new(),
        &LIMITS,
        stop,
        &counters,
    ));
    let size = size_of_val(&future);
    assert!(size <= 512, "{size} bytes a tunnel");
    assert_eq!(future.await, closed(ClosedBy::Client));
}

/// The server speaks first and last, and the question crosses its mark within one write.
#[tokio::test]
async fn only_what_comes_after_the_question_answers_it() {
    for question in [1, 1000, 200_000] {
        let mut rig = Rig::start().await;
        assert_eq!(rig.counters.carried(), None);
        rig.counters.look_for_answer(question);
        let carried = || rig.counters.carried().unwrap();
        rig.upstream.write_all(b"greeting").await.unwrap();
        rig.client.read_exact(&mut [0; 8]).await.unwrap();
        let below = usize::try_from(question).unwrap() - 1;
        rig.client.write_all(&pattern(below)).await.unwrap();
        rig.upstream.read_exact(&mut vec![0; below]).await.unwrap();
        assert!(!carried().is_asked && !carried().is_answered);
        rig.client.write_all(&pattern(300_000)).await.unwrap();
        let mut read = vec![0; 300_000];
        rig.upstream.read_exact(&mut read).await.unwrap();
        assert!(carried().is_asked && !carried().is_answered);
        rig.upstream.write_all(b"!").await.unwrap();
        rig.client.read_exact(&mut [0]).await.unwrap();
        assert!(carried().is_answered);
    }
}

const LIMITS: TunnelLimits = TunnelLimits {
    idle: Duration::from_mins(10),
    half_closed: Duration::from_mins(2),
    lifetime: Duration::from_hours(1),
};

const PINGS: u64 = 200;

fn plain(stream: &TcpStream) -> ClientSide<'_> {
    ClientSide { stream, tls: None }
}
