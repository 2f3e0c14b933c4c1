"""An array that is held in few bytes, where the rules of a transformation see what it stands for."""

from typing import Any

import jax
from jax.tree_util import GetAttrKey


@jax.tree_util.register_pytree_with_keys_class
class Held:
    """An array in the codes of a codec; a pytree of `codes` and `scale`.

    In the place of a row of a state it is decoded in front of a formula and encoded behind it, in the same pass.
    """

    codes: Any
    scale: Any  # of each block, None where the codec has none
    key: Any  # for random rounding, None outside of an update
    codec: Any  # with `decode(held)` and `_hold(held, x)`
    shape: tuple[int, ...]  # of the array that it stands for
    dtype: Any

    def __init__(self, codes: Any, scale: Any, key: Any, codec: Any, shape: tuple[int, ...], dtype: Any):
        self.codes, self.scale, self.key = codes, scale, key
        self.codec, self.shape, self.dtype = codec, shape, dtype

    @property
    def ndim(self) -> int:
        return len(self.shape)

    def decode(self) -> jax.Array:
        """The array that it stands for, in its dtype."""
        return self.codec.decode(self)

    def hold(self, wide: jax.Array) -> "Held":
        """Another array in its place, given as `widen` gives arrays."""
        return self.codec._hold(self, wide)

    def with_key(self, key: Any) -> "Held":
        return Held(self.codes, self.scale, key, self.codec, self.shape, self.dtype)

    def __repr__(self) -> str:
        return f"Held({self.dtype}{list(self.shape)} in {self.codec!r})"

    # ---- a pytree ----

    def tree_flatten_with_keys(self) -> Any:
        children = [(GetAttrKey(name), getattr(self, name)) for name in ("codes", "scale", "key")]
        return children, (self.codec, self.shape, self.dtype)

    @classmethod
    def tree_unflatten(cls, aux: Any, children: Any) -> "Held":
        return cls(*children, *aux)


def is_held(x: Any) -> bool:
    return isinstance(x, Held)


def decode_all(tree: Any) -> Any:
    """The tree with what is held decoded."""
    return jax.tree.map(lambda x: x.decode() if is_held(x) else x, tree, is_leaf=is_held)
