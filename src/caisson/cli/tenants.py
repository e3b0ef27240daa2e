"""`caisson tenants`: what each tenant may use, directly in the store of this machine's server."""

from __future__ import annotations

from typing import Annotated

import msgspec
import typer

from caisson.cli.failing import fail
from caisson.cli.keys import DataDir, noted, with_store
from caisson.cli.options import Json
from caisson.model import Isolation
from caisson.tenants import ANYBODY, TenantPolicy

app = typer.Typer(
    help="What each tenant may use. A running server knows of every change within a second.", no_args_is_help=True
)
Name = Annotated[str, typer.Argument(metavar="NAME", help="The tenant's name, as its keys have it.")]


@app.command("set")
def put(
    name: Name,
    weight: Annotated[float | None, typer.Option(help="Its share of the places when there are too few: 1.")] = None,
    concurrent: Annotated[int | None, typer.Option(metavar="N", help="Most workloads that wait or run.")] = None,
    per_minute: Annotated[int | None, typer.Option(metavar="N", help="Most workloads accepted in a minute.")] = None,
    cpu_s_per_day: Annotated[float | None, typer.Option(metavar="S", help="Most CPU-seconds in 24 hours.")] = None,
    mem_mb: Annotated[int | None, typer.Option(metavar="MIB", help="Most memory of all that waits or runs.")] = None,
    image_mb: Annotated[int | None, typer.Option(metavar="MIB", help="Most MiB of images it had fetched.")] = None,
    least_isolation: Annotated[Isolation | None, typer.Option(help="The weakest its workloads may have.")] = None,
    data_dir: DataDir = None,
    json: Json = False,
) -> None:
    """Set what a tenant may use. What is left out has no limit, whatever was set before."""
    given = {
        "weight": 1.0 if weight is None else weight,
        "concurrent": concurrent,
        "per_minute": per_minute,
        "cpu_s_per_day": cpu_s_per_day,
        "mem_mb": mem_mb,
        "image_mb": image_mb,
        "least_isolation": least_isolation,
    }
    try:
        policy = msgspec.convert(given, TenantPolicy)
    except msgspec.ValidationError as error:
        raise typer.BadParameter(str(error)) from error
    with_store(
        data_dir, lambda store: store.put_tenant(name, policy), noted(name, "tenant.set", name, policy_text(policy))
    )
    _show({name: policy}, json=json)


@app.command("ls")
def list_tenants(data_dir: DataDir = None, json: Json = False) -> None:
    """List the tenants something is set for; all others have no limits."""
    _show(with_store(data_dir, lambda store: store.tenants()), json=json)


@app.command("rm")
def remove(name: Name, data_dir: DataDir = None) -> None:
    """Forget what is set for a tenant, who then has no limits. Its keys and workloads stay."""
    if not with_store(data_dir, lambda store: store.put_tenant(name, None), noted(name, "tenant.rm", name)):
        fail(f"nothing is set for a tenant {name}; `caisson tenants ls` shows those it is")
    typer.echo(f"{name} has no limits now")


def policy_text(policy: TenantPolicy) -> str:
    """What is set, in a line."""
    members = {name: getattr(policy, name) for name in policy.__struct_fields__}
    usual = {name: getattr(ANYBODY, name) for name in policy.__struct_fields__}
    return ", ".join(f"{name} {value}" for name, value in members.items() if value != usual[name]) or "no limits"


def _show(policies: dict[str, TenantPolicy], *, json: bool) -> None:
    from caisson.cli import tables, terminal

    if json:
        terminal.print_json(policies)
    else:
        terminal.show(tables.tenants({name: policy_text(policy) for name, policy in policies.items()}))
