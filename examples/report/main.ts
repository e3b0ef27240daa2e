// A program of several files: it reads its input as JSON on stdin, and what it writes to $CAISSON_OUTPUT is its output.
import { readFileSync, writeFileSync } from "node:fs";
import { mean, median } from "./lib/statistics.ts";

const numbers: number[] = JSON.parse(readFileSync(0, "utf8"));
console.log(`${numbers.length} numbers`);
writeFileSync(process.env.CAISSON_OUTPUT!, JSON.stringify({ mean: mean(numbers), median: median(numbers) }));
