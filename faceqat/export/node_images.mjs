// What node_runner.py expects of a script: a line of JSON when its file is
// loaded, {}, {"missing": true} or {"error": ...}; then it reads images from
// standard input, one after the other, and writes the output of each, as bytes.
import fs from 'node:fs';
import {createRequire} from 'node:module';
import path from 'node:path';

// Standard output is for bytes alone.
console.log = console.info = console.warn = console.error;

function read(size) {
  const bytes = new Uint8Array(size);
  let count = 0;
  while (count < size) {
    const more = fs.readSync(0, bytes, count, size - count);
    if (!more) return null;
    count += more;
  }
  return bytes;
}

function write(bytes) {
  for (let count = 0; count < bytes.length;) {
    count += fs.writeSync(1, bytes, count);
  }
}

// Takes what a runtime is from: the folder of the call, its parents, NODE_PATH.
export const require = createRequire(path.resolve('here.js'));

// Calls `find(name)`, which throws where the package is not installed.
export function installed(find, name) {
  try {
    return find(name);
  } catch {
    throw {missing: true};
  }
}

// Runs `load()`, which gives the shape of an image and a function from its
// pixels to bytes, and then that function until there are no more images.
export async function serve(load) {
  let shape, embed, answer = {};
  try {
    [shape, embed] = await load();
  } catch (error) {
    answer = error.missing ? error : {error: String(error.message ?? error)};
  }
  write(Buffer.from(JSON.stringify(answer) + '\n'));
  if (!embed) return;
  const size = shape.reduce((a, b) => a * b);
  for (let pixels; (pixels = read(size));) write(await embed(pixels));
}
