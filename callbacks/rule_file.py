"""Rules in a file: reading them, saying what is wrong where, and following what becomes of the file."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from callbacks.recipe_names import is_file_name
from callbacks.rules import Decision, Rules
from tomoservice.errors import RecipeError, RulesError
from tomoservice.recipe import read_recipe
from tomoservice.recipe.problems import describe_problems
from tomoservice.recipe.text import read_yaml

logger = logging.getLogger(__name__)

MOST_BYTES = 2**20
LOOK_S = 2.0
"""How often a file of rules is read again."""
STOP_S = 10.0


class RuleFile:
    """Rules as they stand in a file, recipes in files beside it included.

    The file is read again for every run, so that what somebody has changed holds for the next one that ends.
    One that has become wrong, or is gone, changes nothing: the rules before stay in force. This is for
    listeners: beside a RunEngine, rules are read once (`read_rules`), as a disk that does not answer would
    hold a scan up.

    Parameters
    ----------
    path : Path or str
        The file.

    Raises
    ------
    RulesError
        The file cannot be read or is wrong; names every wrong field with its line.
    """

    def __init__(self, path: Path | str) -> None:
        self._path = Path(path)
        self._lock = threading.Lock()
        self._rules = read_rules(self._path)
        self._problem = ""

    def decide(self, start: Mapping[str, Any], stop: Mapping[str, Any] | None) -> Decision:
        """Return what becomes of a run by the rules in force now."""
        return self.look().decide(start, stop)

    def look(self) -> Rules:
        """Return the rules in force now; says in one line what has become of them, once."""
        with self._lock:
            try:
                found = read_rules(self._path)
            except RulesError as error:
                problem = f"{self._path}: {'; '.join(error.problems)}"
                if problem != self._problem:
                    logger.warning("%s; the rules before stay in force", " ".join(problem.split()))
                self._problem = problem
                return self._rules
            if self._problem or found != self._rules:
                logger.info("%s: as it is now it holds from the next run on", self._path)
            self._rules, self._problem = found, ""
            return found

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Look every two seconds while the block runs: a mistake is said when it is made."""
        ended = threading.Event()

        def watch() -> None:
            while not ended.wait(LOOK_S):
                self.look()

        thread = threading.Thread(target=watch, name="tomoservice-rules", daemon=True)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join(STOP_S)


def read_rules(path: Path | str) -> Rules:
    """Return the rules in a YAML or JSON file; recipes in files beside it are read, too.

    Raises
    ------
    RulesError
        The file cannot be read or is wrong; names every wrong field with its line.
    """
    path = Path(path)
    try:
        text = path.read_text("utf-8") if path.stat().st_size <= MOST_BYTES else None
    except FileNotFoundError as error:
        raise RulesError("no such file", name=str(path)) from error
    except (OSError, UnicodeDecodeError) as error:
        raise RulesError(f"cannot be read: {error}", name=str(path)) from error
    if text is None:
        raise RulesError(f"has more than {MOST_BYTES} bytes; rules are shorter", name=str(path))
    return parse_rules(text, name=str(path), folder=path.parent)


def parse_rules(text: str, *, name: str = "rules", folder: Path | None = None) -> Rules:
    """Return the rules that a YAML or JSON text describes.

    Parameters
    ----------
    text : str
        The text.
    name : str
        What to call it in an error.
    folder : Path, optional
        Where recipes that are named by a relative path are looked for; the working folder by default.

    Raises
    ------
    RulesError
        It is wrong.
    """
    try:
        content = read_yaml(text, name=name)
    except RecipeError as error:
        raise RulesError(error.problems, name=name) from error
    if not isinstance(content, Mapping):
        raise RulesError("wants a mapping with the key 'rules', below it a list of rules", name=name)
    try:
        rules = Rules.model_validate(content)
    except ValidationError as error:
        problems = describe_problems(error, Rules)
        raise RulesError([_placed(problem, text) for problem in problems], name=name) from error
    return _with_recipes(rules, text, name, folder or Path())


def rules_schema() -> dict[str, Any]:
    """Return the JSON schema (2020-12) of a file of rules."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **Rules.model_json_schema()}


def _with_recipes(rules: Rules, text: str, name: str, folder: Path) -> Rules:
    """Return the rules with the content of recipe files in the place of their names."""
    problems = []
    read = []
    for place, rule in enumerate(rules.rules):
        recipe = rule.recipe
        try:
            if isinstance(recipe, str) and is_file_name(recipe):
                recipe = read_recipe((folder / Path(recipe).expanduser()).absolute()).dump()
        except RecipeError as error:
            problems.append(_placed(f"rules.{place}.recipe: {error}", text))
        read.append(rule.model_copy(update={"recipe": recipe}))
    if problems:
        raise RulesError(problems, name=name)
    return rules.model_copy(update={"rules": tuple(read)})


def _placed(problem: str, text: str) -> str:
    """Return a problem with the line of its field in front."""
    field, colon, _ = problem.partition(":")
    line = _line_of(yaml.compose(text, yaml.SafeLoader), field.split(".")) if colon else None
    return f"line {line}: {problem}" if line else problem


def _line_of(node: yaml.Node | None, keys: list[str]) -> int | None:
    """Return the line (1-based) of the field at a path, or of the last on the way to it that is there."""
    line = None
    while node is not None and keys:
        key, *keys = keys
        found: yaml.Node | None = None
        if isinstance(node, yaml.MappingNode):
            for name, value in node.value:
                if name.value == key:
                    line, found = name.start_mark.line + 1, value
        elif isinstance(node, yaml.SequenceNode) and key.isdecimal() and int(key) < len(node.value):
            found = node.value[int(key)]
            line = found.start_mark.line + 1
        node = found
    return line
