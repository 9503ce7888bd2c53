//! Stops and allows writing for GIMP and its plug-ins, through their limit on file size. The agent itself is never
//! limited: it has recovery copies to keep. Nor are Xorg and openbox: they take SIGXFSZ for a fatal error, and write
//! nothing of the user's.

use std::collections::BTreeMap;
use std::fs;
use std::io;

use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit};

/// Applies to the processes `roots` and everything below them. Processes that end meanwhile are fine.
pub fn set_writes(roots: &[i32], allowed: bool) -> io::Result<()> {
    let parents = parents()?;
    let concerned = |pid: &i32| roots.iter().any(|root| root == pid || descends_from(*pid, *root, &parents));
    for pid in parents.keys().copied().filter(concerned).filter_map(Pid::from_raw) {
        set_writes_of(pid, allowed)?;
    }
    Ok(())
}

/// The same for one process.
pub fn set_writes_of(pid: Pid, allowed: bool) -> io::Result<()> {
    let maximum = getrlimit(Resource::Fsize).maximum;
    let current = if allowed { maximum } else { Some(0) };
    match prlimit(Some(pid), Resource::Fsize, Rlimit { current, maximum }) {
        Ok(_) | Err(rustix::io::Errno::SRCH) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Parent of every process that can be seen.
fn parents() -> io::Result<BTreeMap<i32, i32>> {
    let mut parents = BTreeMap::new();
    for entry in fs::read_dir("/proc")? {
        let Ok(name) = entry?.file_name().into_string() else { continue };
        let Ok(pid) = name.parse() else { continue };
        let Ok(stat) = fs::read_to_string(format!("/proc/{pid}/stat")) else { continue };
        if let Some(parent) = parent_in(&stat) {
            parents.insert(pid, parent);
        }
    }
    Ok(parents)
}

/// Fourth field of proc_pid_stat(5); the second, the name, may hold anything but ends at the last parenthesis.
fn parent_in(stat: &str) -> Option<i32> {
    stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()
}

fn descends_from(mut pid: i32, ancestor: i32, parents: &BTreeMap<i32, i32>) -> bool {
    // Bounded: the table may be inconsistent while processes come and go.
    for _ in 0..parents.len() {
        match parents.get(&pid) {
            Some(parent) if *parent == ancestor => return true,
            Some(parent) => pid = *parent,
            None => return false,
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parents_are_read_past_strange_names() {
        assert_eq!(parent_in("42 (a) S 7 (b) S 9 1 1"), Some(9));
        assert_eq!(parent_in("42 (x y) R 7 1 1"), Some(7));
        assert_eq!(parent_in("garbage"), None);
    }

    #[test]
    fn descent_survives_loops() {
        let parents = BTreeMap::from([(2, 1), (3, 2), (8, 9), (9, 8)]);
        assert!(descends_from(3, 1, &parents));
        assert!(!descends_from(8, 1, &parents));
    }
}
