"""The fitted temperature of a trained network, from the evaluations beside its run folder."""

from persistill.run_folder import RunFolder, find


def fitted_temperature(run: RunFolder) -> float | None:
    """The temperature of the newest complete evaluation of a network.

    Args:
        run: a student's or teacher's folder; evaluations of it are looked for in the same place.

    Returns:
        The temperature that was fitted on validation images; None if no evaluation of this network holds one.
    """
    beside = find(
        run.path.resolve().parent,
        lambda other: other.kind == "evaluation" and other.inputs.get("network") == run.key and other.complete,
    )
    for evaluation in reversed(beside):
        found: float | None = evaluation.result()["metrics"].get("calibrated", {}).get("temperature")
        if found is not None:
            return found
    return None
