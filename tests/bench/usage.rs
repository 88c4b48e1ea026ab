//! What processes have used, as Linux counts it.

use std::fs;

/// Milliseconds in a tick of `/proc/<pid>/stat`: Linux shows a hundred a second to everybody.
const TICK_MS: f64 = 10.0;

/// CPU milliseconds, user and system, of this process so far.
pub(crate) fn own_cpu_ms() -> f64 {
    ticks("self", 2).map_or(0.0, |ticks| ticks as f64 * TICK_MS)
}

/// CPU milliseconds of this thread so far.
pub(crate) fn thread_cpu_ms() -> f64 {
    let line = fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    line.split(' ').next().and_then(|ns| ns.parse::<f64>().ok()).map_or(0.0, |ns| ns / 1e6)
}

/// The most memory this process ever had resident, in KiB.
pub(crate) fn own_peak_kib() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok()).unwrap_or(0)
}

/// CPU milliseconds of the process `root` and of all that it has started, ended ones included.
pub(crate) fn tree_cpu_ms(root: u32) -> f64 {
    let mut total = ticks(&root.to_string(), 4).unwrap_or(0);
    let mut family = vec![root];
    let others: Vec<(u32, u32)> = processes();
    let mut i = 0;
    while i < family.len() {
        let parent = family[i];
        for (pid, _) in others.iter().filter(|(_, ppid)| *ppid == parent) {
            total += ticks(&pid.to_string(), 4).unwrap_or(0);
            family.push(*pid);
        }
        i += 1;
    }
    total as f64 * TICK_MS
}

/// (process, parent) of all that run.
pub(crate) fn processes() -> Vec<(u32, u32)> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    let pids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok());
    pids.filter_map(|pid| Some((pid, fields(&pid.to_string())?.get(1)?.parse().ok()?))).collect()
}

/// The first `count` of user, system, children's user and children's system ticks, added up.
fn ticks(process: &str, count: usize) -> Option<u64> {
    let fields = fields(process)?;
    fields.get(11..11 + count)?.iter().map(|field| field.parse::<u64>().ok()).sum()
}

/// The fields of `/proc/<process>/stat` behind the name, which may hold spaces.
fn fields(process: &str) -> Option<Vec<String>> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    Some(stat.rsplit_once(") ")?.1.split(' ').map(str::to_owned).collect())
}
