// The end of a run.

// results: [{ name, about, rows: [{ what?, id, services }], seconds } or { name, about, broken, seconds }]
export function table(results) {
  const lines = results.flatMap(({ name, about, rows, broken, seconds }) => {
    const head = [broken ? 'BROKEN' : 'ok', name, `${about} (${seconds} s)`];
    if (broken) return [head];
    return [head, ...rows.map((row) => ['', '', describe(row)])];
  });
  return lines.map(([state, name, text]) => `${state.padEnd(7)}${name.padEnd(12)}${text}`).join('\n');
}

function describe({ what, id, services }) {
  const short = id.length > 60 ? `${id.slice(0, 57)}...` : id;
  return [what && `${what}:`, short, services.join(', ')].filter(Boolean).join('  ');
}
