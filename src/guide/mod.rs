//! Explains how to use this crate: one page for each thing that you may want to do.
//!
//! | page | about |
//! |---|---|
//! | [`servers`] | the layer of a server: its place, trust, CORS, errors |
//! | [`clients`] | outbound calls: hosts, redirects, buffers, tonic, reqwest-middleware |
//! | [`errors`] | the ID in the body of an answer, and in the text of an error |
//! | [`hosts`] | the frameworks and clients that are tested: Lambda, poem, salvo, kube, .. |
//! | [`tasks`] | tasks, threads |
//! | [`messages`] | queues, job frameworks, RPC: the ID of each message |
//! | [`sockets`] | WebSockets, JSON-RPC, server-sent events: the second ID, of the connection |
//! | [`sentry`] | hubs, which telemetry has the ID, reports, traces, shutdown |
//! | [`logs`] | the ID on log lines, sentry-tracing, the crate's own lines |
//! | [`testing`] | a test that your events have the ID |
//! | [`pages`] | a page in a browser: the IDs of its requests, of its errors and of itself |
//! | [`proxies`] | nginx, HAProxy, Caddy: the ID in their logs and on their error pages |
//! | [`envoy`] | the same with Envoy, beside its `x-request-id` or with it |
//! | [`conformance`] | a suite of cases for any server, and a table of this crate and its peers |
//! | [`other_languages`] | Node.js, Python |
//! | [`troubleshooting`] | compile errors, missing tags, two versions of sentry |
//! | [`migrating`] | from sentry-tower, tower-http, asgi-correlation-id, django-guid |
//! | [`how_it_works`] | the scope, the hub, the record, the end of a thread |
//! | [`security`] | the limits for strangers, and your decisions |

/// The targets of the links between the pages. In Markdown the first definition of a link counts: these
/// precede the ones in the pages, which lead to files and are for readers of the repository.
macro_rules! links {
    () => {
        "\
[clients]: crate::guide::clients
[envoy]: crate::guide::envoy
[errors]: crate::guide::errors
[hosts]: crate::guide::hosts
[logs]: crate::guide::logs
[messages]: crate::guide::messages
[migrating]: crate::guide::migrating
[pages]: crate::guide::pages
[proxies]: crate::guide::proxies
[sentry-page]: crate::guide::sentry
[servers]: crate::guide::servers
[sockets]: crate::guide::sockets
[tasks]: crate::guide::tasks
[testing]: crate::guide::testing
"
    };
}

/// The tests of the page on hosts are files of the repository, which the documentation does not contain. Here
/// their links lead to the table.
macro_rules! links_to_tests {
    () => {
        "\
[servers/aws_smithy.rs]: #servers
[servers/axum.rs]: #servers
[servers/connectrpc.rs]: #servers
[servers/hyper.rs]: #servers
[servers/jsonrpsee.rs]: #servers
[servers/lambda.rs]: #servers
[servers/poem.rs]: #servers
[servers/salvo.rs]: #servers
[servers/tonic.rs]: #servers
[servers/warp.rs]: #servers
[clients/hyper_util.rs]: #clients
[clients/kube.rs]: #clients
[clients/reqwest.rs]: #clients
[clients/reqwest_middleware.rs]: #clients
[clients/tonic.rs]: #clients
[clients/tower_reqwest.rs]: #clients
"
    };
}

#[doc = links!()]
#[doc = include_str!("servers.md")]
pub mod servers {}

#[doc = links!()]
#[doc = include_str!("clients.md")]
pub mod clients {}

#[doc = links!()]
#[doc = include_str!("errors.md")]
pub mod errors {}

#[doc = links!()]
#[doc = links_to_tests!()]
#[doc = include_str!("hosts.md")]
pub mod hosts {}

#[doc = links!()]
#[doc = include_str!("tasks.md")]
pub mod tasks {}

#[doc = links!()]
#[doc = include_str!("messages.md")]
pub mod messages {}

#[doc = links!()]
#[doc = include_str!("sockets.md")]
pub mod sockets {}

#[doc = links!()]
#[doc = include_str!("sentry.md")]
pub mod sentry {}

#[doc = links!()]
#[doc = include_str!("logs.md")]
pub mod logs {}

#[doc = links!()]
#[doc = include_str!("testing.md")]
pub mod testing {}

#[doc = links!()]
#[doc = include_str!("pages.md")]
pub mod pages {}

#[doc = links!()]
#[doc = include_str!("proxies.md")]
pub mod proxies {}

#[doc = links!()]
#[doc = include_str!("envoy.md")]
pub mod envoy {}

#[doc = links!()]
#[doc = include_str!("conformance.md")]
pub mod conformance {}

#[doc = links!()]
#[doc = include_str!("other_languages.md")]
pub mod other_languages {}

#[doc = links!()]
#[doc = include_str!("troubleshooting.md")]
pub mod troubleshooting {}

#[doc = links!()]
#[doc = include_str!("migrating.md")]
pub mod migrating {}

#[doc = links!()]
#[doc = include_str!("how_it_works.md")]
pub mod how_it_works {}

#[doc = links!()]
#[doc = include_str!("security.md")]
pub mod security {}
