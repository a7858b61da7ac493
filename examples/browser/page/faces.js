/**
 * Which face of a photograph is taken, and whether it shows enough: what
 * faceqat/faces/choice.py and faceqat/faces/quality.py do.
 */

import { alignPoints, estimateSimilarity } from './alignment.js';

const { abs, max, min } = Math;

// By how much, as a share of its area, a face must win to be clear.
export const CLEAR_LEAD = 0.5;
export const NOSE_DEPTH = 0.5;
// The part of the aligned crop that is face: first and last row, and column.
export const FACE = [36, 104, 28, 84];
// Below and above, a pixel tells nothing.
export const DARK = 16;
export const BRIGHT = 250;

const CROP_SIZE = [112, 112];
const degrees = (radians) => (radians * 180) / Math.PI;
const mean = (values) => values.reduce((a, b) => a + b, 0) / values.length;

function area({ box }) {
  return box[2] * box[3];
}

/** The faces, the largest first. */
export function bySize(faces) {
  return [...faces].sort((a, b) => area(b) - area(a));
}

/** Whether the second largest face has more than half of the largest's area. */
export function isAmbiguous(faces) {
  const [first, second] = bySize(faces);
  return Boolean(second) && area(first) - area(second) < CLEAR_LEAD * area(first);
}

/**
 * Size, pose, sharpness and exposure of a face.
 *
 * @param arcface the landmarks of `ARCFACE_TEMPLATE`, in crops of 112x112.
 * @param frontal the landmarks of a face that looks into the camera.
 */
export function measure(image, face, { arcface, frontal }) {
  const crop = alignPoints(image, face.landmarks, arcface, CROP_SIZE);
  const [firstRow, lastRow, firstColumn, lastColumn] = FACE;
  const grey = [];
  for (let y = firstRow; y < lastRow; y++) {
    for (let x = firstColumn; x < lastColumn; x++) {
      grey.push(luma(crop, x, y));
    }
  }
  const columns = lastColumn - firstColumn;
  const exposed = grey.filter((value) => value >= DARK && value <= BRIGHT);
  return {
    size: min(face.box[2], face.box[3]),
    ...pose(face.landmarks, arcface, frontal),
    sharpness: variance(laplacian(grey, columns)) / max(variance(grey), 1),
    exposed: exposed.length / grey.length,
  };
}

/** As OpenCV's COLOR_RGB2GRAY, in 32768ths. */
function luma({ width, data }, x, y) {
  const i = (y * width + x) * 3;
  return (
    (9798 * data[i] + 19235 * data[i + 1] + 3735 * data[i + 2] + 16384) >> 15
  );
}

/** The neighbours of each pixel less four times itself, mirrored outside. */
function laplacian(grey, columns) {
  const rows = grey.length / columns;
  const inside = (i, count) => (i < 0 ? -i : i < count ? i : 2 * count - 2 - i);
  const at = (x, y) => grey[inside(y, rows) * columns + inside(x, columns)];
  return grey.map((value, i) => {
    const [x, y] = [i % columns, Math.floor(i / columns)];
    const around = at(x - 1, y) + at(x + 1, y) + at(x, y - 1) + at(x, y + 1);
    return around - 4 * value;
  });
}

function variance(values) {
  const centre = mean(values);
  return mean(values.map((value) => (value - centre) ** 2));
}

/** Yaw, pitch and roll in degrees (Gee and Cipolla 1994). */
function pose(landmarks, template, frontal) {
  const [a, b, , d, e] = estimateSimilarity(landmarks, template);
  const upright = landmarks.map(([x, y]) => [a * x + b * y, d * x + e * y]);
  const [across, down, side, sunk] = proportions(upright);
  const [frontAcross, frontDown, frontSide, frontSunk] = proportions(frontal);
  const depth = NOSE_DEPTH * frontAcross;
  const turn = (nose, frontNose, length, frontLength) => {
    const share = length / frontLength;
    return degrees(Math.atan2((nose - frontNose * share) / depth, share));
  };
  return {
    yaw: turn(side, frontSide, across, frontAcross),
    pitch: turn(sunk, frontSunk, down, frontDown),
    roll: degrees(Math.atan2(b, a)),
  };
}

/** Width and height of a face, and where its nose is beside their middle. */
function proportions(points) {
  const middle = (indices, axis) => mean(indices.map((i) => points[i][axis]));
  const eyes = [middle([0, 1], 0), middle([0, 1], 1)];
  const mouth = [middle([3, 4], 0), middle([3, 4], 1)];
  return [
    abs(middle([1, 4], 0) - middle([0, 3], 0)),
    abs(mouth[1] - eyes[1]),
    points[2][0] - (eyes[0] + mouth[0]) / 2,
    points[2][1] - (eyes[1] + mouth[1]) / 2,
  ];
}

/** Why a face is not usable, in words; '' where it is. */
export function whyNot(quality, bars) {
  const turn = max(abs(quality.yaw), abs(quality.pitch));
  if (quality.size < bars.size) return `${quality.size.toFixed(0)} pixels small`;
  if (turn > bars.turn) return `turned by ${turn.toFixed(0)} degrees`;
  if (quality.exposed < bars.exposed) {
    const share = (100 * (1 - quality.exposed)).toFixed(0);
    return `${share}% of it is black or white`;
  }
  if (quality.sharpness < bars.sharpness) {
    return `blurred (sharpness ${quality.sharpness.toFixed(3)})`;
  }
  return '';
}
