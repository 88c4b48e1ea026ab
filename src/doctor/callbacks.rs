//! Callbacks: whom they may reach, and what became of them.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use ipnet::IpNet;

use super::Check;
use crate::clock::Timestamp;
use crate::error_chain::ErrorChain;
use crate::queue::{Cursor, DeliveryPage, DeliveryRecords, DeliveryScope, DeliveryState, PAGE_MAX, PageRequest};

const ADDRESSES: &str = "callback addresses";
const GIVEN_UP: &str = "callbacks";

/// Where clouds hand out the credentials of a machine to whoever asks from it.
const METADATA: IpAddr = IpAddr::V4(Ipv4Addr::new(169, 254, 169, 254));

/// Callbacks that were given up longer ago are an old story.
const RECENT: Duration = Duration::from_hours(24);
/// Callbacks that are looked at.
const LOOKED_AT_MOST: usize = 2_000;

/// Which addresses callbacks may reach besides public ones.
#[must_use]
pub fn callback_addresses(allow: &[IpNet]) -> Check {
    let listed = allow.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    if let Some(net) = allow.iter().find(|net| net.contains(&METADATA)) {
        let found =
            format!("callback.allow has {net}, and with it {METADATA}, where clouds hand out a machine's credentials");
        let remedy = "name only the networks of your own receivers in PIXERVE_CALLBACK_ALLOW: whoever may upload says where callbacks go";
        return Check::warning(ADDRESSES, found, remedy);
    }
    match allow {
        [] => Check::ok(ADDRESSES, "callbacks may reach public addresses alone"),
        _ => Check::ok(ADDRESSES, format!("callbacks may reach public addresses, and {listed}")),
    }
}

/// Which callbacks were given up within the last day.
pub async fn given_up_callbacks(deliveries: &dyn DeliveryRecords, now: Timestamp) -> Check {
    let (mut count, mut hosts, mut looked_at) = (0_usize, Vec::new(), 0);
    let mut cursor: Option<Cursor> = None;
    loop {
        let page = PageRequest { limit: PAGE_MAX, cursor };
        let page = deliveries.list_deliveries(DeliveryScope::All, DeliveryState::GivenUp, page).await;
        let DeliveryPage { deliveries: found, next } = match page {
            Ok(page) => page,
            Err(error) => {
                let found = format!("they can't be listed: {}", ErrorChain(&error));
                return Check::failed(GIVEN_UP, found, "see what is wrong with the queue");
            }
        };
        looked_at += found.len().max(1);
        for delivery in
            found.iter().filter(|delivery| delivery.last.as_ref().is_some_and(|last| now.since(last.at) <= RECENT))
        {
            count += 1;
            if !hosts.contains(&delivery.host) {
                hosts.push(delivery.host.clone());
            }
        }
        cursor = next;
        if cursor.is_none() || looked_at >= LOOKED_AT_MOST {
            break;
        }
    }
    if count == 0 {
        return Check::ok(GIVEN_UP, "none was given up within a day");
    }
    hosts.truncate(5);
    let found = format!("{count} were given up within a day, to {}", hosts.join(", "));
    let remedy = "once their receivers take them again, `POST /deliveries/redeliver {\"state\": \"given_up\"}` makes them again; `GET /deliveries?state=given_up` says why each was";
    Check::warning(GIVEN_UP, found, remedy)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::CheckState;

    #[test]
    fn a_network_with_the_credentials_of_a_cloud_is_warned_of() {
        let state = |allow: &[&str]| {
            let allow: Vec<IpNet> = allow.iter().map(|net| net.parse().expect("a network")).collect();
            callback_addresses(&allow).state
        };
        assert_eq!(state(&[]), CheckState::Ok);
        assert_eq!(state(&["127.0.0.0/8", "10.0.0.0/8", "::1/128"]), CheckState::Ok);
        for wide in ["0.0.0.0/0", "169.254.0.0/16", "169.254.169.254/32"] {
            assert_eq!(state(&["127.0.0.0/8", wide]), CheckState::Warning, "{wide}");
        }
    }
}
