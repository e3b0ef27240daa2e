// Runs one JavaScript workload for the agent: a Node.js that is up and waits for START on descriptor 3.
//
// What is used after user code began was taken from the runtime before: user code may replace any global or prototype,
// and must harm nobody but itself by that.

import fs from "node:fs";
import { createRequire } from "node:module";
import path from "node:path";
import { pathToFileURL } from "node:url";
import { inspect } from "node:util";
import vm from "node:vm";
import { Writable } from "node:stream";

const CHANNEL = 3;
const WORK = process.cwd() + "/";
const WORK_URL = pathToFileURL(WORK).href;
const SELF_URL = import.meta.url;
const MOST_BYTES = 60_000; // of one frame to the agent, which accepts a little more
const HEADER_BYTES = 9;
const START_ANEW = 75; // the exit code by which the agent knows that it is to start this harness again
const KEEP_ALIVE_MS = 0x7fffffff;

const READY = 0x02, STARTED = 0x04, STDOUT = 0x10, STDERR = 0x11, RESULT = 0x12, EXCEPTION = 0x13;
const START = 0x42, RENEW = 0x45;
const tag = {
  runtimeVersion: 4, env: 17, cwd: 18, entrypoint: 19, arg: 20, input: 21, outputPath: 22, size: 34,
  message: 53, trace: 54, kind: 55,
};

const { readSync, writeSync } = fs;
const { stringify, parse } = JSON;
const { isNativeError } = (await import("node:util/types")).default;
const B = Buffer;
const allocate = B.allocUnsafe;
const fromText = B.from;
const { min } = Math;
const sleeper = new Int32Array(new SharedArrayBuffer(4));
const sleep = Atomics.wait;
const reallyExit = process.reallyExit.bind(process);
const uncurry = (method) => Function.prototype.call.bind(method);
const subarray = uncurry(B.prototype.subarray);
const copy = uncurry(B.prototype.copy);
const writeUInt32BE = uncurry(B.prototype.writeUInt32BE);
const split = uncurry(String.prototype.split);
const startsWith = uncurry(String.prototype.startsWith);
const includes = uncurry(String.prototype.includes);
const replaceAll = uncurry(String.prototype.replaceAll);
const filter = uncurry(Array.prototype.filter);
const join = uncurry(Array.prototype.join);
const toText = String;

function writeAll(bytes) {
  for (let sent = 0; sent < bytes.length;) {
    try {
      sent += writeSync(CHANNEL, bytes, sent, bytes.length - sent);
    } catch (error) {
      // A program may have made the descriptor non-blocking; the agent reads on when there is credit.
      if (error.code !== "EAGAIN") throw error;
      sleep(sleeper, 0, 0, 1);
    }
  }
}

function send(type, payload = allocate(0)) {
  let offset = 0;
  do {
    const length = min(payload.length - offset, MOST_BYTES);
    const frame = allocate(HEADER_BYTES + length);
    writeUInt32BE(frame, length, 0);
    frame[4] = type;
    writeUInt32BE(frame, 0, 5);
    copy(payload, frame, HEADER_BYTES, offset, offset + length);
    writeAll(frame);
    offset += length;
  } while (offset < payload.length);
}

function field(number, text, most) {
  const value = subarray(fromText(toText(text)), 0, most);
  const bytes = allocate(5 + value.length);
  bytes[0] = number;
  writeUInt32BE(bytes, value.length, 1);
  copy(value, bytes, 5);
  return bytes;
}

function readExactly(length) {
  const bytes = allocate(length);
  for (let got = 0; got < length;) {
    const count = readSync(CHANNEL, bytes, got, length - got);
    // The agent is gone, and with it the reason to be.
    if (count === 0) reallyExit(0);
    got += count;
  }
  return bytes;
}

function receive() {
  const header = readExactly(HEADER_BYTES);
  return { type: header[4], payload: readExactly(header.readUInt32BE(0)) };
}

function receiveStart() {
  let { type, payload } = receive();
  // A copy of this process would draw the numbers of its original for ever: nothing here can seed it again.
  if (type === RENEW) reallyExit(START_ANEW);
  if (type !== START) throw new Error("frame of type " + type + " instead of START");
  const start = readStart(payload);
  if (start.inputBytes > 0) {
    const pieces = [];
    for (let got = 0; got < start.inputBytes; got += payload.length) pieces.push({ payload } = receive()), payload = pieces.at(-1).payload;
    start.input = B.concat(pieces.map((piece) => piece.payload)).toString();
  }
  return start;
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
  const replacement = new console.Console({ stdout: process.stdout, stderr: process.stderr });
  for (const name of Object.keys(replacement)) if (typeof replacement[name] === "function") console[name] = replacement[name];
}

const isUsers = (line) => includes(line, WORK_URL) || includes(line, WORK);

// The text without the frames of runtime and harness, and with the user's files named as the user knows them.
function cleaned(text) {
  const lines = filter(split(text, "\n"), (line) => !startsWith(line, "    at ") || (isUsers(line) && !includes(line, SELF_URL)));
  let kept = replaceAll(replaceAll(join(lines, "\n"), WORK_URL, ""), WORK, "");
  for (const [given, loaded] of renamed) kept = replaceAll(kept, loaded, given);
  return kept;
}

const renamed = [];
let ended = false;

function describe(error, loading) {
  if (!isNativeError(error)) return { kind: "Uncaught", message: inspect(error), trace: "" };
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
  if (codes.includes(error.code)) return error.message + hint(error.message);
  if (error.name !== "SyntaxError") return "";
  const [head, ...frames] = stack.split("\n    at ");
  if (frames.some((line) => isUsers(line) && !line.includes(SELF_URL))) return "";
  return head + hint(head);
}

const hint = (text) =>
  renamed.some(([given]) => /\.[mc]?tsx?$/.test(given)) || /\.[mc]?tsx?\b/.test(text)
    ? "\nTypeScript's own syntax, and files of it besides the entry, need isolation `isolate`." : "";

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
    send(STDERR, fromText("Uncaught " + (report.trace || report.message) + "\n"));
    send(EXCEPTION, B.concat([
      field(tag.kind, report.kind, 500), field(tag.message, report.message, 8_000), field(tag.trace, report.trace, 48_000),
    ]));
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
  const entry = loadable(WORK + start.entrypoint);
  process.argv = [process.execPath, entry, ...start.args];
  process.execArgv = [];
  return entry;
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

// A file Node loads, for a file as it is given: TypeScript without types is JavaScript, and so is an ES module in a .js.
function loadable(entry) {
  const suffix = path.extname(entry);
  const { ".ts": plain, ".mts": plain2, ".cts": common } = { ".ts": ".mjs", ".mts": ".mjs", ".cts": ".cjs" };
  let wanted = { ".ts": plain, ".mts": plain2, ".cts": common }[suffix];
  if (suffix === ".js" && !hasPackage(path.dirname(entry)) && isModule(fs.readFileSync(entry, "utf8"), entry)) {
    try {
      fs.writeFileSync(WORK + "package.json", '{"type": "module"}', { flag: "wx" });
    } catch {
      wanted = ".mjs";
    }
  }
  if (!wanted) return entry;
  const loaded = entry.slice(0, -suffix.length) + wanted;
  if (fs.existsSync(loaded)) return entry;
  fs.renameSync(entry, loaded);
  renamed.push([path.basename(entry), path.basename(loaded)]);
  return loaded;
}

function hasPackage(folder) {
  for (; (folder + "/").startsWith(WORK); folder = path.dirname(folder)) {
    if (fs.existsSync(folder + "/package.json")) return true;
  }
  return false;
}

// The function of a workload, or undefined if it is a program.
async function load(entry) {
  const module = await import(pathToFileURL(entry).href);
  const main = module.default;
  // An ES module compiled to CommonJS has its default export one step deeper.
  return typeof main?.default === "function" && main.__esModule ? main.default : main;
}

process.on("uncaughtException", (error) => fail(error, false));
replaceOutputs();
// Each thing is done once before it counts: V8 compiles a function when it is first called.
isModule("import 'a'", "warm");
cleaned(inspect(new Error("warm")));
createRequire(SELF_URL);
stringify(parse("null"));
await import("data:text/javascript,export default 1");
send(READY, field(tag.runtimeVersion, "node " + process.version.slice(1), 200));

const start = receiveStart();
let entry;
send(STARTED);
const alive = setInterval(() => {}, KEEP_ALIVE_MS);
let main;
try {
  entry = prepare(start);
  main = await load(entry);
} catch (error) {
  fail(error, true);
}
if (typeof main === "function" && !ended) {
  try {
    const output = stringify(await main(parse(start.input)));
    send(RESULT, fromText(output === undefined ? "null" : output));
    ended = true;
    process.exit();
  } catch (error) {
    fail(error, false);
  }
}
clearInterval(alive);
