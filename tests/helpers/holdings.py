"""What a server holds, sampled for as long as something goes on, and the chart of it."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path

from tests.helpers.processes import descendants
from tests.helpers.server import Server

COLOURS = ("#2563eb", "#d97706", "#059669", "#dc2626", "#7c3aed", "#0e7490")
FONT = 'font-family="sans-serif" font-size="11"'
Held = dict[str, float]


def held(server: Server) -> Held:
    """What the server holds now."""
    process = Path(f"/proc/{server.process.pid}")
    status = dict(line.split(":", 1) for line in (process / "status").read_text().splitlines())
    with server.client() as http:
        tasks = re.search(r"^caisson_event_loop_tasks (\S+)$", http.get("/metrics").text, re.MULTILINE)
    return {
        "descriptors": len(list((process / "fd").iterdir())),
        "threads": float(status["Threads"]),
        "tasks": float(tasks.group(1)) if tasks else 0.0,
        "processes": len(descendants(server.process.pid)),
        "files": sum(len(files) for _, _, files in os.walk(server.data_dir)),
        "memory MiB": round(int(status["VmRSS"].split()[0]) / 1024, 1),
    }


def chart(samples: Sequence[Held], every_s: float) -> str:
    """Every series against its own largest value, over time."""
    lines = []
    for colour, (row, name) in zip(COLOURS, enumerate(samples[0]), strict=True):
        values = [sample[name] for sample in samples]
        top = 20 + row * 70
        points = " ".join(
            f"{60 + 620 * number / max(1, len(values) - 1):.1f},{top + 50 - 50 * value / (max(values) or 1):.1f}"
            for number, value in enumerate(values)
        )
        lines.append(f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="1.5"/>')
        lines.append(f'<line x1="60" x2="680" y1="{top + 50}" y2="{top + 50}" stroke="#ccc"/>')
        label = f"{name}: {min(values):g} to {max(values):g}"
        lines.append(f'<text x="60" y="{top - 4}" {FONT} fill="{colour}">{label}</text>')
    minutes = len(samples) * every_s / 60
    lines.append(f'<text x="620" y="455" {FONT}>{minutes:.0f} minutes</text>')
    body = "\n".join(lines)
    head = '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 720 465" role="img">'
    return f'{head}\n<rect width="720" height="465" fill="#fff"/>\n{body}\n</svg>\n'
