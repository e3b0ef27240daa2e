"""Writes the shared vectors of the channel protocol as a C header: `vectors.py channel.json >vectors.h`."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any


def literal(data: str) -> str:
    """Bytes, given in hex, as a C expression of type struct bytes."""
    escaped = "".join(f"\\x{data[index : index + 2]}" for index in range(0, len(data), 2))
    return f'{{(const uint8_t *)"{escaped}", {len(data) // 2}}}'


def stream(vector: dict[str, Any]) -> str:
    """A vector about a stream of frames."""
    frames = vector.get("frames", [])
    listed = ", ".join(f"{{{frame['code']}, {frame['stream']}u, {literal(frame['payload'])}}}" for frame in frames)
    refusals = {"too_long": "FRAME_TOO_LONG", "bad_type": "FRAME_BAD_TYPE"}
    end = refusals.get(vector.get("refusal", ""), "FRAME_NONE")
    host = "true" if vector["from"] == "host" else "false"
    name = json.dumps(vector["name"])
    return f"    {{{name}, {host}, {literal(vector['hex'])}, {len(frames)}, {{{listed or '{0}'}}}, {end}}},"


def message(vector: dict[str, Any]) -> str:
    """A vector about one message."""
    fields = vector.get("fields", [])
    listed = ", ".join(f"{{{tag}, {literal(value)}}}" for tag, value in fields)
    name = json.dumps(vector["name"])
    return f"    {{{name}, {literal(vector['hex'])}, {len(fields)}, {{{listed or '{0}'}}}}},"


def main() -> None:
    """Print the header."""
    vectors = json.loads(Path(sys.argv[1]).read_text())
    streams = vectors["frames"] + vectors["incomplete"] + vectors["refused_frames"]
    malformed = [
        each for each in vectors["refused_messages"] if each["refusal"] in ("truncated", "overrun", "repeated")
    ]
    print("/* Made by tests/vectors.py. */")
    print("static const struct stream_vector stream_vectors[] = {")
    print("\n".join(map(stream, streams)))
    print("};\nstatic const struct message_vector message_vectors[] = {")
    print("\n".join(map(message, vectors["messages"])))
    print("};\nstatic const struct message_vector malformed_vectors[] = {")
    print("\n".join(map(message, malformed)))
    print("};")


if __name__ == "__main__":
    main()
