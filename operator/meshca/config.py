"""The settings of one operator process: flags and ``MESHCA_*`` variables in, one validated model out.

Decides what a setting may be and where it comes from (a flag beats a variable, a variable beats the
default); never reads files, and never changes after start: what may change at run time belongs into a
CAConfiguration. This is the only place that reads the environment.

A variable that begins with ``MESHCA_`` and is no setting is an error, because a misspelt one would
otherwise be ignored in silence. The variables that Kubernetes injects for a Service called ``meshca...``
look alike and are let pass.
"""

from __future__ import annotations

import argparse
import difflib
import ipaddress
import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal, NoReturn, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    JsonValue,
    ValidationError,
    field_validator,
)

from meshca import __version__
from meshca.errors import MisconfiguredError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pydantic.fields import FieldInfo

PREFIX: Final = "MESHCA_"
_DNS_LABEL: Final = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")
_DNS_SUBDOMAIN: Final = re.compile(rf"{_DNS_LABEL.pattern}(\.{_DNS_LABEL.pattern})*")
_LABEL_MAX: Final = 63
_SUBDOMAIN_MAX: Final = 253
_SERVICE_LINK: Final = re.compile(
    r"^MESHCA_(\w+_)?(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT|PORT_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)$"
)


def _comma_separated(value: object) -> object:
    if isinstance(value, str):
        return tuple(part.strip() for part in value.split(",") if part.strip())
    return value


def _label(value: str) -> str:
    if len(value) > _LABEL_MAX or not _DNS_LABEL.fullmatch(value):
        raise ValueError(f"must be a DNS label: lower-case letters, digits and -, at most {_LABEL_MAX}")
    return value


def _subdomain(value: str) -> str:
    if len(value) > _SUBDOMAIN_MAX or not _DNS_SUBDOMAIN.fullmatch(value):
        raise ValueError(f"must be DNS labels joined by dots, at most {_SUBDOMAIN_MAX} characters")
    return value


def _ip_address(value: str) -> str:
    return str(ipaddress.ip_address(value))


Label = Annotated[str, AfterValidator(_label)]
Subdomain = Annotated[str, AfterValidator(_subdomain)]
Port = Annotated[int, Field(ge=1, le=65535)]
NamespaceNames = Annotated[
    tuple[Annotated[str, AfterValidator(lambda name: name if name == "*" else _label(name))], ...],
    BeforeValidator(_comma_separated),
]
Subdomains = Annotated[tuple[Subdomain, ...], BeforeValidator(_comma_separated), Field(min_length=1)]


def _setting(*default: Any, doc: str, unit: str = "", env: str = "") -> Any:
    """Declare a setting; ``doc`` and ``unit`` are for ``--help``, ``env`` where the name is not ours."""
    extra: dict[str, JsonValue] = {"unit": unit, "env": env}
    return Field(*(default or (...,)), description=doc, json_schema_extra=extra)


class Settings(BaseModel):
    """Everything that is decided when the process starts."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    namespace: Label = _setting(doc="namespace of the operator: CA keys and the Lease live here")
    pod_name: Subdomain = _setting(doc="name of this Pod: identity in the Lease, unique for each replica")
    service_account: Subdomain = _setting(doc="name of the ServiceAccount that this Pod runs as")
    http_host: Annotated[str, AfterValidator(_ip_address)] = _setting(
        "127.0.0.1", doc="address on which /healthz, /readyz and /metrics are served", unit="IP address"
    )
    http_port: Port = _setting(8080, doc="port of the same", unit="TCP port")
    lease_name: Subdomain = _setting("meshca", doc="Lease that elects the leader")
    break_glass_group: Annotated[str, Field(min_length=1)] = _setting(
        "meshca:break-glass", doc="group that may write CA objects beside the operator"
    )
    managed_key_namespaces: NamespaceNames = _setting(
        (), doc="namespaces in which the operator may keep managed keys; * for all", unit="comma-separated"
    )
    trust_bundle_names: Subdomains = _setting(
        ("meshca-trust-bundle",),
        doc="names of trust-bundle ConfigMaps that the RBAC rules allow",
        unit="comma-separated",
    )
    log_format: Literal["json", "console"] = _setting("json", doc="one JSON object or one text for each line")
    log_level: Literal["debug", "info", "warning", "error"] = _setting(
        "info", doc="least level that is shown"
    )
    workers: Annotated[int, Field(ge=1, le=256)] = _setting(
        16, doc="objects that are worked on at once", unit="count"
    )
    token_dir: Path = _setting(
        Path("/var/run/secrets/kubernetes.io/serviceaccount"),
        doc="directory with token and ca.crt of the ServiceAccount",
        unit="path",
    )
    kubernetes_service_host: Annotated[str, Field(min_length=1)] = _setting(
        doc="address of the API server, as a kubelet injects it", env="KUBERNETES_SERVICE_HOST"
    )
    kubernetes_service_port: Port = _setting(
        443, doc="port of the API server", unit="TCP port", env="KUBERNETES_SERVICE_PORT"
    )

    @field_validator("managed_key_namespaces")
    @classmethod
    def _star_stands_alone(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        if "*" in names and len(names) > 1:
            raise ValueError("* means every namespace and stands alone")
        return names

    @property
    def username(self) -> str:
        """Return the name under which the API server knows this process."""
        return f"system:serviceaccount:{self.namespace}:{self.service_account}"

    def keeps_keys_in(self, namespace: str) -> bool:
        """Whether managed keys are allowed in a namespace."""
        return "*" in self.managed_key_namespaces or namespace in self.managed_key_namespaces

    @classmethod
    def from_args(cls, argv: Sequence[str], environ: Mapping[str, str]) -> Self:
        """Read flags (without the program's name) and environment.

        Raises ``MisconfiguredError`` with one line that names the flag, the variable and what is wrong,
        and ``SystemExit(0)`` after ``--help`` or ``--version``.
        """
        _refuse_unknown(environ)
        given: dict[str, Any] = {
            name: environ[env_name(name)] for name in cls.model_fields if environ.get(env_name(name))
        }
        given |= {name: value for name, value in vars(parser().parse_args(argv)).items() if value is not None}
        try:
            return cls.model_validate(given)
        except ValidationError as error:
            raise MisconfiguredError(_one_line(error)) from None


def env_name(name: str) -> str:
    """Return the environment variable of a setting."""
    return _extra(Settings.model_fields[name])["env"] or PREFIX + name.upper()


def flag(name: str) -> str:
    """Return the command-line flag of a setting."""
    return "--" + name.replace("_", "-")


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise MisconfiguredError(f"{message} (see --help)")


def parser() -> argparse.ArgumentParser:
    """Build the command line from the model; values stay text until the model validates them."""
    built = _Parser(
        prog="meshca-operator",
        description="The certificate authority of a service mesh, as a Kubernetes operator.",
        epilog="Exit codes: 0 asked to stop, 1 Lease lost or failure (start again), 2 settings are wrong.",
        allow_abbrev=False,
    )
    built.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    for name, field in Settings.model_fields.items():
        built.add_argument(flag(name), metavar="VALUE", help=_help(name, field))
    return built


def _help(name: str, field: FieldInfo) -> str:
    unit = _extra(field)["unit"]
    default = "required" if field.is_required() else f"default: {_shown(field.default)}"
    notes = "; ".join(filter(None, [unit, env_name(name), default]))
    return f"{field.description} [{notes}]".replace("%", "%%")


def _shown(default: object) -> str:
    return ",".join(default) or "none" if isinstance(default, tuple) else str(default)


def _extra(field: FieldInfo) -> dict[str, str]:
    extra = field.json_schema_extra
    return {key: str(value) for key, value in extra.items()} if isinstance(extra, dict) else {}


def _refuse_unknown(environ: Mapping[str, str]) -> None:
    known = {env_name(name) for name in Settings.model_fields}
    for variable in sorted(environ):
        if not variable.startswith(PREFIX) or variable in known or _is_service_link(variable, environ):
            continue
        close = difflib.get_close_matches(variable, known, n=1)
        hint = f"; did you mean {close[0]}?" if close else " (see --help)"
        raise MisconfiguredError(f"{variable} is no setting of this version{hint}")


def _is_service_link(variable: str, environ: Mapping[str, str]) -> bool:
    """Tell a variable that Kubernetes injects for a Service from a misspelt setting."""
    if not _SERVICE_LINK.match(variable):
        return False
    bare_port = re.fullmatch(r"MESHCA_(\w+_)?PORT", variable) and not re.search(r"SERVICE|PORT_\d", variable)
    return not bare_port or "://" in environ[variable]


def _one_line(error: ValidationError) -> str:
    """Say what is missing, or what is wrong with the first bad setting and how many more there are."""
    problems = error.errors(include_url=False, include_context=False)
    missing = [str(problem["loc"][0]) for problem in problems if problem["type"] == "missing"]
    if missing:
        return "required: " + ", ".join(f"{flag(name)} ({env_name(name)})" for name in missing)
    name, value = str(problems[0]["loc"][0]), problems[0]["input"]
    text = problems[0]["msg"].removeprefix("Value error, ")
    more = len({problem["loc"][0] for problem in problems} - {name})
    return f"{flag(name)} ({env_name(name)}): {text}, got {value!r}" + (f" (and {more} more)" if more else "")
