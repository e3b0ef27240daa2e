/** JSON whose numbers keep every digit: a JavaScript number holds no integer above 2^53 exactly, and drops the `.0` of a float. */

/** A number that a JavaScript number does not stand for, as it was written. */
export class Exact {
  constructor(readonly text: string) {}
}

// Nobody can write it beforehand, so no text of a program's is taken for a number. (`randomUUID` is there with TLS only.)
const MARK = `${[...crypto.getRandomValues(new Uint32Array(4))].join("-")}:`;
const MARKED = new RegExp(`"${MARK}([^"]*)"`, "g");
const TOKEN = /"[^"\\]*(?:\\.[^"\\]*)*"|-?\d[\d.eE+-]*/g;

/** As JSON.parse, also in what it throws, but with `Exact` for the numbers that it would change. */
export function parseExact(text: string): unknown {
  const plain: unknown = JSON.parse(text);
  let changed = false;
  const marked = text.replace(TOKEN, (token) => {
    if (token.startsWith('"') || String(Number(token)) === token) return token;
    changed = true;
    return `"${MARK}${token}"`;
  });
  if (!changed) return plain;
  return JSON.parse(marked, (_, value: unknown) => (typeof value === "string" && value.startsWith(MARK) ? new Exact(value.slice(MARK.length)) : value));
}

/** As JSON.stringify, with each `Exact` as it was written. */
export function toJson(value: unknown, indent = 0): string {
  return JSON.stringify(value, (_, item: unknown) => (item instanceof Exact ? MARK + item.text : item), indent).replace(MARKED, "$1");
}
