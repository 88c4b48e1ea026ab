//! Who may be called: every notation and every wrapping of an address that isn't public is refused.

use std::net::IpAddr;

use pixerve::callback::AddressPolicy;
use pixerve::callback::address::{canonical, literal};
use url::Url;

/// Hosts as a URL may spell them. `Url` reads them the way browsers do, octal, hex and all.
pub(super) const REFUSED: [&str; 108] = [
    // This network, loopback, in every notation.
    "0.0.0.0",
    "0",
    "0.0.0.1",
    "0.255.255.255",
    "127.0.0.1",
    "127.1",
    "127.0.1",
    "127.0.0.1.",
    "127.255.255.254",
    "2130706433",
    "0x7f000001",
    "0x7F.1",
    "0x7f.0x0.0x0.0x1",
    "017700000001",
    "0177.0.0.1",
    "0177.0000.0000.0001",
    "127.0x0.0.01",
    "%31%32%37.0.0.1",
    "１２７.０.０.１",
    "127。0。0。1",
    "①②⑦.0.0.1",
    // Private, shared, link-local (cloud metadata).
    "10.0.0.0",
    "10.255.255.255",
    "0xa000001",
    "012.1",
    "100.64.0.0",
    "100.127.255.255",
    "169.254.0.1",
    "169.254.169.254",
    "0xA9FEA9FE",
    "2852039166",
    "0251.0376.0251.0376",
    "169.254.43518",
    "172.16.0.0",
    "172.31.255.255",
    "192.168.0.0",
    "192.168.255.255",
    "3232235521",
    // Protocol assignments, documentation, relays, benchmarks.
    "192.0.0.0",
    "192.0.0.9",
    "192.0.0.170",
    "192.0.0.255",
    "192.0.2.1",
    "192.88.99.1",
    "198.18.0.0",
    "198.19.255.255",
    "198.51.100.1",
    "203.0.113.255",
    // Multicast, reserved, broadcast.
    "224.0.0.1",
    "239.255.255.255",
    "240.0.0.1",
    "255.255.255.254",
    "255.255.255.255",
    "0xffffffff",
    "037777777777",
    // IPv6: unspecified, loopback, v4-compatible.
    "[::]",
    "[::1]",
    "[0:0:0:0:0:0:0:1]",
    "[::0.0.0.1]",
    "[::127.0.0.1]",
    "[::8.8.8.8]",
    // v4-mapped.
    "[::ffff:127.0.0.1]",
    "[::ffff:7f00:1]",
    "[0:0:0:0:0:ffff:7f00:0001]",
    "[::ffff:10.0.0.1]",
    "[::ffff:169.254.169.254]",
    "[::FFFF:a9fe:a9fe]",
    "[::ffff:0.0.0.0]",
    "[::ffff:255.255.255.255]",
    "[::ffff:0:127.0.0.1]",
    // NAT64, well-known and local.
    "[64:ff9b::127.0.0.1]",
    "[64:ff9b::a9fe:a9fe]",
    "[64:ff9b::192.168.1.1]",
    "[64:ff9b:1::1]",
    "[64:ff9b:1::8.8.8.8]",
    "[64:ff9b:0:0:0:1:808:808]",
    // 6to4 and Teredo.
    "[2002:7f00:1::]",
    "[2002:7f00:0001::1]",
    "[2002:a00:1::1]",
    "[2002:a9fe:a9fe::1]",
    "[2002:c0a8:101:1234::5678]",
    "[2001::1]",
    "[2001:0:4136:e378:8000:63bf:3fff:fdd2]",
    "[2001:0:7f00:1::]",
    // Protocol assignments, documentation, discard, segment routing.
    "[2001:2::1]",
    "[2001:10::1]",
    "[2001:20::1]",
    "[2001:1ff:ffff::]",
    "[2001:db8::1]",
    "[2001:db8:ffff:ffff:ffff:ffff:ffff:ffff]",
    "[3fff::1]",
    "[3fff:fff:ffff::]",
    "[100::1]",
    "[100:0:0:1::1]",
    "[5f00::1]",
    // Unique local, link-local, site-local, multicast, unassigned.
    "[fc00::1]",
    "[fd00:ec2::254]",
    "[fdff:ffff::]",
    "[fe80::1]",
    "[fe80::a9fe:a9fe]",
    "[febf::1]",
    "[fec0::1]",
    "[feff::1]",
    "[ff02::1]",
    "[ff0e::1]",
    "[4000::1]",
    "[1fff:ffff::1]",
    "[e000::1]",
];

const PUBLIC: [&str; 27] = [
    "1.1.1.1",
    "8.8.8.8",
    "134744072",
    "0x08080808",
    "9.255.255.255",
    "11.0.0.0",
    "100.63.255.255",
    "100.128.0.0",
    "126.255.255.255",
    "128.0.0.0",
    "169.253.255.255",
    "169.255.0.0",
    "172.15.255.255",
    "172.32.0.0",
    "192.0.1.0",
    "192.0.3.0",
    "192.167.255.255",
    "192.169.0.0",
    "198.17.255.255",
    "198.20.0.0",
    "223.255.255.255",
    "[2606:4700:4700::1111]",
    "[2001:4860:4860::8888]",
    "[2001:200::1]",
    "[::ffff:8.8.8.8]",
    "[64:ff9b::8.8.8.8]",
    "[2002:808:808::1]",
];

pub(super) fn address(host: &str) -> IpAddr {
    let url = Url::parse(&format!("http://{host}:8080/hook")).unwrap_or_else(|error| panic!("{host}: {error}"));
    literal(&url).unwrap_or_else(|| panic!("{host} is no literal address: {url}"))
}

fn allowing(networks: &[&str]) -> AddressPolicy {
    AddressPolicy::new(networks.iter().map(|net| net.parse().expect("a network")).collect())
}

#[test]
fn nothing_but_public_addresses_may_be_called() {
    let policy = AddressPolicy::default();
    let reached: Vec<_> = REFUSED.iter().filter(|host| policy.permits(address(host))).collect();
    assert!(reached.is_empty(), "may be called: {reached:?}");
    let missed: Vec<_> = PUBLIC.iter().filter(|host| !policy.permits(address(host))).collect();
    assert!(missed.is_empty(), "may not be called: {missed:?}");
}

#[test]
fn an_operator_allows_an_address_in_all_its_wrappings_and_no_other() {
    let policy = allowing(&["127.0.0.0/8", "fd00::/8"]);
    for host in ["127.0.0.1", "0x7f.1", "[::ffff:127.0.0.1]", "[64:ff9b::127.0.0.1]", "[2002:7f00:1::]", "[fd00::1]"] {
        assert!(policy.permits(address(host)), "{host}");
    }
    for host in ["10.0.0.1", "[::1]", "[::127.0.0.1]", "[fc00::1]", "[::ffff:10.0.0.1]", "169.254.169.254"] {
        assert!(!policy.permits(address(host)), "{host}");
    }
    assert!(policy.permits(address("8.8.8.8")), "public ones stay allowed");
}

#[test]
fn allowing_all_of_ipv6_allows_no_wrapped_ipv4() {
    let policy = allowing(&["::/0"]);
    assert!(policy.permits(address("[::1]")));
    assert!(!policy.permits(address("[::ffff:127.0.0.1]")));
}

#[test]
fn unwrapping_gives_the_address_a_packet_ends_up_at() {
    for (wrapped, plain) in [
        ("::ffff:10.1.2.3", "10.1.2.3"),
        ("64:ff9b::10.1.2.3", "10.1.2.3"),
        ("2002:a01:203:ffff::1", "10.1.2.3"),
        ("2606:4700::1", "2606:4700::1"),
        ("10.1.2.3", "10.1.2.3"),
    ] {
        let wrapped: IpAddr = wrapped.parse().expect("an address");
        assert_eq!(canonical(wrapped).to_string(), plain);
    }
}

#[test]
fn a_name_is_no_literal() {
    for host in ["localhost", "example.com", "127.0.0.1.example.com", "0x7f.1.example"] {
        let url = Url::parse(&format!("https://{host}/")).expect("a URL");
        assert_eq!(literal(&url), None, "{host}");
    }
}
