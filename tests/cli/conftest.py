from functools import partial
from pathlib import Path

import pytest
from calling import called
from program import CONFIG, PROGRAM, Runner


@pytest.fixture(scope="session")
def app(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("app")
    files = {
        "app.py": PROGRAM,
        "conf/config.yaml": CONFIG,
        **{f"conf/fold/{fold}.yaml": f"index: {fold}" for fold in range(5)},
        **{f"conf/ssl_method/{name}.yaml": f"name: {name}\nlayer_decay: 1.0" for name in ("mae", "mixmim")},
        **{f"conf/selection/{name}.yaml": f"name: {name}\nalpha: 0.5" for name in ("none", "activessf")},
        **{f"conf/selection/features/{name}.yaml": f"network: {name}" for name in ("resnet50", "vit_small")},
    }
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")
    return folder


@pytest.fixture(scope="session")
def conf(app: Path) -> Path:
    return app / "conf"


@pytest.fixture
def call(app: Path, tmp_path: Path) -> Runner:
    """Run the program, from a foreign working directory."""
    return partial(called, app / "app.py", tmp_path)
