import type { Workload } from "@/api/types";
import { duration } from "@/lib/format";

import { useNow } from "./Time";

const PARTS = [
  { key: "queued_ms", title: "queued", color: "bg-strong" },
  { key: "start_ms", title: "start", color: "bg-microvm" },
  { key: "exec_ms", title: "run", color: "bg-isolate" },
] as const;

/** How long its program ran; counts along, to the second, while it does. */
export function useExecMs({ timings, status, started_at: began }: Pick<Workload, "timings" | "status" | "started_at">): number | null {
  const now = useNow();
  if (status !== "running" || !began) return timings.exec_ms;
  return Math.max(0, Math.floor((now - Date.parse(began)) / 1000) * 1000);
}

/** Where the time went, as a picture: each part as long as it took, none too short to be seen. */
export function Timeline({ workload }: { workload: Pick<Workload, "timings" | "start" | "status" | "started_at"> }) {
  const timings = { ...workload.timings, exec_ms: useExecMs(workload) };
  const parts = PARTS.map((part) => ({ ...part, ms: timings[part.key] ?? null }));
  const known = parts.filter((part) => part.ms !== null);
  const total = timings.total_ms ?? known.reduce((sum, part) => sum + (part.ms ?? 0), 0);
  const rest = Math.max(0, total - known.reduce((sum, part) => sum + (part.ms ?? 0), 0));
  const text = known.map((part) => `${part.title} ${duration(part.ms)}`).join(", ");
  return (
    <div data-testid="timeline">
      <div className="flex h-2.5 gap-px overflow-hidden rounded-full bg-raised" role="img" aria-label={`${text}; in all ${duration(total)}`}>
        {known.map((part) => (
          <div key={part.key} className={`min-w-1 ${part.color}`} style={{ flexGrow: Math.max(part.ms ?? 0, total / 200), flexBasis: 0 }} />
        ))}
        {rest > total / 100 ? <div className="min-w-1 bg-line" style={{ flexGrow: rest, flexBasis: 0 }} /> : null}
      </div>
      <dl className="tabular mt-2 flex flex-wrap gap-x-5 gap-y-1 text-xs">
        {parts.map((part) => (
          <div key={part.key} className="flex items-center gap-1.5">
            <dt className="flex items-center gap-1.5 text-muted">
              <span className={`h-2 w-2 rounded-sm ${part.color}`} />
              {part.title}
              {part.key === "start_ms" && workload.start ? ` (${workload.start})` : ""}
            </dt>
            <dd>{duration(part.ms)}</dd>
          </div>
        ))}
        <div className="flex items-center gap-1.5">
          <dt className="text-muted">in all</dt>
          <dd className="font-medium">{duration(timings.total_ms)}</dd>
        </div>
      </dl>
    </div>
  );
}
