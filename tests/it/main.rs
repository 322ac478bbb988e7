//! The public API, as its users meet it: real servers and clients on loopback, and Sentry's real
//! client up to its transport.

mod bodies;
mod chains;
mod clients;
mod hosts;
mod ids;
mod middleware;
mod nested;
mod scopes;
mod servers;
mod support;
