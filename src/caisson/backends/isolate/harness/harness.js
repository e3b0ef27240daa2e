// Runs one workload in a Deno process that waits for it: reads START from the channel, imports the entry module, calls its
// default export or lets it run to its end, and reports output, result and uncaught errors as frames.
//
// Whatever is used after the user's code began was taken from the runtime before: user code may replace any global or
// prototype, and must harm nobody but itself by that. So no iteration, no array methods and no getters from there on.

const [NONCE, CHANNEL] = Deno.args;
const WORK = "/work/";
const WORK_URL = "file://" + WORK;
const SELF_URL = import.meta.url;
const VERSION = 1;
const MAX_PAYLOAD = 1 << 20;
const HEADER_BYTES = 9;
const SCRATCH_BYTES = 64 * 1024;
const KEEP_ALIVE_MS = 0x7fffffff;

const HELLO = 0x01, READY = 0x02, STARTED = 0x04, STDOUT = 0x10, STDERR = 0x11, RESULT = 0x12, EXCEPTION = 0x13;
const EXIT = 0x14, START = 0x42, INPUT_FRAME = 0x46, PING = 0x70, PONG = 0x71;
const tag = {
  version: 1, nonce: 2, runtimeVersion: 4, env: 17, entrypoint: 19, arg: 20, input: 21, outputPath: 22, size: 34,
  code: 48, message: 53, trace: 54, kind: 55,
};

const uncurry = (method) => Function.prototype.call.bind(method);
const getter = (prototype, name) => uncurry(Object.getOwnPropertyDescriptor(prototype, name).get);
const TypedArray = Object.getPrototypeOf(Uint8Array);
const Bytes = Uint8Array;
const View = DataView;
const byteLength = getter(TypedArray.prototype, "byteLength");
const subarray = uncurry(TypedArray.prototype.subarray);
const copyInto = uncurry(TypedArray.prototype.set);
const setUint32 = uncurry(DataView.prototype.setUint32);
const indexOf = uncurry(String.prototype.indexOf);
const slice = uncurry(String.prototype.slice);
const startsWith = uncurry(String.prototype.startsWith);
const encoder = new TextEncoder();
const decoder = new TextDecoder();
const encode = encoder.encode.bind(encoder);
const encodeInto = encoder.encodeInto.bind(encoder);
const { parse, stringify } = JSON;
const { inspect, openSync, exit } = Deno;
const internals = Deno[Deno.internal];
const { core, Console, __nodeBootstrapArgs } = internals;
const isNativeError = core.isNativeError;
const toText = String;
const { createTimer, cancelTimer } = core;
const exitCode = Object.getOwnPropertyDescriptor(Deno, "exitCode").get.bind(Deno);

const incoming = openSync(CHANNEL + "/in");
const outgoing = openSync(CHANNEL + "/out", { write: true });
const readSync = incoming.readSync.bind(incoming);
const writeSync = outgoing.writeSync.bind(outgoing);

const NOTHING = new Bytes(0);
let ended = false;


const scratch = new Bytes(HEADER_BYTES + SCRATCH_BYTES);
const scratchView = new View(scratch.buffer);
const scratchBody = subarray(scratch, HEADER_BYTES);

function writeAll(bytes, length) {
  for (let sent = 0; sent < length;) sent += writeSync(subarray(bytes, sent, length));
}

function sendScratch(type, length) {
  setUint32(scratchView, 0, length);
  scratch[4] = type;
  writeAll(scratch, HEADER_BYTES + length);
}

function send(type, payload) {
  const total = byteLength(payload);
  let offset = 0;
  do {
    const length = total - offset < MAX_PAYLOAD ? total - offset : MAX_PAYLOAD;
    const piece = subarray(payload, offset, offset + length);
    if (length <= SCRATCH_BYTES) {
      copyInto(scratchBody, piece);
      sendScratch(type, length);
    } else {
      const frame = new Bytes(HEADER_BYTES + length);
      setUint32(new View(frame.buffer), 0, length);
      frame[4] = type;
      copyInto(frame, piece, HEADER_BYTES);
      writeAll(frame, HEADER_BYTES + length);
    }
    offset += length;
  } while (offset < total);
}

function sendText(type, text) {
  // A UTF-16 code unit becomes at most three bytes.
  if (text.length * 3 <= SCRATCH_BYTES) sendScratch(type, encodeInto(text, scratchBody).written);
  else send(type, encode(text));
}

function field(number, value) {
  const bytes = new Bytes(5 + byteLength(value));
  bytes[0] = number;
  setUint32(new View(bytes.buffer), 1, byteLength(value));
  copyInto(bytes, value, 5);
  return bytes;
}

function integer(value) {
  const bytes = new Bytes(8);
  setUint32(new View(bytes.buffer), 4, value);
  return bytes;
}

function joined(one, two, three) {
  const bytes = new Bytes(byteLength(one) + byteLength(two) + byteLength(three));
  copyInto(bytes, one);
  copyInto(bytes, two, byteLength(one));
  copyInto(bytes, three, byteLength(one) + byteLength(two));
  return bytes;
}


function readExactly(length) {
  const bytes = new Bytes(length);
  for (let got = 0; got < length;) {
    const count = readSync(subarray(bytes, got));
    // The host is gone, and with it the reason to be.
    if (!count) exit(0);
    got += count;
  }
  return bytes;
}

function receive() {
  for (;;) {
    const header = readExactly(HEADER_BYTES);
    const payload = readExactly(new DataView(header.buffer).getUint32(0));
    if (header[4] !== PING) return { type: header[4], payload };
    send(PONG, payload);
  }
}

function receiveStart() {
  const { type, payload } = receive();
  if (type !== START) throw new Error("frame of type " + type + " instead of START");
  const start = readStart(payload);
  if (start.inputBytes) {
    const input = new Bytes(start.inputBytes);
    for (let got = 0; got < input.length;) {
      const frame = receive();
      if (frame.type !== INPUT_FRAME) throw new Error("frame of type " + frame.type + " instead of INPUT");
      input.set(frame.payload, got);
      got += frame.payload.length;
    }
    start.input = decoder.decode(input);
  }
  return start;
}

function readStart(payload) {
  const start = { env: [], args: [], entrypoint: "", outputPath: "", input: "null", inputBytes: 0 };
  const view = new View(payload.buffer);
  for (let offset = 0; offset < payload.length;) {
    const number = payload[offset];
    const end = offset + 5 + view.getUint32(offset + 1);
    const text = number === tag.size ? "" : decoder.decode(payload.subarray(offset + 5, end));
    if (number === tag.env) start.env.push(text);
    else if (number === tag.arg) start.args.push(text);
    else if (number === tag.entrypoint) start.entrypoint = text;
    else if (number === tag.outputPath) start.outputPath = text;
    else if (number === tag.input) start.input = text;
    // Eight bytes, of which the lower four hold any length there can be.
    else if (number === tag.size) start.inputBytes = view.getUint32(offset + 9);
    offset = end;
  }
  return start;
}

function replaceOutputs() {
  globalThis.console = new Console((text, level) => sendText(level > 1 ? STDERR : STDOUT, text));
  replaceStream(Deno.stdout, STDOUT);
  replaceStream(Deno.stderr, STDERR);
}

function replaceStream(stream, type) {
  let writable;
  Object.defineProperties(stream, {
    writeSync: { value: (bytes) => (send(type, bytes), byteLength(bytes)) },
    // deno-lint-ignore require-await
    write: { value: async (bytes) => (send(type, bytes), byteLength(bytes)) },
    writable: { get: () => writable ??= new WritableStream({ write: (bytes) => send(type, bytes) }) },
  });
}

function replaceSurroundings(start) {
  for (const pair of start.env) {
    const middle = pair.indexOf("=");
    Deno.env.set(pair.slice(0, middle), pair.slice(middle + 1));
  }
  const fixed = (value) => ({ value, writable: true, enumerable: true, configurable: true });
  Object.defineProperty(Deno, "args", fixed(Object.freeze(start.args)));
  Object.defineProperty(Deno, "mainModule", fixed(moduleUrl(start.entrypoint)));
  __nodeBootstrapArgs.denoArgs = start.args;
}

// Listeners of user code hear of an event after the harness would, yet can prevent what the harness does about it.
const late = new EventTarget();
const listen = globalThis.addEventListener.bind(globalThis);
const dispatchLate = late.dispatchEvent.bind(late);

function replaceListeners() {
  const names = { error: true, unhandledrejection: true, unload: true, __proto__: null };
  const target = (name) => names[name] ? late : globalThis;
  const { addEventListener: add, removeEventListener: remove } = EventTarget.prototype;
  globalThis.addEventListener = (name, ...rest) => Reflect.apply(add, target(name), [name, ...rest]);
  globalThis.removeEventListener = (name, ...rest) => Reflect.apply(remove, target(name), [name, ...rest]);
  for (const name in names) {
    let handler = null;
    Object.defineProperty(globalThis, "on" + name, {
      get: () => handler,
      set: (value) => {
        if (handler) late.removeEventListener(name, handler);
        handler = typeof value === "function" ? value : null;
        if (handler) late.addEventListener(name, handler);
      },
      configurable: true,
    });
  }
}


function finish(code) {
  if (ended) return;
  ended = true;
  send(EXIT, field(tag.code, integer(code)));
  // Nothing runs after the end: the host ends this process. If there is something to read, it is that the host is gone.
  try {
    readSync(new Bytes(1));
  } finally {
    exit(code);
  }
}

function sendOutputFile(path) {
  let file;
  try {
    file = openSync(path);
  } catch {
    return;
  }
  const piece = new Bytes(SCRATCH_BYTES);
  for (let count; (count = file.readSync(piece));) send(RESULT, subarray(piece, 0, count));
}

function fail(error, loading) {
  if (ended) return;
  let report;
  try {
    report = describe(error, loading);
  } catch {
    report = { kind: "Error", message: "an error that cannot be shown was thrown", trace: "" };
  }
  sendText(STDERR, "Uncaught " + (report.trace || report.message) + "\n");
  send(EXCEPTION, joined(
    field(tag.kind, encode(report.kind)),
    field(tag.message, encode(report.message)),
    field(tag.trace, encode(report.trace)),
  ));
  finish(1);
}

function describe(error, loading) {
  if (!isNativeError(error)) return { kind: "Uncaught", message: inspect(error), trace: "" };
  const message = cleaned(toText(error.message));
  if (loading && isLoadError(error)) return { kind: "invalid_code", message, trace: message };
  const trace = cleaned(inspect(error));
  if (error.code === "ENOSPC" || indexOf(message, "(os error 28)") >= 0) return { kind: "disk_full", message, trace };
  const { name } = error;
  return { kind: typeof name === "string" && name ? name : "Error", message, trace };
}

// The loader's own errors carry the place in their message, and no frame of the user's code.
function isLoadError(error) {
  if (error.code !== "ERR_MODULE_NOT_FOUND" && error.name !== "SyntaxError") return false;
  const { stack, message } = error;
  return indexOf(slice(stack, indexOf(stack, message) + message.length), WORK_URL) < 0;
}

// The text without the frames of runtime and harness, and with the user's files named as the user knows them.
function cleaned(text) {
  let kept = "";
  for (let start = 0; start <= text.length;) {
    let end = indexOf(text, "\n", start);
    if (end < 0) end = text.length;
    let line = slice(text, start, end);
    start = end + 1;
    if (startsWith(line, "    at ") && isForeign(line)) continue;
    for (let at; (at = indexOf(line, WORK_URL)) >= 0;) line = slice(line, 0, at) + slice(line, at + WORK_URL.length);
    kept += (kept ? "\n" : "") + line;
  }
  return kept;
}

function isForeign(frame) {
  return indexOf(frame, SELF_URL) >= 0 || indexOf(frame, "ext:") >= 0 || indexOf(frame, "(node:") >= 0;
}

function watchForErrors() {
  listen("error", (event) => {
    const again = new ErrorEvent("error", { error: event.error, message: event.message, cancelable: true });
    if (dispatchLate(again)) fail(event.error, false);
    else event.preventDefault();
  });
  listen("unhandledrejection", (event) => {
    const { promise, reason } = event;
    if (!dispatchLate(new PromiseRejectionEvent("unhandledrejection", { promise, reason, cancelable: true }))) {
      event.preventDefault();
      return;
    }
    // Set once `node:process` is loaded: tells the listeners a program has there.
    const { nodeProcessUnhandledRejectionCallback: tellNode } = internals;
    if (typeof tellNode === "function") tellNode(event);
    if (!event.defaultPrevented) fail(reason, false);
  });
}

function watchForEnd(outputPath) {
  listen("unload", () => {
    if (ended) return;
    dispatchLate(new Event("unload"));
    sendOutputFile(outputPath);
    // A process that exits by itself with such a code looks to its parent as if a signal had ended it.
    if (exitCode() >= 128) finish(exitCode());
  });
}

function moduleUrl(path) {
  return WORK_URL + encodeURI(path).replaceAll("#", "%23").replaceAll("?", "%3F");
}


replaceOutputs();
replaceListeners();
watchForErrors();
// Each thing is done once before it counts: V8 compiles a function when it is first called.
const warm = await import("./warm.ts");
cancelTimer(createTimer(() => {}, KEEP_ALIVE_MS, undefined, true, true));
replaceSurroundings(readStart(joined(field(tag.env, encode("A=")), field(tag.entrypoint, encode("a")), NOTHING)));
stringify(parse("null"));
for (const name of Object.keys(Deno.env.toObject())) Deno.env.delete(name);
for (const name of ["read", "write"]) Deno.permissions.revokeSync({ name, path: CHANNEL });
const nonce = new Bytes(NONCE.length / 2);
for (let index = 0; index < nonce.length; index++) nonce[index] = parseInt(slice(NONCE, index * 2, index * 2 + 2), 16);
send(HELLO, joined(field(tag.version, integer(VERSION)), field(tag.nonce, nonce), NOTHING));
send(READY, field(tag.runtimeVersion, encode(warm.default(Deno.version.deno))));

const start = receiveStart();
replaceSurroundings(start);
watchForEnd(start.outputPath);
const url = moduleUrl(start.entrypoint);
send(STARTED, NOTHING);

// A promise that never settles must end as a timeout, not as an empty event loop.
const alive = createTimer(() => {}, KEEP_ALIVE_MS, undefined, true, true);
let main;
try {
  main = (await import(url)).default;
} catch (error) {
  fail(error, true);
}
if (typeof main === "function") {
  try {
    const output = stringify(await main(parse(start.input)));
    send(RESULT, encode(output === undefined ? "null" : output));
    finish(0);
  } catch (error) {
    fail(error, false);
  }
}
cancelTimer(alive);
