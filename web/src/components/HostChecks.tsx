import { ApiError } from "@/api/client";
import { useDoctor } from "@/api/queries";
import type { HostCheck } from "@/api/types";

import { Fix } from "./Fix";
import { Icon } from "./Icon";
import { Card, Notice, Skeleton } from "./ui";

const LOOKS = {
  ok: { icon: "check", color: "text-ok" },
  limited: { icon: "clock", color: "text-warn" },
  missing: { icon: "cross", color: "text-bad" },
} as const;

/** What `caisson doctor` finds on the server's host. Only the operator may know. */
export function HostChecks() {
  const { data, error } = useDoctor();
  if (error instanceof ApiError && error.status === 403) return null;
  return (
    <Card title="Host" note="as caisson doctor finds it" flush testId="host">
      {data ? (
        <ul className="lg:columns-2 lg:gap-0">
          {data.map((check) => (
            <Check key={check.name} check={check} />
          ))}
        </ul>
      ) : error ? (
        <div className="p-3">
          <Notice kind="bad" title="It cannot be examined">
            {error.message}
          </Notice>
        </div>
      ) : (
        <Skeleton rows={6} />
      )}
    </Card>
  );
}

function Check({ check }: { check: HostCheck }) {
  const { icon, color } = LOOKS[check.verdict];
  return (
    <li data-testid="host-check" data-name={check.name} data-verdict={check.verdict} className="break-inside-avoid border-b border-line/70 px-3 py-1.5 text-[13px]">
      <div className="flex items-baseline gap-3">
        <span className="w-32 shrink-0 font-medium">{check.name}</span>
        <span className={`inline-flex w-20 shrink-0 items-center gap-1.5 ${color}`}>
          <Icon name={icon} size={14} />
          {check.verdict}
        </span>
        <span className="min-w-0 flex-1 break-words text-muted">{check.found}</span>
      </div>
      {check.fix ? <Fix text={check.fix} /> : null}
    </li>
  );
}
