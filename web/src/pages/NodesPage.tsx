import { ApiError } from "@/api/client";
import { useNodes } from "@/api/queries";
import type { NodeView } from "@/api/types";
import { Icon } from "@/components/Icon";
import { IsolationTag } from "@/components/Status";
import { RelativeTime } from "@/components/Time";
import { Empty, Notice, PageHead, Skeleton } from "@/components/ui";
import { count, mebibytes } from "@/lib/format";
import { Link } from "@/lib/router";

/** Every node: what it has, what is in use, and what runs there. */
export default function NodesPage() {
  const { data, error } = useNodes();
  if (error instanceof ApiError && error.status === 403) {
    return (
      <Empty page title="Nodes are the operator's">They show the workloads of all tenants, so this needs a key with the scope admin.</Empty>
    );
  }
  return (
    <div>
      <PageHead title="Nodes" />
      {error && !data ? (
        <Notice kind="bad" title="They cannot be read">
          {error.message}
        </Notice>
      ) : null}
      {!data && !error ? <Skeleton rows={6} /> : null}
      <div className="grid grid-cols-[repeat(auto-fit,minmax(min(100%,480px),1fr))] gap-3">{data?.map((node) => <NodeCard key={node.id} node={node} />)}</div>
    </div>
  );
}

function NodeCard({ node }: { node: NodeView }) {
  const { capacity, used, load } = node;
  return (
    <section className="card min-w-0" data-testid="node" data-id={node.id}>
      <div className="flex min-h-[38px] flex-wrap items-center gap-x-3 border-b border-line px-3 text-[13px]">
        <h2 className="font-mono text-xs font-semibold">{node.id}</h2>
        <span className={`inline-flex items-center gap-1.5 ${node.status === "ready" ? "text-ok" : "text-warn"}`}>
          <Icon name={node.status === "ready" ? "check" : "clock"} size={14} />
          {node.status}
        </span>
        <span className="ml-auto text-xs text-muted">
          {node.version}, began <RelativeTime at={node.started_at} />
        </span>
      </div>
      <div className="grid gap-x-6 gap-y-3 p-3 sm:grid-cols-2">
        <Use name="Places" used={used.workloads} of={capacity.workloads} text={`${count(used.workloads)} of ${count(capacity.workloads)}`} />
        <Use name="Memory promised" used={used.mem_mb} of={capacity.mem_mb} text={`${mebibytes(used.mem_mb)} of ${mebibytes(capacity.mem_mb)}`} />
        <Use name="CPUs promised" used={used.cpus} of={capacity.cpus} text={`${used.cpus} of ${capacity.cpus}`} />
        <Use name="Memory in use" used={load.mem_total_mb - load.mem_available_mb} of={load.mem_total_mb} text={`${mebibytes(load.mem_total_mb - load.mem_available_mb)} of ${mebibytes(load.mem_total_mb)}`} />
        <Use name="Load, 1 minute" used={load.load_1m} of={capacity.cpus} text={`${load.load_1m.toFixed(2)}, ${load.load_5m.toFixed(2)}, ${load.load_15m.toFixed(2)}`} />
        <Use name="Disk in use" used={load.disk_total_mb - load.disk_free_mb} of={load.disk_total_mb} text={`${mebibytes(load.disk_free_mb)} free`} />
      </div>
      <div className="flex flex-wrap items-center gap-x-4 gap-y-1 border-t border-line px-3 py-2 text-[13px]">
        <span className="text-muted">Isolations</span>
        {node.isolations.length === 0 ? <span className="text-warn">none</span> : node.isolations.map((isolation) => <IsolationTag key={isolation} isolation={isolation} />)}
        <span className="ml-auto text-muted">{node.queued > 0 ? `${count(node.queued)} in the queue` : "nobody waits"}</span>
      </div>
      <div className="border-t border-line px-3 py-2 text-[13px]">
        {node.running.length === 0 ? (
          <span className="text-muted">Nothing of yours runs here.</span>
        ) : (
          <ul className="flex flex-wrap gap-x-4 gap-y-1 font-mono text-xs" aria-label="Running workloads">
            {node.running.map((id) => (
              <li key={id}>
                <Link href={`/workloads/${id}`} className="text-info hover:underline">
                  {id}
                </Link>
              </li>
            ))}
          </ul>
        )}
      </div>
    </section>
  );
}

function Use({ name, used, of, text }: { name: string; used: number; of: number; text: string }) {
  const share = of > 0 ? Math.min(1, used / of) : 0;
  return (
    <div>
      <div className="mb-1 flex justify-between gap-2 text-xs">
        <span className="text-muted">{name}</span>
        <span className="tabular">{text}</span>
      </div>
      <div className="h-1.5 overflow-hidden rounded-full bg-raised">
        <div className={`h-full rounded-full ${share > 0.9 ? "bg-bad" : share > 0.7 ? "bg-warn" : "bg-isolate"}`} style={{ width: `${share * 100}%` }} />
      </div>
    </div>
  );
}
