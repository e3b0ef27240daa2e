import { request } from "@/api/client";
import type { LogStream } from "@/api/logs";
import { count } from "@/lib/format";
import { save } from "@/lib/save";

import { CopyButton } from "./CopyButton";
import { Icon } from "./Icon";
import { Button } from "./ui";

interface Switch {
  on: boolean;
  toggle: () => void;
}

export interface LogToolsProps {
  log: LogStream;
  workloadId: string;
  search: { text: string; set: (text: string) => void; at: number; to: (by: number) => void; count: number; searching: boolean };
  paused: Switch & { waiting: number };
  following: { on: boolean; set: (on: boolean) => void };
  wrap: Switch;
  times: Switch;
}

/** What can be done with a log, and whether more is to come. */
export function LogTools({ log, workloadId, search, paused, following, wrap, times }: LogToolsProps) {
  const over = log.connection === "over";
  const download = async () => {
    if (over) return save(`${workloadId}.log`, [log.store.slice(0, log.store.length)], "text/plain");
    const answer = await request(`/v1/workloads/${workloadId}/logs/history`, { headers: { Accept: "text/plain" } });
    save(`${workloadId}.log`, [await answer.blob()], "text/plain");
  };
  return (
    <div className="@container border-b border-line">
      <div className="flex min-h-[38px] flex-wrap items-center gap-0.5 px-2 py-1">
        <State log={log} />
        <span className="ml-auto @2xl:hidden" />
        <div className="order-last flex w-full items-center gap-0.5 @2xl:order-none @2xl:ml-auto @2xl:w-auto @2xl:max-w-96 @2xl:flex-1">
          <span className="relative flex min-w-0 flex-1 items-center">
            <Icon name="search" size={14} className="pointer-events-none absolute left-2 text-faint" />
            <input
              type="search"
              aria-label="Search the log"
              placeholder="Search"
              data-testid="log-search"
              value={search.text}
              onChange={(event) => search.set(event.target.value)}
              onKeyDown={(event) => {
                if (event.key === "Enter") search.to(event.shiftKey ? -1 : 1);
                else if (event.key === "Escape") search.set("");
              }}
              className="field !min-h-[28px] pl-7 text-[13px]"
            />
          </span>
          {search.text ? (
            <>
              <span data-testid="log-matches" role="status" className="tabular px-1 text-xs whitespace-nowrap text-muted">
                {search.count === 0 ? (search.searching ? "…" : "none") : `${count(search.at + 1)} of ${count(search.count)}${search.searching ? "…" : ""}`}
              </span>
              <Button look="quiet" icon="up" aria-label="Previous match" title="Previous match (Shift-Enter)" onClick={() => search.to(-1)} />
              <Button look="quiet" icon="down" aria-label="Next match" title="Next match (Enter)" onClick={() => search.to(1)} />
            </>
          ) : null}
        </div>
        {over && !paused.on ? null : (
          <Button
            look={paused.on ? "primary" : "quiet"}
            icon={paused.on ? "play" : "pause"}
            testId="log-pause"
            aria-pressed={paused.on}
            aria-label={paused.on ? `Resume, ${paused.waiting} lines wait` : "Pause"}
            title={paused.on ? "Resume" : "Pause"}
            onClick={paused.toggle}
          >
            {paused.on && paused.waiting > 0 ? <span data-testid="log-waiting">{count(paused.waiting)}</span> : undefined}
          </Button>
        )}
        <Toggle on={following.on} label="Follow the end" icon="end" testId="log-follow" onClick={() => following.set(!following.on)} />
        <Toggle on={wrap.on} label="Fold long lines" icon="wrap" testId="log-wrap" onClick={wrap.toggle} />
        <Toggle on={times.on} label="Show times" icon="clock" testId="log-times" onClick={times.toggle} />
        <CopyButton label="Copy the log" testId="log-copy" text={() => log.store.slice(0, log.store.length)} />
        <Button look="quiet" icon="download" aria-label="Download the log" title="Download the log" testId="log-download" onClick={() => void download()} />
      </div>
    </div>
  );
}

function Toggle({ on, label, icon, testId, onClick }: { on: boolean; label: string; icon: "end" | "wrap" | "clock"; testId: string; onClick: () => void }) {
  return (
    <Button
      look="quiet"
      icon={icon}
      testId={testId}
      aria-pressed={on}
      aria-label={label}
      title={label}
      onClick={onClick}
      className={on ? "!bg-raised !text-accent ring-1 ring-line" : ""}
    />
  );
}

const STATES = {
  connecting: { text: "connecting", color: "text-muted" },
  live: { text: "live", color: "text-info" },
  reconnecting: { text: "reconnecting", color: "text-warn" },
  asleep: { text: "asleep", color: "text-muted" },
  over: { text: "complete", color: "text-ok" },
  failed: { text: "failed", color: "text-bad" },
} as const;

function State({ log }: { log: LogStream }) {
  const { text, color } = STATES[log.connection];
  return (
    <div className="flex items-center gap-2 px-1 text-[13px]">
      <span className="font-semibold">Log</span>
      <span role="status" data-testid="log-state" className={`inline-flex items-center gap-1 text-xs ${color}`}>
        <Icon name={log.connection === "over" ? "check" : log.connection === "failed" ? "cross" : "dot"} size={12} className={log.connection === "live" ? "animate-pulse" : ""} />
        {text}
      </span>
      <span className="tabular text-xs text-faint" data-testid="log-count">
        {count(log.store.length)} {log.store.length === 1 ? "line" : "lines"}
      </span>
    </div>
  );
}
