"""Which values are tried next, and which trials are given up: Optuna's work."""

import logging
from typing import Any

from persistill.errors import UserError
from persistill.pipeline.sweep.record import Record, Trial
from persistill.pipeline.sweep.space import Dimension

_RANDOM = 10
"""Trials by chance alone, before those that learn from others."""
_BEFORE_PRUNING = 5
"""Trials that are complete before the first is given up."""
_FEWEST = 4
"""Complete trials from which on it is told which field matters."""


class Study:
    """A sweep as Optuna sees it, made anew of what is kept of it; nothing else is kept anywhere.

    What is tried next depends on the seed and on the trials before alone, so a sweep that was stopped goes on as if it
    had not been, as long as one trial is worked at at a time.

    Args:
        record: of the sweep.
        seed: of the choice of values.
        warm_up: steps before which no trial is given up; None to give up none.

    Raises:
        UserError: if Optuna is not installed.
    """

    def __init__(self, record: Record, seed: int, warm_up: int | None) -> None:
        try:
            import optuna  # noqa: PLC0415 - an extra
        except ImportError:
            raise UserError('a sweep needs Optuna, which is not installed: pip install "persistill[sweep]".') from None
        logging.getLogger("optuna").setLevel(logging.WARNING)
        self._optuna: Any = optuna
        self._seed, self._record = seed, record
        self._distributions = {name: self._distribution(dimension) for name, dimension in record.space.items()}
        pruner = (
            optuna.pruners.NopPruner() if warm_up is None else optuna.pruners.MedianPruner(_BEFORE_PRUNING, warm_up)
        )
        self._study = optuna.create_study(
            direction="maximize" if record.figure["better"] else "minimize", pruner=pruner
        )
        self._running: dict[int, Any] = {}
        for trial in record.trials:
            if trial.state == "running":
                self._study.enqueue_trial(self._params(trial))
                self._ask(trial.number)
                trial.seeds, trial.steps = [], {}
            else:
                self._study.add_trial(self._finished(trial))

    def ask(self) -> Trial:
        """Begin a trial."""
        number = len(self._record.trials)
        asked = self._ask(number)
        values = {name: asked.params[name] for name in self._distributions}
        trial = Trial(number, values)
        self._record.trials.append(trial)
        return trial

    def report(self, trial: Trial, step: int, figure: float) -> bool:
        """Tell how a trial stands: whether it is to be given up, worse than the median of the others at this step."""
        trial.steps[step] = figure
        self._running[trial.number].report(figure, step)
        return bool(self._running[trial.number].should_prune())

    def tell(self, trial: Trial) -> None:
        """Tell how a trial ended, and which fields matter now."""
        state = self._states[trial.state]
        self._study.tell(self._running.pop(trial.number), trial.figure, state=state)
        complete = [one for one in self._record.trials if one.figure is not None]
        if len(complete) >= _FEWEST and len({one.figure for one in complete}) > 1:
            found = self._optuna.importance.get_param_importances(self._study)
            self._record.importance = {name: float(found.get(name, 0.0)) for name in self._distributions}

    @property
    def _states(self) -> dict[str, Any]:
        state = self._optuna.trial.TrialState
        return {"complete": state.COMPLETE, "pruned": state.PRUNED, "failed": state.FAIL}

    def _ask(self, number: int) -> Any:
        self._study.sampler = self._optuna.samplers.TPESampler(n_startup_trials=_RANDOM, seed=self._seed + number)
        self._running[number] = self._study.ask(self._distributions)
        return self._running[number]

    def _params(self, trial: Trial) -> dict[str, Any]:
        return {name: trial.values[name] for name in self._distributions}

    def _finished(self, trial: Trial) -> Any:
        return self._optuna.trial.create_trial(
            state=self._states[trial.state],
            params=self._params(trial),
            distributions=self._distributions,
            value=trial.figure,
            intermediate_values=trial.steps,
        )

    def _distribution(self, dimension: Dimension) -> Any:
        kinds = self._optuna.distributions
        if dimension.kind == "choice":
            return kinds.CategoricalDistribution(dimension.options)
        log = dimension.kind.startswith("log")
        if dimension.kind.endswith("int"):
            return kinds.IntDistribution(int(dimension.low), int(dimension.high), log=log)
        return kinds.FloatDistribution(dimension.low, dimension.high, log=log)
