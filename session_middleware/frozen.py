"""What options are made of: compared by value, hashable, and never changed. It knows no option.

It stands in for ``dataclasses``, whose import would take a sixth of that of the whole package."""

from typing import NoReturn, dataclass_transform


@dataclass_transform(frozen_default=True)
class Frozen:
    """Give the attributes their values in ``__init__``, by ``vars(self).update(...)``, and nowhere else."""

    def __eq__(self, other: object) -> bool:
        return vars(self) == vars(other) if type(other) is type(self) else NotImplemented

    def __hash__(self) -> int:
        return hash((type(self), *vars(self).values()))

    def __repr__(self) -> str:
        return f"{type(self).__qualname__}({', '.join(f'{name}={value!r}' for name, value in vars(self).items())})"

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError(f"{type(self).__qualname__} cannot be changed: make another one")

    def __delattr__(self, name: str) -> NoReturn:
        raise AttributeError(f"{type(self).__qualname__} cannot be changed: make another one")
