"""Whether ALTER COLUMN TYPE rewrites the table: decided by the stored type, the new one, and USING.

Source: `ATColumnChangeRequiresRewrite` in tablecmds.c, the support functions of length casts (varchar_support,
numeric_support, varbit_support, TemporalSimplify), `pg_cast`. Not known to be without a rewrite means a rewrite.
"""

from collections.abc import Callable

from pgdoctor.preflight.column_definition import TypeName

Modifiers = tuple[int, ...] | None

#: Types with the same stored form, from and to, where the new one has no modifier.
_SAME_FORM = frozenset(
    {
        ("varchar", "text"), ("text", "varchar"), ("cidr", "inet"), ("int4", "oid"), ("oid", "int4"), ("xml", "text"),
        ("bit", "varbit"), ("varbit", "bit"),
        ("regclass", "oid"), ("oid", "regclass"),
    }
)  # fmt: skip


#: Types that share an operator class.
_SAME_ORDER = (frozenset({"varchar", "text"}), frozenset({"inet", "cidr"}))


def changes_order(old_type: str, new_type: str) -> bool:
    """An index of the column has to be rebuilt, though the values stay as they are."""
    return old_type != new_type and not any({old_type, new_type} <= each for each in _SAME_ORDER)


def read_modifier(name: str, modifier: int) -> Modifiers:
    """The modifiers that `pg_attribute.atttypmod` stands for; None: there are none."""
    if modifier < 0:
        return None
    if name == "numeric":
        precision, scale = (modifier - 4) >> 16, (modifier - 4) & 0x7FF
        return precision, scale - 0x800 if scale & 0x400 else scale
    if name in ("varchar", "bpchar"):
        return (modifier - 4,)
    return (modifier,)


def needs_rewrite(old_type: str, old: Modifiers, new: TypeName) -> bool:
    """Whether the values have to be rewritten, or at least to be checked one by one."""
    if new.is_array or old_type.startswith("_"):
        return not (new.is_array and old_type == f"_{new.name}" and old is None and new.modifiers is None)
    if old_type != new.name:
        return (old_type, new.name) not in _SAME_FORM or new.modifiers is not None
    default = _DEFAULTS.get(new.name)
    modifiers = new.modifiers if new.modifiers is not None else default
    if modifiers == old:
        return False
    widens = _WIDENS.get(new.name)
    return widens is None or not widens(old, modifiers)


def _longer(old: Modifiers, new: Modifiers) -> bool:
    return new is None or (old is not None and new[0] >= old[0])


def _wider(old: Modifiers, new: Modifiers) -> bool:
    if new is None:
        return True
    scales = [each[1] if len(each) > 1 else 0 for each in (old or (), new) if each]
    return old is not None and len(scales) == 2 and new[0] >= old[0] and scales[0] == scales[1]


def _finer(old: Modifiers, new: Modifiers) -> bool:
    return new is None or new[0] >= 6 or (old is not None and new[0] >= old[0])


_DEFAULTS: dict[str, Modifiers] = {"bpchar": (1,), "bit": (1,)}

_WIDENS: dict[str, Callable[[Modifiers, Modifiers], bool]] = {
    "varchar": _longer,
    "varbit": _longer,
    "numeric": _wider,
    "timestamp": _finer,
    "timestamptz": _finer,
    "time": _finer,
    "timetz": _finer,
}
