import { useCallback, useRef, useState } from "react";

import type { BenchmarkResult, Subject } from "@/api/types";

const COLORS: Record<Subject, string> = { process: "muted", isolate: "isolate", gvisor: "gvisor", microvm: "microvm" };
const ROW_PX = 34;
const LABEL_PX = 108;
const VALUE_PX = 70;
const TICK_PX = 56;

export interface SpreadChartProps {
  results: readonly BenchmarkResult[];
  format: (value: number) => string;
  label: string;
}

/**
 * Every sample as a dot, the middle half as a box, the median as a line: what a mean alone would hide is seen.
 * The scale is logarithmic where the results lie far apart.
 */
export function SpreadChart({ results, format, label }: SpreadChartProps) {
  const [wide, holder] = useWidth();
  const shown = results.filter((result) => result.spread !== null);
  if (shown.length === 0) return null;
  if (wide === 0) return <div ref={holder} style={{ height: shown.length * ROW_PX + 22 }} />;
  const samples = shown.flatMap((result) => result.samples);
  const most = Math.max(...samples);
  const least = Math.min(...samples.filter((sample) => sample > 0), most);
  const isLog = least > 0 && most / least > 30;
  const low = isLog ? Math.log10(least) - 0.1 : 0;
  const high = isLog ? Math.log10(most) + 0.05 : most * 1.04 || 1;
  const plot = wide - LABEL_PX - VALUE_PX;
  const x = (value: number) => LABEL_PX + (((isLog ? Math.log10(Math.max(value, least)) : value) - low) / (high - low)) * plot;
  const ticks = isLog ? decades(low, high, plot / TICK_PX) : [0, 0.5, 1].map((share) => share * most);
  const tall = shown.length * ROW_PX + 22;
  return (
    <div ref={holder}>
    <svg width={wide} height={tall} viewBox={`0 0 ${wide} ${tall}`} className="block text-[11px]" role="img" aria-label={`${label}: ${shown.map((one) => `${one.subject} ${format(one.spread?.p50 ?? 0)}`).join(", ")}`}>
      {ticks.map((tick) => (
        <g key={tick}>
          <line x1={x(tick)} x2={x(tick)} y1={0} y2={tall - 18} stroke="var(--line)" />
          <text x={x(tick)} y={tall - 5} textAnchor="middle" fill="var(--faint)">
            {tick === 0 ? "0" : format(tick)}
          </text>
        </g>
      ))}
      {shown.map((result, row) => {
        const { spread, subject } = result;
        if (!spread) return null;
        const middle = row * ROW_PX + ROW_PX / 2;
        const color = `var(--${COLORS[subject]})`;
        return (
          <g key={result.seq}>
            <text x={0} y={middle + 4} fill="var(--ink)" fontSize="12">
              {subject}
              {result.measure.endsWith("_start") ? ` ${result.measure.replace("_start", "")}` : ""}
            </text>
            <line x1={x(spread.min)} x2={x(spread.max)} y1={middle} y2={middle} stroke={color} strokeOpacity="0.5" />
            <rect x={x(spread.p25)} y={middle - 8} width={Math.max(2, x(spread.p75) - x(spread.p25))} height={16} rx={3} fill={color} fillOpacity="0.25" stroke={color} />
            {result.samples.slice(0, 200).map((sample, at) => (
              <circle key={at} cx={x(sample)} cy={middle + ((at * 7) % 11) - 5} r={1.8} fill={color} fillOpacity="0.75" />
            ))}
            <line x1={x(spread.p50)} x2={x(spread.p50)} y1={middle - 10} y2={middle + 10} stroke={color} strokeWidth="2.5" />
            <text x={wide} y={middle + 4} textAnchor="end" fill="var(--ink)" fontSize="12" fontWeight="600">
              {format(spread.p50)}
            </text>
          </g>
        );
      })}
    </svg>
    </div>
  );
}

function useWidth(): [number, (element: HTMLDivElement | null) => void] {
  const [wide, setWide] = useState(0);
  const observer = useRef<ResizeObserver | null>(null);
  const holder = useCallback((element: HTMLDivElement | null) => {
    observer.current?.disconnect();
    if (!element) return;
    const measure = () => setWide(Math.floor(element.clientWidth));
    observer.current = new ResizeObserver(measure);
    observer.current.observe(element);
    measure();
  }, []);
  return [wide, holder];
}

/** Powers of ten, as many of them as there is room for. */
function decades(low: number, high: number, room: number): number[] {
  const found: number[] = [];
  for (let power = Math.ceil(low); power <= Math.floor(high); power++) found.push(10 ** power);
  if (found.length === 0) return [10 ** low, 10 ** high];
  const every = Math.max(1, Math.ceil(found.length / Math.max(1, room)));
  return found.filter((_, at) => at % every === 0);
}
