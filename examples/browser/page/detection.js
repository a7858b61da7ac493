/**
 * Finds faces and their five landmarks, as faceqat/faces/detection.py does.
 *
 * A face is {box: [x, y, width, height], landmarks, score} in pixels; a row is
 * what OpenCV's FaceDetectorYN gives: box, five landmarks, score.
 */

import { estimateSimilarity, invert, move, warp } from './alignment.js';
import { resizeArea, resizeLinear, roundHalfEven } from './resize.js';

const { fround, floor, max, min } = Math;

export const MIN_SCORE = 0.6;
// Of the longer side of the copies that are searched.
export const LONGEST_SIDES = [1280, 320];
// The most that two boxes have in common, as a share of the smaller one.
export const MAX_OVERLAP = 0.5;
// Landmarks are the mean over these views: height of the face in pixels of the
// view, shift in pixels, mirrored.
export const VIEW_SIZE = 128;
export const VIEWS = [
  [64, 0, false],
  [64, 0, true],
  [74, 3, false],
  [74, 3, true],
];
// They are found again while they are tilted by three degrees and more.
export const UPRIGHT_DEGREES = 3;
export const MAX_ROUNDS = 5;
// The order of the landmarks of a mirrored face.
export const MIRRORED = [1, 0, 2, 4, 3];
// YuNet's: its input is a multiple of the largest stride; the intersection of
// two boxes over their union, above which the less sure one is dropped.
const STRIDES = [8, 16, 32];
const MAX_UNION = fround(0.3);

/**
 * Makes a function from an image to its faces, the surest first.
 *
 * @param run from float32 [1, 3, H, W], H and W to the network's outputs by
 *   name, Float32Array each.
 * @param template the landmarks that an upright face has.
 */
export function makeDetector(run, template) {
  return async (image) => {
    const faces = [];
    for (const row of distinct(await search(run, image))) {
      const box = row.slice(0, 4);
      const landmarks = await refine(run, image, box, points(row), template);
      faces.push({ box, landmarks, score: row[14] });
    }
    return faces;
  };
}

/** The rows of the faces in an image of the network's own size. */
export async function detectOnce(run, image) {
  const side = STRIDES.at(-1);
  const width = Math.ceil(image.width / side) * side;
  const height = Math.ceil(image.height / side) * side;
  const outputs = await run(planes(image, width, height), height, width);
  return suppress(STRIDES.flatMap((stride) => decode(outputs, stride, width)));
}

/** float32 [3, height, width] in BGR, 0 outside of the image. */
function planes(image, width, height) {
  const blob = new Float32Array(3 * width * height);
  for (let channel = 0; channel < 3; channel++) {
    for (let y = 0; y < image.height; y++) {
      const to = ((2 - channel) * height + y) * width;
      const from = y * image.width * 3 + channel;
      for (let x = 0; x < image.width; x++) {
        blob[to + x] = image.data[from + x * 3];
      }
    }
  }
  return blob;
}

/** The rows of one stride that are sure enough (`FaceDetectorYN`). */
function decode(outputs, stride, width) {
  const [classes, objects, boxes, marks] = ['cls', 'obj', 'bbox', 'kps'].map(
    (name) => outputs[`${name}_${stride}`],
  );
  const columns = width / stride;
  const rows = [];
  const share = (value) => max(0, min(value, 1));
  for (let i = 0; i < classes.length; i++) {
    const product = fround(share(classes[i]) * share(objects[i]));
    const score = fround(Math.sqrt(product));
    if (score < fround(MIN_SCORE)) continue;
    const [x, y] = [i % columns, floor(i / columns)];
    const box = boxes.subarray(i * 4, i * 4 + 4);
    const w = fround(Math.exp(box[2]) * stride);
    const h = fround(Math.exp(box[3]) * stride);
    const left = fround(fround(x + box[0]) * stride);
    const top = fround(fround(y + box[1]) * stride);
    const landmarks = Array.from(marks.subarray(i * 10, i * 10 + 10), (z, k) => {
      return fround(fround(z + (k % 2 ? y : x)) * stride);
    });
    const corner = [fround(left - w / 2), fround(top - h / 2)];
    rows.push([...corner, w, h, ...landmarks, score]);
  }
  return rows;
}

/** Those that no surer one covers (`cv::dnn::NMSBoxes`, in whole pixels). */
function suppress(rows) {
  const kept = [];
  for (const row of bySureness(rows)) {
    if (kept.every((other) => union(row, other) <= MAX_UNION)) kept.push(row);
  }
  return kept;
}

function bySureness(rows) {
  return [...rows].sort((a, b) => b[14] - a[14]);
}

function union(one, other) {
  const [a, b] = [one, other].map((row) => row.slice(0, 4).map(Math.trunc));
  const common = intersection(a, b);
  return fround(common / (a[2] * a[3] + b[2] * b[3] - common));
}

function intersection(a, b) {
  const [w, h] = [0, 1].map((i) => {
    return max(0, min(a[i] + a[i + 2], b[i] + b[i + 2]) - max(a[i], b[i]));
  });
  return w * h;
}

/** The faces in copies of several sizes, in pixels of the image. */
async function search(run, image) {
  const longest = max(image.width, image.height);
  const [large, small] = LONGEST_SIDES;
  const found = await detectScaled(run, image, min(1, large / longest));
  // A copy hardly smaller than the one before would show nothing new.
  if (small <= 0.75 * longest) {
    found.push(...(await detectScaled(run, image, small / longest)));
  } else if (!found.length && longest < small) {
    return detectScaled(run, image, small / longest);
  }
  return found;
}

async function detectScaled(run, image, ratio) {
  const [width, height] = [image.width, image.height].map((length) => {
    return max(roundHalfEven(length * ratio), 1);
  });
  const resize = ratio > 1 ? resizeLinear : resizeArea;
  const copy = ratio === 1 ? image : resize(image, width, height);
  const rows = await detectOnce(run, copy);
  const scale = [image.width / width, image.height / height];
  return rows.map((row) => row.map((x, i) => (i < 14 ? x * scale[i % 2] : x)));
}

/** The surest first, without those inside a surer one. */
function distinct(rows) {
  const kept = [];
  for (const row of bySureness(rows)) {
    const isApart = (other) => {
      const smaller = min(row[2] * row[3], other[2] * other[3]);
      return intersection(row, other) / max(smaller, 1e-9) < MAX_OVERLAP;
    };
    if (kept.every(isApart)) kept.push(row);
  }
  return kept;
}

function points(row) {
  return [0, 1, 2, 3, 4].map((i) => [row[4 + 2 * i], row[5 + 2 * i]]);
}

/** Landmarks found again in views that are upright. */
async function refine(run, image, box, landmarks, template) {
  const enough = Math.cos((UPRIGHT_DEGREES * Math.PI) / 180);
  for (let round = 0; round < MAX_ROUNDS; round++) {
    const [c, s] = level(landmarks, template);
    landmarks = await meanOfViews(run, image, box, [c, s], landmarks);
    const [cosine, sine] = level(landmarks, template);
    // The cosine of the angle by which the last view was tilted.
    if (cosine * c + sine * s > enough) break;
  }
  return landmarks;
}

/** Cosine and sine of the rotation that puts a face upright. */
function level(landmarks, template) {
  const [a, , , b] = estimateSimilarity(landmarks, template);
  const scale = Math.sqrt(a * a + b * b);
  return [a / scale, b / scale];
}

/** The mean over views; `landmarks` if none shows a face. */
async function meanOfViews(run, image, box, [cosine, sine], landmarks) {
  const [x, y, w, h] = box;
  const [centreX, centreY] = [x + w / 2, y + h / 2];
  const found = [];
  for (const [size, shift, mirrored] of VIEWS) {
    const scale = size / max(w, h);
    const middle = VIEW_SIZE / 2 + shift;
    const [c, s, sign] = [scale * cosine, scale * sine, mirrored ? -1 : 1];
    const [a, b, d, e] = [sign * c, sign * -s, s, c];
    const matrix = [
      a, b, middle - (a * centreX + b * centreY),
      d, e, middle - (d * centreX + e * centreY),
    ];
    const view = warp(image, matrix, VIEW_SIZE, VIEW_SIZE, true);
    const row = central(await detectOnce(run, view), middle, size / 4);
    if (!row) continue;
    const back = invert(matrix);
    const moved = points(row).map((point) => move(back, point));
    found.push(mirrored ? MIRRORED.map((i) => moved[i]) : moved);
  }
  if (!found.length) return landmarks;
  return landmarks.map((_, i) => [0, 1].map((axis) => {
    return found.reduce((sum, view) => sum + view[i][axis], 0) / found.length;
  }));
}

/** The row in the middle of a view; neighbours may be in it too. */
function central(rows, middle, reach) {
  const distances = rows.map(([x, y, w, h]) => {
    return max(Math.abs(x + w / 2 - middle), Math.abs(y + h / 2 - middle));
  });
  const nearest = min(...distances);
  return nearest <= reach ? rows[distances.indexOf(nearest)] : null;
}
