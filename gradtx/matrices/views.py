"""Views: how an array is a stack of matrices."""

import math
from typing import Annotated, Any, NamedTuple, ParamSpec

import jax
import jax.numpy as jnp
import optax
from jax.sharding import PartitionSpec

from gradtx.core import check
from gradtx.core.factories import transformation
from gradtx.core.flow import Flow
from gradtx.core.loss import FUNCTIONS
from gradtx.core.paths import paths_and_leaves
from gradtx.core.placement import reshape, typed_spec
from gradtx.core.rule import Part, Rule
from gradtx.core.transformation import advance, require_no, start
from gradtx.core.walk import writes
from gradtx.matrices.batch import put_wide, unstacked
from gradtx.selectors import as_selector
from gradtx.values.annotations import Check
from gradtx.values.errors import Refusal, errors_of
from gradtx.values.printing import excerpt
from gradtx.values.recipe import Recipe
from gradtx.values.value import Value, build, register, text_of

P = ParamSpec("P")
AxesOfArray = int | tuple[int, ...] | None


@register
class View(Value):
    """How an array is a stack of matrices, whose rows are inputs and whose columns are outputs; a value.

    >>> import gradtx, jax.numpy as jnp
    >>> kernels = gradtx.matrices(reduce=(0, 1, 2), output=3)
    >>> kernels.show(jnp.zeros((3, 3, 16, 32))).shape
    (144, 32)
    """

    def show(self, x: jax.Array) -> jax.Array:
        """The array as a stack of matrices, `(*batch, n_in, n_out)`."""
        axes = self.roles(x.shape)
        order = axes.batch + axes.reduce + axes.output
        shape = (
            *pick(x.shape, axes.batch),
            math.prod(pick(x.shape, axes.reduce)),
            math.prod(pick(x.shape, axes.output)),
        )

        def layout() -> PartitionSpec:
            spec = typed_spec(x)
            return PartitionSpec(
                *pick(spec, axes.batch), joined(pick(spec, axes.reduce)), joined(pick(spec, axes.output))
            )

        return reshape(x if order == tuple(range(x.ndim)) else x.transpose(order), shape, layout)

    def turn_back(self, shown: jax.Array, like: jax.Array) -> jax.Array:
        """An array like this one from what `show` makes of it."""
        axes = self.roles(like.shape)
        order = axes.batch + axes.reduce + axes.output
        x = reshape(shown, pick(like.shape, order), lambda: PartitionSpec(*pick(typed_spec(like), order)))
        return x if order == tuple(range(like.ndim)) else x.transpose([order.index(i) for i in range(like.ndim)])

    def roles(self, shape: tuple[int, ...]) -> Any:
        """What the axes of an array of this shape are."""
        with errors_of(text_of(self)):
            return build(self).of(shape)


def pick(values: Any, places: tuple[int, ...]) -> tuple[Any, ...]:
    return tuple([values[i] for i in places])


def joined(names: tuple[Any, ...]) -> tuple[str, ...]:
    """The mesh axes along which several axes of an array lie, as those of their product."""
    return tuple([name for x in names if x is not None for name in (x if isinstance(x, tuple) else (x,))])


class view(Recipe[P, View]):
    """Makes a factory of `Roles` a factory of `View`."""

    kind = View


class Roles(NamedTuple):
    """What the axes of an array are: each a tuple, or None for those that are left."""

    reduce: tuple[int, ...] | None
    output: tuple[int, ...] | None
    batch: tuple[int, ...] | None

    def of(self, shape: tuple[int, ...]) -> Any:
        """These for an array of a shape, none negative and none left out."""
        n = len(shape)
        named = [i for axes in self for i in axes or ()]
        if missing := [i for i in named if not -n <= i < n]:
            raise Refusal(ValueError, f"an array of shape {shape} has no axis {missing[0]}")
        own = [axes and tuple([i % n for i in axes]) for axes in self]
        taken = [i for axes in own for i in axes or ()]
        if twice := [i for i in taken if taken.count(i) > 1]:
            raise Refusal(ValueError, f"axis {twice[0]} of an array of shape {shape} is named twice")
        rest = tuple([i for i in range(n) if i not in taken])
        if rest and None not in own:
            raise Refusal(ValueError, f"axis {rest[0]} of an array of shape {shape} has no part in it")
        return Roles(*[rest if axes is None else axes for axes in own])


def as_axes(name: str, value: Any) -> tuple[int, ...]:
    axes = value if isinstance(value, tuple) else (value,)
    if not all(type(i) is int for i in axes):
        raise Refusal(TypeError, f"{name} must be an axis, or a tuple of axes, got {excerpt(value)}")
    if len({*axes}) < len(axes):
        raise Refusal(ValueError, f"{name} names an axis twice, got {excerpt(value)}")
    return value


AxesOrRest = Annotated[AxesOfArray, Check(as_axes)] | None


@view
def matrices(reduce: AxesOrRest = -2, output: AxesOrRest = -1, batch: AxesOrRest = None) -> Roles:
    r"""The arrays as stacks of matrices: the product of the sizes of the axes `reduce`, over which a layer sums its
    inputs, is $n_{in}$, that of `output` is $n_{out}$, and each place along the axes `batch` is a matrix of its own.

    **Arguments:** an axis, or a tuple of axes, which may be negative; one of the three may be None, for all axes that
    the others leave. An axis tuple `()` makes a size of 1.

    | arrays of | shape | view |
    | --- | --- | --- |
    | a dense layer | (in, out) | `matrices()` |
    | such layers, stacked by a scan | (layer, in, out) | `matrices()` |
    | a dense layer of torch | (out, in) | `matrices(reduce=1, output=0)` |
    | a convolution of Flax | (height, width, in, out) | `matrices(reduce=(0, 1, 2), output=3)` |
    | a convolution of torch | (out, in, height, width) | `matrices(reduce=(1, 2, 3), output=0)` |
    | attention heads, each by itself | (in, head, size) | `matrices(reduce=0, output=2, batch=1)` |
    | attention heads as one | (in, head, size) | `matrices(reduce=0, output=(1, 2))` |
    | queries, keys and values in one | (in, 3, head, size) | `matrices(reduce=0, output=3)` |

    **Raises:** `TypeError` for what is no axis, `ValueError` for one that is named twice; where it is used,
    `ValueError` for an array without such an axis, or with one that has no part in it.

    >>> import gradtx
    >>> gradtx.matrices(reduce=(0, 1, 2), output=3)
    matrices(reduce=(0, 1, 2), output=3)
    """
    roles = [axes if axes is None or isinstance(axes, tuple) else (axes,) for axes in (reduce, output, batch)]
    if roles.count(None) > 1:
        raise Refusal(
            ValueError, "only one of reduce, output and batch may be None, for the axes that the others leave"
        )
    named = [i for axes in roles for i in axes or ()]
    if twice := [i for i in named if named.count(i) > 1]:
        raise Refusal(ValueError, f"axis {twice[0]} is named twice")
    return Roles(*roles)


def as_views(name: str, value: Any) -> Any:
    """A view, or pairs of a selector and a view."""
    if isinstance(value, View):
        return value
    pairs = isinstance(value, tuple) and all(isinstance(x, tuple) and len(x) == 2 for x in value)
    if not pairs or not all(isinstance(own, View) for _, own in value):
        remedy = "such as matrices(reduce=0, output=1), or a tuple of pairs (selector, view)"
        raise Refusal(TypeError, f"{name} must be a view, {remedy}, got {excerpt(value)}")
    return tuple([(as_selector(f"{name}[{i}][0]", where), own) for i, (where, own) in enumerate(value)])


Views = Annotated[Any, Check(as_views)]


@transformation
def over(view: Views, tx: optax.GradientTransformation, axis: str | None = None):
    r"""The transformation on arrays as a view shows them, turned back, $\text{view}^{-1}(T(\text{view}(u)))$.

    **Arguments:** `view`, such as `matrices(reduce=(0, 1, 2), output=3)`, or pairs of a selector and a view, of which
    the first that takes an array counts; an array that none takes is shown as it is. `tx`, an Optax transformation too.
    `axis`, the name of an axis of the mesh, whose devices share the matrices of each batch among them: every matrix is
    then whole on one device, wherever its parts lie before and behind.

    **State:** that of `tx` for the arrays as they are shown.

    **Raises:** (`init`) `ValueError` for an array that the view can't show; `TypeError` for a `tx` that takes a
    function of the parameters, which knows them as they are.

    >>> import gradtx as gx, jax.numpy as jnp
    >>> tx = gx.over(gx.matrices(reduce=0, output=2, batch=1), gx.orthogonalize())
    >>> heads = jnp.ones((64, 4, 16))
    >>> tx.update(heads, tx.init(heads))[0].shape
    (64, 4, 16)
    """
    require_no(FUNCTIONS, tx, "a function of the parameters as they are; put it outside of over")

    def init(params: Any) -> Any:
        leaves, structure = jax.tree.flatten(params, is_leaf=check.is_none)
        views = views_for(view, params)
        shown = [show(own, x, params, i, "params") for i, (own, x) in enumerate(zip(views, leaves, strict=True))]
        return start(tx, structure.unflatten(shown))

    def advance_shown(flow: Flow, state: Any, extra: dict[str, Any]) -> Any:
        before, views = unstacked(flow), views_for(view, flow.selector_tree)
        own = flow.fork()
        own.axis = axis or flow.axis
        arrays = [i for i, u in enumerate(before) if isinstance(u, jax.Array)]
        own.set({i: show(views[i], before[i], flow.tree, i, "updates") for i in arrays})
        if flow.params is not None:
            shown = {i: show(views[i], flow.weights[i], flow.tree, i, "params") for i in arrays}
            own.weights = [shown.get(i, p) for i, p in enumerate(flow.weights)]
            own.params = own.structure.unflatten(own.weights)
        after = advance(tx, own, state, extra, "tx")
        out = own.run()
        flow.set({i: None for i, (u, x) in enumerate(zip(out, before, strict=True)) if u is None and x is not None})
        for i in arrays:
            u, own_view = out[i], views[i]
            before[i] = own_view.turn_back(u, before[i]) if own_view and u is not None else u
        put_wide(flow, before, exact=writes(tx))
        return own.settle(after)

    return Rule(init, advance_shown, parts={"tx": Part(tx, ())})


def views_for(views: Any, tree: Any) -> list[View | None]:
    """The view of each array of a tree, None for those that are seen as they are."""
    if isinstance(views, View):
        return [views] * len(paths_and_leaves(tree))
    found: list[View | None] = [None] * len(paths_and_leaves(tree))
    for where, own in reversed(views):
        found = [own if chosen else x for chosen, x in zip(where.chosen(tree), found, strict=True)]
    return found


def show(own: View | None, x: Any, tree: Any, index: int, name: str) -> Any:
    """An array as its view shows it; what no update can move as it is."""
    if own is None or not check.can_move(x):
        return x
    try:
        return own.show(x if isinstance(x, jax.Array) else jnp.asarray(x))
    except ValueError as error:
        remedy = "give such arrays to another rule, as muon(where=…) and partition do, or a view of their own"
        raise Refusal(ValueError, f"{name}{check.path_to(tree, index)}: {error}; {remedy}") from None
