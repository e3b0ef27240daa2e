import { useEffect, useRef, useState } from "react";

import { stripAnsi } from "./ansi";
import type { LogStore } from "./logstore";

const AT_ONCE = 40_000;

export interface Found {
  /** Numbers of the lines that match, in order. */
  lines: readonly number[];
  searching: boolean;
}

/** Searches a log a piece at a time, so that a million lines do not stop the page, and goes on as lines come. */
export function useLogSearch(store: LogStore, wanted: string, length: number): Found {
  const [found, setFound] = useState<Found>({ lines: [], searching: false });
  const state = useRef({ store, wanted: "", at: 0, lines: [] as number[] });
  useEffect(() => {
    const current = state.current;
    const needle = wanted.toLowerCase();
    if (current.wanted !== needle || current.store !== store) {
      state.current = { store, wanted: needle, at: 0, lines: [] };
    }
    if (needle === "") {
      setFound((before) => (before.lines.length === 0 && !before.searching ? before : { lines: [], searching: false }));
      return undefined;
    }
    let timer: ReturnType<typeof setTimeout> | undefined;
    const step = () => {
      const now = state.current;
      const before = now.lines.length;
      const end = Math.min(length, now.at + AT_ONCE);
      for (; now.at < end; now.at++) {
        if (stripAnsi(store.text(now.at)).toLowerCase().includes(needle)) now.lines.push(now.at);
      }
      const searching = now.at < length;
      if (now.lines.length !== before || !searching) setFound({ lines: now.lines.slice(), searching });
      if (searching) timer = setTimeout(step);
    };
    step();
    return () => clearTimeout(timer);
  }, [store, wanted, length]);
  return found;
}
