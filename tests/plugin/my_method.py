"""A complete pruning method in one file: keep what is strongly active and strongly connected."""

from adaptprune import UniformMethod
from adaptprune.pruning.uniform import UniformParameters, named_scores


class MineParameters(UniformParameters):
    power: float = 2.0  # of the norm over tokens


class Mine(UniformMethod):
    name = "mine"
    title = "Mine"
    version = 1  # raise it whenever a change of this file changes a number
    citation = "you and colleagues, 2026"
    parameters = MineParameters

    def score(self, model, context, parameters, sparsities):
        """Multiply, channel by channel, the norm of the input with that of the output weights."""
        import torch  # not above: methods are listed without it

        found = {}

        def watch(linear, inputs):
            norms = inputs[0].norm(p=parameters.power, dim=(0, 1))
            found[linear] = norms * linear.weight.norm(dim=0)

        attentions = [layer.self_attn for layer in model.model.layers]
        downs = [layer.mlp.down_proj for layer in model.model.layers]
        watched = [attention.o_proj for attention in attentions] + downs
        hooks = [linear.register_forward_pre_hook(watch) for linear in watched]
        with torch.no_grad():
            model(input_ids=context.tokens, use_cache=False)
        for hook in hooks:
            hook.remove()
        counts = [attention.k_proj.out_features // attention.head_dim for attention in attentions]
        heads = [  # a kv head with its query heads
            found[attention.o_proj].view(count, -1).sum(1)
            for attention, count in zip(attentions, counts, strict=True)
        ]
        return named_scores(heads, [found[down] for down in downs])


SPEC = Mine()
