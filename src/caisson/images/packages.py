"""The Debian packages of a root file system, and the bill of materials made of them."""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

import msgspec

from caisson.images.manifest import PackageRecord

STATUS = Path("var/lib/dpkg/status")
_NAMESPACE = uuid.UUID("5d8a1f52-3a3b-4c0e-9a8e-0b7c6f2d9e11")


def installed(root: Path) -> tuple[PackageRecord, ...]:
    """What dpkg says is installed in `root`, by name."""
    found = [
        _record(fields) for fields in _paragraphs(root / STATUS) if fields.get("Status", "").endswith(" installed")
    ]
    return tuple(sorted(found, key=lambda package: (package.name, package.arch)))


def upstream(version: str) -> str:
    """A Debian version without epoch, revision and what Debian left out of the source, fit for a tag."""
    text = version.partition(":")[2] or version
    text = re.sub(r"[+~.]dfsg.*", "", text.rpartition("-")[0] or text)
    return re.sub(r"[^A-Za-z0-9._-]", "-", text)


def spdx(name: str, version: str, suite: str, packages: tuple[PackageRecord, ...], epoch_s: int) -> bytes:
    """The bill of materials as SPDX 2.3 in JSON; the same for the same packages."""
    listed = [
        {
            "SPDXID": f"SPDXRef-Package-{index}",
            "name": package.name,
            "versionInfo": package.version,
            "supplier": "Organization: Debian",
            "downloadLocation": "NOASSERTION",
            "filesAnalyzed": False,
            "licenseConcluded": "NOASSERTION",
            "licenseDeclared": "NOASSERTION",
            "copyrightText": "NOASSERTION",
            "sourceInfo": f"built from: {package.source} {package.source_version}",
            "externalRefs": [
                {
                    "referenceCategory": "PACKAGE-MANAGER",
                    "referenceType": "purl",
                    "referenceLocator": f"pkg:deb/debian/{quote(package.name)}@{quote(package.version, safe='')}"
                    f"?arch={package.arch}&distro={suite}",
                }
            ],
        }
        for index, package in enumerate(packages)
    ]
    document: dict[str, Any] = {
        "spdxVersion": "SPDX-2.3",
        "dataLicense": "CC0-1.0",
        "SPDXID": "SPDXRef-DOCUMENT",
        "name": f"caisson-{name}-{version}",
        "documentNamespace": f"urn:uuid:{uuid.uuid5(_NAMESPACE, f'{name} {version}')}",
        "creationInfo": {
            "created": datetime.fromtimestamp(epoch_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            "creators": ["Tool: caisson"],
        },
        "packages": listed,
        "relationships": [
            {
                "spdxElementId": "SPDXRef-DOCUMENT",
                "relationshipType": "DESCRIBES",
                "relatedSpdxElement": package["SPDXID"],
            }
            for package in listed
        ],
    }
    return msgspec.json.format(msgspec.json.encode(document), indent=1) + b"\n"


def _paragraphs(path: Path) -> Iterator[dict[str, str]]:
    for paragraph in path.read_text(encoding="utf-8").split("\n\n"):
        fields = (line.partition(": ") for line in paragraph.splitlines() if not line.startswith((" ", "\t")))
        yield {name: value for name, _, value in fields}


def _record(fields: dict[str, str]) -> PackageRecord:
    source, _, source_version = fields.get("Source", fields["Package"]).partition(" ")
    return PackageRecord(
        name=fields["Package"],
        version=fields["Version"],
        arch=fields["Architecture"],
        source=source,
        source_version=source_version.strip("()") or fields["Version"],
    )
