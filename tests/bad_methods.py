"""Methods that are wrong, case by case: what a plug-in does, and what its one line must say."""

from __future__ import annotations

#: What of a pruning's decision is wrong: Python source of ``prune``, and what the line must say.
METHODS = [
    ("raise ValueError('two\\nlines')", r"ValueError: two lines \(mine\.py:\d+\)"),
    ("raise SystemExit(0)", "SystemExit: 0"),
    ("return 1 / 0", "ZeroDivisionError"),
    ("return None", "must return Pruned, not NoneType"),
    ("return kept(all_units)", "must return Pruned, not KeptUnits"),
    ("return Pruned()", "must return kept units or a model"),
    ("return Pruned(kept=[[0]])", "must return KeptUnits, not list"),
    ("return Pruned(kept(all_units[:-1]))", "list 3 layers, the model has 4"),
    ("return Pruned(kept([((), (0,))] * 4))", "hold no kv_heads"),
    ("return Pruned(kept([((0,), ())] * 4))", "hold no mlp"),
    ("return Pruned(kept([((0, 99), (0,))] * 4))", r"in 0\.\.2"),
    ("return Pruned(kept([((0,), (0, 9999))] * 4))", "sorted, unique and in"),
    ("return Pruned(kept([((0,), (-1, 0))] * 4))", "sorted, unique and in"),
    ("return Pruned(kept([((0, 0), (0,))] * 4))", "sorted, unique and in"),
    ("return Pruned(kept([((0,), (3, 1))] * 4))", "sorted, unique and in"),
    ("return Pruned(kept([((0,), (0.5, 1.5))] * 4))", "must be whole numbers"),
    ("return Pruned(kept([((False,), (0,))] * 4))", "must be whole numbers"),
    ("return Pruned(kept([(torch.tensor([0]), (0,))] * 4))", "must be a tuple, not Tensor"),
    (
        "return Pruned(kept([(None, (0,))] * 4))",
        "kept kv_heads of layer 0 must be a tuple, not NoneType",
    ),
    ("return Pruned(kept([(3, (0,))] * 4))", "kept kv_heads of layer 0 must be a tuple, not int"),
    ("return Pruned(kept(all_units), biases={0: (torch.zeros(3), torch.zeros(3))})", "has shape"),
    (
        "return Pruned(kept(all_units), biases={99: (zeros, zeros)})",
        "biases of layer 99, the layers are",
    ),
    ("return Pruned(kept(all_units), biases={0: zeros})", "biases of layer 0 must be two dense"),
    ("return Pruned(kept(all_units), biases={0: ('a', 'b')})", "biases of layer 0 must be two"),
    (
        "return Pruned(kept(all_units), biases={0: (zeros, zeros.to_sparse())})",
        "biases of layer 0 must be two dense tensors",
    ),
    ("return Pruned(kept(all_units), biases=[(zeros, zeros)])", "biases must be a dict, not list"),
    ("return Pruned(kept(all_units), width='x')", r"width must be in 1\.\.\d+, not 'x'"),
    ("return Pruned(model=model, width=0)", r"width must be in 1\.\.\d+, not 0"),
    ("return Pruned(kept(all_units), steps=[{'a': zeros}])", "must be JSON values"),
    ("return Pruned(kept(all_units), steps=[{2: 'a', 10: 'b'}])", "must be JSON values"),
    ("return Pruned(kept(all_units), steps=[{2: 'a', 'b': 'c'}])", "must be JSON values"),
    ("return Pruned(kept(all_units), notes=[object()])", "must be JSON values"),
    ("return Pruned(kept(all_units), steps=[{'a': float('nan')}])", "must be JSON values"),
    ("return Pruned(kept([((0,), (0,))] * 4), already_cut=True)", "other layer sizes"),
    ("model.resize_token_embeddings(9); return Pruned(kept(all_units))", "has a vocabulary of 9"),
    ("return Pruned(model='a model')", "must be a causal one of transformers .* not str"),
    (
        "module = torch.nn.Linear(2, 2); module.config = model.config; return Pruned(model=module)",
        "must be a causal one of transformers .* not Linear",
    ),
    ("return Pruned(model=model.model)", "must be a causal one of transformers .* not LlamaModel"),
    ("model.lm_head = None; return Pruned(model=model)", "must be a causal one of transformers"),
    ("model.lm_head = None; return Pruned(kept(all_units))", "failed: AttributeError"),
    ("del model.model.layers; return Pruned(model=model)", "must be a causal one of transformers"),
    ("del model.model.layers; return Pruned(kept(all_units))", "failed: AttributeError"),
    (
        "model.model.norm.weight = torch.nn.Parameter(zeros.to_sparse()); "
        "return Pruned(kept(all_units))",
        "must hold dense weights; model.norm.weight is none",
    ),
]

#: What of a method's scores is wrong: Python source of ``score``, and what the line must say.
SCORES = [
    ("raise ValueError('two\\nlines')", r"failed: ValueError: two lines \(mine\.py:\d+\)"),
    ("raise SystemExit(0)", "failed: SystemExit: 0"),
    ("return None", "score must return Scores, not NoneType"),
    ("return Scores([tensor])", "must return Scores of a dict, not of list"),
    ("return Scores({1: tensor})", "must return named dense tensors; 1 is none"),
    ("return Scores({'a': [1.0]})", "must return named dense tensors; 'a' is none"),
    ("return Scores({'a': tensor.to_sparse()})", "must return named dense tensors; 'a' is none"),
    ("return Scores({'a': tensor.to('meta')})", "must return named dense tensors; 'a' is none"),
    ("return Scores({'a': tensor, 'b': tensor})", "'a' and 'b' are one tensor; return a copy"),
    ("return Scores({'a': tensor[:2], 'b': tensor[1:]})", "failed: RuntimeError: .*share memory"),
    ("return Scores({'a': tensor}, log={'a': tensor})", "log must be JSON values"),
    ("return Scores({'a': tensor}, log={'a': float('nan')})", "log must be JSON values"),
]

#: A method file as a whole.
METHOD_FILES = [
    ("", "must define SPEC"),
    ("SPEC = 3", "must define SPEC"),
    ("def broken(:", "SyntaxError"),
    ("import no_such_module", "ModuleNotFoundError"),
    ("raise SystemExit", "SystemExit"),
    ("raise RuntimeError('two\\nlines')", "RuntimeError: two lines"),
    (b"\xff\xfe", "cannot be imported"),
]

#: Class attributes of a method that are wrong.
ATTRIBUTES = [
    ("name = 'my method'", "letters, digits"),
    ("name = '../up'", "letters, digits"),
    ("name = 'flap'", "choose another name"),
    ("name = None", "letters, digits"),
    ("version = '1.0'", "version of method 'mine' must be of type int"),
    ("title = None", "title of method 'mine' must be of type str"),
    ("parameters = dict", "derived from adaptprune.plugins.Parameters"),
    ("def budget(self, *_): raise KeyError('size')", "KeyError: 'size'"),
    ("def check(self, *_): raise OSError('no')", "OSError: no"),
    ("def parse(self, *_): raise OSError('no')", "OSError: no"),
]

#: What a profile asks of a method before any work.
ASKED_BY_A_PROFILE = ["parse", "check", "shares_scores"]
