/** One server-sent event. `name` is "message" where the event has none. */
export interface ServerEvent {
  name: string;
  id: string | null;
  data: string;
}

/** Takes text as it comes and gives the events that are whole. */
export class EventParser {
  private rest = "";

  push(text: string): ServerEvent[] {
    let buffer = this.rest + text;
    if (buffer.includes("\r")) buffer = buffer.replace(/\r\n?/g, "\n");
    const events: ServerEvent[] = [];
    let from = 0;
    for (;;) {
      const end = buffer.indexOf("\n\n", from);
      if (end < 0) break;
      const event = parseBlock(buffer.slice(from, end));
      if (event) events.push(event);
      from = end + 2;
    }
    this.rest = buffer.slice(from);
    return events;
  }
}

function parseBlock(block: string): ServerEvent | null {
  let name = "message";
  let id: string | null = null;
  let data: string | null = null;
  for (const line of block.split("\n")) {
    if (line === "" || line.startsWith(":")) continue;
    const colon = line.indexOf(":");
    const field = colon < 0 ? line : line.slice(0, colon);
    let value = colon < 0 ? "" : line.slice(colon + 1);
    if (value.startsWith(" ")) value = value.slice(1);
    if (field === "data") data = data === null ? value : `${data}\n${value}`;
    else if (field === "event") name = value;
    else if (field === "id") id = value;
  }
  return data === null ? null : { name, id, data };
}

/** Batches of events from a response's body, until it ends. */
export async function* readEvents(body: ReadableStream<Uint8Array>): AsyncGenerator<ServerEvent[]> {
  const reader = body.getReader();
  const decoder = new TextDecoder();
  const parser = new EventParser();
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      const events = parser.push(decoder.decode(value, { stream: true }));
      if (events.length > 0) yield events;
    }
  } finally {
    reader.cancel().catch(() => undefined);
  }
}
