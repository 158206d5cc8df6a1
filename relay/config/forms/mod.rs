//! How the file writes values of the relay's own types. The forms of other types are in
//! `callhome_settings`.

mod accounts;
mod hosts;
mod nameservers;
mod rules;
mod trail;

pub(super) use self::accounts::AccountName;
pub(super) use self::hosts::HostName;
pub(super) use self::nameservers::{Nameserver, Nat64Prefix};
