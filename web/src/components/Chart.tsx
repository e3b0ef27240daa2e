import { useEffect, useRef } from "react";
import uPlot from "uplot";
import "uplot/dist/uPlot.min.css";

import { themeColor, useDark } from "@/lib/theme";

export interface Line {
  label: string;
  /** A colour of the theme. */
  color: string;
  dash?: number[];
  /** In pixels. Lines that share a dash differ in it, so that their colour is not all that tells them apart. */
  width?: number;
  fill?: boolean;
  values: (number | null)[];
}

const WIDTH = 1.75;

export interface ChartProps {
  /** Seconds since 1970. */
  times: number[];
  lines: readonly Line[];
  format: (value: number) => string;
  label: string;
  height?: number;
  logarithmic?: boolean;
  testId: string;
}

/** Of the many lines of a logarithmic scale, those at powers of ten. */
function decadesOnly(_: uPlot, splits: number[]): (number | null)[] {
  return splits.map((value) => (value > 0 && Math.abs(Math.log10(value) - Math.round(Math.log10(value))) < 1e-9 ? value : null));
}

function hourAndMinute(seconds: number): string {
  const date = new Date(seconds * 1000);
  return `${String(date.getHours()).padStart(2, "0")}:${String(date.getMinutes()).padStart(2, "0")}`;
}

/** Lines over time. The figures behind it stand in a table nearby: a canvas tells nothing to those who do not see it. */
export default function Chart({ times, lines, format, label, height = 190, logarithmic = false, testId }: ChartProps) {
  const holder = useRef<HTMLDivElement>(null);
  const chart = useRef<uPlot | null>(null);
  const dark = useDark();
  const shape = JSON.stringify(lines.map((line) => [line.label, line.color, line.dash, line.width]));

  useEffect(() => {
    const element = holder.current;
    if (!element) return undefined;
    const axis = { stroke: themeColor("faint"), grid: { stroke: themeColor("line"), width: 1 }, ticks: { show: false }, font: "11px Inter Variable, sans-serif" };
    const made = new uPlot(
      {
        width: element.clientWidth,
        height,
        padding: [8, 20, 0, 0],
        cursor: { points: { size: 6 }, drag: { x: false, y: false } },
        legend: { show: false },
        scales: { x: { time: true }, y: { distr: logarithmic ? 3 : 1, range: logarithmic ? undefined : (_, __, most) => [0, most > 0 ? most * 1.1 : 1] } },
        axes: [{ ...axis, values: (_, splits) => splits.map(hourAndMinute), space: 60, size: 26 }, { ...axis, size: 62, ...(logarithmic ? { filter: decadesOnly, grid: { ...axis.grid, filter: decadesOnly } } : {}), values: (_, splits) => splits.map((value) => (value === null ? "" : format(value))) }],
        series: [
          {},
          ...lines.map((line) => ({
            label: line.label,
            stroke: themeColor(line.color),
            width: line.width ?? WIDTH,
            dash: line.dash,
            fill: line.fill ? themeColor(line.color).replace("rgb(", "rgba(").replace(")", ", 0.12)") : undefined,
            points: { show: !line.fill && line.values.filter((value) => value !== null).length < 40 && !line.values.includes(0), size: 4 },
            spanGaps: true,
          })),
        ],
      },
      [[], ...lines.map(() => [])] as uPlot.AlignedData,
      element,
    );
    chart.current = made;
    const observer = new ResizeObserver(() => made.setSize({ width: element.clientWidth, height }));
    observer.observe(element);
    return () => {
      observer.disconnect();
      made.destroy();
      chart.current = null;
    };
    // eslint-disable-next-line react-hooks/exhaustive-deps -- `shape` stands for the lines but for their values
  }, [shape, dark, height, logarithmic, format]);

  useEffect(() => {
    chart.current?.setData([times, ...lines.map((line) => line.values)] as uPlot.AlignedData);
  }, [times, lines, shape, dark]);

  return (
    <div data-testid={testId}>
      <div ref={holder} role="img" aria-label={label} style={{ height }} />
      <ul className="mt-1 flex flex-wrap gap-x-4 gap-y-1 px-2 text-xs text-muted">
        {lines.map((line) => (
          <li key={line.label} className="flex items-center gap-1.5">
            <svg width="18" height="6" aria-hidden="true">
              <line x1="0" x2="18" y1="3" y2="3" stroke={`var(--${line.color})`} strokeWidth={line.width ?? WIDTH} strokeDasharray={line.dash?.join(" ")} />
            </svg>
            {line.label}
          </li>
        ))}
      </ul>
    </div>
  );
}
