import { memo, type CSSProperties } from "react";

import { parseAnsi, type Piece } from "@/lib/ansi";
import { clock } from "@/lib/format";

const LONGEST = 10_000;

export interface LogRowProps {
  number: number;
  text: string;
  isError: boolean;
  time: number | null;
  wrap: boolean;
  search: string;
  current: boolean;
  top: number;
  height: number;
  onSpot: (() => void) | null;
}

/** One line. Whatever is in it, it is shown as text. */
export const LogRow = memo(function LogRow(props: LogRowProps) {
  const { number, text, isError, time, wrap, search, current, top, height, onSpot } = props;
  const shown = text.length > LONGEST ? text.slice(0, LONGEST) : text;
  return (
    <div
      data-testid="log-line"
      data-seq={number}
      className={`absolute left-0 flex min-w-[max(100%,var(--widest,0px))] ${wrap ? "w-full" : ""} ${current ? "bg-warn/20" : isError ? "bg-bad/6" : ""}`}
      style={{ transform: `translateY(${top}px)`, height }}
    >
      <span className="tabular w-[7ch] shrink-0 pr-2 text-right text-faint select-none">{number}</span>
      {time === null ? null : <span className="tabular w-[13ch] shrink-0 text-faint select-none">{clock(time)}</span>}
      <span className={`w-[2ch] shrink-0 select-none ${isError ? "text-bad" : "text-transparent"}`} title={isError ? "stderr" : undefined}>
        {isError ? "!" : ""}
      </span>
      <span
        className={`${wrap ? "min-w-0 flex-1 break-all whitespace-pre-wrap" : "pr-4 whitespace-pre"} ${onSpot ? "cursor-pointer underline decoration-info/70 decoration-dotted underline-offset-3 hover:decoration-solid" : ""}`}
        style={{ tabSize: 8 }}
        // Who selects text means to copy it. The button at the end is for the keyboard.
        onClick={onSpot ? () => (document.getSelection()?.isCollapsed === false ? undefined : onSpot()) : undefined}
      >
        {parseAnsi(shown).map((piece, at) => (
          <span key={at} style={styleOf(piece)}>
            {search ? <Marked text={piece.text} search={search} /> : piece.text}
          </span>
        ))}
        {text.length > LONGEST ? <span className="text-faint"> … {text.length - LONGEST} more characters; copy or download has them</span> : null}
        {onSpot ? (
          <button type="button" data-testid="log-spot" onClick={(event) => (event.stopPropagation(), onSpot())} className="ml-2 rounded bg-raised px-1 text-info underline select-none">
            go to
          </button>
        ) : null}
      </span>
    </div>
  );
});

function Marked({ text, search }: { text: string; search: string }) {
  const lower = text.toLowerCase();
  const parts = [];
  let from = 0;
  for (let at = lower.indexOf(search); at >= 0 && parts.length < 200; at = lower.indexOf(search, from)) {
    parts.push(text.slice(from, at), <mark key={at} className="bg-warn/45 text-ink">{text.slice(at, at + search.length)}</mark>);
    from = at + search.length;
  }
  return <>{parts}{text.slice(from)}</>;
}

function styleOf(piece: Piece): CSSProperties | undefined {
  if (Object.keys(piece).length === 1) return undefined;
  const style: CSSProperties = {};
  if (piece.color) style.color = colorOf(piece.color);
  if (piece.background) style.backgroundColor = `color-mix(in srgb, ${colorOf(piece.background)} 35%, transparent)`;
  if (piece.inverse) {
    style.color = "var(--ground)";
    style.backgroundColor = piece.color ? colorOf(piece.color) : "var(--ink)";
  }
  if (piece.bold) style.fontWeight = 700;
  if (piece.dim) style.opacity = 0.75;
  if (piece.italic) style.fontStyle = "italic";
  if (piece.underline) style.textDecoration = "underline";
  return style;
}

function colorOf(color: string): string {
  // Names come from a closed list and #rrggbb from numbers: nothing a program wrote reaches the style sheet.
  return color.startsWith("#") ? color : `var(--${color.replace("bright-", "")})`;
}
