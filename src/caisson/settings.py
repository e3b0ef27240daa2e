"""Settings: `CAISSON_*` environment variables, and a `.env` file that loses to them."""

from __future__ import annotations

import os
import re
from ipaddress import IPv4Network, ip_address
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, ValidationInfo, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict


def default_data_dir() -> Path:
    """`$XDG_DATA_HOME/caisson`, or `~/.local/share/caisson`."""
    base = os.environ.get("XDG_DATA_HOME")
    return (Path(base) if base else Path.home() / ".local/share") / "caisson"


def split_listen(listen: str) -> tuple[str, int]:
    """Host and port of `HOST:PORT` or `[HOST]:PORT`. Raises ValueError if it is neither."""
    host, _, port = listen.rpartition(":")
    if not host or not port.isdecimal() or int(port) > 65_535:
        raise ValueError(f"`{listen}` is not HOST:PORT")
    return host.strip("[]"), int(port)


def split_server(server: str) -> tuple[str, int]:
    """Address and port, 53 if not given, of `ADDRESS`, `ADDRESS:PORT` or `[ADDRESS]:PORT`. Raises ValueError."""
    try:
        return str(ip_address(server)), 53
    except ValueError:
        host, port = split_listen(server)
        return str(ip_address(host)), port


def is_loopback(host: str) -> bool:
    """True if only this machine can reach `host`."""
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


class Settings(BaseSettings):
    """Everything an operator can set. Each field is `CAISSON_<NAME>`; its docstring is the reference."""

    model_config = SettingsConfigDict(
        env_prefix="CAISSON_", env_file=".env", extra="ignore", use_attribute_docstrings=True, frozen=True
    )

    listen: str = "127.0.0.1:8080"
    """Address and port the server listens on. Any address but loopback needs API keys."""
    data_dir: Path = Field(default_factory=default_data_dir)
    """Folder for the database, uploads and sandboxes. One server at a time."""
    database_url: str | None = None
    """SQLAlchemy URL of the store (`sqlite:///…`, `postgresql+psycopg://…`), each server its own. Default: SQLite in
    the data folder."""
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """Least severity that is logged."""
    log_format: Literal["auto", "json", "console"] = "auto"
    """`auto` is `console` on a terminal and `json` elsewhere."""
    node_id: str | None = None
    """Name of this node, another for each server: letters, digits, - and _. Default: made once and kept in the
    data folder."""

    backends: Annotated[tuple[str, ...], NoDecode] = ("isolate", "gvisor", "microvm")
    """Backends to load, by entry-point name, separated by commas."""
    runsc: str = "runsc"
    """gVisor's program: a name that is looked up in PATH, or a path."""
    gvisor_platform: Literal["auto", "systrap", "ptrace", "kvm"] = "auto"
    """How gVisor catches system calls. `auto` is the first of these that works here."""
    microvm_emulation: bool = False
    """Let micro-VMs run emulated where there is no KVM. Slow, and no security boundary."""
    microvm_vmm: Literal["auto", "firecracker", "qemu"] = "auto"
    """What runs micro-VMs. `auto`: Firecracker where KVM works and it is there or can be fetched, else QEMU."""
    microvm_disk_mb_s: int = Field(default=0, ge=0)
    """Most that a micro-VM under Firecracker reads and writes, in MiB a second for each disk. 0: no limit."""
    microvm_network_mb_s: int = Field(default=0, ge=0)
    """Most that a micro-VM under Firecracker sends, and receives, in MiB a second. 0: no limit."""
    firecracker_bin: Path | None = None
    """Firecracker's program. Default: the one downloaded, or installed."""
    jailer_bin: Path | None = None
    """Firecracker's jailer. Default: the one beside Firecracker, or installed."""
    jailer: bool = True
    """Start Firecracker through its jailer where the server runs as root. `false` is for finding faults only."""
    auto_download: bool = True
    """Download Firecracker and its jailer when they are missing and KVM works."""
    firecracker_release: Path | None = None
    """JSON file that names the release to download, for a mirror or another version. Default: the one shipped."""
    microvm_kernel: Path | None = None
    """The guest's kernel, with every driver built in. Default: the image `kernel`, or `kernel-cloud`."""
    microvm_snapshots: bool = True
    """Start micro-VMs as copies of a saved machine. `false`: each is booted."""
    templates_dir: Path | None = None
    """Folder of the saved machines that micro-VMs are copies of; servers may share it. Default: in the data folder."""
    images_dir: Path | None = None
    """Folder of the guest images. Default: `images` in the data folder."""
    images_source: str | None = None
    """Where guest images are pulled from: `https://…`, `oci://HOST/PATH`, or a folder. Default: they are built here."""
    images_keys: Annotated[tuple[str, ...], NoDecode] = ()
    """Public keys (`ed25519:…`), separated by commas, one of which must have signed an image that is pulled."""
    images_keep_days: float = Field(default=30, gt=0)
    """Guest images that are not the current ones are removed when nothing has used them for this many days."""
    images_keep_mb: int = Field(default=20_480, ge=0)
    """Guest images that are not the current ones are removed, the longest unused first, above this many MiB in all."""
    images_signing_key: Path | None = None
    """PEM file of the ed25519 private key that `caisson images push` signs with."""
    oci_registries: Annotated[tuple[str, ...], NoDecode] = ()
    """The only registries (`HOST` or `HOST:PORT`) that runtime `oci` takes images from, separated by commas. Default:
    any."""
    oci_insecure_registries: Annotated[tuple[str, ...], NoDecode] = ()
    """Registries that are talked to without TLS or without checking their certificate, separated by commas."""
    oci_auth_file: Path | None = None
    """Credentials for registries, as `docker login` writes them. Default: the usual files of podman and docker."""
    oci_max_mb: int = Field(default=4_096, ge=1)
    """Largest image from a registry, in MiB, downloaded as well as unpacked."""
    oci_timeout_s: float = Field(default=300, gt=0)
    """Longest that fetching an image from a registry, and unpacking it, may each take."""
    oci_refresh_s: float = Field(default=300, ge=0)
    """For how long a tag stands for the same image without its registry being asked again."""
    oci_offline: bool = True
    """Use the image a tag last stood for while its registry cannot be reached."""
    oci_keep_days: float = Field(default=30, gt=0)
    """Images from registries are removed when nothing has used them for this many days."""
    oci_keep_mb: int = Field(default=20_480, ge=0)
    """Images from registries are removed, the longest unused first, above this many MiB."""
    jail_uid_base: int = Field(default=700_000, ge=1_000, le=4_000_000_000)
    """First of the user ids given to sandboxes when the server runs as root; 30,000 from here on are used."""

    max_running: int = Field(default=0, ge=0, le=100_000)
    """Most workloads that run at once on this node. 0: four for each CPU."""
    max_memory_mb: int = Field(default=0, ge=0)
    """Most memory promised to running workloads, in MiB. 0: three quarters of the machine's."""
    queue_limit: int = Field(default=10_000, ge=0)
    """Most workloads that wait; one more is refused with 503."""
    warm_node: int = Field(default=4, ge=0, le=1_000)
    """Deno sandboxes that wait for JavaScript and TypeScript."""
    warm_wasm: int = Field(default=1, ge=0, le=1_000)
    """wasmtime sandboxes that wait for WebAssembly."""
    warm_microvm_python: int = Field(default=1, ge=0, le=1_000)
    """Stopped micro-VMs that wait for Python, where micro-VMs work."""
    warm_microvm_node: int = Field(default=0, ge=0, le=1_000)
    """Stopped micro-VMs that wait for JavaScript and TypeScript, where micro-VMs work."""
    warm_python: int = Field(default=2, ge=0, le=1_000)
    """gVisor sandboxes that wait for Python, with the interpreter started; each holds about 50 MiB."""
    warm_gvisor_node: int = Field(default=0, ge=0, le=1_000)
    """gVisor sandboxes that wait for Node.js, with the interpreter started; each holds about 80 MiB."""
    warm_go: int = Field(default=1, ge=0, le=1_000)
    """gVisor sandboxes that wait for Go."""
    warm_bash: int = Field(default=1, ge=0, le=1_000)
    """gVisor sandboxes that wait for shell programs."""
    warm_growth: float = Field(default=2, ge=1, le=100)
    """While bursts of requests come, up to this many times the configured number of sandboxes wait; 1: never more."""
    warm_memory_mb: int = Field(default=0, ge=0)
    """Most memory that sandboxes which wait may hold, in MiB, about: fewer than configured wait where it does not
    reach. 0: an eighth of the machine's."""
    warm_age_s: float = Field(default=3_600, gt=0)
    """A sandbox that waited this long is replaced by a fresh one."""
    go_cache_mb: int = Field(default=1_024, ge=0)
    """Compiled Go programs are kept for the same sources to be run again, up to this many MiB; the oldest go first."""
    start_timeout_s: float = Field(default=20, gt=0)
    """Longest a sandbox may take to become ready."""
    shutdown_grace_s: float = Field(default=10, ge=0)
    """How long running workloads may go on after SIGTERM before they are killed."""

    network_links: IPv4Network = IPv4Network("198.18.0.0/16")
    """Addresses for the links between this host and workloads that have a network, two for each. Not used elsewhere."""
    network_ahead: int = Field(default=1, ge=0, le=1_000)
    """Networks that wait, made ahead, from the first workload on that used one."""
    network_forbidden: Annotated[tuple[IPv4Network, ...], NoDecode] = ()
    """Address ranges that no workload reaches, whatever it asks for, separated by commas."""
    name_servers: Annotated[tuple[str, ...], NoDecode] = ()
    """Name servers that workloads' names are resolved by, `ADDRESS` or `ADDRESS:PORT`, separated by commas. Default:
    this host's own."""

    retention_days: float = Field(default=30, gt=0)
    """Finished workloads and their logs are removed after this many days."""
    retention_mb: int = Field(default=10_240, ge=1)
    """Stored logs are removed, oldest workloads first, above this many MiB."""
    idempotency_hours: float = Field(default=24, gt=0)
    """How long an `Idempotency-Key` is remembered."""
    key_guesses: int = Field(default=10, ge=0)
    """Wrong API keys that may come from an address before it must wait. 0: any number."""
    oidc_issuer: str | None = None
    """OpenID Connect issuer (its `iss`) whose tokens are taken beside API keys. Needs `CAISSON_OIDC_AUDIENCE`."""
    oidc_audience: str | None = None
    """What a token's `aud` must name: this server."""
    oidc_keys_url: str | None = None
    """Where the issuer's keys (JWKS) lie. Default: where its description says."""
    oidc_tenant_claim: str = "tenant"
    """Claim that names the tenant a token is of."""
    oidc_scopes_claim: str = "scope"
    """Claim with a token's scopes: words with spaces between, or a list."""
    oidc_scope_prefix: str = "caisson:"
    """What stands before `run`, `read` and `admin` in that claim."""
    oidc_leeway_s: float = Field(default=30, ge=0, le=300)
    """How far the issuer's clock may be from this one's."""
    audit_days: float = Field(default=365, ge=1)
    """Entries of the audit log are removed after this many days."""
    trusted_hosts: Annotated[tuple[str, ...], NoDecode] = ()
    """Further names that a `Host` header may carry, separated by commas; needed behind a reverse proxy."""
    otlp_endpoint: str | None = None
    """OpenTelemetry collector (OTLP over HTTP) that traces are sent to. Default: none."""

    @field_validator("*", mode="before")
    @classmethod
    def _empty_is_left_out(cls, value: object, info: ValidationInfo) -> object:
        field = cls.model_fields[info.field_name or ""]
        # What is unset unless somebody sets it, and every path: an empty one would be the working directory.
        unset = field.default is None or field.default_factory is not None
        return field.get_default(call_default_factory=True) if unset and value == "" else value

    @field_validator("listen")
    @classmethod
    def _check_listen(cls, value: str) -> str:
        split_listen(value)
        return value

    @field_validator("node_id")
    @classmethod
    def _check_node_id(cls, value: str | None) -> str | None:
        # Control groups, namespaces and rules bear it, with more behind a full stop.
        if value and not re.fullmatch(r"[A-Za-z0-9_-]{1,40}", value):
            raise ValueError("a node's name is 1 to 40 letters, digits, - and _")
        return value

    @field_validator(
        "backends",
        "images_keys",
        "oci_registries",
        "oci_insecure_registries",
        "trusted_hosts",
        "network_forbidden",
        "name_servers",
        mode="before",
    )
    @classmethod
    def _split(cls, value: object) -> object:
        return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value

    @field_validator("name_servers")
    @classmethod
    def _check_name_servers(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for server in value:
            split_server(server)
        return value

    @model_validator(mode="after")
    def _check_oidc(self) -> Settings:
        if (self.oidc_issuer is None) != (self.oidc_audience is None):
            raise ValueError("oidc_issuer and oidc_audience are set together or not at all")
        return self

    @field_validator("network_links")
    @classmethod
    def _check_links(cls, value: IPv4Network) -> IPv4Network:
        if value.prefixlen > 30:
            raise ValueError("a range of at least 4 addresses is needed")
        return value

    @property
    def store_url(self) -> str:
        """The store's SQLAlchemy URL."""
        return self.database_url or f"sqlite:///{self.data_dir / 'caisson.db'}"

    @property
    def images_folder(self) -> Path:
        """`images_dir`, or `images` in the data folder."""
        return self.images_dir or self.data_dir / "images"

    @property
    def oci_folder(self) -> Path:
        """Where images from registries are kept."""
        return self.images_folder / "oci"

    @property
    def cpus(self) -> int:
        """CPUs this process may use."""
        return len(os.sched_getaffinity(0))

    @property
    def running_limit(self) -> int:
        """`max_running`, or four for each CPU this process may use."""
        return self.max_running or 4 * self.cpus

    @property
    def memory_limit_mb(self) -> int:
        """`max_memory_mb`, or three quarters of the machine's memory."""
        return self.max_memory_mb or int(_machine_bytes() * 0.75) >> 20

    @property
    def warm_limit_mb(self) -> int:
        """`warm_memory_mb`, or an eighth of the machine's memory."""
        return self.warm_memory_mb or _machine_bytes() >> 23


def _machine_bytes() -> int:
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
