import { useId, type ButtonHTMLAttributes, type ReactNode } from "react";

import { Link } from "@/lib/router";

import { Icon, type IconName } from "./Icon";

type Look = "plain" | "primary" | "quiet" | "danger";

const LOOKS: Record<Look, string> = {
  plain: "border border-strong/60 bg-panel text-ink hover:bg-raised",
  primary: "border border-transparent bg-accent-fill text-white hover:brightness-110",
  quiet: "border border-transparent text-muted hover:bg-raised hover:text-ink",
  danger: "border border-bad/60 text-bad hover:bg-bad/10",
};

interface ButtonProps extends ButtonHTMLAttributes<HTMLButtonElement> {
  look?: Look;
  icon?: IconName;
  testId?: string;
}

export function Button({ look = "plain", icon, testId, className = "", children, ...rest }: ButtonProps) {
  const shape = children === undefined || children === null ? "w-[30px] justify-center" : "px-2.5";
  return (
    <button
      type="button"
      data-testid={testId}
      className={`inline-flex h-[30px] items-center gap-1.5 rounded-md text-[13px] font-medium whitespace-nowrap disabled:opacity-50 ${shape} ${LOOKS[look]} ${className}`}
      {...rest}
    >
      {icon ? <Icon name={icon} /> : null}
      {children}
    </button>
  );
}

export function ButtonLink({
  href,
  look = "plain",
  icon,
  testId,
  children,
}: {
  href: string;
  look?: Look;
  icon?: IconName;
  testId?: string;
  children: ReactNode;
}) {
  return (
    <Link
      href={href}
      data-testid={testId}
      className={`inline-flex h-[30px] items-center gap-1.5 rounded-md px-2.5 text-[13px] font-medium whitespace-nowrap ${LOOKS[look]}`}
    >
      {icon ? <Icon name={icon} /> : null}
      {children}
    </Link>
  );
}

/** A page's head: its name, and what one can do here. */
export function PageHead({ title, note, children }: { title: ReactNode; note?: ReactNode; children?: ReactNode }) {
  return (
    <div className="mb-4 flex flex-wrap items-center gap-x-3 gap-y-2">
      <h1 className="min-w-0 text-lg font-semibold tracking-tight">{title}</h1>
      {note ? <div className="text-[13px] text-muted">{note}</div> : null}
      <div className="ml-auto flex flex-wrap items-center gap-2">{children}</div>
    </div>
  );
}

export function Card({
  title,
  note,
  actions,
  testId,
  flush = false,
  className = "",
  children,
}: {
  title?: ReactNode;
  note?: ReactNode;
  actions?: ReactNode;
  testId?: string;
  flush?: boolean;
  className?: string;
  children: ReactNode;
}) {
  return (
    <section data-testid={testId} className={`card min-w-0 ${className}`}>
      {title !== undefined ? (
        <div className="flex min-h-[38px] flex-wrap items-center gap-x-3 gap-y-1 border-b border-line px-3 py-1">
          <h2 className="text-[13px] font-semibold">{title}</h2>
          {note ? <div className="text-xs text-muted">{note}</div> : null}
          {actions ? <div className="ml-auto flex items-center gap-2">{actions}</div> : null}
        </div>
      ) : null}
      <div className={flush ? "" : "p-3"}>{children}</div>
    </section>
  );
}

/** What stands where there is nothing. `page`: it is the whole page, so its title is the page's. */
export function Empty({ title, children, testId, page = false }: { title: string; children?: ReactNode; testId?: string; page?: boolean }) {
  const Title = page ? "h1" : "p";
  return (
    <div data-testid={testId} className="flex flex-col items-center gap-2 px-4 py-10 text-center">
      <Title className="text-[13px] font-medium">{title}</Title>
      {children ? <div className="max-w-md text-[13px] text-muted">{children}</div> : null}
    </div>
  );
}

export function Skeleton({ rows = 3 }: { rows?: number }) {
  return (
    <div className="space-y-2 p-3" role="status" aria-label="Loading">
      {Array.from({ length: rows }, (_, row) => (
        <div key={row} className="h-4 animate-pulse rounded bg-raised" style={{ width: `${90 - ((row * 17) % 40)}%` }} />
      ))}
    </div>
  );
}

export function Notice({
  kind,
  title,
  testId,
  children,
}: {
  kind: "bad" | "warn" | "info";
  title?: ReactNode;
  testId?: string;
  children?: ReactNode;
}) {
  const look = {
    bad: "border-bad/50 bg-bad/8 text-bad",
    warn: "border-warn/50 bg-warn/8 text-warn",
    info: "border-info/50 bg-info/8 text-info",
  }[kind];
  return (
    <div data-testid={testId} role={kind === "bad" ? "alert" : "status"} className={`rounded-md border px-3 py-2 text-[13px] ${look}`}>
      {title ? <div className="font-semibold">{title}</div> : null}
      {children ? <div className="text-ink">{children}</div> : null}
    </div>
  );
}

export function Tabs<T extends string>({
  tabs,
  active,
  onChange,
  label,
  testId,
}: {
  tabs: readonly { id: T; title: ReactNode; mark?: boolean }[];
  active: T;
  onChange: (id: T) => void;
  label: string;
  testId: string;
}) {
  const move = (by: number) => {
    const at = tabs.findIndex((tab) => tab.id === active);
    const next = tabs[(at + by + tabs.length) % tabs.length];
    if (next) {
      onChange(next.id);
      document.getElementById(`${testId}-${next.id}`)?.focus();
    }
  };
  return (
    <div role="tablist" aria-label={label} className="flex min-w-0 items-center gap-1 overflow-x-auto">
      {tabs.map((tab) => (
        <button
          key={tab.id}
          id={`${testId}-${tab.id}`}
          type="button"
          role="tab"
          aria-selected={tab.id === active}
          tabIndex={tab.id === active ? 0 : -1}
          data-testid={`${testId}-${tab.id}`}
          onClick={() => onChange(tab.id)}
          onKeyDown={(event) => {
            if (event.key === "ArrowRight") move(1);
            else if (event.key === "ArrowLeft") move(-1);
          }}
          className={`relative flex h-[37px] items-center gap-1.5 border-b-2 px-2 text-[13px] whitespace-nowrap ${
            tab.id === active ? "border-accent font-medium text-ink" : "border-transparent text-muted hover:text-ink"
          }`}
        >
          {tab.title}
          {tab.mark ? <span className="h-1.5 w-1.5 rounded-full bg-accent" role="img" aria-label="set" /> : null}
        </button>
      ))}
    </div>
  );
}

/** A labelled control with what is wrong with it, or what it is for. The control gets an id from the function. */
export function Labelled({
  label,
  hint,
  mistake,
  children,
}: {
  label: string;
  hint?: ReactNode;
  mistake?: string | undefined;
  children: (attributes: { id: string; "aria-describedby": string; "aria-invalid": boolean }) => ReactNode;
}) {
  const id = useId();
  return (
    <div className="min-w-0">
      <label htmlFor={id} className="mb-1 block text-xs font-medium text-muted">
        {label}
      </label>
      {children({ id, "aria-describedby": `${id}-note`, "aria-invalid": mistake !== undefined })}
      <div id={`${id}-note`} className={`mt-1 text-xs ${mistake ? "text-bad" : "text-faint"}`}>
        {mistake ?? hint}
      </div>
    </div>
  );
}

export function Select<T extends string>({
  label,
  value,
  options,
  onChange,
  testId,
}: {
  label: string;
  value: T;
  options: readonly { value: T; title: string }[];
  onChange: (value: T) => void;
  testId: string;
}) {
  return (
    <select
      aria-label={label}
      data-testid={testId}
      value={value}
      onChange={(event) => onChange(event.target.value as T)}
      className="h-[30px] max-w-full rounded-md border border-strong/60 bg-panel px-2 text-[13px] text-ink"
    >
      {options.map((option) => (
        <option key={option.value} value={option.value}>
          {option.title}
        </option>
      ))}
    </select>
  );
}

export function Figure({
  label,
  value,
  note,
  testId,
  className = "",
}: {
  label: string;
  value: ReactNode;
  note?: ReactNode;
  testId?: string;
  className?: string;
}) {
  return (
    <div data-testid={testId} className={`card min-w-0 px-3 py-2.5 ${className}`}>
      <div className="text-xs text-muted">{label}</div>
      <div className="tabular mt-0.5 truncate text-xl font-semibold tracking-tight">{value}</div>
      <div className="mt-0.5 truncate text-xs text-faint">{note ?? "\u00a0"}</div>
    </div>
  );
}
