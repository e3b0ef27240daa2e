import { useQueryClient } from "@tanstack/react-query";
import { useSyncExternalStore, type ReactNode } from "react";

import { apiKey, setApiKey } from "@/api/client";
import { useLive } from "@/api/live";
import { Link } from "@/lib/router";
import { setTheme, useTheme, type Theme } from "@/lib/theme";

import { Icon, type IconName } from "./Icon";
import { Button } from "./ui";

const PLACES: readonly { href: string; title: string; short: string; icon: IconName }[] = [
  { href: "/", title: "Home", short: "Home", icon: "home" },
  { href: "/new", title: "New workload", short: "New", icon: "plus" },
  { href: "/workloads", title: "Workloads", short: "Runs", icon: "list" },
  { href: "/compare", title: "Compare", short: "Compare", icon: "scale" },
  { href: "/backends", title: "Backends", short: "Backends", icon: "layers" },
  { href: "/nodes", title: "Nodes", short: "Nodes", icon: "server" },
];

/** The frame of every page: where one can go, and whether the server is there. */
export function Layout({ path, children }: { path: string; children: ReactNode }) {
  return (
    <div className="min-h-dvh md:grid md:grid-cols-[196px_minmax(0,1fr)]">
      <a href="#main" className="sr-only focus:not-sr-only focus:fixed focus:top-2 focus:left-2 focus:z-50 focus:rounded focus:bg-panel focus:px-3 focus:py-2">
        To the content
      </a>
      <header className="sticky top-0 z-20 flex items-center gap-2 border-b border-line bg-panel px-3 py-2 md:h-dvh md:flex-col md:items-stretch md:gap-0 md:border-r md:border-b-0 md:px-2.5 md:py-3">
        <Link href="/" className="flex items-center gap-2 rounded px-1.5 py-0.5 font-semibold tracking-tight md:mb-4">
          <img src="/favicon.svg" alt="" width="22" height="22" />
          Caisson
        </Link>
        <nav aria-label="Pages" className="fixed inset-x-0 bottom-0 z-20 flex border-t border-line bg-panel pb-[env(safe-area-inset-bottom)] md:static md:flex-col md:gap-0.5 md:border-0 md:pb-0">
          {PLACES.map((place) => (
            <NavLink key={place.href} {...place} path={path} />
          ))}
        </nav>
        <div className="ml-auto flex items-center gap-1 md:mt-auto md:ml-0 md:flex-col md:items-stretch">
          <Connection />
          <div className="flex items-center gap-1 md:mt-1">
            <ThemeSwitch />
            <Link href="/docs/index" aria-label="Documentation" title="Documentation" data-testid="nav-docs" className="inline-flex h-[30px] w-[30px] items-center justify-center rounded-md text-muted hover:bg-raised hover:text-ink">
              <Icon name="book" />
            </Link>
            <ForgetKey />
          </div>
        </div>
      </header>
      <main id="main" className="min-w-0 px-3 pt-4 pb-20 md:px-5 md:pb-6">
        <Offline />
        {children}
      </main>
    </div>
  );
}

function NavLink({ href, title, short, icon, path }: { href: string; title: string; short: string; icon: IconName; path: string }) {
  const active = href === "/" ? path === "/" : path === href || path.startsWith(`${href}/`);
  return (
    <Link
      href={href}
      aria-current={active ? "page" : undefined}
      data-testid={`nav-${href === "/" ? "home" : href.slice(1)}`}
      className={`flex flex-1 flex-col items-center gap-0.5 px-1 py-1.5 text-[11px] md:h-8 md:flex-none md:flex-row md:gap-2.5 md:rounded-md md:px-2 md:py-0 md:text-[13px] ${
        active ? "font-medium text-accent md:bg-raised md:text-ink" : "text-muted hover:text-ink md:hover:bg-raised/60"
      }`}
    >
      <Icon name={icon} className={active ? "text-accent" : ""} />
      <span className="md:hidden">{short}</span>
      <span className="hidden md:inline">{title}</span>
    </Link>
  );
}

function Connection() {
  const { connection, load } = useLive();
  const [text, color] =
    connection === "live"
      ? [load && load.running > 0 ? `${load.running} running` : "connected", "text-ok"]
      : connection === "asleep"
        ? ["asleep", "text-muted"]
        : connection === "failed"
          ? ["no stream", "text-bad"]
          : [connection === "connecting" ? "connecting" : "offline", "text-warn"];
  return (
    <div role="status" data-testid="connection" data-connection={connection} className="flex items-center gap-2 px-2 text-xs text-muted md:h-7">
      <Icon name={connection === "live" ? "dot" : connection === "reconnecting" ? "cross" : "dot"} size={14} className={color} />
      {text}
    </div>
  );
}

function Offline() {
  const { connection } = useLive();
  if (connection !== "reconnecting") return null;
  return (
    <div role="alert" data-testid="offline" className="mb-4 rounded-md border border-warn/50 bg-warn/10 px-3 py-2 text-[13px]">
      <span className="font-semibold text-warn">The server does not answer.</span> What is shown may be old. Trying again by itself.
    </div>
  );
}

const NEXT: Record<Theme, { next: Theme; icon: IconName; label: string }> = {
  system: { next: "light", icon: "screen", label: "Colours: as the system. Change to light" },
  light: { next: "dark", icon: "sun", label: "Colours: light. Change to dark" },
  dark: { next: "system", icon: "moon", label: "Colours: dark. Change to the system's" },
};

function ThemeSwitch() {
  const { next, icon, label } = NEXT[useTheme()];
  return <Button look="quiet" icon={icon} aria-label={label} title={label} testId="theme" onClick={() => setTheme(next)} />;
}

function ForgetKey() {
  const client = useQueryClient();
  const key = useSyncExternalStore(
    () => () => undefined,
    () => apiKey(),
  );
  if (!key) return null;
  const forget = () => {
    client.clear();
    setApiKey(null, false);
  };
  return <Button look="quiet" icon="key" aria-label="Forget the API key" title="Forget the API key" testId="key-forget" onClick={forget} />;
}
