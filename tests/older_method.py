"""A method as it was written before decisions: ``Pruned(kept)``, everything spelled out."""

from functools import partial

from adaptprune.models.shapes import uniform_blocks
from adaptprune.plugins import Parameters
from adaptprune.pruning.method import Budget, Method, Pruned, Scores


class MineParameters(Parameters):
    power: float = 2.0  # of the norm over tokens


class Mine(Method):
    name = "mine"
    title = "Mine"
    version = 1  # raise it whenever a change of this file changes a number
    citation = "you and colleagues, 2026"
    parameters = MineParameters

    def shares_scores(self, parameters):
        return True  # the ranking below serves every sparsity

    def score(self, model, context, parameters, sparsities):
        """Multiply, channel by channel, the norm of the input with that of the output weights."""
        import torch  # not above: methods are listed without it

        norms, tensors, hooks = {}, {}, []

        def watch(name, module, inputs):
            norms[name] = inputs[0].norm(p=parameters.power, dim=(0, 1))

        for index, layer in enumerate(model.model.layers):
            for name, linear in (("heads", layer.self_attn.o_proj), ("mlp", layer.mlp.down_proj)):
                hooks.append(linear.register_forward_pre_hook(partial(watch, (index, name))))
        with torch.no_grad():
            model(input_ids=context.tokens, use_cache=False)
        for hook in hooks:
            hook.remove()
        for index, layer in enumerate(model.model.layers):
            kv_heads = layer.self_attn.k_proj.out_features // layer.self_attn.head_dim
            heads = norms[index, "heads"] * layer.self_attn.o_proj.weight.norm(dim=0)
            tensors[f"{index}.heads"] = heads.view(kv_heads, -1).sum(1)  # with their query heads
            tensors[f"{index}.mlp"] = norms[index, "mlp"] * layer.mlp.down_proj.weight.norm(dim=0)
        return Scores(tensors)

    def prune(self, model, scores, sparsity, context, parameters):
        from adaptprune.models.sizes import shape_of_model
        from adaptprune.pruning.selection import keep_blocks

        blocks = self._blocks(shape_of_model(model), sparsity)
        scores = scores or self.score(model, context, parameters, [sparsity])
        heads = [scores.tensors[f"{index}.heads"] for index in range(len(blocks))]
        neurons = [scores.tensors[f"{index}.mlp"] for index in range(len(blocks))]
        return Pruned(keep_blocks(heads, neurons, blocks))

    def budget(self, shape, sparsity, parameters):
        return Budget.exact(shape, self._blocks(shape, sparsity))

    def _blocks(self, shape, sparsity):
        return uniform_blocks(shape, sparsity / 100, range(len(shape.blocks)))


SPEC = Mine()
