// What the page needs of Sentry's SDK. By name, so that the bundler can leave the rest out: the
// SDK itself ships no file that a page could load as it is.
export {
  captureException, flush, getTraceData, init, SDK_VERSION, startInactiveSpan, startNewTrace, withActiveSpan,
  withScope,
} from '@sentry/browser';
