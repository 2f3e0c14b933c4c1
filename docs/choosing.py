"""docs/choosing.md: which optimizer answers which question, and what it keeps: `python -m docs.choosing`."""

import math
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

import gradtx as gx

PAGE = Path(__file__).with_suffix(".md")
SHAPE = 1024, 4096

# A call, and when it helps: one honest sentence.
QUESTIONS: dict[str, dict[str, str]] = {
    "Where to begin": {
        "adamw(1e-3)": "The default of most of deep learning; with a warmup and a decay hard to beat by much.",
        "sgd(0.1, momentum=0.9)": "Convolutional networks on images.",
        "sgd(0.1, momentum=0.9, nesterov=True)": "The same, with a look ahead: a little faster on smooth losses.",
        "adam(1e-3)": "AdamW without decay: small models, and losses that have their own regularization.",
        "nadamw(1e-3)": "AdamW with Nesterov's momentum: mostly a little better, at no cost.",
        "nadam(1e-3)": "The same without decay.",
        "muon(0.02, where=by_ndim(at_least=2) & ~by_path('emb'))": "Hidden matrices of transformers.",
        "normuon(0.02)": "Muon whose rows move equally far.",
    },
    "Little tuning": {
        "prodigy()": "Finds its rate: try it first where nothing is known; with a cosine schedule on top.",
        "dadapt_adamw()": "Prodigy's forerunner: the same idea, slower to find the rate.",
        "dog()": "A rate from the distance gone over the gradients seen; evaluate with an average of the steps.",
        "chain(scale_by_distance(), scale_by_learning_rate(1.0))": "The same, each array by itself.",
        "dowg()": "DoG with weights that make it bolder.",
        "mechanize(adamw(1e-3))": "Puts a learned factor on any optimizer: its own rate may be off by powers of ten.",
        "schedule_free_adamw(1e-3)": "No end to plan for: training may stop at any time; evaluate with its average.",
        "schedule_free_sgd(0.1)": "The same for SGD.",
        "momo(1.0)": "SGD whose step is cut by how far the loss can still fall; needs the loss, and its lower bound.",
        "momo_adam(1e-2)": "The same for Adam.",
        "polyak()": "The step that would reach the optimum of a line: for losses whose minimum is known, mostly 0.",
        "cocob()": "Betting on coins, no rate at all; slow on deep networks.",
        "adadelta()": "No units in its rate: for losses of unknown scale.",
    },
    "Large batches": {
        "lamb(1e-3)": "Batches of thousands, where Adam's steps would be too long for some arrays.",
        "lars(1.0)": "The same for SGD on convolutional networks.",
        "fromage(0.01)": "One relative rate for all arrays, also where the network is very deep.",
        "shampoo(1e-3)": "Fewer, dearer steps: where a batch costs much more than products of its matrices.",
        "soap(3e-3)": "Shampoo's directions with Adam's sizes: mostly fewer steps than either.",
        "adan(1e-3)": "Large batches for vision models: a momentum that sees where the gradient goes.",
    },
    "Low memory": {
        "hold(adamw(1e-3), mu=blocks(8), nu=blocks(8))": "AdamW in 8 bits: nearly the same losses.",
        "lion(1e-4)": "One array in the place of two; a rate a third to a tenth of AdamW's.",
        "sign_sgd(1e-3)": "Nothing is kept; for very large batches.",
        "signum(1e-3)": "The sign of a momentum.",
        "tiger(1e-3)": "The same, with decay.",
        "adafactor(1e-2)": "The second moment as a row and a column: what T5 was trained with.",
        "sm3(0.1)": "One number per row and column, and a momentum.",
        "adam_mini(1e-3)": "AdamW with one second moment per block; heads and rows are named by the user.",
        "novograd(1e-3)": "One second moment per array.",
        "galore(1e-2, 128)": "Adam in a subspace of each matrix, which changes every 200 steps.",
        "apollo(1e-2, 128)": "Scales of columns from a random subspace.",
        "dion(0.01, 128)": "Muon of a low rank, for many devices.",
    },
    "Noisy gradients": {
        "adopt(1e-3)": "Adam that converges for any b2: old second moments judge new gradients.",
        "ademamix(1e-3)": "A second, very slow average: long runs on noisy text, with warmups of its own numbers.",
        "simplified_ademamix(1e-5)": "The same with one average, at small batches.",
        "adabelief(1e-3)": "Adam by the deviation from the average: bolder where gradients agree.",
        "acprop(1e-3)": "The same, with the old deviation.",
        "yogi(1e-2)": "Second moments that fall slowly: sparse and bursty gradients.",
        "amsgrad(1e-3)": "Second moments that never fall.",
        "radam(1e-3)": "Adam that waits for its second moment: less need of a warmup.",
        "stable_adamw(1e-3)": "AdamW that shortens the step at a spike of the gradient.",
        "laprop(1e-3)": "The momentum of normalized gradients: steadier than Adam at high b1.",
        "ano(1e-4)": "Direction and size of a step apart: reinforcement learning and other drifting losses.",
        "spam(1e-3)": "Adam where single elements spike: a spike does not stay in the moments.",
        "rmsprop(1e-3)": "Reinforcement learning and recurrent networks.",
        "cautious(adamw(1e-3))": "Only what agrees with the gradient moves: one word around any optimizer.",
    },
    "Better minima": {
        "sam(sgd(0.1), 0.05)": "Two gradients a step for flatter minima: vision models, small data.",
        "lookahead(adamw(1e-3), 5, 0.5)": "Slow weights that follow the fast: steadier, for one more copy.",
        "chain(adamw(1e-3), average_parameters(0.999))": "Evaluate with an average, if the rate does not fall.",
        "noisy_sgd(0.1, key=0)": "Noise that fades away: out of shallow minima.",
    },
    "Second order": {
        "lbfgs()": "Smooth losses without noise, up to some million parameters: fits, physics, full batches.",
        "newton()": "Small problems to the last digit.",
        "sophia(1e-3)": "A diagonal of the Hessian now and then: language models.",
        "kron(1e-3)": "A preconditioner that is learned by itself, without eigenvalues.",
    },
    "Sparse and convex": {
        "adagrad(0.01)": "Rates that only fall: sparse features, convex losses.",
        "ftrl(0.1)": "Exact zeros in linear models.",
        "adamax(2e-3)": "Adam by the largest gradient of late: embeddings.",
        "adamaxw(2e-3)": "The same with decay.",
        "madgrad(0.01)": "Adagrad's sums with a momentum: images, where SGD is slow and Adam too bold.",
        "asgd(0.01)": "Falling rates and a late average: convex losses.",
        "rprop(1e-3)": "Full batches only: signs, each with a step of its own.",
    },
    "Games": {
        "optimistic_gradient_descent(0.1)": "Minimum and maximum at once, where plain descent goes in circles.",
        "optimistic_adam(1e-3)": "The same for generative adversarial networks.",
    },
    "Private": {
        "dpsgd(0.1, 1.0, 1.1, key=0)": "Gradients clipped one by one, and noise; the accountant is another's.",
    },
}

INTRODUCTION = """# Which optimizer

By question, with what each keeps: bytes of its state per parameter of a float32 matrix of 1024 by 4096, measured. Of
whatever stands here, AdamW with a good schedule is the one to beat; a row says when something else may.
`python -m docs.choosing` makes this page.
"""


def value_of(call: str) -> Any:
    return eval(call, vars(gx).copy())


def bytes_per_parameter(tx: Any) -> float:
    params = {"w": jax.ShapeDtypeStruct(SHAPE, jnp.float32)}
    arrays = jax.tree.leaves(jax.eval_shape(tx.init, params))
    return sum(x.size * x.dtype.itemsize for x in arrays if x.ndim) / math.prod(SHAPE)


def page() -> str:
    parts = [INTRODUCTION]
    for question, rows in QUESTIONS.items():
        lines = [f"| `{call}` | {bytes_per_parameter(value_of(call)):.3g} | {text} |" for call, text in rows.items()]
        head = [f"## {question}\n", "| | bytes | when it helps |", "| --- | --: | --- |"]
        parts.append("\n".join([*head, *lines]) + "\n")
    return "\n".join(parts)


if __name__ == "__main__":
    PAGE.write_text(page())
    print(f"wrote {PAGE.name}")
