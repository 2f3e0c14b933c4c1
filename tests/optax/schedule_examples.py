"""Calls of Optax's schedules, for both modules."""

SCHEDULES: dict[str, list[str]] = {
    "constant_schedule": ["constant_schedule(0.1)"],
    "cosine_decay_schedule": ["cosine_decay_schedule(0.1, 10)", "cosine_decay_schedule(0.1, 10, 0.2, 2.0)"],
    "cosine_onecycle_schedule": ["cosine_onecycle_schedule(10, 0.1)", "cosine_onecycle_schedule(1, 0.1)"],
    "exponential_decay": [
        "exponential_decay(0.1, 5, 0.9)",
        "exponential_decay(0.1, 2, 0.5, transition_begin=3, staircase=True, end_value=0.02)",
        "exponential_decay(0.1, 2, 2.0, -1, end_value=0.5)",
        "exponential_decay(0.1, 0, 0.5)",
        "exponential_decay(0.1, 5, 0.0, end_value=0.5)",
    ],
    "join_schedules": [
        "join_schedules([linear_schedule(0.0, 0.1, 5), constant_schedule(0.1)], [5])",
        "join_schedules((constant_schedule(1.0), lambda count: 0.5 * count), boundaries=(3,))",
        "join_schedules([constant_schedule(1.0), constant_schedule(2.0)], [0])",
    ],
    "linear_onecycle_schedule": ["linear_onecycle_schedule(10, 0.1)", "linear_onecycle_schedule(3, 0.1, 0.5, 0.5)"],
    "linear_schedule": [
        "linear_schedule(0.1, 0.0, 10)",
        "linear_schedule(0.1, 0.0, 0)",
        "linear_schedule(0.1, 0.0, 4.5, transition_begin=2)",
        "linear_schedule(0.0, 1.0, 4, -3)",
    ],
    "piecewise_constant_schedule": [
        "piecewise_constant_schedule(0.1, {5: 0.1, 3: 0.5})",
        "piecewise_constant_schedule(0.1)",
    ],
    "piecewise_interpolate_schedule": [
        "piecewise_interpolate_schedule('cosine', 0.1, {5: 0.1, 8: 2.0})",
        "piecewise_interpolate_schedule('linear', 0.1, {0: 3.0, 4: 0.5})",
        "piecewise_interpolate_schedule('linear', 0.1)",
    ],
    "polynomial_schedule": [
        "polynomial_schedule(0.1, 0.0, power=2, transition_steps=10)",
        "polynomial_schedule(0.1, 1.0, 0.5, 4, 3)",
        "polynomial_schedule(0.1, 1.0, 0, 4)",
    ],
    "sgdr_schedule": [
        "sgdr_schedule([dict(init_value=0.0, peak_value=0.1, warmup_steps=1, decay_steps=4)])",
        "sgdr_schedule([dict(init_value=0.0, peak_value=p, warmup_steps=1, decay_steps=4) for p in (1.0, 0.5)])",
    ],
    "warmup_constant_schedule": ["warmup_constant_schedule(0.0, 0.1, 5)", "warmup_constant_schedule(0.0, 0.1, 0)"],
    "warmup_cosine_decay_schedule": [
        "warmup_cosine_decay_schedule(0.0, 0.1, warmup_steps=3, decay_steps=10)",
        "warmup_cosine_decay_schedule(0.1, 1.0, 0, 10, 0.2, 2.0)",
        "warmup_cosine_decay_schedule(0.1, 0.0, 2, 10, 0.2)",
    ],
    "warmup_exponential_decay_schedule": [
        "warmup_exponential_decay_schedule(0.0, 0.1, 3, transition_steps=5, decay_rate=0.9)",
        "warmup_exponential_decay_schedule(0.0, 0.1, 0, 2, 0.5, 1, True, 0.05)",
    ],
}
