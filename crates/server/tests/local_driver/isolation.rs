//! What a session can see and do: tried from inside, in the very sandbox that GIMP gets.

use std::fs;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::path::Path;
use std::process::Command;

use super::harness::{FIRST_UID, MIB, Session, Stage, as_ordinary_user, as_root};

/// uid and gid of a session of an ordinary user, inside.
const INNER_ID: u32 = 1000;

async fn has_no_privileges(session: &Session<'_>, uid: u32, groups: &[u32]) {
    let status = session.output("cat /proc/self/status").await;
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_else(|| panic!("no {name}"));
        line.split_whitespace().collect::<Vec<_>>().join(" ")
    };
    assert_eq!(field("Uid:"), format!("{uid} {uid} {uid} {uid}"));
    assert_eq!(field("Gid:"), format!("{uid} {uid} {uid} {uid}"));
    let mut found: Vec<u32> = field("Groups:").split(' ').filter_map(|group| group.parse().ok()).collect();
    found.sort_unstable();
    assert_eq!(found, groups);
    for set in ["CapInh:", "CapPrm:", "CapEff:", "CapBnd:", "CapAmb:"] {
        assert_eq!(field(set), "0000000000000000", "{set}");
    }
    assert_eq!(field("NoNewPrivs:"), "1");
    assert_eq!(field("Seccomp:"), "2");
    assert!(field("Seccomp_filters:").parse::<u32>().expect("a number") >= 2);
    // bubblewrap's own process inside.
    let reaper = session.output("grep -E 'Cap(Inh|Prm|Eff|Amb)|NoNewPrivs|Seccomp:' /proc/1/status").await;
    for line in reaper.lines().filter(|line| line.starts_with("Cap")) {
        assert!(line.ends_with("0000000000000000"), "{line}");
    }
    assert!(reaper.contains("NoNewPrivs:\t1") && reaper.contains("Seccomp:\t2"), "{reaper}");
    assert_eq!(session.output("cat /proc/self/oom_score_adj").await, "300");
    assert_eq!(session.output("ulimit -c").await, "0");
}

#[test]
fn root_gives_sessions_a_uid_of_their_own_and_no_privileges() {
    as_root(|| async {
        let stage = Stage::new();
        let session = stage.session().await;
        has_no_privileges(&session, FIRST_UID + session.request.uid_offset, &[]).await;
    });
}

/// This process's groups as a session of an ordinary user has them: its own, and nameless ones.
fn groups_inside() -> Vec<u32> {
    const NAMELESS: u32 = 65_534;
    let own = rustix::process::getegid();
    let mut groups: Vec<u32> = rustix::process::getgroups()
        .expect("reads")
        .into_iter()
        .map(|group| if group == own { INNER_ID } else { NAMELESS })
        .collect();
    groups.sort_unstable();
    groups
}

#[test]
fn ordinary_user_gives_sessions_no_privileges() {
    as_ordinary_user(|| async {
        let stage = Stage::new();
        let session = stage.session().await;
        has_no_privileges(&session, INNER_ID, &groups_inside()).await;
        // Nobody but the one mapped user exists in there.
        for map in ["uid_map", "gid_map"] {
            assert_eq!(session.output(&format!("awk 'NR==1 {{print $3}}' /proc/self/{map}")).await, "1");
        }
        // The kernel lets only root give up groups. Nothing in there is open to a group and closed to others.
        let by_group = "find / -path /proc -prune -o ! -type l ! -user gimp \\( -readable ! -perm -o=r -o -writable ! -perm -o=w \\) -print 2>/dev/null; true";
        assert_eq!(session.output(by_group).await, "");
    });
}

async fn sees_only_its_own_files() {
    let stage = Stage::new();
    let own = stage.session().await;
    let other = stage.session().await;
    let canary = format!("canary-{}", other.id());
    other.output(&format!("echo {canary} > ~/{canary}; echo {canary} > /tmp/{canary}")).await;
    fs::write(stage.data_dir().join("private").join(&canary), &canary).expect("writes");
    fs::write(std::env::temp_dir().join(&canary), &canary).expect("writes");

    // By name, anywhere, through any process.
    assert_eq!(own.output(&format!("find / -name '{canary}' 2>/dev/null; true")).await, "");
    assert_eq!(own.output(&format!("ls /proc/*/root/tmp /proc/*/cwd/ 2>/dev/null | grep {canary}; true")).await, "");
    fs::remove_file(std::env::temp_dir().join(&canary)).expect("removes");
    // By path.
    let data = stage.data_dir().to_str().expect("UTF-8");
    for path in [
        data,
        "/root",
        "/var/lib",
        "/etc/shadow",
        "/etc/ssl",
        "/etc/ssh",
        "/etc/resolv.conf",
        "/sys",
        "/boot",
        "/srv",
        "/mnt",
        "/media",
        "/run/dbus",
        "/run/systemd",
        "/var/run/docker.sock",
        "/dev/kvm",
        "/dev/fuse",
        "/dev/loop0",
        "/dev/vda",
        "/dev/mem",
        "/dev/kmsg",
        "/dev/shm/canary",
        "/home/gimp/../root",
    ] {
        own.refused(&format!("ls -d {path}")).await;
    }
    assert_eq!(own.output("ls /home; ls -A /run/gimp-session | sort | tr '\\n' ' '").await, {
        "gimp\nagent.sock config.json status.json"
    });
    // Other users of the machine are not even known by name.
    assert_eq!(own.output("cut -d: -f1 /etc/passwd | tr '\\n' ' '").await, "root gimp nobody");
    assert_eq!(own.output("hostname").await, "gimp");
}

#[test]
fn root_sessions_see_only_their_own_files() {
    as_root(sees_only_its_own_files);
}

#[test]
fn ordinary_user_sessions_see_only_their_own_files() {
    as_ordinary_user(sees_only_its_own_files);
}

async fn writes_only_where_it_may() {
    let stage = Stage::new();
    let session = stage.session().await;
    for mount in session.output("cat /proc/mounts").await.lines() {
        let fields: Vec<_> = mount.split(' ').collect();
        let options: Vec<_> = fields[3].split(',').collect();
        assert!(options.contains(&"nosuid"), "{mount}");
        let may_write = ["/home/gimp", "/run/gimp-session", "/tmp", "/dev/shm", "/dev/pts", "/proc"];
        let device = fields[1].starts_with("/dev/") && !may_write.contains(&fields[1]);
        assert!(options.contains(&"ro") || may_write.contains(&fields[1]) || device, "writable: {mount}");
        assert!(options.contains(&"nodev") || fields[1].starts_with("/dev"), "devices: {mount}");
    }
    for path in
        ["/", "/usr", "/usr/bin", "/etc", "/etc/fonts", "/home", "/run", "/dev", "/opt", "/opt/gimp-session", "/var"]
    {
        session.refused(&format!("touch {path}/x")).await;
    }
    session.refused("echo x >> /etc/passwd").await;
    session.refused("echo x >> /opt/gimp-session/bin/gimp-session").await;
    session.refused("echo 1 > /proc/sys/kernel/printk").await;
    session.refused("echo c > /proc/sysrq-trigger").await;
    session.refused("mount -o remount,rw /usr").await;
    for path in ["~", "/tmp", "/dev/shm", "/run/gimp-session"] {
        session.output(&format!("touch {path}/x && rm {path}/x")).await;
    }
}

#[test]
fn root_sessions_write_only_where_they_may() {
    as_root(writes_only_where_it_may);
}

#[test]
fn ordinary_user_sessions_write_only_where_they_may() {
    as_ordinary_user(writes_only_where_it_may);
}

async fn reaches_no_process_and_no_network() {
    let stage = Stage::new();
    let own = stage.session().await;
    let other = stage.session().await;
    let marker = format!("marker-{}", other.id());
    other.output(&format!("exec -a {marker} sleep 300 >/dev/null 2>&1 &")).await;
    let seen = own.output("cat /proc/[0-9]*/cmdline | tr '\\0' ' '").await;
    assert!(!seen.contains(&marker) && !seen.contains("local_driver"), "{seen}");
    own.refused(&format!("kill -0 {}", std::process::id())).await;

    // Abstract sockets, TCP and UDP of the machine.
    let name = format!("gimp-platform-test-{}", own.id());
    let address = SocketAddr::from_abstract_name(&name).expect("an address");
    let _listener = UnixListener::bind_addr(&address).expect("binds");
    std::os::unix::net::UnixStream::connect_addr(&address).expect("reachable from here");
    let connect = format!(
        "perl -MSocket -e 'socket(S, AF_UNIX, SOCK_STREAM, 0) or die; connect(S, pack_sockaddr_un(\"\\0{name}\")) or die $!'"
    );
    assert!(own.refused(&connect).await.contains("Connection refused"));
    let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).expect("binds");
    let port = listener.local_addr().expect("address").port();
    own.refused(&format!(
        "perl -MSocket -e 'socket(S, AF_INET, SOCK_STREAM, 0) or die; connect(S, pack_sockaddr_in({port}, inet_aton(\"127.0.0.1\"))) or die $!'"
    ))
    .await;
    assert_eq!(own.output("awk -F: 'NR>2 {gsub(/ /,\"\",$1); print $1}' /proc/net/dev | grep -v ^lo; true").await, "");
    assert_eq!(own.output("cat /proc/net/route | wc -l").await, "1");
    // Shared memory of the machine.
    assert_eq!(own.output("cat /proc/sysvipc/shm | wc -l").await, "1");
    // Open files of the server.
    let fds = own.output("ls -l /proc/$$/fd; ls -l /proc/2/fd").await;
    assert!(!fds.contains("sandbox.json") && !fds.contains(".db") && !fds.contains("key"), "{fds}");
    let inherited = own.output("ls /proc/2/fd | tr '\\n' ' '").await;
    // 0 to 2, the script, its pipe and sockets of the stand-in itself.
    assert!(inherited.split(' ').all(|fd| fd.parse::<u32>().is_ok_and(|fd| fd < 10)), "{inherited}");
}

#[test]
fn root_sessions_reach_no_process_and_no_network() {
    as_root(reaches_no_process_and_no_network);
}

#[test]
fn ordinary_user_sessions_reach_no_process_and_no_network() {
    as_ordinary_user(reaches_no_process_and_no_network);
}

async fn dangerous_system_calls_are_refused() {
    let stage = Stage::new();
    let session = stage.session().await;
    let refused = [libc::EPERM, libc::ENOSYS];
    for (name, number, arguments) in [
        ("mount", libc::SYS_mount, r#""none", "/tmp", "tmpfs", 0, 0"#),
        ("umount", libc::SYS_umount2, r#""/tmp", 2"#),
        ("pivot_root", libc::SYS_pivot_root, r#""/tmp", "/tmp""#),
        ("chroot", libc::SYS_chroot, r#""/tmp""#),
        ("unshare user", libc::SYS_unshare, "0x10000000"),
        ("unshare mounts", libc::SYS_unshare, "0x20000"),
        ("clone user", libc::SYS_clone, "0x10000011, 0, 0, 0, 0"),
        ("clone mounts", libc::SYS_clone, "0x20011, 0, 0, 0, 0"),
        ("clone network", libc::SYS_clone, "0x40000011, 0, 0, 0, 0"),
        ("clone3", libc::SYS_clone3, "0, 0"),
        ("setns", libc::SYS_setns, "0, 0"),
        ("ptrace traceme", libc::SYS_ptrace, "0, 0, 0, 0"),
        ("process_vm_readv", libc::SYS_process_vm_readv, "1, 0, 0, 0, 0, 0"),
        ("bpf", libc::SYS_bpf, "0, 0, 0"),
        ("perf_event_open", libc::SYS_perf_event_open, "0, 0, 0, 0, 0"),
        ("keyctl", libc::SYS_keyctl, "0, -3, 0"),
        ("add_key", libc::SYS_add_key, r#""user", "x", "y", 1, -3"#),
        ("io_uring_setup", libc::SYS_io_uring_setup, "1, 0"),
        ("userfaultfd", libc::SYS_userfaultfd, "1"),
        ("open_by_handle_at", libc::SYS_open_by_handle_at, "0, 0, 0"),
        ("fsopen", libc::SYS_fsopen, r#""tmpfs", 0"#),
        ("open_tree", libc::SYS_open_tree, r#"-100, "/", 1"#),
        ("kexec_load", libc::SYS_kexec_load, "0, 0, 0, 0"),
        ("init_module", libc::SYS_init_module, "0, 0, 0"),
        ("reboot", libc::SYS_reboot, "0, 0, 0, 0"),
        ("sethostname", libc::SYS_sethostname, r#""x", 1"#),
        ("syslog", libc::SYS_syslog, "3, 0, 0"),
        ("personality", libc::SYS_personality, "0x0040000"),
        ("TIOCSTI", libc::SYS_ioctl, r#"0, 0x5412, "x""#),
        ("TIOCSTI with high bits", libc::SYS_ioctl, r#"0, 0x100005412, "x""#),
        ("FS_IOC_FSSETXATTR", libc::SYS_ioctl, "0, 0x401c5820, 0"),
        ("socket AF_PACKET", libc::SYS_socket, "17, 3, 0"),
        ("socket AF_VSOCK", libc::SYS_socket, "40, 1, 0"),
        ("socket AF_ALG", libc::SYS_socket, "38, 5, 0"),
        ("netlink audit", libc::SYS_socket, "16, 3, 9"),
        ("file_setattr, newer than the filter", 469, "0, 0, 0, 0, 0"),
    ] {
        let errno = session.syscall(number, arguments).await;
        assert!(refused.contains(&errno), "{name}: errno {errno}");
    }
    // And what programs need works.
    for (name, number, arguments) in [
        ("socket AF_UNIX", libc::SYS_socket, "1, 1, 0"),
        ("netlink route", libc::SYS_socket, "16, 3, 0"),
        ("personality ask", libc::SYS_personality, "0xffffffff"),
        ("memfd", libc::SYS_memfd_create, r#""x", 0"#),
    ] {
        assert_eq!(session.syscall(number, arguments).await, 0, "{name}");
    }
    #[cfg(target_arch = "x86_64")]
    assert_eq!(session.syscall(0x4000_0000 + libc::SYS_getpid, "").await, libc::ENOSYS, "x32");
    session.refused("unshare -r true").await;
}

#[test]
fn root_sessions_dangerous_system_calls_are_refused() {
    as_root(dangerous_system_calls_are_refused);
}

#[test]
fn ordinary_user_sessions_dangerous_system_calls_are_refused() {
    as_ordinary_user(dangerous_system_calls_are_refused);
}

#[test]
fn planted_setuid_programs_and_devices_do_nothing() {
    as_root(|| async {
        let stage = Stage::new();
        let session = stage.session().await;
        let home = session.workspace();
        // As if an attacker had got them there some other way.
        let program = home.join("id");
        fs::copy("/usr/bin/id", &program).expect("copies");
        std::os::unix::fs::chown(&program, Some(0), Some(0)).expect("root's");
        fs::set_permissions(&program, fs::Permissions::from_mode(0o6755)).expect("setuid");
        let uid = FIRST_UID + session.request.uid_offset;
        assert_eq!(session.output("~/id -u; ~/id -g").await, format!("{uid}\n{uid}"));
        let made = Command::new("mknod").arg("-m666").arg(home.join("zero")).args(["c", "1", "5"]).status();
        assert!(made.expect("runs").success());
        assert!(session.refused("head -c1 ~/zero").await.contains("Permission denied"));
        // The system's own: no_new_privs makes them powerless.
        let setuid = session.output("find /usr/bin -perm -4000 -user 0 | head -1").await;
        assert!(!setuid.is_empty(), "this machine has setuid programs");
        session.output("cp /proc/self/status /tmp/before").await;
        session.refused("su -c id root < /dev/null").await;
    });
}

#[test]
fn the_environment_is_exactly_ours() {
    as_root(|| async {
        let stage = Stage::new();
        let session = stage.session().await;
        let names = session.output("tr '\\0' '\\n' < /proc/2/environ | cut -d= -f1 | sort | tr '\\n' ' '").await;
        assert_eq!(names, "HOME LANG LOGNAME PATH PWD SHELL TMPDIR USER XDG_CONFIG_DIRS XDG_DATA_DIRS XDG_RUNTIME_DIR");
    });
}

#[test]
fn a_link_in_place_of_the_agents_socket_is_not_followed() {
    as_root(|| async {
        let stage = Stage::new();
        let session = stage.session().await;
        let victim = std::env::temp_dir().join(format!("victim-{}.sock", session.id()));
        let listener = UnixListener::bind(&victim).expect("binds");
        listener.set_nonblocking(true).expect("sets");
        session
            .output(&format!(
                "cd /run/gimp-session && mv agent.sock real.sock && ln -s {} agent.sock",
                victim.display()
            ))
            .await;
        stage.driver.agent(session.id()).health().await.expect_err("that is no agent");
        let error = listener.accept().expect_err("nobody came");
        assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock);
        fs::remove_file(victim).expect("removes");
    });
}

#[test]
fn the_data_directory_may_be_out_of_reach_for_session_uids() {
    as_root(|| async {
        let closed = tempfile::tempdir().expect("temporary folder");
        fs::set_permissions(closed.path(), fs::Permissions::from_mode(0o700)).expect("closes");
        let data = closed.path().join("deep/data");
        let stage = Stage::with(|options| options.data_dir.clone_from(&data));
        let session = stage.session().await;
        session.output("echo x > ~/file").await;
        assert_eq!(fs::metadata(data).expect("exists").permissions().mode() & 0o777, 0o711);
    });
}

#[test]
fn what_is_on_disk_is_closed_to_other_users() {
    as_root(|| async {
        let stage = Stage::new();
        let session = stage.session().await;
        session.output(&format!("head -c {MIB} /dev/zero > ~/file")).await;
        let uid = (FIRST_UID + session.request.uid_offset + 1).to_string();
        let data = stage.data_dir();
        fs::set_permissions(data.parent().expect("has one"), fs::Permissions::from_mode(0o755)).expect("opens the way");
        let others = |path: &Path| {
            let output = Command::new("setpriv")
                .args(["--reuid", &uid, "--regid", &uid, "--clear-groups", "--", "ls"])
                .arg(path)
                .output()
                .expect("runs");
            output.status.success()
        };
        for closed in [
            data.to_owned(),
            data.join("private"),
            data.join("run"),
            stage.run_dir(session.id()),
            session.shared(),
            data.join("workspaces"),
            session.workspace(),
        ] {
            assert!(!others(&closed), "{} is open", closed.display());
        }
        assert!(!others(&data.join("images")), "images are open");
    });
}
