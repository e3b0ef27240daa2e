import { ISOLATIONS, STARTS, type Isolation, type SeriesPoint, type StartKind } from "@/api/types";

export interface Kind {
  isolation: Isolation;
  start: StartKind;
  values: (number | null)[];
}

export interface Series {
  /** Seconds since 1970, one for each interval of the window, so that quiet times are seen as such. */
  times: number[];
  latency: Kind[];
  completed: number[];
  failed: number[];
}

/** The points of the server's statistics as columns for a chart. */
export function toSeries(points: readonly SeriesPoint[], intervalS: number, windowS: number, nowS: number): Series {
  const last = Math.floor(nowS / intervalS) * intervalS;
  const first = last - Math.floor(windowS / intervalS - 1) * intervalS;
  const times: number[] = [];
  for (let t = first; t <= last; t += intervalS) times.push(t);
  const completed = times.map(() => 0);
  const failed = times.map(() => 0);
  const kinds = new Map<string, Kind>();
  for (const point of points) {
    const at = Math.round((Date.parse(point.t) / 1000 - first) / intervalS);
    if (at < 0 || at >= times.length) continue;
    completed[at] = (completed[at] ?? 0) + point.completed;
    failed[at] = (failed[at] ?? 0) + point.failed + point.killed;
    const key = `${point.isolation} ${point.start}`;
    const kind = kinds.get(key) ?? { isolation: point.isolation, start: point.start, values: times.map(() => null) };
    kind.values[at] = point.p50_ms;
    kinds.set(key, kind);
  }
  const order = (kind: Kind) => ISOLATIONS.indexOf(kind.isolation) * 10 + STARTS.indexOf(kind.start);
  return { times, completed, failed, latency: [...kinds.values()].sort((a, b) => order(a) - order(b)) };
}
