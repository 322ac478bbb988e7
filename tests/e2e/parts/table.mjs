// The table at the end of a run.

// results: the result of each story, { name, about, seconds } with `rows` or `broken`. Each row is
// { what, id, services } or { what, result }. `broken` is the reason why the story failed.
export function table(results) {
  const lines = results.flatMap(({ name, about, rows, broken, seconds }) => {
    const head = [broken ? 'BROKEN' : 'ok', name, `${about} (${seconds} s)`];
    if (broken) return [head];
    return [head, ...rows.map((row) => ['', '', describe(row)])];
  });
  const failed = results.filter(({ broken }) => broken).length;
  return [
    ...lines.map(([state, name, text]) => `${state.padEnd(7)}${name.padEnd(14)}${text}`),
    '',
    `${results.length - failed} passed, ${failed} failed`,
  ].join('\n');
}

function describe({ what, id, services, result }) {
  if (result) return `${what}: ${result}`;
  const shown = id.length > 40 ? `${id.slice(0, 37)}...` : id;
  return [shown.padEnd(40), services.join(', ').padEnd(44), what].filter(Boolean).join('  ').trimEnd();
}
