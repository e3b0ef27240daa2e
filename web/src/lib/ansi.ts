/** A piece of a line that looks the same throughout. Colours are names of the theme, or `#rrggbb`. */
export interface Piece {
  text: string;
  color?: string;
  background?: string;
  bold?: boolean;
  dim?: boolean;
  italic?: boolean;
  underline?: boolean;
  inverse?: boolean;
}

const ESC = "\u001b";
// CSI sequences, OSC sequences up to BEL or ST, and the two-character ones.
// eslint-disable-next-line no-control-regex -- control characters are what this is about
const SEQUENCE = /\u001b(?:\[([0-9;:?]*)[ -/]*([@-~])|\][^\u0007\u001b]*(?:\u0007|\u001b\\)?|[@-Z\\^_])/g;
// eslint-disable-next-line no-control-regex -- the same
const CONTROL = /[\u0000-\u0008\u000b-\u001f\u007f]/g;
const NAMES = ["black", "red", "green", "yellow", "blue", "magenta", "cyan", "white"] as const;
const STEPS = [0, 95, 135, 175, 215, 255];

type Style = Omit<Piece, "text">;

/** The text without any sequence: what search, copying and measuring work on. */
export function stripAnsi(line: string): string {
  return line.includes(ESC) ? line.replace(SEQUENCE, "") : line;
}

/** The line as pieces of plain text; what is no colour or weight is dropped, and other control characters are shown. */
export function parseAnsi(line: string): Piece[] {
  if (!line.includes(ESC)) return [{ text: visible(line) }];
  const pieces: Piece[] = [];
  let style: Style = {};
  let from = 0;
  SEQUENCE.lastIndex = 0;
  for (let found = SEQUENCE.exec(line); found; found = SEQUENCE.exec(line)) {
    if (found.index > from) pieces.push({ ...style, text: visible(line.slice(from, found.index)) });
    if (found[2] === "m") style = applied(style, found[1] ?? "");
    from = found.index + found[0].length;
  }
  if (from < line.length) pieces.push({ ...style, text: visible(line.slice(from)) });
  return pieces;
}

function visible(text: string): string {
  return text.replace(CONTROL, (character) =>
    character === "\u007f" ? "\u2421" : String.fromCharCode(0x2400 + character.charCodeAt(0)),
  );
}

function applied(before: Style, parameters: string): Style {
  const codes = parameters.split(/[;:]/).map((code) => (code === "" ? 0 : Number(code)));
  let style = { ...before };
  for (let at = 0; at < codes.length; at++) {
    const code = codes[at] ?? 0;
    if (code === 0) style = {};
    else if (code === 1) style.bold = true;
    else if (code === 2) style.dim = true;
    else if (code === 3) style.italic = true;
    else if (code === 4) style.underline = true;
    else if (code === 7) style.inverse = true;
    else if (code === 22) style.bold = style.dim = undefined;
    else if (code === 23) style.italic = undefined;
    else if (code === 24) style.underline = undefined;
    else if (code === 27) style.inverse = undefined;
    else if (code === 39) style.color = undefined;
    else if (code === 49) style.background = undefined;
    else if (code >= 30 && code <= 37) style.color = NAMES[code - 30];
    else if (code >= 40 && code <= 47) style.background = NAMES[code - 40];
    else if (code >= 90 && code <= 97) style.color = `bright-${NAMES[code - 90]}`;
    else if (code >= 100 && code <= 107) style.background = `bright-${NAMES[code - 100]}`;
    else if (code === 38 || code === 48) {
      const [color, used] = extended(codes, at + 1);
      if (color) style[code === 38 ? "color" : "background"] = color;
      at += used;
    }
  }
  return style;
}

function extended(codes: number[], at: number): [string | undefined, number] {
  if (codes[at] === 5) return [indexed(codes[at + 1] ?? -1), 2];
  if (codes[at] === 2) return [rgb(codes[at + 1], codes[at + 2], codes[at + 3]), 4];
  return [undefined, 0];
}

function indexed(index: number): string | undefined {
  if (index >= 0 && index < 8) return NAMES[index];
  if (index >= 8 && index < 16) return `bright-${NAMES[index - 8]}`;
  if (index >= 16 && index < 232) {
    const cube = index - 16;
    return rgb(STEPS[Math.floor(cube / 36)], STEPS[Math.floor(cube / 6) % 6], STEPS[cube % 6]);
  }
  if (index >= 232 && index < 256) {
    const grey = 8 + (index - 232) * 10;
    return rgb(grey, grey, grey);
  }
  return undefined;
}

function rgb(...parts: (number | undefined)[]): string | undefined {
  if (parts.some((part) => part === undefined || !Number.isInteger(part) || part < 0 || part > 255)) return undefined;
  return `#${parts.map((part) => (part ?? 0).toString(16).padStart(2, "0")).join("")}`;
}
