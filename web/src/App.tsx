import { lazy, Suspense, useEffect, useSyncExternalStore, type ReactNode } from "react";

import { apiKey, onApiKey } from "@/api/client";
import { useLiveUpdates } from "@/api/live";
import { Boundary } from "@/components/Boundary";
import { KeyGate } from "@/components/KeyGate";
import { Layout } from "@/components/Layout";
import { Empty, ButtonLink, Skeleton } from "@/components/ui";
import { usePlace } from "@/lib/router";
import { HomePage } from "@/pages/HomePage";

const NewPage = lazy(() => import("@/pages/NewPage"));
const WorkloadsPage = lazy(() => import("@/pages/WorkloadsPage"));
const WorkloadPage = lazy(() => import("@/pages/WorkloadPage"));
const BackendsPage = lazy(() => import("@/pages/BackendsPage"));
const NodesPage = lazy(() => import("@/pages/NodesPage"));
const ComparePage = lazy(() => import("@/pages/ComparePage"));
const DocsPage = lazy(() => import("@/pages/DocsPage"));

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
  const { path } = usePlace();
  const { title, page } = pageAt(path);
  useEffect(() => {
    document.title = title === "Home" ? "Caisson" : `${title} · Caisson`;
  }, [title]);
  return (
    <Layout path={path}>
      <Boundary key={path}>
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
