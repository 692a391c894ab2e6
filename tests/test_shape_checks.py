"""What is found right once is not looked at again, and what is wrong is found all the same, before and after it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import numpy as np
import pytest
import torch
from beartype import beartype
from jaxtyping import Float, TypeCheckError, UInt8
from torch import Tensor

from shape_checks import remembering
from syncdraw.gaussian import Gaussian, choose


class Pair(NamedTuple):
    first: Tensor
    second: Tensor


def kept(rows: Float[Tensor, "row number"], result: Any) -> Float[Tensor, "row number"]:
    return result


def paired(pair: tuple[Float[Tensor, " size"], Float[Tensor, " size"]] | None) -> None: ...


def listed(tensors: list[Float[Tensor, " size"]]) -> None: ...


def pictured(pixels: UInt8[np.ndarray, "height width"]) -> None: ...


def chosen(which: Literal[1, "two"]) -> None: ...


def made(kind: type[Tensor]) -> None: ...


ROWS = torch.zeros(2, 3)
RIGHT: list[tuple[Callable[..., Any], tuple[Any, ...]]] = [
    (kept, (ROWS, ROWS)),
    (kept, (torch.zeros(4, 1), torch.zeros(4, 1))),
    (paired, ((ROWS[0], ROWS[1]),)),
    (paired, (None,)),
    (paired, (Pair(ROWS[0], ROWS[1]),)),
    (listed, ([ROWS[0]],)),
    (pictured, (np.zeros((2, 3), np.uint8),)),
    (chosen, (1,)),
    (chosen, ("two",)),
    (made, (torch.nn.Parameter,)),
]
WRONG: list[tuple[Callable[..., Any], tuple[Any, ...]]] = [
    (kept, (ROWS[0], ROWS)),  # an argument of another rank
    (kept, (ROWS.long(), ROWS)),
    (kept, (None, ROWS)),
    (kept, (ROWS, ROWS[0])),  # a result of another rank
    (kept, (ROWS, ROWS.long())),
    (kept, (ROWS, None)),
    (kept, (ROWS, ROWS.T)),  # of sizes that are not those of the argument's axes of the same names
    (paired, ((ROWS[0], ROWS[0, :2]),)),
    (paired, (Pair(ROWS[0], ROWS[0, :2]),)),
    (paired, ((ROWS[0],),)),
    (listed, ([ROWS],)),
    (listed, ((ROWS[0],),)),
    (pictured, (np.zeros((2, 3)),)),
    (pictured, (np.zeros((2, 3, 1), np.uint8),)),
    (chosen, (1.0,)),
    (chosen, ("three",)),
    (made, (int,)),
]


def test_what_is_wrong_is_found_before_and_after_what_is_right() -> None:
    checked = {function: remembering(typechecker=beartype)(function) for function, _ in RIGHT}
    for _ in range(3):
        for function, arguments in WRONG:
            with pytest.raises(TypeCheckError):
                pytest.fail(f"{function.__name__} takes {arguments} and gives {checked[function](*arguments)}")
        for function, arguments in RIGHT:
            checked[function](*arguments)
            checked[function](**dict(zip(function.__annotations__, arguments, strict=False)))


def test_names_of_arguments_count() -> None:
    def product(left: Float[Tensor, "row inner"], right: Float[Tensor, "inner column"]) -> Float[Tensor, "row column"]:
        return left @ right

    checked = remembering(typechecker=beartype)(product)
    one, other = torch.zeros(2, 3), torch.zeros(3, 1)
    checked(left=one, right=other)
    checked(right=other, left=one)
    for arguments in ({"left": other, "right": one}, {"right": one, "left": other}):
        with pytest.raises(TypeCheckError):
            checked(**arguments)


def test_the_package_is_checked() -> None:
    for _ in range(2):
        assert choose(torch.zeros(2, 3), torch.zeros(2)).shape == (2,)
        with pytest.raises(TypeCheckError):
            choose(torch.zeros(2, 3), torch.zeros(2, 1))
        with pytest.raises(TypeCheckError):
            Gaussian(torch.zeros(2), torch.ones(2)).at(torch.zeros(2).long())


def test_a_call_that_was_right_is_not_looked_at_again() -> None:
    asked: list[Any] = []

    def looking(function: Callable[..., Any]) -> Callable[..., Any]:
        return lambda *arguments, **named: asked.append(arguments)

    check = remembering(typechecker=looking)(kept)
    for arguments, more in (
        ((ROWS, 1.5), 2),  # before and after
        ((ROWS, 2.5), 2),
        ((ROWS + 1, 3.5), 0),
        ((ROWS.T, 4.5), 2),
        (([ROWS], 1), 2),
        (([ROWS], 1), 2),  # a list may hold anything
    ):
        before = len(asked)
        assert check(*arguments) == arguments[1]
        assert len(asked) - before == more


def test_a_function_is_called_once_and_its_result_alone_may_be_wrong() -> None:
    calls: list[int] = []

    def next_result(rows: Float[Tensor, "row number"]) -> Float[Tensor, "row number"]:
        calls.append(1)
        return rows if len(calls) < 4 else rows.T

    checked = remembering(typechecker=beartype)(next_result)
    for _ in range(3):
        assert checked(ROWS) is ROWS
    with pytest.raises(TypeCheckError, match="return value"):
        checked(ROWS)
    assert len(calls) == 4
    with pytest.raises(TypeCheckError, match="parameters"):
        checked(ROWS[0])
    assert len(calls) == 4
