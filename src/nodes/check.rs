//! What is wrong with a Redis, or may become so: asked once, at the start, and said all at once.

use std::fmt;
use std::time::Duration;

use redis::cmd;
use tokio::time::sleep;
use tracing::warn;

use super::heartbeat::{REMIND_EVERY, offset_ms};
use super::info::Info;
use super::{ClockState, Inner, NodeOptions, SCHEMA};
use crate::clock::Timestamp;
use crate::error_chain::ErrorChain;
use crate::redis_client::RedisError;

/// The oldest release that will do: its scripts say what they may when memory is full.
const OLDEST: (u32, u32) = (7, 0);

/// Something that was found out about a Redis.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Whether the server may start with it.
    pub severity: Severity,
    /// What was found.
    pub found: String,
    /// Why it matters.
    pub why: &'static str,
    /// What to do.
    pub remedy: &'static str,
}

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// The server doesn't start.
    Error,
    /// It does, and promises less.
    Warning,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}; {}", self.found, self.why, self.remedy)
    }
}

/// Asks until it is answered: what is wrong, errors first.
pub(super) async fn check(nodes: &Inner) -> Vec<Finding> {
    let mut logged = None;
    loop {
        let error = match Facts::ask(nodes).await {
            Ok(facts) => {
                nodes.status.send_modify(|status| status.trouble = None);
                return facts.findings(&nodes.options);
            }
            Err(error) => error,
        };
        let now = nodes.clock.elapsed();
        if logged.is_none_or(|at| now.saturating_sub(at) >= REMIND_EVERY) {
            logged = Some(now);
            warn!(error = %ErrorChain(&error), "waiting for Redis");
        }
        let text = ErrorChain(&error).to_string();
        nodes.status.send_modify(|status| status.trouble = Some(text));
        sleep(nodes.options.timing.retry_every).await;
    }
}

/// What a Redis says of itself. What it refuses to say is the reason that it gives.
#[derive(Debug)]
struct Facts {
    info: Result<Info, String>,
    policy: Result<String, String>,
    appendonly: Result<String, String>,
    appendfsync: Result<String, String>,
    keys: Result<Keys, String>,
}

/// What is found below our keys.
#[derive(Debug)]
struct Keys {
    schema: Option<u32>,
    installation: Option<String>,
    /// The newest format of job records that all nodes read, which have run here last.
    record_format: Option<u32>,
    clock_offset_ms: i64,
}

impl Facts {
    /// Fails where Redis can't be reached.
    async fn ask(nodes: &Inner) -> Result<Self, RedisError> {
        let info = nodes.redis.query::<String>("asking Redis about itself", &cmd("INFO")).await;
        let info = said(info.map(|text| Info::parse(&text)))?;
        let of_info = |name| info.as_ref().ok().and_then(|info: &Info| info.get(name)).map(str::to_owned);
        let policy = match of_info("maxmemory_policy") {
            Some(policy) => Ok(policy),
            None => setting(nodes, "maxmemory-policy").await?,
        };
        let appendonly = match of_info("aof_enabled") {
            Some(enabled) => Ok(if enabled == "0" { "no" } else { "yes" }.to_owned()),
            None => setting(nodes, "appendonly").await?,
        };
        let appendfsync = setting(nodes, "appendfsync").await?;
        let keys = said(Keys::ask(nodes).await)?;
        Ok(Self { info, policy, appendonly, appendfsync, keys })
    }

    fn findings(&self, options: &NodeOptions) -> Vec<Finding> {
        let mut findings: Vec<_> = [self.release(), self.role(), self.policy(), self.appendonly(), self.appendfsync()]
            .into_iter()
            .chain(self.of_keys(options))
            .flatten()
            .collect();
        findings.sort_by_key(|finding| finding.severity);
        findings
    }

    /// Valkey began at what Redis 7.2 was, and says so too.
    fn release(&self) -> Option<Finding> {
        let why = "scripts have to run when memory is full, which older ones can't be told";
        let info = match &self.info {
            Ok(info) => info,
            Err(refused) => return Some(unchecked("its release", refused, why)),
        };
        let release = info.get("redis_version").unwrap_or("nothing");
        if info.get("valkey_version").is_some() || version(release).is_some_and(|release| release >= OLDEST) {
            return None;
        }
        let remedy = "use Redis 7.0 or newer, or Valkey";
        Some(Finding { severity: Severity::Error, found: format!("its release is {release}"), why, remedy })
    }

    fn role(&self) -> Option<Finding> {
        let why = "a replica takes no changes";
        match &self.info {
            Ok(info) if info.get("role") != Some("slave") => None,
            Ok(info) => {
                let (host, port) = (info.get("master_host").unwrap_or("?"), info.get("master_port").unwrap_or("?"));
                let found = format!("it is a replica of {host}:{port}");
                Some(Finding { severity: Severity::Error, found, why, remedy: "give queue.url the primary's address" })
            }
            Err(refused) => Some(unchecked("whether it is a replica", refused, why)),
        }
    }

    fn policy(&self) -> Option<Finding> {
        let why = "when memory is full, it would throw away jobs that were accepted";
        match &self.policy {
            Ok(policy) if policy == "noeviction" => None,
            Ok(policy) => Some(Finding {
                severity: Severity::Error,
                found: format!("its maxmemory-policy is {policy}"),
                why,
                remedy: "set maxmemory-policy to noeviction, and give caches a Redis of their own",
            }),
            Err(refused) => Some(unchecked("its maxmemory-policy", refused, why)),
        }
    }

    fn appendonly(&self) -> Option<Finding> {
        let why = "a restart would lose records and callbacks that are owed";
        match &self.appendonly {
            Ok(value) if value == "yes" => None,
            Ok(value) => Some(Finding {
                severity: Severity::Warning,
                found: format!("its appendonly is {value}"),
                why,
                remedy: "set appendonly to yes",
            }),
            Err(refused) => Some(unchecked("its appendonly", refused, why)),
        }
    }

    fn appendfsync(&self) -> Option<Finding> {
        let why = "a loss of power would lose what was written in the last half minute or so";
        match &self.appendfsync {
            Ok(value) if value != "no" => None,
            Ok(value) => Some(Finding {
                severity: Severity::Warning,
                found: format!("its appendfsync is {value}"),
                why,
                remedy: "set appendfsync to everysec, or to always where nothing that was acknowledged may be lost",
            }),
            Err(refused) => Some(unchecked("its appendfsync", refused, why)),
        }
    }

    fn of_keys(&self, options: &NodeOptions) -> Vec<Option<Finding>> {
        match &self.keys {
            Ok(keys) => vec![
                keys.schema(),
                keys.installation(&options.installation),
                keys.record_format(options.record_formats.1),
                keys.clock(options.clock_leeway),
            ],
            Err(refused) => vec![Some(Finding {
                severity: Severity::Error,
                found: format!("what Pixerve keeps there can't be read ({refused})"),
                why: "nothing works without it",
                remedy: "look at the user and password of queue.url, and at what that user may do",
            })],
        }
    }
}

impl Keys {
    async fn ask(nodes: &Inner) -> Result<Self, RedisError> {
        let mut meta = cmd("HMGET");
        meta.arg(nodes.key("meta")).arg("schema").arg("installation").arg("format");
        let (schema, installation, record_format) = nodes.redis.query("reading what is kept in Redis", &meta).await?;
        let time = async || nodes.redis.query::<(u64, u64)>("asking for the time", &cmd("TIME")).await;
        // Once more, so that no connection is made within the time that is measured.
        time().await?;
        let (wall, sent) = (nodes.clock.now(), nodes.clock.elapsed());
        let (seconds, micros) = time().await?;
        let halfway = wall.after(nodes.clock.elapsed().saturating_sub(sent) / 2);
        let clock_offset_ms = offset_ms(halfway, Timestamp::from_millis(seconds * 1000 + micros / 1000));
        Ok(Self { schema, installation, record_format, clock_offset_ms })
    }

    fn schema(&self) -> Option<Finding> {
        let schema = self.schema.filter(|schema| *schema > SCHEMA)?;
        Some(Finding {
            severity: Severity::Error,
            found: format!("what is kept there has layout {schema}, and this Pixerve knows those up to {SCHEMA}"),
            why: "it would be misread",
            remedy: "use the newer Pixerve",
        })
    }

    fn installation(&self, ours: &str) -> Option<Finding> {
        let theirs = self.installation.as_ref().filter(|theirs| *theirs != ours)?;
        Some(Finding {
            severity: Severity::Error,
            found: format!("it is in use by another installation, {theirs}, and this one is {ours}"),
            why: "each would work on the other's jobs, without their originals and stores",
            remedy: "give each installation a Redis or a database of its own, and all nodes of one the same register and spool",
        })
    }

    /// An older release may come back, and one that is two releases away may not: neither is a reason to keep the jobs waiting
    /// that this node can do.
    fn record_format(&self, newest: u32) -> Option<Finding> {
        let theirs = self.record_format.filter(|theirs| *theirs > 0)?;
        let (why, remedy) = if theirs > newest {
            let why = "jobs that were accepted so are left to those nodes, and this one can't say anything of them";
            (why, "use their Pixerve, or keep some of them until those jobs have ended")
        } else if theirs + 1 < newest {
            ("they can't read what this node writes", "go from each release to the next one")
        } else {
            return None;
        };
        let found = format!(
            "the nodes that share it write job records of format {theirs}, and this Pixerve's newest is {newest}"
        );
        Some(Finding { severity: Severity::Warning, found, why, remedy })
    }

    fn clock(&self, leeway: Duration) -> Option<Finding> {
        let offset_ms = self.clock_offset_ms;
        let why = match ClockState::of(offset_ms, leeway) {
            ClockState::Good => return None,
            ClockState::Off => "tokens and their times are judged by this machine's clock",
            ClockState::Wrong => "tokens are judged wrongly, so this node is unhealthy until the clock is set",
        };
        let side = if offset_ms > 0 { "ahead of" } else { "behind" };
        let found = format!("this machine's clock is {} ms {side} Redis'", offset_ms.unsigned_abs());
        Some(Finding { severity: Severity::Warning, found, why, remedy: "set both by NTP" })
    }
}

/// What it says, or the reason why it doesn't; an error where it can't be reached.
fn said<T>(answer: Result<T, RedisError>) -> Result<Result<T, String>, RedisError> {
    match answer {
        Ok(answer) => Ok(Ok(answer)),
        // A replica that has lost its primary says nothing else, and there is something else to say of it.
        Err(error @ (RedisError::Refused { .. } | RedisError::ReadOnly { .. })) => {
            Ok(Err(ErrorChain(&error).to_string()))
        }
        Err(error) => Err(error),
    }
}

/// What one of its settings is.
async fn setting(nodes: &Inner, name: &'static str) -> Result<Result<String, String>, RedisError> {
    let mut ask = cmd("CONFIG");
    ask.arg("GET").arg(name);
    let pairs = said(nodes.redis.query::<Vec<String>>("asking for its settings", &ask).await)?;
    Ok(pairs.and_then(|pairs| pairs.into_iter().nth(1).ok_or_else(|| "it has none".to_owned())))
}

fn unchecked(what: &str, refused: &str, why: &'static str) -> Finding {
    Finding {
        severity: Severity::Warning,
        found: format!("{what} can't be checked ({refused})"),
        why,
        remedy: "look at it by hand, or let the user of queue.url call INFO and CONFIG GET",
    }
}

/// Its first two numbers.
fn version(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split('.').map(|number| number.parse().ok());
    Some((numbers.next()??, numbers.next()??))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nodes::{NodeRoles, NodeTiming};

    fn options() -> NodeOptions {
        NodeOptions {
            roles: NodeRoles::default(),
            memory_budget: 0,
            record_formats: (1, 4),
            installation: "ours".to_owned(),
            clock_leeway: Duration::from_secs(5),
            key_prefix: String::new(),
            timing: NodeTiming::default(),
            script_clock: None,
        }
    }

    fn release(info: &str) -> Option<Finding> {
        let all_is_well = |value: &str| Ok(value.to_owned());
        let facts = Facts {
            info: Ok(Info::parse(info)),
            policy: all_is_well("noeviction"),
            appendonly: all_is_well("yes"),
            appendfsync: all_is_well("everysec"),
            keys: Ok(Keys { schema: None, installation: None, record_format: None, clock_offset_ms: 0 }),
        };
        facts.findings(&options()).pop()
    }

    #[test]
    fn releases_from_redis_7_on_and_every_valkey_will_do() {
        for fine in ["redis_version:7.0.0", "redis_version:8.2.1", "redis_version:10.0.0"] {
            assert_eq!(release(fine), None, "{fine}");
        }
        assert_eq!(release("redis_version:7.2.4\r\nserver_name:valkey\r\nvalkey_version:9.1.2\r\n"), None);
        for old in ["redis_version:6.2.14", "redis_version:5.0.7", "role:master"] {
            let finding = release(old).expect("it is too old");
            assert_eq!(finding.severity, Severity::Error, "{old}");
        }
        assert!(release("redis_version:6.2.14").expect("too old").to_string().contains("6.2.14"));
    }

    #[test]
    fn nodes_that_are_not_of_this_release_or_the_one_before_are_warned_of() {
        let finding = |theirs| {
            let keys = Keys { schema: None, installation: None, record_format: theirs, clock_offset_ms: 0 };
            keys.record_format(options().record_formats.1).map(|finding| finding.severity)
        };
        // None lives, none ever did, one of the release before, one of this.
        assert_eq!([Some(0), None, Some(3), Some(4)].map(finding), [None; 4]);
        assert_eq!([Some(5), Some(2)].map(finding), [Some(Severity::Warning); 2]);
    }
}
