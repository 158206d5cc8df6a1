//! resolv.conf(5), of which only the servers are read. Names are asked as they are, so search
//! domains and ndots don't matter.

use std::net::{IpAddr, SocketAddr};

/// Lists the servers in their order. Servers with a zone (`fe80::1%eth0`) are left out.
pub(super) fn name_servers(text: &str) -> Vec<SocketAddr> {
    let mut servers = Vec::new();
    for line in text.lines() {
        let mut fields = line.split_ascii_whitespace();
        if fields.next() != Some("nameserver") {
            continue;
        }
        let Some(Ok(address)) = fields.next().map(str::parse::<IpAddr>) else {
            continue;
        };
        let server = SocketAddr::new(address, 53);
        if !servers.contains(&server) {
            servers.push(server);
        }
    }
    servers
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_servers_count() {
        let text = "\
# nameserver 192.0.2.9
; nameserver 192.0.2.9
search example.com _odd..
options ndots:5 timeout:1
nameserver 192.0.2.1
nameserver\t2001:db8::1 # comment
  nameserver 192.0.2.2
nameserver fe80::1%eth0
nameserver resolver.example
nameserver
nameserver 192.0.2.1
nameservers 192.0.2.9
";
        let servers: Vec<String> = name_servers(text).iter().map(ToString::to_string).collect();
        assert_eq!(
            servers,
            ["192.0.2.1:53", "[2001:db8::1]:53", "192.0.2.2:53"]
        );
        assert!(name_servers("").is_empty());
    }
}
