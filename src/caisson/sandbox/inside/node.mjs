// Runs one JavaScript workload for the agent: a Node.js that is up and waits for START on descriptor 3.
//
// What is used after user code began was taken from the runtime before: user code may replace any global or prototype,
// and must harm nobody but itself by that.

import { spawnSync } from "node:child_process";
import fs from "node:fs";
import { createRequire, register } from "node:module";
import path from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { inspect } from "node:util";
import vm from "node:vm";
import { Writable } from "node:stream";

const CHANNEL = 3;
const WORK = process.cwd() + "/";
const require = createRequire(import.meta.url);
const WORK_URL = pathToFileURL(WORK).href;
const SELF_URL = import.meta.url;
const SEARCHED = process.env.PATH;
const MOST_BYTES = 60_000; // of one frame to the agent, which accepts a little more
const HEADER_BYTES = 9;
const START_ANEW = 75; // the exit code by which the agent knows that it is to start this harness again
const CHECKED_MOST = 20; // files that are looked through for a syntax error
const KEEP_ALIVE_MS = 0x7fffffff;
const READ_BYTES = 1 << 16;

const READY = 0x02, RENEWED = 0x03, STARTED = 0x04, STDOUT = 0x10, STDERR = 0x11, RESULT = 0x12, EXCEPTION = 0x13, EXIT = 0x14;
const START = 0x42, RENEW = 0x45;
const tag = {
  runtimeVersion: 4, env: 17, cwd: 18, entrypoint: 19, arg: 20, input: 21, outputPath: 22, size: 34,
  code: 48, message: 53, trace: 54, kind: 55, rehearse: 69,
};

const { readSync, writeSync } = fs;
const { stringify, parse } = JSON;
const { isNativeError } = (await import("node:util/types")).default;
const uncurry = (method) => Function.prototype.call.bind(method);
const getter = (prototype, name) => uncurry(Object.getOwnPropertyDescriptor(prototype, name).get);
const OriginalError = Error;
const TypedArray = Object.getPrototypeOf(Uint8Array);
const Bytes = Uint8Array;
const View = DataView;
const byteLength = getter(TypedArray.prototype, "byteLength");
const bufferOf = getter(TypedArray.prototype, "buffer");
const subarray = uncurry(TypedArray.prototype.subarray);
const copyInto = uncurry(TypedArray.prototype.set);
const setUint32 = uncurry(DataView.prototype.setUint32);
const encoder = new TextEncoder();
const encode = encoder.encode.bind(encoder);
const sleeper = new Int32Array(new SharedArrayBuffer(4));
const sleep = Atomics.wait;
const reallyExit = process.reallyExit.bind(process);
const split = uncurry(String.prototype.split);
const endsWith = uncurry(String.prototype.endsWith);
const startsWith = uncurry(String.prototype.startsWith);
const includes = uncurry(String.prototype.includes);
const replaceAll = uncurry(String.prototype.replaceAll);
const toText = String;
const NOTHING = new Bytes(0);

function writeAll(bytes) {
  const total = byteLength(bytes);
  for (let sent = 0; sent < total;) {
    try {
      sent += writeSync(CHANNEL, bytes, sent, total - sent);
    } catch (error) {
      // A program may have made the descriptor non-blocking; the agent reads on when there is credit.
      if (error.code !== "EAGAIN") throw error;
      sleep(sleeper, 0, 0, 1);
    }
  }
}

function frame(type, payload) {
  const bytes = new Bytes(HEADER_BYTES + byteLength(payload));
  setUint32(new View(bufferOf(bytes)), 0, byteLength(payload));
  bytes[4] = type;
  copyInto(bytes, payload, HEADER_BYTES);
  return bytes;
}

function send(type, payload = NOTHING) {
  const total = byteLength(payload);
  let offset = 0;
  do {
    const length = total - offset < MOST_BYTES ? total - offset : MOST_BYTES;
    writeAll(frame(type, subarray(payload, offset, offset + length)));
    offset += length;
  } while (offset < total);
}

function field(number, text, most) {
  const value = subarray(encode(toText(text)), 0, most);
  const bytes = new Bytes(5 + byteLength(value));
  bytes[0] = number;
  setUint32(new View(bufferOf(bytes)), 1, byteLength(value));
  copyInto(bytes, value, 5);
  return bytes;
}

function joined(one, two, three) {
  const bytes = new Bytes(byteLength(one) + byteLength(two) + byteLength(three));
  copyInto(bytes, one);
  copyInto(bytes, two, byteLength(one));
  copyInto(bytes, three, byteLength(one) + byteLength(two));
  return bytes;
}

let received = Buffer.alloc(READ_BYTES), begin = 0, end = 0;

// The next bytes of the channel, good until the next call.
function readExactly(length) {
  if (begin + length > received.length) {
    const larger = received.length < length ? Buffer.alloc(length) : received;
    end = received.copy(larger, 0, begin, end);
    received = larger;
    begin = 0;
  }
  while (end - begin < length) {
    const count = readSync(CHANNEL, received, end, received.length - end);
    // The agent is gone, and with it the reason to be.
    if (count === 0) reallyExit(0);
    end += count;
  }
  begin += length;
  return received.subarray(begin - length, begin);
}

function receive() {
  const header = readExactly(HEADER_BYTES);
  const type = header[4];
  return { type, payload: readExactly(header.readUInt32BE(0)) };
}

// The workload; undefined if this is to be rehearsed first.
function receiveStart() {
  const { type, payload } = receive();
  if (type === RENEW && isRehearsal(payload)) return undefined;
  // A copy of this process would draw the numbers of its original for ever: nothing here can seed it again.
  if (type === RENEW) reallyExit(START_ANEW);
  if (type !== START) throw new Error("frame of type " + type + " instead of START");
  const start = readStart(payload);
  if (start.inputBytes > 0) {
    const input = Buffer.allocUnsafe(start.inputBytes);
    for (let got = 0; got < input.length;) got += receive().payload.copy(input, got);
    start.input = input.toString();
  }
  return start;
}

function isRehearsal(payload) {
  let offset = 0;
  while (offset < payload.length && payload[offset] !== tag.rehearse) offset += 5 + payload.readUInt32BE(offset + 1);
  return offset < payload.length;
}

function readStart(payload) {
  const start = { env: [], args: [], entrypoint: "", outputPath: "", cwd: "", input: "null", inputBytes: 0 };
  for (let offset = 0; offset < payload.length;) {
    const number = payload[offset];
    const end = offset + 5 + payload.readUInt32BE(offset + 1);
    const value = payload.subarray(offset + 5, end);
    if (number === tag.size) start.inputBytes = Number(value.readBigUInt64BE(0));
    else if (number === tag.env) start.env.push(value.toString());
    else if (number === tag.arg) start.args.push(value.toString());
    else if (number === tag.entrypoint) start.entrypoint = value.toString();
    else if (number === tag.cwd) start.cwd = value.toString();
    else if (number === tag.outputPath) start.outputPath = value.toString();
    else if (number === tag.input) start.input = value.toString();
    offset = end;
  }
  return start;
}

// Prints travel on the channel, which keeps the order of both streams; children write to the plain pipes.
function outputStream(type, fd) {
  const stream = new Writable({
    decodeStrings: true,
    write(chunk, _, done) {
      send(type, chunk);
      done();
    },
  });
  stream.fd = fd;
  stream._type = "pipe";
  stream._isStdio = true;
  stream.destroySoon = stream.destroy;
  stream._destroy = (error, done) => done(error);
  return stream;
}

function replaceOutputs() {
  for (const [name, type, fd] of [["stdout", STDOUT, 1], ["stderr", STDERR, 2]]) {
    const stream = outputStream(type, fd);
    Object.defineProperty(process, name, { get: () => stream, configurable: true, enumerable: true });
  }
}

const isUsers = (line) => includes(line, WORK_URL) || includes(line, WORK);

// The text without the frames of runtime and harness, and with the user's files named as the user knows them.
function cleaned(text) {
  const lines = split(text, "\n");
  let kept = "";
  for (let index = 0; index < lines.length; index++) {
    const line = lines[index];
    if (startsWith(line, "    at ") && (!isUsers(line) || includes(line, SELF_URL))) continue;
    kept += (kept ? "\n" : "") + line;
  }
  kept = replaceAll(replaceAll(kept, WORK_URL, ""), WORK, "");
  for (let index = 0; index < renamed.length; index++) kept = replaceAll(kept, renamed[index].loaded, renamed[index].given);
  return kept;
}

const renamed = [];
let ended = false;

function describe(error, loading) {
  // What the hooks throw arrives as a copy, which is none of V8's own errors.
  if (!isNativeError(error) && !(error instanceof OriginalError)) return { kind: "Uncaught", message: inspect(error), trace: "" };
  const message = cleaned(toText(error.message));
  const loadFault = loading && loadError(error);
  if (loadFault) return { kind: "invalid_code", message, trace: cleaned(loadFault) };
  const trace = cleaned(inspect(error));
  if (error.code === "ENOSPC" || error.code === "EDQUOT") return { kind: "disk_full", message, trace };
  return { kind: typeof error.name === "string" && error.name ? error.name : "Error", message, trace };
}

// Errors of the loader, not of code that was loaded: for a SyntaxError the stack begins with file, line and a caret.
function loadError(error) {
  const stack = toText(error.stack);
  const codes = ["ERR_MODULE_NOT_FOUND", "ERR_UNKNOWN_FILE_EXTENSION", "ERR_REQUIRE_ESM", "ERR_UNSUPPORTED_DIR_IMPORT"];
  if (codes.includes(error.code)) return error.message;
  if (error.name !== "SyntaxError") return "";
  const [head, ...frames] = stack.split("\n    at ");
  if (frames.some((line) => isUsers(line) && !line.includes(SELF_URL))) return "";
  return isUsers(head) ? head : placed(error) ?? head;
}

// Where a syntax error is: for an ES module the error itself does not say, but a Node.js that only checks does.
function placed(error) {
  const files = fs.readdirSync(WORK, { recursive: true }).map((name) => WORK + name);
  const candidates = [entry, ...files.filter((name) => /\.[mc]?js$/.test(name) && name !== entry)];
  for (const file of candidates.slice(0, CHECKED_MOST)) {
    const { status, stderr } = spawnSync(process.execPath, ["--check", file], { encoding: "utf8" });
    if (status && stderr.includes(error.message)) return stderr.split("\n    at ")[0].trimEnd();
  }
}

// Tells the end, together with the result if it is small: one write less. The agent ends this process at once; its own
// way to its end would be part of what the host waits for.
function finish(code, result) {
  const bytes = new Bytes(13);
  bytes[0] = tag.code;
  bytes[4] = 8;
  bytes[12] = code;
  if (result && byteLength(result) <= MOST_BYTES) {
    writeAll(joined(frame(RESULT, result), frame(EXIT, bytes), NOTHING));
  } else {
    if (result) send(RESULT, result);
    send(EXIT, bytes);
  }
  readSync(CHANNEL, bytes, 0, 1);
  reallyExit(code);
}

function fail(error, loading) {
  if (ended) return;
  ended = true;
  let report;
  try {
    report = describe(error, loading);
  } catch {
    report = { kind: "Error", message: "an error that cannot be shown was thrown", trace: "" };
  }
  try {
    send(STDERR, encode("Uncaught " + (report.trace || report.message) + "\n"));
    send(EXCEPTION, joined(
      field(tag.kind, report.kind, 500), field(tag.message, report.message, 8_000), field(tag.trace, report.trace, 48_000),
    ));
    finish(1);
  } finally {
    reallyExit(1);
  }
}

function prepare(start) {
  for (const pair of start.env) {
    const middle = pair.indexOf("=");
    process.env[pair.slice(0, middle)] = pair.slice(middle + 1);
  }
  process.env.CAISSON_OUTPUT = WORK + start.outputPath;
  if (start.cwd) process.chdir(start.cwd);
  process.argv = [process.execPath, "", ...start.args];
  process.execArgv = [];
}

const MODULE_ONLY = /Cannot use import statement|Unexpected token 'export'|'import\.meta'|await is only valid/;

// True if the text is no CommonJS, because it says what only a module may.
function isModule(source, file) {
  try {
    vm.compileFunction(source, ["exports", "require", "module", "__filename", "__dirname"], { filename: file });
  } catch (error) {
    return MODULE_ONLY.test(error.message);
  }
  return false;
}

const PLAIN = { ".ts": ".mjs", ".mts": ".mjs", ".cts": ".cjs", __proto__: null };
const TYPED = /(?<!\.d)\.(?:[mc]?ts|[tj]sx)$/;
const TYPED_CALL = /\w<[\w\s.,|[\]{}'"<>:;?]{1,200}>\(/; // `f<string>(x)`, which as JavaScript compares twice

// A file Node loads, for a file as it is given: TypeScript without types is JavaScript, and a .js may be an ES module.
function loadable(entry) {
  const suffix = path.extname(entry);
  let wanted = PLAIN[suffix];
  if (suffix === ".js" && !hasPackage(path.dirname(entry)) && isModule(fs.readFileSync(entry, "utf8"), entry)) {
    try {
      fs.writeFileSync(WORK + "package.json", '{"type": "module"}', { flag: "wx" });
    } catch {
      wanted = ".mjs";
    }
  }
  if (!wanted) return entry;
  let loaded = entry.slice(0, -suffix.length);
  while (fs.existsSync(loaded + wanted)) loaded += "_";
  loaded += wanted;
  fs.renameSync(entry, loaded);
  renamed.push({ given: path.basename(entry), loaded: path.basename(loaded) });
  return loaded;
}

function hasPackage(folder) {
  for (; (folder + "/").startsWith(WORK); folder = path.dirname(folder)) {
    if (fs.existsSync(folder + "/package.json")) return true;
  }
  return false;
}

// TypeScript in the work folder besides the entry, which anything might import.
function typedBeside(entry, folder = WORK) {
  return fs.readdirSync(folder, { withFileTypes: true }).flatMap((found) => {
    const name = folder + found.name;
    if (found.isDirectory()) return found.name === "node_modules" ? [] : typedBeside(entry, name + "/");
    return name !== entry && TYPED.test(name) ? [name] : [];
  });
}

// True if the text is JavaScript. V8 is asked without running it: what a module imports at its end is never found.
async function isJavaScript(text, file) {
  try {
    if (endsWith(file, ".cts")) vm.compileFunction(text, ["exports", "require", "module", "__filename", "__dirname"]);
    else await import("data:text/javascript," + encodeURIComponent(text + "\nimport 'nothing:'"));
  } catch (error) {
    return error.name !== "SyntaxError";
  }
  return true;
}

// The function of a workload, or undefined if it is a program. `code` is called TypeScript, and mostly is JavaScript:
// esbuild is started only for what cannot be.
async function loadMain(given) {
  const typed = typedBeside(given);
  const text = PLAIN[path.extname(given)] && !typed.length ? fs.readFileSync(given, "utf8") : "";
  if (!typed.length && !given.endsWith("x") && !TYPED_CALL.test(text)) {
    entry = process.argv[1] = loadable(given);
    try {
      return await load(entry);
    } catch (error) {
      if (error?.name !== "SyntaxError" || !text || await isJavaScript(text, given)) throw error;
    }
    // Nothing of it has run.
    fs.renameSync(entry, given);
    renamed.length = 0;
  }
  entry = process.argv[1] = given;
  await takeTypeScript(typed);
  return load(entry);
}

// Has TypeScript loaded from now on. Hooks cost a thread, and are for what imports more of it.
async function takeTypeScript(typed) {
  const typescript = await import("./typescript.mjs");
  typescript.initialize({ path: SEARCHED, files: [] });
  process.setSourceMapsEnabled(true);
  for (const suffix of [".ts", ".mts", ".cts", ".tsx", ".jsx"]) {
    require.extensions[suffix] = (module, file) =>
      module._compile(typescript.javaScript(file), file, suffix === ".cts" ? "commonjs" : "module");
  }
  hooked = typed.length > 0 || !process.features.require_module;
  if (!hooked) return;
  const files = [entry, ...typed].filter((file) => TYPED.test(file) && !file.endsWith(".cts"));
  register("./typescript.mjs", SELF_URL, { data: { path: SEARCHED, files } });
}

// At once where this Node.js can: `import` asks other threads for the file, four times, and in gVisor each costs.
function loadAtOnce(entry) {
  if (endsWith(entry, ".cts") && !hooked) return { default: require(entry) };
  if (!process.features.require_module || hooked || !(endsWith(entry, ".mjs") || TYPED.test(entry))) return undefined;
  try {
    return require(entry);
  } catch (error) {
    // It waits at its top. Nothing of it has run yet.
    if (error?.code === "ERR_REQUIRE_ASYNC_MODULE") return undefined;
    throw error;
  }
}

// The default export of a module.
async function load(entry) {
  const module = loadAtOnce(entry) ?? await import(pathToFileURL(entry).href);
  const main = module.default;
  // An ES module compiled to CommonJS has its default export one step deeper.
  return typeof main?.default === "function" && main.__esModule ? main.default : main;
}

// Runs a program from a file as the user's will be.
async function rehearse() {
  const path = WORK + "caisson-rehearsal.mjs";
  try {
    fs.writeFileSync(path, "export default (input) => input;\n");
    encode(stringify(await (await load(path))(parse("[1]"))));
  } catch {
    // A program that comes will say what is wrong.
  } finally {
    fs.rmSync(path, { force: true });
  }
}

let entry = "", hooked = false;
process.on("uncaughtException", (error) => fail(error, false));
replaceOutputs();
// Each thing is done once before it counts: V8 compiles a function when it is first called.
isModule("import 'a'", "warm");
cleaned(inspect(new Error("warm")));
stringify(parse("null"));
await import("data:text/javascript,export default 1");
loadAtOnce(fileURLToPath(new URL("rehearsal.mjs", SELF_URL)));
readStart(Buffer.from(joined(field(tag.entrypoint, "a", 1), field(tag.input, "b", 1), field(tag.outputPath, "c", 1))));
fs.existsSync(WORK + "rehearsal");
typedBeside("", fileURLToPath(new URL(".", SELF_URL)));
TYPED_CALL.test(fs.readFileSync(fileURLToPath(SELF_URL), "utf8"));
send(READY, field(tag.runtimeVersion, "node " + process.version.slice(1), 200));

let start = receiveStart();
while (start === undefined) {
  await rehearse();
  send(RENEWED);
  start = receiveStart();
}
send(STARTED);
const alive = setInterval(() => {}, KEEP_ALIVE_MS);
let main;
try {
  prepare(start);
  main = await loadMain(WORK + start.entrypoint);
} catch (error) {
  fail(error, true);
}
if (typeof main === "function" && !ended) {
  try {
    const output = stringify(await main(parse(start.input)));
    // Set, or Node.js takes this module, which is not at its end, for one that waits for something that never comes.
    process.exitCode ??= 0;
    ended = true;
    try {
      process.emit("exit", process.exitCode);
    } catch {
      // The function has returned, and that is what counts.
    }
    finish(process.exitCode & 0xff, encode(output === undefined ? "null" : output));
  } catch (error) {
    fail(error, false);
  }
}
clearInterval(alive);
