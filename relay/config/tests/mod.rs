//! The configuration from text to options and back.

mod defaults;
mod reports;
mod values;

use super::{Config, Environment};
use crate::authority::Authority;

/// A file with nearly every key, and with other values than the defaults.
const FULL: &str = include_str!("full.toml");

fn environment() -> Environment {
    Environment {
        now: "2026-11-24T14:00:00Z".parse().unwrap(),
        host_name: "relay-a".to_owned(),
        state_directory: None,
    }
}

fn parse(text: &str) -> Config {
    Config::parse_in(text, "relay.toml", &environment()).unwrap()
}

fn refused(text: &str) -> String {
    match Config::parse_in(text, "relay.toml", &environment()) {
        Ok(_) => panic!("read without a mistake: {text}"),
        Err(error) => error.to_string(),
    }
}

fn allows(config: &Config, source: &str, target: &str) -> bool {
    let target: Authority = target.parse().unwrap();
    let now = environment().now;
    config
        .policy
        .admit(source.parse().unwrap())
        .is_ok_and(|client| config.policy.decide(&client, &target, now).is_ok())
}
