"""What all models share: naming, freezing, strictness, and how an invalid object becomes an error.

Decides how JSON of the API server turns into frozen values: a *spec* is read strictly (a value that
breaks its field's rule raises ``InvalidError``), a *status* leniently (what a stranger wrote into it
counts as absent), and fields of newer versions are ignored in both. Built in Python, both are strict
and unknown fields are mistakes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Final, Self

from pydantic import BaseModel, ConfigDict, ValidationError, ValidationInfo, field_validator, model_serializer

from meshca.api.v1alpha1.scalars import PATTERNS
from meshca.errors import InvalidError

if TYPE_CHECKING:
    from pydantic import SerializerFunctionWrapHandler, ValidatorFunctionWrapHandler
    from pydantic_core import ErrorDetails

_ACRONYMS: Final = {"ttl": "TTL", "id": "ID"}
_READING: Final = {"reading": True}
_LONGEST_SHOWN: Final = 120


def camel(name: str) -> str:
    """Turn ``max_ttl`` into ``maxTTL`` and ``subject_key_id`` into ``subjectKeyID``."""
    first, *rest = name.rstrip("_").split("_")
    return first + "".join(_ACRONYMS.get(word, word.capitalize()) for word in rest)


class Model(BaseModel):
    """A frozen part of an object."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", alias_generator=camel, populate_by_name=True, use_enum_values=False
    )
    # Blocks whose defaults the operator applies, because absence means something, set this to False.
    defaults_in_schema: ClassVar[bool] = True

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-ready data under the API's names, absent fields left out."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)

    def as_written(self) -> dict[str, Any]:
        """Return JSON-ready data under the API's names, only the fields that were given."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True, exclude_unset=True)

    @classmethod
    def read(cls, data: Any, *, at: str = "") -> Self:
        """Read JSON of the API server; ``at`` is where it stood, such as ``spec``.

        ``data`` may come from an untrusted user. Raises ``InvalidError`` naming field, value and bound.
        """
        try:
            return cls.model_validate(data, extra="ignore", context=_READING, by_alias=True, by_name=False)
        except ValidationError as error:
            raise InvalidError(explain(error, at=at)) from None


class StatusModel(Model):
    """A part of a status: when read, a field that makes no sense counts as absent.

    Written, empty texts, lists and blocks are left out; numbers stay, because zero says something.
    """

    keeps_empty: ClassVar[bool] = False

    @model_serializer(mode="wrap")
    def _leave_out_empty(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        written: dict[str, Any] = handler(self)
        if self.keeps_empty:
            return written
        return {key: value for key, value in written.items() if value not in ("", [], (), {}, None)}

    @field_validator("*", mode="wrap")
    @classmethod
    def _forgive(cls, value: Any, handler: ValidatorFunctionWrapHandler, info: ValidationInfo) -> Any:
        if info.context is not _READING:
            return handler(value)
        try:
            return handler(value)
        except ValidationError:
            assert info.field_name is not None
            return cls.model_fields[info.field_name].get_default(call_default_factory=True)

    @classmethod
    def read(cls, data: Any, *, at: str = "") -> Self:
        """Read JSON that anybody may have written; never raises."""
        return super().read(data if isinstance(data, dict) else {}, at=at)


def explain(error: ValidationError, *, at: str = "") -> str:
    """Say in one line what is wrong, naming fields, values and bounds, with no PEM in it."""
    details = error.errors(include_url=False)
    return "; ".join(_explain_one(d, at) for d in details if d["type"] != "default_factory_not_called")


def _explain_one(detail: ErrorDetails, at: str) -> str:
    path = at
    for part in detail["loc"]:
        path += f"[{part}]" if isinstance(part, int) else f".{part}" if path else str(part)
    text = str(detail.get("ctx", {}).get("error") or detail["msg"])
    value = detail["input"]
    if detail["type"] == "string_pattern_mismatch":
        text = PATTERNS.get(detail["ctx"]["pattern"], text)
    if detail["type"] == "missing":
        return f"{path} is required"
    if not isinstance(value, str | int | float) or "-----" in str(value):
        return text if text.startswith("spec.") else f"{path}: {text}"
    shown = str(value) if len(str(value)) <= _LONGEST_SHOWN else str(value)[:_LONGEST_SHOWN] + "…"
    return f"{path} {shown!r}: {text}"
