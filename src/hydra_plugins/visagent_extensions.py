"""Puts the config folders of installed extensions on Hydra's search path; see visagent.config.extensions."""

from hydra.core.config_search_path import ConfigSearchPath
from hydra.plugins.search_path_plugin import SearchPathPlugin


class ExtensionSearchPath(SearchPathPlugin):
    """After visagent's own folder, so that an extension adds and replaces nothing."""

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        from visagent.config.extensions import extensions

        for extension in extensions():
            if extension.conf is not None:
                search_path.append(provider=extension.distribution or extension.name, path=f"file://{extension.conf}")
