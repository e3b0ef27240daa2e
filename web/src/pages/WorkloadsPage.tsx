import { useRef, useState } from "react";

import { useWorkloads } from "@/api/queries";
import { ISOLATIONS, RUNTIMES, STATUSES } from "@/api/types";
import { WorkloadTable } from "@/components/WorkloadTable";
import { Button, ButtonLink, Card, Empty, Notice, PageHead, Select, Skeleton } from "@/components/ui";
import { count } from "@/lib/format";
import { goQuery, usePlace } from "@/lib/router";

const PAGE = 25;

/** All workloads, newest first. What is filtered stands in the address. */
export default function WorkloadsPage() {
  const { query } = usePlace();
  const filter = (name: string) => query.get(name) ?? "";
  // The page that led to each, for the way back; the browser's own buttons know theirs.
  const before = useRef(new Map<string, string>());
  const cursor = filter("cursor");
  const { data, error, isPending, isPlaceholderData } = useWorkloads({
    status: filter("status"),
    isolation: filter("isolation"),
    runtime: filter("runtime"),
    label: filter("label"),
    cursor,
    limit: PAGE,
  });
  const set = (name: string) => (value: string) => {
    goQuery({ [name]: value || null, cursor: null });
  };
  const filtered = ["status", "isolation", "runtime", "label"].some((name) => filter(name) !== "");
  const next = data?.next_cursor ?? null;
  return (
    <div>
      <PageHead title="Workloads" note={data ? <span data-testid="total">{count(data.total)}</span> : null}>
        <ButtonLink href="/new" look="primary" icon="plus" testId="new">
          New workload
        </ButtonLink>
      </PageHead>
      <div className="mb-3 flex flex-wrap items-center gap-2">
        <Select label="Status" testId="filter-status" value={filter("status")} onChange={set("status")} options={choices("Any status", STATUSES)} />
        <Select label="Isolation" testId="filter-isolation" value={filter("isolation")} onChange={set("isolation")} options={choices("Any isolation", ISOLATIONS)} />
        <Select label="Runtime" testId="filter-runtime" value={filter("runtime")} onChange={set("runtime")} options={choices("Any runtime", RUNTIMES)} />
        <LabelFilter key={filter("label")} value={filter("label")} onChange={set("label")} />
        {filtered ? (
          <Button look="quiet" icon="cross" testId="filter-clear" onClick={() => goQuery({ status: null, isolation: null, runtime: null, label: null, cursor: null })}>
            Clear
          </Button>
        ) : null}
      </div>
      {error ? (
        <div className="mb-3">
          <Notice kind="bad" title="The list cannot be read" testId="list-error">
            {error.message}
          </Notice>
        </div>
      ) : null}
      <Card flush className={isPlaceholderData ? "opacity-60" : ""}>
        {isPending && !error ? (
          <Skeleton rows={8} />
        ) : data && data.workloads.length > 0 ? (
          <WorkloadTable workloads={data.workloads} />
        ) : !data ? (
          <Empty title="Not known">The server did not say.</Empty>
        ) : filtered ? (
          <Empty title="No workload fits" testId="empty">
            Take out a filter to see more.
          </Empty>
        ) : (
          <Empty title="Nothing was run yet" testId="empty">
            <p className="mb-3">Workloads appear here, whoever started them: this page, the command, or the API.</p>
            <ButtonLink href="/new" look="primary" icon="plus">
              New workload
            </ButtonLink>
          </Empty>
        )}
      </Card>
      {cursor || next ? (
        <div className="mt-3 flex items-center justify-end gap-2">
          <Button
            testId="newer"
            disabled={!cursor}
            onClick={() => goQuery({ cursor: before.current.get(cursor) ?? null })}
          >
            Newer
          </Button>
          <Button
            testId="older"
            disabled={!next}
            onClick={() => {
              if (next) before.current.set(next, cursor);
              goQuery({ cursor: next });
            }}
          >
            Older
          </Button>
        </div>
      ) : null}
    </div>
  );
}

function choices(any: string, values: readonly string[]): { value: string; title: string }[] {
  return [{ value: "", title: any }, ...values.map((value) => ({ value, title: value }))];
}

function LabelFilter({ value, onChange }: { value: string; onChange: (value: string) => void }) {
  const [text, setText] = useState(value);
  return (
    <form
      onSubmit={(event) => {
        event.preventDefault();
        onChange(text.trim());
      }}
    >
      <input
        aria-label="Label, as name or name=value"
        placeholder="label=value"
        data-testid="filter-label"
        value={text}
        onChange={(event) => setText(event.target.value)}
        onBlur={() => text.trim() !== value && onChange(text.trim())}
        className="field !w-40 text-[13px]"
      />
    </form>
  );
}
