/** A file as the editor keeps it: text, or bytes that are no text. */
export type Content = string | Uint8Array<ArrayBuffer>;
export type Files = Record<string, Content>;

const BLOCK = 512;
const encoder = new TextEncoder();

export function toBytes(content: Content): Uint8Array<ArrayBuffer> {
  return typeof content === "string" ? encoder.encode(content) : content;
}

/** Text if the bytes are UTF-8 without a NUL, else the bytes. */
export function fromBytes(bytes: Uint8Array<ArrayBuffer>): Content {
  if (bytes.includes(0)) return bytes;
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    return bytes;
  }
}

/** A tar archive (ustar, with pax headers for long names) of these files. */
export function packTar(files: Files, mtimeS = 0): Uint8Array<ArrayBuffer> {
  const parts: Uint8Array[] = [];
  for (const [name, content] of Object.entries(files).sort(([a], [b]) => (a < b ? -1 : 1))) {
    const bytes = toBytes(content);
    const encoded = encoder.encode(name);
    if (encoded.length > 100) {
      const record = paxRecord("path", name);
      parts.push(header("PaxHeader", record.length, "x", mtimeS), padded(record));
    }
    parts.push(header(name, bytes.length, "0", mtimeS), padded(bytes));
  }
  parts.push(new Uint8Array(BLOCK * 2));
  return joined(parts);
}

function header(name: string, size: number, type: string, mtimeS: number): Uint8Array {
  const block = new Uint8Array(BLOCK);
  const put = (text: string, at: number, room: number) => block.set(encoder.encode(text).slice(0, room), at);
  put(name, 0, 100);
  put("0000644\0", 100, 8);
  put("0000000\0", 108, 8);
  put("0000000\0", 116, 8);
  put(`${size.toString(8).padStart(11, "0")}\0`, 124, 12);
  put(`${mtimeS.toString(8).padStart(11, "0")}\0`, 136, 12);
  put("        ", 148, 8);
  put(type, 156, 1);
  put("ustar\0" + "00", 257, 8);
  const sum = block.reduce((total, byte) => total + byte, 0);
  put(`${sum.toString(8).padStart(6, "0")}\0 `, 148, 8);
  return block;
}

function paxRecord(key: string, value: string): Uint8Array {
  const rest = ` ${key}=${value}\n`;
  const bare = encoder.encode(rest).length;
  let length = bare + String(bare).length;
  if (String(length).length !== String(bare).length) length = bare + String(length).length;
  return encoder.encode(`${length}${rest}`);
}

function padded(bytes: Uint8Array): Uint8Array {
  const whole = new Uint8Array(Math.ceil(bytes.length / BLOCK) * BLOCK);
  whole.set(bytes);
  return whole;
}

function joined(parts: Uint8Array[]): Uint8Array<ArrayBuffer> {
  const whole = new Uint8Array(parts.reduce((total, part) => total + part.length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}

/** The regular files of a tar archive. Raises Error for what is none; links and devices are left out. */
export function unpackTar(bytes: Uint8Array<ArrayBuffer>): Files {
  const files: Files = {};
  let at = 0;
  let longName: string | null = null;
  while (at + BLOCK <= bytes.length) {
    const block = bytes.subarray(at, at + BLOCK);
    if (block.every((byte) => byte === 0)) break;
    const size = parseInt(text(block, 124, 12) || "0", 8);
    if (!Number.isFinite(size) || size < 0 || !checks(block)) throw new Error("this is not a tar archive");
    const content = bytes.slice(at + BLOCK, at + BLOCK + size);
    const type = text(block, 156, 1);
    if (type === "x") longName = paxPath(content) ?? longName;
    else if (type === "L") longName = new TextDecoder().decode(content).replace(/\0+$/, "");
    else {
      const prefix = text(block, 257, 5) === "ustar" ? text(block, 345, 155) : "";
      const name: string = longName ?? (prefix ? `${prefix}/${text(block, 0, 100)}` : text(block, 0, 100));
      longName = null;
      const path = cleanPath(name);
      if ((type === "0" || type === "") && path) files[path] = fromBytes(content);
    }
    at += BLOCK + Math.ceil(size / BLOCK) * BLOCK;
  }
  return files;
}

function checks(block: Uint8Array): boolean {
  const said = parseInt(text(block, 148, 8), 8);
  let sum = 0;
  for (let at = 0; at < BLOCK; at++) sum += at >= 148 && at < 156 ? 32 : (block[at] ?? 0);
  return said === sum;
}

function text(block: Uint8Array, at: number, room: number): string {
  const part = block.subarray(at, at + room);
  const end = part.indexOf(0);
  return new TextDecoder().decode(end < 0 ? part : part.subarray(0, end)).trim();
}

function paxPath(content: Uint8Array): string | null {
  const found = /(?:^|\n)\d+ path=([^\n]*)\n/.exec(new TextDecoder().decode(content));
  return found?.[1] ?? null;
}

/** A relative path without `.` and empty parts; null where it would lead out, and for the one name no object can have. */
export function cleanPath(path: string): string | null {
  const parts = path.replaceAll("\\", "/").split("/").filter((part) => part !== "" && part !== ".");
  const clean = parts.join("/");
  return clean === "" || clean === "__proto__" || parts.includes("..") || path.includes("\0") ? null : clean;
}

export async function gzip(bytes: Uint8Array<ArrayBuffer>): Promise<Uint8Array<ArrayBuffer>> {
  return through(bytes, new CompressionStream("gzip"));
}

export async function gunzip(bytes: Uint8Array<ArrayBuffer>): Promise<Uint8Array<ArrayBuffer>> {
  return through(bytes, new DecompressionStream("gzip"));
}

export async function through(
  bytes: Uint8Array<ArrayBuffer>,
  transform: CompressionStream | DecompressionStream,
): Promise<Uint8Array<ArrayBuffer>> {
  const stream = new Blob([bytes]).stream().pipeThrough(transform);
  return new Uint8Array(await new Response(stream).arrayBuffer());
}
