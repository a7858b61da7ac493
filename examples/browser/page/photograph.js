/** Reads image files as upright pixels, three bytes each. */

export const MAX_PIXELS = 50e6;
export const MAX_BYTES = 100e6;
const STRIP = 512;

/**
 * Decodes a file, turned as its EXIF says.
 *
 * Transparent pixels lie on white, and colour profiles are left out, as in
 * faceqat/files/decoding.py. Throws an Error whose message stands after the
 * file's name.
 */
export async function readPhotograph(file) {
  if (file.size > MAX_BYTES) {
    const megabytes = Math.ceil(file.size / 1e6);
    throw new Error(`has ${megabytes} MB, at most ${MAX_BYTES / 1e6} are taken.`);
  }
  let bitmap;
  try {
    bitmap = await createImageBitmap(file, { colorSpaceConversion: 'none' });
  } catch {
    throw new Error(
      'is no image that this browser can read: save it as JPEG or PNG.',
    );
  }
  try {
    return pixelsOf(bitmap);
  } finally {
    bitmap.close();
  }
}

function pixelsOf(bitmap) {
  const { width, height } = bitmap;
  if (width * height > MAX_PIXELS) {
    const size = `${width} x ${height} pixels`;
    throw new Error(
      `is too large (${size}, at most ${MAX_PIXELS / 1e6} million are taken): ` +
        'make it smaller.',
    );
  }
  const canvas = document.createElement('canvas');
  canvas.width = width;
  canvas.height = Math.min(STRIP, height);
  const context = canvas.getContext('2d', { willReadFrequently: true });
  const data = new Uint8Array(width * height * 3);
  // In strips: phones refuse a canvas of a whole photograph.
  for (let top = 0; top < height; top += STRIP) {
    const rows = Math.min(STRIP, height - top);
    context.fillStyle = 'white';
    context.fillRect(0, 0, width, rows);
    context.drawImage(bitmap, 0, -top);
    const rgba = context.getImageData(0, 0, width, rows).data;
    const start = top * width * 3;
    for (let i = 0; i < width * rows; i++) {
      data[start + 3 * i] = rgba[4 * i];
      data[start + 3 * i + 1] = rgba[4 * i + 1];
      data[start + 3 * i + 2] = rgba[4 * i + 2];
    }
  }
  return { width, height, data };
}

/** Shows an image on a canvas of its size. */
export function paint(canvas, { width, height, data }) {
  canvas.width = width;
  canvas.height = height;
  const pixels = new ImageData(width, height);
  for (let i = 0; i < width * height; i++) {
    pixels.data.set(data.subarray(3 * i, 3 * i + 3), 4 * i);
    pixels.data[4 * i + 3] = 255;
  }
  canvas.getContext('2d').putImageData(pixels, 0, 0);
}
