import type { Reason } from "@/api/types";

/** What a reason means for whoever wrote the program, and what helps. */
export const REASONS: Record<Reason, { means: string; helps: string }> = {
  timeout: { means: "It ran longer than its time limit and was ended.", helps: "Raise the time limit, or do less." },
  out_of_memory: { means: "It needed more memory than it was given.", helps: "Raise the memory limit, or hold less at once." },
  exit_nonzero: { means: "The program ended with another exit code than 0, or by a signal.", helps: "Its log says why." },
  exception: { means: "An exception that the program did not catch.", helps: "The trace below names the line." },
  output_limit: { means: "It wrote more logs and output than allowed. What came before is kept.", helps: "Raise the output limit, or write less." },
  disk_full: { means: "It wrote more to disk than allowed.", helps: "Raise the disk limit, or write less." },
  invalid_code: { means: "The code cannot be loaded.", helps: "The message below names the place." },
  image_not_found: { means: "The image cannot be had.", helps: "Look at its name, or pull it first." },
  sandbox_crashed: { means: "The sandbox died. As far as can be told, not the program's doing.", helps: "Run it again; the server's log says more." },
  start_failed: { means: "No sandbox came up, so the program did not begin.", helps: "Look at the backends; run it again." },
  node_lost: { means: "The server died while it ran.", helps: "Run it again." },
  client_disconnected: { means: "The client that waited for the result went away, so it was killed.", helps: "Submit it to /v1/workloads/async instead." },
  killed_by_user: { means: "Somebody killed it.", helps: "Nothing to do." },
  shutdown: { means: "The server was stopped before it ended.", helps: "Run it again." },
};
