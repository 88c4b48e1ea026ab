//! Callback addresses: a URL as a client writes it, and sixteen bytes as a resolver answers.

#![no_main]

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use libfuzzer_sys::fuzz_target;
use pixerve::callback::address::{AddressPolicy, canonical, literal};
use url::Url;

fn is_private(address: Ipv4Addr) -> bool {
    address.is_loopback()
        || address.is_private()
        || address.is_link_local()
        || address.is_unspecified()
        || address.is_multicast()
        || address.is_broadcast()
        || address.is_documentation()
}

fn check(address: IpAddr) {
    let permitted = AddressPolicy::default().permits(address);
    assert_eq!(canonical(canonical(address)), canonical(address));
    match address {
        IpAddr::V4(v4) => {
            assert!(!permitted || !is_private(v4), "{v4}");
            let octets = v4.octets();
            // However it is wrapped.
            let mut mapped = [0; 16];
            mapped[10..12].fill(0xFF);
            mapped[12..].copy_from_slice(&octets);
            let mut nat64 = [0; 16];
            nat64[..4].copy_from_slice(&[0, 0x64, 0xFF, 0x9B]);
            nat64[12..].copy_from_slice(&octets);
            let mut six_to_four = [0; 16];
            six_to_four[..2].copy_from_slice(&[0x20, 2]);
            six_to_four[2..6].copy_from_slice(&octets);
            for wrapped in [mapped, nat64, six_to_four] {
                assert_eq!(AddressPolicy::default().permits(Ipv6Addr::from(wrapped).into()), permitted, "{v4}");
            }
        }
        IpAddr::V6(v6) => {
            let local = v6.is_loopback() || v6.is_unspecified() || v6.is_multicast();
            assert!(!permitted || !(local || v6.is_unique_local() || v6.is_unicast_link_local()), "{v6}");
            if let Some(v4) = v6.to_ipv4_mapped() {
                assert_eq!(permitted, AddressPolicy::default().permits(v4.into()));
            }
        }
    }
}

fuzz_target!(|input: &[u8]| {
    if let Some((bytes, _)) = input.split_first_chunk::<16>() {
        check(Ipv6Addr::from(*bytes).into());
        check(Ipv4Addr::new(bytes[0], bytes[1], bytes[2], bytes[3]).into());
    }
    let Ok(text) = std::str::from_utf8(input) else { return };
    if let Some(address) = Url::parse(text).ok().as_ref().and_then(literal) {
        check(address);
    }
});
