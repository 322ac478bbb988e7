//! The public API, as its users meet it: real servers and clients on loopback, and Sentry's real
//! client up to its transport.

mod bases;
mod bodies;
mod chains;
mod claims;
mod client_failures;
mod clients;
mod documents;
mod floods;
mod full_maps;
mod generators;
mod hosts;
mod ids;
mod messages;
mod middleware;
mod model;
mod nested;
mod notices;
mod outages;
mod parity;
mod peers;
mod performance;
mod propagation;
mod properties;
mod record;
mod reports;
mod scopes;
mod secrets;
mod server_errors;
mod servers;
mod sockets;
mod support;
mod telemetry;
mod thread_end;
mod traces;
mod ways_to_send;
