import type { Runtime } from "@/api/types";

import { fromBase64 } from "./base64";
import type { Files } from "./tar";

export interface Example {
  id: string;
  title: string;
  runtime: Runtime;
  files: Files;
  entrypoint: string;
  input?: string;
  image?: string;
  command?: string;
}

// examples/hello.wasm
const HELLO_WASM =
  "AGFzbQEAAAABDAJgBH9/f38Bf2AAAAIjARZ3YXNpX3NuYXBzaG90X3ByZXZpZXcxCGZkX3dyaXRlAAADAgEBBQMBAAEHEwIGbWVtb3J5AgAGX3N0YXJ0AAEKHQEbAEEAQRA2AgBBBEEZNgIAQQFBAEEBQQgQABoLCx8BAEEQCxlXZWJBc3NlbWJseSBncmVldHMgd29ybGQKADEEbmFtZQELAQAIZmRfd3JpdGUCHQEABAACZmQBBGlvdnMCBWNvdW50Awd3cml0dGVu";

export const EXAMPLES: readonly Example[] = [
  {
    id: "python",
    title: "Python function",
    runtime: "python",
    entrypoint: "main.py",
    input: '{ "name": "Ada", "numbers": [3, 1, 2, 10] }',
    files: {
      "main.py": `# What handler returns is the output; what it prints is the log.
from statistics import mean, median


def handler(input):
    numbers = input["numbers"]
    print(f"hello, {input['name']}: {len(numbers)} numbers")
    return {"mean": mean(numbers), "median": median(numbers), "sorted": sorted(numbers)}
`,
    },
  },
  {
    id: "node",
    title: "TypeScript function",
    runtime: "node",
    entrypoint: "main.ts",
    input: '{ "name": "Ada" }',
    files: {
      "main.ts": `// What the default export returns is the output; what it prints is the log.
interface Input {
  name: string;
}

export default async function (input: Input | null): Promise<{ greeting: string; at: string }> {
  const name = input?.name ?? "world";
  console.log(\`TypeScript greets \${name}\`);
  return { greeting: \`hello, \${name}\`, at: new Date().toISOString() };
}
`,
    },
  },
  {
    id: "javascript",
    title: "JavaScript function",
    runtime: "node",
    entrypoint: "main.js",
    input: '{ "name": "Ada" }',
    files: {
      "main.js": `// What the default export returns is the output; what it prints is the log.
export default async function (input) {
  const name = input?.name ?? "world";
  console.log(\`JavaScript greets \${name}\`);
  return { greeting: \`hello, \${name}\` };
}
`,
    },
  },
  {
    id: "node-project",
    title: "TypeScript project",
    runtime: "node",
    entrypoint: "main.ts",
    input: "[3, 1, 2, 10]",
    files: {
      "main.ts": `import { mean, median } from "./lib/statistics.ts";

export default function (numbers: number[]) {
  console.log(\`\${numbers.length} numbers\`);
  return { mean: mean(numbers), median: median(numbers) };
}
`,
      "lib/statistics.ts": `export function mean(numbers: number[]): number {
  return numbers.reduce((sum, number) => sum + number, 0) / numbers.length;
}

export function median(numbers: number[]): number {
  const sorted = [...numbers].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}
`,
    },
  },
  {
    id: "node-log",
    title: "TypeScript program that logs",
    runtime: "node",
    entrypoint: "main.ts",
    files: {
      "main.ts": `// A program: no default export. Its log is shown as it comes.
const colours = [31, 32, 33, 34, 35, 36];

for (let step = 1; step <= 40; step++) {
  const colour = colours[step % colours.length];
  console.log(\`\\u001b[\${colour}mstep \${step}\\u001b[0m of 40\`);
  if (step % 10 === 0) console.error(\`\${step} steps done\`);
  await new Promise((resolve) => setTimeout(resolve, 100));
}
`,
    },
  },
  {
    id: "go",
    title: "Go function",
    runtime: "go",
    entrypoint: "main.go",
    input: '{ "name": "Ada" }',
    files: {
      "main.go": `package main

import (
	"encoding/json"
	"fmt"
)

type input struct {
	Name string \`json:"name"\`
}

// Handler returns the output; what it prints is the log.
func Handler(raw json.RawMessage) (any, error) {
	var in input
	if err := json.Unmarshal(raw, &in); err != nil {
		return nil, err
	}
	fmt.Println("Go greets", in.Name)
	return map[string]string{"greeting": "hello, " + in.Name}, nil
}
`,
    },
  },
  {
    id: "bash",
    title: "Shell program",
    runtime: "bash",
    entrypoint: "main.sh",
    input: '{ "name": "Ada" }',
    files: {
      "main.sh": `#!/usr/bin/env bash
# A program reads its input as JSON on stdin, and writes its output to $CAISSON_OUTPUT.
set -euo pipefail

input=$(cat)
echo "the shell got $input"
printf '{"bytes": %d}' "\${#input}" >"$CAISSON_OUTPUT"
`,
    },
  },
  {
    id: "wasm",
    title: "WebAssembly module",
    runtime: "wasm",
    entrypoint: "main.wasm",
    files: { "main.wasm": fromBase64(HELLO_WASM) },
  },
  {
    id: "oci",
    title: "OCI image",
    runtime: "oci",
    entrypoint: "",
    files: {},
    image: "registry.example/team/tool:1",
    command: "sh\n-c\necho hello from an image",
  },
];

export function exampleFor(runtime: Runtime): Example {
  return EXAMPLES.find((example) => example.runtime === runtime) ?? (EXAMPLES[0] as Example);
}
