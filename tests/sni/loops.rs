//! Ways back to the relay: a name server that has its address for a host, and another relay.

use serde_json::Value;

use crate::support::client::{dial_from, own_address};
use crate::support::relay::{Relay, is_closing};
use crate::support::sni::{CLIENT, HOST, is_refused, listener, listener_at, vendor};

#[tokio::test]
async fn the_relay_is_not_dialled_by_an_address_that_it_knows() {
    // One address is an interface's, with the listener's own port. The other is published, whatever
    // its port.
    let own = own_address(1).to_string();
    let interface = format!(
        "{}{}",
        listener_at(&format!("{own}:8443"), 8443),
        vendor(&own, "127.0.0.0/8", 8443)
    );
    let published = format!(
        "{}{}[policy]\nself_addresses = [\"{own}\"]\n",
        listener(443),
        vendor(&own, "127.0.0.0/8", 443)
    );
    for keys in [interface, published] {
        let relay = Relay::start(&keys).await;
        is_refused(dial_from(CLIENT, relay.proxy).await).await;
        let record = relay.closing(0).await;
        assert_eq!(record["reason"], "loop_detected", "{record}");
        assert_eq!(record["decision"], "deny");
        assert_eq!(
            record["target"]["address"],
            Value::Null,
            "nothing was dialled"
        );
        assert_eq!(relay.count_of(is_closing), 1);
    }
}

/// Neither relay is dialled at an address that it knows as its own, and the ClientHello still comes
/// back to the first.
#[tokio::test]
async fn two_relays_in_a_circle_see_the_same_hello_again() {
    let (address, next) = (own_address(2).to_string(), own_address(3).to_string());
    let to = |own: &str, other: &str| {
        format!(
            "{}{}",
            listener_at(&format!("{own}:8443"), 8443),
            vendor(other, "127.0.0.0/8", 8443)
        )
    };
    let one = Relay::start(&to(&address, &next)).await;
    let other = Relay::start(&to(&next, &address)).await;
    is_refused(dial_from(CLIENT, one.proxy).await).await;
    let refused = one.record(|it| it["event"] == "request_denied").await;
    assert_eq!(refused["reason"], "loop_detected", "{refused}");
    assert_eq!(refused["target"]["host"], HOST);
    assert!(refused["error"].as_str().unwrap().contains("already"));
    // Both tunnels have ended, and there was no third.
    one.record(|it| it["event"] == "tunnel_closed").await;
    other.record(|it| it["event"] == "tunnel_closed").await;
    assert_eq!(
        (one.count_of(is_closing), other.count_of(is_closing)),
        (2, 1)
    );
}
