"""What the jobs of fetching, pruning, training and measuring read, and the options they get.

Every public method of ``Computed`` that takes wildcards is a function of rules; the wildcards are
the names in braces in the rule's files. There is one method for all files of a rule and one for all
options, since Snakemake calls each of them for every job.
"""

from __future__ import annotations

import functools
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from adaptprune.cells import DENSE, NO_RECOVERY, Cell, slug, split_variant
from adaptprune.data.mixtures import find_mixture
from adaptprune.data.training import is_on_hub
from adaptprune.models.catalogue import is_pretrained, is_shipped
from adaptprune.pruning.methodfile import load_method_file
from adaptprune.pruning.registry import find_method
from adaptprune.workflow import options
from adaptprune.workflow.graph import RuleFunctions
from adaptprune.workflow.paths import Run
from adaptprune.workflow.profiles import settings_hash
from adaptprune.workflow.request import read_note

if TYPE_CHECKING:
    from collections.abc import Callable

    from adaptprune.pruning.method import Method
    from adaptprune.recovery.config import RecoveryConfig
    from adaptprune.workflow.profiles import Profile
    from adaptprune.workflow.request import Request

#: Snakemake's, an object with an attribute for each name in braces.
Wildcards = Any


class Computed(RuleFunctions):
    """Functions of the rules that compute.

    Args:
        request: what was asked for.
        cores: returns the cores that the run is given on this machine, None where it submits jobs.
    """

    def __init__(self, request: Request, cores: Callable[[], int | None]):
        super().__init__()
        self._request, self.cores = request, cores
        self._run = functools.cache(Run)
        self._found = functools.cache(lambda method: find_method(split_variant(method)[0]))
        self._settings = functools.cache(self._settings_options)
        self._evaluated = functools.cache(self._evaluation_options)
        self._shares = functools.cache(self._shares_scores)
        self._drawn = functools.cache(self._calibration_slug)
        self._files = functools.cache(self._method_files)

    def _profile(self, wildcards: Wildcards) -> Profile:
        return self._request.profile(wildcards.profile)

    def _method(self, wildcards: Wildcards) -> Method:
        return self._found(wildcards.method)

    # What any job occupies.

    def threads(self, wildcards: Wildcards) -> int:
        """Return the cores of a job."""
        return self.occupied_cores(wildcards.profile)

    def occupied_cores(self, name: str) -> int:
        """Return the same: more than it uses where more are offered than there are."""
        there = os.cpu_count() or 1
        return self._request.profile(name).threads * max(1, (self.cores() or there) // there)

    def all_cores(self, wildcards: Wildcards) -> int:
        """Return all cores: nothing else may run beside a measurement."""
        return self.cores() or self.threads(wildcards)

    def memory(self, wildcards: Wildcards, attempt: int) -> int:
        """Return the megabytes of a job: of the profile, doubled with every attempt."""
        return self._profile(wildcards).memory_mb * 2 ** (attempt - 1)

    def gpus(self, wildcards: Wildcards) -> int:
        """Return the GPUs of a job."""
        return int(self._profile(wildcards).device.startswith("cuda"))

    def training_gpus(self, wildcards: Wildcards) -> int:
        """Return the GPUs of a recovery."""
        return self.gpus(wildcards) * self._profile(wildcards).training.gpus

    # What any job is given.

    def model(self, wildcards: Wildcards) -> str:
        """Return the id of the model that a folder name stands for."""
        return self._request.model_folders(wildcards.profile)[wildcards.model]

    def local_data(self, wildcards: Wildcards) -> str:
        """Return the option that names the folder of local data."""
        return options.local_data(self._profile(wildcards))

    def runtime(self, wildcards: Wildcards) -> str:
        """Return how a model is computed, as options."""
        return options.runtime(self._profile(wildcards))

    # Fetching. An input function without inputs is where a stale note is seen.

    def fetched_model(self, wildcards: Wildcards) -> list[str]:
        """Have a model fetched again whose note is of another one of the same name; no inputs."""
        file = self._run(wildcards.profile).model(wildcards.model)
        if read_note(file).get("model") != self.model(wildcards):
            self._request.force(file)
        return []

    def fetched_suite(self, wildcards: Wildcards) -> list[str]:
        """Have a suite fetched again whose note is of another one, or from elsewhere; no inputs."""
        file, chosen = self._run(wildcards.profile).suite, self._profile(wildcards)
        noted, wanted = read_note(file), chosen.local_data
        known = {"hub": None, "local": noted.get("folder", wanted or "a folder")}
        found = known.get(noted.get("data", ""), wanted)  # elsewhere: built here
        if noted.get("suite") != chosen.evaluation.suite or found != wanted:
            self._request.force(file)
        return []

    def fetched_text(self, wildcards: Wildcards) -> list[str]:
        """Have a text looked up again whose note is of data from elsewhere; no inputs."""
        file = self._run(wildcards.profile).text(wildcards.text)
        wanted = self._profile(wildcards).local_data
        if read_note(file).get("folder", wanted) != wanted:
            self._request.force(file)
        return []

    def suite(self, wildcards: Wildcards) -> str:
        """Return the name of the profile's suite."""
        return self._profile(wildcards).evaluation.suite

    def suite_hash(self, wildcards: Wildcards) -> str:
        """Return a hash of the profile's benchmarks as they are declared."""
        return self._request.suite_hash(self.suite(wildcards))

    def calibration_text(self, wildcards: Wildcards) -> list[str]:
        """Return the note of the text that a calibration set is drawn from."""
        return self._text(wildcards, wildcards.dataset)

    def _text(self, wildcards: Wildcards, name: str) -> list[str]:
        """Return the note of a text of the hub; nothing for one that is built here."""
        return [self._run(wildcards.profile).text(name)] if is_on_hub(name) else []

    def _calibration_slug(self, name: str, method: str) -> str:
        return self._request.profile(name).calibration_of(method).slug

    def _calibration(self, wildcards: Wildcards) -> list[str]:
        """Return the calibration set of a cell, or nothing for a method that needs none."""
        if not self._method(wildcards).needs_calibration:
            return []
        drawn = self._drawn(wildcards.profile, wildcards.method)
        return [self._run(wildcards.profile).calibration(wildcards.model, drawn, wildcards.seed)]

    # Scoring and pruning.

    def _shares_scores(self, name: str, method: str) -> bool:
        return self._request.profile(name).shares_scores(method)

    def _scores(self, wildcards: Wildcards) -> list[str]:
        """Return the score file that serves every sparsity, or nothing where there is none."""
        if not self._shares(wildcards.profile, wildcards.method):
            return []
        run = self._run(wildcards.profile)
        return [run.scores(wildcards.model, wildcards.method, wildcards.seed)]

    def _method_files(self, name: str, method: str) -> list[str]:
        file = self._request.profile(name).method_file
        if file is None or load_method_file(Path(file)) is not self._found(method):
            return []
        return [file]

    def method_option(self, wildcards: Wildcards) -> str:
        """Return the file of a method that is not installed, as an option."""
        return options.method_files(self._files(wildcards.profile, wildcards.method))

    def _scoring_inputs(self, wildcards: Wildcards) -> list[str]:
        """Return the model that a method works on, and what it needs besides.

        A change of the file of a method that is not installed makes its cells anew.
        """
        files = self._files(wildcards.profile, wildcards.method)
        model = self._run(wildcards.profile).model(wildcards.model)
        return [model, *self._calibration(wildcards), *files]

    def scored_inputs(self, wildcards: Wildcards) -> list[str]:
        """Return what scores are made of; have scores of something else made again."""
        (file,) = self._scores(wildcards)
        asked = self._request.asked(wildcards.profile)
        if asked.other_scores(wildcards.method, self.model(wildcards), Path(file)):
            self._request.force(file)
        return self._scoring_inputs(wildcards)

    def pruning_inputs(self, wildcards: Wildcards) -> list[str]:
        """Return the same with scores in the model's place, where there are some."""
        model, *others = self._scoring_inputs(wildcards)
        return [*(self._scores(wildcards) or [model]), *others]

    def method_version(self, wildcards: Wildcards) -> int:
        """Return what makes a method's cells, and no others, run again."""
        return self._method(wildcards).version

    def sparsities(self, wildcards: Wildcards) -> str:
        """Return the sparsities that scores serve."""
        served = self._profile(wildcards).sparsities_of(wildcards.method)
        return ",".join(map(str, served))

    def _settings_options(self, name: str, method: str) -> str:
        return options.settings(self._request.profile(name), method, self._files(name, method))

    def scoring_options(self, wildcards: Wildcards) -> str:
        """Return what a method works with, as options."""
        settings = self._settings(wildcards.profile, wildcards.method)
        calibration = [f"--calibration {path}" for path in self._calibration(wildcards)]
        return " ".join([settings, *calibration, self.runtime(wildcards)])

    def pruning_options(self, wildcards: Wildcards) -> str:
        """Return the same and the scores that are there."""
        scores = [f"--scores {path}" for path in self._scores(wildcards)]
        return " ".join([self.scoring_options(wildcards), *scores])

    # Training.

    def _recovery(self, wildcards: Wildcards) -> RecoveryConfig:
        return self._profile(wildcards).recovery(wildcards.recovery)

    def recovery_calibration(self, wildcards: Wildcards) -> list[str]:
        """Return the calibration set of a recovery, or nothing where its method needs none."""
        if not self._recovery(wildcards).method.needs_calibration:
            return []
        drawn = self._profile(wildcards).calibration.slug
        return [self._run(wildcards.profile).calibration(wildcards.model, drawn, wildcards.seed)]

    def training_text(self, wildcards: Wildcards) -> list[str]:
        """Return the note of what a recovery is trained on."""
        return self._text(wildcards, self._recovery(wildcards).data)

    def recovery_options(self, wildcards: Wildcards) -> str:
        """Return what is trained into what, as options."""
        return options.recovery(self._recovery(wildcards), self.recovery_calibration(wildcards))

    def training_options(self, wildcards: Wildcards) -> str:
        """Return how a recovery is computed, as options."""
        return options.training(self._profile(wildcards), self._request.root)

    def recipe(self, wildcards: Wildcards) -> str:
        """Return a hash of a recovery's preset with its overrides."""
        return settings_hash(self._recovery(wildcards).recipe)

    def recovery_version(self, wildcards: Wildcards) -> int:
        """Return the version of a recovery's method."""
        return self._recovery(wildcards).method.version

    # Evaluating.

    def _evaluation_options(self, name: str, model: str) -> str:
        return options.evaluation(self._request.profile(name), model)

    def evaluation_options(self, wildcards: Wildcards) -> str:
        """Return what is evaluated and how, as options."""
        plain: str = self._evaluated(wildcards.profile, self.model(wildcards))
        chosen, bits = self._profile(wildcards).evaluation, self._bits(wildcards)
        if not bits:
            return plain
        return plain + options.rounding(chosen, bits, *self.rounding_calibration(wildcards))

    def _bits(self, wildcards: Wildcards) -> list[int]:
        place = (wildcards.model, wildcards.method, int(wildcards.sparsity), wildcards.recovery)
        return self._profile(wildcards).evaluation.bits_of(Cell(*place, int(wildcards.seed)))

    def rounding_calibration(self, wildcards: Wildcards) -> list[str]:
        """Return the set that AWQ searches on, or nothing for a cell that is not rounded."""
        if not self._bits(wildcards):
            return []
        chosen = self._profile(wildcards)
        drawn, seed = chosen.calibration.slug, chosen.seeds[0]
        return [self._run(wildcards.profile).calibration(wildcards.model, drawn, str(seed))]

    def dense_gate(self, wildcards: Wildcards) -> list[str]:
        """Return the check of the dense model that other cells wait for, where there is one."""
        if wildcards.method == DENSE:
            return []
        return self._request.gate_file(wildcards.profile, self.model(wildcards))

    def dense_evaluation(self, wildcards: Wildcards) -> str:
        """Return the evaluation of the dense model, which does not depend on the seed."""
        seed = self._profile(wildcards).seeds[0]
        cell = Cell(wildcards.model, DENSE, 0, NO_RECOVERY, seed)
        return self._run(wildcards.profile).cell(cell.key, "evaluation.json")

    def gate_switch(self, wildcards: Wildcards) -> str:
        """Return the option that lets dense scores pass which are not those that are known."""
        return "" if self._profile(wildcards).dense_gate else "--accept"

    # Measuring.

    def sensitivity_calibration(self, wildcards: Wildcards) -> str:
        """Return the set of the first seed; have a measurement of something else made again."""
        chosen, run = self._profile(wildcards), self._run(wildcards.profile)
        file = run.sensitivity(wildcards.model, wildcards.uniform)
        asked = self._request.asked(wildcards.profile)
        if asked.other_sensitivity(self.model(wildcards), Path(file)):
            self._request.force(file)
        return run.calibration(wildcards.model, chosen.calibration.slug, chosen.seeds[0])

    def held_out_text(self, wildcards: Wildcards) -> str:
        """Return the text that single layers are scored on, as options."""
        return options.held_out_text(self._profile(wildcards))

    def measured_checkpoint(self, wildcards: Wildcards) -> str:
        """Return that of the first seed; have a measurement of something else made again."""
        run = self._run(wildcards.profile)
        place = (wildcards.model, wildcards.method, wildcards.sparsity)
        file, batch = run.speed(*place, wildcards.batch), self._batch(wildcards)
        asked = self._request.asked(wildcards.profile)
        if asked.other_speed(wildcards.method, self.model(wildcards), batch, Path(file)):
            self._request.force(file)
        return run.measured_checkpoint(*place, self._profile(wildcards).seeds[0])

    def _batch(self, wildcards: Wildcards) -> int:
        """Return how many sequences a measurement gives its models at once."""
        return int(wildcards.batch.removeprefix("-batch") or self._profile(wildcards).speed.batch)

    def workload(self, wildcards: Wildcards) -> str:
        """Return what models are timed with, as options."""
        return options.workload(self._profile(wildcards), self._batch(wildcards))

    def counting_model(self, wildcards: Wildcards) -> str:
        """Return the model whose tokens are counted: the first of the profile."""
        return self._profile(wildcards).models[0]

    def counting_inputs(self, wildcards: Wildcards) -> list[str]:
        """Return its note, and that of the text."""
        model = self._run(wildcards.profile).model(slug(self.counting_model(wildcards)))
        return [model, *self._text(wildcards, wildcards.mixture)]

    def mixture_hash(self, wildcards: Wildcards) -> str:
        """Return a hash of a mixture as it is declared."""
        return settings_hash(find_mixture(wildcards.mixture))

    def pocket_models(self, wildcards: Wildcards) -> list[str]:
        """Return the models of the asked profile that are pretrained here.

        They are trained into the cache; those that come with the package are made again beside it.
        """
        run, chosen = Run(self._request.name), self._request.profile(self._request.name)
        return [
            run.pretrained(model) if is_shipped(model) else run.model(model)
            for model in chosen.all_models
            if is_pretrained(model)
        ]
