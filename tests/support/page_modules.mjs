// Calls functions of examples/browser/page without a browser: reads
// [[module, name, arguments], ...] as JSON, and writes what they return.
// {"base64": text, "type": "Uint8Array"} stands for an array of numbers, and
// {"outputs": {...}} for a network that answers anything so.

import { readFileSync } from 'node:fs';

const PAGE = new URL('../../examples/browser/page/', import.meta.url);

function revive(key, value) {
  if (value?.outputs) return async () => value.outputs;
  if (value?.base64 === undefined) return value;
  const bytes = Uint8Array.from(Buffer.from(value.base64, 'base64'));
  return new globalThis[value.type](bytes.buffer);
}

function plain(key, value) {
  return ArrayBuffer.isView(value) ? Array.from(value) : value;
}

const results = [];
for (const [module, name, given] of JSON.parse(readFileSync(0), revive)) {
  const found = (await import(new URL(module, PAGE)))[name];
  results.push(typeof found === 'function' ? await found(...given) : found);
}
console.log(JSON.stringify(results, plain));
