r"""Coefficients of the polynomials $p(x) = a x + b x^3 + c x^5$ that `orthogonalize` applies one after the other.

Each set is a tuple of triples $(a, b, c)$. It is meant for singular values in $[0, 1]$, of which the largest is between
$1/\sqrt{n}$ and 1 once a matrix of rank $n$ is divided by its Frobenius norm.
"""

from typing import Annotated, Any

from gradtx.values.annotations import Check
from gradtx.values.errors import Refusal, errors_of, require_whole
from gradtx.values.printing import excerpt

Triples = tuple[tuple[float, float, float], ...]


def jordan_coefficients(steps: int = 5) -> Triples:
    """Those of Muon's author: they grow small singular values by 3.4 a step, and end between 0.68 and 1.13 from 0.01
    on. They never converge to 1, which training does not need.

    **Source:** Jordan et al., Muon: An optimizer for hidden layers in neural networks (2024). Equal to torch's.

    >>> import gradtx
    >>> gradtx.jordan_coefficients(2)
    ((3.4445, -4.775, 2.0315), (3.4445, -4.775, 2.0315))
    """
    return ((3.4445, -4.7750, 2.0315),) * require_steps("jordan_coefficients", steps)


def polar_express(steps: int = 6) -> Triples:
    """The best polynomials for singular values from 0.001 on, a step of each: after 6 they end within 0.003 of 1 from
    0.01 on, after 8 within rounding from 0.001 on.

    **Source:** Amsel et al., The Polar Express (2025), with its safety factor of 1.01 in all but the last of its seven.

    >>> import gradtx
    >>> [round(a, 3) for a, b, c in gradtx.polar_express(3)]
    [8.205, 4.066, 3.91]
    """
    safe = [(a / 1.01, b / 1.01**3, c / 1.01**5) for a, b, c in POLAR_EXPRESS]
    return tuple([safe[i] if i < len(safe) else NEWTON_SCHULZ for i in range(require_steps("polar_express", steps))])


def newton_schulz_coefficients(steps: int = 10) -> Triples:
    """Those of the quintic Newton-Schulz iteration, which converges to 1 from every singular value, slowly from small
    ones: after 10 steps it is there from 0.01 on.

    >>> import gradtx
    >>> gradtx.newton_schulz_coefficients(1)
    ((1.875, -1.25, 0.375),)
    """
    return (NEWTON_SCHULZ,) * require_steps("newton_schulz_coefficients", steps)


def jiacheng_coefficients() -> Triples:
    """Five by You Jiacheng, which end between 0.978 and 1.032 from 0.01 on. Equal to Optax's `"dion"`.

    >>> import gradtx
    >>> gradtx.jiacheng_coefficients()[0]
    (4.0848, -6.8946, 2.927)
    """
    return JIACHENG


def modded_coefficients() -> Triples:
    """Five of modded-nanogpt, also in dion, with their safety factor of 1.02 in the first: they end between 0.847 and
    1.141 from 0.001 on.

    >>> import gradtx
    >>> len(gradtx.modded_coefficients())
    5
    """
    (a, b, c), *rest = MODDED
    return ((a / 1.02, b / 1.02**3, c / 1.02**5), *rest)


NEWTON_SCHULZ = (1.875, -1.25, 0.375)
JIACHENG = (
    (4.0848, -6.8946, 2.9270),
    (3.9505, -6.3029, 2.6377),
    (3.7418, -5.5913, 2.3037),
    (2.8769, -3.1427, 1.2046),
    (2.8366, -3.0525, 1.2012),
)
POLAR_EXPRESS = (
    (8.28721201814563, -23.595886519098837, 17.300387312530933),
    (4.107059111542203, -2.9478499167379106, 0.5448431082926601),
    (3.9486908534822946, -2.908902115962949, 0.5518191394370137),
    (3.3184196573706015, -2.488488024314874, 0.51004894012372),
    (2.300652019954817, -1.6689039845747493, 0.4188073119525673),
    (1.891301407787398, -1.2679958271945868, 0.37680408948524835),
    (1.8750014808534479, -1.2500016453999487, 0.3750001645474248),
)
MODDED = (
    (8.156554524902461, -22.48329292557795, 15.878769915207462),
    (4.042929935166739, -2.808917465908714, 0.5000178451051316),
    (3.8916678022926607, -2.772484153217685, 0.5060648178503393),
    (3.285753657755655, -2.3681294933425376, 0.46449024233003106),
    (2.3465413258596377, -1.7097828382687081, 0.42323551169305323),
)


def require_steps(name: str, steps: Any) -> int:
    with errors_of(name):
        require_whole("steps", steps)
    return steps


def require_coefficients(name: str, value: Any) -> Triples:
    """A tuple of triples of numbers."""
    if isinstance(value, list):  # as JSON has it
        value = tuple([tuple(x) if isinstance(x, list) else x for x in value])
    if not (type(value) is tuple and value and all(type(x) is tuple and len(x) == 3 for x in value)):
        remedy = "such as jordan_coefficients() or polar_express(6)"
        raise Refusal(TypeError, f"{name} must be a tuple of triples (a, b, c), {remedy}, got {excerpt(value)}")
    for i, triple in enumerate(value):
        if not all(isinstance(x, int | float) and not isinstance(x, bool) for x in triple):
            raise Refusal(TypeError, f"{name}[{i}] must be three numbers, got {excerpt(triple)}")
    return tuple([(float(a), float(b), float(c)) for a, b, c in value])


Coefficients = Annotated[Triples, Check(require_coefficients)]
