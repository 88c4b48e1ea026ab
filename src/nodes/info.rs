//! What `INFO` says.

use std::collections::HashMap;

use super::RedisMemory;

/// Its lines, by what is before the colon.
#[derive(Clone, Debug, Default)]
pub(super) struct Info(HashMap<String, String>);

impl Info {
    pub(super) fn parse(text: &str) -> Self {
        let lines = text.lines().filter_map(|line| line.split_once(':'));
        Self(lines.map(|(name, value)| (name.to_owned(), value.trim().to_owned())).collect())
    }

    /// What it says of `name`, if anything.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// Redis' memory, if it says so.
    pub(super) fn memory(&self) -> Option<RedisMemory> {
        let bytes = |name| self.get(name)?.parse::<u64>().ok();
        Some(RedisMemory { used: bytes("used_memory")?, max: bytes("maxmemory").filter(|max| *max > 0) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_of_zero_is_none() {
        let memory = |max| Info::parse(&format!("# Memory\r\nused_memory:100\r\nmaxmemory:{max}\r\n")).memory();
        assert_eq!(memory(0), Some(RedisMemory { used: 100, max: None }));
        assert_eq!(memory(400), Some(RedisMemory { used: 100, max: Some(400) }));
        assert_eq!(Info::parse("").memory(), None);
    }
}
