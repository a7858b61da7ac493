/**
 * A worker: it has both networks, and does what takes time.
 *
 * It is sent {id, image}, and answers {id, ...} with what it found; before
 * that {settings, metadata, milliseconds} when the networks are loaded, or
 * {error} when they cannot be.
 */

import { alignPoints } from './alignment.js';
import { makeDetector } from './detection.js';
import { bySize, isAmbiguous, measure, whyNot } from './faces.js';
import { readMetadata } from './metadata.js';
import * as ort from './onnxruntime/ort.wasm.bundle.min.mjs';

// More threads need headers that plain servers do not send.
ort.env.wasm.numThreads = 1;
ort.env.wasm.wasmPaths = {
  wasm: new URL('./onnxruntime/ort-wasm-simd-threaded.wasm', import.meta.url).href,
};

async function read(name) {
  const response = await fetch(new URL(name, import.meta.url));
  if (!response.ok) {
    throw new Error(`${name} is not there (${response.status}).`);
  }
  return new Uint8Array(await response.arrayBuffer());
}

async function load() {
  const start = performance.now();
  const [text, detector, network] = await Promise.all(
    ['settings.json', 'detector.onnx', 'network.onnx'].map(read),
  );
  const settings = JSON.parse(new TextDecoder().decode(text));
  const metadata = readMetadata(network);
  const sessions = [];
  for (const bytes of [detector, network]) {
    sessions.push(await ort.InferenceSession.create(bytes));
  }
  const milliseconds = performance.now() - start;
  postMessage({ settings, metadata, milliseconds });
  return { settings, detector: sessions[0], network: sessions[1] };
}

const loaded = load().catch((error) => {
  postMessage({ error: `The page could not be loaded: ${error.message}` });
});

/** From an image and its size in the network to the outputs by name. */
function detectorRun(session) {
  return async (blob, height, width) => {
    const input = new ort.Tensor('float32', blob, [1, 3, height, width]);
    const outputs = await session.run({ [session.inputNames[0]]: input });
    return Object.fromEntries(
      Object.entries(outputs).map(([name, tensor]) => [name, tensor.data]),
    );
  };
}

/** The int8 embeddings of a crop and of its mirror image. */
async function embed(session, crop, channels) {
  const { width, height, data } = crop;
  const pixels = new Uint8Array(2 * data.length);
  for (let i = 0; i < width * height; i++) {
    const [x, y] = [i % width, Math.floor(i / width)];
    const mirrored = width * height + y * width + (width - 1 - x);
    for (let c = 0; c < 3; c++) {
      const value = data[3 * i + (channels === 'BGR' ? 2 - c : c)];
      pixels[3 * i + c] = value;
      pixels[3 * mirrored + c] = value;
    }
  }
  const input = new ort.Tensor('uint8', pixels, [2, height, width, 3]);
  const outputs = await session.run({ [session.inputNames[0]]: input });
  const both = outputs[session.outputNames[0]].data;
  const length = both.length / 2;
  return [both.slice(0, length), both.slice(length)];
}

/** What is found in a photograph, as `faceqat.Model.verify` does. */
async function recognise(image, { settings, detector, network }) {
  const start = performance.now();
  const detect = makeDetector(detectorRun(detector), settings.arcface);
  const faces = bySize(await detect(image));
  const found = { faces, detecting: performance.now() - start };
  if (!faces.length) return { ...found, whyNot: 'no face is found in it' };
  if (isAmbiguous(faces)) {
    const several = 'it shows several faces of similar size';
    return { ...found, whyNot: `${several}: crop it to one of them` };
  }
  found.quality = measure(image, faces[0], settings);
  const { template, size, bars, channels } = settings;
  found.crop = alignPoints(image, faces[0].landmarks, template, size);
  const reason = whyNot(found.quality, bars);
  if (reason) return { ...found, whyNot: `its face is not usable: ${reason}` };
  const aligned = performance.now();
  const embeddings = await embed(network, found.crop, channels);
  const embedding = performance.now() - aligned;
  return { ...found, whyNot: '', embeddings, embedding };
}

addEventListener('message', async ({ data: { id, image } }) => {
  const networks = await loaded;
  if (!networks) return;
  try {
    postMessage({ id, ...(await recognise(image, networks)) });
  } catch (error) {
    postMessage({ id, faces: [], whyNot: `it failed: ${error.message}` });
  }
});
