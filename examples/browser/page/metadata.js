/** What an .onnx file says of itself: `metadata_props`, by name. */

// Fields of ONNX's ModelProto and StringStringEntryProto.
const METADATA_PROPS = 14;
const [KEY, VALUE] = [1, 2];
const [VARINT, FIXED_64, BYTES, FIXED_32] = [0, 1, 2, 5];

export function readMetadata(bytes) {
  const entries = fields(bytes)
    .filter(([number]) => number === METADATA_PROPS)
    .map(([, entry]) => Object.fromEntries(fields(entry)));
  const text = (part) => new TextDecoder().decode(part);
  return Object.fromEntries(
    entries.map((entry) => [text(entry[KEY]), text(entry[VALUE])]),
  );
}

/** [number, bytes] of a message's fields that have bytes (protobuf). */
function fields(bytes) {
  const found = [];
  let at = 0;
  const varint = () => {
    let [value, factor, byte] = [0, 1, 0];
    do {
      byte = bytes[at++];
      value += (byte & 127) * factor;
      factor *= 128;
    } while (byte > 127);
    return value;
  };
  while (at < bytes.length) {
    const tag = varint();
    const [number, kind] = [Math.floor(tag / 8), tag % 8];
    if (kind === VARINT) varint();
    else if (kind === FIXED_64) at += 8;
    else if (kind === FIXED_32) at += 4;
    else if (kind === BYTES) {
      const length = varint();
      found.push([number, bytes.subarray(at, at + length)]);
      at += length;
    } else throw new Error('The network is no ONNX file; build the page again.');
  }
  return found;
}
