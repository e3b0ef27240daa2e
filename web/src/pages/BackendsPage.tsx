import type { ReactNode } from "react";

import { useBackends } from "@/api/queries";
import type { BackendView } from "@/api/types";
import { Fix } from "@/components/Fix";
import { HostChecks } from "@/components/HostChecks";
import { Icon } from "@/components/Icon";
import { Images } from "@/components/Images";
import { PoolTable } from "@/components/PoolTable";
import { IsolationTag } from "@/components/Status";
import { Notice, PageHead, Skeleton } from "@/components/ui";

/** What each isolation can do on this host, and what it lacks. */
export default function BackendsPage() {
  const { data, error } = useBackends();
  return (
    <div>
      <PageHead title="Backends and images" note="what each isolation can do on this host" />
      {error && !data ? (
        <Notice kind="bad" title="They cannot be read">
          {error.message}
        </Notice>
      ) : null}
      {!data && !error ? <Skeleton rows={8} /> : null}
      <div className="grid grid-cols-[repeat(auto-fit,minmax(min(100%,320px),1fr))] items-start gap-3">{data?.map((backend) => <BackendCard key={backend.isolation} backend={backend} />)}</div>
      <div className="mt-3 space-y-3">
        <Images />
        <HostChecks />
      </div>
    </div>
  );
}

function BackendCard({ backend }: { backend: BackendView }) {
  return (
    <section className="card min-w-0" data-testid="backend" data-isolation={backend.isolation} data-available={backend.available}>
      <div className="flex min-h-[38px] items-center gap-3 border-b border-line px-3 text-[13px]">
        <h2 className="font-semibold">
          <IsolationTag isolation={backend.isolation} />
        </h2>
        <span className={`ml-auto inline-flex items-center gap-1.5 font-medium ${backend.available ? "text-ok" : "text-warn"}`}>
          <Icon name={backend.available ? "check" : "cross"} size={14} />
          {backend.available ? "available" : "not available"}
        </span>
      </div>
      {backend.available ? null : (
        <div className="border-b border-line px-3 py-2.5 text-[13px]">
          <p>{backend.reason}</p>
          {backend.fix ? <Fix text={backend.fix} /> : null}
        </div>
      )}
      <dl className="px-3 py-2">
        <Pair name="Runs">
          <List items={backend.runtimes} />
        </Pair>
        {Object.entries(backend.missing).length > 0 ? (
          <Pair name="Lacks">
            <ul className="space-y-1">
              {Object.entries(backend.missing).map(([runtime, why]) => (
                <li key={runtime}>
                  <span className="font-medium">{runtime}</span>: <span className="text-muted">{why}</span>
                </li>
              ))}
            </ul>
          </Pair>
        ) : null}
        <Pair name="Enforces">
          <List items={backend.limits} />
        </Pair>
        <Pair name="Networks">
          <List items={backend.networks} />
        </Pair>
        {backend.acceleration ? <Pair name="Acceleration">{backend.acceleration}</Pair> : null}
        {Object.entries(backend.facts).map(([name, value]) => (
          <Pair key={name} name={name === "vmm" ? "VMM" : name}>
            <span className="font-mono text-xs break-words">{value}</span>
          </Pair>
        ))}
      </dl>
      {backend.available ? (
        <div className="border-t border-line">
          <PoolTable pools={{ [backend.isolation]: backend.pool }} hideIsolation />
        </div>
      ) : null}
    </section>
  );
}

function Pair({ name, children }: { name: string; children: ReactNode }) {
  return (
    <div className="flex items-baseline gap-3 py-1 text-[13px]">
      <dt className="w-24 shrink-0 text-muted first-letter:uppercase">{name}</dt>
      <dd className="min-w-0 flex-1">{children}</dd>
    </div>
  );
}

function List({ items }: { items: readonly string[] }) {
  if (items.length === 0) return <span className="text-faint">–</span>;
  return (
    <span className="flex flex-wrap gap-1">
      {items.map((item) => (
        <span key={item} className="rounded bg-raised px-1.5 text-xs">
          {item}
        </span>
      ))}
    </span>
  );
}
