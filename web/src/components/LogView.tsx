import { useCallback, useEffect, useLayoutEffect, useMemo, useRef, useState, useSyncExternalStore, type CSSProperties } from "react";

import type { LogStream } from "@/api/logs";
import { stripAnsi } from "@/lib/ansi";
import { contentPx, Folding, scrollFor, topRow, width, type Geometry } from "@/lib/rows";
import type { Spot } from "@/lib/traceback";
import { useLogSearch } from "@/lib/useLogSearch";

import { LogRow } from "./LogRow";
import { LogTools } from "./LogTools";

const ROW_PX = 19;
const SPARE_ROWS = 12;
/** How many characters the button beside a line is wide. */
const BESIDE_TEXT = 9;
const KEPT = "caisson.log.";

export interface LogViewProps {
  log: LogStream;
  workloadId: string;
  /** The places in files that a line names, where the reader can go to them. */
  spots?: ((text: string) => Spot[]) | undefined;
  onSpot?: ((spot: Spot) => void) | undefined;
  className?: string;
}

function kept(name: string, usual: boolean): boolean {
  const value = localStorage.getItem(KEPT + name);
  return value === null ? usual : value === "1";
}

/** A log: live or stored, as long as it may be. Only the lines that can be seen are in the page. */
export function LogView({ log, workloadId, spots, onSpot, className = "" }: LogViewProps) {
  const { store } = log;
  const arrived = useSyncExternalStore(store.subscribe, store.shown);
  const [pausedAt, setPausedAt] = useState<number | null>(null);
  const [following, setFollowing] = useState(true);
  const [wrap, setWrap] = useState(() => kept("wrap", false));
  const [times, setTimes] = useState(() => kept("times", false));
  const [search, setSearch] = useState("");
  const [current, setCurrent] = useState(0);
  const [scrollTop, setScrollTop] = useState(0);
  const [size, setSize] = useState({ height: 0, columns: 80 });
  const view = useRef<HTMLDivElement>(null);
  const probe = useRef<HTMLSpanElement>(null);
  const length = pausedAt ?? arrived;
  const found = useLogSearch(store, search, length);
  const match = found.lines[current];

  useLayoutEffect(() => {
    const element = view.current;
    if (!element) return undefined;
    const measure = () => {
      const character = (probe.current?.getBoundingClientRect().width ?? 75) / 10;
      const gutter = (times ? 22 : 9) * character;
      const columns = Math.max(10, Math.floor((element.clientWidth - gutter) / character));
      setSize({ height: element.clientHeight, columns });
    };
    measure();
    const observer = new ResizeObserver(measure);
    observer.observe(element);
    return () => observer.disconnect();
  }, [times]);

  const folding = useMemo(
    () => (wrap ? new Folding(size.columns, (line) => Math.min(10_080, width(stripAnsi(store.text(line))))) : null),
    [wrap, size.columns, store],
  );
  const rowOf = useCallback((line: number) => (folding ? folding.rowOf(line) : line), [folding]);
  const rows = rowOf(length);
  const geometry: Geometry = { rows, rowPx: ROW_PX, viewPx: size.height };
  const tall = contentPx(geometry);

  const scrollTo = useCallback((top: number) => {
    if (!view.current) return;
    view.current.scrollTop = top;
    // Told at once: the event comes a frame later, and by then a log that grows fast would have shown nothing.
    setScrollTop(view.current.scrollTop);
  }, []);

  useLayoutEffect(() => {
    if (following && pausedAt === null) scrollTo(tall);
  }, [following, pausedAt, rows, tall, size.height, scrollTo]);

  useEffect(() => setCurrent(0), [search]);
  useEffect(() => {
    if (match === undefined) return;
    setFollowing(false);
    scrollTo(scrollFor({ rows, rowPx: ROW_PX, viewPx: size.height }, Math.max(0, rowOf(match) - 3)));
    // eslint-disable-next-line react-hooks/exhaustive-deps -- to a match once, not again for every line that comes
  }, [match, search]);

  const onScroll = () => {
    const element = view.current;
    if (!element) return;
    setScrollTop(element.scrollTop);
    setFollowing(element.scrollHeight - element.scrollTop - element.clientHeight < ROW_PX);
  };

  const first = topRow(geometry, scrollTop);
  const lineAt = (row: number) => (folding ? folding.lineAt(row, length) : Math.min(row, length));
  const from = Math.max(0, lineAt(Math.max(0, Math.floor(first) - SPARE_ROWS)));
  const to = Math.min(length, lineAt(Math.ceil(first + size.height / ROW_PX) + SPARE_ROWS) + 1);
  const needle = search.toLowerCase();
  const visible = [];
  let widest = 0;
  for (let line = from; line < to; line++) {
    const row = rowOf(line);
    const text = store.text(line);
    const plain = stripAnsi(text);
    const spot = spots?.(plain)[0];
    if (!wrap) widest = Math.max(widest, width(plain.slice(0, 10_000)) + (spot ? BESIDE_TEXT : 0));
    visible.push(
      <LogRow
        key={line}
        number={line}
        text={text}
        isError={store.isError(line)}
        time={times ? store.time(line) : null}
        wrap={wrap}
        search={needle}
        current={line === match}
        top={scrollTop + (row - first) * ROW_PX}
        height={(rowOf(line + 1) - row) * ROW_PX}
        onSpot={spot && onSpot ? () => onSpot(spot) : null}
      />,
    );
  }
  const keep = (name: string, value: boolean) => localStorage.setItem(KEPT + name, value ? "1" : "0");
  return (
    <section data-testid="logs" data-connection={log.connection} data-lines={arrived} aria-label="Log" className={`flex min-h-0 flex-col ${className}`}>
      <LogTools
        log={log}
        workloadId={workloadId}
        search={{ text: search, set: setSearch, at: current, to: (by) => setCurrent((at) => (found.lines.length ? (at + by + found.lines.length) % found.lines.length : 0)), count: found.lines.length, searching: found.searching }}
        paused={{ on: pausedAt !== null, waiting: arrived - length, toggle: () => setPausedAt(pausedAt === null ? arrived : null) }}
        following={{ on: following && pausedAt === null, set: (on) => (setFollowing(on), on && setPausedAt(null)) }}
        wrap={{ on: wrap, toggle: () => (setWrap(!wrap), keep("wrap", !wrap)) }}
        times={{ on: times, toggle: () => (setTimes(!times), keep("times", !times)) }}
      />
      <div
        ref={view}
        data-testid="log-scroll"
        role="group"
        aria-label="Log lines"
        tabIndex={0}
        onScroll={onScroll}
        className="relative min-h-0 flex-1 overflow-auto rounded-b-lg bg-ground font-mono text-[12px]"
        style={{ lineHeight: `${ROW_PX}px`, overflowAnchor: "none" }}
      >
        <span ref={probe} aria-hidden="true" className="invisible absolute">0123456789</span>
        {length === 0 ? <Nothing log={log} /> : null}
        <div className={wrap ? "relative w-full overflow-hidden" : "relative w-max min-w-full"} style={{ height: tall, "--widest": `${widest + (times ? 24 : 11)}ch` } as CSSProperties}>
          {visible}
        </div>
      </div>
    </section>
  );
}

function Nothing({ log }: { log: LogStream }) {
  const text =
    log.connection === "over"
      ? "The program wrote nothing."
      : log.connection === "failed"
        ? (log.error?.message ?? "The log cannot be read.")
        : log.connection === "live"
          ? "Nothing was written so far."
          : "Connecting…";
  return (
    <div data-testid="log-empty" className="absolute inset-x-0 top-0 px-3 py-2 font-sans text-[13px] text-muted">
      {text}
    </div>
  );
}
