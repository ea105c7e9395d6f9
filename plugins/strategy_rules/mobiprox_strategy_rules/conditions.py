"""Conditions such as ``battery < 20 and not charging``: parsed by descent into functions of an observation, never evaluated as Python.

::

    condition = either ; either = both { "or" both } ; both = inverse { "and" inverse } ; inverse = "not" inverse | relation
    relation = value { ("<" | "<=" | ">" | ">=" | "==" | "!=") value } ; value = number | text | word | "(" either ")"

Truth has three values: what depends on something unknown is None.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any, Literal, NoReturn

from mobiprox_core.errors import UsageError
from mobiprox_core.interfaces import Observation

Condition = Callable[[Observation], bool | None]
Kind = Literal["truth", "number", "text"]

WORDS: dict[str, tuple[Kind, Callable[[Observation], Any]]] = {
    "battery": ("number", lambda o: None if o.battery is None else round(100 * o.battery, 9)),
    "charging": ("truth", lambda o: o.charging),
    "temperature_c": ("number", lambda o: o.temperature_c),
    "deadline_ms": ("number", lambda o: o.deadline_ms),
    "hour": ("number", lambda o: o.hour),
    "purpose": ("text", lambda o: o.purpose),
    "confidence": ("number", lambda o: o.confidence),
    "label": ("number", lambda o: o.label),
    "level": ("number", lambda o: o.level),
    "true": ("truth", lambda o: True),
    "false": ("truth", lambda o: False),
}
"""What a condition may name: its kind, and how to find it; battery in percent."""

RELATIONS: dict[str, Callable[[Any, Any], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "==": operator.eq,
    "!=": operator.ne,
}

DEEPEST = 50
"""How many parentheses and negations may stand in each other."""

_TOKEN = re.compile(
    r"""\s*(?:(?P<number>-?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)|(?P<text>'[^']*'|"[^"]*")|(?P<word>[A-Za-z_]\w*)|(?P<sign><=|>=|==|!=|[<>()]))""",
    re.ASCII,
)


@dataclass(frozen=True, slots=True)
class Term:
    """A part of a condition, and how to find its value; None while it is unknown."""

    kind: Kind
    value: Callable[[Observation], Any]
    spelt: str


def parse(text: str) -> Condition:
    """What a condition asks of an observation. Raises UsageError, naming the spot, for anything else."""
    return _Parser(text).parse()


@dataclass
class _Parser:
    text: str
    tokens: list[tuple[str, str]] = field(default_factory=list)
    depth: int = 0

    def parse(self) -> Condition:
        at, end = 0, len(self.text.rstrip(" \t\n\r\f\v"))
        while at < end:
            match = _TOKEN.match(self.text, at)
            if match is None:
                self.fail(
                    f"'{self.text[at:].split()[0][:20]}' means nothing here", "compare with <, <=, >, >=, == or !=, e.g. battery < 20"
                )
            self.tokens.append((str(match.lastgroup), match[0].strip()))
            at = match.end()
        self.tokens.reverse()
        found = self.truth(self.either())
        if self.tokens:
            self.fail(f"'{self.tokens[-1][1]}' was not expected", "join conditions with 'and' or 'or'")
        condition: Condition = found.value
        return condition

    def either(self) -> Term:
        return self.joined("or", self.both)

    def both(self) -> Term:
        return self.joined("and", self.inverse)

    def joined(self, word: str, part: Callable[[], Term]) -> Term:
        """Parts joined by a word; the first that decides (a true one of "or", a false one of "and") does."""
        first = part()
        terms = [first]
        while self.take(word):
            terms.append(part())
        if len(terms) == 1:
            return first
        values, decisive = [self.truth(term).value for term in terms], word == "or"

        def value(o: Observation) -> bool | None:
            unknown = False
            for each in values:
                found: bool | None = each(o)
                if found is decisive:
                    return decisive
                unknown = unknown or found is None
            return None if unknown else not decisive

        return Term("truth", value, f" {word} ".join(term.spelt for term in terms))

    def inverse(self) -> Term:
        if not self.take("not"):
            return self.relation()
        with_care = self.truth(self.deeper(self.inverse))

        def value(o: Observation) -> bool | None:
            found = with_care.value(o)
            return None if found is None else not found

        return Term("truth", value, f"not {with_care.spelt}")

    def relation(self) -> Term:
        terms, signs = [self.value()], []
        while self.tokens and self.tokens[-1][1] in RELATIONS:
            signs.append(self.tokens.pop()[1])
            terms.append(self.value())
        if not signs:
            return terms[0]
        for left, sign, right in zip(terms, signs, terms[1:], strict=False):
            if left.kind != right.kind:
                self.fail(f"{left.spelt} is a {left.kind}, {right.spelt} a {right.kind}; they cannot be compared")
            if left.kind != "number" and sign not in ("==", "!="):
                self.fail(f"{left.spelt} is a {left.kind} and cannot be ordered", "compare with == or !=")
        values, relations = [term.value for term in terms], [RELATIONS[sign] for sign in signs]

        def value(o: Observation) -> bool | None:
            known = [each(o) for each in values]
            unknown = False
            for left, holds, right in zip(known, relations, known[1:], strict=False):
                if left is None or right is None:
                    unknown = True
                elif not holds(left, right):
                    return False
            return None if unknown else True

        return Term("truth", value, " ".join(term.spelt for term in terms))

    def value(self) -> Term:
        if self.take("("):
            inner = self.deeper(self.either)
            if not self.take(")"):
                self.unexpected("a closing parenthesis")
            return inner
        if not self.tokens or self.tokens[-1][0] == "sign":
            self.unexpected("a value")
        kind, spelt = self.tokens.pop()
        if kind == "number":
            number = float(spelt)
            return Term("number", lambda o: number, spelt)
        if kind == "text":
            return Term("text", lambda o: spelt[1:-1], spelt)
        if spelt not in WORDS:
            near = get_close_matches(spelt, WORDS, 1)
            self.fail(f"nothing is called '{spelt}'", f"did you mean '{near[0]}'?" if near else f"there are: {', '.join(WORDS)}")
        return Term(*WORDS[spelt], spelt)

    def take(self, word: str) -> bool:
        """Whether the next token is this one, which is then done with."""
        if self.tokens and self.tokens[-1][1] == word:
            self.tokens.pop()
            return True
        return False

    def deeper(self, part: Callable[[], Term]) -> Term:
        self.depth += 1
        if self.depth > DEEPEST:
            self.fail(f"more than {DEEPEST} deep", "write it flatter")
        found = part()
        self.depth -= 1
        return found

    def truth(self, term: Term) -> Term:
        if term.kind != "truth":
            self.fail(
                f"{term.spelt} is neither true nor false",
                f"compare it, e.g. {term.spelt} == {'20' if term.kind == 'number' else repr('x')}",
            )
        return term

    def unexpected(self, wanted: str) -> NoReturn:
        found = f"'{self.tokens[-1][1]}' stands" if self.tokens else "it ends"
        self.fail(f"{found} where {wanted} is due")

    def fail(self, what: str, mend: str | None = None) -> NoReturn:
        shown = self.text if len(self.text) <= 80 else f"{self.text[:80]}..."
        raise UsageError(f"condition '{shown}': {what}", mend=mend or "write it as e.g. battery < 20 and not charging")
