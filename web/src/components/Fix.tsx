import { CopyButton } from "./CopyButton";

/** The command that adds what is missing, to copy. */
export function Fix({ text }: { text: string }) {
  return (
    <div className="mt-1.5 flex items-center gap-1 rounded-md border border-line bg-ground px-2 py-1 font-mono text-xs">
      <span className="min-w-0 flex-1 break-words">{text}</span>
      <CopyButton label="Copy what would help" testId="copy-fix" text={() => text} />
    </div>
  );
}
