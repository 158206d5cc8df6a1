//! Core dumps, users, capabilities: what a process has by whom it runs as.

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

/// A core dump would hold the listeners' keys.
pub(super) fn no_core_dumps() -> io::Result<()> {
    let none = Rlimit {
        current: Some(0),
        maximum: Some(0),
    };
    Ok(setrlimit(Resource::Core, none)?)
}

/// No core dump by a handler either, which the limit says nothing to; and nobody without a capability may attach.
pub(super) fn not_dumpable() -> io::Result<()> {
    Ok(set_dumpable_behavior(DumpableBehavior::NotDumpable)?)
}

/// The calling thread's user, group and further groups, without a way back.
pub(super) fn become_account(account: &Account) -> io::Result<()> {
    set_thread_groups(&account.groups)?;
    set_thread_res_gid(account.group, account.group, account.group)?;
    Ok(set_thread_res_uid(
        account.user,
        account.user,
        account.user,
    )?)
}

/// Takes every capability out of what a program could be started with. That takes a capability itself, and who hasn't got it has
/// lost nothing: no program will be started, and none could gain anything by it.
pub(super) fn empty_bounding_set() {
    // The kernel tells where its list ends.
    let known = (0..64).map(|number| CapabilitySet::from_bits_retain(1 << number));
    for capability in known.take_while(|it| capability_is_in_bounding_set(*it).is_ok()) {
        let _ = remove_capability_from_bounding_set(capability);
    }
}

pub(super) fn no_capabilities() -> io::Result<()> {
    match clear_ambient_capability_set() {
        // Older than the set itself.
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
