import type { Workload } from "@/api/types";
import { REASONS } from "@/lib/reasons";
import { Link } from "@/lib/router";
import type { Spot } from "@/lib/traceback";

/** Why a workload did not complete, what that means, and what helps. */
export function ErrorCard({ workload, spots, onSpot }: { workload: Workload; spots?: (text: string) => Spot[]; onSpot?: (spot: Spot) => void }) {
  const { error } = workload;
  if (!error) return null;
  const { means, helps } = REASONS[error.reason];
  const color = workload.status === "killed" ? "border-warn/50 bg-warn/8" : "border-bad/50 bg-bad/8";
  return (
    <div data-testid="error" data-reason={error.reason} className={`rounded-md border px-3 py-2 text-[13px] ${color}`}>
      <div className="flex flex-wrap items-baseline gap-x-2">
        <span className={`font-mono text-xs font-semibold ${workload.status === "killed" ? "text-warn" : "text-bad"}`}>{error.reason}</span>
        <span>{means}</span>
        <span className="text-muted">{helps}</span>
        <Link href={`/docs/reference/errors#${error.reason}`} className="ml-auto text-info underline">
          about this
        </Link>
      </div>
      <pre tabIndex={0} data-testid="error-message" className="mt-1.5 max-h-56 overflow-auto font-mono text-xs leading-5 whitespace-pre-wrap">
        {error.message.split("\n").map((line, at) => {
          const spot = spots?.(line)[0];
          const indent = /^\s*/.exec(line)?.[0] ?? "";
          return (
            <span key={at} className="block">
              {spot && onSpot ? (
                <>
                  {indent}
                  <button type="button" data-testid="error-spot" onClick={() => onSpot(spot)} className="text-left text-info underline">
                    {line.slice(indent.length)}
                  </button>
                </>
              ) : (
                line || " "
              )}
            </span>
          );
        })}
      </pre>
    </div>
  );
}
