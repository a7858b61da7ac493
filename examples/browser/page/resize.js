/**
 * Images resized as OpenCV 5 resizes them, to the bit.
 *
 * An image is {width, height, data}: three bytes a pixel, row by row.
 * Source: opencv/modules/imgproc/src/resize.cpp, for 8 bits and 3 channels.
 */

const { ceil, floor, fround, max, min } = Math;
const FIXED_POINT_ONE = 2048;

/** Rounds half to even, as OpenCV and Python do. */
export function roundHalfEven(x) {
  const low = floor(x);
  const rest = x - low;
  if (rest !== 0.5) return rest < 0.5 ? low : low + 1;
  return low % 2 === 0 ? low : low + 1;
}

/** The float nearest to a * b + c, which is rounded once (IEEE 754). */
export function fusedMultiplyAdd(a, b, c) {
  const product = a * b; // Exact: 24 bits times 24 are at most 53.
  const sum = product + c;
  const part = sum - product;
  const lost = product - (sum - part) + (c - part);
  return fround(lost === 0 ? sum : towardOdd(sum, lost));
}

const asFloat = new Float64Array(1);
const asBits = new BigInt64Array(asFloat.buffer);

/** Of the two doubles around `sum + lost` that whose last bit is 1. */
function towardOdd(sum, lost) {
  asFloat[0] = sum;
  if ((asBits[0] & 1n) === 0n) asBits[0] += sum > 0 === lost > 0 ? 1n : -1n;
  return asFloat[0];
}

/** Means of areas: `cv2.resize` with INTER_AREA, to what is no larger. */
export function resizeArea(image, width, height) {
  if (width === image.width && height === image.height) return image;
  const x = 1 / (width / image.width);
  const y = 1 / (height / image.height);
  const isWhole = (scale) => {
    return Math.abs(scale - roundHalfEven(scale)) < Number.EPSILON;
  };
  return isWhole(x) && isWhole(y)
    ? averageBlocks(image, width, height, roundHalfEven(x), roundHalfEven(y))
    : averageAreas(image, width, height, areas(image.width, width, x),
                   areas(image.height, height, y));
}

function averageBlocks(image, width, height, across, down) {
  const out = new Uint8Array(width * height * 3);
  const scale = fround(1 / (across * down));
  const stride = image.width * 3;
  let k = 0;
  for (let y = 0; y < height; y++) {
    for (let i = 0; i < width * 3; i++) {
      const start = y * down * stride + floor(i / 3) * across * 3 + (i % 3);
      let sum = 0;
      for (let dy = 0; dy < down; dy++) {
        for (let dx = 0; dx < across; dx++) {
          sum += image.data[start + dy * stride + dx * 3];
        }
      }
      out[k++] = across === 2 && down === 2
        ? (sum + 2) >> 2
        : roundHalfEven(fround(sum * scale));
    }
  }
  return { width, height, data: out };
}

/** What each pixel of a line of `count` is made of: [to, from, share]. */
function areas(length, count, scale) {
  const parts = [];
  for (let to = 0; to < count; to++) {
    const start = to * scale;
    const end = start + scale;
    const cell = min(scale, length - start);
    const last = min(floor(end), length - 1);
    const first = min(ceil(start), last);
    if (first - start > 1e-3) {
      parts.push([to, first - 1, fround((first - start) / cell)]);
    }
    for (let from = first; from < last; from++) {
      parts.push([to, from, fround(1 / cell)]);
    }
    if (end - last > 1e-3) {
      const share = min(min(end - last, 1), cell) / cell;
      parts.push([to, last, fround(share)]);
    }
  }
  return parts;
}

function averageAreas(image, width, height, columns, rows) {
  const out = new Uint8Array(width * height * 3);
  const line = new Float32Array(width * 3);
  const sum = new Float32Array(width * 3);
  const store = (y) => {
    for (let i = 0; i < sum.length; i++) {
      out[y * sum.length + i] = roundHalfEven(sum[i]);
    }
  };
  let current = 0;
  for (const [to, from, share] of rows) {
    line.fill(0);
    const start = from * image.width * 3;
    for (const [x, source, alpha] of columns) {
      for (let c = 0; c < 3; c++) {
        line[x * 3 + c] += fround(image.data[start + source * 3 + c] * alpha);
      }
    }
    if (to !== current) {
      store(current);
      sum.fill(0);
      current = to;
    }
    for (let i = 0; i < sum.length; i++) sum[i] += fround(line[i] * share);
  }
  store(current);
  return { width, height, data: out };
}

/** `cv2.resize` with INTER_LINEAR, to what is larger. */
export function resizeLinear(image, width, height) {
  const columns = neighbours(image.width, width).map(([before, share]) => {
    // Outside there is the border's pixel alone; of rows it is there twice.
    const isInside = before >= 0 && before < image.width - 1;
    return [before, isInside ? share : 0];
  });
  const rows = neighbours(image.height, height);
  const out = new Uint8Array(width * height * 3);
  const line = (y) => {
    const start = max(0, min(y, image.height - 1)) * image.width * 3;
    const sums = new Int32Array(width * 3);
    columns.forEach(([before, share], x) => {
      const [one, other] = weights(share);
      const left = max(0, min(before, image.width - 1));
      const right = min(left + 1, image.width - 1);
      for (let c = 0; c < 3; c++) {
        sums[x * 3 + c] = image.data[start + left * 3 + c] * one +
          image.data[start + right * 3 + c] * other;
      }
    });
    return sums;
  };
  rows.forEach(([top, share], y) => {
    const [one, other] = weights(share);
    const above = line(top);
    const below = line(top + 1);
    for (let i = 0; i < width * 3; i++) {
      const sum = ((one * (above[i] >> 4)) >> 16) +
        ((other * (below[i] >> 4)) >> 16);
      out[y * width * 3 + i] = (sum + 2) >> 2;
    }
  });
  return { width, height, data: out };
}

/** For each pixel of a line the one before it, and the next one's share. */
function neighbours(length, count) {
  const scale = 1 / (count / length);
  return Array.from({ length: count }, (_, to) => {
    const place = fround((to + 0.5) * scale - 0.5);
    return [floor(place), fround(place - floor(place))];
  });
}

/** The shares of two pixels in 2048ths. */
function weights(share) {
  return [fround(1 - share), share].map((value) => {
    return roundHalfEven(value * FIXED_POINT_ONE);
  });
}
