/** How a log's lines become rows on a screen: which line is at which row, and which rows fit into a height. */

/** Browsers cannot make an element taller than about this, so a longer log scrolls in larger steps. */
const TALLEST_PX = 15_000_000;

export interface Window {
  /** The first line to show, and the one after the last. */
  from: number;
  to: number;
  /** Where the first one's top is, in pixels below the top of the scrolled content. */
  top: number;
}

/** Rows of lines that are folded at a width: a sum over all lines before each, grown as lines come. */
export class Folding {
  private sums = new Float64Array(1024);
  private known = 0;

  constructor(
    readonly columns: number,
    private readonly measure: (line: number) => number,
  ) {}

  /** The row at which `line` begins. */
  rowOf(line: number): number {
    this.grow(line);
    return this.sums[line] ?? 0;
  }

  /** The line that row `row` belongs to, of `count` lines. */
  lineAt(row: number, count: number): number {
    this.grow(count);
    let low = 0;
    let high = count;
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if ((this.sums[middle] ?? 0) <= row) low = middle;
      else high = middle - 1;
    }
    return Math.min(low, Math.max(0, count - 1));
  }

  private grow(count: number): void {
    if (count >= this.sums.length) {
      const larger = new Float64Array(Math.max(count + 1, this.sums.length * 2));
      larger.set(this.sums);
      this.sums = larger;
    }
    for (; this.known < count; this.known++) {
      const rows = Math.max(1, Math.ceil(this.measure(this.known) / this.columns));
      this.sums[this.known + 1] = (this.sums[this.known] ?? 0) + rows;
    }
  }
}

export interface Geometry {
  rows: number;
  rowPx: number;
  viewPx: number;
}

/** How tall the scrolled content is made. */
export function contentPx({ rows, rowPx, viewPx }: Geometry): number {
  return Math.max(viewPx, Math.min(TALLEST_PX, rows * rowPx));
}

/** The row at the top of the view, with a fraction, when the content is scrolled to `scrollTop`. */
export function topRow(geometry: Geometry, scrollTop: number): number {
  const { rows, rowPx, viewPx } = geometry;
  const scrollable = contentPx(geometry) - viewPx;
  const hidden = rows * rowPx - viewPx;
  return scrollable <= 0 || hidden <= 0 ? 0 : ((scrollTop / scrollable) * hidden) / rowPx;
}

/** Where to scroll so that `row` is at the top of the view. */
export function scrollFor(geometry: Geometry, row: number): number {
  const { rows, rowPx, viewPx } = geometry;
  const scrollable = contentPx(geometry) - viewPx;
  const hidden = rows * rowPx - viewPx;
  return hidden <= 0 ? 0 : Math.max(0, Math.min(scrollable, ((row * rowPx) / hidden) * scrollable));
}

/** How many characters a line is wide; East Asian wide ones and emoji count twice, a tab to the next eighth. */
export function width(text: string): number {
  let columns = 0;
  for (let at = 0; at < text.length; at++) {
    const code = text.charCodeAt(at);
    if (code === 9) columns += 8 - (columns % 8);
    else if (code < 0x1100) columns += 1;
    else if (code >= 0xd800 && code < 0xdc00) columns += 2;
    else if (code < 0xdc00 || code >= 0xe000) columns += isWide(code) ? 2 : 1;
  }
  return columns;
}

function isWide(code: number): boolean {
  return code <= 0x115f || (code >= 0x2e80 && code <= 0xa4cf) || (code >= 0xac00 && code <= 0xd7a3) || (code >= 0xf900 && code <= 0xfaff) || (code >= 0xfe30 && code <= 0xfe6f) || (code >= 0xff00 && code <= 0xff60);
}
