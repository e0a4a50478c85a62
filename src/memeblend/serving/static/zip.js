// Zip archives in the browser: read entry by entry from the file, and written without compression.
// The format is APPNOTE.TXT 6.3.10 of PKWARE; entries of more than 4 GiB (zip64) and encrypted ones are refused.

export const LIMITS = { entries: 20_000, totalBytes: 4 * 2 ** 30, ratio: 200, ratioFrom: 2 ** 20 };

const END = 0x06054b50;
const CENTRAL = 0x02014b50;
const LOCAL = 0x04034b50;
const END_SIZE = 22;
const LONGEST_COMMENT = 0xffff;
const UTF8 = 0x800;
const ENCRYPTED = 1;

/** A zip that can't be read; the message is a sentence. */
export class BadZip extends Error {}

const viewOf = async (blob, start, end) => new DataView(await blob.slice(start, end).arrayBuffer());

/**
 * The entries of an archive, folders left out: [{ name, size, read }], where `read()` gives a Blob.
 * Sizes are checked against LIMITS before anything is unpacked, and again while it is.
 */
export async function readZip(file, limits = LIMITS) {
  const from = Math.max(0, file.size - END_SIZE - LONGEST_COMMENT);
  const tail = await viewOf(file, from, file.size);
  let at = tail.byteLength - END_SIZE;
  while (at >= 0 && tail.getUint32(at, true) !== END) at -= 1;
  if (at < 0) throw new BadZip("This is not a whole zip archive; was it cut short?");
  const count = tail.getUint16(at + 10, true);
  const [size, start] = [tail.getUint32(at + 12, true), tail.getUint32(at + 16, true)];
  if (count === 0xffff || start === 0xffffffff) throw new BadZip("This is a zip64 archive; split it into smaller ones.");
  if (count > limits.entries) throw new BadZip(`The archive has ${count.toLocaleString("en")} entries, more than the ${limits.entries.toLocaleString("en")} that are allowed.`);
  if (start + size > from + at) throw new BadZip("The archive's list of entries is damaged.");
  const entries = listed(await viewOf(file, start, start + size), count);
  const total = entries.reduce((sum, entry) => sum + entry.size, 0);
  if (total > limits.totalBytes) throw new BadZip(`The archive would unpack to ${Math.round(total / 2 ** 20).toLocaleString("en")} MiB, more than is allowed.`);
  for (const entry of entries) {
    if (entry.size > limits.ratioFrom && entry.size > limits.ratio * entry.packed) {
      throw new BadZip(`'${entry.name}' says it unpacks to more than ${limits.ratio} times its size, as no image does.`);
    }
    if (entry.size > file.size && entry.method === 0) throw new BadZip(`'${entry.name}' says it is larger than the archive.`);
  }
  return entries.filter((entry) => !entry.name.endsWith("/")).map((entry) => ({ name: entry.name, size: entry.size, read: () => unpacked(file, entry) }));
}

function listed(view, count) {
  const entries = [];
  let at = 0;
  for (let number = 0; number < count; number += 1) {
    if (at + 46 > view.byteLength || view.getUint32(at, true) !== CENTRAL) throw new BadZip("The archive's list of entries is damaged.");
    const [nameSize, extra, comment] = [28, 30, 32].map((place) => view.getUint16(at + place, true));
    if (at + 46 + nameSize + extra + comment > view.byteLength) throw new BadZip("The archive's list of entries is damaged.");
    const flags = view.getUint16(at + 8, true);
    const bytes = new Uint8Array(view.buffer, view.byteOffset + at + 46, nameSize);
    const entry = {
      name: new TextDecoder(flags & UTF8 ? "utf-8" : "windows-1252").decode(bytes),
      method: view.getUint16(at + 10, true),
      crc: view.getUint32(at + 16, true),
      packed: view.getUint32(at + 20, true),
      size: view.getUint32(at + 24, true),
      start: view.getUint32(at + 42, true),
    };
    if (flags & ENCRYPTED) throw new BadZip(`'${entry.name}' is encrypted; make an archive without a password.`);
    if (entry.method !== 0 && entry.method !== 8) throw new BadZip(`'${entry.name}' is compressed in a way that browsers don't know; use plain zip.`);
    entries.push(entry);
    at += 46 + nameSize + extra + comment;
  }
  return entries;
}

async function unpacked(file, entry) {
  const head = await viewOf(file, entry.start, entry.start + 30);
  if (head.byteLength < 30 || head.getUint32(0, true) !== LOCAL) throw new BadZip(`'${entry.name}' is not where the archive says.`);
  const start = entry.start + 30 + head.getUint16(26, true) + head.getUint16(28, true);
  const packed = file.slice(start, start + entry.packed);
  if (packed.size < entry.packed) throw new BadZip(`'${entry.name}' is cut short.`);
  const bytes = entry.method === 0 ? new Uint8Array(await packed.arrayBuffer()) : await inflated(packed, entry);
  if (bytes.length !== entry.size || crc32(bytes) !== entry.crc) throw new BadZip(`'${entry.name}' is damaged.`);
  return new Blob([bytes]);
}

async function inflated(packed, entry) {
  const reader = packed.stream().pipeThrough(new DecompressionStream("deflate-raw")).getReader();
  const bytes = new Uint8Array(entry.size);
  let length = 0;
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return bytes.subarray(0, length);
      if (length + value.length > entry.size) throw new BadZip(`'${entry.name}' unpacks to more than it says.`);
      bytes.set(value, length);
      length += value.length;
    }
  } catch (error) {
    reader.cancel().catch(() => {});
    throw error instanceof BadZip ? error : new BadZip(`'${entry.name}' is damaged.`);
  }
}

const TABLE = Uint32Array.from({ length: 256 }, (_, byte) => {
  let value = byte;
  for (let bit = 0; bit < 8; bit += 1) value = value & 1 ? 0xedb88320 ^ (value >>> 1) : value >>> 1;
  return value;
});

/** CRC-32 of bytes, as zip has it. */
export function crc32(bytes) {
  let value = 0xffffffff;
  for (const byte of bytes) value = TABLE[(value ^ byte) & 0xff] ^ (value >>> 8);
  return (value ^ 0xffffffff) >>> 0;
}

const littleEndian = (...fields) => {
  const view = new DataView(new ArrayBuffer(fields.reduce((sum, [size]) => sum + size, 0)));
  let at = 0;
  for (const [size, value] of fields) {
    if (size === 2) view.setUint16(at, value, true);
    else view.setUint32(at, value, true);
    at += size;
  }
  return new Uint8Array(view.buffer);
};

const NEW_YEAR_1980 = 0x21; // times are left out, so that the same labels give the same archive

/** An archive of files [{ name, blob }], stored as they are: images don't shrink. */
export async function writeZip(files) {
  const parts = [];
  const central = [];
  let at = 0;
  for (const { name, blob } of files) {
    const bytes = new Uint8Array(await blob.arrayBuffer());
    const title = new TextEncoder().encode(name);
    const shared = [[2, UTF8], [2, 0], [2, 0], [2, NEW_YEAR_1980], [4, crc32(bytes)], [4, bytes.length], [4, bytes.length], [2, title.length], [2, 0]];
    const head = littleEndian([4, LOCAL], [2, 20], ...shared);
    central.push(littleEndian([4, CENTRAL], [2, 20], [2, 20], ...shared, [2, 0], [2, 0], [2, 0], [4, 0], [4, at]), title);
    parts.push(head, title, blob);
    at += head.length + title.length + bytes.length;
  }
  const size = central.reduce((sum, part) => sum + part.length, 0);
  const end = littleEndian([4, END], [2, 0], [2, 0], [2, files.length], [2, files.length], [4, size], [4, at], [2, 0]);
  return new Blob([...parts, ...central, end], { type: "application/zip" });
}
