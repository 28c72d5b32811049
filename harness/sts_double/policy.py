"""A small IAM policy engine: enough for trust, role and session policies of the broker.

An operator, element or variable it does not know is refused as malformed. An
engine that skipped what it cannot read would call any policy safe.
"""
from __future__ import annotations

import re
from typing import Iterable, List, Mapping, Optional

from .errors import StsError

ALLOW, EXPLICIT_DENY, IMPLICIT_DENY = "allow", "explicit_deny", "implicit_deny"

_VARIABLE = re.compile(r"\$\{([^}]*)\}")
_ELEMENTS = {"Sid", "Effect", "Action", "NotAction", "Resource", "NotResource", "Principal", "Condition"}

Context = Mapping[str, List[str]]


def evaluate(document: dict, action: str, resource: str, context: Context) -> str:
    """The verdict of one document on one request."""
    verdict = IMPLICIT_DENY
    for statement in statements(document):
        if _applies(statement, action, resource, context):
            if statement["Effect"] == "Deny":
                return EXPLICIT_DENY
            verdict = ALLOW
    return verdict


def statements(document: dict) -> List[dict]:
    """The document's statements, each checked for what this engine understands."""
    found = _listed(document.get("Statement"))
    if not found:
        raise malformed("a policy has at least one statement")
    for statement in found:
        if not isinstance(statement, dict) or statement.get("Effect") not in ("Allow", "Deny"):
            raise malformed("a statement has Effect Allow or Deny")
        unknown = set(statement) - _ELEMENTS
        if unknown:
            raise malformed(f"unknown element {sorted(unknown)[0]}")
        if "Action" not in statement and "NotAction" not in statement:
            raise malformed("a statement names its actions")
        for operator in statement.get("Condition", {}):
            if _plain(operator) not in _OPERATORS:
                raise malformed(f"unknown condition operator {operator}")
    return found


def check_session_policy(document: dict) -> None:
    """What STS checks when it takes a session policy in."""
    for statement in statements(document):
        if "Principal" in statement:
            raise malformed("a session policy has no Principal")
        if "Resource" not in statement and "NotResource" not in statement:
            raise malformed("a statement names its resources")


def malformed(reason: str) -> StsError:
    return StsError("MalformedPolicyDocument", f"Syntax errors in policy: {reason}.")


def _applies(statement: dict, action: str, resource: str, context: Context) -> bool:
    return (
        _names(statement, "Action", action, {}, fold=True)
        and _names(statement, "Resource", resource, context, fold=False)
        and all(
            _condition(operator, key, _listed(wanted), context)
            for operator, keys in statement.get("Condition", {}).items()
            for key, wanted in keys.items()
        )
    )


def _names(statement: dict, element: str, value: str, context: Context, fold: bool) -> bool:
    negated = f"Not{element}"
    if negated in statement:
        return not _any_like(_listed(statement[negated]), value, context, fold)
    if element not in statement:
        return True  # A trust policy has no Resource.
    return _any_like(_listed(statement[element]), value, context, fold)


def _any_like(patterns: Iterable[str], value: str, context: Context, fold: bool) -> bool:
    return any(_like(pattern, value, context, fold) for pattern in patterns)


def _like(pattern: str, value: str, context: Context, fold: bool = False) -> bool:
    """Wildcard match. What a variable expands to is literal: a tag of `*` reaches nothing more."""
    regex = _regex(pattern, context)
    return regex is not None and re.fullmatch(regex, value, re.DOTALL | (re.IGNORECASE if fold else 0)) is not None


def _regex(pattern: str, context: Context) -> Optional[str]:
    out, position = [], 0
    for variable in _VARIABLE.finditer(pattern):
        out.append(_wildcards(pattern[position : variable.start()]))
        expanded = _expand(variable.group(1), context)
        if expanded is None:
            return None  # An unset variable matches nothing, as in IAM.
        out.append(re.escape(expanded))
        position = variable.end()
    out.append(_wildcards(pattern[position:]))
    return "".join(out)


def _wildcards(text: str) -> str:
    return "".join(".*" if c == "*" else "." if c == "?" else re.escape(c) for c in text)


def _expand(name: str, context: Context) -> Optional[str]:
    if name in ("*", "?", "$"):
        return name
    values = _lookup(context, name)
    return values[0] if values and len(values) == 1 else None


def _lookup(context: Context, key: str) -> Optional[List[str]]:
    for name, values in context.items():
        if name.lower() == key.lower():
            return values
    return None


def _condition(operator: str, key: str, wanted: List[str], context: Context) -> bool:
    present = _lookup(context, key)
    plain = _plain(operator)
    if plain == "Null":
        return any((present is None) == (str(w).lower() == "true") for w in wanted)
    if operator.startswith("ForAllValues:"):
        return all(_OPERATORS[plain](value, wanted, context) for value in present or [])
    if operator.startswith("ForAnyValue:"):
        return any(_OPERATORS[plain](value, wanted, context) for value in present or [])
    if present is None:
        # A negated operator is true for an absent key: the trap that makes
        # `StringNotEquals RequestTag ""` useless and `Null` necessary.
        return operator.endswith("IfExists") or plain in _NEGATED
    return _OPERATORS[plain](present[0], wanted, context)


def _plain(operator: str) -> str:
    name = operator.split(":", 1)[1] if operator.startswith(("ForAllValues:", "ForAnyValue:")) else operator
    return name[: -len("IfExists")] if name.endswith("IfExists") else name


def _string_equals(value: str, wanted: List[str], context: Context) -> bool:
    return any(_literal(w, context) == value for w in wanted)


def _string_like(value: str, wanted: List[str], context: Context) -> bool:
    return _any_like(wanted, value, context, fold=False)


def _literal(text: str, context: Context) -> Optional[str]:
    missing = False

    def substitute(variable: "re.Match[str]") -> str:
        nonlocal missing
        expanded = _expand(variable.group(1), context)
        missing = missing or expanded is None
        return expanded or ""

    result = _VARIABLE.sub(substitute, str(text))
    return None if missing else result


_OPERATORS = {
    "StringEquals": _string_equals,
    "StringNotEquals": lambda v, w, c: not _string_equals(v, w, c),
    "StringLike": _string_like,
    "StringNotLike": lambda v, w, c: not _string_like(v, w, c),
    "ArnLike": _string_like,
    "ArnEquals": _string_like,
    "Bool": lambda v, w, c: any(str(x).lower() == v.lower() for x in w),
    "Null": None,
}
_NEGATED = {"StringNotEquals", "StringNotLike"}


def _listed(value: object) -> list:
    if value is None:
        return []
    return value if isinstance(value, list) else [value]
