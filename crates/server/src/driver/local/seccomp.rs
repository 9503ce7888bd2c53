//! System calls that a session may not make, as BPF programs for bubblewrap. Everything a desktop program needs stays
//! allowed; what opens the kernel's privileged or rarely tested parts is refused, so that a hostile image or plug-in
//! that takes over GIMP finds less to attack.
//!
//! Each refused call answers like a kernel without it: programs fall back instead of dying.

use std::collections::BTreeMap;

use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
    sock_filter,
};

/// One filter per answer: seccompiler has one action per program. The kernel applies the strictest.
///
/// # Errors
/// On a processor that seccompiler does not know.
pub fn programs() -> Result<Vec<Vec<u8>>, seccompiler::Error> {
    let missing = filter(MISSING.iter().map(|call| (*call, vec![])).collect(), libc::ENOSYS)?;
    let mut refused: BTreeMap<i64, Vec<SeccompRule>> = REFUSED.iter().map(|call| (*call, vec![])).collect();
    refused.insert(libc::SYS_clone, new_namespace_flags()?);
    refused.insert(libc::SYS_ioctl, refused_requests()?);
    refused.insert(libc::SYS_socket, other_socket_families()?);
    refused.insert(libc::SYS_personality, other_personalities()?);
    let refused = filter(refused, libc::EPERM)?;
    Ok(vec![bytes(&missing), bytes(&refused)])
}

/// Answered with ENOSYS. `clone3` hides its flags behind a pointer that BPF can't follow; the C library then uses
/// `clone`. The others have fallbacks everywhere, too.
const MISSING: &[i64] = &[
    libc::SYS_clone3,
    libc::SYS_io_uring_setup,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    libc::SYS_userfaultfd,
    libc::SYS_open_tree,
    libc::SYS_move_mount,
    libc::SYS_fsopen,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_fspick,
    libc::SYS_mount_setattr,
    libc::SYS_pidfd_getfd,
    libc::SYS_process_madvise,
];

/// The first number that Linux 6.12 did not have. Numbers are the same on all processors from 424 on.
const FIRST_UNKNOWN: u32 = 463;

/// `FS_IOC_FSSETXATTR` and `FS_IOC_SETFLAGS`: with them the owner of a file moves it out of its project quota.
const SET_ATTRIBUTES: [u64; 2] = [0x401c_5820, 0x4008_6602];

/// Answered with EPERM.
const REFUSED: &[i64] = &[
    // Mounts, namespaces, roots.
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_pivot_root,
    libc::SYS_chroot,
    libc::SYS_unshare,
    libc::SYS_setns,
    libc::SYS_open_by_handle_at,
    libc::SYS_fanotify_init,
    // Other processes' memory.
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_kcmp,
    libc::SYS_move_pages,
    libc::SYS_migrate_pages,
    // The kernel's own programs, counters, keys.
    libc::SYS_bpf,
    libc::SYS_perf_event_open,
    libc::SYS_keyctl,
    libc::SYS_add_key,
    libc::SYS_request_key,
    // The machine.
    libc::SYS_kexec_load,
    libc::SYS_kexec_file_load,
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    libc::SYS_reboot,
    libc::SYS_swapon,
    libc::SYS_swapoff,
    libc::SYS_syslog,
    libc::SYS_acct,
    libc::SYS_quotactl,
    libc::SYS_quotactl_fd,
    libc::SYS_sethostname,
    libc::SYS_setdomainname,
    libc::SYS_settimeofday,
    libc::SYS_clock_settime,
    libc::SYS_clock_adjtime,
    libc::SYS_adjtimex,
    libc::SYS_vhangup,
    libc::SYS_nfsservctl,
    libc::SYS_lookup_dcookie,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_iopl,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_ioperm,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_modify_ldt,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_uselib,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_ustat,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_sysfs,
    #[cfg(target_arch = "x86_64")]
    libc::SYS__sysctl,
];

/// `clone` with any flag that makes a namespace.
fn new_namespace_flags() -> Result<Vec<SeccompRule>, seccompiler::Error> {
    [
        libc::CLONE_NEWNS,
        libc::CLONE_NEWCGROUP,
        libc::CLONE_NEWUTS,
        libc::CLONE_NEWIPC,
        libc::CLONE_NEWUSER,
        libc::CLONE_NEWPID,
        libc::CLONE_NEWNET,
    ]
    .into_iter()
    .map(|flag| {
        let bit = u64::from(flag.unsigned_abs());
        rule(vec![(0, SeccompCmpOp::MaskedEq(bit), bit)])
    })
    .collect()
}

/// Typing into a terminal that someone else reads, and leaving the project quota.
fn refused_requests() -> Result<Vec<SeccompRule>, seccompiler::Error> {
    [libc::TIOCSTI, libc::TIOCLINUX]
        .into_iter()
        .chain(SET_ATTRIBUTES)
        .map(|request| rule(vec![(1, SeccompCmpOp::Eq, request)]))
        .collect()
}

/// Anything but Unix sockets, IP (the namespace has only its own loopback) and routing netlink (glibc lists its
/// addresses by it). `AF_VSOCK`, for one, is not bound to the network namespace.
fn other_socket_families() -> Result<Vec<SeccompRule>, seccompiler::Error> {
    let allowed = [libc::AF_UNIX, libc::AF_INET, libc::AF_INET6, libc::AF_NETLINK];
    let other = allowed.into_iter().map(|family| (0, SeccompCmpOp::Ne, u64::from(family.unsigned_abs()))).collect();
    Ok(vec![
        rule(other)?,
        rule(vec![
            (0, SeccompCmpOp::Eq, u64::from(libc::AF_NETLINK.unsigned_abs())),
            (2, SeccompCmpOp::Ne, u64::from(libc::NETLINK_ROUTE.unsigned_abs())),
        ])?,
    ])
}

/// `personality` may ask (0xffffffff) and set plain Linux (0); others switch off address space randomisation.
fn other_personalities() -> Result<Vec<SeccompRule>, seccompiler::Error> {
    Ok(vec![rule(vec![(0, SeccompCmpOp::Ne, 0), (0, SeccompCmpOp::Ne, 0xffff_ffff)])?])
}

fn rule(conditions: Vec<(u8, SeccompCmpOp, u64)>) -> Result<SeccompRule, seccompiler::Error> {
    let conditions = conditions
        .into_iter()
        .map(|(argument, operator, value)| SeccompCondition::new(argument, SeccompCmpArgLen::Dword, operator, value))
        .collect::<Result<_, _>>()?;
    Ok(SeccompRule::new(conditions)?)
}

fn filter(rules: BTreeMap<i64, Vec<SeccompRule>>, errno: i32) -> Result<BpfProgram, seccompiler::Error> {
    let program: BpfProgram = SeccompFilter::new(
        rules,
        SeccompAction::Allow,
        SeccompAction::Errno(errno.unsigned_abs()),
        std::env::consts::ARCH.try_into()?,
    )?
    .try_into()?;
    Ok(refuse_unknown(program))
}

/// Calls newer than this file don't exist for a session: among them are new ways to mount and to change attributes.
/// The x32 ABI, which reaches old calls under numbers from 2^30, falls away with them. Jumps in BPF are relative and
/// forward, so instructions can be put in front.
fn refuse_unknown(program: BpfProgram) -> BpfProgram {
    const LOAD_WORD: u16 = 0x20; // BPF_LD | BPF_W | BPF_ABS
    const JUMP_AT_LEAST: u16 = 0x35; // BPF_JMP | BPF_JGE | BPF_K
    const RETURN: u16 = 0x06; // BPF_RET | BPF_K
    let enosys = u32::from(SeccompAction::Errno(libc::ENOSYS.unsigned_abs()));
    let mut all = vec![
        // Offset 0 of `struct seccomp_data` is the number.
        sock_filter { code: LOAD_WORD, jt: 0, jf: 0, k: 0 },
        sock_filter { code: JUMP_AT_LEAST, jt: 0, jf: 1, k: FIRST_UNKNOWN },
        sock_filter { code: RETURN, jt: 0, jf: 0, k: enosys },
    ];
    all.extend(program);
    all
}

/// `struct sock_filter` as the kernel reads it.
fn bytes(program: &BpfProgram) -> Vec<u8> {
    program
        .iter()
        .flat_map(|step| {
            let [c0, c1] = step.code.to_ne_bytes();
            let [k0, k1, k2, k3] = step.k.to_ne_bytes();
            [c0, c1, step.jt, step.jf, k0, k1, k2, k3]
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_fit_the_kernels_limit() {
        let programs = programs().expect("this processor is known");
        assert_eq!(programs.len(), 2);
        for program in programs {
            assert_eq!(program.len() % 8, 0);
            // BPF_MAXINSNS
            assert!(program.len() / 8 <= 4096, "{} instructions", program.len() / 8);
        }
    }
}
