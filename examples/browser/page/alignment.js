/**
 * Moves a face onto a template, as faceqat/faces/alignment.py does.
 *
 * Points are [[x, y], ...] in pixels; a matrix is [a, b, c, d, e, f], which
 * moves (x, y) to (a x + b y + c, d x + e y + f).
 */

import { fusedMultiplyAdd as fma, resizeArea, roundHalfEven } from './resize.js';

const { fround, floor, max, min } = Math;

/** The mean of points. */
export function centreOf(points) {
  const sum = points.reduce(([a, b], [x, y]) => [a + x, b + y], [0, 0]);
  return sum.map((value) => value / points.length);
}

/** The rotation, scale and shift of least squares (Umeyama 1991). */
export function estimateSimilarity(points, targets) {
  const [x, y] = centreOf(points);
  const [u, v] = centreOf(targets);
  let [spread, real, imaginary] = [0, 0, 0];
  points.forEach(([px, py], i) => {
    const [dx, dy] = [px - x, py - y];
    const [du, dv] = [targets[i][0] - u, targets[i][1] - v];
    spread += dx * dx + dy * dy;
    real += dx * du + dy * dv;
    imaginary += dx * dv - dy * du;
  });
  if (!(spread >= 1e-9 && spread < Infinity)) {
    throw new Error('The landmarks of the face are all in one place.');
  }
  const [a, b] = [real / spread, imaginary / spread];
  return [a, -b, u - (a * x - b * y), b, a, v - (b * x + a * y)];
}

/** The matrix that takes back what another one does. */
export function invert([a, b, c, d, e, f]) {
  const factor = 1 / (a * e - b * d);
  const [p, q, r, s] = [e * factor, -b * factor, -d * factor, a * factor];
  return [p, q, -p * c - q * f, r, s, -r * c - s * f];
}

/** Where a matrix moves a point. */
export function move([a, b, c, d, e, f], [x, y]) {
  return [a * x + b * y + c, d * x + e * y + f];
}

/**
 * Moves an image into a frame; see `alignment.warp`.
 *
 * Outside of the image the frame is black, or with `extend` as its border is.
 */
export function warp(image, matrix, width, height, extend = false) {
  const [a, b, c, d, e, f] = matrix;
  const back = invert(matrix);
  const corners = [[0, 0], [width, 0], [0, height], [width, height]].map(
    ([x, y]) => move(back, [x - 0.5, y - 0.5]),
  );
  const block = max(floor(1 / Math.sqrt(Math.abs(a * e - b * d))), 1);
  const [first, last] = visible(image, corners, block);
  const part = cut(image, first, last);
  const lengths = [part.width, part.height];
  const smaller = lengths.map((length) => max(floor(length / block), 1));
  const step = lengths.map((length, i) => length / smaller[i]);
  // Pixel i of the smaller image is centred at (i + 0.5) * step - 0.5.
  const [x, y] = first.map((start, i) => start + 0.5 * step[i] - 0.5);
  const moved = [
    a * step[0], b * step[1], c + (a * x + b * y),
    d * step[0], e * step[1], f + (d * x + e * y),
  ];
  const averaged = block > 1 ? resizeArea(part, ...smaller) : part;
  return warpAffine(averaged, moved, width, height, extend);
}

/** The part of an image that a frame shows, and two blocks around it. */
function visible(image, corners, block) {
  const limits = [image.width, image.height];
  const first = limits.map((limit, i) => {
    const least = min(...corners.map((corner) => corner[i]));
    return max(0, min(floor(least) - 2 * block, limit - 1));
  });
  const last = limits.map((limit, i) => {
    const most = max(...corners.map((corner) => corner[i]));
    return max(first[i] + 1, min(Math.ceil(most) + 2 * block + 1, limit));
  });
  return [first, last];
}

function cut(image, [left, top], [right, bottom]) {
  const width = right - left;
  const data = new Uint8Array(width * (bottom - top) * 3);
  for (let y = top; y < bottom; y++) {
    const start = (y * image.width + left) * 3;
    const row = image.data.subarray(start, start + width * 3);
    data.set(row, (y - top) * width * 3);
  }
  return { width, height: bottom - top, data };
}

/**
 * `cv2.warpAffine` with INTER_LINEAR of OpenCV 5, on processors with AVX2.
 *
 * To the bit for widths that are multiples of 16, which it computes with fused
 * multiplications (source: opencv/modules/imgproc/src/warp_kernels.simd.hpp,
 * warpAffineLinearInvoker_8UC3).
 */
function warpAffine(image, matrix, width, height, extend) {
  const [a, b, c, d, e, f] = invert(matrix).map(fround);
  const out = new Uint8Array(width * height * 3);
  const at = pixelReader(image, extend);
  for (let y = 0; y < height; y++) {
    const startX = fround(fround(y * b) + c);
    const startY = fround(fround(y * e) + f);
    for (let x = 0; x < width; x++) {
      const [sourceX, sourceY] = [fma(a, x, startX), fma(d, x, startY)];
      const [left, top] = [floor(sourceX), floor(sourceY)];
      const alpha = fround(sourceX - left);
      const beta = fround(sourceY - top);
      for (let channel = 0; channel < 3; channel++) {
        const mix = (row) => {
          const one = at(left, row, channel);
          return fma(alpha, at(left + 1, row, channel) - one, one);
        };
        const above = mix(top);
        const value = fma(beta, fround(mix(top + 1) - above), above);
        out[(y * width + x) * 3 + channel] = roundHalfEven(value);
      }
    }
  }
  return { width, height, data: out };
}

function pixelReader({ width, height, data }, extend) {
  return (x, y, channel) => {
    if (extend) {
      x = max(0, min(x, width - 1));
      y = max(0, min(y, height - 1));
    } else if (x < 0 || y < 0 || x >= width || y >= height) {
      return 0;
    }
    return data[(y * width + x) * 3 + channel];
  };
}

/** A face [height, width] whose landmarks lie on those of the template. */
export function alignPoints(image, landmarks, template, [height, width]) {
  const matrix = estimateSimilarity(landmarks, template);
  return warp(image, matrix, width, height);
}
