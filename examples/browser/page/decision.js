/**
 * Compares two faces in integers, and says how often others reach a score:
 * faceqat/integer/template_score.py and faceqat/api/decision.py.
 */

// The score of two templates that point the same way.
export const ONE = 2 ** 29;

/** The sum of the embeddings of a face and of its mirror image. */
export function template(embedding, mirrored) {
  return Array.from(embedding, (value, i) => value + mirrored[i]);
}

/** The cosine times 2^29, cut toward zero: exact, without floats. */
export function score(a, b) {
  const dot = (x, y) => BigInt(x.reduce((sum, value, i) => sum + value * y[i], 0));
  const product = dot(a, b);
  const norms = dot(a, a) * dot(b, b);
  const size = Number(squareRoot(((product ** 2n) << 58n) / (norms || 1n)));
  return product < 0n ? -size : size;
}

/** The largest integer whose square is at most `value`. */
function squareRoot(value) {
  if (value < 2n) return value;
  let root = 1n << BigInt(Math.ceil(value.toString(2).length / 2));
  for (;;) {
    const next = (root + value / root) >> 1n;
    if (next >= root) return root;
    root = next;
  }
}

/** The row of a table whose threshold is taken: `rate_table.default_row`. */
export function defaultRow(table) {
  return (
    table.rows.find((row) => row.false_matches.value <= table.default_rate) ??
    table.rows.at(-1)
  );
}

/** A share in per cent, with two digits and no power of ten. */
export function percent(share) {
  return (100 * share).toLocaleString('en', { maximumSignificantDigits: 2 });
}

/**
 * How often pairs of different people reach a score, by the rows of a table.
 *
 * Returns {value, low, high} and the words for it; see `rate_of_score`.
 */
export function rateOfScore(table, cosine) {
  const reached = table.rows.filter((row) => row.threshold <= cosine);
  const missed = table.rows.filter((row) => row.threshold >= cosine);
  const sentence = (share) =>
    `${share} of pairs of different people reach this score (${table.faces})`;
  if (!reached.length) {
    const { threshold, false_matches: lowest } = missed[0];
    const words =
      `more than ${percent(lowest.value)} % (not measured below ` +
      `${threshold.toFixed(3)})`;
    return { value: 1, low: lowest.low, high: 1, words: sentence(words) };
  }
  const { value, low, high } = reached.at(-1).false_matches;
  if (!missed.length) {
    const words = sentence(`at most ${percent(value)} %`);
    return { value, low: 0, high, words };
  }
  const least = Math.min(missed[0].false_matches.low, low);
  const words = `${percent(value)} % [${percent(least)}, ${percent(high)}]`;
  return { value, low: least, high, words: sentence(words) };
}
