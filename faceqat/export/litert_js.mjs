// Runs a TFLite file in LiteRT.js, on WebAssembly, for litert_js.py.
//
//   node litert_js.mjs MODEL
//
// Writes a line of JSON when the file is loaded: {} or {"error": ...}. Then it
// reads images from standard input, one after the other, and writes the output
// of each, as bytes.
import fs from 'node:fs';
import {createRequire} from 'node:module';
import path from 'node:path';
import {pathToFileURL} from 'node:url';
import vm from 'node:vm';

// Standard output is for bytes alone.
console.log = console.info = console.warn = console.error;

function say(message) {
  fs.writeSync(1, JSON.stringify(message) + '\n');
}

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

async function load(file) {
  // From the folder it is called in, its parents, and NODE_PATH.
  const require = createRequire(path.resolve('here.js'));
  let main;
  try {
    main = require.resolve('@litertjs/core');
  } catch {
    throw {missing: true};
  }
  const wasm = path.join(path.dirname(path.dirname(main)), 'wasm');
  // What it finds in a browser's worker.
  Object.assign(globalThis, {
    self: globalThis,
    require,
    __dirname: wasm,
    __filename: path.join(wasm, 'here.js'),
    importScripts: script =>
        vm.runInThisContext(fs.readFileSync(script, 'utf8'), {filename: script}),
  });
  const litert = await import(pathToFileURL(main));
  await litert.loadLiteRt(wasm + '/');
  const content = new Uint8Array(fs.readFileSync(file));
  return [litert, await litert.loadAndCompile(content, {accelerator: 'wasm'})];
}

async function main() {
  let litert, model;
  try {
    [litert, model] = await load(process.argv[2]);
  } catch (error) {
    say(error.missing ? error : {error: String(error.message ?? error)});
    return;
  }
  say({});
  const shape = [...model.getInputDetails()[0].shape];
  const size = shape.reduce((a, b) => a * b);
  for (let pixels; (pixels = read(size));) {
    const image = new litert.Tensor(pixels, shape);
    const [output] = await model.run([image]);
    write(new Uint8Array(output.toTypedArray()));
    image.delete();
    output.delete();
  }
}

await main();
