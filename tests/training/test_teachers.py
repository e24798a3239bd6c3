import copy

import torch
from tiny_training import TinyNet

from persistill.training import Frozen


def test_a_teacher_never_changes() -> None:
    teacher = Frozen(TinyNet())
    before = copy.deepcopy(teacher.state_dict())
    teacher.train()
    teacher.requires_grad_()
    features = teacher(torch.randn(8, 1, 6, 6) + 5)
    assert not any(module.training for module in teacher.network.modules())
    assert not features.logits.requires_grad
    assert not features.feature_maps["stage1"].requires_grad
    assert all(torch.equal(value, before[name]) for name, value in teacher.state_dict().items())


def test_a_teacher_inside_a_training_module_stays_frozen() -> None:
    teacher = Frozen(TinyNet())
    torch.nn.ModuleList([teacher, TinyNet()]).train()
    assert not teacher.network.norm.training
