/** Reads ID3v2.4 tags (id3.org/id3v2.4.0-structure, sections 3.1 and 4): the texts of their TXXX frames. */

const HEADER_BYTES = 10;
const FRAME = "TXXX";
const ENCODINGS = ["latin1", "utf-16", "utf-16be", "utf-8"];

/** A number of four bytes with seven bits each. */
const synchsafe = (bytes) => bytes.reduce((number, byte) => number * 128 + (byte & 127), 0);
const latin1 = (bytes) => String.fromCharCode(...bytes);

/** The texts of all TXXX frames, in order. */
export function texts(data) {
  const found = [];
  if (latin1(data.subarray(0, 3)) !== "ID3") return found;
  const end = Math.min(data.length, HEADER_BYTES + synchsafe(data.subarray(6, 10)));
  for (let at = HEADER_BYTES; at + HEADER_BYTES < end; ) {
    const size = synchsafe(data.subarray(at + 4, at + 8));
    const content = data.subarray(at + HEADER_BYTES, at + HEADER_BYTES + size);
    if (latin1(data.subarray(at, at + 4)) === FRAME) {
      const text = new TextDecoder(ENCODINGS[content[0]] ?? "utf-8").decode(content.subarray(1));
      found.push(text.slice(text.indexOf("\0") + 1).replace(/\0+$/, ""));
    }
    at += HEADER_BYTES + size;
  }
  return found;
}
