import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { useEffect } from "react";

import { getJson, sendJson } from "./client";
import { follow } from "./following";
import type { ImageJob, ImageList } from "./types";

const KEY = ["images"];

export function useImages() {
  return useQuery({ queryKey: KEY, queryFn: ({ signal }) => getJson<ImageList>("/v1/images", signal) });
}

/** Begins to build or pull an image. */
export function useStartImageJob() {
  const client = useQueryClient();
  return useMutation({
    mutationFn: ({ kind, name }: { kind: ImageJob["kind"]; name: string }) => sendJson<ImageJob>("POST", `/v1/images/${encodeURIComponent(name)}/${kind}`),
    onSettled: () => client.invalidateQueries({ queryKey: KEY }),
  });
}

/** Ends a build or pull; it leaves nothing half made. */
export function useCancelImageJob() {
  const client = useQueryClient();
  return useMutation({
    mutationFn: (id: string) => sendJson<ImageJob>("DELETE", `/v1/images/jobs/${id}`),
    onSettled: () => client.invalidateQueries({ queryKey: KEY }),
  });
}

/** Keeps a job that is not over up to date. At its end the images and the backends are read anew. */
export function useFollowedJob(job: ImageJob): void {
  const client = useQueryClient();
  const { id } = job;
  const running = job.status === "running";
  useEffect(() => {
    if (!running) return undefined;
    return follow({
      path: `/v1/images/jobs/${id}/events`,
      onState: () => undefined,
      onEvents: (events) => {
        let over = false;
        for (const event of events) {
          const now = JSON.parse(event.data) as ImageJob;
          client.setQueryData<ImageList>(KEY, (known) => known && { ...known, jobs: known.jobs.map((one) => (one.id === id ? now : one)) });
          over ||= event.name === "done";
        }
        if (over) {
          void client.invalidateQueries({ queryKey: KEY });
          void client.invalidateQueries({ queryKey: ["backends"] });
        }
        return over;
      },
    });
  }, [client, id, running]);
}
