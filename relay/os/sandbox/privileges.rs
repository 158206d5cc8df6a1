//! Core dumps, users and capabilities: what a process may do because of the user that it runs as.

use std::io;

use rustix::io::Errno;
use rustix::process::{
    DumpableBehavior, Resource, Rlimit, geteuid, set_dumpable_behavior, setrlimit,
};
use rustix::thread::{
    CapabilitySet, CapabilitySets, capability_is_in_bounding_set, clear_ambient_capability_set,
    remove_capability_from_bounding_set, set_capabilities, set_thread_groups, set_thread_res_gid,
    set_thread_res_uid,
};

use super::Account;

pub(super) fn is_root() -> bool {
    geteuid().is_root()
}

/// Forbids core dumps, because one would hold the listeners' keys.
pub(super) fn no_core_dumps() -> io::Result<()> {
    let none = Rlimit {
        current: Some(0),
        maximum: Some(0),
    };
    Ok(setrlimit(Resource::Core, none)?)
}

/// Makes the process not dumpable. This covers core dumps by a handler too, which the limit
/// doesn't. It also forbids to attach without a capability.
pub(super) fn not_dumpable() -> io::Result<()> {
    Ok(set_dumpable_behavior(DumpableBehavior::NotDumpable)?)
}

/// Changes the calling thread's user, group and further groups, so that it can't change back.
pub(super) fn become_account(account: &Account) -> io::Result<()> {
    set_thread_groups(&account.groups)?;
    set_thread_res_gid(account.group, account.group, account.group)?;
    Ok(set_thread_res_uid(
        account.user,
        account.user,
        account.user,
    )?)
}

/// Takes every capability out of what a program could be started with.
///
/// That takes a capability itself. A process without it loses nothing when this fails: it starts no
/// program, and could gain nothing by one.
pub(super) fn empty_bounding_set() {
    // The kernel answers with an error beyond its last capability.
    let known = (0..64).map(|number| CapabilitySet::from_bits_retain(1 << number));
    for capability in known.take_while(|it| capability_is_in_bounding_set(*it).is_ok()) {
        let _ = remove_capability_from_bounding_set(capability);
    }
}

pub(super) fn no_capabilities() -> io::Result<()> {
    match clear_ambient_capability_set() {
        // A kernel that is older than the ambient set gives `EINVAL`.
        Ok(()) | Err(Errno::INVAL) => {}
        Err(error) => return Err(error.into()),
    }
    let none = CapabilitySets {
        effective: CapabilitySet::empty(),
        permitted: CapabilitySet::empty(),
        inheritable: CapabilitySet::empty(),
    };
    Ok(set_capabilities(None, none)?)
}

pub(super) fn no_new_privs() -> io::Result<()> {
    Ok(rustix::thread::set_no_new_privs(true)?)
}
