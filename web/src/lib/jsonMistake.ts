/** What JSON.parse complains of, with the line and the column where it does. */
export function jsonMistake(text: string, error: unknown): string {
  const message = error instanceof Error ? error.message : String(error);
  // Chromium names the place of some mistakes only, and other browsers do so in words of their own.
  const position = /position (\d+)/.exec(message)?.[1] ?? faultIn(text);
  const before = text.slice(0, Number(position)).split("\n");
  const reason = message.replace(/^JSON\.parse: /, "").replace(/(?:,? ?(?:\.\.\.)?".*)? (?:in JSON )?(?:at position.*|is not valid JSON)$/s, "");
  return `${reason || "This is not JSON"}: line ${before.length}, column ${(before.at(-1)?.length ?? 0) + 1}`;
}

const SPACE = /[ \t\n\r]*/y;
// eslint-disable-next-line no-control-regex -- JSON's strings hold no control characters
const TEXT = /[ \t\n\r]*"(?:[^"\\\u0000-\u001f]|\\(?:["\\/bfnrt]|u[\da-fA-F]{4}))*"/y;
const PLAIN = /[ \t\n\r]*(?:-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?|true|false|null)(?!\w)/y;
const MARKS = Object.fromEntries([..."{}[],:"].map((mark) => [mark, new RegExp(`[ \\t\\n\\r]*\\${mark}`, "y")]));

/** Where a text stops being JSON. */
export function faultIn(text: string): number {
  let at = 0;
  const passes = (form: RegExp | undefined): boolean => {
    if (!form) return false;
    form.lastIndex = at;
    if (!form.test(text)) return false;
    at = form.lastIndex;
    return true;
  };
  const several = (end: string, item: () => boolean): boolean => {
    if (passes(MARKS[end])) return true;
    do if (!item()) return false;
    while (passes(MARKS[","]));
    return passes(MARKS[end]);
  };
  const member = () => passes(TEXT) && passes(MARKS[":"]) && value();
  const value = (): boolean => (passes(MARKS["["]) ? several("]", value) : passes(MARKS["{"]) ? several("}", member) : passes(TEXT) || passes(PLAIN));
  try {
    value();
  } catch {
    // Deeper than the stack: as far as it came.
  }
  passes(SPACE);
  return at;
}
