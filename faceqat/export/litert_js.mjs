// Runs a TFLite file in LiteRT.js, on WebAssembly, for litert_js.py.
//
//   node litert_js.mjs MODEL
import fs from 'node:fs';
import path from 'node:path';
import {pathToFileURL} from 'node:url';
import vm from 'node:vm';

import {installed, require, serve} from './node_images.mjs';

await serve(async () => {
  const main = installed(require.resolve, '@litertjs/core');
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
  const content = new Uint8Array(fs.readFileSync(process.argv[2]));
  const model = await litert.loadAndCompile(content, {accelerator: 'wasm'});
  const shape = [...model.getInputDetails()[0].shape];
  return [shape, async pixels => {
    const image = new litert.Tensor(pixels, shape);
    const [output] = await model.run([image]);
    const bytes = new Uint8Array(output.toTypedArray());
    image.delete();
    output.delete();
    return bytes;
  }];
});
