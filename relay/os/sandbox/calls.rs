//! seccomp: the system calls that are refused.
//!
//! The list has what is refused, not what is allowed. An allow list is what today's C library
//! happens to call. The next glibc or musl may let `malloc` or `pthread_create` make another call.
//! Then the relay is down on a machine where only that library was changed. What an attacker needs
//! doesn't change: another program, another process, a kernel interface with known bugs. A list of
//! refusals would leave open what the kernel learns later. [`NEWEST`] closes that: a call newer
//! than this file is refused too.
//!
//! The answer is `ENOSYS`, as from a kernel without the call, and not `EPERM`. Callers know what to
//! do then, because they must cope with an old kernel. For example, glibc starts a thread by
//! `clone3`, whose flags a filter can't see. Only on `ENOSYS` does it use `clone`, whose flags a
//! filter can see.
//!
//! One filter with one answer is also the cheapest. Since Linux 5.11 the kernel finds out
//! beforehand which calls pass with any arguments, and doesn't run the filter for those.
//! No rule looks at the arguments of a call that a tunnel makes for its bytes.

use std::collections::BTreeMap;
use std::io;

use seccompiler::{
    BackendError, BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition,
    SeccompFilter, SeccompRule, apply_filter, sock_filter,
};

/// Refuses the calls to the calling thread, and to the threads that it starts.
pub(super) fn refuse() -> io::Result<()> {
    let program = program().map_err(io::Error::other)?;
    apply_filter(&program).map_err(|error| match error {
        seccompiler::Error::Prctl(error) | seccompiler::Error::Seccomp(error) => error,
        error => io::Error::other(error),
    })
}

/// Compiles the filter. A call of another architecture ends the process, because its number means
/// something else here.
fn program() -> Result<BpfProgram, BackendError> {
    let refused = SeccompAction::Errno(libc::ENOSYS.cast_unsigned());
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
    // The numbers of x32 are far above `NEWEST`. They are a second set that amd64 kernels may have.
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

    // `clone` may make a new thread, but no new process or namespace.
    let mut clone = vec![without(0, libc::CLONE_THREAD)?];
    for namespace in NAMESPACES {
        clone.push(with(0, *namespace)?);
    }
    rules.insert(libc::SYS_clone, clone);

    // Memory that was written can't be made executable. The process loads no code once it is up.
    for call in [libc::SYS_mmap, libc::SYS_mprotect, libc::SYS_pkey_mprotect] {
        rules.insert(call, vec![with(2, libc::PROT_EXEC)?]);
    }

    // These two type characters into a terminal, as if its user had typed them.
    let typed = [TIOCSTI, TIOCLINUX]
        .map(|request| SeccompRule::new(vec![condition(1, SeccompCmpOp::Eq, request)?]));
    rules.insert(
        libc::SYS_ioctl,
        typed.into_iter().collect::<Result<_, _>>()?,
    );

    let not = |argument, values: &[i32]| {
        let different = |value: &i32| condition(argument, SeccompCmpOp::Ne, bits(*value));
        SeccompRule::new(values.iter().map(different).collect::<Result<_, _>>()?)
    };
    let raw = condition(
        1,
        SeccompCmpOp::MaskedEq(SOCK_TYPE_MASK),
        bits(libc::SOCK_RAW),
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

/// Matches if the argument has all bits of the flag.
fn with(argument: u8, flag: i32) -> Result<SeccompRule, BackendError> {
    masked(argument, flag, flag)
}

/// Matches if the argument has no bit of the flag.
fn without(argument: u8, flag: i32) -> Result<SeccompRule, BackendError> {
    masked(argument, flag, 0)
}

fn masked(argument: u8, mask: i32, value: i32) -> Result<SeccompRule, BackendError> {
    let mask = SeccompCmpOp::MaskedEq(bits(mask));
    SeccompRule::new(vec![condition(argument, mask, bits(value))?])
}

/// Widens a flag or a number. An argument is a whole register, and a value of this size is its
/// lower half.
fn bits(value: i32) -> u64 {
    u64::from(value.cast_unsigned())
}

fn condition(argument: u8, is: SeccompCmpOp, value: u64) -> Result<SeccompCondition, BackendError> {
    SeccompCondition::new(argument, SeccompCmpArgLen::Dword, is, value)
}

const REFUSED: &[i64] = &[
    // Other programs
    libc::SYS_execve,
    libc::SYS_execveat,
    // Processes: a new one, and access to others. `clone3` is refused because a filter can't tell
    // what it is for.
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
    // Interfaces that a relay doesn't need, and that have had bugs
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
    // The relay's sockets listen already
    libc::SYS_listen,
    // What Landlock doesn't cover, or didn't cover in its first versions. Files get their mode when
    // they are made, and are shortened by descriptor.
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

/// Calls that newer architectures don't have.
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

// These are from asm-generic/ioctls.h, because the type that libc gives them differs between the C
// libraries.
const TIOCSTI: u64 = 0x5412;
const TIOCLINUX: u64 = 0x541c;

/// Masks `SOCK_NONBLOCK` and `SOCK_CLOEXEC` out of the type of a socket.
const SOCK_TYPE_MASK: u64 = 0xf;

// libc doesn't have these numbers for each target. From 424 on they are the same on all
// architectures.
#[cfg(target_arch = "x86_64")]
const KEXEC_FILE_LOAD: i64 = 320;
#[cfg(target_arch = "aarch64")]
const KEXEC_FILE_LOAD: i64 = 294;
const FCHMODAT2: i64 = 452;
const SETXATTRAT: i64 = 463;
const REMOVEXATTRAT: i64 = 466;
const OPEN_TREE_ATTR: i64 = 467;
const FILE_SETATTR: i64 = 469;
/// The last call that was considered for this list; it is of Linux 6.17.
const NEWEST: u32 = 469;

// These are from linux/bpf_common.h. The number of the call is at the start of what a filter sees.
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

    /// Runs the filter's program by hand, and gives what the kernel would do with a call.
    fn verdict(architecture: u32, number: u32, arguments: [u64; 6]) -> u32 {
        let mut data = Vec::new();
        data.extend(number.to_ne_bytes());
        data.extend(architecture.to_ne_bytes());
        data.extend([0; 8]);
        for argument in arguments {
            data.extend(argument.to_ne_bytes());
        }
        let program = program().unwrap();
        let (mut at, mut value) = (0, 0);
        loop {
            let step = &program[at];
            at += 1;
            let jump = |holds: bool| usize::from(if holds { step.jt } else { step.jf });
            match step.code {
                LOAD_WORD => {
                    let from = usize::try_from(step.k).unwrap();
                    value = u32::from_ne_bytes(data[from..from + 4].try_into().unwrap());
                }
                0x05 => at += usize::try_from(step.k).unwrap(),
                0x15 => at += jump(value == step.k),
                0x25 => at += jump(value > step.k),
                JUMP_IF_AT_LEAST => at += jump(value >= step.k),
                0x54 => value &= step.k,
                RETURN => return step.k,
                code => panic!("an instruction that no test knows: {code:#x}"),
            }
        }
    }

    fn is_refused(call: i64, arguments: [u64; 6]) -> bool {
        match verdict(ARCHITECTURE, u32::try_from(call).unwrap(), arguments) {
            0x7fff_0000 => false,
            action => {
                assert_eq!(action, 0x0005_0000 | libc::ENOSYS.cast_unsigned());
                true
            }
        }
    }

    fn flags(call: i64, argument: usize, flags: i32) -> bool {
        let mut arguments = [0; 6];
        arguments[argument] = bits(flags);
        is_refused(call, arguments)
    }

    #[test]
    fn what_is_on_the_list_is_not_there_and_the_rest_is() {
        for call in REFUSED {
            assert!(is_refused(*call, [0; 6]), "{call}");
        }
        for call in [
            libc::SYS_read,
            libc::SYS_bind,
            libc::SYS_openat,
            libc::SYS_prctl,
            libc::SYS_exit_group,
            libc::SYS_tgkill,
        ] {
            assert!(!is_refused(call, [u64::MAX; 6]), "{call}");
        }
        // `landlock_create_ruleset` and `seccomp` stay allowed, so that a confined process can be
        // confined further.
        assert!(!is_refused(444, [0; 6]) && !is_refused(libc::SYS_seccomp, [0; 6]));
    }

    #[test]
    fn what_the_kernel_learns_later_is_not_there() {
        for number in [NEWEST + 1, 1000, 0x4000_0000, 0x4000_0000 + 59, u32::MAX] {
            assert!(is_refused(number.into(), [0; 6]), "{number}");
        }
    }

    #[test]
    fn the_numbers_of_another_architecture_end_the_process() {
        const I386: u32 = 0x4000_0003;
        const ARM: u32 = 0x4000_0028;
        for other in [I386, ARM] {
            assert_eq!(verdict(other, 1, [0; 6]), 0x8000_0000);
        }
    }

    #[test]
    fn a_thread_is_no_process() {
        let thread = libc::CLONE_VM | libc::CLONE_FS | libc::CLONE_SIGHAND | libc::CLONE_THREAD;
        assert!(!flags(libc::SYS_clone, 0, thread));
        assert!(flags(libc::SYS_clone, 0, libc::SIGCHLD));
        assert!(flags(
            libc::SYS_clone,
            0,
            libc::CLONE_VM | libc::CLONE_VFORK | libc::SIGCHLD
        ));
        for namespace in NAMESPACES {
            assert!(flags(libc::SYS_clone, 0, thread | namespace));
        }
    }

    #[test]
    fn memory_is_not_made_to_be_run() {
        let write = libc::PROT_READ | libc::PROT_WRITE;
        for call in [libc::SYS_mmap, libc::SYS_mprotect, libc::SYS_pkey_mprotect] {
            assert!(!flags(call, 2, write));
            assert!(flags(call, 2, libc::PROT_READ | libc::PROT_EXEC));
            assert!(flags(call, 2, write | libc::PROT_EXEC));
        }
    }

    const FIONBIO: i32 = 0x5421;

    #[test]
    fn sockets_are_for_tcp_udp_and_this_machine() {
        let socket = |family: i32, kind: i32, protocol: i32| {
            let arguments = [bits(family), bits(kind), bits(protocol), 0, 0, 0];
            !is_refused(libc::SYS_socket, arguments)
        };
        let kind = libc::SOCK_STREAM | libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
        for family in [libc::AF_INET, libc::AF_INET6, libc::AF_UNIX] {
            assert!(socket(family, kind, 0));
            assert!(socket(family, libc::SOCK_DGRAM, 0));
            assert!(!socket(family, libc::SOCK_RAW | libc::SOCK_CLOEXEC, 0));
            assert!(!socket(family, kind, libc::IPPROTO_SCTP));
        }
        assert!(socket(libc::AF_INET, kind, libc::IPPROTO_TCP));
        assert!(socket(libc::AF_INET6, libc::SOCK_DGRAM, libc::IPPROTO_UDP));
        for family in [
            libc::AF_NETLINK,
            libc::AF_PACKET,
            libc::AF_ALG,
            libc::AF_VSOCK,
        ] {
            assert!(!socket(family, libc::SOCK_DGRAM, 0), "{family}");
        }
        assert!(!flags(libc::SYS_ioctl, 1, FIONBIO));
        assert!(flags(libc::SYS_ioctl, 1, 0x5412));
    }

    #[cfg(target_arch = "x86_64")]
    const ARCHITECTURE: u32 = 0xc000_003e;
    #[cfg(target_arch = "aarch64")]
    const ARCHITECTURE: u32 = 0xc000_00b7;

    #[test]
    fn the_filter_is_one_that_the_kernel_takes() {
        // The kernel takes no longer program (linux/bpf_common.h).
        let length = program().unwrap().len();
        assert!((200..4096).contains(&length), "{length}");
        let newest = i64::from(NEWEST);
        assert!(rules().unwrap().keys().all(|call| *call <= newest));
    }
}
