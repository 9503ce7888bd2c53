//! How many sessions of the default size this machine runs at once.
//!
//! The smaller of
//! - memory: `2 x (total - reserve) / session limit`, where the reserve for the system and the server is 1 GiB or a tenth
//!   of the total, whichever is more. Twice, because a limit is for the largest image: GIMP takes 125 to 425 MB after its
//!   start, a fifth of the default limit of 2 GiB.
//! - processors: 8 for each core. A session that nobody paints in takes none; ten painters on two cores are usable.
//!
//! At least 1.

use std::num::NonZero;

/// Default memory limit of a session, bytes.
pub const SESSION_MEMORY: u64 = 2 << 30;
const SESSIONS_PER_CORE: u64 = 8;
const MEMORY_OVERCOMMIT: u64 = 2;
const SMALLEST_RESERVE: u64 = 1 << 30;

pub fn of_this_machine() -> u16 {
    let cores = std::thread::available_parallelism().map_or(1, NonZero::get);
    from(memory_total(), cores as u64)
}

fn from(memory_bytes: u64, cores: u64) -> u16 {
    let reserve = SMALLEST_RESERVE.max(memory_bytes / 10);
    let by_memory = memory_bytes.saturating_sub(reserve) * MEMORY_OVERCOMMIT / SESSION_MEMORY;
    let sessions = by_memory.min(cores * SESSIONS_PER_CORE).max(1);
    u16::try_from(sessions).unwrap_or(u16::MAX)
}

/// Of the machine, or of the container the server is in.
fn memory_total() -> u64 {
    // Unknown counts as none: the machine then runs one session.
    let Ok(mut system) = sysinfo::System::new() else { return 0 };
    system.refresh_memory();
    match system.cgroup_limits() {
        Some(limits) if limits.total_memory > 0 => limits.total_memory.min(system.total_memory()),
        _ => system.total_memory(),
    }
}

/// Bytes that programs can still take without swapping. All there is, where that is unknown.
pub fn memory_available() -> u64 {
    let text = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"));
    let kilobytes = line.and_then(|line| line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok());
    kilobytes.map_or(u64::MAX, |kilobytes| kilobytes * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIB: u64 = 1 << 30;

    #[test]
    fn the_scarcer_resource_decides() {
        assert_eq!(from(24 * GIB, 2), 16);
        assert_eq!(from(4 * GIB, 8), 3);
        assert_eq!(from(64 * GIB, 64), 57);
    }

    #[test]
    fn the_smallest_machine_runs_one() {
        assert_eq!(from(512 << 20, 1), 1);
        assert!(of_this_machine() >= 1);
        assert!(memory_available() < u64::MAX, "/proc/meminfo was not understood");
    }
}
