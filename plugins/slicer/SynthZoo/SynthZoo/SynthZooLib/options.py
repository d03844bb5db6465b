"""The options of a model, typed, as the server's index describes them, and how a panel shows them."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from .errors import ZooError

SLIDER_STEPS = 100
UNBOUNDED = 1e9
FIRST_ROUNDED = 2**53  # from here on a float stands for more than one integer
TYPES = ("number", "integer", "boolean", "string")


@dataclass(frozen=True)
class Option:
    """One thing that may be set.

    Args:
        name: the key that the server knows.
        type: "number", "integer", "boolean" or "string", as in JSON Schema.
        default: the value without a request; None leaves a condition unset.
        minimum, maximum: ends of the range of a number, both included.
        enum: the strings to choose from.
        max_length: characters of a free text, at most; None where there is an enum.
        unit, description: for people.
        condition: True for what the image shall show, False for how it is generated.
        examples: texts that a field offers.
        format: "image" where a text that is none of `examples` is the id of a study of the server.
    """

    name: str
    type: str
    default: object = None
    minimum: float = -UNBOUNDED
    maximum: float = UNBOUNDED
    enum: tuple = field(default_factory=tuple)
    unit: str = ""
    description: str = ""
    condition: bool = False
    max_length: int | None = None
    examples: tuple = field(default_factory=tuple)
    format: str = ""

    @property
    def title(self) -> str:
        """The name as people write it: `ventricle_ml` is "Ventricle"."""
        if self.name == "num_samples":
            return "Number"
        words = [word for word in self.name.split("_") if word]
        if len(words) > 1 and self.unit and words[-1].lower() == self.unit.lower():
            words = words[:-1]
        text = " ".join(words)
        return text[:1].upper() + text[1:]

    @property
    def may_be_unset(self) -> bool:
        """Whether nothing may be requested, which leaves a condition open and a setting to the model."""
        return self.condition or self.default is None

    @property
    def asked(self) -> bool:
        """Whether it says what is wanted, as a condition or a phrase does: its field stands above the settings."""
        return self.condition or self.max_length is not None

    @property
    def bounded(self) -> bool:
        """Whether the range is narrow enough for a slider."""
        return self.type in ("number", "integer") and self.maximum - self.minimum <= 1e5

    @property
    def decimals(self) -> int:
        """Digits behind the point that a field needs."""
        if self.type == "integer":
            return 0
        shown = [number for number in (self.default, self.minimum, self.maximum) if isinstance(number, (int, float))]
        needed = max((digits_of(float(number)) for number in shown), default=0)
        return min(6, max(needed, -math.floor(math.log10(self.step)) if self.step < 1 else 0))

    @property
    def step(self) -> float:
        """One step of a slider: a round number, about a hundredth of the range."""
        if self.type == "integer":
            return 1.0
        rough = (self.maximum - self.minimum) / SLIDER_STEPS
        if not 0 < rough < 1e5:
            return 1.0
        tens = 10.0 ** math.floor(math.log10(rough))
        return next(tens * factor for factor in (1, 2, 5, 10) if tens * factor >= rough * 0.999)

    @property
    def start(self) -> object:
        """What a field shows first: the default, else the middle of the range or the first string."""
        if self.default is not None:
            return self.default
        if self.type == "string":
            return self.enum[0] if self.enum else ""
        if self.type == "boolean":
            return False
        middle = (self.minimum + self.maximum) / 2
        return round(middle / self.step) * self.step if abs(middle) < UNBOUNDED else 0.0

    def check(self, value: object) -> object:
        """The value with its type, as it goes to the server.

        Raises:
            ZooError: not of this type, or out of range.
        """
        if value is None:
            return None if self.condition else self.default
        try:
            if self.type == "boolean":
                return bool(value)
            if self.type == "string":
                if self.max_length is None and value not in self.enum:
                    raise ValueError
                if self.max_length is not None and (not isinstance(value, str) or len(value) > self.max_length):
                    raise ValueError
                return value
            number = exact_integer(value) if self.type == "integer" else float(value)  # type: ignore[arg-type]
            if self.minimum <= number <= self.maximum:
                return number
            if self.bounded or math.isnan(number):
                raise ValueError  # the range stands in what is allowed
        except (TypeError, ValueError, OverflowError):
            raise ZooError(f"{self.title} is {value!r}, but must be {self.allowed()}.") from None
        raise ZooError(f"{self.title} is {value!r}, but must lie between {self.minimum} and {self.maximum}.")

    def allowed(self) -> str:
        """What is allowed, as part of a sentence."""
        if self.type == "boolean":
            return "on or off"
        if self.format == "image":
            return f"one of {', '.join(self.examples)}, or the id of a study of the server"
        if self.max_length is not None:
            return f"a text of at most {self.max_length} characters"
        if self.type == "string":
            return f"one of {', '.join(self.enum)}"
        kind = "an integer" if self.type == "integer" else "a number"
        unit = f" {self.unit}" if self.unit else ""
        return f"{kind} from {self.minimum:g} to {self.maximum:g}{unit}" if self.maximum < UNBOUNDED else kind

    def help(self) -> str:
        """The tool tip: description, range and default."""
        default = "unset" if self.default is None else f"{self.default}"
        description = f"{self.description[:1].upper()}{self.description[1:]}. " if self.description else ""
        return f"{description}{self.allowed()[:1].upper()}{self.allowed()[1:]}; default: {default}."


def exact_integer(value: object) -> int:
    """An integer of any size; digits never pass through float, which rounds above 2^53, as in seeds.

    Raises:
        ValueError: not an integer, or a float so large that it may have been rounded.
    """
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    try:
        return int(str(value))
    except ValueError:
        number = float(value)  # type: ignore[arg-type]
        if abs(number) < FIRST_ROUNDED and number == int(number):
            return int(number)
        raise


def digits_of(number: float) -> int:
    """Digits behind the point of a number as it is written, at most 6."""
    text = f"{number:.6f}".rstrip("0")
    return len(text.split(".")[1])


def read_option(name: str, described: dict) -> Option:
    """An option from the index, where it stands as a property of JSON Schema with its default.

    Raises:
        ZooError: of a type that this extension does not know.
    """
    kind = described.get("type")
    if kind not in TYPES:
        raise ZooError(f"option {name} is of type '{kind}', which this extension does not know: update it.")
    low, high = described.get("minimum", -UNBOUNDED), described.get("maximum", UNBOUNDED)
    return Option(
        name,
        kind,
        described.get("default"),
        low if kind == "integer" else float(low),
        high if kind == "integer" else float(high),
        tuple(described.get("enum") or ()),
        described.get("unit") or "",
        described.get("description") or "",
        bool(described.get("condition")),
        described.get("maxLength"),
        tuple(described.get("examples") or ()),
        described.get("format") or "",
    )


def check_all(options: dict[str, Option], values: dict[str, object]) -> dict[str, object]:
    """The checked values of a panel.

    Raises:
        ZooError: an unknown name or a value that is refused.
    """
    unknown = [name for name in values if name not in options]
    if unknown:
        raise ZooError(f"there is no option '{unknown[0]}': the known ones are {', '.join(options)}.")
    return {name: options[name].check(value) for name, value in values.items()}
