//! seccomp: the system calls that are refused.
//!
//! A list of what is refused, not of what is allowed. An allow list is what the C library of the day happens to use: the next glibc,
//! or musl, has `malloc` or `pthread_create` make another call, and the relay is down on a machine where nothing but that was
//! changed. What an attacker needs, on the other hand, doesn't change: another program, another process, a kernel interface with
//! a history. What such a list leaves open, namely whatever the kernel learns later, is closed by [`NEWEST`]: a call that is
//! newer than this file isn't there.
//!
//! The answer is `ENOSYS`, that of a kernel without the call, not `EPERM`: all that calls the kernel has to know what to do then. glibc
//! starts a thread by `clone3`, whose flags a filter can't see, and on `ENOSYS`, only then, by `clone`, whose flags it can. One
//! filter with one answer is also the cheapest: the kernel finds out beforehand which calls it lets through whatever their
//! arguments are, and doesn't run it for those (since Linux 5.11). No call that a tunnel makes for its bytes has its arguments looked at.

use std::collections::BTreeMap;
use std::io;

use seccompiler::{
    BackendError, BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition,
    SeccompFilter, SeccompRule, apply_filter, sock_filter,
};

/// Refuses them to the calling thread, and to those that it starts.
pub(super) fn refuse() -> io::Result<()> {
    let program = program().map_err(io::Error::other)?;
    apply_filter(&program).map_err(|error| match error {
        seccompiler::Error::Prctl(error) | seccompiler::Error::Seccomp(error) => error,
        error => io::Error::other(error),
    })
}

/// A call of another architecture, whose numbers mean something else, ends the process.
fn program() -> Result<BpfProgram, BackendError> {
    let refused = SeccompAction::Errno(libc::ENOSYS as u32);
    let filter = SeccompFilter::new(
        rules()?,
        SeccompAction::Allow,
        refused.clone(),
        std::env::consts::ARCH.try_into()?,
    )?;
    let number = sock_filter {
        code: LOAD_WORD,
        jt: 0,
        jf: 0,
        k: 0,
    };
    // Those of x32, a second set of numbers that amd64 kernels may have, are far above.
    let is_newer = sock_filter {
        code: JUMP_IF_AT_LEAST,
        jt: 0,
        jf: 1,
        k: NEWEST + 1,
    };
    let refuse = sock_filter {
        code: RETURN,
        jt: 0,
        jf: 0,
        k: refused.into(),
    };
    let mut program = vec![number, is_newer, refuse];
    program.extend(BpfProgram::try_from(filter)?);
    Ok(program)
}

fn rules() -> Result<BTreeMap<i64, Vec<SeccompRule>>, BackendError> {
    let mut rules: BTreeMap<_, _> = REFUSED.iter().map(|call| (*call, Vec::new())).collect();
    #[cfg(target_arch = "x86_64")]
    rules.extend(REFUSED_ON_X86_64.iter().map(|call| (*call, Vec::new())));

    // A new thread is all right, a new process or namespace isn't.
    let mut clone = vec![without(0, libc::CLONE_THREAD)?];
    for namespace in NAMESPACES {
        clone.push(with(0, *namespace)?);
    }
    rules.insert(libc::SYS_clone, clone);

    // Nothing that was written can be run: no code is loaded once the process is up.
    for call in [libc::SYS_mmap, libc::SYS_mprotect, libc::SYS_pkey_mprotect] {
        rules.insert(call, vec![with(2, libc::PROT_EXEC)?]);
    }

    // Characters typed on behalf of whoever looks at the terminal.
    let typed = [libc::TIOCSTI, libc::TIOCLINUX]
        .map(|request| SeccompRule::new(vec![condition(1, SeccompCmpOp::Eq, request as u64)?]));
    rules.insert(
        libc::SYS_ioctl,
        typed.into_iter().collect::<Result<_, _>>()?,
    );

    let not = |argument, values: &[i32]| {
        let different = |value: &i32| condition(argument, SeccompCmpOp::Ne, *value as u64);
        SeccompRule::new(values.iter().map(different).collect::<Result<_, _>>()?)
    };
    let raw = condition(
        1,
        SeccompCmpOp::MaskedEq(SOCK_TYPE_MASK),
        libc::SOCK_RAW as u64,
    )?;
    rules.insert(
        libc::SYS_socket,
        vec![
            not(0, &[libc::AF_UNIX, libc::AF_INET, libc::AF_INET6])?,
            not(2, &[0, libc::IPPROTO_TCP, libc::IPPROTO_UDP])?,
            SeccompRule::new(vec![raw])?,
        ],
    );
    Ok(rules)
}

/// The argument has all bits of the flag.
fn with(argument: u8, flag: i32) -> Result<SeccompRule, BackendError> {
    masked(argument, flag, flag)
}

/// The argument has none.
fn without(argument: u8, flag: i32) -> Result<SeccompRule, BackendError> {
    masked(argument, flag, 0)
}

fn masked(argument: u8, mask: i32, value: i32) -> Result<SeccompRule, BackendError> {
    let mask = SeccompCmpOp::MaskedEq(u64::from(mask as u32));
    SeccompRule::new(vec![condition(argument, mask, u64::from(value as u32))?])
}

fn condition(argument: u8, is: SeccompCmpOp, value: u64) -> Result<SeccompCondition, BackendError> {
    SeccompCondition::new(argument, SeccompCmpArgLen::Dword, is, value)
}

const REFUSED: &[i64] = &[
    // Other programs
    libc::SYS_execve,
    libc::SYS_execveat,
    // Processes: a new one, and what is to be had of others. Of threads, only `clone` can be told what they are for.
    libc::SYS_clone3,
    libc::SYS_kill,
    libc::SYS_rt_sigqueueinfo,
    libc::SYS_rt_tgsigqueueinfo,
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_process_madvise,
    libc::SYS_process_mrelease,
    libc::SYS_pidfd_open,
    libc::SYS_pidfd_getfd,
    libc::SYS_pidfd_send_signal,
    libc::SYS_kcmp,
    libc::SYS_move_pages,
    libc::SYS_migrate_pages,
    // Mounts and namespaces
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_pivot_root,
    libc::SYS_chroot,
    libc::SYS_fsopen,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_fspick,
    libc::SYS_move_mount,
    libc::SYS_open_tree,
    libc::SYS_mount_setattr,
    libc::SYS_setns,
    libc::SYS_unshare,
    // The kernel itself, and the machine
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    libc::SYS_kexec_load,
    KEXEC_FILE_LOAD,
    libc::SYS_bpf,
    libc::SYS_perf_event_open,
    libc::SYS_syslog,
    libc::SYS_reboot,
    libc::SYS_swapon,
    libc::SYS_swapoff,
    libc::SYS_acct,
    libc::SYS_quotactl,
    libc::SYS_quotactl_fd,
    libc::SYS_sethostname,
    libc::SYS_setdomainname,
    libc::SYS_vhangup,
    libc::SYS_personality,
    // The clock
    libc::SYS_settimeofday,
    libc::SYS_clock_settime,
    libc::SYS_clock_adjtime,
    // Interfaces that a relay has no use for, and that have had their bugs
    libc::SYS_add_key,
    libc::SYS_request_key,
    libc::SYS_keyctl,
    libc::SYS_io_uring_setup,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    libc::SYS_io_setup,
    libc::SYS_io_submit,
    libc::SYS_userfaultfd,
    libc::SYS_vmsplice,
    libc::SYS_memfd_create,
    libc::SYS_memfd_secret,
    libc::SYS_fanotify_init,
    libc::SYS_name_to_handle_at,
    libc::SYS_open_by_handle_at,
    libc::SYS_shmget,
    libc::SYS_shmat,
    libc::SYS_semget,
    libc::SYS_msgget,
    libc::SYS_mq_open,
    // Sockets that listen are there already
    libc::SYS_listen,
    // What Landlock says nothing to, or did not from the start: files are made with their mode, and shortened when they are open
    libc::SYS_mknodat,
    libc::SYS_fchmod,
    libc::SYS_fchmodat,
    FCHMODAT2,
    libc::SYS_fchown,
    libc::SYS_fchownat,
    libc::SYS_setxattr,
    libc::SYS_lsetxattr,
    libc::SYS_fsetxattr,
    SETXATTRAT,
    libc::SYS_removexattr,
    libc::SYS_lremovexattr,
    libc::SYS_fremovexattr,
    REMOVEXATTRAT,
    FILE_SETATTR,
    libc::SYS_utimensat,
    libc::SYS_truncate,
    OPEN_TREE_ATTR,
];

/// Those that newer architectures do without.
#[cfg(target_arch = "x86_64")]
const REFUSED_ON_X86_64: &[i64] = &[
    libc::SYS_fork,
    libc::SYS_vfork,
    libc::SYS_mknod,
    libc::SYS_chmod,
    libc::SYS_chown,
    libc::SYS_lchown,
    libc::SYS_utime,
    libc::SYS_utimes,
    libc::SYS_futimesat,
    libc::SYS_iopl,
    libc::SYS_ioperm,
    libc::SYS_modify_ldt,
    libc::SYS_uselib,
];

const NAMESPACES: &[i32] = &[
    libc::CLONE_NEWNS,
    libc::CLONE_NEWCGROUP,
    libc::CLONE_NEWUTS,
    libc::CLONE_NEWIPC,
    libc::CLONE_NEWUSER,
    libc::CLONE_NEWPID,
    libc::CLONE_NEWNET,
];

/// The type of a socket without `SOCK_NONBLOCK` and `SOCK_CLOEXEC`.
const SOCK_TYPE_MASK: u64 = 0xf;

// The numbers that libc doesn't have for each target. From 424 on they are the same on all architectures.
#[cfg(target_arch = "x86_64")]
const KEXEC_FILE_LOAD: i64 = 320;
#[cfg(target_arch = "aarch64")]
const KEXEC_FILE_LOAD: i64 = 294;
const FCHMODAT2: i64 = 452;
const SETXATTRAT: i64 = 463;
const REMOVEXATTRAT: i64 = 466;
const OPEN_TREE_ATTR: i64 = 467;
const FILE_SETATTR: i64 = 469;
/// The last call that was looked at for this list, of Linux 6.17.
const NEWEST: u32 = 469;

// linux/bpf_common.h; the number of the call is at the start of what a filter sees.
const LOAD_WORD: u16 = 0x20;
const JUMP_IF_AT_LEAST: u16 = 0x35;
const RETURN: u16 = 0x06;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_a_tunnel_does_for_its_bytes_is_looked_into() {
        let rules = rules().unwrap();
        for call in [
            libc::SYS_read,
            libc::SYS_write,
            libc::SYS_readv,
            libc::SYS_writev,
            libc::SYS_recvfrom,
            libc::SYS_sendto,
            libc::SYS_splice,
            libc::SYS_pipe2,
            libc::SYS_accept4,
            libc::SYS_connect,
            libc::SYS_shutdown,
            libc::SYS_close,
            libc::SYS_setsockopt,
            libc::SYS_epoll_pwait,
            libc::SYS_epoll_ctl,
            libc::SYS_futex,
            libc::SYS_fdatasync,
            libc::SYS_getrandom,
        ] {
            assert!(!rules.contains_key(&call), "{call}");
        }
    }

    #[test]
    fn the_filter_is_one_that_the_kernel_takes() {
        // At most so many instructions (linux/bpf_common.h).
        let length = program().unwrap().len();
        assert!((200..4096).contains(&length), "{length}");
        let newest = i64::from(NEWEST);
        assert!(rules().unwrap().keys().all(|call| *call <= newest));
    }
}
