"""Commands that list what there is and count parameters.

None imports torch, but to count a model whose family has no shape.
"""

from __future__ import annotations

from adaptprune.commands.options import (
    MethodFileOption,
    MethodOption,
    ModelOption,
    SetOption,
    SparsityOption,
    choose_method,
    parse_settings,
    print_json,
)


def methods() -> None:
    """List the installed pruning methods, where they come from and their parameters."""
    from adaptprune.pruning.registry import METHODS

    for name in METHODS.installed():
        method = METHODS.find(name)
        fields = method.parameters.model_fields.items()
        parameters = ", ".join(f"{key}={field.default}" for key, field in fields)
        origin = METHODS.origin(name)
        print(f"{name:14} v{method.version}  {origin}  {method.citation}  [{parameters}]")


def recoveries() -> None:
    """List the recovery presets, their methods and all values that ``--set`` changes."""
    from adaptprune.recovery.presets import find_preset, preset_names
    from adaptprune.recovery.registry import RECOVERIES

    for name in preset_names():
        preset = find_preset(name)
        values = preset.model_dump(exclude={"name", "title", "method", "parameters"})
        listed = ", ".join(f"{key}={value}" for key, value in (values | preset.parameters).items())
        print(f"{name:18} {preset.method}  {RECOVERIES.origin(preset.method)}  [{listed}]")


def models() -> None:
    """List the built-in models and where their weights come from."""
    from adaptprune.models.catalogue import catalogue, shape_of

    for name, entry in catalogue().items():
        print(f"{name:44} {shape_of(name).parameters:>14,}  {entry.source.kind}")


def tasks() -> None:
    """List the task suites and their tasks."""
    from adaptprune.evaluation.suites import list_suites, load_suite

    for name in list_suites():
        suite = load_suite(name)
        print(f"{name}: {suite.description}")
        for task in suite.tasks:
            print(f"  {task.task:44} {task.title:14} {task.metric:9} {task.documents} documents")


def params(
    model: ModelOption,
    sparsity: SparsityOption,
    method: MethodOption = None,
    method_file: MethodFileOption = None,
    settings: SetOption = None,
) -> None:
    """Count the parameters after pruning from the architecture alone, without weights."""
    from adaptprune.cells import split_variant
    from adaptprune.models.catalogue import has_shape, known_config, shape_of
    from adaptprune.plugins import in_one_line
    from adaptprune.pruning.registry import find_method

    chosen = find_method(split_variant(choose_method(method, method_file))[0])
    parameters = chosen.parse(parse_settings(settings))
    if chosen.needs_shape or has_shape(model):
        shape = shape_of(model)
        with in_one_line(chosen):
            chosen.check(sparsity, parameters)
            budget = chosen.budget(shape, sparsity, parameters)
        dense, queries = shape.parameters, shape.queries_per_kv_head
    else:  # of single weights, whose layers only the model itself knows
        from adaptprune.models.sizes import ModelSize, skeleton_of

        skeleton = skeleton_of(known_config(model)[0])
        with in_one_line(chosen):
            chosen.check(sparsity, parameters)
            budget = chosen.budget_of(skeleton, sparsity, parameters)
        dense, queries = ModelSize.of(skeleton).parameters, 1
    exact = budget.minimum == budget.maximum
    print_json(
        {
            "params_total": budget.minimum if exact else None,
            "params_min": budget.minimum,
            "params_max": budget.maximum,
            "params_decoder": budget.decoder,
            "params_dense": dense,
            "kept": None
            if budget.blocks is None
            else [
                {
                    "kv_heads": block.kv_heads,
                    "q_heads": block.kv_heads * queries,
                    "mlp": block.intermediate_size,
                }
                for block in budget.blocks
            ],
            "width": budget.width,
        }
    )
