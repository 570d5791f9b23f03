"""What a measurement is recorded with."""

from keras_fracture.experiment.runs import provenance


def conditions():
    """Command, date, versions and machine of this measurement, see `experiment.runs.provenance`."""
    facts = provenance()
    command = facts["command"]
    if command.startswith("keras-fracture "):  # its name for every program that is started as a package
        command = command.replace("keras-fracture", "python -m benchmarks", 1)
    return facts | {"command": command}
