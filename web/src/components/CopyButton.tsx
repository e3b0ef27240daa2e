import { useEffect, useState } from "react";

import { copyText } from "@/lib/copy";

import { Button } from "./ui";

/** Copies what the function gives, and says so for a moment. */
export function CopyButton({ text, label, testId }: { text: () => string; label: string; testId: string }) {
  const [said, setSaid] = useState<"" | "Copied" | "Not allowed">("");
  useEffect(() => {
    if (!said) return undefined;
    const timer = setTimeout(() => setSaid(""), 1500);
    return () => clearTimeout(timer);
  }, [said]);
  const copy = async () => {
    try {
      await copyText(text());
      setSaid("Copied");
    } catch {
      setSaid("Not allowed");
    }
  };
  return (
    <Button look="quiet" icon={said === "Copied" ? "check" : "copy"} aria-label={label} title={label} testId={testId} onClick={copy}>
      {said || undefined}
    </Button>
  );
}
