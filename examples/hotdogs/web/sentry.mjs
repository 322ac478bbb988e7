// The functions of Sentry's SDK that the page needs, by name, so that the bundler can leave out the
// rest. The bundle is needed because the SDK's package has no file that a page could load as it is.
export {
  captureException, continueTrace, flush, getCurrentScope, getTraceData, init, SDK_VERSION, startInactiveSpan,
  startNewTrace, withActiveSpan, withScope,
} from '@sentry/browser';
