"""What examples/cluster/ says: each example runs here as far as it can without its cluster."""

import importlib.util
import os
import runpy
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from keras_fracture.data import decoding, phantom

EXAMPLES = Path(__file__).parents[2] / "examples" / "cluster"
SLURM, KUBERNETES, LAPTOP = (EXAMPLES / name for name in ("slurm.py", "kubernetes.yaml", "laptop.sh"))


@pytest.fixture(scope="module")
def xrays(tmp_path_factory):
    """A folder of 12 X-rays, half of them with a finding."""
    folder = tmp_path_factory.mktemp("xrays")
    for number, record in enumerate(phantom.records(sources=12, size=64)[:12]):
        where = folder / ("fracture" if number % 2 else "healthy")
        where.mkdir(exist_ok=True)
        (where / f"{number}.png").write_bytes(decoding.encode_png(record["image"][..., 0]))
    return folder


@pytest.mark.parametrize("path", sorted(EXAMPLES.iterdir()), ids=lambda path: path.name)
def test_an_example_is_short(path):
    assert path.suffix == ".md" or len(path.read_text().splitlines()) < 30


def test_the_laptop_s_two_workers_audit_a_folder(xrays, tmp_path):
    pytest.importorskip("distributed")
    for name, module in {"dask": "dask", "keras-fracture": "keras_fracture.cli"}.items():
        program = tmp_path / "bin" / name
        program.parent.mkdir(exist_ok=True)
        program.write_text(f'#!/bin/sh\nexec {sys.executable} -m {module} "$@"\n')
        program.chmod(0o755)
    paths = os.pathsep.join([str(EXAMPLES.parents[1]), os.environ.get("PYTHONPATH", "")])
    environment = os.environ | {
        "PYTHONPATH": paths,
        "PATH": f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}",
    }
    command = ["bash", LAPTOP, "audit", xrays.name, "--finding", "fracture", "--out", tmp_path / "audit"]
    done = subprocess.run(
        command, cwd=xrays.parent, env=environment, capture_output=True, text=True, timeout=100
    )
    assert done.returncode == 0, done.stderr
    assert "12 images, 6 with a finding" in done.stdout and (tmp_path / "audit" / "audit.json").is_file()


class _Asked(dict):
    """What a cluster was asked for; it is the one of these tests."""

    def __init__(self, address, options):
        super().__init__(options)
        self.scheduler_address = address

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def adapt(self, **options):
        self["adapt"] = options


def test_slurm_s_example_audits_and_makes_a_job_script(xrays, cluster, monkeypatch, capsys):
    jobqueue, asked = pytest.importorskip("dask_jobqueue"), []

    def slurm(**options):
        asked.append(_Asked(cluster, options))
        return asked[-1]

    monkeypatch.setattr(jobqueue, "SLURMCluster", slurm)
    monkeypatch.setattr(sys, "argv", [str(SLURM), str(xrays)])
    runpy.run_path(str(SLURM), run_name="__main__")
    assert "12 images" in capsys.readouterr().out
    options = dict(asked[0])
    assert options.pop("adapt") == {"maximum_jobs": 10}
    script = jobqueue.slurm.SLURMJob("tcp://10.0.0.1:8786", name="one", **options).job_script()
    assert "#SBATCH --cpus-per-task=16\n" in script and "#SBATCH -t 04:00:00\n" in script
    assert "bin/activate\n" in script and " --nthreads 1 " in script and " --nworkers 16 " in script


def test_kubernetes_example_fits_the_operator_s_schema():
    made = yaml.safe_load(KUBERNETES.read_text())
    scheduler, worker = made["spec"]["scheduler"], made["spec"]["worker"]
    assert scheduler["service"]["selector"]["dask.org/cluster-name"] == made["metadata"]["name"]
    ports = {port["name"]: port["containerPort"] for port in scheduler["spec"]["containers"][0]["ports"]}
    assert {port["targetPort"] for port in scheduler["service"]["ports"]} <= set(ports)
    mounts = {mount["name"] for mount in worker["spec"]["containers"][0]["volumeMounts"]}
    assert mounts == {volume["name"] for volume in worker["spec"]["volumes"]}
    if (found := importlib.util.find_spec("dask_kubernetes")) is None:
        pytest.skip("the schema comes with dask-kubernetes")
    import jsonschema

    (crd,) = Path(found.origin).parent.rglob("helm/**/crds/daskcluster.yaml")
    schema = yaml.safe_load(crd.read_text())["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    jsonschema.validate(made, schema)
    assert not list(unknown(made["spec"], schema["properties"]["spec"]))


def unknown(value, schema):
    """Fields that a schema does not know; Kubernetes would drop them without a word."""
    known = schema.get("properties")
    if isinstance(value, list):
        for item in value:
            yield from unknown(item, schema["items"])
    elif isinstance(value, dict) and known:
        yield from value.keys() - known.keys()
        for name in value.keys() & known.keys():
            yield from unknown(value[name], known[name])
