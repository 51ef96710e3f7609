"""What of a module is learned: all that a checkpoint and a running mean need to hold."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn


def learned(module: nn.Module) -> dict[str, Tensor]:
    """Return the parameters that train, and the buffers of the parts that do, by name; they share memory with `module`.

    A buffer belongs to the smallest part around it that has parameters. A frozen backbone, gigabytes of it, is
    not among them, and what is shared between parts is there once.
    """
    parameters = {name: p.detach() for name, p in module.named_parameters() if p.requires_grad}
    kept = module.state_dict().keys()
    buffers = {name: b for name, b in module.named_buffers() if name in kept and trains(around(module, name))}
    return parameters | buffers


def take(module: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Give a module what it has learned; all of it must be there, and what is there besides is not looked at."""
    wanted = learned(module)
    missing = sorted(set(wanted) - set(state))
    if missing:
        raise ValueError(
            f"the checkpoint lacks {missing[0]} and {len(missing) - 1} more of the {len(wanted)} weights that train; "
            "go on with the recipe that it was made with, or begin anew in another folder"
        )
    module.load_state_dict({name: state[name] for name in wanted}, strict=False)


def copied(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return a state in memory of its own."""
    return {name: value.detach().clone() for name, value in state.items()}


def around(module: nn.Module, buffer: str) -> nn.Module:
    """Return the smallest part that holds a buffer, given by name, and has parameters; `module` where none has."""
    path = buffer.split(".")[:-1]
    parts = (module.get_submodule(".".join(path[:n])) for n in range(len(path), 0, -1))
    return next((part for part in parts if any(True for _ in part.parameters())), module)


def trains(part: nn.Module) -> bool:
    """Say whether anything of a part trains."""
    return any(p.requires_grad for p in part.parameters())
