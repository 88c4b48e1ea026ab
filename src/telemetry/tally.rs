//! What happens too often to be logged one by one.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::sleep;
use tracing::instrument::WithSubscriber;

/// Between two lines.
const EVERY: Duration = Duration::from_secs(10);

/// Counts events of one kind and logs how many there were: the first at once, those after it once in ten seconds.
/// Cheap to clone.
#[derive(Clone, Debug)]
pub struct Tally {
    /// Logs a number of events, the last of them of this address.
    log: fn(u64, IpAddr),
    every: Duration,
    counted: Arc<Mutex<Counted>>,
}

#[derive(Debug, Default)]
struct Counted {
    count: u64,
    last: Option<IpAddr>,
    /// A task waits to log them.
    is_awaited: bool,
}

impl Tally {
    /// Nothing yet. `log` is given a number of events and the address of the last.
    #[must_use]
    pub fn new(log: fn(u64, IpAddr)) -> Self {
        Self::with_interval(log, EVERY)
    }

    fn with_interval(log: fn(u64, IpAddr), every: Duration) -> Self {
        Self { log, every, counted: Arc::default() }
    }

    /// Counts one. To be called in a runtime.
    pub fn count(&self, address: IpAddr) {
        {
            let mut counted = self.counted.lock();
            if counted.is_awaited {
                counted.count += 1;
                counted.last = Some(address);
                return;
            }
            counted.is_awaited = true;
        }
        (self.log)(1, address);
        tokio::spawn(self.clone().log_further().with_current_subscriber());
    }

    async fn log_further(self) {
        loop {
            sleep(self.every).await;
            let further = {
                let mut counted = self.counted.lock();
                counted.is_awaited = counted.last.is_some();
                counted.last.take().map(|last| (std::mem::take(&mut counted.count), last))
            };
            let Some((count, last)) = further else { return };
            (self.log)(count, last);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;
    use crate::telemetry::Capture;

    #[tokio::test]
    async fn the_first_is_logged_at_once_and_the_others_as_a_number() {
        let capture = Capture::new();
        let _default = tracing::dispatcher::set_default(&capture.dispatch());
        let tally = Tally::with_interval(
            |count, last| tracing::info!(count, last = %last, "refused"),
            Duration::from_millis(20),
        );
        let counts = || -> Vec<u64> {
            let lines = capture.text();
            let lines = lines.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).expect("JSON"));
            lines.filter_map(|line| line["count"].as_u64()).collect()
        };
        for last in 1..=100 {
            tally.count(Ipv4Addr::new(192, 0, 2, last).into());
        }
        assert_eq!(counts(), [1]);
        while counts() != [1, 99] {
            tokio::task::yield_now().await;
        }
        assert!(capture.text().contains("192.0.2.100"));
        while tally.counted.lock().is_awaited {
            tokio::task::yield_now().await;
        }
        tally.count(Ipv4Addr::LOCALHOST.into());
        assert_eq!(counts(), [1, 99, 1], "after a pause one is logged at once again");
    }
}
