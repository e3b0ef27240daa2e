import type { Isolation, Load } from "@/api/types";

import { IsolationTag } from "./Status";
import { Empty } from "./ui";

const COLORS: Record<Isolation, string> = { isolate: "bg-isolate", gvisor: "bg-gvisor", microvm: "bg-microvm" };

/** How many sandboxes wait for work, against how many should. */
export function PoolTable({ pools, hideIsolation = false }: { pools: Load["pools"] | Record<string, never>; hideIsolation?: boolean }) {
  const rows = Object.entries(pools).flatMap(([isolation, views]) => (views ?? []).map((view) => ({ isolation: isolation as Isolation, ...view })));
  if (rows.length === 0) return <Empty title="No sandboxes wait">Each is made when it is needed.</Empty>;
  return (
    <ul>
      {rows.map((row) => (
        <li key={`${row.isolation} ${row.runtime}`} className="flex h-9 items-center gap-3 border-b border-line/70 px-3 text-[13px] last:border-0" data-testid="pool" data-ready={row.ready}>
          {hideIsolation ? null : (
            <span className="w-20">
              <IsolationTag isolation={row.isolation} />
            </span>
          )}
          <span className="w-16 text-muted">{row.runtime}</span>
          <span className="flex flex-1 gap-0.5" role="img" aria-label={`${row.ready} of ${row.target} ready, ${row.starting} starting`}>
            {Array.from({ length: Math.min(24, row.target) }, (_, at) => {
              const ready = at < Math.round((row.ready / row.target) * Math.min(24, row.target));
              return <span key={at} className={`h-2 max-w-6 flex-1 rounded-sm ${ready ? COLORS[row.isolation] : "border border-strong/60"}`} />;
            })}
          </span>
          <span className="tabular text-right text-xs whitespace-nowrap">
            {row.ready} of {row.target}
            {row.starting > 0 ? <span className="text-muted">, {row.starting} starting</span> : null}
          </span>
        </li>
      ))}
    </ul>
  );
}
