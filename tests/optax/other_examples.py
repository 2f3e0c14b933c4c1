"""Calls of the names that stand around others, or that an update is given more for than gradients."""

OTHERS: dict[str, list[str]] = {
    "apply_every": [
        "apply_every(3)",
        "chain(apply_every(2), sgd(0.1))",
    ],
    "conditionally_mask": [
        "conditionally_mask(adam(0.1), every_other)",
        "conditionally_mask(trace(0.9), above_seven, forward_extra_args=True)",
    ],
    "conditionally_transform": [
        "conditionally_transform(trace(0.9), every_other)",
        "conditionally_transform(clip(0.1), above_seven, True)",
    ],
    "differentially_private_aggregate": [
        "contrib.differentially_private_aggregate(1.0, 0.5, 0)",
        "contrib.differentially_private_aggregate(0.5, 0.0, key=jax.random.key(1))",
    ],
    "dpsgd": [
        "contrib.dpsgd(0.1, 1.0, 0.5, seed=0)",
        "contrib.dpsgd(linear_schedule(0.5, 0.25, 2), 0.5, 0.1, 3, 0.9, True)",
    ],
    "flatten": [
        "flatten(adam(1e-3))",
        "flatten(clip_by_block_rms(0.1))",
    ],
    "galore": [
        "contrib.galore(0.01, rank=1)",
        "contrib.galore(linear_schedule(0.5, 0.25, 2), 1, 2, 0.5, trace(0.9), 0.1, matrices)",
    ],
    "hutchinson_estimator_diag_hessian": [
        "contrib.hutchinson_estimator_diag_hessian()",
        "contrib.hutchinson_estimator_diag_hessian(jax.random.key(3))",
    ],
    "inject_stateful_hyperparams": [
        "inject_stateful_hyperparams(adam)(learning_rate=1e-3)",
    ],
    "lbfgs": [
        "lbfgs(memory_size=5)",
        "lbfgs(memory_size=1)",
        "lbfgs(linear_schedule(0.1, 0.0, 3), 2, linesearch=None)",
        "lbfgs(0.5, linesearch=scale_by_backtracking_linesearch(10))",
        "lbfgs(scale_init_precond=False)",
    ],
    "lookahead": [
        "lookahead(sgd(0.1), sync_period=2, slow_step_size=0.5)",
        "lookahead(adam(0.1), 2, 0.3, reset_state=True)",
        "chain(clip_by_global_norm(0.5), lookahead(adam(0.1), 5, 0.5))",
    ],
    "optimistic_adam": [
        "optimistic_adam(1e-3)",
        "optimistic_adam(0.1, 0.3, 0.8, 0.9, 1e-3, nesterov=False)",
    ],
    "sam": [
        "contrib.sam(sgd(0.1), chain(contrib.normalize(), sgd(0.05)))",
        "contrib.sam(adam(0.1), adam(0.05), 3, reset_state=False)",
        "contrib.sam(adam(0.1), chain(contrib.normalize(), trace(0.9), sgd(0.05)), 3, opaque_mode=True)",
        "contrib.sam(adam(0.1), adam(0.05), 3, False, True)",
    ],
    "scale_by_backtracking_linesearch": [
        "chain(sgd(1.0), scale_by_backtracking_linesearch(15))",
        "chain(sgd(2.0), scale_by_backtracking_linesearch(10, 0.1, 0.5, 2.0, 1.5, 1e-2, 1e-3, True))",
    ],
    "scale_by_distance_over_gradients": [
        "scale_by_distance_over_gradients()",
        "scale_by_distance_over_gradients(0.1, 1e-3, global_scale=-1.0)",
    ],
    "scale_by_galore": [
        "contrib.scale_by_galore(rank=1)",
        "contrib.scale_by_galore(2, 2, 0.5, None, {'w': galore_numbers(1, 0), 'b': None, 'n': {'c': None}})",
        "contrib.scale_by_galore(1, weight_dimension_numbers=galore_numbers(0, 1))",
    ],
    "scale_by_lbfgs": [
        "chain(scale_by_lbfgs(3), sgd(0.1))",
    ],
    "scale_by_sm3": [
        "masked(scale_by_sm3(), with_axes)",
        "masked(scale_by_sm3(0.5, 1.0, 1e-3), with_axes)",
        "masked(scale_by_sm3(0.5, 0.9), with_axes)",
    ],
    "scale_by_zoom_linesearch": [
        "chain(sgd(1.0), scale_by_zoom_linesearch(15))",
        "chain(sgd(0.5), scale_by_zoom_linesearch(10, 1.5, 1e-3, 3.0, 1e-3, 0.5, None, 1e-4, 'one'))",
    ],
    "sm3": [
        "masked(sm3(0.1), with_axes)",
        "masked(sm3(0.1, momentum=0.5), with_axes)",
    ],
    "snapshot": [
        "transforms.snapshot('largest', largest)",
        "chain(sgd(0.1), transforms.snapshot('largest', largest))",
    ],
    "sophia": [
        "contrib.sophia(1e-3)",
        "contrib.sophia(linear_schedule(0.5, 0.25, 2), 0.5, 0.5, 1e-3, 0.1, matrices, 0.5, None, 2)",
        "contrib.sophia(0.1, update_interval=3, hessian_diagonal_fn=square_of_gradient)",
    ],
    "split_real_and_imaginary": [
        "contrib.split_real_and_imaginary(adam(1e-3))",
        "contrib.split_real_and_imaginary(chain(clip(0.5), trace(0.9)))",
    ],
}
