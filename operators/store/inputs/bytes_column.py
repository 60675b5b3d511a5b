"""Which column of a table holds files: the first of NAMES that holds bytes, or else the one that holds structs of
bytes and path, as Hugging Face writes its features."""

from __future__ import annotations

from dataclasses import dataclass

import pyarrow as pa

from schemas.errors import SpecError

NAMES = ("bytes", "image", "video", "document", "pdf")
SOUND = "audio"


@dataclass(frozen=True)
class BytesColumn:
    """in_struct: as `bytes`, beside a `path`."""

    name: str
    in_struct: bool = False
    has_path: bool = False

    @property
    def leaf(self) -> str:
        """Its path in the schema of Parquet."""
        return f"{self.name}.bytes" if self.in_struct else self.name

    @property
    def path_leaf(self) -> str:
        return f"{self.name}.path"


def column_of_bytes(schema: pa.Schema) -> BytesColumn | None:
    """Raises SpecError where several would do and none has a name of NAMES."""
    columns = {field.name: _as_column(field) for field in schema}
    for name in NAMES:
        if (column := columns.get(name)) is not None:
            return column
    structs = [column for name, column in columns.items() if column and column.has_path and name != SOUND]
    if len(structs) > 1:
        names = " and ".join(repr(column.name) for column in structs[:2])
        raise SpecError(
            f"columns {names} hold files, and a row is one input: call its column one of {', '.join(NAMES)}"
        )
    return structs[0] if structs else None


def holds_bytes(kind: pa.DataType) -> bool:
    """Somewhere in it."""
    if pa.types.is_dictionary(kind):
        return holds_bytes(kind.value_type)
    inner = [kind.field(place).type for place in range(kind.num_fields)] if pa.types.is_nested(kind) else []
    return _is_bytes(kind) or any(map(holds_bytes, inner))


def _as_column(field: pa.Field) -> BytesColumn | None:
    if _is_bytes(field.type):
        return BytesColumn(field.name)
    if pa.types.is_struct(field.type):
        kinds = {inner.name: inner.type for inner in field.type}
        if _is_bytes(kinds.get("bytes", pa.null())):
            return BytesColumn(field.name, in_struct=True, has_path=_is_text(kinds.get("path", pa.null())))
    return None


def _is_bytes(kind: pa.DataType) -> bool:
    if pa.types.is_dictionary(kind):
        return _is_bytes(kind.value_type)
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_binary_view(kind))


def _is_text(kind: pa.DataType) -> bool:
    if pa.types.is_dictionary(kind):
        return _is_text(kind.value_type)
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))
