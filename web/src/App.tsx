import { lazy, Suspense, useEffect, useSyncExternalStore, type ReactNode } from "react";

import { apiKey, onApiKey } from "@/api/client";
import { useLiveUpdates } from "@/api/live";
import { Boundary } from "@/components/Boundary";
import { KeyGate } from "@/components/KeyGate";
import { Layout } from "@/components/Layout";
import { Empty, ButtonLink, Skeleton } from "@/components/ui";
import { usePlace } from "@/lib/router";
import { HomePage } from "@/pages/HomePage";

const LATER = {
  new: () => import("@/pages/NewPage"),
  workloads: () => import("@/pages/WorkloadsPage"),
  workload: () => import("@/pages/WorkloadPage"),
  backends: () => import("@/pages/BackendsPage"),
  nodes: () => import("@/pages/NodesPage"),
  compare: () => import("@/pages/ComparePage"),
  docs: () => import("@/pages/DocsPage"),
  editor: () => import("@/components/editor/CodeEditor"),
  chart: () => import("@/components/Chart"),
};
const NewPage = lazy(LATER.new);
const WorkloadsPage = lazy(LATER.workloads);
const WorkloadPage = lazy(LATER.workload);
const BackendsPage = lazy(LATER.backends);
const NodesPage = lazy(LATER.nodes);
const ComparePage = lazy(LATER.compare);
const DocsPage = lazy(LATER.docs);

const IDLE_MS = 2_000;

/** Fetches the other pages once the first one is there: they are wanted soon, maybe when the server does not answer. */
function useEveryPage(): void {
  useEffect(() => {
    const timer = setTimeout(() => {
      for (const load of Object.values(LATER)) load().catch(() => undefined);
    }, IDLE_MS);
    return () => clearTimeout(timer);
  }, []);
}

interface Page {
  title: string;
  page: ReactNode;
}

function pageAt(path: string): Page {
  const [first = "", second = "", ...rest] = path.split("/").slice(1);
  const alone = rest.length === 0;
  if (first === "" && alone) return { title: "Home", page: <HomePage /> };
  if (first === "new" && second === "") return { title: "New workload", page: <NewPage /> };
  if (first === "workloads" && second === "") return { title: "Workloads", page: <WorkloadsPage /> };
  if (first === "workloads" && alone) return { title: `Workload ${second}`, page: <WorkloadPage key={second} id={second} /> };
  if (first === "backends" && second === "") return { title: "Backends and images", page: <BackendsPage /> };
  if (first === "nodes" && second === "") return { title: "Nodes", page: <NodesPage /> };
  if (first === "compare" && alone) return { title: "Compare", page: <ComparePage id={second || null} /> };
  if (first === "docs") return { title: "Documentation", page: <DocsPage path={[second, ...rest].filter(Boolean).join("/")} /> };
  return { title: "Not found", page: <NotFound /> };
}

export function App() {
  const key = useSyncExternalStore(onApiKey, apiKey);
  return (
    <KeyGate key={key ?? ""}>
      <Pages />
    </KeyGate>
  );
}

function Pages() {
  useLiveUpdates();
  useEveryPage();
  const { path } = usePlace();
  const { title, page } = pageAt(path);
  useEffect(() => {
    document.title = title === "Home" ? "Caisson" : `${title} · Caisson`;
  }, [title]);
  return (
    <Layout path={path}>
      {/* A comparison that begins has an address of its own, but is no other page. */}
      <Boundary key={path.startsWith("/compare") ? "/compare" : path}>
        <Suspense fallback={<Skeleton rows={6} />}>{page}</Suspense>
      </Boundary>
    </Layout>
  );
}

function NotFound() {
  return (
    <Empty page title="There is no such page" testId="not-found">
      <p className="mb-3">The address may be mistyped, or the link old.</p>
      <ButtonLink href="/">Home</ButtonLink>
    </Empty>
  );
}
