//! Listeners that ask for more than a request: a balancer's PROXY header, TLS, a client's
//! certificate.

mod balancer;
mod claims;
mod commands;
mod garbage;
mod https;
mod mutual;
mod tunnels;
