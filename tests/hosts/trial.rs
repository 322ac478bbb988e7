//! A test of one claim on one host.

use libtest_mimic::Trial;

/// Returns a test that runs `check` on a runtime of its own. The test is ignored if the host lacks the claim,
/// and shows the reason.
pub(crate) fn trial(
    name: &str,
    claim: &str,
    lacks: &[(&str, &str)],
    check: impl AsyncFnOnce() + Send + 'static,
) -> Trial {
    let lacks = lacks.iter().find(|(lacked, _)| *lacked == claim);
    let trial = Trial::test(name, || {
        // Several threads, as a service has.
        let mut runtime = tokio::runtime::Builder::new_multi_thread();
        runtime.worker_threads(2).enable_all().build()?.block_on(check());
        Ok(())
    });
    match lacks {
        Some((_, reason)) => trial.with_ignored_flag(true).with_kind(*reason),
        None => trial,
    }
}
