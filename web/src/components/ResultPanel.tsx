import { useQueryClient } from "@tanstack/react-query";
import { useEffect } from "react";

import { useLogStream } from "@/api/logs";
import { getWorkload, useKill, useWorkload } from "@/api/queries";
import { isOver, type Json, type Workload } from "@/api/types";
import { duration, mebibytes } from "@/lib/format";
import type { LogStore } from "@/lib/logstore";
import { Link } from "@/lib/router";
import type { Spot } from "@/lib/traceback";

import { ErrorCard } from "./ErrorCard";
import { JsonTree } from "./JsonTree";
import { LogView } from "./LogView";
import { IsolationTag, StatusBadge } from "./Status";
import { Timeline } from "./Timeline";
import { Button } from "./ui";

const WAIT_S = 20;

export interface ResultPanelProps {
  id: string;
  spots: (text: string) => Spot[];
  onSpot: (spot: Spot) => void;
  /** Told once the program has said all it will. */
  onLog: (store: LogStore) => void;
}

/** How the last run from the editor goes, beside it. */
export function ResultPanel({ id, spots, onSpot, onLog }: ResultPanelProps) {
  const { data: workload, refetch } = useWorkload(id);
  const log = useLogStream(id, () => void refetch());
  const said = log.connection === "over" ? log.store : null;
  useEffect(() => {
    if (said) onLog(said);
  }, [said, onLog]);
  const kill = useKill();
  const client = useQueryClient();
  useEffect(() => {
    // Asked for beside the log, so that the result of a short run is not a round trip later than its end.
    const ending = new AbortController();
    getWorkload(`/v1/workloads/${id}?wait=${WAIT_S}`, ending.signal).then(
      (next) => client.setQueryData(["workload", id], next),
      () => undefined,
    );
    return () => ending.abort();
  }, [client, id]);
  return (
    <div data-testid="result" data-workload={id} data-status={workload?.status ?? "pending"} className="flex min-h-0 flex-1 flex-col">
      <div className="space-y-3 border-b border-line p-3">
        <div className="flex flex-wrap items-center gap-x-3 gap-y-1 text-[13px]">
          <StatusBadge status={workload?.status ?? "pending"} testId="result-status" />
          {workload ? <IsolationTag isolation={workload.isolation_used} /> : null}
          <span className="tabular text-muted">{workload && isOver(workload.status) ? duration(workload.timings.total_ms) : ""}</span>
          <span className="ml-auto flex items-center gap-2">
            {workload && !isOver(workload.status) ? (
              <Button look="danger" icon="stop" testId="result-kill" disabled={kill.isPending} onClick={() => kill.mutate(id)}>
                Kill
              </Button>
            ) : null}
            <Link href={`/workloads/${id}`} data-testid="result-link" className="text-info underline">
              details
            </Link>
          </span>
        </div>
        {workload && isOver(workload.status) ? <Ended workload={workload} spots={spots} onSpot={onSpot} /> : null}
      </div>
      <LogView log={log} workloadId={id} spots={spots} onSpot={onSpot} className="min-h-64 flex-1" />
    </div>
  );
}

function Ended({ workload, spots, onSpot }: { workload: Workload; spots: (text: string) => Spot[]; onSpot: (spot: Spot) => void }) {
  const output = workload.output as Json | undefined;
  return (
    <>
      <Timeline workload={workload} />
      <div className="tabular text-xs text-muted">
        {workload.usage.cpu_ms !== null ? `CPU ${duration(workload.usage.cpu_ms)}` : null}
        {workload.usage.peak_mem_mb !== null ? ` · memory ${mebibytes(workload.usage.peak_mem_mb)} at most` : null}
        {workload.exit_code !== null ? ` · exit code ${workload.exit_code}` : null}
      </div>
      <ErrorCard workload={workload} spots={spots} onSpot={onSpot} />
      {output !== null && output !== undefined ? (
        <div>
          <h2 className="mb-1 text-xs font-medium text-muted">Output</h2>
          <div className="max-h-64 overflow-auto rounded-md border border-line bg-ground p-2">
            <JsonTree value={output} testId="output" />
          </div>
        </div>
      ) : null}
    </>
  );
}
