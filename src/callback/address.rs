//! Which addresses a callback may reach.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use url::{Host, Url};

use crate::job::CallbackAddresses;

/// IPv4 that is not a public host: the IANA special-purpose registry, multicast, and the reserved top.
const REFUSED_V4: [Ipv4Net; 15] = [
    v4([0, 0, 0, 0], 8),
    v4([10, 0, 0, 0], 8),
    v4([100, 64, 0, 0], 10),
    v4([127, 0, 0, 0], 8),
    v4([169, 254, 0, 0], 16),
    v4([172, 16, 0, 0], 12),
    v4([192, 0, 0, 0], 24),
    v4([192, 0, 2, 0], 24),
    v4([192, 88, 99, 0], 24),
    v4([192, 168, 0, 0], 16),
    v4([198, 18, 0, 0], 15),
    v4([198, 51, 100, 0], 24),
    v4([203, 0, 113, 0], 24),
    v4([224, 0, 0, 0], 4),
    v4([240, 0, 0, 0], 4),
];

/// The only IPv6 that IANA hands out to public hosts. Loopback, unique local, link-local, site-local, multicast,
/// discard-only, local NAT64, v4-compatible and segment-routing addresses all lie outside it.
const PUBLIC_V6: Ipv6Net = v6([0x2000, 0, 0], 3);

/// What is special inside of [`PUBLIC_V6`]: protocol assignments (Teredo, ORCHID, benchmarking) and documentation.
const REFUSED_V6: [Ipv6Net; 3] = [v6([0x2001, 0, 0], 23), v6([0x2001, 0xdb8, 0], 32), v6([0x3fff, 0, 0], 20)];

const V4_MAPPED: Ipv6Net = Ipv6Net::new_assert(Ipv6Addr::new(0, 0, 0, 0, 0, 0xffff, 0, 0), 96);
const NAT64: Ipv6Net = v6([0x64, 0xff9b, 0], 96);
const SIX_TO_FOUR: Ipv6Net = v6([0x2002, 0, 0], 16);

const fn v4([a, b, c, d]: [u8; 4], prefix: u8) -> Ipv4Net {
    Ipv4Net::new_assert(Ipv4Addr::new(a, b, c, d), prefix)
}

const fn v6([a, b, c]: [u16; 3], prefix: u8) -> Ipv6Net {
    Ipv6Net::new_assert(Ipv6Addr::new(a, b, c, 0, 0, 0, 0, 0), prefix)
}

/// Public unicast, and what the operator allows besides.
#[derive(Clone, Debug, Default)]
pub struct AddressPolicy {
    allow: Vec<IpNet>,
}

impl AddressPolicy {
    /// Allows `allow` besides public addresses. An IPv4 network covers its addresses inside IPv6 too (see
    /// [`canonical`]).
    #[must_use]
    pub fn new(allow: Vec<IpNet>) -> Self {
        Self { allow }
    }

    /// Whether a callback may connect to `address`.
    #[must_use]
    pub fn permits(&self, address: IpAddr) -> bool {
        let address = canonical(address);
        is_public(address) || self.allow.iter().any(|net| net.contains(&address))
    }
}

impl CallbackAddresses for AddressPolicy {
    fn refused(&self, url: &Url) -> Option<IpAddr> {
        literal(url).filter(|address| !self.permits(*address))
    }
}

/// The address a packet ends up at: IPv4 that is wrapped in IPv6 (v4-mapped, NAT64, 6to4) is unwrapped, so that no
/// wrapping turns a forbidden address into an allowed one.
#[must_use]
pub fn canonical(address: IpAddr) -> IpAddr {
    let IpAddr::V6(wrapped) = address else { return address };
    let octets = wrapped.octets();
    let embedded_at = if V4_MAPPED.contains(&wrapped) || NAT64.contains(&wrapped) {
        12
    } else if SIX_TO_FOUR.contains(&wrapped) {
        2
    } else {
        return address;
    };
    let [a, b, c, d] = [0, 1, 2, 3].map(|i| octets[embedded_at + i]);
    IpAddr::V4(Ipv4Addr::new(a, b, c, d))
}

/// The address that `url` names without asking anyone. HTTP clients don't resolve such hosts, so whoever checks only
/// what a resolver answers never sees them.
#[must_use]
pub fn literal(url: &Url) -> Option<IpAddr> {
    match url.host()? {
        Host::Ipv4(address) => Some(address.into()),
        Host::Ipv6(address) => Some(address.into()),
        Host::Domain(name) => name.parse().ok(),
    }
}

fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => !REFUSED_V4.iter().any(|net| net.contains(&address)),
        IpAddr::V6(address) => PUBLIC_V6.contains(&address) && !REFUSED_V6.iter().any(|net| net.contains(&address)),
    }
}
