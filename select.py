"""Select the regions worth learning from (stage 2): `python select.py selection=activessf fold=0`.

This file bears the name of a module of the standard library, and for all that Python starts from this folder the
folder comes before the standard library on sys.path: `import select` by subprocess, selectors, asyncio or torch finds
this file. Imported under that name it puts the real module in its place and does nothing else.
"""

# Not `!= "__main__"`: a spawned worker of the script loads it as "__mp_main__".
if __name__ == "select":
    import sys
    from importlib.machinery import EXTENSION_SUFFIXES, ExtensionFileLoader, FileFinder
    from importlib.util import module_from_spec

    # The real one is an extension file (where it is built in, Python never comes here). Nothing else is looked for, so
    # the select.py of another checkout on sys.path can't be taken for it.
    for _entry in sys.path:
        _spec = FileFinder(_entry, (ExtensionFileLoader, EXTENSION_SUFFIXES)).find_spec(__name__)
        if _spec is not None and _spec.loader is not None:
            sys.modules[__name__] = _module = module_from_spec(_spec)
            _spec.loader.exec_module(_module)
            break
    else:
        raise ModuleNotFoundError(
            f"{__file__} hides the standard library's select, which is not on sys.path.", name=__name__
        )
else:
    import hydra
    from omegaconf import DictConfig

    from activessf.cli.job import run
    from activessf.cli.script import start

    @hydra.main(version_base="1.3", config_path="conf", config_name="config")
    def main(config: DictConfig) -> None:
        """Run stages 1 and 2 as configured, each only where its result is missing."""
        from activessf import commands  # brings torch, which --help needn't wait for

        run(commands.select, config)

    if __name__ == "__main__":
        start(main)
