//! No input causes a panic, and an accepted value is safe in logs, headers, JSON and Sentry's search.
//!
//! Here proptest makes the values. In `fuzz/` a fuzzer looks for more.

use std::sync::Arc;

use proptest::collection::vec;
use proptest::prelude::*;
use tower_transaction_id::TransactionId;

use crate::carried::{Carried, any_pairs, any_trace};
use crate::claims::{Lines, any_hosts, any_lines, any_value, is_valid};
use crate::support::Sentry;

/// Values of every kind, among them many that are valid or nearly so.
fn value() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        vec(any::<u8>(), 0..250),
        "[-_.:+/=@~A-Za-z0-9]{0,210}".prop_map(String::into_bytes),
        "[0.:/-]{0,8}".prop_map(String::into_bytes),
        "(?i)(undefined|null|nan|none|nil)x?".prop_map(String::into_bytes),
        "[ -~]{0,40}".prop_map(String::into_bytes),
    ]
}

/// Names of pairs, most of which the crate reads.
fn name() -> impl Strategy<Value = String> {
    prop_oneof![
        Just("X-Transaction-ID".to_owned()),
        "(?i)x-transaction-id|(?i)sentry-trace|(?i)baggage",
        "[-_A-Za-z]{0,9}",
        any::<String>(),
    ]
}

/// Lines of `sentry-trace` and `baggage`, most of which are valid or nearly so.
fn trace_line() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        "[0-9a-f]{32}-[0-9a-f]{16}(-[01])?".prop_map(String::into_bytes),
        "(0{32}|[0-9A-F]{31,33})-(0{16}|[0-9a-f]{15,17})(-[0-9a-z-]{0,3})?[ ,]?"
            .prop_map(String::into_bytes),
        vec(any::<u8>(), 0..60),
    ]
}

fn baggage_line() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        "( ?(sentry-)?[a-z_]{0,6}=[-a-zA-Z0-9%;.]{0,9} ?,){0,4}".prop_map(String::into_bytes),
        "sentry-a=[a-z]{8100,8200}".prop_map(String::into_bytes),
        "[ -~]{0,60}".prop_map(String::into_bytes),
        vec(any::<u8>(), 0..60),
    ]
}

proptest! {
    #[test]
    fn pairs_lead_to_the_id_on_which_they_agree_and_are_replaced_by_those_of_the_sender(
        pairs in vec((name(), prop_oneof![value(), trace_line(), baggage_line()]), 0..5),
    ) {
        any_pairs(&Sentry::new().hub, &pairs);
    }

    #[test]
    fn any_trace_headers_lead_to_one_trace(
        sentry_trace in vec(trace_line(), 0..3),
        baggage in vec(baggage_line(), 0..3),
        trusted: bool,
    ) {
        let sentry = Sentry::new();
        let request = Carried { sentry_trace: &sentry_trace, baggage: &baggage, trusted };
        any_trace(&sentry.hub, &sentry.transport, &request);
    }

    #[test]
    fn what_is_accepted_survives_every_form(value in value()) {
        any_value(&value);
    }

    #[test]
    fn any_lines_lead_to_one_valid_id(
        lines in vec(value(), 0..4),
        copies in 1_usize..3,
        generated in proptest::option::of(value()),
        trusted: bool,
    ) {
        let sentry = Sentry::new();
        let generated = generated.as_deref();
        let request = Lines { values: &lines, copies, generated, trusted };
        any_lines(&sentry.hub, &sentry.transport, &request);
    }

    #[test]
    fn no_list_of_hosts_and_no_uri_is_too_strange(
        entries in vec("[-_.:@/\\[\\]a-c0-9é%*]{0,12}", 0..4),
        host in "[-_.a-c0-9]{1,9}|\\[[0-9a-f:]{2,8}\\]|[0-9.]{3,11}",
        rest in "(:[0-9]{1,5})?(/[a-c/?.:@]{0,9})?",
        header in proptest::option::of("[-_.:@a-c0-9\\[\\]]{0,9}"),
        port in "(:[-+@a-c0-9]{0,6})?",
    ) {
        let line = format!("{host}{port}");
        let header = header.as_deref().map(str::as_bytes);
        any_hosts(&entries, &format!("http://{host}{rest}"), header);
        any_hosts(&entries, &rest, header);
        // Entries that are close to the host: the host itself, and its second half.
        let near = [host.clone(), host[host.len() / 2..].to_owned()];
        any_hosts(&near, &format!("http://{host}{rest}"), header);
        any_hosts(&near, "/", Some(line.as_bytes()));
    }
}

#[test]
fn generated_ids_are_valid_and_all_different() {
    let each = if cfg!(miri) { 50 } else { 10_000 };
    let ids: Arc<std::sync::Mutex<std::collections::HashSet<TransactionId>>> = Arc::default();
    let threads: Vec<_> = (0..4)
        .map(|_| {
            let ids = ids.clone();
            std::thread::spawn(move || {
                for _ in 0..each {
                    let id = TransactionId::generate();
                    assert!(is_valid(id.as_str().as_bytes()));
                    assert!(ids.lock().unwrap().insert(id));
                }
            })
        })
        .collect();
    for thread in threads {
        thread.join().unwrap();
    }
}
