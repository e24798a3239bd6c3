"""What check passes, runs: random recipes are checked and, if no problem is found, trained and evaluated."""

import tempfile
from pathlib import Path

from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from persistill.config import Arm, Data, Evaluate, Model, Recipe, Teacher, Train
from persistill.errors import UserError
from persistill.losses import AT, KD
from persistill.pipeline import Pipeline
from persistill.pipeline.executors import local

SEEDS = st.one_of(st.integers(0, 9), st.sampled_from([2**63 - 1, 2**63, -(2**63) + 1, -(2**64)]))
SIDES = st.one_of(st.integers(1, 12), st.sampled_from([100_000]))

DATA = st.builds(
    dict,
    train=st.one_of(st.none(), st.integers(1, 60)),
    validation=st.one_of(st.integers(1, 30), st.floats(0.01, 0.99)),
    test=st.one_of(st.none(), st.integers(1, 40)),
    split_seed=SEEDS,
    size=st.one_of(st.none(), st.tuples(SIDES, SIDES)),
    resize=st.sampled_from(["crop", "squash", "letterbox"]),
    range=st.sampled_from(["full", "measured", (0.0, 100.0), (1.0, 1.0)]),
    grayscale=st.booleans(),
    mean=st.sampled_from([None, (0.5,), (0.5, 0.5, 0.5)]),
    std=st.sampled_from([None, (0.25,), (1e-12,), (1e-320,)]),
    duplicates=st.sampled_from(["warn", "drop", "refuse"]),
)
TRAIN = st.builds(
    dict,
    epochs=st.sampled_from([1, 1, 2, 10**21]),
    batch_size=st.one_of(st.integers(1, 60), st.just(10**6)),
    optimizer=st.sampled_from(["sgd", "adamw", "torch.optim:RMSprop", "torch.optim:Nope", "builtins:dict"]),
    lr=st.sampled_from([0.0, 1e-12, 1e-3, 0.05, 1e308]),
    momentum=st.sampled_from([0.0, 0.9, 1.0]),
    nesterov=st.booleans(),
    weight_decay=st.sampled_from([0.0, 1e-4, 1e-320]),
    schedule=st.sampled_from(["constant", "step", "cosine", "one-cycle", "builtins:print"]),
    milestones=st.sampled_from([(), (1,), (5, 3), (0,)]),
    gamma=st.sampled_from([0.1, 1.0, 1e-12]),
    warmup_epochs=st.sampled_from([0.0, 0.3, 5.0, 1e12]),
    augment=st.sampled_from([(), ("crop",), ("flip",), ("crop", "flip"), ("builtins:dict",)]),
    crop_padding=st.sampled_from([1, 4, 12, 10**6]),
    crop_size=st.sampled_from([None, None, (4, 4), (9, 20)]),
    precision=st.sampled_from(["fp32", "bf16", "fp16"]),
    clip_norm=st.sampled_from([None, 1e-12, 1.0]),
    label_smoothing=st.sampled_from([0.0, 0.1, 0.999999]),
    channels_last=st.booleans(),
)
EVALUATE = st.builds(
    dict,
    noise=st.sampled_from([(), (0.1,), (1e12,), (1e-12,)]),
    noise_seed=SEEDS,
    ece_bins=st.sampled_from([1, 15, 10_000, 10**11]),
    batch_size=st.sampled_from([1, 7, 10**12]),
    embeddings=st.sampled_from([1, 10**12]),
    attacks=st.sampled_from([(), (255.0,), (1e-12,)]),
    attack_images=st.sampled_from([1, 5]),
    corruptions=st.sampled_from([(), ("fog",), "gaussian_noise", "nope"]),
    corruption_images=st.sampled_from([1, 5]),
    ood=st.sampled_from([None, "digits", "nope"]),
)
METHODS = st.sampled_from([(KD(),), (KD(temperature=1e-12),), (AT(),), (KD(), AT())])
NETWORKS = st.sampled_from(["resnet-8", "wrn-10-1", "vgg-8", "builtins:dict"])
CHECKED = settings(
    max_examples=6, deadline=None, suppress_health_check=[HealthCheck.filter_too_much, HealthCheck.too_slow]
)


@st.composite
def valid_or_not(draw, fields, usual):
    """A few of the fields, the others as usual: with all of them at once, nothing would ever be in order."""
    changes = draw(fields)
    kept = draw(st.sets(st.sampled_from(sorted(changes)), max_size=4))
    return usual | {name: value for name, value in changes.items() if name in kept}


@CHECKED
@given(
    valid_or_not(DATA, {"train": 60, "validation": 12, "test": 20}),
    valid_or_not(TRAIN, {"epochs": 1, "batch_size": 8, "lr": 0.01, "schedule": "constant"}),
    valid_or_not(EVALUATE, {"noise": (), "attacks": (), "corruptions": ()}),
    METHODS,
    NETWORKS,
    SEEDS,
)
def test_what_check_passes_runs(data, train, evaluate, methods, network, seed):
    with tempfile.TemporaryDirectory() as out:
        try:
            recipe = Recipe(
                name="random",
                data=Data(source="digits", **data),
                student=Model(name="resnet-8"),
                teachers={"large": Teacher(model=Model(name=network))},
                arms={"taught": Arm(methods=methods, teachers=("large",))},
                train=Train(**train),
                evaluate=Evaluate(**evaluate),
                seeds=(seed,),
                teacher_seed=seed,
            )
            pipeline = Pipeline(recipe, Path(out), device="cpu")
            pipeline.probe()
            stages = [stage for stage in pipeline.stages() if stage.kind in ("teacher", "student", "evaluation")]
        except UserError:
            assume(condition=False)
        try:
            local.run(stages, pipeline.context)
        except UserError as error:
            # Nobody can tell beforehand whether a training diverges.
            if "the loss is not finite any more" not in str(error):
                raise AssertionError(str(error)) from error
