// Runs an ONNX file in onnxruntime-web, on WebAssembly, for onnx_web.py.
//
//   node onnx_web.mjs MODEL HEIGHT WIDTH
//
// Writes a line of JSON when the file is loaded: {} or {"error": ...}. Then it
// reads images from standard input, one after the other, and writes the output
// of each, as bytes.
import fs from 'node:fs';
import {createRequire} from 'node:module';
import path from 'node:path';

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

async function load(file) {
  // From the folder it is called in, its parents, and NODE_PATH.
  const require = createRequire(path.resolve('here.js'));
  let ort;
  try {
    ort = require('onnxruntime-web');
  } catch {
    throw {missing: true};
  }
  ort.env.wasm.numThreads = 1;
  const options = {executionProviders: ['wasm'], logSeverityLevel: 3};
  return [ort, await ort.InferenceSession.create(file, options)];
}

async function main() {
  const [file, ...size] = process.argv.slice(2);
  let ort, session;
  try {
    [ort, session] = await load(file);
  } catch (error) {
    say(error.missing ? error : {error: String(error.message ?? error)});
    return;
  }
  say({});
  const shape = [1, ...size.map(Number), 3];
  for (let pixels; (pixels = read(shape.reduce((a, b) => a * b)));) {
    const image = new ort.Tensor('uint8', pixels, shape);
    const results = await session.run({[session.inputNames[0]]: image});
    const {data} = results[session.outputNames[0]];
    fs.writeSync(1, new Uint8Array(data.buffer, data.byteOffset, data.length));
  }
}

await main();
