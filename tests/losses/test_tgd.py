"""TGD: against the authors' numbers and double loops; both merges; any number of teachers."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from persistill.config import Arm
from persistill.errors import UserError
from persistill.losses import KD, SP, TGD, gram, kl, merged_similarity, similarity
from persistill.structures import ModelOutput

TARGET = torch.zeros(4, dtype=torch.long)


@pytest.fixture(params=["a", "b"])
def oracle(request, shared):
    with np.load(shared("oracles", f"tgd_{request.param}.npz")) as file:
        return {name: torch.from_numpy(np.asarray(value)) for name, value in file.items()}


def read(oracle, who, dtype):
    logits = oracle[f"{who}_logits"].to(dtype)
    return ModelOutput(logits, logits, {f"stage{i + 1}": oracle[f"{who}_feat{i}"].to(dtype) for i in range(3)})


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_terms_and_total_are_those_of_the_authors_code(oracle, dtype):
    student, *teachers = (read(oracle, who, dtype) for who in ("student", "teacher1", "teacher2"))
    alpha, tau, lam = oracle["alpha"].item(), oracle["temperature"].item(), oracle["lam"].item()
    method = TGD(
        kd=lam,
        similarity=oracle["gamma"].item(),
        alphas=(alpha, 1 - alpha),
        temperature=tau,
        kl_reduction="mean",
    )
    terms = method.terms(student, teachers, oracle["target"])
    expected_kd = tau**2 * (alpha * oracle["kd1_elementmean"] + (1 - alpha) * oracle["kd2_elementmean"])
    assert terms["kd"].item() == pytest.approx(expected_kd.item(), rel=1e-5)
    assert terms["sp"].item() == pytest.approx(oracle["similarity_losses"].mean().item(), rel=1e-5)
    ce = F.cross_entropy(student.logits, oracle["target"])
    assert ce.item() == pytest.approx(oracle["ce"].item(), rel=1e-5)
    total = (1 - lam) * ce + sum(method.weights[name] * value for name, value in terms.items())
    assert total.item() == pytest.approx(oracle["total"].item(), rel=1e-5)


def test_each_teacher_and_each_stage_of_the_authors_code(oracle):
    student, *teachers = (read(oracle, who, torch.float64) for who in ("student", "teacher1", "teacher2"))
    tau, alpha = oracle["temperature"].item(), oracle["alpha"].item()
    for number, teacher in enumerate(teachers, 1):
        published = oracle[f"kd{number}_elementmean"].item()
        assert kl(student.logits, teacher.logits, tau, "mean").item() == pytest.approx(tau**2 * published, rel=1e-5)
    for stage, published in zip(student.feature_maps, oracle["similarity_losses"], strict=True):
        maps = [teacher.feature_maps[stage] for teacher in teachers]
        merged = merged_similarity(maps, (alpha, 1 - alpha))
        found = F.mse_loss(similarity(student.feature_maps[stage]), merged)
        assert found.item() == pytest.approx(published.item(), rel=1e-5)


def test_published_is_the_authors_example_command():
    assert TGD.published() == TGD(kl_reduction="mean")
    assert TGD.published().to_json() == {
        "is": "TGD",
        "kd": 0.9,
        "similarity": 3000.0,
        "alphas": [0.99, 0.01],
        "temperature": 4.0,
        "kl_reduction": "mean",
        "merge": "published",
        "standardize": False,
    }


def test_published_averaging_makes_the_weight_of_kd_a_tenth():
    # Trap 1: 0.9 x 16 / 10 = 1.44 times the batch-mean divergence for ten classes, not 14.4.
    torch.manual_seed(0)
    logits = torch.randn(3, 6, 10, dtype=torch.float64)
    maps = {"stage1": torch.randn(6, 3, dtype=torch.float64)}
    student, *teachers = (ModelOutput(z, z, maps) for z in logits)
    method = TGD.published()
    effective = method.weights["kd"] * method.terms(student, teachers, TARGET)["kd"]
    log_p = [F.log_softmax(z / 4, 1) for z in logits]
    plain = [F.kl_div(log_p[0], log_teacher, log_target=True, reduction="batchmean") for log_teacher in log_p[1:]]
    torch.testing.assert_close(effective, 1.44 * (0.99 * plain[0] + 0.01 * plain[1]))


def looped_merge(teachers, alphas, merge):
    def normalized(rows):
        return [[value / math.sqrt(sum(x * x for x in row)) for value in row] for row in rows]

    matrices = []
    for features in teachers:
        rows = [[(one * other).sum().item() for other in features] for one in features]
        matrices.append(rows if merge == "published" else normalized(rows))
    batch = len(teachers[0])
    mixed = [
        [sum(alpha * rows[i][j] for alpha, rows in zip(alphas, matrices, strict=True)) for j in range(batch)]
        for i in range(batch)
    ]
    return torch.tensor(normalized(mixed), dtype=torch.float64)


@pytest.mark.parametrize("merge", ["published", "normalized"])
@pytest.mark.parametrize("alphas", [(1.0,), (0.7, 0.3), (0.2, 0.5, 0.3)])
def test_merge_is_its_double_loop(merge, alphas):
    torch.manual_seed(1)
    teachers = [torch.randn(5, 2 + i, 3, 4 + i, dtype=torch.float64) for i in range(len(alphas))]
    merged = merged_similarity(teachers, alphas, merge)
    torch.testing.assert_close(merged, looped_merge(teachers, alphas, merge))


def test_only_the_normalized_merge_ignores_how_large_a_teachers_features_are():
    torch.manual_seed(2)
    one, other = torch.randn(2, 4, 3, 5, 5, dtype=torch.float64)
    before, after = (
        [merged_similarity([one, size * other], (0.9, 0.1), merge) for merge in ("published", "normalized")]
        for size in (1.0, 100.0)
    )
    assert (before[0] - after[0]).abs().max() > 0.1
    torch.testing.assert_close(before[1], after[1])


def test_terms_are_the_functions_with_the_settings(made_up):
    student, one, other = made_up(0), made_up(1), made_up(2, channels=3, sides=(6, 4, 2))
    method = TGD(kd=0.3, similarity=7.0, alphas=(0.6, 0.4), temperature=2.5, kl_reduction="mean", merge="normalized")
    terms = method.terms(student, [one, other], TARGET)
    assert method.weights == {"kd": 0.3, "sp": 7.0}
    assert list(terms) == ["kd", "sp"]
    divergences = [kl(student.logits, teacher.logits, 2.5, "mean") for teacher in (one, other)]
    torch.testing.assert_close(terms["kd"], 0.6 * divergences[0] + 0.4 * divergences[1])
    differences = [
        F.mse_loss(
            similarity(of),
            merged_similarity([one.feature_maps[name], other.feature_maps[name]], (0.6, 0.4), "normalized"),
        )
        for name, of in student.feature_maps.items()
    ]
    torch.testing.assert_close(terms["sp"], torch.stack(differences).mean())


def test_standardized_logits_of_all_are_compared_where_it_is_asked_for(made_up):
    student, teachers = made_up(0), [made_up(1), made_up(2)]
    terms = TGD(alphas=(0.6, 0.4), temperature=2.5, standardize=True).terms(student, teachers, TARGET)
    student_scores, *scores = (
        (z.logits - z.logits.mean(1, keepdim=True)) / z.logits.std(1, keepdim=True) for z in (student, *teachers)
    )
    expected = 0.6 * kl(student_scores, scores[0], 2.5) + 0.4 * kl(student_scores, scores[1], 2.5)
    torch.testing.assert_close(terms["kd"], expected)
    plain = TGD(alphas=(0.6, 0.4), temperature=2.5).terms(student, teachers, TARGET)
    assert terms["sp"] == plain["sp"]


def test_one_teacher_is_kd_and_sp(made_up):
    student, teacher = made_up(0), made_up(1)
    for merge in ("published", "normalized"):
        terms = TGD(alphas=(1.0,), merge=merge).terms(student, [teacher], TARGET)
        torch.testing.assert_close(terms["kd"], KD().terms(student, [teacher], TARGET)["kd"])
        torch.testing.assert_close(terms["sp"], SP().terms(student, [teacher], TARGET)["sp"])


def test_a_teacher_of_weight_zero_says_nothing(made_up):
    student, teacher = made_up(0), made_up(1)
    both = TGD(alphas=(1.0, 0.0)).terms(student, [teacher, made_up(2)], TARGET)
    alone = TGD(alphas=(1.0,)).terms(student, [teacher], TARGET)
    torch.testing.assert_close(both, alone)


@given(st.integers(0, 2**32 - 1), st.sampled_from(["published", "normalized"]))
@settings(deadline=None, max_examples=20)
def test_order_of_teachers_and_images_does_not_matter(seed, merge):
    torch.manual_seed(seed)
    teachers = [torch.randn(4, channels, 3, 2, dtype=torch.float64) for channels in (2, 3, 5)]
    alphas = torch.rand(3, dtype=torch.float64)
    alphas = (alphas / alphas.sum()).tolist()
    merged = merged_similarity(teachers, alphas, merge)
    torch.testing.assert_close(merged.square().sum(1), torch.ones(4, dtype=torch.float64))
    torch.testing.assert_close(merged_similarity(teachers[::-1], alphas[::-1], merge), merged)
    order = torch.randperm(4)
    torch.testing.assert_close(merged_similarity([t[order] for t in teachers], alphas, merge), merged[order][:, order])


def test_a_student_that_equals_its_teachers_has_nothing_to_learn(made_up):
    student = made_up(0)
    for merge in ("published", "normalized"):
        terms = TGD(merge=merge).terms(student, [made_up(0), made_up(0)], TARGET)
        for value in terms.values():
            assert value.item() == pytest.approx(0, abs=1e-15)
        torch.stack(list(terms.values())).sum().backward()
        for tensor in (student.logits, *student.feature_maps.values()):
            torch.testing.assert_close(tensor.grad, torch.zeros_like(tensor))


def test_stages_are_paired_from_the_last_one_that_all_have(made_up):
    student, deep, shallow = made_up(0), made_up(1, sides=(9, 6, 4, 2)), made_up(2, sides=(4, 2))
    found = TGD(alphas=(0.6, 0.4)).terms(student, [deep, shallow], TARGET)["sp"]
    expected = [
        F.mse_loss(
            similarity(student.feature_maps[of_student]),
            merged_similarity([deep.feature_maps[of_deep], shallow.feature_maps[of_shallow]], (0.6, 0.4)),
        )
        for of_student, of_deep, of_shallow in [("stage1", "stage2", "stage0"), ("stage2", "stage3", "stage1")]
    ]
    torch.testing.assert_close(found, torch.stack(expected).mean())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("merge", ["published", "normalized"])
@pytest.mark.parametrize("kind", ["zero", "constant", "equal", "large", "one sample"])
def test_gradients_are_finite(made_up, kind, merge, dtype):
    batch = 1 if kind == "one sample" else 4
    teachers = [made_up(1, batch=batch), made_up(2, batch=batch, channels=3, sides=(6, 3, 2))]

    def changed(tensor, equal):
        tensor = {
            "zero": torch.zeros_like(tensor),
            "constant": torch.ones_like(tensor),
            "equal": equal,
            "large": tensor.sign() * 6e4,
            "one sample": tensor,
        }[kind]
        return tensor.detach().to(dtype).requires_grad_()

    source = made_up(0, batch=batch)
    student = ModelOutput(
        changed(source.logits, teachers[0].logits),
        source.embedding,
        {name: changed(tensor, teachers[0].feature_maps[name]) for name, tensor in source.feature_maps.items()},
    )
    lowered = [
        ModelOutput(t.logits.to(dtype), t.embedding, {n: m.to(dtype) for n, m in t.feature_maps.items()})
        for t in teachers
    ]
    method = TGD(merge=merge)
    terms = method.terms(student, lowered, TARGET[:batch])
    sum(method.weights[name] * value for name, value in terms.items()).backward()
    for value in terms.values():
        assert value.dtype == torch.float32
        assert value.isfinite()
    for tensor in (student.logits, *student.feature_maps.values()):
        assert tensor.grad.isfinite().all()


@pytest.mark.parametrize("merge", ["published", "normalized"])
def test_teachers_without_features_merge_to_zero(merge):
    dead = [torch.zeros(3, 2, 2, 2), torch.zeros(3, 4)]
    assert merged_similarity(dead, (0.5, 0.5), merge).eq(0).all()


@pytest.mark.parametrize("merge", ["published", "normalized"])
def test_gradients_are_those_of_finite_differences(merge):
    torch.manual_seed(3)
    maps = [torch.randn(3, c, 2, 2, dtype=torch.float64, requires_grad=True) for c in (2, 3, 1)]

    def loss(student, one, other):
        return F.mse_loss(similarity(student), merged_similarity([one, other], (0.7, 0.3), merge))

    assert torch.autograd.gradcheck(loss, maps)


def test_published_merge_mixes_gram_matrices():
    torch.manual_seed(4)
    one, other = torch.randn(2, 3, 8, dtype=torch.float64)
    mixed = 0.8 * gram(one) + 0.2 * gram(other)
    torch.testing.assert_close(merged_similarity([one, other], (0.8, 0.2)), mixed / mixed.norm(dim=1, keepdim=True))


def test_teachers_and_alphas_must_agree(made_up):
    method = TGD()
    assert method.num_teachers == 2
    for count in (1, 3):
        with pytest.raises(UserError, match=rf"2 alphas \(0.99, 0.01\), one for each teacher; given: {count} teacher"):
            method.terms(made_up(0), [made_up(i) for i in range(count)], TARGET)
    with pytest.raises(UserError, match=r"TGD needs 2 teachers, and this arm names 1"):
        Arm(methods=(method,), teachers=("image",))
    with pytest.raises(UserError, match=r"2 alphas .* for 1 teacher"):
        merged_similarity([torch.zeros(2, 2)], (0.5, 0.5))
    with pytest.raises(UserError, match=r"unknown merge 'publisht'. Did you mean 'published'"):
        merged_similarity([torch.zeros(2, 2)], (1.0,), "publisht")


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"alphas": (0.9, 0.01)}, r"alphas must sum to 1; \(0.9, 0.01\) sum to 0.91"),
        ({"alphas": (1.5, -0.5)}, r"TGD.alphas.1: .*; -0.5 was given"),
        ({"alphas": (math.nan, 1.0)}, r"TGD.alphas.0: .*; nan was given"),
        ({"alphas": ()}, r"TGD.alphas: .*at least 1"),
        ({"kd": -1.0}, r"TGD.kd: .*; -1.0 was given"),
        ({"similarity": math.nan}, r"TGD.similarity: .*; nan was given"),
        ({"temperature": -4.0}, r"TGD.temperature: .*; -4.0 was given"),
        ({"merge": "before"}, r"TGD.merge: .*'published' or 'normalized'; 'before' was given"),
        ({"gamma": 3000.0}, r"unknown field of TGD: 'gamma'"),
    ],
)
def test_settings_out_of_range_are_named(fields, message):
    with pytest.raises(UserError, match=message):
        TGD(**fields)
