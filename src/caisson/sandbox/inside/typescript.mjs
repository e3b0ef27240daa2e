// TypeScript for the waiting Node.js, which cannot read it: esbuild makes JavaScript of it on its way in. Nothing stays
// on disk; a source map at the end of each text leads back to the lines of the file.
//
// The harness loads this only for a workload that needs it. Where files import each other, Node.js runs it once more, as
// module hooks in a thread of their own, since it lets nothing else change what `import` reads.

import { spawnSync } from "node:child_process";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";

const MOST_BYTES = 1 << 28; // of what esbuild says
const SETTINGS = [
  "--platform=node", `--target=node${process.versions.node}`, "--tsconfig-raw={}", "--charset=utf8",
  "--sources-content=false", "--log-level=error", "--log-limit=1", "--color=false",
];
const LOADERS = { ".tsx": "tsx", ".jsx": "jsx", __proto__: null };
const MESSAGE = /\[ERROR\] (.*)\n\n {4}.*?:(\d+):(\d+):\n([^]*)/;

let searched = "", made = new Map();

// `path` is where esbuild is searched; of `files`, all that anything might import, JavaScript is made at once.
export function initialize({ path, files }) {
  searched = path;
  if (files.length > 1) made = javaScripts(files);
}

const failed = (why) => new Error(`esbuild, which makes JavaScript of TypeScript, ${why}`);

// Runs esbuild, for which the workload's own environment is not meant.
function esbuild(args, input) {
  const { error, signal, status, stdout, stderr } = spawnSync("esbuild", [...SETTINGS, ...args], {
    input, encoding: "utf8", env: { PATH: searched }, maxBuffer: MOST_BYTES,
  });
  if (error?.code === "ENOENT") throw failed("is not in this image; to build one with it: caisson images build node");
  if (error ?? signal) throw failed(`could not run: ${error?.message ?? signal}`);
  return { status, stdout, stderr };
}

// The JavaScript of one file. Throws a SyntaxError that looks like Node's own, which begins with file and line.
export function javaScript(file) {
  const suffix = path.extname(file);
  const { status, stdout, stderr } = esbuild([
    `--loader=${LOADERS[suffix] ?? "ts"}`, "--sourcemap=inline", `--sourcefile=${path.basename(file)}`,
    ...(suffix === ".cts" ? ["--format=cjs"] : []),
  ], fs.readFileSync(file));
  if (status === 0) return stdout;
  // The Go runtime's end, most of all for want of threads or memory, is no fault of the text.
  const found = MESSAGE.exec(stderr);
  if (!found) throw failed(`failed: ${stderr.slice(0, 500).trim()}`);
  const [, message, line, column, shown] = found;
  const error = new SyntaxError(message);
  error.stack = `${file}:${line}:${Number(column) + 1}\n${shown.trimEnd()}\n\nSyntaxError: ${message}`;
  throw error;
}

// The JavaScript of many files, by one start of esbuild instead of one for each; none if one of them is broken, which
// counts only if it is ever imported, or if there is no place to write to.
function javaScripts(files) {
  const made = new Map();
  let folder;
  try {
    folder = fs.mkdtempSync(path.join(os.tmpdir(), "typescript-"));
    const entries = files.map((file, index) => `${index}=${file}`);
    const { status } = esbuild(["--sourcemap=external", `--outdir=${folder}`, ...entries]);
    if (status !== 0) return made;
    for (const [index, file] of files.entries()) {
      const map = JSON.parse(fs.readFileSync(`${folder}/${index}.js.map`, "utf8"));
      map.sources = [path.basename(file)];
      const text = Buffer.from(JSON.stringify(map)).toString("base64");
      const code = fs.readFileSync(`${folder}/${index}.js`, "utf8");
      made.set(file, `${code}//# sourceMappingURL=data:application/json;base64,${text}\n`);
    }
  } catch {
    made.clear();
  } finally {
    if (folder) fs.rmSync(folder, { recursive: true, force: true });
  }
  return made;
}

export async function load(url, context, next) {
  const suffix = url.startsWith("file:") ? path.extname(fileURLToPath(url)) : "";
  if (!/^\.(?:[mc]?ts|[tj]sx)$/.test(suffix)) return next(url, context);
  const file = fileURLToPath(url);
  const source = made.get(file) ?? javaScript(file);
  // Each is served once; an import with another query reads what is there by then.
  made.delete(file);
  return { format: suffix === ".cts" ? "commonjs" : "module", source, shortCircuit: true };
}
