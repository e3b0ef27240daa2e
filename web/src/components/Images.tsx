import { useCancelImageJob, useFollowedJob, useImages, useStartImageJob } from "@/api/images";
import type { ImageJob, ImageView } from "@/api/types";
import { bytes, count } from "@/lib/format";

import { Icon, type IconName } from "./Icon";
import { RelativeTime } from "./Time";
import { Button, Card, Empty, Notice, Skeleton } from "./ui";

const SHOWN_JOBS = 6;

const LOOKS: Record<ImageJob["status"], { color: string; icon: IconName }> = {
  running: { color: "text-info", icon: "again" },
  completed: { color: "text-ok", icon: "check" },
  failed: { color: "text-bad", icon: "cross" },
  cancelled: { color: "text-muted", icon: "cross" },
};

/** The guest images of this machine: what there is, what there could be, and how far builds and pulls are. */
export function Images() {
  const { data, error, isPending } = useImages();
  const start = useStartImageJob();
  if (isPending && !error) return <Card title="Images"><Skeleton /></Card>;
  if (!data) return <Notice kind="bad" title="The images cannot be read">{error?.message}</Notice>;
  const busy = new Set(data.jobs.filter((job) => job.status === "running").map((job) => job.image));
  const others = data.images.filter((image) => !data.buildable.some((one) => one.name === image.name));
  return (
    <Card title="Images" note={data.source ? `pulled from ${data.source}` : "what sandboxes with a root file system of their own start from"} flush testId="images">
      {start.error ? <div className="p-3"><Notice kind="bad" testId="image-refusal">{start.error.message}</Notice></div> : null}
      <ul>
        {data.buildable.map((one) => (
          <li key={one.name} data-testid="image" data-name={one.name} data-built={one.built} className="flex flex-wrap items-center gap-x-3 gap-y-1 border-b border-line/70 px-3 py-2 text-[13px] last:border-0">
            <span className="w-24 font-medium">{one.name}</span>
            <span className={`inline-flex w-24 items-center gap-1.5 ${one.built ? (one.outdated ? "text-warn" : "text-ok") : "text-muted"}`}>
              <Icon name={one.built ? (one.outdated ? "clock" : "check") : "cross"} size={14} />
              {one.built ? (one.outdated ? "outdated" : "here") : "not here"}
            </span>
            <span className="min-w-48 flex-1 text-muted">{one.summary}</span>
            <Version image={data.images.find((image) => image.name === one.name && image.current)} />
            <span className="ml-auto flex gap-2">
              <Button testId="image-build" disabled={busy.has(one.name) || start.isPending} onClick={() => start.mutate({ kind: "build", name: one.name })}>
                Build<span className="sr-only"> {one.name}</span>
              </Button>
              {data.source ? (
                <Button testId="image-pull" disabled={busy.has(one.name) || start.isPending} onClick={() => start.mutate({ kind: "pull", name: one.name })}>
                  Pull<span className="sr-only"> {one.name}</span>
                </Button>
              ) : null}
            </span>
          </li>
        ))}
        {others.map((image) => (
          <li key={image.digest} className="flex flex-wrap items-center gap-x-3 border-b border-line/70 px-3 py-2 text-[13px] last:border-0">
            <span className="w-24 font-medium">{image.name}</span>
            <span className="flex-1 text-muted">{image.summary}</span>
            <Version image={image} />
          </li>
        ))}
      </ul>
      {data.buildable.length + data.images.length === 0 ? <Empty title="There are no images" /> : null}
      {data.jobs.length > 0 ? (
        <ul className="border-t border-line" aria-label="Builds and pulls">
          {data.jobs.slice(0, SHOWN_JOBS).map((job) => (
            <Job key={job.id} job={job} />
          ))}
        </ul>
      ) : null}
    </Card>
  );
}

function Version({ image }: { image: ImageView | undefined }) {
  if (!image) return null;
  return (
    <span className="tabular text-xs text-muted" title={image.digest}>
      <span className="font-mono">{image.version}</span> · {bytes(image.size)} · {count(image.packages)} packages · <RelativeTime at={image.installed_at} />
    </span>
  );
}

function Job({ job }: { job: ImageJob }) {
  useFollowedJob(job);
  const cancel = useCancelImageJob();
  const { done_bytes: done, total_bytes: total } = job;
  const share = total ? Math.min(1, (done ?? 0) / total) : null;
  const { color, icon } = LOOKS[job.status];
  return (
    <li data-testid="image-job" data-status={job.status} className="border-b border-line/70 px-3 py-2 text-[13px] last:border-0">
      <div className="flex flex-wrap items-center gap-x-3">
        <span className={`inline-flex items-center gap-1.5 ${color}`}>
          <Icon name={icon} size={14} className={job.status === "running" ? "animate-spin [animation-duration:1.6s]" : ""} />
          {job.kind} {job.image}
        </span>
        <span className="text-muted" role="status">{job.status === "running" ? job.step : job.status}</span>
        {total ? <span className="tabular text-xs text-muted">{bytes(done ?? 0)} of {bytes(total)}</span> : null}
        <span className="ml-auto text-xs text-muted"><RelativeTime at={job.finished_at ?? job.started_at} /></span>
        {job.status === "running" ? (
          <Button testId="image-cancel" disabled={cancel.isPending} onClick={() => cancel.mutate(job.id)}>
            Cancel<span className="sr-only"> {job.kind} {job.image}</span>
          </Button>
        ) : null}
      </div>
      {job.status === "running" ? (
        <div className="mt-1.5 h-1 overflow-hidden rounded-full bg-raised">
          <div className={`h-full rounded-full bg-info ${share === null ? "w-1/4 animate-pulse" : ""}`} style={share === null ? undefined : { width: `${share * 100}%` }} />
        </div>
      ) : null}
      {job.error ? <pre tabIndex={0} className="mt-1 max-h-40 overflow-auto font-mono text-xs whitespace-pre-wrap text-bad">{job.error}</pre> : null}
    </li>
  );
}
