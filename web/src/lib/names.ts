import { cleanPath } from "./tar";

const LONGEST_BYTES = 255;
const encoder = new TextEncoder();

/** What `path` is called once the file or folder `from` is called `to`. */
export function renamed(path: string, from: string, to: string): string {
  return path === from || path.startsWith(`${from}/`) ? to + path.slice(from.length) : path;
}

/** Why the file or folder `from`, or a new file if it is null, cannot be called `text`; null if it can. */
export function nameMistake(names: readonly string[], from: string | null, text: string): string | null {
  const path = cleanPath(text);
  if (path === null) return "A path within the project, please.";
  if (path.split("/").some((part) => encoder.encode(part).length > LONGEST_BYTES)) return `A name has at most ${LONGEST_BYTES} bytes.`;
  const coming = from === null ? [path] : names.map((name) => renamed(name, from, path)).filter((name, at) => name !== names[at]);
  const staying = new Set(from === null ? names : names.filter((name) => renamed(name, from, path) === name));
  for (const name of coming) {
    if (staying.has(name)) return `There is a ${name} already.`;
    const file = parents(name).find((parent) => staying.has(parent));
    if (file !== undefined) return `${file} is a file.`;
    for (const other of staying) if (other.startsWith(`${name}/`)) return `${name} is a folder.`;
  }
  return null;
}

function parents(path: string): string[] {
  const parts = path.split("/");
  return parts.slice(1).map((_, at) => parts.slice(0, at + 1).join("/"));
}
