"""Discovery of models: the naming rule, proposals for misspelled names, and what models say about themselves."""

import importlib
import subprocess
import sys

import pytest

import leanrec.models
from leanrec.errors import SettingError
from leanrec.models import INPUTS, ModelInfo, find_info, get_model, list_models
from leanrec.models.linear.ease import EASE, EASEModel
from leanrec.settings import describe_settings, setting_metadata

INFOS = list_models()


def run_python(code: str) -> str:
    result = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    return result.stdout


@pytest.mark.parametrize("info", INFOS.values(), ids=INFOS)
def test_every_module_follows_the_naming_rule(info: ModelInfo) -> None:
    module = importlib.import_module(info.module)
    assert info.settings.__name__.lower() == info.name.replace("_", "")
    assert info.settings.__name__ in module.__all__
    assert find_info(info.settings) == info
    assert get_model(info.name) is info.settings


@pytest.mark.parametrize("info", INFOS.values(), ids=INFOS)
def test_every_model_describes_itself(info: ModelInfo) -> None:
    assert info.needs <= info.reads <= set(INPUTS)
    assert info.cost in {"seconds", "minutes"}
    assert info.similar_to in {"", *INFOS}
    fields = setting_metadata(info.settings)
    assert all(set(variant) <= set(fields) for variant in info.variants)
    assert info.summary.startswith(importlib.import_module(info.module).__doc__.partition("\n")[0])


@pytest.mark.parametrize("info", INFOS.values(), ids=INFOS)
def test_every_hyper_parameter_is_documented(info: ModelInfo) -> None:
    assert [each.name for each in describe_settings(info.settings) if not each.doc] == []


def test_reading_and_cost_are_those_of_the_class() -> None:
    assert INFOS["ease"].reads == {"history"}
    assert INFOS["content"].needs == {"content"}
    assert INFOS["rating_mf"].needs == {"ratings"}
    assert INFOS["xsimgcl"].cost == "minutes"
    assert INFOS["gf_cf"].similar_to == "cheby_cf"
    assert {"embedding_dim": 16} in INFOS["ials"].variants


def test_classes_are_exported_by_the_package() -> None:
    assert leanrec.models.EASE is EASE
    assert leanrec.models.EASEModel is EASEModel
    with pytest.raises(AttributeError, match="no attribute 'ease_'"):
        _ = leanrec.models.ease_
    with pytest.raises(ImportError):
        from leanrec.models import EASEmodel  # noqa: F401


def test_a_misspelled_name_gets_a_proposal() -> None:
    with pytest.raises(SettingError, match="Did you mean 'item_knn'"):
        get_model("item_kn")
    with pytest.raises(SettingError, match="not installed"):
        get_model("no_such_package.module:Model")
    assert get_model("leanrec.models.linear.ease:EASE") is EASE


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("leanrec.models.linear.eas:EASE", "There is no module 'leanrec.models.linear.eas'"),
        ("leanrec.model.linear.ease:EASE", "There is no module 'leanrec.model'"),
        ("leanrec.models.linear.ease:EAES", "ease has EASE"),
        ("leanrec.models.linear.ease:np", "ease has EASE"),
        ("leanrec.units:format_bytes", "units has none"),
        ("leanrec.models.linear.ease:", "form package.module:Class"),
        (":EASE", "form package.module:Class"),
    ],
)
def test_a_wrong_import_path_says_what_there_is(path: str, message: str) -> None:
    with pytest.raises(SettingError, match=message):
        get_model(path)


def test_a_class_that_is_no_model_has_no_entry() -> None:
    assert find_info(dict) is None


def test_discovery_imports_no_model_and_no_torch() -> None:
    loaded = run_python(
        "import sys; from leanrec.models import list_models; list_models(); "
        "[info.summary for info in list_models().values()]; "
        "print([name for name in sys.modules if name.startswith('leanrec.models.') and name.count('.') > 2])"
        "; print('torch' in sys.modules, 'numba' in sys.modules)"
    ).splitlines()
    assert loaded == ["[]", "False False"]


def test_discovery_parses_no_source() -> None:
    code = (
        "import ast, leanrec.models as models\n"
        "def refuse(*args, **kwargs): raise AssertionError('parsed')\n"
        "ast.parse = refuse\n"
        "print(len(models.list_models()))"
    )
    assert int(run_python(code)) == len(INFOS)
