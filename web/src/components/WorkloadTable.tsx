import { useKill } from "@/api/queries";
import { isOver, type Workload } from "@/api/types";
import { duration } from "@/lib/format";
import { Link } from "@/lib/router";

import { IsolationTag, StartTag, StatusBadge } from "./Status";
import { RelativeTime, useNow } from "./Time";
import { Button } from "./ui";

/** Workloads in rows. `brief` leaves out what a small place has no room for. */
export function WorkloadTable({ workloads, brief = false }: { workloads: readonly Workload[]; brief?: boolean }) {
  return (
    <div className="relative overflow-x-auto">
      <table className="w-full text-left text-[13px] whitespace-nowrap" data-testid="workloads">
        <thead>
          <tr className="border-b border-line text-xs text-muted [&>th]:px-2 [&>th]:py-1.5 [&>th]:font-medium sm:[&>th]:px-3">
            <th>Status</th>
            <th>Workload</th>
            <th className="hidden sm:table-cell">Runtime</th>
            <th>Isolation</th>
            {brief ? null : <th className="hidden md:table-cell">Start</th>}
            <th className="text-right">Took</th>
            <th className="hidden text-right sm:table-cell">Accepted</th>
            {brief ? null : <th className="hidden lg:table-cell">Labels</th>}
            {brief ? null : (
              <th>
                <span className="sr-only">Actions</span>
              </th>
            )}
          </tr>
        </thead>
        <tbody>
          {workloads.map((workload) => (
            <Row key={workload.id} workload={workload} brief={brief} />
          ))}
        </tbody>
      </table>
    </div>
  );
}

function Row({ workload, brief }: { workload: Workload; brief: boolean }) {
  const kill = useKill();
  const over = isOver(workload.status);
  return (
    <tr data-testid="workload-row" data-id={workload.id} data-status={workload.status} className="h-9 border-b border-line/70 last:border-0 hover:bg-raised/50 [&>td]:px-2 sm:[&>td]:px-3">
      <td>
        <span className="flex items-center gap-2">
          <StatusBadge status={workload.status} />
          {workload.error && !brief ? <span className="hidden font-mono text-xs text-muted xl:inline">{workload.error.reason}</span> : null}
        </span>
      </td>
      <td className="font-mono text-xs">
        <Link href={`/workloads/${workload.id}`} title={workload.id} className="text-info hover:underline">
          <span className="text-faint">…</span>
          {workload.id.slice(-10)}
        </Link>
      </td>
      <td className="hidden sm:table-cell">{workload.runtime}</td>
      <td>
        <IsolationTag isolation={workload.isolation_used} />
      </td>
      {brief ? null : (
        <td className="hidden md:table-cell">
          <StartTag start={workload.start} />
        </td>
      )}
      <td className="tabular text-right">{over ? duration(workload.timings.total_ms) : workload.started_at ? <Running since={workload.started_at} /> : "–"}</td>
      <td className="hidden text-right text-muted sm:table-cell">
        <RelativeTime at={workload.created_at} />
      </td>
      {brief ? null : (
        <td className="hidden max-w-56 lg:table-cell">
          <span className="flex gap-1 overflow-hidden">
            {Object.entries(workload.labels).map(([name, value]) => (
              <Link key={name} href={`/workloads?label=${encodeURIComponent(`${name}=${value}`)}`} title={`${name}=${value}`} className="max-w-40 shrink-0 truncate rounded bg-raised px-1.5 text-xs text-muted hover:text-ink">
                {name}={value}
              </Link>
            ))}
          </span>
        </td>
      )}
      {brief ? null : (
        <td className="text-right">
          {over ? null : (
            <Button look="quiet" icon="stop" aria-label={`Kill ${workload.id}`} title="Kill" testId="row-kill" disabled={kill.isPending} onClick={() => kill.mutate(workload.id)} />
          )}
        </td>
      )}
    </tr>
  );
}

function Running({ since }: { since: string }) {
  const now = useNow();
  return <span className="text-muted">{duration(Math.max(0, Math.floor((now - Date.parse(since)) / 1000) * 1000))}</span>;
}
