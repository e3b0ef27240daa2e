import type { BenchmarkResult, Measure, Subject, Unit } from "@/api/types";
import { count, duration, mebibytes } from "@/lib/format";

import { SpreadChart } from "./SpreadChart";
import { Card, Empty } from "./ui";

const FORMATS: Record<Unit, (value: number) => string> = {
  ms: duration,
  per_s: (value) => `${value >= 100 ? count(Math.round(value)) : value.toFixed(1)}/s`,
  mib: mebibytes,
  times: (value) => `${value >= 100 ? value.toFixed(0) : value.toFixed(value >= 10 ? 1 : 2)}×`,
};

const SUBJECTS: readonly Subject[] = ["process", "isolate", "gvisor", "microvm"];

interface Group {
  id: string;
  title: string;
  note: string;
  measures: readonly Measure[];
}

const GROUPS: readonly Group[] = [
  { id: "start", title: "Start", note: "until a sandbox is ready", measures: ["warm_start", "restored_start", "cold_start"] },
  { id: "round_trip", title: "Round trip", note: "from acceptance to result", measures: ["round_trip"] },
  { id: "execution", title: "Execution", note: "the program alone", measures: ["execution"] },
  { id: "overhead", title: "Overhead", note: "round trip, against the bare process", measures: ["overhead"] },
  { id: "throughput", title: "Throughput", note: "several clients at once; more is better", measures: ["throughput"] },
  { id: "memory", title: "Memory", note: "the most one sandbox held", measures: ["memory"] },
];

/** The figures of a comparison: a chart with the spread for each measure of each program, and all of it as a table. */
export function BenchmarkResults({ results }: { results: readonly BenchmarkResult[] }) {
  if (results.length === 0) return <Card><Empty title="No results yet">They appear here one by one.</Empty></Card>;
  const programs = [...new Set(results.map((result) => `${result.program} ${result.runtime}`))];
  return (
    <>
      {programs.map((program) => (
        <Program key={program} program={program} results={results.filter((result) => `${result.program} ${result.runtime}` === program)} />
      ))}
      <ResultTable results={results} />
    </>
  );
}

function Program({ program, results }: { program: string; results: readonly BenchmarkResult[] }) {
  return (
    <Card title={results[0]?.program} note={results[0]?.runtime} testId="program">
      <div className="grid gap-x-6 gap-y-5 md:grid-cols-2">
        {GROUPS.map((group) => {
          const fitting = results
            .filter((result) => group.measures.includes(result.measure) && result.spread !== null)
            .sort((a, b) => SUBJECTS.indexOf(a.subject) - SUBJECTS.indexOf(b.subject) || group.measures.indexOf(a.measure) - group.measures.indexOf(b.measure));
          const unit = fitting[0]?.unit;
          if (!unit) return null;
          return (
            <figure key={group.id} className="min-w-0" data-testid={`measure-${group.id}`}>
              <figcaption className="mb-1.5 text-[13px]">
                <span className="font-medium">{group.title}</span> <span className="text-xs text-muted">{group.note}</span>
              </figcaption>
              <SpreadChart results={fitting} format={FORMATS[unit]} label={`${program}, ${group.title}`} />
            </figure>
          );
        })}
      </div>
    </Card>
  );
}

function ResultTable({ results }: { results: readonly BenchmarkResult[] }) {
  return (
    <Card title="All figures" flush testId="figures">
      <div className="overflow-x-auto" tabIndex={0} role="group" aria-label="All figures">
        <table className="tabular w-full text-xs whitespace-nowrap">
          <thead>
            <tr className="border-b border-line text-xs text-muted [&>th]:px-2 [&>th]:py-1.5 [&>th:first-child]:pl-3 [&>th]:text-right [&>th]:font-medium [&>th:nth-child(-n+3)]:text-left">
              <th>Program</th>
              <th>On</th>
              <th>Measure</th>
              <th>n</th>
              <th>min</th>
              <th>p25</th>
              <th>p50</th>
              <th>p75</th>
              <th>p99</th>
              <th>max</th>
              <th>mean</th>
              <th>stdev</th>
            </tr>
          </thead>
          <tbody>
            {results.map((result) => (
              <Row key={result.seq} result={result} />
            ))}
          </tbody>
        </table>
      </div>
    </Card>
  );
}

function Row({ result }: { result: BenchmarkResult }) {
  const { spread } = result;
  const format = FORMATS[result.unit];
  return (
    <tr className="h-8 border-b border-line/70 last:border-0 [&>td]:px-2 [&>td:first-child]:pl-3 [&>td]:text-right [&>td:nth-child(-n+3)]:text-left">
      <td>
        {result.program} <span className="text-muted">{result.runtime}</span>
      </td>
      <td>{result.subject}</td>
      <td className="text-muted">{result.measure.replace("_", " ")}</td>
      {spread ? (
        <>
          <td>{result.samples.length}</td>
          <td>{format(spread.min)}</td>
          <td>{format(spread.p25)}</td>
          <td className="font-semibold">{format(spread.p50)}</td>
          <td>{format(spread.p75)}</td>
          <td>{format(spread.p99)}</td>
          <td>{format(spread.max)}</td>
          <td>{format(spread.mean)}</td>
          <td className="text-muted">{format(spread.stdev)}</td>
        </>
      ) : (
        <td colSpan={9} className="max-w-md !text-left whitespace-normal text-muted">
          {result.note}
        </td>
      )}
    </tr>
  );
}
