import type { LogLine } from "@/api/types";

const GROWTH = 4096;

/**
 * All lines of one log in the order of their numbers, kept small: a million of them must fit into a page.
 *
 * Line `n` has the number `n`. Readers subscribe and are told at most once a frame.
 */
export class LogStore {
  private texts: string[] = [];
  private kinds = new Uint8Array(GROWTH);
  private times = new Float64Array(GROWTH);
  private readonly listeners = new Set<() => void>();
  private told = 0;
  private scheduled = false;

  constructor(readonly id: string) {}

  get length(): number {
    return this.texts.length;
  }

  /** The number of lines that listeners know of: changes once a frame at most. */
  readonly shown = (): number => this.told;

  text(index: number): string {
    return this.texts[index] ?? "";
  }

  isError(index: number): boolean {
    return this.kinds[index] === 1;
  }

  /** Milliseconds since 1970. */
  time(index: number): number {
    return this.times[index] ?? 0;
  }

  /** Adds a line. False if lines before it are missing; one that is here already is no news. */
  add(line: LogLine): boolean {
    const at = this.texts.length;
    if (line.seq < at) return true;
    if (line.seq > at) return false;
    if (at === this.kinds.length) this.grow();
    this.texts.push(line.line);
    this.kinds[at] = line.stream === "stderr" ? 1 : 0;
    this.times[at] = Date.parse(line.ts);
    return true;
  }

  /** Tells listeners in the next frame, or soon where there are no frames. */
  readonly tell = (): void => {
    if (this.scheduled) return;
    this.scheduled = true;
    if (typeof requestAnimationFrame === "function" && !document.hidden) requestAnimationFrame(this.tellNow);
    else setTimeout(this.tellNow, 100);
  };

  /** Tells listeners at once: nobody may hear that a log is over before all of its lines. */
  readonly tellNow = (): void => {
    this.scheduled = false;
    if (this.told === this.texts.length) return;
    this.told = this.texts.length;
    for (const listener of this.listeners) listener();
  };

  readonly subscribe = (listener: () => void): (() => void) => {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  };

  /** The lines from `from` to before `to` as they were printed. */
  slice(from: number, to: number): string {
    const part = this.texts.slice(from, to);
    return part.length > 0 ? `${part.join("\n")}\n` : "";
  }

  private grow(): void {
    const kinds = new Uint8Array(this.kinds.length * 2);
    const times = new Float64Array(this.times.length * 2);
    kinds.set(this.kinds);
    times.set(this.times);
    this.kinds = kinds;
    this.times = times;
  }
}
