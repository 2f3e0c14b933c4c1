"""What the optimizers for matrices have in common: which arrays they take, and how a direction becomes a step."""

from typing import Any

import optax

from gradtx.core.combine import chain
from gradtx.core.transformation import Transformation
from gradtx.matrices.views import matrices
from gradtx.optimizers.adam import adamw
from gradtx.selectors import Selector, by_ndim, maybe
from gradtx.transforms.decay import add_decayed_weights
from gradtx.transforms.rate import scale_by_learning_rate
from gradtx.wrappers.select import partition

IS_MATRIX = by_ndim(at_least=2) & ~by_ndim(at_least=3)
MATRICES = matrices()
OTHERS = adamw(3e-4, 0.9, 0.95)


def descend_matrices(
    direction: optax.GradientTransformation, learning_rate: Any, weight_decay: Any, where: Selector, others: Any
) -> Transformation:
    """Steps against a direction, with decay, for the arrays that are meant, of which there may be none; the others'
    own transformation for the others.
    """
    own = chain(direction, add_decayed_weights(weight_decay), scale_by_learning_rate(learning_rate))
    return partition((maybe(where), own), default=others)
