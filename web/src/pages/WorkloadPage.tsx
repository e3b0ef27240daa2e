import { useMutation } from "@tanstack/react-query";
import { useState, type ReactNode } from "react";

import { ApiError } from "@/api/client";
import { useLogStream } from "@/api/logs";
import { specOf, submit, useBackends, useKill, useWorkload } from "@/api/queries";
import { isOver, type Json, type Workload } from "@/api/types";
import { CopyButton } from "@/components/CopyButton";
import { ErrorCard } from "@/components/ErrorCard";
import { JsonTree } from "@/components/JsonTree";
import { LogView } from "@/components/LogView";
import { IsolationTag, StatusBadge } from "@/components/Status";
import { Timeline, useExecMs } from "@/components/Timeline";
import { RelativeTime } from "@/components/Time";
import { Button, ButtonLink, Card, Empty, Notice, PageHead, Skeleton } from "@/components/ui";
import { lacksCode } from "@/lib/draftOfSpec";
import { toJson } from "@/lib/exact";
import { bytes, duration, mebibytes } from "@/lib/format";
import { go, Link } from "@/lib/router";

/** One workload: its state, its end, and its log. */
export default function WorkloadPage({ id }: { id: string }) {
  const { data: workload, error, isPending, refetch } = useWorkload(id);
  if (error && !workload) {
    const missing = error instanceof ApiError && error.status === 404;
    return (
      <Empty page title={missing ? "There is no such workload" : "It cannot be read"} testId="workload-missing">
        <p className="mb-3">{missing ? "It may have been removed with age, or belong to somebody else." : error.message}</p>
        <ButtonLink href="/workloads">All workloads</ButtonLink>
      </Empty>
    );
  }
  if (isPending || !workload) return <Skeleton rows={8} />;
  return <Shown workload={workload} onDone={() => void refetch()} />;
}

function Shown({ workload, onDone }: { workload: Workload; onDone: () => void }) {
  const log = useLogStream(workload.id, onDone);
  const over = isOver(workload.status);
  const output = workload.output as Json | undefined;
  return (
    <div data-testid="workload" data-status={workload.status}>
      <PageHead
        title={
          <span className="flex items-center gap-1 font-mono text-base">
            <span className="truncate">{workload.id}</span>
            <CopyButton label="Copy the id" testId="copy-id" text={() => workload.id} />
          </span>
        }
        note={<StatusBadge status={workload.status} testId="status" />}
      >
        <Actions workload={workload} />
      </PageHead>
      <div className="grid gap-3 xl:grid-cols-[minmax(0,1fr)_340px]">
        <div className="flex min-w-0 flex-col gap-3">
          <Card title="Timeline" note={<RelativeTime at={workload.created_at} />}>
            <Timeline workload={workload} />
          </Card>
          <ErrorCard workload={workload} />
          {output !== null && output !== undefined ? (
            <Card title="Output" actions={<CopyButton label="Copy the output" testId="copy-output" text={() => toJson(output, 2)} />}>
              <div className="max-h-96 overflow-auto">
                <JsonTree value={output} testId="output" />
              </div>
            </Card>
          ) : over && !workload.error ? (
            <Card title="Output">
              <p className="text-[13px] text-muted">None.</p>
            </Card>
          ) : null}
          <div className="card flex flex-col">
            <LogView log={log} workloadId={workload.id} className="h-[52vh] min-h-72" />
          </div>
        </div>
        <div className="flex min-w-0 flex-col gap-3">
          <Facts workload={workload} />
          <UsageCard workload={workload} />
          <SandboxCard workload={workload} />
        </div>
      </div>
    </div>
  );
}

function Actions({ workload }: { workload: Workload }) {
  const kill = useKill();
  const [trouble, setTrouble] = useState<string | null>(null);
  const again = useMutation({
    mutationFn: async () => {
      const spec = await specOf(workload.id);
      if (lacksCode(spec)) throw new Error("Its code came as an archive, which the server does not keep.");
      const { input, ...rest } = spec;
      return submit({ spec: rest, input: input === undefined ? null : toJson(input), archive: null });
    },
    onSuccess: (next) => go(`/workloads/${next.id}`),
    onError: (error) => setTrouble(error.message),
  });
  return (
    <>
      {trouble ?? kill.error ? <Notice kind="bad">{trouble ?? kill.error?.message}</Notice> : null}
      {isOver(workload.status) ? null : (
        <Button look="danger" icon="stop" testId="kill" disabled={kill.isPending} onClick={() => kill.mutate(workload.id)}>
          {kill.isPending ? "Killing…" : "Kill"}
        </Button>
      )}
      <Button icon="again" testId="run-again" disabled={again.isPending} onClick={() => again.mutate()}>
        Run again
      </Button>
      <ButtonLink icon="edit" testId="edit-and-run" href={`/new?from=${workload.id}`}>
        Edit and run
      </ButtonLink>
    </>
  );
}

function Pair({ name, children }: { name: string; children: ReactNode }) {
  return (
    <div className="flex items-baseline gap-3 py-1 text-[13px]">
      <dt className="w-24 shrink-0 text-muted first-letter:uppercase">{name}</dt>
      <dd className="min-w-0 flex-1 break-words">{children}</dd>
    </div>
  );
}

function Facts({ workload }: { workload: Workload }) {
  const labels = Object.entries(workload.labels);
  return (
    <Card title="Facts">
      <dl>
        <Pair name="Runtime">{workload.runtime}</Pair>
        <Pair name="Isolation">
          <IsolationTag isolation={workload.isolation_used} />
          {workload.isolation === "auto" ? <span className="text-muted"> (auto)</span> : null}
        </Pair>
        {workload.routing ? <Pair name="Because">{workload.routing}</Pair> : null}
        <Pair name="Start">{workload.start ?? "–"}</Pair>
        <Pair name="Exit code">{workload.exit_code ?? "–"}</Pair>
        <Pair name="Node">{workload.node_id ? <Link href="/nodes" className="font-mono text-xs text-info hover:underline">{workload.node_id}</Link> : "–"}</Pair>
        <Pair name="Accepted"><RelativeTime at={workload.created_at} /></Pair>
        <Pair name="Began"><RelativeTime at={workload.started_at} /></Pair>
        <Pair name="Ended"><RelativeTime at={workload.finished_at} /></Pair>
        {labels.length > 0 ? (
          <Pair name="Labels">
            <span className="flex flex-wrap gap-1">
              {labels.map(([name, value]) => (
                <Link key={name} href={`/workloads?label=${encodeURIComponent(`${name}=${value}`)}`} className="rounded bg-raised px-1.5 text-xs wrap-anywhere hover:underline">
                  {name}={value}
                </Link>
              ))}
            </span>
          </Pair>
        ) : null}
      </dl>
    </Card>
  );
}

function UsageCard({ workload }: { workload: Workload }) {
  const { usage, resources } = workload;
  const execMs = useExecMs(workload);
  return (
    <Card title="Use and limits">
      <div className="space-y-3 text-[13px]">
        <Meter name="Memory" used={usage.peak_mem_mb} of={resources.mem_mb} text={`${mebibytes(usage.peak_mem_mb)} of ${mebibytes(resources.mem_mb)}`} />
        <Meter name="Time" used={execMs} of={resources.timeout_s * 1000} text={`${duration(execMs)} of ${duration(resources.timeout_s * 1000)}`} />
        <dl>
          <Pair name="CPU">{usage.cpu_ms === null ? "–" : duration(usage.cpu_ms)} <span className="text-muted">on at most {resources.cpus} CPU{resources.cpus === 1 ? "" : "s"}</span></Pair>
          <Pair name="Disk">at most {mebibytes(resources.disk_mb)}</Pair>
          <Pair name="Output">at most {bytes(resources.max_output_bytes)}</Pair>
        </dl>
      </div>
    </Card>
  );
}

function Meter({ name, used, of, text }: { name: string; used: number | null; of: number; text: string }) {
  const share = used === null ? 0 : Math.min(1, used / of);
  return (
    <div>
      <div className="mb-1 flex justify-between text-xs">
        <span className="text-muted">{name}</span>
        <span className="tabular">{text}</span>
      </div>
      <div className="h-1.5 overflow-hidden rounded-full bg-raised">
        <div className={`h-full rounded-full ${share > 0.9 ? "bg-bad" : "bg-isolate"}`} style={{ width: `${share * 100}%` }} />
      </div>
    </div>
  );
}

function SandboxCard({ workload }: { workload: Workload }) {
  const { data } = useBackends();
  const backend = data?.find((one) => one.isolation === workload.isolation_used);
  const { machine } = workload;
  if (!backend) return null;
  return (
    <Card title="Sandbox" note={<IsolationTag isolation={backend.isolation} />}>
      <dl>
        {machine ? <MachineFacts machine={machine} /> : null}
        {backend.acceleration && !machine ? <Pair name="Acceleration">{backend.acceleration}</Pair> : null}
        {Object.entries(backend.facts).filter(([name]) => !(machine && name === "vmm")).map(([name, value]) => (
          <Pair key={name} name={name}>
            <span className="font-mono text-xs">{value}</span>
          </Pair>
        ))}
        <Pair name="Enforces">{backend.limits.join(", ")}</Pair>
      </dl>
    </Card>
  );
}

/** The virtual machine this one ran in, rather than what machines are like here in general. */
function MachineFacts({ machine }: { machine: NonNullable<Workload["machine"]> }) {
  const took = (ms: number, what: string) => (
    <>
      {duration(ms)} <span className="text-muted">{what}</span>
    </>
  );
  return (
    <div data-testid="machine" className="contents">
      <Pair name="VMM">{machine.vmm}</Pair>
      <Pair name="Acceleration">{machine.acceleration}</Pair>
      {machine.boot_ms !== null ? <Pair name="Boot">{took(machine.boot_ms, "to an interpreter that waits")}</Pair> : null}
      {machine.restore_ms !== null ? <Pair name="Restore">{took(machine.restore_ms, "to a copy of a saved machine that runs")}</Pair> : null}
      {machine.renew_ms !== null ? <Pair name="Renewal">{took(machine.renew_ms, "to make the copy one of its own")}</Pair> : null}
    </div>
  );
}
