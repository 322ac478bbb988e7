// Keeps the errors of the page until Sentry's SDK is there to report them. This script comes before all others.
window.earlyErrors = (() => {
  const kept = [];
  const keep = ({ error, reason }) => { if (kept.length < 10) kept.push(error ?? reason); };
  const kinds = ['error', 'unhandledrejection'];
  for (const kind of kinds) addEventListener(kind, keep);
  return {
    // Returns the errors. From now on the SDK hears of them itself.
    stop() {
      for (const kind of kinds) removeEventListener(kind, keep);
      return kept.splice(0);
    },
  };
})();
