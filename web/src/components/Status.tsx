import type { Isolation, StartKind, Status } from "@/api/types";

import { Icon, type IconName } from "./Icon";

const LOOKS: Record<Status, { icon: IconName; color: string; spin?: boolean }> = {
  pending: { icon: "clock", color: "text-muted" },
  running: { icon: "again", color: "text-info", spin: true },
  completed: { icon: "check", color: "text-ok" },
  failed: { icon: "cross", color: "text-bad" },
  killed: { icon: "stop", color: "text-warn" },
};

export function StatusBadge({ status, testId }: { status: Status; testId?: string }) {
  const { icon, color, spin } = LOOKS[status];
  return (
    <span data-testid={testId} data-status={status} className={`inline-flex items-center gap-1.5 font-medium ${color}`}>
      <Icon name={icon} size={14} className={spin ? "animate-spin [animation-duration:1.6s]" : ""} />
      {status}
    </span>
  );
}

const MARKS: Record<Isolation, { color: string; shape: string }> = {
  isolate: { color: "text-isolate", shape: "M8 2.5 13.5 8 8 13.5 2.5 8z" },
  gvisor: { color: "text-gvisor", shape: "M8 2.5a5.5 5.5 0 1 0 0 11 5.5 5.5 0 0 0 0-11z" },
  microvm: { color: "text-microvm", shape: "M3 3h10v10H3z" },
};

/** An isolation with its mark: a shape of its own, so that it can be told without its colour. */
export function IsolationTag({ isolation }: { isolation: Isolation | null | undefined }) {
  if (!isolation) return <span className="text-faint">–</span>;
  const { color, shape } = MARKS[isolation];
  return (
    <span className="inline-flex items-center gap-1.5 whitespace-nowrap">
      <svg width="9" height="9" viewBox="0 0 16 16" aria-hidden="true" className={color} fill="currentColor">
        <path d={shape} />
      </svg>
      {isolation}
    </span>
  );
}

export function StartTag({ start }: { start: StartKind | null | undefined }) {
  return start ? <span className="text-muted">{start}</span> : <span className="text-faint">–</span>;
}
