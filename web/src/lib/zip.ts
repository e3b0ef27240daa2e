import { cleanPath, fromBytes, through, type Files } from "./tar";

const END = 0x06054b50;
const ENTRY = 0x02014b50;
const LOCAL = 0x04034b50;

/** The files of a zip archive. Raises Error for what is none, and for ways to compress that browsers do not know. */
export async function unpackZip(bytes: Uint8Array<ArrayBuffer>): Promise<Files> {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const end = findEnd(view);
  const entries = view.getUint16(end + 10, true);
  const files: Files = {};
  let at = view.getUint32(end + 16, true);
  for (let number = 0; number < entries; number++) {
    if (at + 46 > bytes.length || view.getUint32(at, true) !== ENTRY) throw new Error("the zip archive is damaged");
    const method = view.getUint16(at + 10, true);
    const packed = view.getUint32(at + 20, true);
    const nameLength = view.getUint16(at + 28, true);
    const local = view.getUint32(at + 42, true);
    const name = new TextDecoder().decode(bytes.subarray(at + 46, at + 46 + nameLength));
    const path = name.endsWith("/") ? null : cleanPath(name);
    if (path) files[path] = fromBytes(await content(bytes, view, local, method, packed, name));
    at += 46 + nameLength + view.getUint16(at + 30, true) + view.getUint16(at + 32, true);
  }
  return files;
}

function findEnd(view: DataView): number {
  for (let at = view.byteLength - 22; at >= Math.max(0, view.byteLength - 22 - 0xffff); at--) {
    if (view.getUint32(at, true) === END) return at;
  }
  throw new Error("this is not a zip archive");
}

async function content(
  bytes: Uint8Array<ArrayBuffer>,
  view: DataView,
  local: number,
  method: number,
  packed: number,
  name: string,
): Promise<Uint8Array<ArrayBuffer>> {
  if (local + 30 > bytes.length || view.getUint32(local, true) !== LOCAL) throw new Error("the zip archive is damaged");
  const from = local + 30 + view.getUint16(local + 26, true) + view.getUint16(local + 28, true);
  const data = bytes.slice(from, from + packed);
  if (method === 0) return data;
  if (method === 8) return through(data, new DecompressionStream("deflate-raw"));
  throw new Error(`${name} is compressed in a way that is not understood`);
}
