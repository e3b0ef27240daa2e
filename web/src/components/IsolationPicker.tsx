import { useRouting } from "@/api/queries";
import { ISOLATIONS, type IsolationChoice, type Runtime } from "@/api/types";

import { Icon } from "./Icon";
import { IsolationTag } from "./Status";

const CHOICES: readonly IsolationChoice[] = ["auto", ...ISOLATIONS];

/** Which isolation to ask for: what each can do here, and what `auto` would choose, as it stands now. */
export function IsolationPicker({ runtime, network, value, onChange }: { runtime: Runtime; network: string; value: IsolationChoice; onChange: (value: IsolationChoice) => void }) {
  const { data: routing, error } = useRouting(runtime, value, network);
  const refused = new Map(routing?.options.filter((option) => !option.possible).map((option) => [option.isolation as string, option.reason ?? ""]));
  return (
    <fieldset className="min-w-0" data-testid="isolation">
      <legend className="sr-only">Isolation</legend>
      <div className="flex flex-wrap items-center gap-x-3 gap-y-1.5">
        <div className="inline-flex rounded-md border border-strong/60 bg-panel">
          {CHOICES.map((choice) => (
            <label
              key={choice}
              title={refused.get(choice) ?? (choice === "auto" ? "The best that can run it here" : undefined)}
              className={`relative inline-flex h-[28px] items-center gap-1 px-2.5 text-[13px] first:rounded-l-md last:rounded-r-md has-[:focus-visible]:outline-2 has-[:focus-visible]:outline-accent ${
                value === choice ? "bg-accent-fill font-medium text-white" : refused.has(choice) ? "text-faint" : "hover:bg-raised"
              }`}
            >
              <input type="radio" name="isolation" value={choice} checked={value === choice} onChange={() => onChange(choice)} data-testid={`isolation-${choice}`} className="absolute inset-0 opacity-0" />
              {refused.has(choice) ? <Icon name="cross" size={11} /> : null}
              {choice}
              {refused.has(choice) ? <span className="sr-only">(not available here)</span> : null}
            </label>
          ))}
        </div>
        <p data-testid="routing" role="status" className="min-w-0 text-xs text-muted">
          {routing === undefined ? (
            error ? `Where it would run is not known. ${error.message}` : "…"
          ) : routing.isolation === null ? (
            <span className="text-warn">{routing.reason}</span>
          ) : value === "auto" ? (
            <span className="inline-flex flex-wrap items-center gap-x-1.5">
              → <IsolationTag isolation={routing.isolation} /> <span className="text-faint">{routing.reason}</span>
            </span>
          ) : (
            routing.reason
          )}
        </p>
      </div>
      {refused.size > 0 ? (
        <details className="mt-1.5 text-xs text-muted" data-testid="refused">
          <summary className="w-fit rounded">Why not {[...refused.keys()].join(" or ")}</summary>
          <ul className="mt-1 space-y-0.5 pl-3">
            {[...refused].map(([name, reason]) => (
              <li key={name}>
                <span className="font-medium text-ink">{name}</span>: {reason}
              </li>
            ))}
          </ul>
        </details>
      ) : null}
    </fieldset>
  );
}
