"""Functions are short and have few parameters, but for those in the lists here."""

import ast

from tests.command_line import ROOT

LIBRARY = ROOT / "simclr_tf2"
LONGEST_BODY = 50  # lines, without the docstring
LONGEST_WORKFLOW = 100  # a workflow is read from top to bottom
MOST_PARAMETERS = 8
# Functions beyond these limits, each with the reason why it stays so.
LONG_BODIES = {
    "evaluation/transfer/linear.py: binary_sweep": "half of it is the record",
}
MANY_PARAMETERS = {
    "augmentations/numba_draws.py: draw_views": "Numba compiles arrays, no records",
    "augmentations/numba_kernels.py: make_views": "the same",
    "evaluation/solvers/low_shot_svm.py: voc_low_shot": "two splits, as voc_svm",
    "models/resnet.py: build_resnet": "public builder with keyword arguments",
    "optimizers/lars.py: __init__": "constructor of a Keras optimizer",
    "optimizers/muon.py: __init__": "the same",
    "plots/pictures.py: neighbours": "public builder with keyword arguments",
    "results/document.py: make_document": "one parameter for each part of the file",
    "training/loop.py: train": "knows no record of SimCLR; called at one place",
    "training/session.py: open_session": "makes the record that the rest takes",
}


def functions():
    """Each function of the program: (name with its path, node)."""
    files = [ROOT / "run.py", ROOT / "flags.py", *sorted(LIBRARY.rglob("*.py"))]
    for path in files:
        place = path.relative_to(LIBRARY if LIBRARY in path.parents else ROOT)
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef):
                yield f"{place}: {node.name}", node


def body_lines(node):
    """Lines from the first to the last statement, without the docstring."""
    body = node.body[ast.get_docstring(node) is not None :]
    return body[-1].end_lineno - body[0].lineno + 1 if body else 0


def parameter_count(node):
    found = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
    return sum(argument.arg not in ("self", "cls") for argument in found)


def too_large(size, limit):
    return {name for name, node in functions() if size(node) > limit(name)}


def test_functions_are_short():
    def limit(name):
        return LONGEST_WORKFLOW if name.startswith("workflows/") else LONGEST_BODY

    assert too_large(body_lines, limit) == set(LONG_BODIES)


def test_functions_have_few_parameters():
    assert too_large(parameter_count, lambda _: MOST_PARAMETERS) == set(MANY_PARAMETERS)
