import { stripAnsi } from "./ansi";
import type { LogStore } from "./logstore";

/** A place in a file that a message names. Lines and columns count from 1. */
export interface Spot {
  path: string;
  line: number;
  column: number | null;
  message: string;
}

// Each path begins where no other could have begun: else a long word is tried from each of its letters.
const FORMS: readonly RegExp[] = [
  // Python: File "lib/util.py", line 3, in f
  /File "(?<path>[^"]+)", line (?<line>\d+)/g,
  // JavaScript: at f (file:///work/main.ts:3:7), at main.ts:3:7
  /(?<![\w@./+-])(?<path>[\w@./+-]+\.(?:[cm]?[jt]sx?)):(?<line>\d+):(?<column>\d+)/g,
  // Go: ./main.go:3:7: undefined: x
  /(?<![\w@./+-])(?<path>[\w@./+-]+\.go):(?<line>\d+)(?::(?<column>\d+))?/g,
  // Shell: main.sh: line 3: x: command not found
  /(?<![\w@./+-])(?<path>[\w@./+-]+\.(?:sh|bash)): line (?<line>\d+)/g,
];
const WORK_FOLDERS = /^(?:file:\/\/)?(?:\/work\/|\/app\/|\.\/)+/;

/** The places in `known` files that one line of text names. */
export function spotsIn(text: string, known: ReadonlySet<string>): Spot[] {
  const spots: Spot[] = [];
  if (text.length > 4000) return spots;
  for (const form of FORMS) {
    for (const found of text.matchAll(form)) {
      const path = matching(found.groups?.["path"] ?? "", known);
      const column = found.groups?.["column"];
      if (path !== null) {
        spots.push({
          path,
          line: Number(found.groups?.["line"]),
          column: column === undefined ? null : Number(column),
          message: text.trim(),
        });
      }
    }
  }
  return spots;
}

function matching(path: string, known: ReadonlySet<string>): string | null {
  const relative = path.replace(WORK_FOLDERS, "").replace(/^\/+/, "");
  if (known.has(relative)) return relative;
  // Inside a sandbox the folder may have any name; what counts is that the end is the same.
  for (const candidate of known) if (path.endsWith(`/${candidate}`)) return candidate;
  return null;
}

/** Where in its line a place is. Go counts bytes, the others count as JavaScript does. */
export function offsetIn(line: string, { path, column }: Spot): number {
  const wanted = Math.max(0, (column ?? 1) - 1);
  if (!path.endsWith(".go")) return Math.min(line.length, wanted);
  let at = 0;
  for (let bytes = 0; at < line.length && bytes < wanted; at++) {
    const code = line.charCodeAt(at);
    // Each half of a surrogate pair stands for two of its four bytes.
    bytes += code < 0x80 ? 1 : code < 0x800 || (code >= 0xd800 && code < 0xe000) ? 2 : 3;
  }
  return at;
}

const LAST_LINES = 5_000;

/** The end of a log, where a program says why it ended. */
export function* lastLines(log: LogStore): Generator<string> {
  for (let line = Math.max(0, log.length - LAST_LINES); line < log.length; line++) yield log.text(line);
}

const IS_ERROR = /^(?:Uncaught )?(?:\(in promise\) )?\w[\w.]*(?:Error|Exception|Interrupt|Exit)\b|^(?:panic|fatal error): /;
const FRAME = /^\s+at |^\t\S+\.go:\d+/;
/** A place and nothing about it: what is wrong there stands in a line further down. */
const BARE = /^(?:Uncaught )?\S+:\d+:\d+$/;

/** Markers for the editor from everything a run said: the message of its error, and its log. */
export function markers(texts: Iterable<string>, known: ReadonlySet<string>): Spot[] {
  const found = new Map<string, Spot>();
  let last: Spot[] = [];
  let header: string | null = null;
  for (const text of texts) {
    for (const line of stripAnsi(text).split("\n")) {
      const spots = spotsIn(line, known);
      if (spots.length > 0) {
        last = spots;
      } else if (IS_ERROR.test(line)) {
        // Python says what went wrong after the trace, JavaScript and Go before it.
        for (const spot of last) if (spot.path.endsWith(".py") || BARE.test(spot.message)) spot.message = line;
        header = line;
      }
      for (const spot of spots) {
        if (header !== null && FRAME.test(line)) spot.message = header;
        const place = `${spot.path}:${spot.line}:${spot.column ?? ""}`;
        if (!found.has(place)) found.set(place, spot);
      }
    }
  }
  return [...found.values()];
}
