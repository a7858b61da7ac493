// Runs an ONNX file in onnxruntime-web, on WebAssembly, by node_runner.py.
//
//   node onnx_web.mjs MODEL HEIGHT WIDTH
import {installed, require, serve} from './node_images.mjs';

const [file, ...size] = process.argv.slice(2);

await serve(async () => {
  const ort = installed(require, 'onnxruntime-web');
  ort.env.wasm.numThreads = 1;
  const options = {executionProviders: ['wasm'], logSeverityLevel: 3};
  const session = await ort.InferenceSession.create(file, options);
  const shape = [1, ...size.map(Number), 3];
  return [shape, async pixels => {
    const image = new ort.Tensor('uint8', pixels, shape);
    const results = await session.run({[session.inputNames[0]]: image});
    const {data} = results[session.outputNames[0]];
    return new Uint8Array(data.buffer, data.byteOffset, data.length);
  }];
});
