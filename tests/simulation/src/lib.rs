//! The whole system in one deterministic run: a page, a storefront, a kitchen, a queue, a courier and a
//! tracker, on a simulated network, from one seed.
//!
//! - [`plan`] decides from the seed all that happens from outside: the orders, and the [`faults`].
//! - [`world`] is the state outside of the hosts: the time, the disks, and the [`ledger`] in which the
//!   services write what they do, without Sentry.
//! - [`process`] is a service with a Sentry client of its own, and [`visit`] a request or a message as a
//!   service sees it.
//! - [`page`], [`storefront`], [`kitchen`], [`queue`], [`courier`] and [`tracker`] are the hosts.
//! - [`run`] steps the simulation, and injects the faults. [`claims`] compares the tracker with the ledger,
//!   and [`figures`] counts what happened.
//!
//! The layers, axum, hyper and the Sentry clients are the real ones. The network is turmoil's, and each host has
//! a clock of tokio's, which the simulation moves. Sentry reads the time of the operating system, which no
//! claim looks at.

pub mod claims;
pub mod courier;
pub mod faults;
pub mod figures;
pub mod kitchen;
pub mod ledger;
pub mod net;
pub mod page;
pub mod parcel;
pub mod plan;
pub mod process;
pub mod queue;
pub mod run;
pub mod storefront;
pub mod tracker;
pub mod visit;
pub mod world;
